//! One snapshot: staged, sealed, committed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use crate::exec;
use crate::fs::{self, Dir, EntryKind};
use crate::model::{SnapshotId, TableName, Warning, WarningKind, count};
use crate::monitor::{Stage, StageWork};
use crate::ops::copy_rules::IdsMode;
use crate::ops::copying::{self, Copying, PlacementCounts};
use crate::ops::error::OpError;
use crate::ops::intact;
use crate::ops::kept_metadata::{KeptMetadata, MetadataSample};
use crate::ops::recover::remove_discarded;
use crate::ops::written::{self, ComparedSnapshot};
use crate::repo::{
    self, CopiedFrom, Event, Incoming, Index, Lease, Manifest, ManifestDigest, NewPart, PartRecord, Pin, Repository,
    SnapshotState, Sources, TableState, read_parts,
};

use super::base::{Base, PartList};
use super::describe::{DescribedCopy, Provenance};
use super::files::FileCopier;
use super::parts::{CopiedPartOutcome, PartStager, StagedPart};
use super::request::{CopiedTotals, CopyOutcome, IntactPart, SnapshotCopyFailure, SourceDamage};
use super::run::CopyRun;
use super::survey::{Needed, is_held, newer_format};
use super::target::TargetRoom;

/// The number of inodes remembered for one snapshot, at some 50 bytes each.
const REMEMBERED: usize = copying::REMEMBERED;
/// Every file of a snapshot that has another link may have that link in the same snapshot.
const USUAL_LINKS: u32 = 1;

/// A snapshot being copied, under a lease.
pub(super) struct SnapshotCopy<'r, 'a> {
    pub(super) run: &'r mut CopyRun<'a>,
    /// Its id, and its place in the order of the target.
    pub(super) planned: (SnapshotId, u64),
    pub(super) lease: Lease,
}

/// The manifest and the records of the source's snapshot.
struct OriginalSnapshot {
    manifest: Manifest,
    records: Vec<PartRecord>,
    pin: Option<Pin>,
}

/// The staged snapshot.
struct Staged {
    parts: Vec<StagedPart>,
    intact: Vec<IntactPart>,
    counts: PlacementCounts,
    /// Parts and files that are damaged everywhere in the source.
    damage: Vec<SourceDamage>,
    /// The snapshot of the target from which most whole parts are linked.
    base: Option<SnapshotId>,
}

impl SnapshotCopy<'_, '_> {
    pub(super) fn copy(mut self) -> Result<CopyOutcome, OpError> {
        let original = match self.read()? {
            Ok(original) => original,
            Err(reason) => return Ok(CopyOutcome::Refused(SnapshotCopyFailure::Unreadable(reason))),
        };
        let locked = self.run.locked;
        let mut incoming = locked.begin_copy(self.planned.0, (self.run.now)())?;
        let built = self.build(&original, &mut incoming);
        match built {
            Ok(CopyOutcome::Copied(copied)) => Ok(CopyOutcome::Copied(copied)),
            other => {
                if let Err(left) = self.abandon(&incoming) {
                    let pending = format!("{} (the next run does the rest)", crate::monitor::chain(&left));
                    return Err(match other {
                        Ok(_) => left,
                        Err(error) => OpError::Unfinished { error: Box::new(error), pending },
                    });
                }
                other
            }
        }
    }

    /// Reads the manifest and the list of parts. The inner error says why they cannot be trusted.
    fn read(&self) -> Result<Result<OriginalSnapshot, String>, OpError> {
        let (state, digest) = self.lease.manifest()?;
        let manifest = match (state, digest) {
            (SnapshotState::NewerFormat(format), _) => return Ok(Err(newer_format(format))),
            (SnapshotState::Damaged(reason), _) => return Ok(Err(reason)),
            (SnapshotState::Complete(_), ManifestDigest::Wrong { .. }) => {
                return Ok(Err("its manifest.json does not have the digest that it carries".to_owned()));
            }
            (SnapshotState::Complete(manifest), _) => *manifest,
        };
        let records = match read_parts(self.lease.dir(), &manifest.parts_blake3) {
            Ok(records) => records,
            Err(error) => return Ok(Err(crate::monitor::chain(&error))),
        };
        let pin = self.run.source.pin(manifest.id)?.filter(|pin| pin.holds((self.run.now)()));
        Ok(Ok(OriginalSnapshot { manifest, records, pin }))
    }

    fn target(&self) -> &Repository {
        self.run.locked.repository()
    }

