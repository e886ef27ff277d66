//! What a `verify` is asked, and what it answers.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::exec::verify::{InodeKey, Tally};
use crate::model::{DamageKind, DriftKind, Level, PartName, SnapshotId, TableName, Warning};
use crate::plan::{Slice, SliceChoice, SnapshotReference, TablePattern};

/// What a `verify` is asked to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// The snapshots; all where none is named.
    pub references: Vec<SnapshotReference>,
    /// How thoroughly.
    pub level: Level,
    /// Which tables; all where none is named.
    pub tables: Vec<TablePattern>,
    /// Read only what no check has read for so long.
    pub since: Option<Duration>,
    /// Only this share of the parts.
    pub slice: Option<SliceChoice>,
    /// How many bytes a second may be read.
    pub bytes_per_second: Option<u64>,
    /// Whether damaged entries are replaced where an intact copy is found.
    pub repair: bool,
    /// Threads that read.
    pub jobs: usize,
    /// How long to wait for the lock, which is needed to write down what was found, and to repair.
    pub lock_wait: Duration,
}

/// An intact copy of what is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intact {
    /// The snapshot that has it.
    pub id: SnapshotId,
    /// Where, relative to it.
    pub path: PathBuf,
}

/// What came of repairing one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// All its entries are links of the intact copy now.
    Done,
    /// Why not; where there are several entries, some may have been replaced.
    Failed(String),
}

/// One thing that is wrong, wherever it is.
#[derive(Clone, Debug)]
pub struct Damage {
    /// What is wrong.
    pub kind: DamageKind,
    /// The table that it is of.
    pub table: Option<TableName>,
    /// The part that it is of.
    pub part: Option<PartName>,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// Where: each snapshot, and the path relative to it. Not empty, the newest snapshot first.
    pub places: Vec<(SnapshotId, PathBuf)>,
    /// Every part that it is in, with the snapshots in which it is damaged: parts of several names and tables share an inode
    /// after a mutation, an attached partition or a rename.
    pub parts: BTreeSet<(TableName, PartName, SnapshotId)>,
    /// The inode, where that is what is wrong.
    pub inode: Option<InodeKey>,
    /// Whether the inode has entries that are in no snapshot: the live table, most likely.
    pub is_linked_outside: bool,
    /// Whether it was so on the server already.
    pub noted: bool,
    /// An intact copy under another inode, which was read.
    pub intact: Option<Intact>,
    /// What came of the repair, where one was asked for.
    pub repair: Option<Repair>,
}

/// Files and directories of one part whose owner or mode is not the one of the record. No damage: see [`Damage`].
#[derive(Clone, Debug)]
pub struct Drift {
    /// What differs.
    pub kind: DriftKind,
    /// The table.
    pub table: TableName,
    /// The part.
    pub part: PartName,
    /// What is recorded.
    pub expected: String,
    /// What is found.
    pub found: String,
    /// The snapshots in which it was found, in the order in which they were made; not empty.
    pub ids: Vec<SnapshotId>,
    /// One of the files or directories, relative to each of these snapshots.
    pub path: PathBuf,
    /// How many inodes differ in this way.
    pub inodes: u64,
}

/// What a `verify` found.
#[derive(Debug, Default)]
pub struct Report {
    /// When it began.
    pub begun: Option<DateTime<Utc>>,
    /// The snapshots that were checked, in the order in which they were made.
    pub ids: Vec<SnapshotId>,
    /// Patterns of the tables that were checked, as the journal has them; none for all.
    pub tables: Vec<String>,
    /// The share of the parts that was checked; all where there is none.
    pub slice: Option<Slice>,
    /// Those of them whose files could not keep their owners and modes: these were not compared.
    pub ids_not_kept: Vec<SnapshotId>,
    /// What was checked of parts.
    pub tally: Tally,
    /// Files checked that are no part's: definitions, unfinished mutations.
    pub metadata_files: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// Owners and modes that are not those of the record, by table, part and kind.
    pub drift: Vec<Drift>,
    /// Snapshots that went away meanwhile.
    pub removed: Vec<SnapshotId>,
    /// Why parts have no checksums that can be used, with how many have it so.
    pub unverifiable: Vec<(String, u64)>,
    /// Since when every byte has been read, where earlier checks spared some their reading.
    pub oldest: Option<DateTime<Utc>>,
    /// Entries that were replaced.
    pub repaired: u64,
    /// Whether the journal has it.
    pub is_recorded: bool,
    /// What the person should know.
    pub warnings: Vec<Warning>,
    /// Seconds that reading and comparing took.
    pub read_seconds: f64,
    /// Seconds that all of it took.
    pub seconds: f64,
}
