//! A file of `access/`, which creates one entity and nothing else.

use std::fmt;

use crate::plan::{AccessReference, DefinitionError, ObjectKind, ObjectStatement};

/// A user, role, quota, policy or settings profile, as read from its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntity {
    /// Its UUID in lower case, which is the name of its file.
    pub id: String,
    /// The statement that creates it.
    pub statement: ObjectStatement,
    /// Its grants, for a user or a role.
    pub grants: Vec<ObjectStatement>,
}

/// Why a file of `access/` is rejected. Never contains any of its text, which may have secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessFileError {
    /// Its name does not match that of a file in `access/`.
    #[error("its name is no UUID")]
    Name,
    /// It is not UTF-8.
    #[error("it is no text")]
    Encoding,
    /// Its text is anything else.
    #[error(
        "it does not hold what a server writes there: statements of one user, role, quota, policy or settings profile"
    )]
    Definition(#[from] DefinitionError),
    /// Its first statement creates something else.
    #[error("its first statement makes no user, role, quota, policy or settings profile")]
    Kind,
    /// It creates a second entity, or grants something to another one.
    #[error("it holds a statement that is not about the {0} that it is the file of")]
    Foreign(ObjectKind),
}

impl AccessEntity {
    /// Reads the file `<uuid>.sql`. All its statements must concern one entity; otherwise the file is rejected.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(uuid: &str, text: &[u8]) -> Result<Self, AccessFileError> {
        let is_uuid = uuid.len() == 36
            && uuid.char_indices().all(|(at, letter)| match at {
                8 | 13 | 18 | 23 => letter == '-',
                _ => letter.is_ascii_hexdigit(),
            });
        if !is_uuid {
            return Err(AccessFileError::Name);
        }
        let text = std::str::from_utf8(text).map_err(|_| AccessFileError::Encoding)?;
        let mut statements = ObjectStatement::parse_all(text)?.into_iter();
        let statement = statements.next().filter(|first| first.kind.is_access()).ok_or(AccessFileError::Kind)?;
        let grants: Vec<ObjectStatement> = statements.collect();
        let has_grants = matches!(statement.kind, ObjectKind::User | ObjectKind::Role);
        let is_own = |grant: &ObjectStatement| grant.kind == ObjectKind::Grant && grant.name == statement.name;
        if !grants.iter().all(|grant| has_grants && is_own(grant)) {
            return Err(AccessFileError::Foreign(statement.kind));
        }
        Ok(Self { id: uuid.to_ascii_lowercase(), statement, grants })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ObjectKind {
        self.statement.kind
    }

    /// Its name; of a row policy `name ON database.table`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.statement.name
    }

    /// Its kind and name, which are unique on a server.
    #[must_use]
    pub fn key(&self) -> (ObjectKind, String) {
        (self.kind(), self.name().to_owned())
    }

    /// The same entity without the grants whose references `is_left_out` selects.
    #[must_use]
    pub fn without_references(&self, is_left_out: &dyn Fn(&AccessReference) -> bool) -> Self {
        let grants = self.grants.iter().filter_map(|grant| grant.without_references(is_left_out));
        Self { grants: grants.collect(), ..self.clone() }
    }

    /// All its statements.
    pub fn statements(&self) -> impl Iterator<Item = &ObjectStatement> {
        std::iter::once(&self.statement).chain(&self.grants)
    }
}

/// A file of `access/` that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableAccess {
    /// Its path in the snapshot.
    pub path: String,
    /// The reason.
    pub reason: String,
}

impl fmt::Display for UnreadableAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing is made of {}: {}", self.path, self.reason)
    }
}

/// The contents of `access/` in a snapshot.
#[derive(Clone, Debug, Default)]
pub struct SourceAccess {
    /// Users, roles, quotas, policies, settings profiles.
    pub entities: Vec<AccessEntity>,
    /// Files that were rejected.
    pub unreadable: Vec<UnreadableAccess>,
}

impl SourceAccess {
    /// Reads files of `access/`, each by its path in the snapshot, and ignores all others.
    #[must_use]
    pub fn from_files(files: impl IntoIterator<Item = (String, Result<Vec<u8>, String>)>) -> Self {
        let mut access = Self::default();
        for (path, content) in files {
            let Some(uuid) = path.strip_prefix("access/").and_then(|name| name.strip_suffix(".sql")) else { continue };
            let parsed = content.and_then(|text| AccessEntity::parse(uuid, &text).map_err(|error| error.to_string()));
            match parsed {
                Ok(entity) => access.entities.push(entity),
                Err(reason) => access.unreadable.push(UnreadableAccess { path, reason }),
            }
        }
        access.entities.sort_by_cached_key(|entity| (rank(entity.kind()), entity.name().to_owned(), entity.id.clone()));
        access.unreadable.sort_by(|one, other| one.path.cmp(&other.path));
        access
    }
}

/// The rank of a kind, in the order in which kinds refer to each other.
pub(super) fn rank(kind: ObjectKind) -> u8 {
    match kind {
        ObjectKind::SettingsProfile => 0,
        ObjectKind::Role => 1,
        ObjectKind::User => 2,
        ObjectKind::Quota => 3,
        _ => 4,
    }
}
