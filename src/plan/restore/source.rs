//! The snapshot to restore, as a plan sees it.

use std::collections::BTreeSet;

use crate::model::{
    Detachment, DumpKind, LackedMutation, PartName, PartitionId, SnapshotId, TableName, TableUuid, Warning, WarningKind,
};
use crate::plan::ParsedDefinition;

use super::compare::PartState;
use super::expiry::Expired;
use super::objects::{SourceDatabase, SourceObject};
use super::target::Amount;

/// The wanted parts of a table in the snapshot.
#[derive(Clone, Debug, Default)]
pub struct SourceData {
    /// The parts.
    pub parts: Vec<PartState>,
    /// Their number, rows and bytes.
    pub amount: Amount,
    /// Their files.
    pub files: u64,
    /// Unfinished mutations that were taken with them.
    pub mutations: Vec<String>,
    /// Unfinished mutations that were not taken, because only Keeper had them.
    pub keeper_mutations: Vec<LackedMutation>,
    /// The table's storage policy; empty if its server had none.
    pub policy: String,
    /// The parts and rows that are past the TTL.
    pub expired: Expired,
    /// Parts that are noted as damaged and have no intact copy: they cannot be trusted.
    pub damaged: Vec<PartName>,
    /// Parts that are noted as damaged, with the snapshots that have an intact copy, which is restored instead.
    pub from_copies: Vec<(PartName, SnapshotId)>,
}

impl SourceData {
    /// The warnings about parts that come from intact copies.
    pub(super) fn copies(&self) -> impl Iterator<Item = Warning> {
        self.from_copies.iter().map(|(part, snapshot)| {
            let message = format!("its part {part} is noted as damaged, and comes from an intact copy in {snapshot}");
            Warning::new(WarningKind::IntactCopy, message)
        })
    }

    /// The partitions of these parts; a patch part belongs to the partition that it changes.
    #[must_use]
    pub fn partitions(&self) -> BTreeSet<PartitionId> {
        self.parts.iter().map(|part| part.partition.of_data()).collect()
    }
}

/// The rows of a table without parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceDump {
    /// How they are stored.
    pub kind: DumpKind,
    /// Their number, if they could be counted.
    pub rows: Option<u64>,
    /// Bytes of the files in the snapshot.
    pub bytes: u64,
    /// Its files: name, bytes and BLAKE3 of each.
    pub files: Vec<DumpFile>,
    /// The rows as the server sent them; `None` for files, and where nothing needs it.
    pub content: Option<DumpContent>,
}

/// The rows of a dump as the server sent them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpContent {
    /// The columns that were read.
    pub columns: Vec<String>,
    /// Bytes in the format `Native`.
    pub bytes: u64,
    /// BLAKE3 of them, 64 hex digits.
    pub blake3: String,
}

/// A file of a dump.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DumpFile {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of it, 64 hex digits.
    pub blake3: String,
}

/// The warning about parts that are restored despite their damage.
pub(super) fn noted_damaged(parts: usize) -> Warning {
    let are = if parts == 1 { "is" } else { "are" };
    Warning::new(WarningKind::DamagedParts, format!("{parts} of its parts {are} noted as damaged"))
}

/// The selected content of a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotContent<'a> {
    /// Tables, views, dictionaries ….
    pub items: &'a [SourceItem],
    /// All its databases.
    pub databases: &'a [SourceDatabase],
    /// All its functions, named collections, workloads.
    pub objects: &'a [SourceObject],
    /// Whether the whole snapshot is wanted.
    pub is_whole: bool,
    /// Whether it belongs to another server than the target.
    pub is_of_other_server: bool,
}

/// A table, view, dictionary … of the snapshot.
#[derive(Clone, Debug)]
pub struct SourceItem {
    /// Its name.
    pub name: TableName,
    /// Its engine.
    pub engine: String,
    /// Its UUID.
    pub uuid: Option<TableUuid>,
    /// Its definition, or why there is none.
    pub definition: Result<ParsedDefinition, String>,
    /// Its parts, if it is a table that was taken.
    pub data: Option<SourceData>,
    /// Its rows, if it is a table without parts.
    pub dump: Option<SourceDump>,
    /// Why its data is not in the snapshot, if it had any.
    pub data_left: Option<String>,
    /// Why the snapshot was made without it; its definition may still be there.
    pub skipped: Option<String>,
    /// Whether the server did not list it: for example because it was detached.
    pub is_detached: bool,
    /// How it was detached, if known.
    pub detachment: Option<Detachment>,
    /// The materialized view that it is the inner table of.
    pub inner_of: Option<TableName>,
}

impl SourceItem {
    /// Whether the snapshot has its rows, as parts or as a dump.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        self.data.is_some() || self.dump.is_some()
    }
}
