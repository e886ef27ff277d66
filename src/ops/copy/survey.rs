//! The snapshots of both repositories, and the plan derived from them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Utc};

use crate::model::{PartName, PartTally, RoomNeed, SnapshotId, TableName, Warning, WarningKind};
use crate::monitor::Silent;
use crate::ops::error::{Copies, OpError};
use crate::ops::intact;
use crate::ops::journal::journal_warnings;
use crate::ops::read::{resolve, unreadable};
use crate::ops::room::check_room;
use crate::plan::{CopyDecision, CopyPlan, CopyScope, CopyTarget, SameId, pin_travels, plan_copy};
use crate::repo::{
    self, Event, Index, Manifest, MetadataFile, PartRecord, Pin, RepoError, Repository, SnapshotState, Sources,
    Summary, read_parts,
};

use super::base::{Base, PartList};
use super::files::is_dump;
use super::request::{
    CopyDryRun, Estimate, IntactPart, PlannedSnapshot, Request, SnapshotCopyFailure, SourceDamage, WantedSnapshots,
};
use super::target::{TargetRepository, TargetRoom};

/// The facts about both repositories that the plan of a copy needs.
#[derive(Debug)]
pub(super) struct CopySurvey {
    /// All snapshots of the source, in the order in which they were made.
    summaries: BTreeMap<SnapshotId, Summary>,
    pub(super) plan: CopyPlan,
    /// Pins of the source that the snapshots in the target will get.
    pub(super) pins: BTreeMap<SnapshotId, Pin>,
    /// Snapshots of the source that cannot be read and were not named, and what cannot be read of both journals.
    pub(super) warnings: Vec<Warning>,
}

impl CopySurvey {
    /// Reads both repositories, and plans the copy.
    ///
    /// # Errors
    /// If one of them cannot be read, or a snapshot that was named does not exist.
    pub(super) fn read(
        source: &Repository,
        target: Option<&Repository>,
        wanted: &WantedSnapshots,
        now: DateTime<Utc>,
    ) -> Result<Self, OpError> {
        let index = Index::open(source)?;
        let scope = match wanted {
            WantedSnapshots::New => CopyScope::New,
            WantedSnapshots::Named(references) => {
                let ids = references.iter().map(|reference| resolve(&index, reference));
                CopyScope::Named(ids.collect::<Result<_, _>>()?)
            }
        };
        // Damage that is noted in either journal is no source of a copy.
        let mut warnings = journal_warnings(source);
        if let Some(target) = target {
            let origin = target.path().display();
            warnings.extend(journal_warnings(target).into_iter().map(|warning| warning.from_origin(&origin)));
        }
        let is_usable = |summary: &&Summary| summary.is_complete() || scope != CopyScope::New;
        for summary in index.summaries().iter().filter(|summary| !is_usable(summary)) {
            warnings.push(unreadable(summary.id, summary.problem.as_deref().unwrap_or_default()));
        }
        let usable: Vec<&Summary> = index.summaries().iter().filter(is_usable).collect();
        let ids: Vec<SnapshotId> = usable.iter().map(|summary| summary.id).collect();
        let existing = target.map(Index::open).transpose()?;
        let there = existing.as_ref().map_or(&[][..], Index::summaries);
        let past = target.map(TargetJournal::read).unwrap_or_default();
        let (mut compared, mut pins) = (BTreeMap::new(), BTreeMap::new());
        for summary in usable {
            let Some(held) = there.iter().find(|held| held.id == summary.id) else { continue };
            let is_wanted = match &scope {
                CopyScope::New => true,
                CopyScope::Named(named) => named.contains(&summary.id),
            };
            let Some(target) = target.filter(|_| is_wanted) else { continue };
            // An earlier copy is recognized by its origin, which is quick to read.
            let is_same = is_alike(summary, held) && has_same_content(source, target, summary.id)?;
            let pin = if is_same { new_pin(source, (target, &past), summary.id, now)? } else { None };
            let found = match (is_same, &pin) {
                (true, None) => SameId::SameContent,
                (true, Some(_)) => SameId::SameContentPinned,
                (false, _) => SameId::OtherContent,
            };
            compared.insert(summary.id, found);
            pins.extend(pin.map(|pin| (summary.id, pin)));
        }
        let target = match target {
            Some(target) => CopyTarget {
                existing: there.iter().map(|summary| (summary.id, summary.sequence.unwrap_or(0))).collect(),
                trashed: target.removed_ids()?.into_iter().collect(),
                removed: past.removed,
            },
            None => CopyTarget::default(),
        };
        let plan = plan_copy(&scope, &ids, &target, &compared);
        let summaries = index.summaries().iter().map(|summary| (summary.id, summary.clone())).collect();
        Ok(Self { summaries, plan, pins, warnings })
    }

