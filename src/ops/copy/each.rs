//! The snapshots of the plan, copied one after the other.

use crate::model::SnapshotId;
use crate::ops::error::OpError;
use crate::plan::CopyDecision;
use crate::repo::{Event, Pin, RepoError};

use super::request::{CopiedSnapshot, CopyOutcome, SnapshotCopyFailure, WantedSnapshots};
use super::run::CopyRun;
use super::snapshot::SnapshotCopy;
use super::survey::{CopySurvey, removed_meanwhile};

impl CopyRun<'_> {
    /// Carries the plan out.
    pub(super) fn copy_all(&mut self, survey: &CopySurvey) -> Result<(), OpError> {
        self.report.warnings.extend(survey.warnings.iter().cloned());
        for (id, decision) in &survey.plan.snapshots {
            let Some(summary) = survey.summary(*id) else { continue };
            let outcome = match *decision {
                CopyDecision::Present => CopyOutcome::Present(None),
                CopyDecision::Pin => CopyOutcome::Present(self.pin(*id, survey)?),
                CopyDecision::Refused(refusal) => CopyOutcome::Refused(SnapshotCopyFailure::Target(refusal)),
                CopyDecision::Copy { sequence } => match self.copy_one((*id, sequence))? {
                    Some(outcome) => outcome,
                    None => continue,
                },
            };
            let (time, label) = (summary.time, summary.label.clone());
            self.report.snapshots.push(CopiedSnapshot { id: *id, time, label, outcome });
        }
        Ok(())
    }

    /// Gives a snapshot that is already in the target the pin that the source has since given it.
    fn pin(&self, id: SnapshotId, survey: &CopySurvey) -> Result<Option<Pin>, OpError> {
        let Some(pin) = survey.pins.get(&id) else { return Ok(None) };
        self.locked.set_pin(id, pin)?;
        let pinned = Event::Pinned { id, reason: pin.reason.clone(), until: pin.until };
        self.locked.record((self.now)(), &pinned)?;
        Ok(Some(pin.clone()))
    }

    /// Copies one snapshot. `None` if a snapshot that was not named was removed meanwhile, which can happen at any
    /// time.
    fn copy_one(&mut self, planned: (SnapshotId, u64)) -> Result<Option<CopyOutcome>, OpError> {
        let (id, _) = planned;
        let lease = match self.source.lease(id) {
            Ok(lease) => lease,
            Err(RepoError::NoSnapshot { .. }) if self.request.wanted == WantedSnapshots::New => {
                self.report.warnings.push(removed_meanwhile(id));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        SnapshotCopy { run: self, planned, lease }.copy().map(Some)
    }
}
