//! The entities that a statement of `access/` refers to.
//!
//! A server writes `ID('…')` there for every other user, role and settings profile. Executable statements use names
//! instead. Source: `ASTRolesOrUsersSet` and `ASTSettingsProfileElement` in ClickHouse's `src/Parsers/Access/`.

use super::literal::quote;
use super::object::{ObjectKind, ObjectStatement};
use super::reader::TokenReader;
use super::secrets::one_line;
use super::tokens::{Token, TokenKind, solid_tokens};

/// The possible kinds of a reference's target, judged by the words before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReferenceTo {
    /// A settings profile.
    SettingsProfile,
    /// A role.
    Role,
    /// A user or a role.
    UserOrRole,
}

/// `ID('…')` in a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccessReference {
    /// The UUID, in lower case.
    pub id: String,
    /// The possible kinds of its target.
    pub to: ReferenceTo,
}

/// How a statement treats an existing entity of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The server refuses.
    Refused,
    /// It stays.
    Stays,
    /// It is replaced, and the new one has another UUID.
    Replaced,
}

impl ObjectStatement {
    /// All references of the statement.
    #[must_use]
    pub fn references(&self) -> Vec<AccessReference> {
        places(&solid_tokens(&self.rest)).into_iter().map(|(_, reference)| reference).collect()
    }

    /// The same statement with names instead of UUIDs. References unknown to `name` stay.
    #[must_use]
    pub fn with_names(&self, name: &dyn Fn(&AccessReference) -> Option<String>) -> Self {
        let tokens = solid_tokens(&self.rest);
        let mut rest = String::with_capacity(self.rest.len());
        let mut end = 0;
        for (at, reference) in places(&tokens) {
            let (Some(first), Some(last), Some(name)) = (tokens.get(at), tokens.get(at + 3), name(&reference)) else {
                continue;
            };
            rest.push_str(self.rest.get(end..first.start).unwrap_or_default());
            rest.push_str(&quote(&name, '`'));
            end = last.end();
        }
        rest.push_str(self.rest.get(end..).unwrap_or_default());
        Self { rest, ..self.clone() }
    }

    /// The same grant without the references that `is_left_out` selects; `None` if no reference is left. A statement
    /// without references is unchanged.
    #[must_use]
    pub fn without_references(&self, is_left_out: &dyn Fn(&AccessReference) -> bool) -> Option<Self> {
        let tokens = solid_tokens(&self.rest);
        let all = places(&tokens);
        let span = |at: usize| Some((tokens.get(at)?.start, tokens.get(at + 3)?.end()));
        let kept: Vec<&str> = (all.iter().filter(|(_, reference)| !is_left_out(reference)))
            .filter_map(|(at, _)| span(*at).and_then(|(start, end)| self.rest.get(start..end)))
            .collect();
        let ends = all.first().and_then(|(at, _)| span(*at)).zip(all.last().and_then(|(at, _)| span(*at)));
        match ends {
            None => Some(self.clone()),
            _ if kept.len() == all.len() => Some(self.clone()),
            _ if kept.is_empty() => None,
            Some(((start, _), (_, end))) => {
                let (head, tail) = (self.rest.get(..start)?, self.rest.get(end..)?);
                Some(Self { rest: format!("{head}{}{tail}", kept.join(", ")), ..self.clone() })
            }
        }
    }

    /// The statement that creates the object, on one line and with its secrets.
    #[must_use]
    pub fn create_with(&self, existing: Existing) -> String {
        let words = match existing {
            Existing::Refused => "",
            Existing::Stays => "IF NOT EXISTS ",
            Existing::Replaced => "OR REPLACE ",
        };
        match self.kind {
            ObjectKind::Grant => one_line(&self.create()),
            _ => one_line(&format!("CREATE {} {words}{}", self.words, self.rest)),
        }
    }

    /// Splits off the last clause that names users and roles: to whom a settings profile applies, or to whom a user may
    /// pass grants on. These may refer back to it, so the clause can be executed only after all of them exist. The
    /// second statement returned is `ALTER …` with names, if there is such a clause with a reference in it.
    #[must_use]
    pub fn split(&self, name: &dyn Fn(&AccessReference) -> Option<String>) -> (Self, Option<String>) {
        let clause = match self.kind {
            ObjectKind::SettingsProfile => "TO",
            ObjectKind::User => "GRANTEES",
            _ => return (self.clone(), None),
        };
        let tokens = solid_tokens(&self.rest);
        let mut depth = 0;
        let start = tokens.iter().enumerate().skip(1).find(|(_, token)| {
            depth += token.depth();
            depth == 0 && token.is(clause)
        });
        let Some((at, token)) = start else { return (self.clone(), None) };
        let tail = tokens.get(at + 1..).unwrap_or_default();
        if !is_set(tail) || places(tokens.get(at..).unwrap_or_default()).is_empty() {
            return (self.clone(), None);
        }
        let (head, tail) = self.rest.split_at(token.start);
        let tail = Self { rest: tail.to_owned(), ..self.clone() }.with_names(name).rest;
        let alter = one_line(&format!("ALTER {} {} {tail}", self.words, self.quoted_name()));
        (Self { rest: head.trim_end().to_owned(), ..self.clone() }, Some(alter))
    }

    /// The name as it is written in the statement.
    fn quoted_name(&self) -> &str {
        let mut reader = TokenReader::new(&self.rest);
        reader.next();
        if self.kind == ObjectKind::User && reader.takes_mark("@") {
            reader.next();
        }
        reader.since(0)
    }
}

/// Whether these tokens are a set of users and roles, up to the end.
fn is_set(tokens: &[Token<'_>]) -> bool {
    let set = ["ANY", "ALL", "NONE", "EXCEPT", "ID", "CURRENT_USER"];
    tokens.iter().all(|token| {
        token.is_any(&set)
            || matches!(token.kind, TokenKind::Name | TokenKind::Text)
            || ["(", ")", ",", "@"].iter().any(|mark| token.is_mark(mark))
    })
}

/// The references among tokens, each with the position of its `ID`.
fn places(tokens: &[Token<'_>]) -> Vec<(usize, AccessReference)> {
    let mut found = Vec::new();
    let mut depth = 0;
    let mut to = None;
    for (at, token) in tokens.iter().enumerate() {
        depth += token.depth();
        if depth != 0 {
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        if token.is_any(&["PROFILE", "INHERIT"]) {
            to = Some(ReferenceTo::SettingsProfile);
        } else if token.is_any(&["ROLE", "FOR"]) {
            to = Some(ReferenceTo::Role);
        } else if token.is_any(&["TO", "GRANTEES"]) {
            to = Some(ReferenceTo::UserOrRole);
        }
        // A grant of roles begins with one.
        let follows = before.is_none_or(|before| {
            before.is_any(&["PROFILE", "INHERIT", "ROLE", "FOR", "TO", "EXCEPT", "GRANTEES"]) || before.is_mark(",")
        });
        let is_call = |at: usize, mark: &str| tokens.get(at).is_some_and(|token| token.is_mark(mark));
        if follows && token.is("ID") && is_call(at + 1, "(") && is_call(at + 3, ")") {
            let id = tokens.get(at + 2).and_then(Token::value);
            let to = to.unwrap_or(ReferenceTo::Role);
            found.extend(id.map(|id| (at, AccessReference { id: id.to_ascii_lowercase(), to })));
        }
    }
    found
}
