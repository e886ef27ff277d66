//! One run: building a snapshot, undoing it after a failure, and the work after the commit.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use crate::exec::{self, PreservedMetadata};
use crate::fs;
use crate::model::{Catalog, CatalogFingerprint, SnapshotId, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, StageAtWork, StageWork};
use crate::ops::copying::{self, Copying, InterruptedCopy, PlacementCounts};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::ops::recover::{self, InterruptedRun, discard_kept};
use crate::ops::restore;
use crate::ops::stages::Stages;
use crate::plan::{CreatePlan, TableDump, data_left_warning};
use crate::repo::{
    BoundServer, Event, Incoming, Index, KnownParts, Locked, Manifest, NewPart, PartRecord, Pin, Repository,
    SnapshotLists, Sources,
};
use crate::server::{self, Server};

use super::background_sync::BackgroundSync;
use super::definitions;
use super::dumps::{DumpOutcome, Dumper, Dumps, LastDumps};
use super::freezer::Freezer;
use super::guards;
use super::manifest::{self, DescribedSnapshot};
use super::moment::ListedTables;
use super::placement_context::PlacementContext;
use super::previous::Previous;
use super::replication::Replication;
use super::request::{Clock, Request};
use super::rounds::Rounds;
use super::survey::ServerSurvey;
use super::table_freezer::TableFreezer;
use super::unchanged::DirectoryComparison;

/// One run, with the state that all its stages need.
pub(super) struct CreateRun<'a> {
    pub(super) repository: &'a Repository,
    pub(super) locked: &'a Locked<'a>,
    pub(super) server: &'a Server,
    pub(super) request: &'a Request,
    pub(super) now: Clock<'a>,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) stages: &'a Stages<'a>,
    pub(super) pool: &'a rayon::ThreadPool,
    /// Copies left by interrupted runs, which this run may resume.
    pub(super) kept: &'a [InterruptedRun],
}

/// The inputs of a snapshot.
pub(super) struct CreateInputs {
    pub(super) survey: ServerSurvey,
    pub(super) replication: Replication,
    pub(super) plan: CreatePlan,
    pub(super) bound: BoundServer,
    pub(super) local: LocalDisks,
    /// The tables at their moment, if they share one.
    pub(super) listed: Option<ListedTables>,
    /// The index as of the start of the run: under the lock, no other run makes a snapshot.
    pub(super) index: Index,
    pub(super) previous: Option<Previous>,
    pub(super) warnings: Vec<Warning>,
}

/// A committed snapshot.
pub(super) struct Sealed {
    pub(super) manifest: Manifest,
    pub(super) records: Vec<PartRecord>,
    pub(super) sources: Option<Sources>,
    pub(super) counts: PlacementCounts,
    /// Warnings of the manifest, and failures after the commit.
    pub(super) warnings: Vec<Warning>,
}

/// The context for the copies of a plan, if there are any.
struct CopyMeans {
    /// The metadata that the repository's filesystem keeps.
    keeping: PreservedMetadata,
    /// Copies of interrupted runs, which are resumed.
    leftovers: Vec<InterruptedCopy>,
    sources: Option<Sources>,
    /// The bytes to copy, estimated.
    bytes: u64,
}

/// A sealed snapshot's lists.
struct SealedLists {
    manifest: Manifest,
    records: Vec<PartRecord>,
    /// Failures after the commit.
    late: Vec<String>,
}

