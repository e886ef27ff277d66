//! The checks that the journal records: which snapshots were verified when and how thoroughly, and what was damaged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::fs::Dir;
use crate::model::{Level, PartName, SnapshotId, TableName};
use crate::plan::{Slice, TablePattern};

use super::event::{Event, TableParts, VerifiedEvent};
use super::layout::part_path;
use super::part_ranges::PartRanges;
use super::repository::Repository;

/// When a snapshot was last verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LastCheck {
    /// The level of the newest whole check; a round of slices becomes one when its last slice is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The time of that check; for a round of slices, the time of its first slice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<DateTime<Utc>>,
    /// The time since which every byte has been read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_time: Option<DateTime<Utc>>,
    /// When any of its bytes were last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_data_time: Option<DateTime<Utc>>,
    /// The newest slice, if a round is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<Slice>,
    /// Whether damage was found that no later check has found gone.
    pub damaged: bool,
    /// Whether owners or modes differed from the record, and no later check has found them right.
    pub drifted: bool,
}

/// The checks that the journal records.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    events: Vec<(DateTime<Utc>, KnownEventKind)>,
}

#[derive(Clone, Debug)]
enum KnownEventKind {
    Created(SnapshotId),
    Verified(Box<PreparedRun>),
    /// These can no longer be restored.
    Emptied(Vec<SnapshotId>),
}

/// A run, prepared for lookups.
#[derive(Clone, Debug)]
struct PreparedRun {
    run: VerifiedEvent,
    ids: HashSet<SnapshotId>,
    patterns: Vec<TablePattern>,
    spared: HashSet<(TableName, PartName)>,
    read: Option<HashSet<(TableName, PartName)>>,
    read_ranges: Option<PartRanges>,
    /// The snapshots that have each damaged part, and whether something outside them may link the damage.
    damaged: BTreeMap<(TableName, PartName), (BTreeSet<SnapshotId>, bool)>,
}

/// A part by its table and its name.
type PartOfTable = (TableName, PartName);

/// The known damage of a part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamageNote {
    /// Whether something outside the snapshots, most likely the live table, may link the damage.
    pub may_be_live: bool,
    /// Whether the snapshot was made after the damage was found in others, so that it may have the damage.
    pub is_inherited: bool,
}

/// The snapshots in which a part's bytes were read, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartCoverage {
    /// The time; `None` if never.
    pub time: Option<DateTime<Utc>>,
    /// One entry for each of the requested snapshots.
    pub snapshots: Vec<bool>,
}

fn each(lists: &[TableParts]) -> impl Iterator<Item = (TableName, PartName)> {
    lists.iter().flat_map(|list| {
        let table = TableName::new(list.database.clone(), list.table.clone());
        list.parts.iter().map(move |part| (table.clone(), part.clone()))
    })
}

impl PreparedRun {
    fn new(run: &VerifiedEvent) -> Self {
        let mut damaged: BTreeMap<_, (BTreeSet<SnapshotId>, bool)> = BTreeMap::new();
        for part in &run.damaged {
            let table = TableName::new(part.database.clone(), part.table.clone());
            let (ids, may_be_live) = damaged.entry((table, part.part.clone())).or_default();
            ids.extend(&part.ids);
            *may_be_live |= part.live.unwrap_or(true);
        }
        Self {
            ids: run.ids.iter().copied().collect(),
            // A pattern that cannot be parsed here matches nothing.
            patterns: run.tables.iter().filter_map(|text| TablePattern::recorded(text).ok()).collect(),
            spared: each(&run.spared).collect(),
            read: run.read.as_ref().map(|lists| each(lists).collect()),
            read_ranges: run.read_ranges.as_deref().map(PartRanges::of),
            damaged,
            run: run.clone(),
        }
    }

