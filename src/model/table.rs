//! Tables.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A table by the names that its database and itself have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TableName {
    /// The database.
    pub database: String,
    /// The table in it.
    pub table: String,
}

impl TableName {
    /// A table's name from its two parts.
    #[must_use]
    pub fn new(database: impl Into<String>, table: impl Into<String>) -> Self {
        Self { database: database.into(), table: table.into() }
    }

    /// The name of the inner table of the materialized view of this name; `uuid` is the view's, if it has one.
    ///
    /// Source: `generateInnerTableName` in ClickHouse's `src/Storages/StorageMaterializedView.cpp`.
    #[must_use]
    pub fn inner_table(&self, uuid: Option<&TableUuid>) -> Self {
        let table = match uuid {
            Some(uuid) => format!(".inner_id.{uuid}"),
            None => format!(".inner.{}", self.table),
        };
        Self::new(self.database.clone(), table)
    }
}

/// Prints `database.table`, and escapes characters that would garble a line or a terminal.
impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = format!("{}.{}", self.database, self.table);
        if joined.chars().any(char::is_control) { f.pad(&joined.escape_debug().to_string()) } else { f.pad(&joined) }
    }
}

/// The UUID of a table in an Atomic database; tables of Ordinary databases have none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct TableUuid(Arc<str>);

/// A text is not a UUID.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a UUID")]
pub struct InvalidTableUuid {
    text: String,
}

impl TableUuid {
    /// Reads what `system.tables.uuid` gives: the zero UUID stands for none.
    ///
    /// # Errors
    /// If the text is not a UUID.
    pub fn from_server(text: &str) -> Result<Option<Self>, InvalidTableUuid> {
        if text.is_empty() || text.bytes().all(|byte| byte == b'0' || byte == b'-') {
            return Ok(None);
        }
        Self::try_from(text.to_owned()).map(Some)
    }

    /// The UUID in its usual text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TableUuid {
    type Error = InvalidTableUuid;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let valid = text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if valid { Ok(Self(text.into())) } else { Err(InvalidTableUuid { text }) }
    }
}

impl From<TableUuid> for String {
    fn from(uuid: TableUuid) -> Self {
        uuid.as_str().to_owned()
    }
}

impl fmt::Display for TableUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The identity of a table during a run: its name and, if it has one, its UUID.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableKey {
    /// The name.
    pub name: TableName,
    /// The UUID, in Atomic databases.
    pub uuid: Option<TableUuid>,
}
