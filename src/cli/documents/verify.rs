use chrono::{DateTime, Utc};
use chsnap::model::{Level, PartName};
use chsnap::plan::Slice;
use schemars::JsonSchema;
use serde::Serialize;

/// `verify`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct VerifyDocument {
    /// `sound`; `drifted` if only owners or modes differ; `damaged`; `noted_damaged` if this check found no damage but
    /// did not read files that an earlier one found damaged.
    pub(in super::super) state: String,
    /// The level of the check.
    pub(in super::super) level: Level,
    /// The share of the parts that was checked; null for all.
    pub(in super::super) slice: Option<Slice>,
    /// The amount that was checked.
    pub(in super::super) checked: CheckedTotals,
    /// The snapshots that were checked, in the order in which they were made.
    pub(in super::super) snapshots: Vec<String>,
    /// Snapshots with damage that an earlier check found and this one did not read.
    pub(in super::super) noted_damaged: Vec<String>,
    /// The damage.
    pub(in super::super) damage: Vec<DamageRow>,
    /// Owners and modes that differ from the record.
    pub(in super::super) drift: Vec<DriftRow>,
    /// The number of entries that were replaced.
    pub(in super::super) repaired: u64,
    /// Snapshots that were removed meanwhile.
    pub(in super::super) removed: Vec<String>,
    /// Snapshots on a filesystem that could not keep owners and modes, which were not compared.
    pub(in super::super) ids_not_compared: Vec<String>,
    /// The reasons why parts have no usable checksums.
    pub(in super::super) unverifiable: Vec<UnverifiableRow>,
    /// The time since which every byte has been read, if some parts were spared because of earlier checks.
    pub(in super::super) oldest: Option<DateTime<Utc>>,
    /// Whether the check is recorded in the journal.
    pub(in super::super) recorded: bool,
    /// Seconds that all of it took.
    pub(in super::super) seconds: f64,
    /// Seconds that reading and comparing took.
    pub(in super::super) read_seconds: f64,
}

/// The amount that was checked.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CheckedTotals {
    /// Snapshots.
    pub(in super::super) snapshots: u64,
    /// Distinct parts.
    pub(in super::super) parts: u64,
    /// Files in them.
    pub(in super::super) files: u64,
    /// Sum of their sizes.
    pub(in super::super) bytes: u64,
    /// Files outside of parts.
    pub(in super::super) metadata_files: u64,
    /// Files that were read.
    pub(in super::super) read_files: u64,
    /// Bytes that were read.
    pub(in super::super) read_bytes: u64,
    /// Parts that were not read because an earlier check has read them.
    pub(in super::super) spared_parts: u64,
    /// Parts without usable checksums.
    pub(in super::super) unverifiable_parts: u64,
    /// Files in them.
    pub(in super::super) unverifiable_files: u64,
    /// Sum of their sizes.
    pub(in super::super) unverifiable_bytes: u64,
}

/// One finding of damage.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DamageRow {
    /// Its path in the newest of the snapshots.
    pub(in super::super) path: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) path_base64: Option<String>,
    /// `manifest`, `missing`, `extra`, `type`, `size`, `content` or `unreadable`.
    pub(in super::super) kind: String,
    /// Its table.
    pub(in super::super) table: Option<String>,
    /// Its part.
    pub(in super::super) part: Option<PartName>,
    /// The snapshots that contain it.
    pub(in super::super) snapshots: Vec<String>,
    /// The expected value.
    pub(in super::super) expected: String,
    /// The found value.
    pub(in super::super) found: String,
    /// All its paths.
    pub(in super::super) paths: Vec<String>,
    /// Whether something outside of the repository links it, most likely the live table.
    pub(in super::super) linked_outside: bool,
    /// Whether it was already damaged on the server.
    pub(in super::super) damaged_when_taken: bool,
    /// An intact copy, which was read; null if there is none.
    pub(in super::super) intact: Option<IntactRow>,
    /// With `--repair`: whether it was replaced.
    pub(in super::super) repaired: Option<bool>,
    /// With `--repair`: why not.
    pub(in super::super) not_repaired: Option<String>,
}

/// An intact copy.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct IntactRow {
    /// The snapshot that has it.
    pub(in super::super) snapshot: String,
    /// Its path.
    pub(in super::super) path: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) path_base64: Option<String>,
}

/// An owner or mode that differs from the record.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DriftRow {
    /// One of the files or directories, in the newest of the snapshots.
    pub(in super::super) path: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) path_base64: Option<String>,
    /// The difference.
    pub(in super::super) kind: String,
    /// The table.
    pub(in super::super) table: String,
    /// The part.
    pub(in super::super) part: PartName,
    /// The snapshots in which it was found.
    pub(in super::super) snapshots: Vec<String>,
    /// The recorded value.
    pub(in super::super) expected: String,
    /// The found value.
    pub(in super::super) found: String,
    /// The number of inodes that differ in this way.
    pub(in super::super) inodes: u64,
}

/// A reason why parts have no usable checksums.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UnverifiableRow {
    /// The reason.
    pub(in super::super) reason: String,
    /// The number of parts.
    pub(in super::super) parts: u64,
}
