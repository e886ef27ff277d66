use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chsnap::model::{DumpKind, DumpTotals, Label, Moment, PartTally, PlacedTotals, SnapshotId, TableUuid};
use schemars::JsonSchema;
use serde::Serialize;

/// `create` and `create --dry-run`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct CreateDocument {
    /// `complete`, or `planned` of a dry run.
    pub(in super::super) state: String,
    /// Whether nothing was changed.
    pub(in super::super) dry_run: bool,
    /// The snapshot; null of a dry run.
    pub(in super::super) id: Option<SnapshotId>,
    /// When it was begun; null of a dry run.
    pub(in super::super) time: Option<DateTime<Utc>>,
    /// Its name.
    #[serde(flatten)]
    pub(in super::super) label: Label,
    /// Its series; null of a dry run.
    pub(in super::super) series: Option<String>,
    /// The moment of its tables, where they were to be of one.
    pub(in super::super) moment: Option<Moment>,
    /// Tables that are not of that moment; null without one.
    pub(in super::super) off_moment_tables: Option<u64>,
    /// Tables whose parts are in the snapshot, empty ones included.
    pub(in super::super) tables: u64,
    /// Their parts.
    pub(in super::super) parts: u64,
    /// Files in them; null of a dry run.
    pub(in super::super) files: Option<u64>,
    /// Sum of the sizes of those files. Of a dry run what the server counts, which is without the few files of a part that
    /// its checksums do not cover.
    pub(in super::super) apparent_bytes: u64,
    /// What they take on the disk; null of a dry run.
    pub(in super::super) allocated_bytes: Option<u64>,
    /// What of that the snapshot before does not have; null of a dry run.
    pub(in super::super) written_bytes: Option<u64>,
    /// How the parts came there; null of a dry run.
    pub(in super::super) placed: Option<PlacedTotals>,
    /// What the snapshot holds of tables without parts; null of a dry run.
    pub(in super::super) dumped: Option<DumpTotals>,
    /// Of the parts, what an interrupted run had copied; null of a dry run.
    pub(in super::super) resumed: Option<PartTally>,
    /// Files that were copied because an equal one has as many links as it may have; null of a dry run.
    pub(in super::super) link_limit_files: Option<u64>,
    /// Seconds spent in each stage, and in all of them together as `total`; null of a dry run.
    pub(in super::super) seconds: Option<BTreeMap<&'static str, f64>>,
    /// Of a dry run: each table that would be taken.
    pub(in super::super) plan: Option<Vec<PlannedTable>>,
    /// Of a dry run: each table whose rows would be dumped.
    pub(in super::super) dumps: Option<Vec<PlannedDump>>,
    /// Of a dry run: how many more definitions would be kept.
    pub(in super::super) definitions: Option<u64>,
    /// Of a dry run: the server's version.
    pub(in super::super) server_version: Option<String>,
}

/// A table that would be taken.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct PlannedTable {
    /// Its database.
    pub(in super::super) database: String,
    /// Its name.
    pub(in super::super) table: String,
    /// Its UUID, where it has one.
    pub(in super::super) uuid: Option<TableUuid>,
    /// Its engine.
    pub(in super::super) engine: String,
    /// Its partitions.
    pub(in super::super) partitions: Vec<String>,
    /// Its parts.
    pub(in super::super) parts: u64,
    /// Their size as the server counts it.
    pub(in super::super) apparent_bytes: u64,
    /// What would be frozen: `table`, `partitions` or `nothing`.
    pub(in super::super) freeze: String,
    /// The partitions that would be frozen, where it is not the whole table.
    pub(in super::super) freeze_partitions: Vec<String>,
    /// Parts that would be linked from an earlier snapshot or from the live table instead.
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
    /// Its UUID, where it has one.
    pub(in super::super) uuid: Option<TableUuid>,
    /// Its engine.
    pub(in super::super) engine: String,
    /// How.
    pub(in super::super) kind: DumpKind,
}
