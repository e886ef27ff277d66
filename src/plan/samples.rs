//! Tables and parts for the tests of plans.

use std::path::Path;

use crate::model::{CatalogPart, PartName, PartitionId, Table, TableKey, TableName};

use super::{FreezeScope, TableFreeze, WantedState};

/// A part of this partition with one row and this many files.
pub(super) fn part(name: PartName, partition: &str, files: u64) -> CatalogPart {
    CatalogPart {
        name,
        partition: PartitionId(partition.into()),
        parent: Path::new("x").into(),
        disk: "default".into(),
        rows: 1,
        bytes: 1,
        files,
        fingerprint: None,
    }
}

/// `d.t` with these parts.
pub(super) fn table(parts: Vec<CatalogPart>) -> Table {
    Table {
        key: TableKey { name: TableName::new("d", "t"), uuid: None },
        engine: "MergeTree".into(),
        definition: "CREATE TABLE d.t (a UInt8)".into(),
        data_paths: Vec::new(),
        metadata_path: "x".into(),
        storage_policy: String::new(),
        has_own_data: None,
        parts: parts.into(),
        mutations: Vec::new(),
    }
}

/// The freeze of a whole table.
pub(super) fn whole(table: Table, wants: WantedState) -> TableFreeze {
    TableFreeze { table, remote: None, scope: FreezeScope::Whole, freeze: FreezeScope::Whole, wants }
}
