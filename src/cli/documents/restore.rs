use std::collections::BTreeMap;

use chsnap::model::{PartName, PlacedTotals, SnapshotId, TableName};
use chsnap::ops::restore::{NativeReport, ReplicaReport, TableReport};
use chsnap::ops::{DrillState, DrilledTable};
use chsnap::plan::LeftUpdates;
use schemars::JsonSchema;
use serde::Serialize;

/// `restore`, its `--dry-run`, and both with `--to`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct RestoreDocument {
    /// `planned` for a dry run; else the worst state of a table: `nothing_to_do`, `restored`, `differs`, `incomplete`
    /// or `failed`.
    pub(in super::super) state: String,
    /// Whether this is a dry run, which changes nothing.
    pub(in super::super) dry_run: bool,
    /// The snapshot.
    pub(in super::super) snapshot: String,
    /// Its tables, or those that were selected.
    pub(in super::super) tables: Vec<RestoreTable>,
    /// Their totals.
    pub(in super::super) totals: RestoreTotals,
    /// Databases, functions and named collections that were made; null for a dry run.
    pub(in super::super) made: Option<Vec<String>>,
    /// Users, roles, quotas, policies and settings profiles, if they were compared; null with `--to`.
    pub(in super::super) access: Option<Vec<RestoreAccessRow>>,
    /// The next steps; null for a dry run.
    pub(in super::super) notes: Option<Vec<String>>,
    /// Seconds spent in each stage, and `total`; null for a dry run.
    pub(in super::super) seconds: Option<BTreeMap<&'static str, f64>>,
    /// For a dry run: the cluster on whose hosts tables are made.
    pub(in super::super) on_cluster: Option<String>,
    /// For a dry run: the clean-up after an interrupted restore.
    pub(in super::super) recovery: Option<Vec<String>>,
    /// For a dry run: databases that would be made.
    pub(in super::super) databases: Option<Vec<String>>,
    /// For a dry run: functions, named collections and workloads.
    pub(in super::super) objects: Option<Vec<ObjectRow>>,
    /// For a dry run: why the restore would be refused.
    pub(in super::super) refused: Option<Vec<String>>,
    /// With `--to`: the directory.
    pub(in super::super) path: Option<String>,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) path_base64: Option<String>,
    /// With `--to --native`: the tree for ClickHouse's own `RESTORE`.
    pub(in super::super) native: Option<NativeRow>,
    /// For a dry run with `--to`: whether the directory would be made.
    pub(in super::super) makes_directory: Option<bool>,
    /// For a dry run with `--to`: leftovers of an interrupted restore.
    pub(in super::super) leftovers: Option<Vec<String>>,
    /// For a dry run with `--to`: the obstacles.
    pub(in super::super) in_the_way: Option<Vec<ObstacleRow>>,
    /// For a dry run with `--to`: free bytes of the filesystem.
    pub(in super::super) free_bytes: Option<u64>,
    /// The damaged parts, if damage is the reason of the refusal.
    pub(in super::super) damage: Option<Vec<DamagedPartRow>>,
}

/// Totals of all tables.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct RestoreTotals {
    /// Tables whose parts were restored; for a dry run all tables and objects.
    pub(in super::super) tables: u64,
    /// Their parts.
    pub(in super::super) parts: u64,
    /// Files in them; null for a dry run.
    pub(in super::super) files: Option<u64>,
    /// Rows in them.
    pub(in super::super) rows: u64,
    /// Sum of the files' sizes.
    pub(in super::super) bytes: u64,
    /// How they were placed, or would be; null for a dry run into a server.
    pub(in super::super) placed: Option<PlacedFigures>,
    /// Tables, views, dictionaries … that could not be made; null for a dry run.
    pub(in super::super) failed: Option<u64>,
}

/// How parts are placed.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct PlacedFigures {
    /// Renamed: none.
    pub(in super::super) renamed: PlacedRow,
    /// Linked.
    pub(in super::super) linked: PlacedRow,
    /// Sharing blocks.
    pub(in super::super) reflinked: PlacedRow,
    /// Copied.
    pub(in super::super) copied: PlacedRow,
}

