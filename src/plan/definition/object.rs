//! Statements that create functions, named collections, workloads, resources, and access entities.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::alike::are_alike;
use super::error::DefinitionError;
use super::reader::TokenReader;
use super::secrets::{Masked, SecretContext, has_hidden, mask};
use super::statements::{single_statement, statements};
use super::tokens::solid_tokens;

/// The kind of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A function in SQL.
    Function,
    /// A named collection.
    NamedCollection,
    /// A workload.
    Workload,
    /// A resource of workloads.
    Resource,
    /// A user.
    User,
    /// A role.
    Role,
    /// A quota.
    Quota,
    /// A row policy.
    RowPolicy,
    /// A settings profile.
    SettingsProfile,
    /// A masking policy.
    MaskingPolicy,
    /// A grant, or the revocation of a part of one.
    Grant,
}

impl ObjectKind {
    /// Whether it controls access: a user, a role, a quota, a policy or a settings profile.
    #[must_use]
    pub fn is_access(self) -> bool {
        matches!(
            self,
            Self::User | Self::Role | Self::Quota | Self::RowPolicy | Self::SettingsProfile | Self::MaskingPolicy
        )
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Function => "function",
            Self::NamedCollection => "named collection",
            Self::Workload => "workload",
            Self::Resource => "resource",
            Self::User => "user",
            Self::Role => "role",
            Self::Quota => "quota",
            Self::RowPolicy => "row policy",
            Self::SettingsProfile => "settings profile",
            Self::MaskingPolicy => "masking policy",
            Self::Grant => "grant",
        })
    }
}

/// A statement that creates one object, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectStatement {
    /// The kind of the object.
    pub kind: ObjectKind,
    /// The name of the object; for a row policy `name ON database.table`, for a grant its grantee.
    pub name: String,
    /// The words between the verb and the name.
    pub(super) words: &'static str,
    /// The name and everything after it.
    pub(super) rest: String,
}

const KINDS: [(&[&str], &str, ObjectKind); 14] = [
    (&["FUNCTION"], "FUNCTION", ObjectKind::Function),
    (&["NAMED", "COLLECTION"], "NAMED COLLECTION", ObjectKind::NamedCollection),
    (&["WORKLOAD"], "WORKLOAD", ObjectKind::Workload),
    (&["RESOURCE"], "RESOURCE", ObjectKind::Resource),
    (&["USER"], "USER", ObjectKind::User),
    (&["ROLE"], "ROLE", ObjectKind::Role),
    (&["QUOTA"], "QUOTA", ObjectKind::Quota),
    (&["ROW", "POLICY"], "ROW POLICY", ObjectKind::RowPolicy),
    (&["POLICY"], "ROW POLICY", ObjectKind::RowPolicy),
    (&["SETTINGS", "PROFILE"], "SETTINGS PROFILE", ObjectKind::SettingsProfile),
    (&["PROFILE"], "SETTINGS PROFILE", ObjectKind::SettingsProfile),
    (&["MASKING", "POLICY"], "MASKING POLICY", ObjectKind::MaskingPolicy),
    (&["GRANT"], "GRANT", ObjectKind::Grant),
    (&["REVOKE"], "REVOKE", ObjectKind::Grant),
];

const EXPECTED: &str = "CREATE or ATTACH of a function, a named collection, a workload, a resource, a user, a role, \
                        a quota, a policy, a settings profile or a grant";

impl ObjectStatement {
    /// Parses the statement of one object: `CREATE FUNCTION x AS …`, `ATTACH USER x …` ….
    ///
    /// # Errors
    /// If the text, or part of it, is anything else.
    pub fn parse(text: &str) -> Result<Self, DefinitionError> {
        Self::from_statement(single_statement(text, EXPECTED)?)
    }

    /// Parses the statements of a file: a file of `access/` contains a user and their grants.
    ///
    /// # Errors
    /// If one of them is anything else, or there is none.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, DefinitionError> {
        let found = statements(text)?;
        if found.is_empty() {
            return Err(DefinitionError::Expected(EXPECTED));
        }
        found.into_iter().map(Self::from_statement).collect()
    }

    /// The statement that creates it on a server that does not have it.
    #[must_use]
    pub fn create(&self) -> String {
        match self.kind {
            ObjectKind::Grant => format!("{} {}", self.words, self.rest),
            _ => format!("CREATE {} {}", self.words, self.rest),
        }
    }

    /// As [`ObjectStatement::create`], for all hosts of a cluster, whose name is quoted. Unchanged for kinds without
    /// such a clause.
    #[must_use]
    pub fn create_on_cluster(&self, quoted_cluster: &str) -> String {
        let has_clause = matches!(self.kind, ObjectKind::Function | ObjectKind::NamedCollection);
        let name = solid_tokens(&self.rest).into_iter().next().filter(|_| has_clause);
        let Some((name, behind)) = name.and_then(|name| self.rest.split_at_checked(name.end())) else {
            return self.create();
        };
        format!("CREATE {} {name} ON CLUSTER {quoted_cluster}{behind}", self.words)
    }

    /// Whether it creates the same object as another one. A hidden secret on either side equals any value on the other.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind && self.name == other.name && are_alike(&self.rest, &other.rest)
    }

    /// Whether a secret is hidden in it, by ClickHouse or by its author.
    #[must_use]
    pub fn has_hidden_secret(&self) -> bool {
        has_hidden(&self.rest)
    }

    /// The statement on one line, with `'[HIDDEN]'` for every secret.
    #[must_use]
    pub fn masked(&self) -> String {
        self.mask().text
    }

    /// The values that [`ObjectStatement::masked`] hides, for removing them from messages.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.mask().secrets
    }

    fn mask(&self) -> Masked {
        let is_collection = self.kind == ObjectKind::NamedCollection;
        let context = if is_collection { SecretContext::NamedCollection } else { SecretContext::Other };
        mask(&self.create(), context)
    }

    fn from_statement(statement: &str) -> Result<Self, DefinitionError> {
        let mut reader = TokenReader::new(statement);
        let is_attached = reader.takes(&["ATTACH"]);
        if !is_attached && !reader.takes(&["CREATE"]) {
            return Err(DefinitionError::Expected(EXPECTED));
        }
        reader.takes(&["OR", "REPLACE"]);
        let found = KINDS.iter().find(|(keywords, ..)| reader.takes(keywords));
        let (_, words, kind) = *found.ok_or(DefinitionError::Expected(EXPECTED))?;
        if kind == ObjectKind::Grant && !is_attached {
            return Err(DefinitionError::Expected(EXPECTED));
        }
        reader.takes(&["IF", "NOT", "EXISTS"]);
        let rest = reader.rest().to_owned();
        let name = take_name(&mut reader, kind, words)?;
        if kind.is_access() && reader.peek().is_some_and(|next| next.is_mark(",")) {
            return Err(DefinitionError::Expected("a single name"));
        }
        while let Some(token) = reader.next() {
            if token.is("ON") && sees_cluster(&reader) {
                return Err(DefinitionError::Expected("a statement without ON CLUSTER"));
            }
        }
        Ok(Self { kind, name, words, rest })
    }
}