    /// Checks that the first snapshot fits: no repository is created for a copy that could not begin.
    pub(super) fn check_room_of_first(
        &self,
        source: &Repository,
        target: &TargetRepository,
        min_free_bytes: u64,
    ) -> Result<(), OpError> {
        let is_copied = |decision: &CopyDecision| matches!(decision, CopyDecision::Copy { .. });
        let Some((first, _)) = self.plan.snapshots.iter().find(|(_, decision)| is_copied(decision)) else {
            return Ok(());
        };
        let mut needed = Needed::new(target.room()?);
        if let Ok((records, files)) = read_source(source, *first)? {
            needed.count(&records, &[], &|_| false);
            needed.count_files(&files, false);
        }
        if target.existing().is_none() {
            needed.count_repository();
        }
        needed.check_room(min_free_bytes)
    }

    /// The source's summary of a snapshot.
    pub(super) fn summary(&self, id: SnapshotId) -> Option<&Summary> {
        self.summaries.get(&id)
    }

    /// The totals that would be linked and copied.
    pub(super) fn estimate(
        &self,
        source: &Repository,
        target: &TargetRepository,
        request: &Request,
    ) -> Result<CopyDryRun, OpError> {
        let (mut planned, mut warnings) = (Vec::new(), self.warnings.clone());
        let mut last: Option<PartList> = None;
        let index = target.existing().map(Index::open).transpose()?;
        let mut needed = Needed::new(target.room()?);
        if target.existing().is_none() {
            needed.count_repository();
        }
        for (id, decision) in &self.plan.snapshots {
            let Some(summary) = self.summary(*id) else { continue };
            let plan = match *decision {
                CopyDecision::Present => Estimate::Present,
                CopyDecision::Pin => self.pins.get(id).map_or(Estimate::Present, |pin| Estimate::Pin(pin.clone())),
                CopyDecision::Refused(refusal) => Estimate::Refused(SnapshotCopyFailure::Target(refusal)),
                CopyDecision::Copy { sequence } => match read_source(source, *id)? {
                    Err(refusal) => Estimate::Refused(refusal),
                    Ok((records, files)) => {
                        let bases = match (target.existing(), &index) {
                            (Some(repository), Some(index)) => {
                                Base::nearest(repository, index, (*id, sequence), &summary.content.key)
                            }
                            _ => Vec::new(),
                        };
                        let lists: Vec<&PartList> = bases.iter().map(|base| &base.parts).chain(&last).collect();
                        let NotedParts { intact, damage } = noted(source, *id, &records, &lists)?;
                        warnings.extend(intact.iter().map(|part| part.warning(*id)));
                        if damage.is_empty() {
                            let (linked, copied) = needed.count(&records, &lists, &|_| false);
                            needed.count_files(&files, !lists.is_empty());
                            last = Some(PartList::new(records));
                            Estimate::Copy { linked, copied, intact }
                        } else {
                            Estimate::Refused(SnapshotCopyFailure::Damaged(damage))
                        }
                    }
                },
            };
            planned.push(PlannedSnapshot { id: *id, time: summary.time, label: summary.label.clone(), plan });
        }
        if planned.iter().any(|snapshot| matches!(snapshot.plan, Estimate::Copy { .. })) {
            needed.check_room(request.min_free_bytes)?;
        }
        let removed_there = self.plan.removed_there.clone();
        Ok(CopyDryRun { snapshots: planned, removed_there, warnings })
    }
}

/// The directories of a new repository: itself, `snapshots`, `incoming`, `trash`.
const REPOSITORY_DIRECTORIES: usize = 4;
/// The space of the index, the cache of sources, the journal and the notes of a new repository, as measured on ext4.
const REPOSITORY_FILES_BYTES: u64 = 76 << 10;

/// The room that parts and other files need which cannot be linked as a whole.
#[derive(Debug)]
pub(super) struct Needed {
    target: TargetRoom,
    need: RoomNeed,
    parts: u64,
    largest: Option<(TableName, PartName, u64)>,
}

impl Needed {
    /// Nothing yet, in this room.
    pub(super) fn new(target: TargetRoom) -> Self {
        Self { target, need: RoomNeed::default(), parts: 0, largest: None }
    }