/// Parts of one kind.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct PlacedRow {
    /// Parts.
    pub(in super::super) parts: u64,
    /// Files in them; null for a dry run.
    pub(in super::super) files: Option<u64>,
    /// Sum of the files' sizes.
    pub(in super::super) bytes: u64,
}

impl From<PlacedTotals> for PlacedFigures {
    fn from(placed: PlacedTotals) -> Self {
        let row = |tally: chsnap::model::PartTally| PlacedRow {
            parts: tally.parts,
            files: Some(tally.files),
            bytes: tally.bytes,
        };
        Self {
            renamed: row(placed.renamed),
            linked: row(placed.linked),
            reflinked: row(placed.reflinked),
            copied: row(placed.copied),
        }
    }
}

/// A table and its planned or actual outcome.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct RestoreTable {
    /// Its database now.
    pub(in super::super) database: String,
    /// Its name now.
    pub(in super::super) table: String,
    /// Its name in the snapshot; null for a dry run with `--to`.
    pub(in super::super) from: Option<TableName>,
    /// Its engine in the snapshot.
    pub(in super::super) engine: String,
    /// `planned` for a dry run; else `restored`, `replaced`, `attached`, `created`, `present`, `fetched`, `waiting`, `skipped`,
    /// `incomplete` or `failed`.
    pub(in super::super) state: String,
    /// Rows in the snapshot for a dry run, else the server's current count.
    pub(in super::super) rows: u64,
    /// Its parts.
    pub(in super::super) parts: u64,
    /// Sum of the sizes of their files.
    pub(in super::super) bytes: u64,
    /// Why it is not restored, or only in part.
    pub(in super::super) reason: Option<String>,
    /// The stable name of that reason; null for a dry run.
    pub(in super::super) reason_kind: Option<String>,
    /// Notes and warnings about it.
    pub(in super::super) warnings: Vec<String>,
    /// Its UUID; null if it has none, or if it is not known yet.
    pub(in super::super) uuid: Option<String>,
    /// Whether the UUID differs from that in the snapshot; null for a dry run with `--to`.
    pub(in super::super) uuid_changed: Option<bool>,
    /// Other hosts of the cluster on which it is made, as `host:port`; null for a dry run with `--to`.
    pub(in super::super) made_on_hosts: Option<Vec<String>>,
    /// Rows by the manifest; this and the following fields down to `ttl_statements` are null for a dry run.
    pub(in super::super) expected_rows: Option<u64>,
    /// Rows of the snapshot that an existing table lacks because they are past its TTL.
    pub(in super::super) expired_rows: Option<u64>,
    /// Files in its parts.
    pub(in super::super) files: Option<u64>,
    /// Parts that the server lists under the same names, with equal fingerprints if both sides have one.
    pub(in super::super) verified_parts: Option<u64>,
    /// Parts that the server had merged or mutated before they could be compared.
    pub(in super::super) merged_parts: Option<u64>,
    /// Parts without rows that the server dropped as it attached the table.
    pub(in super::super) empty_parts: Option<u64>,
    /// How its parts were placed.
    pub(in super::super) placed: Option<PlacedTotals>,
    /// The new name of the table that it replaced, if that table was kept.
    pub(in super::super) replaced_table: Option<TableName>,
    /// Whether it was detached again, as it was when the snapshot was made.
    pub(in super::super) is_detached: Option<bool>,
    /// Statements that restore the omitted TTL.
    pub(in super::super) ttl_statements: Option<Vec<String>>,
    /// Its path and replica in Keeper, for a replicated table.
    pub(in super::super) replica: Option<PlannedReplica>,
    /// For a dry run: `place`, `replace`, `keep`, `skip`, `impossible` ….
    pub(in super::super) action: Option<String>,
    /// For a dry run with `--to`: `link`, `reflink` or `copy`.
    pub(in super::super) how: Option<String>,
    /// For a dry run: the content of the table that it replaces.
    pub(in super::super) replaces: Option<ReplacesRow>,
    /// For a dry run: the losses.
    pub(in super::super) losses: Option<Vec<LossRow>>,
    /// For a dry run: parts and rows that are past the TTL.
    pub(in super::super) expired: Option<ExpiredRow>,
    /// For a dry run: mutations that the server would not run.
    pub(in super::super) not_run: Option<Vec<NotRunRow>>,
}

