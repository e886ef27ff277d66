//! The mapping from old names and UUIDs to new ones.

use std::collections::BTreeMap;

use crate::model::{TableName, TableUuid};

use super::names::NameMap;

/// The mapping from old names and UUIDs to new ones.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// Renamed tables.
    pub tables: BTreeMap<TableName, TableName>,
    /// Databases renamed as a whole: all their tables are in `tables` too.
    pub databases: BTreeMap<String, String>,
    /// Changed UUIDs.
    pub uuids: BTreeMap<TableUuid, TableUuid>,
}

impl Mapping {
    /// Replaces old names and UUIDs in the part of a definition after its name.
    ///
    /// A name is recognized as the second one of `database.table`, and where an engine, a function or the source of a
    /// dictionary takes names. A column with the alias of a table before it looks the same; only the names of renamed
    /// tables are replaced.
    #[must_use]
    pub fn rewrite(&self, sql: &str) -> String {
        self.names().rewrite(sql).text
    }

    /// The old names that remain in a text after it is rewritten.
    pub(super) fn left(&self, sql: &str) -> Vec<String> {
        self.names().rewrite(sql).left
    }

    fn names(&self) -> NameMap<'_> {
        NameMap { tables: &self.tables, databases: &self.databases, uuids: &self.uuids }
    }
}
