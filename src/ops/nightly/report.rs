//! The report of a night so far.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::model::{SnapshotId, Warning};
use crate::plan::{Missed, worst_code};

use super::step::{Created, Step, StepFindings, StepProblem, StepResult};

/// A night and its steps. `D` is the document that a front end keeps of a step.
#[derive(Clone, Debug)]
pub struct NightReport<D> {
    /// Its configuration profile, if it has a name.
    pub profile: Option<String>,
    /// The repository, if one is named.
    pub repository: Option<PathBuf>,
    /// When it began.
    pub started: DateTime<Utc>,
    /// When it ended.
    pub finished: DateTime<Utc>,
    /// How long it took.
    pub seconds: f64,
    /// All steps so far, in order.
    pub steps: Vec<Step<D>>,
    /// Warnings of the night itself; each step has its own.
    pub warnings: Vec<Warning>,
    /// Notes that a person may want to read and need not act on.
    pub notes: Vec<String>,
    /// The nights without a snapshot before this one.
    pub missed: Option<Missed>,
    /// The number of retries to reach the server.
    pub retries: u32,
    /// Free bytes of the repository's filesystem at the start.
    pub free_bytes_before: Option<u64>,
    /// Free bytes at the end.
    pub free_bytes_after: Option<u64>,
    /// Tables of the last complete snapshot of the main series before this night.
    pub(super) tables_before: u64,
}

impl<D> NightReport<D> {
    /// A night at its start.
    #[must_use]
    pub fn begin(profile: Option<String>, repository: Option<PathBuf>, now: DateTime<Utc>) -> Self {
        Self {
            profile,
            repository,
            started: now,
            finished: now,
            seconds: 0.0,
            steps: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            missed: None,
            retries: 0,
            free_bytes_before: None,
            free_bytes_after: None,
            tables_before: 0,
        }
    }

    /// The exit code: that of the worst step, or of the signal that was received.
    #[must_use]
    pub fn exit_code(&self, signal: Option<u8>) -> u8 {
        let warned = (!self.warnings.is_empty()).then_some(3);
        worst_code(self.steps.iter().map(Step::code).chain(signal).chain(warned))
    }

    /// The worst problem, if there was one.
    #[must_use]
    pub fn problem(&self, code: u8) -> Option<StepProblem> {
        let worst = self.steps.iter().filter(|step| step.code() == code).find_map(Step::problem);
        worst.or_else(|| self.steps.iter().find_map(Step::problem))
    }

    /// The snapshot that was made.
    #[must_use]
    pub fn created(&self) -> Option<&Created> {
        let created = |step: &Step<D>| matches!(step.found, Some(StepFindings::Created(_)));
        match self.steps.iter().rev().find(|step| created(step))?.found.as_ref()? {
            StepFindings::Created(created) => Some(created),
            _ => None,
        }
    }

    /// Snapshots that the policy moved to the trash, in the order of their removal.
    #[must_use]
    pub fn removed(&self) -> Vec<SnapshotId> {
        let done = self.steps.iter().filter(|step| step.is_done());
        done.filter_map(|step| match &step.found {
            Some(StepFindings::Pruned(pruned)) => Some(pruned.remove.clone()),
            _ => None,
        })
        .flatten()
        .collect()
    }

    /// Snapshots that were deleted.
    #[must_use]
    pub fn deleted(&self) -> Vec<SnapshotId> {
        let deleted = self.steps.iter().filter_map(|step| match &step.found {
            Some(StepFindings::Reclaimed(reclaimed)) => Some(reclaimed.deleted.clone()),
            _ => None,
        });
        deleted.flatten().collect()
    }

    /// Warnings of the night and of its steps, the latter prefixed with the step.
    #[must_use]
    pub fn all_warnings(&self) -> Vec<Warning> {
        let of_steps = self
            .steps
            .iter()
            .flat_map(|step| step.warnings.iter().cloned().map(move |warning| warning.from_origin(step.name)));
        self.warnings.iter().cloned().chain(of_steps).collect()
    }

    /// The steps that began.
    pub fn begun(&self) -> impl Iterator<Item = &Step<D>> {
        self.steps.iter().filter(|step| !matches!(step.result, StepResult::Skipped(_)))
    }
}