    /// Whether the run covered this part.
    fn concerns(&self, key: &(TableName, PartName)) -> bool {
        let named = self.run.tables.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(&key.0));
        named && self.run.slice.is_none_or(|slice| slice.contains(&key.0, &key.1))
    }

    fn has_read(&self, key: &(TableName, PartName)) -> bool {
        match (&self.read_ranges, &self.read) {
            (Some(ranges), _) => ranges.contain(key),
            (None, Some(read)) => read.contains(key),
            (None, None) => !self.spared.contains(key),
        }
    }

    /// Whether this run would have found the damage that the other run has found.
    fn supersedes(&self, other: &VerifiedEvent) -> bool {
        self.run.level >= other.level && self.supersedes_drift(other)
    }

    /// The same for drift: every level compares owners and modes.
    fn supersedes_drift(&self, other: &VerifiedEvent) -> bool {
        let same_share = self.run.slice.is_none() || self.run.slice == other.slice;
        let same_tables = self.run.tables.is_empty() || self.run.tables == other.tables;
        !self.run.incomplete && same_share && same_tables
    }
}

impl Checks {
    /// Collects what these events, in their order, record about checks.
    #[must_use]
    pub fn of(events: &[(DateTime<Utc>, Event)]) -> Self {
        let known = events.iter().filter_map(|(time, event)| match event {
            Event::Created { id, .. } => Some((*time, KnownEventKind::Created(*id))),
            Event::Verified(run) => Some((*time, KnownEventKind::Verified(Box::new(PreparedRun::new(run))))),
            Event::Emptied { ids } => Some((*time, KnownEventKind::Emptied(ids.clone()))),
            _ => None,
        });
        Self { events: known.collect() }
    }

    fn runs(&self) -> impl Iterator<Item = (DateTime<Utc>, &PreparedRun)> {
        self.events.iter().filter_map(|(time, kind)| match kind {
            KnownEventKind::Verified(run) => Some((*time, run.as_ref())),
            KnownEventKind::Created(_) | KnownEventKind::Emptied(_) => None,
        })
    }

    /// When the bytes of a part were last read, and in which of these snapshots.
    ///
    /// A run that spared a part has confirmed that all inodes of the part in the run's snapshots were read before. The
    /// earlier reading therefore counts for those snapshots too, with its own time. A run that found the part damaged
    /// cancels everything.
    #[must_use]
    pub fn covered(&self, table: &TableName, part: &PartName, snapshots: &[SnapshotId]) -> PartCoverage {
        let key = (table.clone(), part.clone());
        let mut covered = PartCoverage { time: None, snapshots: vec![false; snapshots.len()] };
        for (time, run) in self.runs() {
            if run.damaged.contains_key(&key) {
                covered = PartCoverage { time: None, snapshots: vec![false; snapshots.len()] };
                continue;
            }
            if run.run.level < Level::Data || run.run.incomplete || !run.concerns(&key) {
                continue;
            }
            if run.has_read(&key) {
                covered.time = Some(time);
                covered.snapshots.fill(false);
            } else if covered.time.is_none() {
                continue;
            }
            for (known, id) in covered.snapshots.iter_mut().zip(snapshots) {
                *known |= run.ids.contains(id);
            }
        }
        covered
    }