    /// Counts the parts of one more snapshot: those that these lists have, and those that they lack. The files of parts
    /// of which something `is_held` do not count as needing room, because how much they need is unknown.
    pub(super) fn count(
        &mut self,
        records: &[PartRecord],
        lists: &[&PartList],
        is_held: &dyn Fn(&PartRecord) -> bool,
    ) -> (PartTally, PartTally) {
        let (mut linked, mut copied) = (PartTally::default(), PartTally::default());
        // Every snapshot has directories of its own.
        let mut tables: BTreeMap<TableName, u64> = BTreeMap::new();
        for record in records {
            let tally = PartTally { parts: 1, files: record.files, bytes: record.bytes };
            *tables.entry(record.table_name()).or_default() += 1;
            self.need += self.target.room.of_directory(record.files);
            if lists.iter().any(|list| list.find_same(record).is_some()) {
                linked += tally;
                continue;
            }
            copied += tally;
            if is_held(record) {
                continue;
            }
            self.parts += 1;
            let need = self.target.room.of_files(record.files, record.bytes);
            self.need += need;
            if self.largest.as_ref().is_none_or(|(.., largest)| *largest < need.bytes) {
                self.largest = Some((record.table_name(), record.part.clone(), need.bytes));
            }
        }
        let databases: BTreeSet<&str> = tables.keys().map(|table| table.database.as_str()).collect();
        let above = databases.iter().map(|_| 1).chain([1]);
        for entries in tables.values().copied().chain(above) {
            self.need += self.target.room.of_directory(entries);
        }
        (linked, copied)
    }

    /// Counts a repository without snapshots.
    fn count_repository(&mut self) {
        self.need += self.target.room.of_files(4, REPOSITORY_FILES_BYTES);
        for _ in 0..REPOSITORY_DIRECTORIES {
            self.need += self.target.room.of_directory(1);
        }
    }

    /// Counts the definitions of one more snapshot, and its dumps unless `has_dumps`: the target may then link them.
    pub(super) fn count_files(&mut self, files: &[MetadataFile], has_dumps: bool) {
        for file in files.iter().filter(|file| !has_dumps || !is_dump(&file.path)) {
            self.need += self.target.room.of_files(1, file.bytes);
        }
        // Its manifest and its list of parts.
        self.need += self.target.room.of_files(2, 2);
        let directories: BTreeSet<&Path> =
            files.iter().flat_map(|file| Path::new(&file.path).ancestors().skip(1)).collect();
        for _ in directories {
            self.need += self.target.room.of_directory(1);
        }
    }

    /// Whether everything counted so far fits, and leaves this much free.
    pub(super) fn fits(&self, min_free_bytes: u64) -> bool {
        self.target.room.lack(self.need, min_free_bytes).is_none()
    }

    /// Checks that everything that will be copied fits.
    pub(super) fn check_room(self, min_free_bytes: u64) -> Result<(), OpError> {
        let copies = self.largest.map(|(table, part, largest_bytes)| Copies {
            parts: self.parts,
            bytes: self.need.bytes,
            largest: (table, part),
            largest_bytes,
        });
        check_room((&self.target.path, self.target.room), (self.need, copies), min_free_bytes)
    }
}

/// Whether the target or an interrupted copy holds some of a part's files.
pub(super) fn is_held(
    sources: Option<&Sources>,
    leftovers: &[crate::ops::copying::InterruptedCopy],
    record: &PartRecord,
) -> bool {
    let table = record.table_name();
    let is_left = leftovers.iter().any(|leftover| leftover.has(&table, &record.part));
    let is_source = |sources: &Sources| {
        !sources.of_part((&table, record.uuid.as_ref()), &record.part, record.fingerprint).is_empty()
    };
    is_left || sources.is_some_and(is_source)
}

/// The parts of a snapshot, and its files outside parts.
type PartsAndFiles = (Vec<PartRecord>, Vec<MetadataFile>);

/// The parts and other files of a snapshot of the source, or why they cannot be read.
fn read_source(source: &Repository, id: SnapshotId) -> Result<Result<PartsAndFiles, SnapshotCopyFailure>, OpError> {
    Ok(match source.snapshot(id)? {
        SnapshotState::Complete(manifest) => {
            let records = read_parts(&source.snapshot_dir(id)?, &manifest.parts_blake3);
            records
                .map(|records| (records, manifest.metadata))
                .map_err(|error| SnapshotCopyFailure::Unreadable(crate::monitor::chain(&error)))
        }
        SnapshotState::NewerFormat(format) => Err(SnapshotCopyFailure::Unreadable(newer_format(format))),
        SnapshotState::Damaged(reason) => Err(SnapshotCopyFailure::Unreadable(reason)),
    })
}

pub(super) fn newer_format(format: u32) -> String {
    format!("it has format {format}, which a newer chsnap copies")
}

/// The target's journal on its snapshots.
#[derive(Debug, Default)]
struct TargetJournal {
    /// Snapshots removed there at some time, and not brought back since.
    removed: BTreeSet<SnapshotId>,
    /// When a snapshot's pin was last removed there.
    unpinned: BTreeMap<SnapshotId, DateTime<Utc>>,
}

