//! The `create` job: discover, decide, freeze, place, seal, index, release.

mod attempt;
mod background_sync;
mod copy_or_link;
mod definitions;
pub(in crate::ops) mod digest;
mod dumps;
mod freezer;
pub(in crate::ops) mod guards;
mod manifest;
mod moment;
mod placement_context;
mod previous;
mod replication;
mod request;
mod round;
mod rounds;
mod run;
mod server_state;
mod shadow;
mod snapshot_part;
mod survey;
mod table;
mod table_dir;
mod table_freezer;
mod tree;
mod unchanged;
mod unlisted;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::exec;
use crate::model::{Moment, SnapshotId, Table, Warning, WarningKind};
use crate::monitor::{Monitor, Stage};
use crate::plan::{CreatePlan, FreezeScope, Placing, SeriesKey, TableSkipReason};
use crate::repo::{BoundServer, Index, Repository};
use crate::server::{FreezeRight, Server, ServerIdentity, freeze_right};

use super::bound::{bound_server, same_server};
use super::disks::LocalDisks;
use super::error::OpError;
use super::journal::journal_warnings;
use super::read::{named, same_name_note};
use super::recover::recover_and_keep;
use super::stages::Stages;
use super::unlisted::add_unlisted;
use super::waiting::notify_slow_list;

pub use super::copy_rules::IdsMode;
use moment::{ListedTables, list_tables};
use previous::Previous;
use replication::{replication, synchronize};
pub use request::{
    Clock, CompareMode, FreezeMode, MAX_REPLICA_DELAY, Replicas, Report, Request, RequestedPin, TableTime,
};
use run::{CreateInputs, CreateRun, Sealed};
use survey::{ServerSurvey, plan, survey};
use unchanged::{DirectoryComparison, compare_all};

/// The plan of a `create`, with nothing changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CreateDryRun {
    /// The plan.
    pub plan: CreatePlan,
    /// The server that it is for.
    pub server: ServerIdentity,
    /// The moment of its tables, if they share one.
    pub moment: Option<Moment>,
}

/// The results of the checks that precede any change.
struct Preflight {
    /// The server as the repository knows it.
    bound: BoundServer,
    /// Its disks as this host sees them.
    local: LocalDisks,
    /// The tables whose parts will be copied.
    copied_disks: BTreeSet<String>,
    /// The tables at their moment, if they share one.
    listed: Option<ListedTables>,
    /// The warnings for the user.
    warning: Option<Warning>,
}

/// Makes the checks that precede any change, for a dry run too. Then lists the tables again if they are to share one
/// moment, and adds the tables that the server does not list to the survey.
fn check(
    repository: &Repository,
    server: &Server,
    survey: &mut ServerSurvey,
    request: &Request,
    now: Clock<'_>,
) -> Result<Preflight, OpError> {
    let bound = bound_server(&survey.identity, &survey.disks);
    same_server(repository, &bound, request.allow_other_server)?;
    guards::repository_is_outside(repository, &survey.disks, &request.paths)?;
    guards::enough_space(repository, request.min_free_bytes)?;
    let selection = request.selection.resolved(&survey.catalog.names());
    let is_frozen = |table: &&Table| table.is_merge_tree() && selection.wants(table.name());
    let tables = survey.catalog.tables.iter().filter(is_frozen);
    let local = LocalDisks::open(repository, &survey.disks, tables, &request.paths)?;
    guards::shadows_are_directories(&local)?;
    let copied_disks = guards::foreseen_copies(&local, repository, request.place)?;
    let listed = match request.time {
        TableTime::Each => None,
        TableTime::OneMoment => Some(list_tables(server, &local, &mut survey.catalog, &request.selection, now)?),
    };
    let warning = add_unlisted(server, &local, &survey.databases, &mut survey.catalog)?;
    Ok(Preflight { bound, local, copied_disks, listed, warning })
}