    /// The parts of each snapshot that were found damaged, or may have become so since, and were not found intact
    /// since.
    ///
    /// A snapshot that was made while a part was damaged may have the damage too, if something outside the snapshots
    /// linked the damaged inode: such a note is inherited, and applies if the snapshot has that part. A note about a
    /// snapshot that is gone for good does not affect later ones: that snapshot is not a source any more, and newer
    /// notes record whether the live table has the damage.
    #[must_use]
    pub fn damaged(&self) -> BTreeMap<SnapshotId, BTreeMap<(TableName, PartName), DamageNote>> {
        let mut noted: BTreeMap<&PartOfTable, BTreeMap<SnapshotId, (Level, DamageNote)>> = BTreeMap::new();
        for (_, kind) in &self.events {
            match kind {
                KnownEventKind::Created(id) => {
                    for snapshots in noted.values_mut() {
                        let live = snapshots.values().filter(|(_, note)| note.may_be_live).map(|(level, _)| *level);
                        if let Some(level) = live.max() {
                            snapshots.insert(*id, (level, DamageNote { may_be_live: true, is_inherited: true }));
                        }
                    }
                }
                KnownEventKind::Emptied(ids) => noted.retain(|_, snapshots| {
                    snapshots.retain(|id, _| !ids.contains(id));
                    !snapshots.is_empty()
                }),
                KnownEventKind::Verified(run) => {
                    noted.retain(|key, snapshots| {
                        let proves =
                            |level: Level| run.run.level >= level && (level < Level::Data || run.has_read(key));
                        if !run.run.incomplete && run.concerns(key) {
                            snapshots.retain(|id, (level, _)| !(run.ids.contains(id) && proves(*level)));
                        }
                        !snapshots.is_empty()
                    });
                    for (key, (ids, may_be_live)) in &run.damaged {
                        let note = DamageNote { may_be_live: *may_be_live, is_inherited: false };
                        noted.entry(key).or_default().extend(ids.iter().map(|id| (*id, (run.run.level, note))));
                    }
                }
            }
        }
        let mut damaged: BTreeMap<SnapshotId, BTreeMap<(TableName, PartName), DamageNote>> = BTreeMap::new();
        for (key, snapshots) in noted {
            for (id, (_, note)) in snapshots {
                damaged.entry(id).or_default().insert(key.clone(), note);
            }
        }
        damaged
    }

    /// Of `count` slices, the one that was checked longest ago, by runs that covered all of these snapshots that
    /// existed when they began and could be read; `None` if there are no slices.
    ///
    /// A failure to check something then is no reason to repeat that slice: every slice comes round again, and with it
    /// whatever can be read by then.
    #[must_use]
    pub fn next_slice(&self, level: Level, count: u32, snapshots: &[SnapshotId]) -> Option<Slice> {
        let created: BTreeMap<SnapshotId, usize> = (self.events.iter().enumerate())
            .filter_map(|(place, (_, kind))| match kind {
                KnownEventKind::Created(id) => Some((*id, place)),
                KnownEventKind::Verified(_) | KnownEventKind::Emptied(_) => None,
            })
            .collect();
        let mut last: BTreeMap<Slice, usize> = BTreeMap::new();
        for (place, (time, kind)) in self.events.iter().enumerate() {
            let KnownEventKind::Verified(run) = kind else { continue };
            let begun = run.run.begun.unwrap_or(*time);
            let came_later =
                |id: &SnapshotId| id.time() > begun || created.get(id).is_some_and(|created| *created > place);
            let had = |id: &SnapshotId| run.ids.contains(id) || run.run.unreadable.contains(id) || came_later(id);
            let is_as_good = run.run.level >= level && run.run.tables.is_empty() && snapshots.iter().all(had);
            if let Some(slice) = run.run.slice.filter(|slice| is_as_good && slice.count() == count) {
                last.insert(slice, place);
            }
        }
        // The order in which they were recorded, whatever the clock showed.
        Slice::all(count).min_by_key(|slice| last.get(slice).copied())
    }

