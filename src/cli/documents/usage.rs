use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{CostRow, PinRow};

/// `usage`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UsageDocument {
    /// The repository's directory.
    pub(in super::super) repository: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) repository_base64: Option<String>,
    /// The time of the computation.
    pub(in super::super) time: DateTime<Utc>,
    /// The filesystem of the repository.
    pub(in super::super) filesystem: SpaceRow,
    /// The selected snapshots, in the order in which they were made.
    pub(in super::super) snapshots: Vec<UsageSnapshot>,
    /// With `--by table`: a row for each table.
    pub(in super::super) tables: Option<Vec<UsageTable>>,
    /// With `--by partition`: a row for each partition.
    pub(in super::super) partitions: Option<Vec<UsageTable>>,
    /// With `--freed`: what removing these snapshots together frees.
    pub(in super::super) freed: Option<FreedRow>,
    /// The trash.
    pub(in super::super) trash: TrashTotals,
    /// The cost of the repository.
    pub(in super::super) totals: UsageTotals,
    /// The growth of the filesystem's use.
    pub(in super::super) growth: GrowthRow,
    /// Whether the figures rest on inode numbers that were recorded earlier, on a filesystem where they may have changed
    /// since; `--exact` reads them all.
    pub(in super::super) estimated: bool,
    /// With `--exact`: the comparison with the index.
    pub(in super::super) exact: Option<ExactRow>,
    /// The cost of this computation.
    pub(in super::super) cost: CostRow,
}

/// Space on a filesystem.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SpaceRow {
    /// Its size.
    pub(in super::super) size_bytes: u64,
    /// Its free bytes.
    pub(in super::super) free_bytes: u64,
    /// Its number of inodes; 0 if it has no fixed number.
    pub(in super::super) inodes: u64,
    /// Its free inodes.
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
    /// `complete`, or another state.
    pub(in super::super) state: String,
    /// Whether it is pinned.
    pub(in super::super) pinned: bool,
    /// Its pin.
    pub(in super::super) pin: Option<PinRow>,
    /// The number of tables whose parts it has.
    pub(in super::super) tables: u64,
    /// Their parts.
    pub(in super::super) parts: u64,
    /// Files in them.
    pub(in super::super) files: u64,
    /// Sum of their sizes: what a restore needs.
    pub(in super::super) apparent_bytes: u64,
    /// Bytes that they take on the disk.
    pub(in super::super) allocated_bytes: u64,
    /// Bytes on the disk that the previous snapshot did not have when this one was made.
    pub(in super::super) written_bytes: u64,
    /// Bytes of files that only this snapshot links.
    pub(in super::super) exclusive_bytes: u64,
    /// Bytes of its directories.
    pub(in super::super) directory_bytes: u64,
    /// Bytes of its manifest, definitions and other files outside of parts.
    pub(in super::super) metadata_bytes: u64,
    /// Bytes that removing only this snapshot frees.
    pub(in super::super) freed_bytes: u64,
    /// Bytes that removing it and all older ones frees.
    pub(in super::super) freed_with_older_bytes: u64,
    /// Bytes of files that something outside of the repository also links.
    pub(in super::super) live_shared_bytes: u64,
    /// If rules were given: why it stays; empty if it would be removed.
    pub(in super::super) reasons: Option<Vec<String>>,
}

/// A table, or a partition of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UsageTable {
    /// Its database.
    pub(in super::super) database: String,
    /// Its name.
    pub(in super::super) table: String,
    /// The partition; null for a table.
    pub(in super::super) partition: Option<String>,
    /// The number of its parts in the newest of these snapshots that has it.
    pub(in super::super) parts: u64,
    /// Bytes that restoring it needs.
    pub(in super::super) apparent_bytes: u64,
    /// Bytes that it takes in all of these snapshots together.
    pub(in super::super) allocated_bytes: u64,
    /// Bytes of files that something outside of the repository also links.
    pub(in super::super) live_shared_bytes: u64,
    /// Bytes of files that only these snapshots link.
    pub(in super::super) exclusive_bytes: u64,
    /// Bytes of its directories.
    pub(in super::super) directory_bytes: u64,
    /// Both: bytes that would be free without it.
    pub(in super::super) freed_bytes: u64,
}

/// The bytes that removing some snapshots together frees.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct FreedRow {
    /// The snapshots.
    pub(in super::super) snapshots: Vec<String>,
    /// Bytes of their files.
    pub(in super::super) exclusive_bytes: u64,
    /// Bytes of their directories.
    pub(in super::super) directory_bytes: u64,
    /// Both.
    pub(in super::super) freed_bytes: u64,
    /// Both, including everything already in the trash.
    pub(in super::super) freed_with_trash_bytes: u64,
}

/// The trash.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct TrashTotals {
    /// The snapshots.
    pub(in super::super) snapshots: Vec<String>,
    /// Bytes that emptying it frees.
    pub(in super::super) freed_bytes: u64,
}

/// The cost of the repository.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UsageTotals {
    /// Bytes of files that something outside of the repository also links; they cost nothing as long as it does.
    pub(in super::super) live_shared_bytes: u64,
    /// Bytes of files that only the repository links.
    pub(in super::super) pinned_by_snapshots_bytes: u64,
    /// Bytes of manifests, definitions and other files outside of parts among them.
    pub(in super::super) metadata_bytes: u64,
    /// Bytes of directories.
    pub(in super::super) directory_bytes: u64,
    /// Bytes of the index.
    pub(in super::super) index_bytes: u64,
    /// Everything except the shared files: bytes that would be free without the repository.
    pub(in super::super) cost_bytes: u64,
    /// Bytes of files that only an unfinished snapshot links.
    pub(in super::super) incoming_bytes: u64,
    /// Bytes of files that only leftover freezes of this repository link.
    pub(in super::super) shadow_bytes: u64,
    /// Freezes that do not belong to this repository.
    pub(in super::super) foreign_shadows: Vec<ForeignShadowRow>,
}

/// A freeze that does not belong to this repository.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ForeignShadowRow {
    /// Its path.
    pub(in super::super) path: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) path_base64: Option<String>,
    /// Bytes that it takes on the disk.
    pub(in super::super) allocated_bytes: u64,
    /// Bytes of files that nothing else links.
    pub(in super::super) freed_bytes: u64,
}

/// The growth of the filesystem's use.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct GrowthRow {
    /// The first sample used; null if there are too few.
    pub(in super::super) since: Option<DateTime<Utc>>,
    /// The last one.
    pub(in super::super) until: Option<DateTime<Utc>>,
    /// Bytes per day that were new in snapshots.
    pub(in super::super) written_bytes_per_day: Option<i64>,
    /// Growth of the used space in bytes per day; negative if it shrank.
    pub(in super::super) used_bytes_per_day: Option<i64>,
    /// Days until the filesystem is full at this rate; null if the use does not grow.
    pub(in super::super) days_until_full: Option<f64>,
}

/// The comparison of the exact figures with those of the index.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ExactRow {
    /// Whether they are the same.
    pub(in super::super) agrees: bool,
    /// Snapshots whose figures differed; the index has been repaired.
    pub(in super::super) differing: Vec<String>,
}