impl From<&TableReport> for RestoreTable {
    fn from(table: &TableReport) -> Self {
        let word = serde_json::to_value(table.state).ok();
        Self {
            database: table.database.clone(),
            table: table.table.clone(),
            from: Some(table.from.clone()),
            engine: table.engine.clone(),
            state: word.and_then(|word| Some(word.as_str()?.to_owned())).unwrap_or_default(),
            rows: table.rows,
            parts: table.parts,
            bytes: table.bytes,
            reason: table.reason.as_ref().map(ToString::to_string),
            reason_kind: table.reason.as_ref().map(|reason| reason.kind().to_owned()),
            warnings: table.warnings.iter().map(|warning| warning.message.clone()).collect(),
            uuid: table.uuid.clone(),
            uuid_changed: Some(table.uuid_changed),
            made_on_hosts: Some(table.made_on_hosts.clone()),
            expected_rows: Some(table.expected_rows),
            expired_rows: Some(table.expired_rows),
            files: Some(table.files),
            verified_parts: Some(table.verified_parts),
            merged_parts: Some(table.merged_parts),
            empty_parts: Some(table.empty_parts),
            placed: Some(table.placed),
            replaced_table: table.replaced_table.clone(),
            is_detached: Some(table.is_detached),
            ttl_statements: Some(table.ttl_statements.clone()),
            replica: table.replica.clone().map(PlannedReplica::from),
            ..Self::default()
        }
    }
}

/// The state of a table in Keeper: the first seven fields for a dry run, the others for a restore.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct PlannedReplica {
    /// Its path.
    pub(in super::super) path: Option<String>,
    /// Its own name there.
    pub(in super::super) name: Option<String>,
    /// The state of that path in Keeper.
    pub(in super::super) found: Option<String>,
    /// The replicas at that path.
    pub(in super::super) replicas: Option<Vec<ReplicaHost>>,
    /// Whether it gets a new path.
    pub(in super::super) own_path: Option<bool>,
    /// Replicas that are removed from Keeper first.
    pub(in super::super) forgets: Option<Vec<String>>,
    /// Replicas that Keeper knows.
    pub(in super::super) total_replicas: Option<u64>,
    /// Those of them that have a session.
    pub(in super::super) active_replicas: Option<u64>,
    /// Unfinished entries of its queue.
    pub(in super::super) queue_size: Option<u64>,
    /// Whether it is read-only.
    pub(in super::super) is_readonly: Option<bool>,
    /// The rows of the replicas on other hosts that answer.
    pub(in super::super) hosts: Option<Vec<chsnap::ops::restore::ReplicaRows>>,
}

impl From<ReplicaReport> for PlannedReplica {
    fn from(replica: ReplicaReport) -> Self {
        Self {
            total_replicas: Some(replica.total_replicas),
            active_replicas: Some(replica.active_replicas),
            queue_size: Some(replica.queue_size),
            is_readonly: Some(replica.is_readonly),
            hosts: Some(replica.hosts),
            ..Self::default()
        }
    }
}

/// A replica that Keeper has.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ReplicaHost {
    /// Its name.
    pub(in super::super) name: String,
    /// Its host, if that is known.
    pub(in super::super) host: Option<String>,
    /// Whether it has a session.
    pub(in super::super) is_active: bool,
    /// Parts that Keeper lists for it.
    pub(in super::super) parts: u64,
}

/// The content of a table that is replaced.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ReplacesRow {
    /// Its parts.
    pub(in super::super) parts: u64,
    /// Its rows.
    pub(in super::super) rows: u64,
    /// Its bytes.
    pub(in super::super) bytes: u64,
}

/// Something that would be lost.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct LossRow {
    /// Its stable kind.
    pub(in super::super) kind: String,
    /// One sentence.
    pub(in super::super) message: String,
}

/// Parts and rows that are past the TTL.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ExpiredRow {
    /// Parts that are past it completely.
    pub(in super::super) parts: u64,
    /// Rows in them.
    pub(in super::super) rows: u64,
    /// Parts of which some rows are past it.
    pub(in super::super) partly_parts: u64,
    /// Rows in them.
    pub(in super::super) partly_rows: u64,
}

/// A mutation that the server would not run.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct NotRunRow {
    /// Its id.
    pub(in super::super) id: String,
    /// The statement to run by hand.
    pub(in super::super) statement: Option<String>,
    /// Parts that lack it.
    pub(in super::super) parts: Vec<PartName>,
}

