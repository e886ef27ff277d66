//! The request and the report of a `create`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::exec::{self, PlaceMode};
use crate::model::{DumpTotals, Label, Moment, PartTally, PathMap, PlacedTotals, SnapshotId, SnapshotTotals, Warning};
use crate::ops::copy_rules::{CopyRules, IdsMode};
use crate::plan::TableSelection;

/// Returns the current time: the engine never reads the clock itself.
pub type Clock<'a> = &'a (dyn Fn() -> DateTime<Utc> + Sync);

/// The extent of the freeze of a `create`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreezeMode {
    /// The partitions that changed since the last snapshot; the others are linked from there.
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

/// How a part that may be unchanged is compared with the last snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CompareMode {
    /// By the state of its directories, where the index has it; else by its files.
    #[default]
    Directories,
    /// By its files.
    Files,
}

/// The time that the tables of a snapshot represent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TableTime {
    /// Each table is as of the moment at which it is frozen.
    #[default]
    Each,
    /// All tables are as of the moment at which their parts were listed.
    OneMoment,
}

/// The pin for a new snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestedPin {
    /// Why; may be empty.
    pub reason: String,
    /// When it ends; `None` for never.
    pub until: Option<DateTime<Utc>>,
}

impl RequestedPin {
    /// A pin that holds until it is removed.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), until: None }
    }
}

crate::model::setters! { RequestedPin {
    with_until => until: Option<DateTime<Utc>>,
} }

/// How long replicated tables are waited for, and from which delay on they are a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Replicas {
    /// How long they may take to catch up with their peers; zero to skip this.
    pub sync: Duration,
    /// How long to wait for their unfinished mutations; zero to skip this.
    pub wait_mutations: Duration,
    /// The largest delay of a replica without a warning.
    pub max_delay: Duration,
}

crate::model::setters! { Replicas {
    with_sync => sync: Duration,
    with_wait_mutations => wait_mutations: Duration,
    with_max_delay => max_delay: Duration,
} }

/// The default of the delay that a replica may have.
pub const MAX_REPLICA_DELAY: Duration = Duration::from_secs(300);

/// The default of the time that replicated tables may take to catch up.
const REPLICA_SYNC: Duration = Duration::from_secs(10);
/// The default of the time after which a running freeze is reported, with what it may be waiting for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nothing is waited for.
impl Default for Replicas {
    fn default() -> Self {
        Self { sync: Duration::ZERO, wait_mutations: Duration::ZERO, max_delay: MAX_REPLICA_DELAY }
    }
}

/// The request of a `create`.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[non_exhaustive]
pub struct Request {
    /// The tables and partitions.
    pub selection: TableSelection,
    /// A label for the snapshot.
    pub label: Label,
    /// Its pin, if it gets one.
    pub pin: Option<RequestedPin>,
    /// The extent of the freeze.
    pub freeze: FreezeMode,
    /// How parts are compared with the last snapshot.
    pub compare: CompareMode,
    /// The time that the tables represent.
    pub time: TableTime,
    /// How parts may be placed.
    pub place: PlaceMode,
    /// How to treat owners, modes, times and attributes that the repository's filesystem cannot keep.
    pub ids: IdsMode,
    /// Whether copied data is compared with the parts' checksums on the way.
    pub verifies_copies: bool,
    /// Whether equal hashes suffice to link files of two tables, without comparing their bytes.
    pub trusts_hash: bool,
    /// Whether a part that an earlier snapshot holds under other inodes is linked from there.
    pub relinks: bool,
    /// The maximum number of bytes copied per second.
    pub copy_rate: Option<u64>,
    /// Threads of the server for one freeze; `None` for the server's own setting.
    pub freeze_threads: Option<u16>,
    /// Whether the rows of each part are summed, for a later drill to compare.
    pub digest: bool,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// Tables that are frozen concurrently.
    pub freeze_jobs: usize,
    /// Free bytes that are required before anything begins.
    pub min_free_bytes: u64,
    /// Accept the server even if the repository belongs to another one.
    pub allow_other_server: bool,
    /// Directories of configuration to keep in the snapshot, as the server sees them.
    pub configs: Vec<PathBuf>,
    /// How the server's paths map to paths on this host.
    pub paths: PathMap,
    /// The waits for replicated tables.
    pub replicas: Replicas,
    /// How long a freeze may run before the person is notified what it may be waiting for.
    pub patience: Duration,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
}

impl Default for Request {
    fn default() -> Self {
        Self::new()
    }
}

impl Request {
    /// Everything, with the defaults of `chsnap create`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            selection: TableSelection::default(),
            label: Label::default(),
            pin: None,
            freeze: FreezeMode::Changed,
            compare: CompareMode::Directories,
            time: TableTime::Each,
            place: PlaceMode::Auto,
            ids: IdsMode::Keep,
            verifies_copies: true,
            trusts_hash: false,
            relinks: false,
            copy_rate: None,
            freeze_threads: None,
            digest: false,
            jobs: exec::local_jobs(),
            freeze_jobs: exec::usual_freeze_jobs(),
            min_free_bytes: 0,
            allow_other_server: false,
            configs: Vec::new(),
            paths: PathMap::default(),
            replicas: Replicas { sync: REPLICA_SYNC, ..Replicas::default() },
            patience: PATIENCE,
            lock_wait: Duration::ZERO,
        }
    }
}

crate::model::setters! { Request {
    with_selection => selection: TableSelection,
    with_label => label: Label,
    with_pin => pin: Option<RequestedPin>,
    with_freeze => freeze: FreezeMode,
    with_compare => compare: CompareMode,
    with_time => time: TableTime,
    with_place => place: PlaceMode,
    with_ids => ids: IdsMode,
    with_verifies_copies => verifies_copies: bool,
    with_trusts_hash => trusts_hash: bool,
    with_relinks => relinks: bool,
    with_copy_rate => copy_rate: Option<u64>,
    with_freeze_threads => freeze_threads: Option<u16>,
    with_digest => digest: bool,
    with_jobs => jobs: usize,
    with_freeze_jobs => freeze_jobs: usize,
    with_min_free_bytes => min_free_bytes: u64,
    with_allow_other_server => allow_other_server: bool,
    with_configs => configs: Vec<PathBuf>,
    with_paths => paths: PathMap,
    with_replicas => replicas: Replicas,
    with_patience => patience: Duration,
    with_lock_wait => lock_wait: Duration,
} }

impl Request {
    /// How files are copied, and linked to files that the repository has.
    pub(super) fn copy_rules(&self) -> CopyRules {
        CopyRules {
            ids: self.ids,
            clones: self.place != PlaceMode::Copy,
            verifies: self.verifies_copies,
            trusts_hash: self.trusts_hash,
            relinks: self.relinks,
            min_free_bytes: self.min_free_bytes,
        }
    }
}

/// The report of a `create`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    pub label: Label,
    /// Other snapshots with the same name, the newest first.
    pub same_name: Vec<SnapshotId>,
    /// The moment of its tables, if they share one.
    pub moment: Option<Moment>,
    /// Tables that are not of that moment, dumped ones among them.
    pub off_moment_tables: u64,
    /// Its contents.
    pub totals: SnapshotTotals,
    /// How its parts were placed.
    pub placed: PlacedTotals,
    /// The share of those that an interrupted run had copied.
    pub resumed: PartTally,
    /// The content of tables without parts.
    pub dumped: DumpTotals,
    /// Files that were copied because an equal one has reached its link limit.
    pub recopied_files: u64,
    /// The warnings for the user: with any of them the exit code is 3.
    pub warnings: Vec<Warning>,
    /// Seconds spent in each stage, and overall as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}
