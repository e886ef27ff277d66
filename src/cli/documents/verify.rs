use chrono::{DateTime, Utc};
use chsnap::model::{Level, PartName};
use chsnap::plan::Slice;
use schemars::JsonSchema;
use serde::Serialize;

/// `verify`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct VerifyDocument {
    /// `sound`; `drifted` where owners or modes are all that differs; `damaged`; `noted_damaged` where this check found nothing
    /// and did not read what an earlier one found damaged.
    pub(in super::super) state: String,
    /// How much was checked.
    pub(in super::super) level: Level,
    /// The share of the parts that was checked; null for all.
    pub(in super::super) slice: Option<Slice>,
    /// What was checked.
    pub(in super::super) checked: CheckedTotals,
    /// The snapshots that were checked, in the order in which they were made.
    pub(in super::super) snapshots: Vec<String>,
    /// Those of them that an earlier check found damaged, and this one did not read.
    pub(in super::super) noted_damaged: Vec<String>,
    /// What is wrong.
    pub(in super::super) damage: Vec<DamageRow>,
    /// Owners and modes that are not those of the record.
    pub(in super::super) drift: Vec<DriftRow>,
    /// Entries that were replaced.
    pub(in super::super) repaired: u64,
    /// Snapshots that went away meanwhile.
    pub(in super::super) removed: Vec<String>,
    /// Snapshots whose files could not keep their owners and modes: these were not compared.
    pub(in super::super) ids_not_compared: Vec<String>,
    /// Why parts have no checksums that can be used.
    pub(in super::super) unverifiable: Vec<UnverifiableRow>,
    /// Since when every byte has been read, where earlier checks spared some their reading.
    pub(in super::super) oldest: Option<DateTime<Utc>>,
    /// Whether the journal has it.
    pub(in super::super) recorded: bool,
    /// Seconds that all of it took.
    pub(in super::super) seconds: f64,
    /// Seconds that reading and comparing took.
    pub(in super::super) read_seconds: f64,
}

/// What was checked.
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
    /// Files that are no part's.
    pub(in super::super) metadata_files: u64,
    /// Files that were read.
    pub(in super::super) read_files: u64,
    /// Bytes that were read.
    pub(in super::super) read_bytes: u64,
    /// Parts that were not read because an earlier check has read them.
    pub(in super::super) spared_parts: u64,
    /// Parts without checksums that can be used.
    pub(in super::super) unverifiable_parts: u64,
    /// Files in them.
    pub(in super::super) unverifiable_files: u64,
    /// Sum of their sizes.
    pub(in super::super) unverifiable_bytes: u64,
}

/// Something that is wrong.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DamageRow {
    /// Where it is, in the newest of the snapshots.
    pub(in super::super) path: String,
    /// The bytes of that in base64, where they are not UTF-8.
    pub(in super::super) path_base64: Option<String>,
    /// `manifest`, `missing`, `extra`, `type`, `size`, `content` or `unreadable`.
    pub(in super::super) kind: String,
    /// The table that it is of.
    pub(in super::super) table: Option<String>,
    /// The part that it is of.
    pub(in super::super) part: Option<PartName>,
    /// The snapshots in which it is.
    pub(in super::super) snapshots: Vec<String>,
    /// What should be.
    pub(in super::super) expected: String,
    /// What is.
    pub(in super::super) found: String,
    /// Everywhere where it is.
    pub(in super::super) paths: Vec<String>,
    /// Whether something outside of the repository links it: the live table, most likely.
    pub(in super::super) linked_outside: bool,
    /// Whether it was so on the server already.
    pub(in super::super) damaged_when_taken: bool,
    /// An intact copy, which was read; null where there is none.
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
    /// Where it is.
    pub(in super::super) path: String,
    /// The bytes of that in base64, where they are not UTF-8.
    pub(in super::super) path_base64: Option<String>,
}

/// An owner or mode that is not the one of the record.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DriftRow {
    /// One of the files or directories, in the newest of the snapshots.
    pub(in super::super) path: String,
    /// The bytes of that in base64, where they are not UTF-8.
    pub(in super::super) path_base64: Option<String>,
    /// What differs.
    pub(in super::super) kind: String,
    /// The table.
    pub(in super::super) table: String,
    /// The part.
    pub(in super::super) part: PartName,
    /// The snapshots in which it was found.
    pub(in super::super) snapshots: Vec<String>,
    /// What is recorded.
    pub(in super::super) expected: String,
    /// What is found.
    pub(in super::super) found: String,
    /// How many inodes differ in this way.
    pub(in super::super) inodes: u64,
}

/// Why parts have no checksums that can be used.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct UnverifiableRow {
    /// Why.
    pub(in super::super) reason: String,
    /// How many parts.
    pub(in super::super) parts: u64,
}
