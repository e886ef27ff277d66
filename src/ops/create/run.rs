//! One run: what is built, what is undone where that fails, and what follows the commit.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use crate::exec;
use crate::fs;
use crate::model::{Part, SnapshotId, TableName, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, Work};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::ops::recover::{self, Kept, discard_kept};
use crate::ops::restore;
use crate::ops::stages::Stages;
use crate::plan::{CreatePlan, TableDump, data_left_warning};
use crate::repo::{
    BoundServer, Event, Incoming, Index, Locked, Manifest, NewPart, PartRecord, Pin, Repository, Sources,
};
use crate::server::{self, Server};

use super::copying::{self, Copying, Counts, Leftover};
use super::definitions;
use super::dumps::{DumpOutcome, Dumper, Dumps, LastDumps};
use super::early::EarlySync;
use super::guards;
use super::manifest::{self, Described};
use super::previous::Previous;
use super::request::{Clock, Request};
use super::rounds::Rounds;
use super::survey::Survey;
use super::taker::Taker;

/// One run, with what all its stages need.
pub(super) struct Run<'a> {
    pub(super) repository: &'a Repository,
    pub(super) locked: &'a Locked<'a>,
    pub(super) server: &'a Server,
    pub(super) request: &'a Request,
    pub(super) now: Clock<'a>,
    pub(super) monitor: &'a dyn Monitor,
    pub(super) stages: &'a Stages<'a>,
    pub(super) pool: &'a rayon::ThreadPool,
    /// What interrupted runs have copied, which this one may take up.
    pub(super) kept: &'a [Kept],
}

/// What a snapshot is made of.
pub(super) struct Source {
    pub(super) survey: Survey,
    pub(super) plan: CreatePlan,
    pub(super) bound: BoundServer,
    pub(super) local: LocalDisks,
    /// As it was when the run began: nobody else makes a snapshot meanwhile.
    pub(super) index: Index,
    pub(super) previous: Option<Previous>,
    pub(super) warnings: Vec<Warning>,
}

/// A snapshot that stands.
pub(super) struct Sealed {
    pub(super) manifest: Manifest,
    pub(super) records: Vec<PartRecord>,
    pub(super) sources: Option<Sources>,
    pub(super) counts: Counts,
    /// Those of the manifest, and what went wrong after the commit.
    pub(super) warnings: Vec<Warning>,
}

