//! The main job: discover, decide, freeze, place, seal, index, release.

mod bring;
mod copying;
mod definitions;
pub(in crate::ops) mod digest;
mod guards;
mod manifest;
mod previous;
mod request;
mod round;
mod rounds;
mod table;
mod unchanged;
mod written;

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};

use crate::exec;
use crate::fs;
use crate::model::{Part, SnapshotId, TableName};
use crate::monitor::{Monitor, Stage, Work};
use crate::plan::{CreatePlan, Selection, plan_create};
use crate::repo::{BoundServer, Event, Incoming, Index, Locked, NewPart, PartRecord, Pin, Repository, Sources};
use crate::server::{self, Identity, Server};

use super::disks::{LocalDisks, foreign_disk};
use super::error::OpError;
use super::recover::{self, Kept, discard_kept, recover_and_keep};
use super::stages::Stages;
use super::waiting::patiently;

use copying::{Copying, Counts, Leftover};
pub(super) use guards::same_server;
use manifest::Described;
use previous::Previous;
pub use request::{Clock, FreezeMode, IdsMode, Report, Request};
use rounds::Rounds;
use table::Taker;

/// What a `create` would do, with nothing touched.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// The plan.
    pub plan: CreatePlan,
    /// The server that it is for.
    pub server: Identity,
}

struct Discovered {
    identity: Identity,
    databases: Vec<server::DatabaseRow>,
    disks: Vec<server::Disk>,
    plan: CreatePlan,
}

fn discover(server: &Server, selection: &Selection) -> Result<Discovered, OpError> {
    // What the server is does not change meanwhile: it is asked beside the list of parts, which takes a server longest.
    let about = || -> Result<_, server::ServerError> {
        Ok((server::identity(server)?, server::disks(server)?, server::databases(server)?))
    };
    let (about, catalog) = std::thread::scope(|scope| {
        let about = scope.spawn(about);
        let catalog = server::survey(server, selection.names_system());
        (about.join().expect("asking the server does not panic"), catalog)
    });
    let ((identity, disks, databases), catalog) = (about?, catalog?);
    let plan = plan_create(&catalog, selection, |table| foreign_disk(&disks, table));
    if !plan.unmatched.is_empty() {
        return Err(OpError::NothingNamed { names: plan.unmatched });
    }
    Ok(Discovered { identity, databases, disks, plan })
}

/// What must hold before anything is touched, for a dry run too. The answer is the server as the repository knows it,
/// and its disks as this host sees them.
fn check(
    repository: &Repository,
    discovered: &Discovered,
    request: &Request,
) -> Result<(BoundServer, LocalDisks), OpError> {
    let bound = bound_server(&discovered.identity, &discovered.disks);
    guards::same_server(repository, &bound, request.allow_other_server)?;
    guards::repository_is_outside(repository, &discovered.disks, &request.paths)?;
    guards::enough_space(repository, request.min_free_bytes)?;
    let local = LocalDisks::open(repository, &discovered.disks, &discovered.plan, &request.paths)?;
    guards::shadows_are_directories(&local)?;
    Ok((bound, local))
}

/// Says what a `create` would do. Reads the server and, where there is one, the repository; touches nothing.
///
/// # Errors
/// As [`create`], for whatever can be known before anything is touched.
pub fn dry_run(repository: &Repository, server: &Server, request: &Request) -> Result<DryRun, OpError> {
    let discovered = discover(server, &request.selection)?;
    check(repository, &discovered, request)?;
    Ok(DryRun { plan: discovered.plan, server: discovered.identity })
}

