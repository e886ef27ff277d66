//! What a `create` is asked, and what it answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::exec::PlaceMode;
use crate::model::{DumpTotals, Label, PathMap, Placed, SnapshotId, Tally, Totals, Warning};
use crate::plan::Selection;

/// Tells the time: the engine never asks for it itself.
pub type Clock<'a> = &'a (dyn Fn() -> DateTime<Utc> + Sync);

/// What a `create` freezes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeMode {
    /// The partitions that are not as in the last snapshot; the others are linked from there.
    Changed,
    /// Everything.
    All,
}

impl FreezeMode {
    /// The mode's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::All => "all",
        }
    }
}

/// What becomes of what the repository's filesystem cannot keep of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdsMode {
    /// Nothing is copied to it.
    #[default]
    Keep,
    /// It is written in the list of parts.
    Record,
}

impl IdsMode {
    /// The mode's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Record => "record",
        }
    }
}

/// A pin that a new snapshot is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedPin {
    /// Why; may be empty.
    pub reason: String,
    /// Until when; for ever where that is not said.
    pub until: Option<DateTime<Utc>>,
}

/// What a `create` is asked to do.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct Request {
    /// Which tables and partitions.
    pub selection: Selection,
    /// A label for the snapshot.
    pub label: Label,
    /// How it is to be pinned, if it is.
    pub pin: Option<RequestedPin>,
    /// What is frozen.
    pub freeze: FreezeMode,
    /// How parts may be placed.
    pub place: PlaceMode,
    /// What becomes of owners, modes, times and attributes that the repository's filesystem cannot keep.
    pub ids: IdsMode,
    /// Whether what is copied is held against the parts' checksums on the way.
    pub verifies_copies: bool,
    /// Whether equal hashes are enough for files of two tables to be linked, without their bytes being compared.
    pub trusts_hash: bool,
    /// Whether a part that an earlier snapshot holds under other inodes is linked from there.
    pub relinks: bool,
    /// Bytes that are copied in a second, at most.
    pub copy_rate: Option<u64>,
    /// Threads of the server for one freeze; none for what it is set to.
    pub freeze_threads: Option<u16>,
    /// Whether the rows of each part are summed, for a later trial to compare.
    pub digest: bool,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// Tables that are frozen at once.
    pub freeze_jobs: usize,
    /// Free bytes without which nothing is begun.
    pub min_free_bytes: u64,
    /// Take the server even if the repository belongs to another one.
    pub allow_other_server: bool,
    /// Folders of configuration that are kept in the snapshot, as the server sees them.
    pub configs: Vec<PathBuf>,
    /// How the server's paths are to be read here.
    pub paths: PathMap,
    /// How long a freeze may run before it is said what it may be waiting for.
    pub patience: Duration,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
}

/// What a `create` did.
#[derive(Clone, Debug)]
pub struct Report {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    pub label: Label,
    /// What it holds.
    pub totals: Totals,
    /// How its parts came there.
    pub placed: Placed,
    /// Of these, what an interrupted run had copied.
    pub resumed: Tally,
    /// What the snapshot holds of tables without parts.
    pub dumped: DumpTotals,
    /// Files that were copied because an equal one has as many links as it may have.
    pub afresh_files: u64,
    /// What the person should know: with any of these the exit code is 3.
    pub warnings: Vec<Warning>,
    /// Seconds spent in each stage, and in all of them together as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}
