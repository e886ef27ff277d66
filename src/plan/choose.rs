//! Which tables a snapshot takes, and why the others are not in it.

use crate::model::{PartitionId, Table, TableName, is_drill_database};

use super::pattern::TablePattern;

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Tables to take; all where empty.
    pub include: Vec<TablePattern>,
    /// Tables to leave out.
    pub exclude: Vec<TablePattern>,
    /// Tables whose data may stay behind without a warning.
    pub accept: Vec<TablePattern>,
    /// Partitions to take; all where empty.
    pub partitions: Vec<PartitionId>,
}

impl Selection {
    /// Whether the server's own database is asked for by name.
    #[must_use]
    pub fn names_system(&self) -> bool {
        self.include.iter().any(TablePattern::names_system)
    }

    /// Whether this table is asked for, whatever it is.
    #[must_use]
    pub fn wants(&self, name: &TableName) -> bool {
        let named = |patterns: &[TablePattern]| patterns.iter().any(|pattern| pattern.matches(name));
        // What an interrupted drill has left is none of the server's data.
        if is_drill_database(&name.database) {
            return false;
        }
        let system = name.database == "system";
        let included = if self.include.is_empty() {
            !system
        } else {
            self.include.iter().any(|pattern| pattern.matches(name) && (!system || pattern.names_system()))
        };
        included && !named(&self.exclude)
    }

    /// Whether this table's data may stay behind without a warning.
    #[must_use]
    pub fn accepts(&self, table: &Table) -> bool {
        self.accept.iter().any(|pattern| pattern.matches(table.name()))
    }

    /// Whether this partition is asked for.
    #[must_use]
    pub fn wants_partition(&self, partition: &PartitionId) -> bool {
        self.partitions.is_empty() || self.partitions.contains(partition)
    }
}

/// What becomes of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Its parts and its definition are taken.
    Take,
    /// Its definition is taken; there is nothing that `FREEZE` could take.
    DefinitionOnly,
    /// Its definition is taken; it holds data that cannot be.
    DataStays(String),
    /// It was not asked for.
    LeftOut,
}

/// Engines outside the MergeTree family that store data on the server's own disks (`storesDataOnDisk` in
/// ClickHouse's storages): asked only of servers that do not say so themselves (`system.tables.has_own_data`).
const OTHERS_WITH_DATA: [&str; 9] =
    ["Log", "TinyLog", "StripeLog", "Set", "Join", "File", "EmbeddedRocksDB", "SQLite", "FileLog"];

/// Decides what becomes of `table`; `foreign_disk` is a disk of its that is not a plain local one, with its type.
#[must_use]
pub fn choose(selection: &Selection, table: &Table, foreign_disk: Option<(&str, &str)>) -> Choice {
    if !selection.wants(table.name()) {
        return Choice::LeftOut;
    }
    if table.engine.starts_with("Shared") && table.is_merge_tree() {
        return Choice::DataStays(format!("its engine {} keeps its data in object storage", table.engine));
    }
    if table.is_merge_tree() {
        return foreign_disk.map_or(Choice::Take, |(disk, kind)| {
            Choice::DataStays(format!("its disk {disk:?} is of type {kind}, and only local disks can be linked from"))
        });
    }
    let stores_data = table.has_own_data.unwrap_or_else(|| OTHERS_WITH_DATA.contains(&table.engine.as_str()));
    // A view's own data lies in its inner table, which is a table of its own.
    if stores_data && !table.engine.ends_with("View") {
        Choice::DataStays(format!("its engine {} cannot be frozen", table.engine))
    } else {
        Choice::DefinitionOnly
    }
}