/// Plans a `create`. Compares the parts that are to be linked with the last snapshot, as `create` does while the server
/// freezes. Reads the server and the repository; changes nothing.
///
/// # Errors
/// As [`create`], for whatever can be known before anything is changed.
pub fn dry_run(
    repository: &Repository,
    server: &Server,
    request: &Request,
    now: Clock<'_>,
) -> Result<CreateDryRun, OpError> {
    let mut survey = survey(server, &request.selection)?;
    let mut unread = Vec::new();
    let pool = exec::pool(request.jobs)?;
    let series = SeriesKey::from(&request.selection);
    let mut previous = match request.freeze {
        FreezeMode::Changed => pool.install(|| Previous::read_parts(repository, &series, &mut unread))?,
        FreezeMode::All => None,
    };
    unread.extend(replication(server, request)?.warnings);
    let Preflight { local, copied_disks, listed, warning, .. } = check(repository, server, &mut survey, request, now)?;
    unread.extend(warning);
    if let Some(previous) = &mut previous {
        previous.set_placing(if copied_disks.is_empty() { Placing::Linked } else { Placing::Copied });
    }
    let mut plan = CreatePlan { copied_disks, ..plan(&survey, previous.as_ref(), &request.selection)? };
    plan.copied_disks = guards::foreseen_links(&local, &plan, repository, request.place)?;
    let how = (request.place, None);
    let taking_space = guards::disks_taking_space(&local, &plan.copied_disks, repository, how)?;
    if !taking_space.is_empty() {
        guards::foreseen_room(repository, &plan, &taking_space, request.min_free_bytes)?;
    }
    if let Some(previous) = &previous {
        let snapshots = repository.snapshot_ids()?.0.len();
        let by_directory = DirectoryComparison::of(request, now(), snapshots);
        pool.install(|| compare_all(&mut plan, previous, &local, (repository, by_directory)))?;
    }
    plan.add_expected_warnings();
    plan.warnings.extend(unread);
    plan.warnings.extend(unreachable_tables(&local, &plan)?);
    plan.warnings.extend(unfreezable(server, &plan)?);
    plan.warnings.extend(clock_warning(repository, now())?);
    plan.warnings.extend(journal_warnings(repository));
    Ok(CreateDryRun { plan, server: survey.identity, moment: listed.map(|listed| listed.moment) })
}

/// The warnings about tables that would be skipped because of their directories.
///
/// # Errors
/// If that is so of every table: then no snapshot could be made.
fn unreachable_tables(local: &LocalDisks, plan: &CreatePlan) -> Result<Vec<Warning>, OpError> {
    let mut skipped = Vec::new();
    for table in plan.freeze.iter().map(|freeze| &freeze.table) {
        skipped.extend(local.obstacle(table).map(|reason| (table.name(), reason)));
    }
    match skipped.first() {
        Some((table, reason)) if skipped.len() == plan.freeze.len() && plan.unlisted.is_empty() => {
            let (table, reason) = ((*table).clone(), TableSkipReason::Refused(reason.clone()));
            Err(OpError::NothingTaken { count: skipped.len(), table, reason })
        }
        _ => Ok((skipped.iter())
            .map(|(name, reason)| {
                Warning::of_table(WarningKind::TableSkipped, name, format!("{name} would not be taken: {reason}"))
            })
            .collect()),
    }
}

/// The warning about a user who may not freeze, if something would be frozen and the server reports that.
fn unfreezable(server: &Server, plan: &CreatePlan) -> Result<Option<Warning>, OpError> {
    if plan.freeze.iter().all(|freeze| freeze.freeze == FreezeScope::Nothing) {
        return Ok(None);
    }
    let message = match freeze_right(server)? {
        FreezeRight::ReadOnly => "this user may only read (setting readonly): create would be refused",
        FreezeRight::NotGranted => {
            "this user may not freeze every table (ALTER FREEZE PARTITION): create skips those that it may not"
        }
        FreezeRight::Granted | FreezeRight::Unknown => return Ok(None),
    };
    Ok(Some(Warning::new(WarningKind::FreezeNotGranted, message)))
}