    /// Stages, describes and commits.
    fn build(&mut self, original: &OriginalSnapshot, incoming: &mut Incoming<'_>) -> Result<CopyOutcome, OpError> {
        let (id, sequence) = self.planned;
        let index = Index::open(self.target())?;
        let staged = self.stage(original, incoming, &index)?;
        if !staged.damage.is_empty() {
            return Ok(CopyOutcome::Refused(SnapshotCopyFailure::Damaged(staged.damage)));
        }
        let Staged { parts, intact, counts, base, .. } = staged;
        // With `--ids record` the source's inodes never had what its list of parts has.
        if original.manifest.settings.ids != IdsMode::Record.name() {
            self.run.report.warnings.extend(drift_warnings(id, &parts));
        }
        let _sealing = self.run.stages.start(Stage::Seal, None);
        let _inside = self.run.stages.enter(Stage::Seal);
        let series = &repo::SnapshotScope::from(&original.manifest).key;
        let before = written::before(index.summaries(), self.planned);
        let previous = ComparedSnapshot::read(self.target(), &index, before, series)?;
        let provenance = Provenance {
            from: CopiedFrom {
                origin: original.manifest.origin(self.run.source.id()),
                repository: self.run.source.id().clone(),
                path: self.run.source.path().to_string_lossy().into_owned(),
                host: fs::host_name(),
                chsnap: env!("CARGO_PKG_VERSION").to_owned(),
                time: incoming.intent().started,
            },
            sequence,
            ids: self.run.request.ids,
            previous,
        };
        let mut described = DescribedCopy::new(&original.manifest, parts, &provenance);
        if let Some(pin) = &original.pin {
            self.run.locked.set_pin(id, pin)?;
        }
        let target = self.target();
        let mut manifest = described.manifest.clone();
        let keep = |_| {
            let held = || -> Box<dyn Iterator<Item = _> + '_> { Box::new(described.held(base)) };
            if let Some(stamp) = Index::stamp(incoming.dir()) {
                index.keep_snapshot(target, (id, stamp), &held, base.and_then(|base| index.known_parts(target, base)));
            }
            Ok(())
        };
        let late = incoming.seal(&mut manifest, &described.records, keep)?;
        described.manifest = manifest;
        let messages = late.into_iter().map(|message| Warning::new(WarningKind::CommitIncomplete, message));
        self.run.report.warnings.extend(messages);
        let copied = CopiedTotals {
            totals: described.manifest.totals,
            placed: described.manifest.placed,
            resumed: counts.resumed(),
            recopied_files: counts.recopied_files(),
            metadata_files: original.manifest.metadata.len() as u64,
            pin: original.pin.clone(),
            intact,
        };
        self.finish_commit(&described, &counts, incoming);
        self.warn_of(&copied);
        Ok(CopyOutcome::Copied(Box::new(copied)))
    }

    /// Links and copies everything into `incoming`.
    fn stage(
        &mut self,
        original: &OriginalSnapshot,
        incoming: &Incoming<'_>,
        index: &Index,
    ) -> Result<Staged, OpError> {
        let OriginalSnapshot { manifest, records, .. } = original;
        let (run, source) = (&mut *self.run, self.lease.dir());
        let (stages, target) = (run.stages, run.locked.repository());
        let bases = stages.run(Stage::Previous, || {
            if run.sources.is_none() {
                run.sources = Some(Sources::open(target, index)?);
            }
            let series = &repo::SnapshotScope::from(manifest).key;
            Ok::<_, OpError>(Base::nearest(target, index, self.planned, series))
        })?;
        let mut kept = KeptMetadata::default();
        let sample = sample(source, records)?;
        kept.ask(incoming.dir(), run.request.ids, &sample)?;
        let rules = run.request.copy_rules();
        room(run, original, &bases, rules.min_free_bytes)?;
        // Parts that a snapshot of the target has are linked as a whole: their bytes are not read.
        let is_new = |record: &&PartRecord| bases.iter().all(|base| base.parts.find_same(record).is_none());
        let bytes = records.iter().filter(is_new).map(|record| record.bytes).sum();
        let work = StageWork { parts: records.len() as u64, bytes, ..StageWork::default() };
        let _placing = stages.start(Stage::Place, Some(work));
        let _inside = stages.enter(Stage::Place);
        let advanced = |bytes| {
            stages.monitor().advanced(Stage::Place, StageWork { bytes, ..StageWork::default() });
            ControlFlow::Continue(())
        };
        let links = exec::CopiedLinks::new(incoming.dir().clone(), USUAL_LINKS, REMEMBERED);
        let copying = Copying {
            copiers: BTreeMap::new(),
            joiner: copying::copier(rules, run.rate.as_ref(), &advanced, &links),
            keeping: kept.keeping,
            sources: run.sources.take(),
            leftovers: &run.leftovers,
            repository: target,
            links: &links,
            rules,
            counts: PlacementCounts::default(),
        };
        make_tables(source, incoming.dir(), manifest, &copying)?;
        let by_parts = PartStager {
            copying: &copying,
            bases: &bases,
            source,
            incoming: incoming.dir(),
            monitor: stages.monitor(),
        };
        let (parts, mut intact, mut damage) = stage_parts(&by_parts, run.source, (manifest.id, records))?;
        let base = bases.first();
        let base_manifest = base.map(|base| target.snapshot(base.id)).transpose()?.and_then(|state| match state {
            SnapshotState::Complete(manifest) => Some(manifest),
            _ => None,
        });
        let files = FileCopier {
            source,
            incoming: incoming.dir(),
            base: base_manifest.as_deref().zip(base.map(|base| &base.dir)),
            options: rules.copy_options(run.rate.as_ref(), &advanced),
            repository: run.source,
        };
        let (intact_files, damaged_files) = files.copy_all(&manifest.metadata)?;
        intact.extend(intact_files);
        damage.extend(damaged_files);
        let Copying { sources, counts, .. } = copying;
        run.sources = sources;
        Ok(Staged { parts, intact, counts, damage, base: base.map(|base| base.id) })
    }