/// A function, named collection or workload.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ObjectRow {
    /// Its kind.
    pub(in super::super) kind: String,
    /// Its name.
    pub(in super::super) name: String,
    /// `make`, `keep`, `keep_other` or `refuse`.
    pub(in super::super) action: String,
    /// Why it is refused.
    pub(in super::super) reason: Option<String>,
}

/// A user, role, quota, policy or settings profile.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RestoreAccessRow {
    /// Its kind: `user`, `row policy` ….
    pub(in super::super) kind: String,
    /// Its name.
    pub(in super::super) name: String,
    /// For a dry run: `make`, `replace`, `keep`, `differs`, `lacking`, `unknown` or `refuse`.
    pub(in super::super) action: Option<String>,
    /// The outcome; null for a dry run.
    pub(in super::super) state: Option<chsnap::ops::restore::AccessState>,
    /// The reason.
    pub(in super::super) reason: Option<String>,
}

/// The tree for ClickHouse's own `RESTORE`; for a dry run only `without_updates` is known.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct NativeRow {
    /// Files that `.backup` lists.
    pub(in super::super) entries: Option<u64>,
    /// Sum of their sizes.
    pub(in super::super) entry_bytes: Option<u64>,
    /// Files of parts that were read for their hashes.
    pub(in super::super) hashed_files: Option<u64>,
    /// Sum of their sizes.
    pub(in super::super) hashed_bytes: Option<u64>,
    /// Files of equal size and hash under different inodes, whose bytes were compared.
    pub(in super::super) compared_files: Option<u64>,
    /// The updates and mutations that restored tables lack.
    pub(in super::super) without_updates: LeftUpdates,
}

impl From<NativeReport> for NativeRow {
    fn from(report: NativeReport) -> Self {
        Self {
            entries: Some(report.entries),
            entry_bytes: Some(report.entry_bytes),
            hashed_files: Some(report.hashed_files),
            hashed_bytes: Some(report.hashed_bytes),
            compared_files: Some(report.compared_files),
            without_updates: report.without_updates,
        }
    }
}

/// Why a restore into a directory is not possible.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ObstacleRow {
    /// Its stable kind.
    pub(in super::super) kind: String,
    /// One sentence.
    pub(in super::super) message: String,
}

/// A part that is damaged.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DamagedPartRow {
    /// Its database.
    pub(in super::super) database: String,
    /// Its table.
    pub(in super::super) table: String,
    /// Its name, for a part.
    pub(in super::super) part: Option<PartName>,
    /// The problem.
    pub(in super::super) found: String,
}

/// `drill`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DrillDocument {
    /// The verdict on everything.
    pub(in super::super) state: DrillState,
    /// The snapshot.
    pub(in super::super) snapshot: SnapshotId,
    /// The selected tables.
    pub(in super::super) tables: Vec<DrilledTable>,
    /// Their totals.
    pub(in super::super) totals: DrillTotals,
    /// Seconds spent in each stage, and `total`.
    pub(in super::super) seconds: BTreeMap<&'static str, f64>,
}

/// Totals of all drilled tables.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DrillTotals {
    /// Tables with parts that were tried.
    pub(in super::super) tables: u64,
    /// The number of tables with parts in the snapshot.
    pub(in super::super) tables_in_snapshot: u64,
    /// Objects without parts whose definitions were made.
    pub(in super::super) definitions: u64,
    /// Tables that differ from the snapshot.
    pub(in super::super) failed: u64,
    /// Tables that were not tried.
    pub(in super::super) not_tried: u64,
    /// Parts that were restored.
    pub(in super::super) parts: u64,
    /// Rows that were read.
    pub(in super::super) rows: u64,
    /// Bytes that were restored.
    pub(in super::super) bytes: u64,
    /// Comparison of the digests of parts.
    pub(in super::super) digests: DrillDigests,
}

/// Comparison of the digests of parts.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DrillDigests {
    /// Parts whose digest equals the recorded one.
    pub(in super::super) equal: u64,
    /// Parts whose digest differs.
    pub(in super::super) different: u64,
    /// Parts without a digest to compare.
    pub(in super::super) unknown: u64,
}