/// Makes a snapshot.
///
/// # Errors
/// If no snapshot could be made: then none stands, our shadows are gone or noted for the next run, and the live data
/// is as it was. Tables that could not be taken are warnings in the report, unless they are all there was.
#[expect(clippy::too_many_lines, reason = "the pipeline, from top to bottom")]
pub fn create(
    repository: &Repository,
    server: &Server,
    request: &Request,
    now: Clock<'_>,
    monitor: &dyn Monitor,
) -> Result<Report, OpError> {
    let begun = std::time::Instant::now();
    let stages = Stages::new(monitor);
    let locked = repository.lock("create", now(), request.lock_wait)?;
    let pool = exec::pool(request.jobs)?;
    let (recovery, kept) =
        stages.run(Stage::Recover, || pool.install(|| recover_and_keep(&locked, Some(server), monitor)))?;

    let discovered = stages.run(Stage::Discover, || {
        patiently(server, request.patience, monitor, || discover(server, &request.selection))
    })?;
    let (bound, local) = check(repository, &discovered, request)?;
    let Discovered { identity, databases, disks, plan } = discovered;
    let mut warnings = plan.warnings.clone();
    warnings.extend(recovery.pending);
    warnings.extend(clock_warning(repository, now())?);
    if repository.server() != Some(&bound) {
        locked.bind(bound.clone())?;
    }

    let with_parts = request.freeze == FreezeMode::Changed;
    let previous =
        stages.run(Stage::Decide, || pool.install(|| Previous::read(repository, with_parts, &mut warnings)))?;
    let mut incoming = locked.begin(now(), server.url(), local.shadow_places())?;
    let id = incoming.id();
    let mut sealed_with = Vec::new();
    let rate = request.copy_rate.map(fs::RateLimit::new);
    let links = exec::CopiedLinks::new(incoming.dir().clone(), copying::USUAL_LINKS, copying::REMEMBERED);
    let advanced = |bytes| {
        monitor.advanced(Stage::Place, Work { bytes, ..Work::default() });
        if server.interrupted().load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let result = (|| {
        let copied = guards::copied_disks(&local, &plan, incoming.dir(), request.place)?;
        let (keeping, clones) = guards::what_is_kept(&local, &plan, &copied, incoming.dir(), request.ids)?;
        let leftovers = if copied.is_empty() { Vec::new() } else { leftovers(&locked, &kept)? };
        let joins = !copied.is_empty() || request.relinks;
        let sources = joins.then(|| stages.run(Stage::Decide, || Sources::open(repository))).transpose()?;
        if let Some(sources) = sources.as_ref().filter(|_| !clones) {
            let is_left =
                |table: &TableName, part: &Part| leftovers.iter().any(|leftover| leftover.has(table, &part.name));
            guards::room_for_copies(repository, &plan, &copied, (sources, is_left), request.min_free_bytes)?;
        }
        if !copied.is_empty() {
            incoming.announce_copies()?;
        }
        let new_copier = || copying::copier(request, rate.as_ref(), &advanced, &links);
        let copying = Copying {
            copiers: copied.into_iter().map(|disk| (disk, new_copier())).collect(),
            joiner: new_copier(),
            keeping,
            sources,
            leftovers: &leftovers,
            repository,
            links: &links,
            request,
            counts: Counts::default(),
        };
        let freeze_threads = match request.freeze_threads {
            Some(threads) if server::knows_threads(server)? => Some(threads),
            _ => None,
        };
        let taker = Taker {
            server,
            stages: &stages,
            pool: &pool,
            local: &local,
            request,
            freeze_threads,
            previous: previous.as_ref(),
            copying: &copying,
            version: &identity.version,
        };
        let tree = Rounds { taker, now, disks: &disks }.run(&mut incoming, plan.freeze.clone(), &mut warnings)?;
        warnings.extend(link_limit_warning(copying.counts.afresh_files()));
        let seal = stages.enter(Stage::Seal);
        let definitions =
            definitions::Definitions { server, local: &local, incoming: &incoming, request, copying: &copying };
        let metadata = definitions.write(&databases, &plan, &tree, &mut warnings)?;
        let previous = previous.as_ref();
        let parts = manifest::Parts { identity, bound, plan: &plan, tree, previous, metadata, warnings: &warnings };
        let described = pool.install(|| parts.manifest(repository, &incoming, request, now()))?;
        let Described { mut manifest, records, held } = described;
        if let Some(reason) = &request.pin {
            // Before the commit: a snapshot that is to be pinned never stands without its pin.
            locked.set_pin(id, &Pin { reason: reason.clone(), since: now(), until: None })?;
        }
        if server.interrupted().load(Ordering::Relaxed) {
            return Err(OpError::Interrupted);
        }
        sealed_with = pool.install(|| incoming.seal(&mut manifest, &records))?;
        drop(seal);
        stages.finish(Stage::Seal);
        let Copying { sources, counts, .. } = copying;
        Ok((manifest, records, held, sources, counts))
    })();
    let (manifest, records, held, sources, counts) = match result {
        Ok(sealed) => sealed,
        Err(error) => {
            if error.is_full_disk()
                && let Err(error) = discard_kept(&locked, &kept, monitor)
            {
                tracing::warn!(error = crate::monitor::chain(&error), "what an interrupted run has copied stays");
            }
            let undone = stages.run(Stage::Release, || pool.install(|| abandon(&locked, server, &incoming, monitor)));
            return Err(match undone {
                Ok(()) => error,
                Err(left) => OpError::Unfinished {
                    error: Box::new(error),
                    pending: format!("{} (the next run does the rest)", crate::monitor::chain(&left)),
                },
            });
        }
    };

    // From here on the snapshot stands: what goes wrong is a warning, and the next run puts it right.
    let mut late = sealed_with;
    let mut note = |what: &str, result: Result<(), OpError>| {
        if let Err(error) = result {
            late.push(format!("{what}: {}", crate::monitor::chain(&error)));
        }
    };
    stages.run(Stage::Index, || {
        note("latest is not updated", locked.point_latest_at(Some(id)).map_err(OpError::from));
        let used_bytes =
            fs::space(repository.dir()).ok().map(|space| space.size_bytes.saturating_sub(space.free_bytes));
        let created = Event::Created { id, written_bytes: Some(manifest.totals.written_bytes), used_bytes };
        note("the journal is not written", locked.record(now(), &created).map_err(OpError::from));
        let index = Index::open(repository).map(|index| index.keep_snapshot(repository, id, held));
        note("the index is not updated", index.map_err(OpError::from));
        if let Some(sources) = sources {
            let keys = counts.take_keys();
            let keys_of = |record: &PartRecord| {
                let name = TableName::new(record.database.clone(), record.table.clone());
                keys.get(&(name, record.part.clone())).map(Vec::as_slice)
            };
            let parts: Vec<NewPart<'_>> =
                records.iter().map(|record| NewPart { record, keys: keys_of(record) }).collect();
            let added = sources.add(repository, id, manifest.sequence, &parts);
            note("the cache of sources is not updated", added.map_err(OpError::from));
        }
    });
    stages.run(Stage::Release, || {
        let released = pool.install(|| {
            recover::sweep(&locked, &incoming.intent().disks, &incoming.intent().freezes)?;
            locked.forget_intent(id)?;
            discard_kept(&locked, &kept, monitor)
        });
        note("a shadow of ours is not removed", released);
    });
    let mut warnings = manifest.warnings;
    warnings.extend(late);
    let mut seconds = stages.seconds();
    seconds.insert("total", begun.elapsed().as_secs_f64());
    Ok(Report {
        id,
        time: manifest.time,
        label: manifest.label,
        totals: manifest.totals,
        placed: manifest.placed,
        resumed: counts.resumed(),
        afresh_files: counts.afresh_files(),
        warnings,
        seconds,
    })
}

/// What interrupted runs have copied.
fn leftovers(locked: &Locked<'_>, kept: &[Kept]) -> Result<Vec<Leftover>, OpError> {
    let open = |kept: &Kept| -> Result<Option<Leftover>, OpError> {
        let Kept { intent, .. } = kept;
        // What was written before the host was started anew may never have come to the disk.
        let is_trusted = intent.host == fs::host_name() && !intent.boot.is_empty() && intent.boot == fs::boot_id();
        Ok(locked.leftover_data(intent.id)?.map(|data| Leftover { data, is_trusted }))
    };
    // The newest first.
    kept.iter().rev().map(open).filter_map(Result::transpose).collect()
}

fn link_limit_warning(afresh_files: u64) -> Option<String> {
    let limit = exec::LINK_LIMIT;
    (afresh_files > 0).then(|| {
        format!(
            "{afresh_files} files were copied although the repository has equal ones: those have {limit} links, or as many \
             as their filesystem allows; what comes next is linked to the new copies"
        )
    })
}

/// Undoes what was begun. What cannot be undone now stays with its intent for the next run.
fn abandon(
    locked: &Locked<'_>,
    server: &Server,
    incoming: &Incoming<'_>,
    monitor: &dyn Monitor,
) -> Result<(), OpError> {
    let id = incoming.id();
    if server.interrupted().load(Ordering::Relaxed) {
        let freezes = incoming.intent().freezes.len();
        let shadows = if freezes == 0 { "nothing is frozen" } else { "what the server has frozen for it is released" };
        monitor.note(&format!("undoing {id}: what was placed in incoming/ is removed, and {shadows}"));
    }
    let release = || -> Result<(), OpError> {
        if !incoming.intent().freezes.is_empty() {
            recover::release(locked, server, incoming.intent())?;
        }
        Ok(locked.forget_intent(id)?)
    };
    let discard = || -> Result<(), OpError> {
        if locked.repository().snapshot_dir(id).is_err() {
            locked.discard_incoming(id)?;
            recover::remove_discarded(locked, monitor)?;
            locked.forget_pin(id)?;
        }
        Ok(())
    };
    // Each as far as it goes: a tree that cannot be discarded is no reason to leave a shadow.
    let discarded = discard();
    release().and(discarded)
}

pub(super) fn bound_server(identity: &Identity, disks: &[server::Disk]) -> BoundServer {
    BoundServer {
        data_path: disks.first().map(|disk| disk.path.to_string_lossy().into_owned()).unwrap_or_default(),
        uuid: identity.stable_uuid().map(str::to_owned),
    }
}

pub(super) fn clock_warning(repository: &Repository, now: DateTime<Utc>) -> Result<Option<String>, OpError> {
    let newest_snapshot = repository.snapshot_ids()?.0.into_iter().map(SnapshotId::time).max();
    let newest_event = repository.events()?.into_iter().map(|(time, _)| time).max();
    let newest = newest_snapshot.max(newest_event);
    Ok(newest.filter(|newest| *newest > now + chrono::Duration::seconds(1)).map(|newest| {
        format!(
            "the clock says {}, and this repository has seen {}: one of them is wrong",
            now.format("%Y-%m-%dT%H:%M:%SZ"),
            newest.format("%Y-%m-%dT%H:%M:%SZ")
        )
    }))
}
