//! The steps of a night, and how each can end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::{SnapshotId, Warning};
use crate::plan::GUARD_REFUSED;

/// A step of a night. Its name is that of the command, if it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepName {
    /// Opening the repository.
    Open,
    /// The hook that runs first.
    Before,
    /// The hook that runs last, if it is refused before anything else happens.
    After,
    /// Emptying the trash.
    Gc,
    /// The snapshot.
    Create,
    /// Retention.
    Prune,
    /// Verification of one share.
    Verify,
    /// A drill.
    Drill,
    /// Copies to another repository.
    Copy,
    /// Snapshots sent to an object store.
    Push,
    /// Between steps.
    Run,
}

impl StepName {
    /// The name in text and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Before => "before",
            Self::After => "after",
            Self::Gc => "gc",
            Self::Create => "create",
            Self::Prune => "prune",
            Self::Verify => "verify",
            Self::Drill => "drill",
            Self::Copy => "copy",
            Self::Push => "push",
            Self::Run => "run",
        }
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A step to carry out, with what the night itself decides about it. The rest is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Take the snapshot.
    Create,
    /// Empty the trash of snapshots that were removed longer ago than this.
    Gc {
        /// The least age.
        older_than: Duration,
    },
    /// Remove the snapshots that no rule of the policy keeps.
    Prune,
    /// Verify the next share.
    Verify {
        /// The number of shares into which all parts are divided.
        shares: u32,
    },
    /// Drill the newest snapshot.
    Drill,
    /// Copy the snapshots that another repository does not have yet.
    Copy {
        /// Its path.
        to: String,
    },
    /// Send the snapshots that an object store does not have yet.
    Push {
        /// Its address.
        to: String,
    },
}

impl Order {
    /// The step that it runs.
    #[must_use]
    pub fn step(&self) -> StepName {
        match self {
            Self::Create => StepName::Create,
            Self::Gc { .. } => StepName::Gc,
            Self::Prune => StepName::Prune,
            Self::Verify { .. } => StepName::Verify,
            Self::Drill => StepName::Drill,
            Self::Copy { .. } => StepName::Copy,
            Self::Push { .. } => StepName::Push,
        }
    }

    /// Whether the step watches for signals itself and undoes what it began. Any other step can be ended anywhere.
    #[must_use]
    pub fn hears_signals(&self) -> bool {
        matches!(self, Self::Create | Self::Drill)
    }
}

/// The snapshot that a night made.
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// Its id.
    pub id: SnapshotId,
    /// Tables in it.
    pub tables: u64,
    /// Parts in it.
    pub parts: u64,
    /// Bytes that the previous snapshot does not have.
    pub written_bytes: u64,
    /// Seconds by stage.
    pub seconds: BTreeMap<String, f64>,
}

/// The result of emptying the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaimed {
    /// Snapshots that were deleted.
    pub deleted: Vec<SnapshotId>,
    /// Bytes that became free on the filesystem.
    pub freed_bytes: u64,
}

/// A plan of retention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pruned {
    /// Snapshots that the plan moves to the trash, the oldest first. If the plan was refused they are still there.
    pub remove: Vec<SnapshotId>,
    /// The number of snapshots that it keeps.
    pub kept: u64,
}

/// The result of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyResult {
    /// The share, as `3/30`.
    pub share: String,
    /// Bytes that were read.
    pub read_bytes: u64,
    /// Paths of damaged files.
    pub damaged: Vec<String>,
    /// Parts whose owners or modes drifted.
    pub drifted: u64,
}

/// The result of a drill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drilled {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Tables with data that were drilled.
    pub tried: u64,
    /// Tables that were not restored as they were taken.
    pub failed: Vec<String>,
}

/// The result of copying to another repository, or of sending to an object store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyCounts {
    /// The path of the other repository, or the address of the store.
    pub to: String,
    /// Snapshots that were copied.
    pub copied: u64,
    /// Snapshots that were not copied, for a reason given in the step's document.
    pub refused: u64,
}

/// The results of a step, by step.
#[derive(Clone, Debug, PartialEq)]
pub enum StepFindings {
    /// Of `create`.
    Created(Created),
    /// Of `gc`.
    Reclaimed(Reclaimed),
    /// Of `prune`.
    Pruned(Pruned),
    /// Of `verify`.
    Verified(VerifyResult),
    /// Of `drill`.
    Drilled(Drilled),
    /// Of `copy` and `push`.
    Copied(CopyCounts),
}

