//! What a server has: asked once, of the server itself.

use std::collections::HashSet;

use serde::Deserialize;

/// The columns of system tables, and the functions, that this server has.
#[derive(Clone, Debug, Default)]
pub struct Features {
    columns: HashSet<(String, String)>,
    functions: HashSet<String>,
}

/// What [`Features`] are made from: asked of every server.
pub(super) const COLUMNS: &str = "SELECT table, name FROM system.columns WHERE database = 'system' AND table IN \
     ('tables', 'parts', 'mutations', 'disks', 'databases', 'functions', 'processes', 'stack_trace', \
     'distributed_ddl_queue', 'storage_policies', 'dropped_tables', 'detached_tables', 'named_collections')";
/// See [`COLUMNS`].
pub(super) const FUNCTIONS: &str =
    "SELECT name FROM system.functions WHERE name IN ('serverUUID', 'hostName', 'timezone')";

/// A row of [`COLUMNS`].
#[derive(Deserialize)]
pub(super) struct ColumnRow {
    table: String,
    name: String,
}

/// A row of [`FUNCTIONS`].
#[derive(Deserialize)]
pub(super) struct FunctionName {
    name: String,
}

impl Features {
    pub(super) fn new(columns: Vec<ColumnRow>, functions: Vec<FunctionName>) -> Self {
        Self {
            columns: columns.into_iter().map(|row| (row.table, row.name)).collect(),
            functions: functions.into_iter().map(|row| row.name).collect(),
        }
    }

    /// Whether `system.<table>` has this column.
    #[must_use]
    pub fn has_column(&self, table: &str, column: &str) -> bool {
        self.columns.contains(&(table.to_owned(), column.to_owned()))
    }

    /// Whether `system.<table>` is there at all.
    #[must_use]
    pub fn has_table(&self, table: &str) -> bool {
        self.columns.iter().any(|(name, _)| name == table)
    }

    /// Whether this function is there.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.functions.contains(name)
    }

    /// Features made of lists, for tests of the statements.
    #[must_use]
    pub fn of(columns: &[(&str, &str)], functions: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|(table, name)| ((*table).to_owned(), (*name).to_owned())).collect(),
            functions: functions.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}
