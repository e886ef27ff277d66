//! The features of a server: queried once, from the server itself.

use std::collections::HashSet;

use serde::Deserialize;

use super::list::List;

/// The columns of system tables that this server has.
#[derive(Clone, Debug, Default)]
pub struct Features {
    columns: HashSet<(String, String)>,
}

/// The columns that chsnap may query.
const COLUMNS: &str = "database = 'system' AND table IN ('tables', 'parts', 'mutations', 'disks', \
     'databases', 'functions', 'processes', 'stack_trace', \
     'distributed_ddl_queue', 'storage_policies', 'dropped_tables', 'detached_tables', \
     'named_collections', 'workloads', 'resources', \
     'merge_tree_settings', 'users', 'roles', 'quotas', 'row_policies', 'settings_profiles', 'masking_policies', \
     'detached_parts', 'errors', 'distribution_queue', 'server_settings', 'user_directories', \
     'user_defined_functions', 'replicas', 'replication_queue', 'macros', 'zookeeper', 'privileges', 'clusters', \
     'table_functions')";

/// The list from which [`Features`] are made: every server is queried for it.
pub(super) fn columns() -> List {
    List::of("columns", "table, name").only(COLUMNS)
}

/// A row of [`columns`].
#[derive(Deserialize)]
pub(super) struct SystemColumnRow {
    table: String,
    name: String,
}

impl Features {
    pub(super) fn new(columns: Vec<SystemColumnRow>) -> Self {
        Self { columns: columns.into_iter().map(|row| (row.table, row.name)).collect() }
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

    /// Builds features from a list, for tests of the statements.
    #[must_use]
    pub fn of(columns: &[(&str, &str)]) -> Self {
        Self { columns: columns.iter().map(|(table, name)| ((*table).to_owned(), (*name).to_owned())).collect() }
    }
}
