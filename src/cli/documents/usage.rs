use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{CostRow, PinRow};

/// `usage`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UsageDocument {
    /// The repository's directory.
    pub(in super::super) repository: String,
    /// Its bytes in base64, where they are not UTF-8.
    pub(in super::super) repository_base64: Option<String>,
    /// When it was found out.
    pub(in super::super) time: DateTime<Utc>,
    /// The filesystem of the repository.
    pub(in super::super) filesystem: SpaceRow,
    /// The snapshots that were asked for, in the order in which they were made.
    pub(in super::super) snapshots: Vec<UsageSnapshot>,
    /// With `--by table`: a row for each table.
    pub(in super::super) tables: Option<Vec<UsageTable>>,
    /// With `--by partition`: a row for each partition.
    pub(in super::super) partitions: Option<Vec<UsageTable>>,
    /// With `--freed`: what these free together.
    pub(in super::super) freed: Option<FreedRow>,
    /// What is in the trash.
    pub(in super::super) trash: TrashTotals,
    /// What the repository costs.
    pub(in super::super) totals: UsageTotals,
    /// How fast the filesystem fills.
    pub(in super::super) growth: GrowthRow,
    /// Whether the figures rest on inode numbers that were recorded earlier, on a filesystem where they may have changed
    /// since; `--exact` reads them all.
    pub(in super::super) estimated: bool,
    /// With `--exact`: how that compares with the index.
    pub(in super::super) exact: Option<ExactRow>,
    /// What it has cost to find out.
    pub(in super::super) cost: CostRow,
}

/// Space on a filesystem.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SpaceRow {
    /// Its size.
    pub(in super::super) size_bytes: u64,
    /// What of it is free.
    pub(in super::super) free_bytes: u64,
    /// Inodes that it can have; 0 where it has no limit of its own.
    pub(in super::super) inodes: u64,
    /// Those of them that are free.
    pub(in super::super) free_inodes: u64,
}

/// A snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UsageSnapshot {
    /// Its id.
    pub(in super::super) id: String,
    /// When it was begun.
    pub(in super::super) time: DateTime<Utc>,
    /// Its name.
    pub(in super::super) name: Option<String>,
    /// `complete`, or why it is not one.
    pub(in super::super) state: String,
    /// Whether it is pinned.
    pub(in super::super) pinned: bool,
    /// Its pin.
    pub(in super::super) pin: Option<PinRow>,
    /// Tables whose parts it has.
    pub(in super::super) tables: u64,
    /// Their parts.
    pub(in super::super) parts: u64,
    /// Files in them.
    pub(in super::super) files: u64,
    /// Sum of their sizes: what a restore needs.
    pub(in super::super) apparent_bytes: u64,
    /// What they take on the disk.
    pub(in super::super) allocated_bytes: u64,
    /// What of that the snapshot before it did not have when it was made.
    pub(in super::super) written_bytes: u64,
    /// Files that only it holds.
    pub(in super::super) exclusive_bytes: u64,
    /// Its directories.
    pub(in super::super) directory_bytes: u64,
    /// Its manifest, definitions and the like.
    pub(in super::super) metadata_bytes: u64,
    /// What removing it alone frees.
    pub(in super::super) freed_bytes: u64,
    /// What removing it and all that were made before it frees.
    pub(in super::super) freed_with_older_bytes: u64,
    /// Files that something outside of the repository links too.
    pub(in super::super) live_shared_bytes: u64,
    /// Where rules were given: why it stays, empty if it would go.
    pub(in super::super) reasons: Option<Vec<String>>,
}

/// A table, or a partition of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UsageTable {
    /// Its database.
    pub(in super::super) database: String,
    /// Its name.
    pub(in super::super) table: String,
    /// The partition; null of a table.
    pub(in super::super) partition: Option<String>,
    /// Its parts in the newest of these snapshots that has it.
    pub(in super::super) parts: u64,
    /// What restoring it needs.
    pub(in super::super) apparent_bytes: u64,
    /// What it takes in all of these snapshots together.
    pub(in super::super) allocated_bytes: u64,
    /// Files that something outside of the repository links too.
    pub(in super::super) live_shared_bytes: u64,
    /// Files that only these snapshots hold.
    pub(in super::super) exclusive_bytes: u64,
    /// Its directories.
    pub(in super::super) directory_bytes: u64,
    /// Both: what is free without it.
    pub(in super::super) freed_bytes: u64,
}

/// What removing some snapshots together frees.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct FreedRow {
    /// The snapshots.
    pub(in super::super) snapshots: Vec<String>,
    /// Their files.
    pub(in super::super) exclusive_bytes: u64,
    /// Their directories.
    pub(in super::super) directory_bytes: u64,
    /// Both.
    pub(in super::super) freed_bytes: u64,
    /// Both, with what is in the trash already.
    pub(in super::super) freed_with_trash_bytes: u64,
}

/// What is in the trash.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct TrashTotals {
    /// The snapshots.
    pub(in super::super) snapshots: Vec<String>,
    /// What emptying it frees.
    pub(in super::super) freed_bytes: u64,
}

/// What the repository costs.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UsageTotals {
    /// Files that something outside of the repository links too: they cost nothing as long as it does.
    pub(in super::super) live_shared_bytes: u64,
    /// Files that are there only because the repository holds them.
    pub(in super::super) pinned_by_snapshots_bytes: u64,
    /// Of those, manifests, definitions and the like.
    pub(in super::super) metadata_bytes: u64,
    /// Directories.
    pub(in super::super) directory_bytes: u64,
    /// The index.
    pub(in super::super) index_bytes: u64,
    /// All of it but the shared: what would be free without the repository.
    pub(in super::super) cost_bytes: u64,
    /// What a snapshot holds that is being built, or was left half built, and nothing else does.
    pub(in super::super) incoming_bytes: u64,
    /// What leftover freezes of this repository hold, and nothing else does.
    pub(in super::super) shadow_bytes: u64,
    /// Freezes of others.
    pub(in super::super) foreign_shadows: Vec<ForeignShadowRow>,
}

/// A freeze that is not of this repository.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ForeignShadowRow {
    /// Where it is.
    pub(in super::super) path: String,
    /// The bytes of that in base64, where they are not UTF-8.
    pub(in super::super) path_base64: Option<String>,
    /// What it takes.
    pub(in super::super) allocated_bytes: u64,
    /// What of that nothing else holds.
    pub(in super::super) freed_bytes: u64,
}

/// How fast the filesystem fills.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct GrowthRow {
    /// The first sample that it is made from; null while there are too few.
    pub(in super::super) since: Option<DateTime<Utc>>,
    /// The last one.
    pub(in super::super) until: Option<DateTime<Utc>>,
    /// Bytes per day that were new in snapshots.
    pub(in super::super) written_bytes_per_day: Option<i64>,
    /// By how much the taken space grew in a day; less than 0 where it shrank.
    pub(in super::super) used_bytes_per_day: Option<i64>,
    /// Days until nothing is free, if that goes on; null where it does not grow.
    pub(in super::super) days_until_full: Option<f64>,
}

/// How the exact figures compare with those of the index.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ExactRow {
    /// Whether they are the same.
    pub(in super::super) agrees: bool,
    /// Snapshots about which they differed; the index has been put right.
    pub(in super::super) differing: Vec<String>,
}
