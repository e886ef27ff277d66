//! The request and the report of a `verify`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::exec;
use crate::exec::verify::{CheckTally, InodeKey};
use crate::model::{DamageKind, DriftKind, Level, PartName, SnapshotId, TableName, Warning};
use crate::plan::{Slice, SliceChoice, SnapshotReference, TablePattern};

/// The request of a `verify`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The snapshots; all if empty.
    pub references: Vec<SnapshotReference>,
    /// How thorough the check is.
    pub level: Level,
    /// The tables; all if empty.
    pub tables: Vec<TablePattern>,
    /// If given, only parts that no check has read within this time are read.
    pub since: Option<Duration>,
    /// Only this share of the parts.
    pub slice: Option<SliceChoice>,
    /// The maximum number of bytes read per second.
    pub bytes_per_second: Option<u64>,
    /// Whether damaged entries are replaced if an intact copy is found.
    pub repair: bool,
    /// Threads that read.
    pub jobs: usize,
    /// How long to wait for the lock, which is needed to record the findings, and to repair.
    pub lock_wait: Duration,
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

impl Request {
    /// All snapshots, with the defaults of `chsnap verify`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            references: Vec::new(),
            level: Level::Size,
            tables: Vec::new(),
            since: None,
            slice: None,
            bytes_per_second: None,
            repair: false,
            jobs: exec::local_jobs(),
            lock_wait: Duration::ZERO,
        }
    }
}

crate::model::setters! { Request {
    with_references => references: Vec<SnapshotReference>,
    with_level => level: Level,
    with_tables => tables: Vec<TablePattern>,
    with_since => since: Option<Duration>,
    with_slice => slice: Option<SliceChoice>,
    with_bytes_per_second => bytes_per_second: Option<u64>,
    with_repair => repair: bool,
    with_jobs => jobs: usize,
    with_lock_wait => lock_wait: Duration,
} }

/// An intact copy of what is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intact {
    /// The snapshot that has it.
    pub id: SnapshotId,
    /// Its path, relative to that snapshot.
    pub path: PathBuf,
}

/// The outcome of one repair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// All its entries are now links to the intact copy.
    Done,
    /// The reason of the failure. If there are several entries, some may have been replaced.
    Failed(String),
}

/// One damage, in all its places.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Damage {
    /// Its kind.
    pub kind: DamageKind,
    /// The table it belongs to.
    pub table: Option<TableName>,
    /// The part it belongs to.
    pub part: Option<PartName>,
    /// The expected value.
    pub expected: String,
    /// The value found.
    pub found: String,
    /// Its places: each a snapshot, and the path relative to it. Never empty, the newest snapshot first.
    pub places: Vec<(SnapshotId, PathBuf)>,
    /// Every damaged part, with the snapshots that contain it, those in the trash included. After a mutation, an
    /// attached partition or a rename, parts of several names and tables share an inode.
    pub parts: BTreeSet<(TableName, PartName, SnapshotId)>,
    /// The damaged inode, if an inode is damaged.
    pub inode: Option<InodeKey>,
    /// Whether the inode has entries outside all snapshots: most likely in the live table.
    pub is_linked_outside: bool,
    /// Whether it was damaged on the server already.
    pub noted: bool,
    /// An intact copy under another inode, which has been read.
    pub intact: Option<Intact>,
    /// The outcome of the repair, if one was requested.
    pub repair: Option<Repair>,
}

/// Files and directories of one part whose owner or mode differs from the record. This is no damage: see [`Damage`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Drift {
    /// The kind of difference.
    pub kind: DriftKind,
    /// The table.
    pub table: TableName,
    /// The part.
    pub part: PartName,
    /// The recorded value.
    pub expected: String,
    /// The value found.
    pub found: String,
    /// The snapshots in which it was found, in the order in which they were made; never empty.
    pub ids: Vec<SnapshotId>,
    /// One of the files or directories, relative to each of these snapshots.
    pub path: PathBuf,
    /// The number of inodes that differ in this way.
    pub inodes: u64,
}

/// The report of a `verify`.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// When it began.
    pub begun: Option<DateTime<Utc>>,
    /// The snapshots that were checked, in the order in which they were made.
    pub ids: Vec<SnapshotId>,
    /// Patterns of the tables that were checked, in the journal's form; empty for all.
    pub tables: Vec<String>,
    /// The share of the parts that was checked; `None` for all.
    pub slice: Option<Slice>,
    /// Those of them whose files could not keep their owners and modes, which were not compared.
    pub ids_not_kept: Vec<SnapshotId>,
    /// Totals of the checked parts.
    pub tally: CheckTally,
    /// Checked files outside parts: definitions, unfinished mutations.
    pub metadata_files: u64,
    /// The damage.
    pub damage: Vec<Damage>,
    /// Snapshots with damage that an earlier check found, and that this one did not read.
    pub noted_damaged: Vec<SnapshotId>,
    /// Owners and modes that differ from the record, by table, part and kind.
    pub drift: Vec<Drift>,
    /// Snapshots that were removed meanwhile.
    pub removed: Vec<SnapshotId>,
    /// Why parts have no usable checksums, with the number of those parts.
    pub unverifiable: Vec<(String, u64)>,
    /// The time since which every byte has been read, if earlier checks let this one spare parts.
    pub oldest: Option<DateTime<Utc>>,
    /// Entries that were replaced.
    pub repaired: u64,
    /// Whether it was recorded in the journal.
    pub is_recorded: bool,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
    /// Seconds spent on reading and comparing.
    pub read_seconds: f64,
    /// Seconds in total.
    pub seconds: f64,
}
