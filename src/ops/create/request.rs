//! What a `create` is asked, and what it answers.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::exec::PlaceMode;
use crate::model::{Label, PathMap, Placed, SnapshotId, Totals};
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

/// What a `create` is asked to do.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which tables and partitions.
    pub selection: Selection,
    /// A label for the snapshot.
    pub label: Label,
    /// A reason to pin it.
    pub pin: Option<String>,
    /// What is frozen.
    pub freeze: FreezeMode,
    /// How parts may be placed.
    pub place: PlaceMode,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// Tables that are frozen at once.
    pub freeze_jobs: usize,
    /// Free bytes without which nothing is begun.
    pub min_free_bytes: u64,
    /// Take the server even if the repository belongs to another one.
    pub allow_other_server: bool,
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
    /// What the person should know: with any of these the exit code is 3.
    pub warnings: Vec<String>,
    /// Seconds spent in each stage, and in all of them together as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}
