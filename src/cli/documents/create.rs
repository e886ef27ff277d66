use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chsnap::model::{DumpKind, DumpTotals, Label, Moment, PartTally, PlacedTotals, SnapshotId, TableUuid};
use schemars::JsonSchema;
use serde::Serialize;

/// `create` and `create --dry-run`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct CreateDocument {
    /// `complete`, or `planned` for a dry run.
    pub(in super::super) state: String,
    /// Whether this is a dry run, which changes nothing.
    pub(in super::super) dry_run: bool,
    /// The snapshot; null for a dry run.
    pub(in super::super) id: Option<SnapshotId>,
    /// When it was begun; null for a dry run.
    pub(in super::super) time: Option<DateTime<Utc>>,
    /// Its name.
    #[serde(flatten)]
    pub(in super::super) label: Label,
    /// Other snapshots with the same name, the newest first: none of them can be referred to by it. Null for a dry run.
    pub(in super::super) same_name: Option<Vec<SnapshotId>>,
    /// Its series; null for a dry run.
    pub(in super::super) series: Option<String>,
    /// The common moment of its tables, if one was requested.
    pub(in super::super) moment: Option<Moment>,
    /// The number of tables that are not of that moment; null if none was requested.
    pub(in super::super) off_moment_tables: Option<u64>,
    /// The number of tables whose parts are in the snapshot, including empty tables.
    pub(in super::super) tables: u64,
    /// Their parts.
    pub(in super::super) parts: u64,
    /// Files in them; null for a dry run.
    pub(in super::super) files: Option<u64>,
    /// Sum of the sizes of these files. For a dry run it is the server's figure, which leaves out the few files of a
    /// part that its checksums do not cover.
    pub(in super::super) apparent_bytes: u64,
    /// Bytes that they take on the disk; null for a dry run.
    pub(in super::super) allocated_bytes: Option<u64>,
    /// Bytes on the disk that the previous snapshot does not have; null for a dry run.
    pub(in super::super) written_bytes: Option<u64>,
    /// How the parts were placed; null for a dry run.
    pub(in super::super) placed: Option<PlacedTotals>,
    /// The snapshot's dumps of tables without parts; null for a dry run.
    pub(in super::super) dumped: Option<DumpTotals>,
    /// The part of these that an interrupted run had copied; null for a dry run.
    pub(in super::super) resumed: Option<PartTally>,
    /// Files that were copied because an equal file had reached its limit of links; null for a dry run.
    pub(in super::super) link_limit_files: Option<u64>,
    /// Seconds spent in each stage, and `total`; null for a dry run.
    pub(in super::super) seconds: Option<BTreeMap<&'static str, f64>>,
    /// For a dry run: each table that would be taken.
    pub(in super::super) plan: Option<Vec<PlannedTable>>,
    /// For a dry run: disks whose files cannot be linked into the repository. What no earlier snapshot has of their parts
    /// would be copied.
    pub(in super::super) copied_disks: Option<Vec<String>>,
    /// For a dry run: each table whose rows would be dumped.
    pub(in super::super) dumps: Option<Vec<PlannedDump>>,
    /// For a dry run: the number of further definitions that would be kept.
    pub(in super::super) definitions: Option<u64>,
    /// For a dry run: the server's version.
    pub(in super::super) server_version: Option<String>,
}

/// A table that would be taken.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct PlannedTable {
    /// Its database.
    pub(in super::super) database: String,
    /// Its name.
    pub(in super::super) table: String,
    /// Its UUID, if it has one.
    pub(in super::super) uuid: Option<TableUuid>,
    /// Its engine.
    pub(in super::super) engine: String,
    /// Its partitions.
    pub(in super::super) partitions: Vec<String>,
    /// Its parts.
    pub(in super::super) parts: u64,
    /// Their size by the server's figures.
    pub(in super::super) apparent_bytes: u64,
    /// The extent of the freeze: `table`, `partitions` or `nothing`.
    pub(in super::super) freeze: String,
    /// The partitions that would be frozen, unless it is the whole table.
    pub(in super::super) freeze_partitions: Vec<String>,
    /// Parts that would be linked from an earlier snapshot or from the live table instead, patch parts among them.
    pub(in super::super) linked_parts: u64,
    /// The names of those parts.
    pub(in super::super) linked_part_names: Vec<String>,
    /// Whether it is detached.
    pub(in super::super) is_detached: bool,
}

/// A table whose rows would be dumped.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct PlannedDump {
    /// Its database.
    pub(in super::super) database: String,
    /// Its name.
    pub(in super::super) table: String,
    /// Its UUID, if it has one.
    pub(in super::super) uuid: Option<TableUuid>,
    /// Its engine.
    pub(in super::super) engine: String,
    /// How the rows would be dumped.
    pub(in super::super) kind: DumpKind,
}