    /// The work after the commit. The snapshot exists by then, so a failure is a warning, and the next run repairs it.
    fn finish_commit(&mut self, described: &DescribedCopy, counts: &PlacementCounts, incoming: &Incoming<'_>) {
        let (id, now) = (incoming.snapshot(), self.run.now);
        let (locked, target) = (self.run.locked, self.run.locked.repository());
        let mut failed = Vec::new();
        let mut note = |what: &str, result: Result<(), OpError>| {
            failed.extend(result.err().map(|error| format!("{what}: {}", crate::monitor::chain(&error))));
        };
        let DescribedCopy { manifest, records, .. } = described;
        let space = fs::space(target.dir()).ok();
        let used_bytes = space.map(|space| space.size_bytes.saturating_sub(space.free_bytes));
        let created = Event::Created { id, written_bytes: Some(manifest.totals.written_bytes), used_bytes };
        note("the journal is not written", locked.record(now(), &created).map_err(OpError::from));
        let noted = locked.note_taken_damage(now(), id, records);
        note("the journal does not note the damage", noted.map_err(OpError::from));
        match Index::open(target) {
            Ok(index) => {
                // This is tried again after all snapshots, and a failure is a warning then.
                if let Err(error) = locked.point_latest_at(index.latest()) {
                    tracing::debug!(error = crate::monitor::chain(&error), "latest is not updated");
                }
            }
            Err(error) => note("the index is not updated", Err(error.into())),
        }
        if let Some(sources) = &mut self.run.sources {
            let keys = counts.take_keys();
            let keys_of =
                |record: &PartRecord| keys.get(&(record.table_name(), record.part.clone())).map(Vec::as_slice);
            let parts: Vec<NewPart<'_>> =
                records.iter().map(|record| NewPart { record, keys: keys_of(record) }).collect();
            let added = sources.add(target, id, manifest.sequence, &parts);
            note("the cache of sources is not updated", added.map_err(OpError::from));
        }
        note("the note of the copy is not removed", locked.forget_intent(incoming.id()).map_err(OpError::from));
        let warnings = failed.into_iter().map(|message| Warning::new(WarningKind::CommitIncomplete, message));
        self.run.report.warnings.extend(warnings);
    }

    /// Adds the warnings about a snapshot that was copied.
    fn warn_of(&mut self, copied: &CopiedTotals) {
        let id = self.planned.0;
        self.run.report.warnings.extend(copying::link_limit_warning(copied.recopied_files));
        self.run.report.warnings.extend(copied.intact.iter().map(|part| part.warning(id)));
    }

    /// Removes the unfinished tree, unless it was committed after all.
    fn abandon(&self, incoming: &Incoming<'_>) -> Result<(), OpError> {
        let locked = self.run.locked;
        if !locked.repository().has_snapshot(incoming.snapshot())? {
            locked.discard_incoming(incoming.id())?;
            remove_discarded(locked, self.run.stages.monitor())?;
            locked.forget_pin(incoming.snapshot())?;
        }
        Ok(locked.forget_intent(incoming.id())?)
    }
}

/// A part of the snapshot, used to probe what the target's filesystem keeps.
fn sample(source: &Dir, records: &[PartRecord]) -> Result<MetadataSample, OpError> {
    for record in records {
        let path = repo::part_path(&record.table_name(), &record.part);
        let Ok(Some(dir)) = source.find_beneath(&path) else { continue };
        let entries = dir.entries_if_there()?;
        let Some(file) = entries.iter().find(|entry| entry.kind == EntryKind::File) else { continue };
        if let Some(stat) = dir.find(&file.name)? {
            return Ok(MetadataSample::OfFiles { dir, ownership: stat.ownership });
        }
    }
    Ok(MetadataSample::OfDirectory { dir: source.clone() })
}