    /// When a snapshot was last verified as a whole. Its damage is judged by what runs have found in the whole
    /// snapshot; [`Checks::damaged`] knows more about its parts ([`Repository::last_checks`] combines both).
    #[must_use]
    pub fn last(&self, id: SnapshotId) -> LastCheck {
        let mut rounds: BTreeMap<(Level, u32), BTreeMap<u32, DateTime<Utc>>> = BTreeMap::new();
        let mut last = LastCheck::default();
        let (mut damage, mut drift): (Vec<&VerifiedEvent>, Vec<&VerifiedEvent>) = (Vec::new(), Vec::new());
        for (time, run) in self.runs() {
            if run.ids.contains(&id) {
                damage.retain(|other| !run.supersedes(other));
                drift.retain(|other| !run.supersedes_drift(other));
            }
            if run.run.damaged_ids.contains(&id) {
                damage.push(&run.run);
            }
            if run.run.drifted_ids.contains(&id) {
                drift.push(&run.run);
            }
            if run.ids.contains(&id) && run.run.level == Level::Data && run.run.read_bytes > 0 {
                last.any_data_time = last.any_data_time.max(Some(time));
            }
            if !run.ids.contains(&id) || run.run.incomplete || !run.run.tables.is_empty() {
                continue;
            }
            let since = run.run.oldest.map_or(time, |oldest| oldest.min(time));
            let whole = if let Some(slice) = run.run.slice {
                let round = rounds.entry((run.run.level, slice.count())).or_default();
                round.insert(slice.index(), since);
                let count = u32::try_from(round.len()).unwrap_or(u32::MAX);
                let first = (count == slice.count()).then(|| round.values().min().copied()).flatten();
                last.slice = Some(slice);
                first
            } else {
                last.slice = None;
                Some(since)
            };
            let Some(whole) = whole else { continue };
            (last.level, last.time) = (Some(run.run.level), Some(whole));
            if run.run.level == Level::Data {
                last.data_time = last.data_time.max(Some(whole));
            }
        }
        last.damaged = !damage.is_empty();
        last.drifted = !drift.is_empty();
        last
    }
}

impl Repository {
    /// Reads from the journal what it records about checks.
    #[must_use]
    pub fn checks(&self) -> Checks {
        Checks::of(&self.events())
    }

    /// When each of these snapshots was last verified, and whether it is damaged; all callers share this one answer.
    #[must_use]
    pub fn last_checks(&self, ids: &[SnapshotId]) -> Vec<LastCheck> {
        let checks = self.checks();
        let mut damaged = checks.damaged();
        let last = |id: &SnapshotId| {
            let noted = damaged.remove(id).map(|noted| self.in_snapshot(*id, noted)).unwrap_or_default();
            let last = checks.last(*id);
            LastCheck { damaged: last.damaged || !noted.is_empty(), ..last }
        };
        ids.iter().map(last).collect()
    }

    /// The damaged parts of all snapshots, as paths relative to each.
    pub(super) fn damaged_paths(&self) -> BTreeSet<(SnapshotId, PathBuf)> {
        let mut paths = BTreeSet::new();
        for (id, noted) in self.checks().damaged() {
            paths.extend(noted.into_keys().map(|(table, part)| (id, part_path(&table, &part))));
        }
        paths
    }

    /// The parts of a snapshot that are damaged, or may be: see [`Checks::damaged`]. None of them serves as a source
    /// for another snapshot.
    #[must_use]
    pub fn damaged_parts(&self, id: SnapshotId) -> BTreeSet<(TableName, PartName)> {
        self.damaged_parts_of(&[id]).remove(&id).unwrap_or_default()
    }

    /// Works as [`Repository::damaged_parts`], for several snapshots at once; those without such parts are left out.
    #[must_use]
    pub fn damaged_parts_of(&self, ids: &[SnapshotId]) -> BTreeMap<SnapshotId, BTreeSet<(TableName, PartName)>> {
        let mut damaged = self.checks().damaged();
        let noted = ids.iter().filter_map(|id| Some((*id, self.in_snapshot(*id, damaged.remove(id)?))));
        noted.filter(|(_, parts)| !parts.is_empty()).collect()
    }

    /// Selects those of the noted parts that a snapshot has: an inherited note applies only if the part is there. If
    /// that cannot be read, all are returned.
    fn in_snapshot(
        &self,
        id: SnapshotId,
        noted: BTreeMap<(TableName, PartName), DamageNote>,
    ) -> BTreeSet<(TableName, PartName)> {
        let has = |dir: &Dir, (table, part): &(TableName, PartName)| {
            dir.find_beneath(&part_path(table, part)).map_or(true, |found| found.is_some())
        };
        let dir = self.snapshot_dir(id).ok();
        let holds = |key: &(TableName, PartName), note: &DamageNote| {
            !note.is_inherited || dir.as_ref().is_none_or(|dir| has(dir, key))
        };
        noted.into_iter().filter(|(key, note)| holds(key, note)).map(|(key, _)| key).collect()
    }
}