/// Whether `CLUSTER` comes next, after `ON`. A table of this name has a dot before or after it.
fn sees_cluster(reader: &TokenReader<'_>) -> bool {
    reader.sees(&["CLUSTER"]) && !reader.ahead(1).is_some_and(|behind| behind.is_mark("."))
}

/// Reads a grant up to its end. A file of `access/` contains no grant to more than one user or role.
fn take_grantee(reader: &mut TokenReader<'_>, words: &str) -> Result<String, DefinitionError> {
    let before = if words == "REVOKE" { "FROM" } else { "TO" };
    let (mut depth, mut follows_dot) = (0, false);
    while let Some(token) = reader.next() {
        depth += token.depth();
        if token.is("ON") && sees_cluster(reader) {
            return Err(DefinitionError::Expected("a statement without ON CLUSTER"));
        }
        let is_name = follows_dot || reader.peek().is_some_and(|next| next.is_mark("."));
        follows_dot = token.is_mark(".");
        if depth != 0 || is_name || !token.is(before) {
            continue;
        }
        let name = take_user(reader, "who has the grant")?;
        if words == "GRANT" {
            let _ = reader.takes(&["WITH", "GRANT", "OPTION"]) || reader.takes(&["WITH", "ADMIN", "OPTION"]);
        }
        let is_end = reader.peek().is_none();
        return if is_end { Ok(name) } else { Err(DefinitionError::Expected("the end of the grant")) };
    }
    Err(DefinitionError::Expected("who has the grant"))
}

/// Reads `name` or `name@host`.
fn take_user(reader: &mut TokenReader<'_>, expected: &'static str) -> Result<String, DefinitionError> {
    let part = |reader: &mut TokenReader<'_>| reader.next().and_then(|token| token.name().or_else(|| token.value()));
    let name = part(reader).ok_or(DefinitionError::Expected(expected))?;
    if !reader.takes_mark("@") {
        return Ok(name);
    }
    Ok(format!("{name}@{}", part(reader).ok_or(DefinitionError::Expected("a host behind @"))?))
}

/// Reads the name of an object, and checks what must follow it.
fn take_name(reader: &mut TokenReader<'_>, kind: ObjectKind, words: &str) -> Result<String, DefinitionError> {
    if kind == ObjectKind::Grant {
        return take_grantee(reader, words);
    }
    if kind == ObjectKind::User {
        return take_user(reader, "a name");
    }
    let first = reader.next().and_then(|token| token.name().or_else(|| token.value()));
    let name = first.ok_or(DefinitionError::Expected("a name"))?;
    let next = reader.peek();
    match kind {
        ObjectKind::Function if !(reader.takes(&["AS"]) && reader.peek().is_some()) => {
            Err(DefinitionError::Expected("AS and an expression behind the name of a function"))
        }
        ObjectKind::NamedCollection if !(reader.takes(&["AS"]) && reader.peek().is_some()) => {
            Err(DefinitionError::Expected("AS and values behind the name of a named collection"))
        }
        ObjectKind::Workload if next.is_some_and(|next| !next.is_any(&["IN", "SETTINGS"])) => {
            Err(DefinitionError::Expected("IN or SETTINGS behind the name of a workload"))
        }
        ObjectKind::Resource if !next.is_some_and(|next| next.is_mark("(")) => {
            Err(DefinitionError::Expected("a bracket behind the name of a resource"))
        }
        ObjectKind::RowPolicy | ObjectKind::MaskingPolicy => Ok(format!("{name} ON {}", take_table(reader)?)),
        _ => Ok(name),
    }
}

/// Reads `ON database.table`, where a star may replace either.
fn take_table(reader: &mut TokenReader<'_>) -> Result<String, DefinitionError> {
    let wrong = DefinitionError::Expected("ON and a table behind the name of a policy");
    if !reader.takes(&["ON"]) || reader.sees(&["CLUSTER"]) && !reader.ahead(1).is_some_and(|next| next.is_mark(".")) {
        return Err(wrong);
    }
    let part = |reader: &mut TokenReader<'_>| {
        let token = reader.next().ok_or(wrong)?;
        if token.is_mark("*") { Ok("*".to_owned()) } else { token.name().ok_or(wrong) }
    };
    let first = part(reader)?;
    if reader.takes_mark(".") { Ok(format!("{first}.{}", part(reader)?)) } else { Ok(first) }
}