/// Checks that what is to be copied fits, judged by what is known before copying.
fn room(run: &CopyRun<'_>, original: &OriginalSnapshot, bases: &[Base], min_free_bytes: u64) -> Result<(), OpError> {
    let lists: Vec<&PartList> = bases.iter().map(|base| &base.parts).collect();
    let room = TargetRoom::of(run.locked.repository())?;
    let needed = |is_held: &dyn Fn(&PartRecord) -> bool| {
        let mut needed = Needed::new(room.clone());
        needed.count(&original.records, &lists, is_held);
        needed.count_files(&original.manifest.metadata, !bases.is_empty());
        needed
    };
    if needed(&|_| false).fits(min_free_bytes) {
        return Ok(());
    }
    needed(&|record| is_held(run.sources.as_ref(), &run.leftovers, record)).check_room(min_free_bytes)
}

/// `None` for an entry that is not a directory.
fn unless_wrong_kind(error: fs::FsError) -> Result<Option<Dir>, fs::FsError> {
    if error.kind() == fs::ErrorKind::WrongKind { Ok(None) } else { Err(error) }
}

/// Creates the directories of all tables, with the owner and mode of those in the source.
fn make_tables(source: &Dir, incoming: &Dir, manifest: &Manifest, copying: &Copying<'_>) -> Result<(), OpError> {
    let data = source.find_beneath(Path::new(repo::DATA))?;
    if let Some(data) = &data {
        copying.give(&incoming.ensure_dir(repo::DATA, 0o750)?, data.stat_self()?.ownership)?;
    }
    for entry in manifest.tables.iter().filter(|entry| entry.state == TableState::Taken) {
        let path = repo::table_below_data(&entry.name());
        let (mut from, mut to) = (data.clone(), incoming.ensure_dir(repo::DATA, 0o750)?);
        for name in &path {
            to = to.ensure_dir(name, 0o750)?;
            from = match from {
                // An entry there that is not a directory is damage, which the table's parts report.
                Some(from) => from.find_beneath(Path::new(name)).or_else(unless_wrong_kind)?,
                None => None,
            };
            if let Some(from) = &from {
                copying.give(&to, from.stat_self()?.ownership)?;
            }
        }
    }
    Ok(())
}

/// A warning for each table with parts whose owners or modes are not the recorded ones.
fn drift_warnings(id: SnapshotId, parts: &[StagedPart]) -> Vec<Warning> {
    let mut drifted: BTreeMap<TableName, u64> = BTreeMap::new();
    for part in parts.iter().filter(|part| part.is_drifted) {
        *drifted.entry(part.record.table_name()).or_default() += 1;
    }
    let warning = |(table, parts): (TableName, u64)| {
        let message = format!(
            "{id}: owners or modes in {} of {table} are not as recorded; the copies have those of the files as they are now \
             (chsnap verify shows them)",
            count(parts, "part")
        );
        Warning::of_table(WarningKind::Drift, &table, message)
    };
    drifted.into_iter().map(warning).collect()
}

/// The outcome of staging the parts: those staged, those taken from another snapshot, and those damaged everywhere.
type StagedParts = (Vec<StagedPart>, Vec<IntactPart>, Vec<SourceDamage>);

fn stage_parts(
    stager: &PartStager<'_>,
    repository: &Repository,
    (id, records): (SnapshotId, &[PartRecord]),
) -> Result<StagedParts, OpError> {
    let outcomes = stager.stage(records)?;
    let damaged: BTreeMap<(TableName, crate::model::PartName), &PartRecord> = (records.iter().zip(&outcomes))
        .filter(|(_, outcome)| matches!(outcome, CopiedPartOutcome::Damaged(_)))
        .map(|(record, _)| ((record.table_name(), record.part.clone()), record))
        .collect();
    let copies = intact::find(repository, (id, stager.source), &damaged, stager.monitor)?;
    let (mut parts, mut intact, mut damage) = (Vec::with_capacity(records.len()), Vec::new(), Vec::new());
    for (record, outcome) in records.iter().zip(outcomes) {
        let problem = match outcome {
            CopiedPartOutcome::Staged(part) => {
                parts.push(*part);
                continue;
            }
            CopiedPartOutcome::Damaged(problem) => problem,
        };
        let table = record.table_name();
        let path = repo::part_path(&table, &record.part);
        let found = SourceDamage { table: Some(table.clone()), part: Some(record.part.clone()), path, problem };
        let Some(copy) = copies.get(&(table, record.part.clone())) else {
            damage.push(found);
            continue;
        };
        match stager.stage_from(record, copy.dir.clone())? {
            CopiedPartOutcome::Staged(part) => {
                parts.push(*part);
                intact.push(IntactPart { damage: found, from: copy.snapshot });
            }
            CopiedPartOutcome::Damaged(_) => damage.push(found),
        }
    }
    Ok((parts, intact, damage))
}