impl Run<'_> {
    fn is_interrupted(&self) -> bool {
        self.server.interrupted().load(Ordering::Relaxed)
    }

    /// Freezes, places, checks and commits.
    pub(super) fn build(&self, source: Source, incoming: &mut Incoming<'_>) -> Result<Sealed, OpError> {
        let Self { repository, server, request, stages, pool, now, .. } = *self;
        let Source { survey, plan, bound, local, index, previous, mut warnings } = source;
        let Survey { identity, databases, disks, catalog } = survey;
        let look = catalog.look();
        drop(catalog);
        let rate = request.copy_rate.map(fs::RateLimit::new);
        let links = exec::CopiedLinks::new(incoming.dir().clone(), copying::USUAL_LINKS, copying::REMEMBERED);
        let advanced = |bytes| {
            self.monitor.advanced(Stage::Place, Work { bytes, ..Work::default() });
            if self.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let copied = guards::copied_disks(&local, &plan, incoming.dir(), request.place)?;
        let (keeping, clones) = guards::what_is_kept(&local, &plan, &copied, incoming.dir(), request.ids)?;
        let leftovers = if copied.is_empty() { Vec::new() } else { leftovers(self.locked, self.kept)? };
        let sources = self.sources(&plan, &copied, &leftovers, clones)?;
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
        let early = EarlySync::default();
        let taker = Taker {
            server,
            stages,
            pool,
            local: &local,
            request,
            freeze_threads: self.freeze_threads()?,
            previous: previous.as_ref(),
            copying: &copying,
            version: &identity.version,
            early: &early,
        };
        // A definition is read between these two looks at the notes of restores.
        let mut held = restore::held_tables(&local)?;
        let parts: usize = plan.freeze.iter().map(|freeze| freeze.parts().count()).sum();
        let total = Work { tables: plan.freeze.len() as u64, parts: parts as u64, ..Work::default() };
        let [freezing, placing, checking] =
            [Stage::Freeze, Stage::Place, Stage::Check].map(|stage| stages.start(stage, Some(total)));
        let tree = Rounds { taker, now, disks: &disks }.run(
            incoming,
            plan.freeze.clone(),
            &plan.unlisted,
            look,
            &mut warnings,
        )?;
        drop((freezing, placing, checking));
        warnings.extend(link_limit_warning(copying.counts.afresh_files()));
        let means = fs::CopyMeans::new(true, rate.as_ref(), &advanced);
        let around = (&local, previous.as_ref());
        let Dumps { outcomes: dumps, files } = self.take_dumps(&plan, incoming, around, means, &mut warnings)?;
        let sealing = stages.start(Stage::Seal, None);
        let seal = stages.enter(Stage::Seal);
        held.extend(restore::held_tables(&local)?);
        let definitions =
            definitions::Definitions { server, local: &local, incoming, request, copying: &copying, held };
        let mut metadata = definitions.write(&databases, &plan, &tree, &mut warnings)?;
        metadata.files.extend(files);
        // Nothing is linked from them any more.
        let source = previous.as_ref().and_then(Previous::main_source);
        let previous = previous.map(Previous::without_parts);
        let previous = previous.as_ref();
        let parts = manifest::Parts {
            identity,
            bound,
            plan: &plan,
            tree,
            dumps,
            previous,
            source,
            metadata,
            warnings: &warnings,
        };
        let described = pool.install(|| parts.manifest(&index, incoming, request, now()));
        let Described { mut manifest, records, notes } = described;
        self.pin(incoming.id())?;
        if self.is_interrupted() {
            return Err(OpError::Interrupted);
        }
        let keep = || {
            let _inside = stages.enter(Stage::Index);
            let held = || -> Box<dyn Iterator<Item = _>> { Box::new(manifest::held(&records, &notes)) };
            // Not of what is not whole: there may be more in it than is listed, and who wants to know looks at the tree.
            if let (true, Some(stamp)) = (manifest::are_whole(&notes), Index::stamp(incoming.dir())) {
                index.keep_snapshot(repository, (incoming.id(), stamp), &held, source);
            }
            early.finish()
        };
        let late = pool.install(|| incoming.seal(&mut manifest, &records, keep))?;
        drop((seal, sealing));
        let Copying { sources, counts, .. } = copying;
        warnings.extend(late.into_iter().map(|message| Warning::new(WarningKind::CommitIncomplete, message)));
        Ok(Sealed { manifest, records, sources, counts, warnings })
    }

    /// The server's threads for one freeze, where it can be told.
    fn freeze_threads(&self) -> Result<Option<u16>, OpError> {
        Ok(match self.request.freeze_threads {
            Some(threads) if server::knows_threads(self.server)? => Some(threads),
            _ => None,
        })
    }

    /// What earlier snapshots have for parts that are copied or linked anew, if any are. Fails if copies would not fit.
    fn sources(
        &self,
        plan: &CreatePlan,
        copied: &BTreeSet<String>,
        leftovers: &[Leftover],
        clones: bool,
    ) -> Result<Option<Sources>, OpError> {
        let Self { repository, request, stages, .. } = *self;
        if copied.is_empty() && !request.relinks {
            return Ok(None);
        }
        let sources = stages.run(Stage::Previous, || Sources::open(repository))?;
        if !clones {
            let is_left =
                |table: &TableName, part: &Part| leftovers.iter().any(|leftover| leftover.has(table, &part.name));
            guards::room_for_copies(repository, plan, copied, (&sources, is_left), request.min_free_bytes)?;
        }
        Ok(Some(sources))
    }

    /// Before the commit: a snapshot that is to be pinned never stands without its pin.
    fn pin(&self, id: SnapshotId) -> Result<(), OpError> {
        let Some(pin) = &self.request.pin else { return Ok(()) };
        let pin = Pin { reason: pin.reason.clone(), since: (self.now)(), until: pin.until };
        Ok(self.locked.set_pin(id, &pin)?)
    }

    /// Takes the tables without parts. Those that stay behind are warnings.
    fn take_dumps(
        &self,
        plan: &CreatePlan,
        incoming: &Incoming<'_>,
        (local, previous): (&LocalDisks, Option<&Previous>),
        means: fs::CopyMeans<'_>,
        warnings: &mut Vec<Warning>,
    ) -> Result<Dumps, OpError> {
        if plan.dumps.is_empty() {
            return Ok(Dumps::default());
        }
        let Self { repository, server, request, stages, .. } = *self;
        let total = Work { tables: plan.dumps.len() as u64, ..Work::default() };
        let _at_work = stages.start(Stage::Dump, Some(total));
        let _inside = stages.enter(Stage::Dump);
        let last = LastDumps::read(repository, previous);
        let dumper = Dumper { server, local, incoming, request, means, last };
        let dumps = dumper.take(&plan.dumps, &|stage, done| self.monitor.advanced(stage, done))?;
        for TableDump { table, .. } in &plan.dumps {
            if let Some(DumpOutcome::Left(reason)) = dumps.outcomes.get(table.name()) {
                warnings.extend(data_left_warning(&request.selection, table, reason));
            }
        }
        Ok(dumps)
    }

    /// Undoes what was begun, and says what came of that.
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

    /// What follows the commit: the snapshot stands, so what goes wrong is a warning, and the next run puts it right.
    pub(super) fn settle(&self, sealed: &mut Sealed, incoming: &Incoming<'_>) {
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
            match Index::open(repository) {
                Ok(index) => {
                    note("latest is not updated", locked.point_latest_at(index.latest()).map_err(OpError::from));
                }
                Err(error) => note("the index is not updated", Err(error.into())),
            }
            if let Some(sources) = sources.take() {
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
                recover::sweep(locked, &incoming.intent().disks, &incoming.intent().freezes)?;
                locked.forget_intent(id)?;
                discard_kept(locked, self.kept, self.monitor)
            });
            note("a shadow of ours is not removed", released);
        });
    }
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

fn link_limit_warning(afresh_files: u64) -> Option<Warning> {
    let limit = exec::LINK_LIMIT;
    (afresh_files > 0).then(|| {
        let message = format!(
            "{afresh_files} files were copied although the repository has equal ones: those have {limit} links, or as many \
             as their filesystem allows; what comes next is linked to the new copies"
        );
        Warning::new(WarningKind::LinkLimit, message)
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
        if !locked.repository().has_snapshot(id)? {
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
