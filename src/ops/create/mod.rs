//! The main job: discover, decide, freeze, place, seal, index, release.

mod attempt;
mod bring;
mod copying;
mod definitions;
pub(in crate::ops) mod digest;
mod dumps;
mod early;
mod freezer;
mod guards;
mod landing;
mod manifest;
mod previous;
mod request;
mod round;
mod rounds;
mod run;
mod server_state;
mod shadow;
mod survey;
mod table;
mod taken;
mod taker;
mod tree;
mod unchanged;
mod unlisted;
mod written;

use chrono::{DateTime, Utc};

use crate::exec;
use crate::model::{SnapshotId, Table, Warning, WarningKind};
use crate::monitor::{Monitor, Stage};
use crate::plan::{CreatePlan, SeriesKey};
use crate::repo::{BoundServer, Index, Repository};
use crate::server::{Identity, Server};

use super::bound::{bound_server, same_server};
use super::disks::LocalDisks;
use super::error::OpError;
use super::read::journal_gap;
use super::recover::recover_and_keep;
use super::stages::Stages;
use super::unlisted::add_unlisted;
use super::waiting::patiently;

use previous::Previous;
pub use request::{Clock, FreezeMode, IdsMode, Report, Request, RequestedPin};
use run::{Run, Sealed, Source};
use survey::{Survey, plan, survey};
use unchanged::compare_all;

/// What a `create` would do, with nothing touched.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// The plan.
    pub plan: CreatePlan,
    /// The server that it is for.
    pub server: Identity,
}

/// What must hold before anything is changed, for a dry run too; then what the server does not list is added to the survey.
/// The answer is the server as the repository knows it, its disks as this host sees them, and warnings.
fn check(
    repository: &Repository,
    server: &Server,
    survey: &mut Survey,
    request: &Request,
) -> Result<(BoundServer, LocalDisks, Option<Warning>), OpError> {
    let bound = bound_server(&survey.identity, &survey.disks);
    same_server(repository, &bound, request.allow_other_server)?;
    guards::repository_is_outside(repository, &survey.disks, &request.paths)?;
    guards::enough_space(repository, request.min_free_bytes)?;
    let selection = request.selection.resolved(&survey.catalog.names());
    let is_frozen = |table: &&Table| table.is_merge_tree() && selection.wants(table.name());
    let tables = survey.catalog.tables.iter().filter(is_frozen);
    let local = LocalDisks::open(repository, &survey.disks, tables, &request.paths)?;
    guards::shadows_are_directories(&local)?;
    let warning = add_unlisted(server, &local, &survey.databases, &mut survey.catalog)?;
    Ok((bound, local, warning))
}

/// Plans a `create`, and compares the parts that are to be linked with the last snapshot, as `create` does while the
/// server freezes. Reads the server and the repository; changes nothing.
///
/// # Errors
/// As [`create`], for whatever can be known before anything is changed.
pub fn dry_run(repository: &Repository, server: &Server, request: &Request) -> Result<DryRun, OpError> {
    let mut survey = survey(server, &request.selection)?;
    let mut unread = Vec::new();
    let pool = exec::pool(request.jobs)?;
    let series = SeriesKey::from(&request.selection);
    let previous = match request.freeze {
        FreezeMode::Changed => pool.install(|| Previous::read_parts(repository, &series, &mut unread))?,
        FreezeMode::All => None,
    };
    let (_, local, warning) = check(repository, server, &mut survey, request)?;
    unread.extend(warning);
    let mut plan = plan(&survey, previous.as_ref(), &request.selection)?;
    if let Some(previous) = &previous {
        pool.install(|| compare_all(&mut plan, previous, &local, repository))?;
    }
    plan.foresee();
    plan.warnings.extend(unread);
    Ok(DryRun { plan, server: survey.identity })
}

/// Makes a snapshot.
///
/// # Errors
/// If no snapshot could be made: then none stands, our shadows are gone or noted for the next run, and the live data
/// is as it was. Tables that could not be taken are warnings in the report, unless they are all there was.
pub fn create(
    repository: &Repository,
    server: &Server,
    request: &Request,
    now: Clock<'_>,
    monitor: &dyn Monitor,
) -> Result<Report, OpError> {
    let begun = std::time::Instant::now();
    let stages = &Stages::new(monitor);
    let locked = &repository.lock("create", now(), request.lock_wait)?;
    let pool = &exec::pool(request.jobs)?;
    let (recovery, kept) =
        stages.run(Stage::Recover, || pool.install(|| recover_and_keep(locked, Some(server), monitor)))?;
    let run = Run { repository, locked, server, request, now, monitor, stages, pool, kept: &kept };

    // The last snapshot is read while the server makes its list of parts: neither needs the other.
    let with_parts = request.freeze == FreezeMode::Changed;
    let mut unread = Vec::new();
    let series = SeriesKey::from(&request.selection);
    let (survey, previous) = std::thread::scope(|scope| {
        let read = || -> Result<_, OpError> {
            let index = Index::open(repository)?;
            let previous = pool.install(|| Previous::read(repository, &index, &series, with_parts, &mut unread));
            Ok((index, previous))
        };
        let previous = scope.spawn(|| stages.run(Stage::Previous, read));
        let survey = stages.run(Stage::Discover, || {
            patiently(server, request.patience, monitor, || survey(server, &request.selection))
        });
        (survey, previous.join().expect("reading a snapshot does not panic"))
    });
    let (mut survey, (index, previous)) = (survey?, previous?);
    let (bound, local, warning) = check(repository, server, &mut survey, request)?;
    unread.extend(warning);
    let plan = plan(&survey, previous.as_ref(), &request.selection)?;
    let mut warnings = plan.warnings.clone();
    warnings.extend(recovery.warnings());
    warnings.extend(clock_warning(repository, now())?);
    warnings.extend(repository.journal_gaps()?.iter().map(journal_gap));
    if repository.server() != Some(&bound) {
        locked.bind(bound.clone())?;
    }
    warnings.extend(unread);
    let mut incoming = locked.begin(now(), server.url(), local.shadow_places())?;
    let source = Source { survey, plan, bound, local, index, previous, warnings };
    let mut sealed = match run.build(source, &mut incoming) {
        Ok(sealed) => sealed,
        Err(error) => return Err(run.undo(error, &incoming)),
    };
    run.settle(&mut sealed, &incoming);
    let Sealed { manifest, counts, warnings, .. } = sealed;
    let mut seconds = stages.seconds();
    seconds.insert("total", begun.elapsed().as_secs_f64());
    Ok(Report {
        id: incoming.id(),
        time: manifest.time,
        label: manifest.label,
        totals: manifest.totals,
        placed: manifest.placed,
        dumped: manifest.dumped,
        resumed: counts.resumed(),
        afresh_files: counts.afresh_files(),
        warnings,
        seconds,
    })
}

pub(super) fn clock_warning(repository: &Repository, now: DateTime<Utc>) -> Result<Option<Warning>, OpError> {
    let newest_snapshot = repository.snapshot_ids()?.0.into_iter().map(SnapshotId::time).max();
    let newest_event = repository.events()?.into_iter().map(|(time, _)| time).max();
    let newest = newest_snapshot.max(newest_event);
    Ok(newest.filter(|newest| *newest > now + chrono::Duration::seconds(1)).map(|newest| {
        let message = format!(
            "the clock says {}, and this repository has seen {}: one of them is wrong",
            now.format("%Y-%m-%dT%H:%M:%SZ"),
            newest.format("%Y-%m-%dT%H:%M:%SZ")
        );
        Warning::new(WarningKind::ClockBehind, message)
    }))
}
