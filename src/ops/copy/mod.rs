//! Snapshots copied to another repository: survey, plan, guards, then each under a lease: stage, seal, finish the
//! commit.

mod base;
mod describe;
mod each;
mod files;
mod parts;
mod request;
mod run;
mod snapshot;
mod survey;
mod target;

use chrono::{DateTime, Utc};

use crate::exec;
use crate::model::{Warning, WarningKind};
use crate::monitor::{Monitor, Stage};
use crate::repo::{Index, Locked, Repository};

use super::create::Clock;
use super::error::OpError;
use super::recover::{discard_kept, recover_and_keep};
use super::stages::Stages;

pub(in crate::ops) use base::Base;
pub(in crate::ops) use describe::{DescribedCopy, Provenance};
pub(in crate::ops) use parts::{StagedPart, difference};
pub use request::{
    CopiedSnapshot, CopiedTotals, CopyDryRun, CopyOutcome, Estimate, IntactPart, PlannedSnapshot, Report, Request,
    SnapshotCopyFailure, SourceDamage, StoppedCopy, WantedSnapshots,
};
use run::CopyRun;
use survey::CopySurvey;
pub(in crate::ops) use survey::removed;
pub use target::TargetRepository;

/// Plans a copy. Reads both repositories and changes nothing.
///
/// # Errors
/// As [`copy`], for whatever can be known before anything is changed.
pub fn dry_run(
    source: &Repository,
    target: &TargetRepository,
    request: &Request,
    now: DateTime<Utc>,
) -> Result<CopyDryRun, OpError> {
    let survey = CopySurvey::read(source, target.existing(), &request.wanted, now)?;
    target.check_server(source, request.allow_other_server)?;
    exec::pool(request.jobs)?.install(|| survey.estimate(source, target, request))
}

/// Copies snapshots of `source` into the repository at `target`, which is created if it is missing. Each snapshot is
/// committed on its own, the oldest first.
///
/// A snapshot with a part or file that is damaged in the source, and intact nowhere else there, is refused. The others
/// are copied all the same, and the report lists the refusal.
///
/// # Errors
/// If a snapshot could not be copied for another reason. Then that snapshot is not in the target, those before it stay,
/// and its unfinished tree is removed. The next copy resumes what a killed run leaves.
pub fn copy(
    source: &Repository,
    target: TargetRepository,
    request: &Request,
    now: Clock<'_>,
    monitor: &dyn Monitor,
) -> Result<Report, Box<StoppedCopy>> {
    let begun = std::time::Instant::now();
    let stages = &Stages::new(monitor);
    let mut report = Report::default();
    let copied = copy_into(source, target, (request, now, stages), &mut report);
    report.seconds = stages.seconds();
    report.seconds.insert("total", begun.elapsed().as_secs_f64());
    match copied {
        Ok(()) => Ok(report),
        Err(error) => Err(Box::new(StoppedCopy { error, report })),
    }
}

fn copy_into(
    source: &Repository,
    target: TargetRepository,
    (request, now, stages): (&Request, Clock<'_>, &Stages<'_>),
    report: &mut Report,
) -> Result<(), OpError> {
    let monitor = stages.monitor();
    let pool = &exec::pool(request.jobs)?;
    // A request that cannot be met, or that does not fit, creates no repository.
    let survey = CopySurvey::read(source, target.existing(), &request.wanted, now())?;
    target.check_server(source, request.allow_other_server)?;
    if target.existing().is_none() {
        survey.check_room_of_first(source, &target, request.min_free_bytes)?;
    }
    drop(survey);
    let repository = &target.open_or_make(now())?;
    let locked = &repository.lock("copy", now(), request.lock_wait)?;
    let (recovery, kept) = stages.run(Stage::Recover, || pool.install(|| recover_and_keep(locked, None, monitor)))?;
    // Read again, now under the lock.
    let survey = stages.run(Stage::Discover, || CopySurvey::read(source, Some(repository), &request.wanted, now()))?;
    target::bind(source, locked)?;
    let mut run = CopyRun::new(source, locked, (request, now, stages, &kept))?;
    run.report.warnings.extend(recovery.warnings());
    let copied = pool.install(|| run.copy_all(&survey));
    *report = run.report;
    report.removed_there = survey.plan.removed_there;
    // Even if nothing was copied now: an earlier copy may not have come this far.
    report.warnings.extend(latest_warning(locked));
    match copied {
        Ok(()) => discard_kept(locked, &kept, monitor)?,
        Err(error) => {
            // What an interrupted copy left is worth keeping, unless the disk is full.
            if error.is_full_disk()
                && let Err(error) = discard_kept(locked, &kept, monitor)
            {
                tracing::warn!(error = crate::monitor::chain(&error), "what an interrupted copy has left stays");
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Points `latest` of the target at its newest snapshot. All copies are committed by then, so a failure is only a
/// warning.
fn latest_warning(locked: &Locked<'_>) -> Option<Warning> {
    let pointed = Index::open(locked.repository()).and_then(|index| locked.point_latest_at(index.latest()));
    let error = pointed.err()?;
    let message = format!("latest is not updated: {}", crate::monitor::chain(&error));
    Some(Warning::new(WarningKind::CommitIncomplete, message))
}
