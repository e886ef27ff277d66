//! Which names and UUIDs stand for which.

use std::collections::BTreeMap;

use crate::model::{TableName, TableUuid};

use super::names::Names;
use super::replicated::{Replicated, with_engine};

/// Which names and UUIDs stand for which.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// Tables that have another name now.
    pub tables: BTreeMap<TableName, TableName>,
    /// Databases that have another name now, as a whole: all their tables are among `tables` too.
    pub databases: BTreeMap<String, String>,
    /// UUIDs that are others now.
    pub uuids: BTreeMap<TableUuid, TableUuid>,
    /// What becomes of Replicated engines.
    pub replicated: Replicated,
}

impl Mapping {
    /// Replaces, in what stands behind the name in a definition, the names and UUIDs that are others now.
    ///
    /// Names are found where one stands behind another with a dot between them, `database.table`, and where an engine,
    /// a function or the source of a dictionary takes them. A column with the alias of a table before it looks the
    /// same; only the names of renamed tables are replaced.
    #[must_use]
    pub fn rewrite(&self, sql: &str) -> String {
        let renamed = self.names().rewrite(sql).text;
        with_engine(&renamed, self.replicated)
    }

    /// The old names that still stand in a text once it is rewritten.
    pub(super) fn left(&self, sql: &str) -> Vec<String> {
        self.names().rewrite(sql).left
    }

    fn names(&self) -> Names<'_> {
        Names { tables: &self.tables, databases: &self.databases, uuids: &self.uuids }
    }
}