/// Why a step was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepSkipReason {
    /// The night has made no snapshot.
    NoNewSnapshot,
    /// No retention policy is configured.
    NoPolicy,
    /// The run was asked to stop.
    Interrupted,
}

impl fmt::Display for StepSkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoNewSnapshot => "there is no new snapshot",
            Self::NoPolicy => "no policy is configured ([prune] in the configuration)",
            Self::Interrupted => "the run was interrupted",
        })
    }
}

/// A step that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// Its exit code.
    pub code: u8,
    /// The failure, with its reason.
    pub message: String,
    /// The remedy.
    pub hint: Option<String>,
    /// Whether no server answered: it may be starting.
    pub is_absent_server: bool,
}

impl StepFailure {
    /// A failure without a hint.
    #[must_use]
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, is_absent_server: false }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// It did its work.
    Done,
    /// It did its work, and a person should look at its warnings.
    Warned,
    /// A guard refused its plan, and nothing was changed.
    Refused {
        /// The reason.
        reason: String,
        /// One command that carries the plan out once.
        remedy: Option<String>,
    },
    /// It found data that differs from what was taken.
    Damaged {
        /// The damage.
        message: String,
        /// The remedy.
        hint: Option<String>,
    },
    /// It failed.
    Failed(StepFailure),
    /// It was not begun.
    Skipped(StepSkipReason),
}

/// A step that was carried out or left out. `D` is the document that a front end keeps of it.
#[derive(Clone, Debug)]
pub struct Step<D> {
    /// The step.
    pub name: StepName,
    /// How it ended.
    pub result: StepResult,
    /// Its results.
    pub found: Option<StepFindings>,
    /// Its warnings.
    pub warnings: Vec<Warning>,
    /// How long it took.
    pub seconds: f64,
    /// The document that the command returns.
    pub document: Option<D>,
}

impl<D> Step<D> {
    /// A step without a document of its own.
    #[must_use]
    pub fn bare(name: StepName, result: StepResult) -> Self {
        Self { name, result, found: None, warnings: Vec::new(), seconds: 0.0, document: None }
    }

    /// A step that failed before it had a document.
    #[must_use]
    pub fn failed(name: StepName, failure: StepFailure) -> Self {
        Self::bare(name, StepResult::Failed(failure))
    }

    /// The exit code; 0 for a step that was not begun.
    #[must_use]
    pub fn code(&self) -> u8 {
        match &self.result {
            StepResult::Done | StepResult::Skipped(_) => 0,
            StepResult::Warned => 3,
            StepResult::Refused { .. } => GUARD_REFUSED,
            StepResult::Damaged { .. } => 12,
            StepResult::Failed(failure) => failure.code,
        }
    }

    /// Whether it did its work, with or without warnings.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.result, StepResult::Done | StepResult::Warned)
    }

    /// The problem of the step, if there was one, and its remedy.
    #[must_use]
    pub fn problem(&self) -> Option<StepProblem> {
        let (message, hint) = match &self.result {
            StepResult::Done | StepResult::Warned | StepResult::Skipped(_) => return None,
            StepResult::Refused { reason, remedy } => {
                let hint = remedy.as_ref().map(|command| format!("{command} applies the plan once"));
                (format!("refused, nothing was removed: {reason}"), hint)
            }
            StepResult::Damaged { message, hint } => (message.clone(), hint.clone()),
            StepResult::Failed(failure) => (failure.message.clone(), failure.hint.clone()),
        };
        Some(StepProblem { message: format!("{}: {message}", self.name), reason: self.reason(), hint })
    }

    /// Why its plan was refused, the damage that it found, or why it was left out.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match &self.result {
            StepResult::Done | StepResult::Warned | StepResult::Failed(_) => None,
            StepResult::Refused { reason, .. } => Some(reason.clone()),
            StepResult::Damaged { message, .. } => Some(message.clone()),
            StepResult::Skipped(reason) => Some(reason.to_string()),
        }
    }
}

/// A problem of a night, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepProblem {
    /// The problem and its reason, prefixed with the step.
    pub message: String,
    /// Why the step's plan was refused, or the damage that it found.
    pub reason: Option<String>,
    /// The remedy.
    pub hint: Option<String>,
}
