//! The request and the report of a `copy`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::exec;
use crate::model::{
    Label, PartName, PartTally, PlacedTotals, SnapshotId, SnapshotTotals, TableName, Warning, WarningKind,
};
use crate::ops::copy_rules::{CopyRules, IdsMode};
use crate::ops::error::OpError;
use crate::plan::{CopyRefusal, SnapshotReference};
use crate::repo::Pin;

/// The snapshots to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedSnapshots {
    /// The snapshots that a person named.
    Named(Vec<SnapshotReference>),
    /// All that are not in the target yet, except those that were removed there.
    New,
}

/// The request of a `copy`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// The snapshots.
    pub wanted: WantedSnapshots,
    /// How to treat owners, modes, times and attributes that the target's filesystem cannot keep.
    pub ids: IdsMode,
    /// Whether equal hashes suffice to link files of two tables, without comparing their bytes.
    pub trusts_hash: bool,
    /// The maximum number of bytes copied per second.
    pub copy_rate: Option<u64>,
    /// Threads that work on the filesystems.
    pub jobs: usize,
    /// Bytes to leave free.
    pub min_free_bytes: u64,
    /// Copy even if the target belongs to another server.
    pub allow_other_server: bool,
    /// How long to wait for the target's lock.
    pub lock_wait: Duration,
}

impl Request {
    /// A copy of these snapshots, with the defaults of `chsnap copy`.
    #[must_use]
    pub fn new(wanted: WantedSnapshots) -> Self {
        Self {
            wanted,
            ids: IdsMode::Keep,
            trusts_hash: false,
            copy_rate: None,
            jobs: exec::local_jobs(),
            min_free_bytes: 0,
            allow_other_server: false,
            lock_wait: Duration::ZERO,
        }
    }
}

crate::model::setters! { Request {
    with_ids => ids: IdsMode,
    with_trusts_hash => trusts_hash: bool,
    with_copy_rate => copy_rate: Option<u64>,
    with_jobs => jobs: usize,
    with_min_free_bytes => min_free_bytes: u64,
    with_allow_other_server => allow_other_server: bool,
    with_lock_wait => lock_wait: Duration,
} }

impl Request {
    /// How files are copied. They share no blocks with the source: a second copy whose bytes are those of the first is none.
    pub(super) fn copy_rules(&self) -> CopyRules {
        CopyRules {
            ids: self.ids,
            clones: false,
            verifies: true,
            trusts_hash: self.trusts_hash,
            relinks: false,
            min_free_bytes: self.min_free_bytes,
        }
    }
}

/// The report of a `copy`.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The snapshots, in the order in which they were made.
    pub snapshots: Vec<CopiedSnapshot>,
    /// New snapshots that were left out because they were removed from the target.
    pub removed_there: Vec<SnapshotId>,
    /// The warnings for the user: with any of them the exit code is 3.
    pub warnings: Vec<Warning>,
    /// Seconds spent in each stage, and overall as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}

/// A copy that failed. The snapshots copied before the failure stay.
#[derive(Debug)]
#[non_exhaustive]
pub struct StoppedCopy {
    /// Why it failed.
    pub error: OpError,
    /// The work that was done before the failure.
    pub report: Report,
}

/// A snapshot, and the outcome of copying it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopiedSnapshot {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    pub label: Label,
    /// The outcome.
    pub outcome: CopyOutcome,
}

/// The outcome of copying a snapshot.
#[derive(Clone, Debug)]
pub enum CopyOutcome {
    /// It is in the target now.
    Copied(Box<CopiedTotals>),
    /// It was there already, with the same content. If the source has pinned it since, it got that pin now.
    Present(Option<Pin>),
    /// It was not copied.
    Refused(SnapshotCopyFailure),
}

/// A snapshot that was copied.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopiedTotals {
    /// Its contents, and the space that it takes in the target.
    pub totals: SnapshotTotals,
    /// How its parts were placed.
    pub placed: PlacedTotals,
    /// The share of those that an interrupted copy had left.
    pub resumed: PartTally,
    /// Files that were copied because an equal one has reached its link limit.
    pub recopied_files: u64,
    /// Its definitions, dumps and other files outside parts.
    pub metadata_files: u64,
    /// The pin that was copied with it.
    pub pin: Option<Pin>,
    /// Parts and other files that are damaged in it and were copied from another snapshot of the source.
    pub intact: Vec<IntactPart>,
}

/// A part or another file that is damaged in a snapshot and was copied from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IntactPart {
    /// The problem in the snapshot that it belongs to.
    pub damage: SourceDamage,
    /// The snapshot that has it intact.
    pub from: SnapshotId,
}

impl IntactPart {
    /// The warning about it, for a copy of the snapshot `id`.
    pub(super) fn warning(&self, id: SnapshotId) -> Warning {
        let Self { damage, from } = self;
        let message = format!("{id}: {damage}; the intact copy of {from} is taken (chsnap verify --repair mends it)");
        match &damage.table {
            Some(table) => Warning::of_table(WarningKind::IntactCopy, table, message),
            None => Warning::new(WarningKind::IntactCopy, message),
        }
    }
}

/// Why a snapshot was not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotCopyFailure {
    /// The target refuses it.
    Target(CopyRefusal),
    /// It is damaged in the source, which has no intact copy of these parts or files.
    Damaged(Vec<SourceDamage>),
    /// Its manifest or list of parts cannot be read.
    Unreadable(String),
}

/// A part or file of a snapshot that differs from its record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceDamage {
    /// The table it belongs to.
    pub table: Option<TableName>,
    /// The part, if it is one.
    pub part: Option<PartName>,
    /// Where it is, relative to the snapshot.
    pub path: PathBuf,
    /// The problem.
    pub problem: String,
}

impl std::fmt::Display for SourceDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.table, &self.part) {
            (Some(table), Some(part)) => write!(f, "part {part} of {table}: {}", self.problem),
            _ => write!(f, "{}: {}", self.path.display(), self.problem),
        }
    }
}

/// The plan of a `copy`, with nothing changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CopyDryRun {
    /// The snapshots, in the order in which they were made.
    pub snapshots: Vec<PlannedSnapshot>,
    /// New snapshots that are left out because they were removed from the target.
    pub removed_there: Vec<SnapshotId>,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
}

/// A snapshot, and what a copy would do with it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedSnapshot {
    /// The snapshot.
    pub id: SnapshotId,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    pub label: Label,
    /// The planned outcome.
    pub plan: Estimate,
}

/// The planned outcome of a copy for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// It is copied.
    Copy {
        /// Parts that the target has, according to both lists of parts.
        linked: PartTally,
        /// The other parts: single files of them may be linked too.
        copied: PartTally,
        /// Parts noted as damaged in it, which are copied from another snapshot of the source.
        intact: Vec<IntactPart>,
    },
    /// It is there already.
    Present,
    /// It is there already, and gets the pin that the source has given it since.
    Pin(Pin),
    /// It is not copied.
    Refused(SnapshotCopyFailure),
}