/// Makes a snapshot.
///
/// # Errors
/// If no snapshot could be made. Then none is added, our shadows are gone or noted for the next run, and the live data
/// is unchanged. Tables that could not be taken are warnings in the report, unless no table could be taken.
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
    let run = CreateRun { repository, locked, server, request, now, monitor, stages, pool, kept: &kept };

    // The last snapshot is read while the server lists its parts: neither needs the other.
    let with_parts = request.freeze == FreezeMode::Changed;
    let mut unread = Vec::new();
    let series = SeriesKey::from(&request.selection);
    let query_id = format!("{}{}", repository.id().freeze_prefix(), now().format("%Y%m%d%H%M%S%6f"));
    let ((survey, replication), previous) = std::thread::scope(|scope| {
        let read = || -> Result<_, OpError> {
            let index = Index::open(repository)?;
            let previous = pool.install(|| Previous::read(repository, &index, &series, with_parts, &mut unread));
            Ok((index, previous))
        };
        let previous = scope.spawn(|| stages.run(Stage::Previous, read));
        let replication = synchronize(server, request, &query_id, stages);
        let survey = stages.run(Stage::Discover, || {
            notify_slow_list(server, request.patience, monitor, || survey(server, &request.selection))
        });
        ((survey, replication), previous.join().expect("reading a snapshot does not panic"))
    });
    let (mut survey, replication, (index, mut previous)) = (survey?, replication?, previous?);
    let Preflight { bound, local, copied_disks, listed, warning } = {
        let _inside = stages.enter(Stage::Discover);
        check(repository, server, &mut survey, request, now)?
    };
    unread.extend(warning);
    if let Some(previous) = &mut previous {
        previous.set_placing(if copied_disks.is_empty() { Placing::Linked } else { Placing::Copied });
    }
    let mut plan = CreatePlan { copied_disks, ..plan(&survey, previous.as_ref(), &request.selection)? };
    if listed.is_some() {
        plan.request_listed_state();
    }
    let mut warnings = plan.warnings.clone();
    warnings.extend(recovery.warnings());
    warnings.extend(clock_warning(repository, now())?);
    warnings.extend(journal_warnings(repository));
    if repository.server() != Some(&bound) {
        locked.bind(bound.clone())?;
    }
    warnings.extend(unread);
    warnings.extend(replication.warnings.iter().cloned());
    let mut incoming = locked.begin(now(), server.url(), local.shadow_places())?;
    let same_name = named(index.summaries(), &request.label);
    if let Some(note) = same_name_note(&request.label, &same_name) {
        monitor.note(&note);
    }
    let source = CreateInputs { survey, replication, plan, bound, local, listed, index, previous, warnings };
    let mut sealed = match run.build(source, &mut incoming) {
        Ok(sealed) => sealed,
        Err(error) => return Err(run.undo(error, &incoming)),
    };
    run.finish_commit(&mut sealed, &incoming);
    let Sealed { manifest, counts, warnings, .. } = sealed;
    let mut seconds = stages.seconds();
    let off_moment_tables = manifest.off_moment_tables();
    seconds.insert("total", begun.elapsed().as_secs_f64());
    Ok(Report {
        id: incoming.id(),
        time: manifest.time,
        label: manifest.label,
        same_name,
        moment: manifest.moment,
        off_moment_tables,
        totals: manifest.totals,
        placed: manifest.placed,
        dumped: manifest.dumped,
        resumed: counts.resumed(),
        recopied_files: counts.recopied_files(),
        warnings,
        seconds,
    })
}

pub(super) fn clock_warning(repository: &Repository, now: DateTime<Utc>) -> Result<Option<Warning>, OpError> {
    let newest_snapshot = repository.snapshot_ids()?.0.into_iter().map(SnapshotId::time).max();
    let newest_event = repository.events().into_iter().map(|(time, _)| time).max();
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