impl TargetJournal {
    fn read(repository: &Repository) -> Self {
        let mut past = Self::default();
        for (time, event) in repository.events() {
            match event {
                Event::Removed { ids, .. } => past.removed.extend(ids),
                Event::Restored { ids } => past.removed.retain(|id| !ids.contains(id)),
                Event::Unpinned { ids } => past.unpinned.extend(ids.into_iter().map(|id| (id, time))),
                _ => {}
            }
        }
        past
    }
}

/// The pin of a snapshot in the source that its copy in the target should get.
fn new_pin(
    source: &Repository,
    (target, past): (&Repository, &TargetJournal),
    id: SnapshotId,
    now: DateTime<Utc>,
) -> Result<Option<Pin>, RepoError> {
    let Some(pin) = source.pin(id)?.filter(|pin| pin.holds(now)) else { return Ok(None) };
    let there = target.pin(id)?.map(|pin| pin.since);
    Ok(pin_travels(pin.since, there, past.unpinned.get(&id).copied()).then_some(pin))
}

/// The treatment of parts that are noted as damaged and that the target lacks.
struct NotedParts {
    intact: Vec<IntactPart>,
    damage: Vec<SourceDamage>,
}

/// Reads the parts of a snapshot that a verification noted as damaged, except those that these lists have. Finds out
/// whether they are intact by now, or intact in another snapshot.
fn noted(
    source: &Repository,
    id: SnapshotId,
    records: &[PartRecord],
    lists: &[&PartList],
) -> Result<NotedParts, OpError> {
    let known = source.damaged_parts(id);
    let (mut intact, mut damage) = (Vec::new(), Vec::new());
    if known.is_empty() {
        return Ok(NotedParts { intact, damage });
    }
    let dir = source.snapshot_dir(id)?;
    let key = |record: &PartRecord| (record.table_name(), record.part.clone());
    let is_there = |record: &PartRecord| lists.iter().any(|list| list.find_same(record).is_some());
    let doubtful: BTreeMap<_, &PartRecord> = (records.iter())
        // Damage that the part had when it was taken is copied with its mark.
        .filter(|record| record.damage.is_empty() && known.contains(&key(record)) && !is_there(record))
        .filter(|record| !intact::is_whole(&dir, record, &Silent))
        .map(|record| (key(record), record))
        .collect();
    let copies = intact::find(source, (id, &dir), &doubtful, &Silent)?;
    for ((table, part), _) in doubtful {
        let found = SourceDamage {
            path: repo::part_path(&table, &part),
            problem: "a verification has found it damaged".to_owned(),
            table: Some(table.clone()),
            part: Some(part.clone()),
        };
        match copies.get(&(table, part)) {
            Some(copy) => intact.push(IntactPart { damage: found, from: copy.snapshot }),
            None => damage.push(found),
        }
    }
    Ok(NotedParts { intact, damage })
}

/// Whether two summaries agree on a snapshot, in everything that both state.
fn is_alike(one: &Summary, other: &Summary) -> bool {
    let of = |summary: &Summary| {
        let totals = summary.totals;
        (
            (summary.state.clone(), summary.time, summary.server_version.clone(), summary.content.clone()),
            (totals.tables, totals.parts, totals.files, totals.apparent_bytes),
        )
    };
    of(one) == of(other)
}

/// Whether two repositories have the same snapshot of this id: copies of one, or two that differ only in how their
/// files were placed.
fn has_same_content(source: &Repository, target: &Repository, id: SnapshotId) -> Result<bool, OpError> {
    let origins = (source.snapshot_origin(id)?, target.snapshot_origin(id)?);
    if origins.0.is_some() && origins.0 == origins.1 {
        return Ok(true);
    }
    let (SnapshotState::Complete(own), SnapshotState::Complete(other)) = (source.snapshot(id)?, target.snapshot(id)?)
    else {
        return Ok(false);
    };
    let parts = |repository: &Repository, manifest: &Manifest| -> Option<Vec<PartRecord>> {
        read_parts(&repository.snapshot_dir(id).ok()?, &manifest.parts_blake3).ok()
    };
    Ok(own.has_content_of(&other)
        && match (parts(source, &own), parts(target, &other)) {
            (Some(own), Some(other)) => {
                own.len() == other.len() && own.iter().zip(&other).all(|(own, other)| own.is_recorded_alike(other))
            }
            _ => false,
        })
}

/// The warning about a new snapshot that was removed before it was copied.
pub(super) fn removed_meanwhile(id: SnapshotId) -> Warning {
    Warning::new(WarningKind::SnapshotRemoved, format!("snapshot {id} was removed before it was copied"))
}

/// Returns the snapshots that were removed from a repository at some time, and not brought back since.
pub(in crate::ops) fn removed(repository: &Repository) -> BTreeSet<SnapshotId> {
    TargetJournal::read(repository).removed
}