impl CreateRun<'_> {
    fn is_interrupted(&self) -> bool {
        self.server.interrupted().load(Ordering::Relaxed)
    }

    /// Freezes, places, checks and commits.
    pub(super) fn build(&self, source: CreateInputs, incoming: &mut Incoming<'_>) -> Result<Sealed, OpError> {
        let Self { repository, server, request, stages, pool, now, .. } = *self;
        let CreateInputs { survey, replication, mut plan, bound, local, listed, index, previous, mut warnings } =
            source;
        let ServerSurvey { identity, databases, disks, catalog } = survey;
        let look = look_of(catalog);
        let rate = request.copy_rate.map(fs::RateLimit::new);
        let links = exec::CopiedLinks::new(incoming.dir().clone(), copying::USUAL_LINKS, copying::REMEMBERED);
        let advanced = |bytes| {
            self.monitor.advanced(Stage::Place, StageWork { bytes, ..StageWork::default() });
            if self.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        // What was foreseen from the mounts is replaced by what a link shows.
        plan.copied_disks = guards::copied_disks(&local, &plan, incoming.dir(), request.place)?;
        let CopyMeans { keeping, leftovers, sources, bytes } = self.copy_means(&plan, &local, &index, incoming)?;
        let new_copier = || copying::copier(request.copy_rules(), rate.as_ref(), &advanced, &links);
        let copying = Copying {
            copiers: plan.copied_disks.iter().map(|disk| (disk.clone(), new_copier())).collect(),
            joiner: new_copier(),
            keeping,
            sources,
            leftovers: &leftovers,
            repository,
            links: &links,
            rules: request.copy_rules(),
            counts: PlacementCounts::default(),
        };
        let sync = BackgroundSync::default();
        let context = PlacementContext { stages, pool, local: &local, copying: &copying, sync: &sync };
        let threads = self.freeze_threads()?;
        let table_freezer = TableFreezer {
            server,
            request,
            context,
            freezer: Freezer { server, stages, pool, threads, patience: request.patience },
            previous: previous.as_ref(),
            by_directory: DirectoryComparison::of(request, incoming.intent().started, index.summaries().len()),
            listed: listed.as_ref(),
            version: &identity.version,
        };
        // A definition is read between these two readings of the restores' notes.
        let mut held = restore::held_tables(&local)?;
        let rounds = start_rounds(stages, planned_work(&plan), bytes);
        let tree = Rounds { table_freezer, now, disks: &disks }.run(
            incoming,
            plan.freeze.clone(),
            &plan.unlisted,
            look,
            &mut warnings,
        )?;
        drop(rounds);
        warnings.extend(copying::link_limit_warning(copying.counts.recopied_files()));
        let options = fs::CopyOptions::new(true, rate.as_ref(), &advanced);
        let around = (&local, previous.as_ref());
        let Dumps { outcomes: dumps, files } = self.take_dumps(&plan, incoming, around, options, &mut warnings)?;
        let sealing = stages.start(Stage::Seal, None);
        let seal = stages.enter(Stage::Seal);
        held.extend(restore::held_tables(&local)?);
        let definitions =
            definitions::DefinitionWriter { server, local: &local, incoming, request, copying: &copying, held };
        let mut metadata = definitions.write(&databases, &plan, &tree, &mut warnings)?;
        metadata.files.extend(files);
        // Nothing is linked from them any more.
        let (previous, known) = previous.map(Previous::without_parts).unzip();
        let known = known.flatten();
        let parts = manifest::ManifestInputs {
            identity,
            bound,
            replication,
            plan: &plan,
            tree,
            moment: listed.map(|listed| listed.moment),
            dumps,
            previous: previous.as_ref(),
            known: known.as_ref(),
            metadata,
            warnings: &warnings,
        };
        let described = pool.install(|| parts.manifest(&index, incoming, request, now()));
        let SealedLists { manifest, records, late } = self.seal(described, known, (&index, &sync), incoming)?;
        drop((seal, sealing));
        let Copying { sources, counts, .. } = copying;
        warnings.extend(late.into_iter().map(|message| Warning::new(WarningKind::CommitIncomplete, message)));
        Ok(Sealed { manifest, records, sources, counts, warnings })
    }

    /// Makes a snapshot durable and complete, and stores in the index what it holds.
    fn seal(
        &self,
        described: DescribedSnapshot,
        known: Option<KnownParts>,
        (index, sync): (&Index, &BackgroundSync),
        incoming: &mut Incoming<'_>,
    ) -> Result<SealedLists, OpError> {
        let Self { repository, stages, pool, .. } = *self;
        let DescribedSnapshot { mut manifest, records, notes } = described;
        self.pin(incoming.id())?;
        if self.is_interrupted() {
            return Err(OpError::Interrupted);
        }
        let keep = |lists: Option<SnapshotLists>| {
            stages.run(Stage::Index, || {
                let held = || -> Box<dyn Iterator<Item = _>> { Box::new(manifest::held(&records, &notes)) };
                // Only if all parts are intact: the tree of a damaged part may contain more than its list, so readers must
                // inspect it.
                index.keep_lists(repository, (incoming.id(), incoming.dir()), lists.as_ref());
                if let (true, Some(stamp)) = (manifest::are_whole(&notes), Index::stamp(incoming.dir())) {
                    index.keep_snapshot(repository, (incoming.id(), stamp), &held, known);
                }
            });
            sync.finish()
        };
        let late = pool.install(|| incoming.seal(&mut manifest, &records, keep))?;
        Ok(SealedLists { manifest, records, late })
    }

    /// Returns the context for the copies of a plan. Notes in the intent that there will be some.
    fn copy_means(
        &self,
        plan: &CreatePlan,
        local: &LocalDisks,
        index: &Index,
        incoming: &mut Incoming<'_>,
    ) -> Result<CopyMeans, OpError> {
        let copied = &plan.copied_disks;
        let kept = guards::what_is_kept(local, plan, copied, incoming.dir(), self.request.ids)?;
        let leftovers = if copied.is_empty() { Vec::new() } else { copying::leftovers(self.locked, self.kept)? };
        let how = (self.request.place, Some(kept.clones));
        let taking_space = guards::disks_taking_space(local, copied, self.repository, how)?;
        let sources = self.sources(plan, (&taking_space, &leftovers), index)?;
        let bytes = guards::copied_bytes(plan, &taking_space, sources.as_ref(), &leftovers);
        if !copied.is_empty() {
            incoming.announce_copies()?;
        }
        Ok(CopyMeans { keeping: kept.keeping, leftovers, sources, bytes })
    }

    /// The server's threads for one freeze, on servers that allow setting it.
    fn freeze_threads(&self) -> Result<Option<u16>, OpError> {
        Ok(match self.request.freeze_threads {
            Some(threads) if server::knows_threads(self.server)? => Some(threads),
            _ => None,
        })
    }

    /// Sources in earlier snapshots for parts that are copied or linked again, if there are such parts. Fails if copies
    /// from the disks `taking_space` would not fit.
    fn sources(
        &self,
        plan: &CreatePlan,
        (taking_space, leftovers): (&BTreeSet<String>, &[InterruptedCopy]),
        index: &Index,
    ) -> Result<Option<Sources>, OpError> {
        let Self { repository, request, stages, .. } = *self;
        if plan.copied_disks.is_empty() && !request.relinks {
            return Ok(None);
        }
        let sources = stages.run(Stage::Previous, || Sources::open(repository, index))?;
        if !taking_space.is_empty() {
            guards::room_for_copies(repository, plan, taking_space, (&sources, leftovers), request.min_free_bytes)?;
        }
        Ok(Some(sources))
    }

    /// Pins before the commit: a snapshot that is to be pinned never exists without its pin.
    fn pin(&self, id: SnapshotId) -> Result<(), OpError> {
        let Some(pin) = &self.request.pin else { return Ok(()) };
        let pin = Pin { reason: pin.reason.clone(), since: (self.now)(), until: pin.until };
        Ok(self.locked.set_pin(id, &pin)?)
    }

    /// Takes the tables without parts. Those that are left out are warnings.
    fn take_dumps(
        &self,
        plan: &CreatePlan,
        incoming: &Incoming<'_>,
        (local, previous): (&LocalDisks, Option<&Previous>),
        options: fs::CopyOptions<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Dumps, OpError> {
        if plan.dumps.is_empty() {
            return Ok(Dumps::default());
        }
        let Self { repository, server, request, stages, .. } = *self;
        let total = StageWork { tables: plan.dumps.len() as u64, ..StageWork::default() };
        let _at_work = stages.start(Stage::Dump, Some(total));
        let _inside = stages.enter(Stage::Dump);
        let last = LastDumps::read(repository, previous);
        let dumper = Dumper { server, local, incoming, request, options, last };
        let dumps = dumper.take(&plan.dumps, &|stage, done| self.monitor.advanced(stage, done))?;
        for TableDump { table, .. } in &plan.dumps {
            if let Some(DumpOutcome::Left(reason)) = dumps.outcomes.get(table.name()) {
                warnings.extend(data_left_warning(&request.selection, table, reason));
            }
        }
        Ok(dumps)
    }

    /// Undoes an unfinished snapshot, and reports the outcome.
    pub(super) fn undo(&self, error: OpError, incoming: &Incoming<'_>) -> OpError {
        let Self { locked, server, monitor, .. } = *self;
        if error.is_full_disk()
            && let Err(error) = discard_kept(locked, self.kept, monitor)
        {
            tracing::warn!(error = crate::monitor::chain(&error), "what an interrupted run has copied stays");
        }
        let abandoned = || self.pool.install(|| abandon(locked, server, incoming, monitor));
        match self.stages.run(Stage::Release, abandoned) {
            Ok(()) => error,
            Err(left) => OpError::Unfinished {
                error: Box::new(error),
                pending: format!("{} (the next run does the rest)", crate::monitor::chain(&left)),
            },
        }
    }

    /// The work after the commit. The snapshot exists by then, so a failure is a warning, and the next run repairs it.
    pub(super) fn finish_commit(&self, sealed: &mut Sealed, incoming: &Incoming<'_>) {
        let Self { repository, locked, now, stages, .. } = *self;
        let id = incoming.id();
        let Sealed { manifest, records, sources, counts, warnings } = sealed;
        let mut note = |what: &str, result: Result<(), OpError>| {
            if let Err(error) = result {
                let message = format!("{what}: {}", crate::monitor::chain(&error));
                warnings.push(Warning::new(WarningKind::CommitIncomplete, message));
            }
        };
        stages.run(Stage::Index, || {
            let used_bytes =
                fs::space(repository.dir()).ok().map(|space| space.size_bytes.saturating_sub(space.free_bytes));
            let created = Event::Created { id, written_bytes: Some(manifest.totals.written_bytes), used_bytes };
            note("the journal is not written", locked.record(now(), &created).map_err(OpError::from));
            let noted = locked.note_taken_damage(now(), id, records);
            note("the journal does not note the damage", noted.map_err(OpError::from));
            match Index::open(repository) {
                Ok(index) => {
                    note("latest is not updated", locked.point_latest_at(index.latest()).map_err(OpError::from));
                }
                Err(error) => note("the index is not updated", Err(error.into())),
            }
            if let Some(mut sources) = sources.take() {
                let keys = counts.take_keys();
                let keys_of = |record: &PartRecord| {
                    let name = record.table_name();
                    keys.get(&(name, record.part.clone())).map(Vec::as_slice)
                };
                let parts: Vec<NewPart<'_>> =
                    records.iter().map(|record| NewPart { record, keys: keys_of(record) }).collect();
                let added = sources.add(repository, id, manifest.sequence, &parts);
                note("the cache of sources is not updated", added.map_err(OpError::from));
            }
        });
        stages.run(Stage::Release, || {
            let released = self.pool.install(|| {
                recover::remove_shadows(locked, &incoming.intent().disks, &incoming.intent().freezes)?;
                locked.forget_intent(id)?;
                discard_kept(locked, self.kept, self.monitor)
            });
            note("a shadow of ours is not removed", released);
        });
    }
}

/// Keeps what the next look needs, and drops the rest of the catalog.
fn look_of(catalog: Catalog) -> CatalogFingerprint {
    let look = catalog.look();
    drop(catalog);
    look
}

/// The stages of the rounds, which run concurrently. `bytes` is the amount to be copied.
fn start_rounds<'a>(stages: &Stages<'a>, total: StageWork, bytes: u64) -> [StageAtWork<'a>; 3] {
    [(Stage::Freeze, total), (Stage::Place, StageWork { bytes, ..total }), (Stage::Check, total)]
        .map(|(stage, total)| stages.start(stage, Some(total)))
}

/// The tables to freeze, with all their parts.
fn planned_work(plan: &CreatePlan) -> StageWork {
    let parts: usize = plan.freeze.iter().map(|freeze| freeze.parts().count()).sum();
    StageWork { tables: plan.freeze.len() as u64, parts: parts as u64, ..StageWork::default() }
}

/// Undoes an unfinished snapshot. What cannot be undone now stays with its intent for the next run.
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
        if !locked.repository().has_snapshot(id)? {
            locked.discard_incoming(id)?;
            recover::remove_discarded(locked, monitor)?;
            locked.forget_pin(id)?;
        }
        Ok(())
    };
    // Both are attempted: a tree that cannot be discarded is no reason to leave a shadow.
    let discarded = discard();
    release().and(discarded)
}
