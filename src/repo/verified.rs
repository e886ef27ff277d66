//! What the journal knows of checks: which snapshots were verified when, how thoroughly, and what was damaged.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::fs::Dir;
use crate::model::{Level, PartName, SnapshotId, TableName};
use crate::plan::{Slice, TablePattern};

use super::error::RepoError;
use super::event::{Event, TableParts, Verified};
use super::layout::part_path;
use super::repository::Repository;

/// When a snapshot was last verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LastCheck {
    /// The level of the newest whole check; a round of slices is one when its last slice is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// When that was: of a round of slices, its first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<DateTime<Utc>>,
    /// Since when every byte has been read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_time: Option<DateTime<Utc>>,
    /// When any of its bytes were last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any_data_time: Option<DateTime<Utc>>,
    /// The newest slice, where a round is under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice: Option<Slice>,
    /// Whether damage was found that no check since has found gone.
    pub damaged: bool,
    /// Whether owners or modes were found that are not as recorded, and no check since has found them right.
    pub drifted: bool,
}

/// What the journal knows of checks.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    events: Vec<(DateTime<Utc>, Kind)>,
}

#[derive(Clone, Debug)]
enum Kind {
    Created(SnapshotId),
    Verified(Box<Prepared>),
}

/// A run with what is looked up in it.
#[derive(Clone, Debug)]
struct Prepared {
    run: Verified,
    ids: HashSet<SnapshotId>,
    patterns: Vec<TablePattern>,
    spared: HashSet<(TableName, PartName)>,
    read: Option<HashSet<(TableName, PartName)>>,
    /// The snapshots that each damaged part is in, and whether something outside of them may link the damage.
    damaged: BTreeMap<(TableName, PartName), (BTreeSet<SnapshotId>, bool)>,
}

/// A part by its table and its name.
type PartOfTable = (TableName, PartName);

/// What is known of a damaged part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Whether something outside of the snapshots, the live table most likely, may link the damage.
    pub may_be_live: bool,
    /// Whether the snapshot was made after the damage was found in others, so that it may have it.
    pub is_inherited: bool,
}

/// The snapshots in which a part's bytes were read, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// When; none if never.
    pub time: Option<DateTime<Utc>>,
    /// For each of the snapshots asked about.
    pub snapshots: Vec<bool>,
}

fn each(lists: &[TableParts]) -> impl Iterator<Item = (TableName, PartName)> {
    lists.iter().flat_map(|list| {
        let table = TableName::new(list.database.clone(), list.table.clone());
        list.parts.iter().map(move |part| (table.clone(), part.clone()))
    })
}

impl Prepared {
    fn new(run: &Verified) -> Self {
        let mut damaged: BTreeMap<_, (BTreeSet<SnapshotId>, bool)> = BTreeMap::new();
        for part in &run.damaged {
            let table = TableName::new(part.database.clone(), part.table.clone());
            let (ids, may_be_live) = damaged.entry((table, part.part.clone())).or_default();
            ids.extend(&part.ids);
            *may_be_live |= part.live.unwrap_or(true);
        }
        Self {
            ids: run.ids.iter().copied().collect(),
            // One that does not read here names nothing.
            patterns: run.tables.iter().filter_map(|text| TablePattern::recorded(text).ok()).collect(),
            spared: each(&run.spared).collect(),
            read: run.read.as_ref().map(|lists| each(lists).collect()),
            damaged,
            run: run.clone(),
        }
    }

    /// Whether the run was about this part.
    fn concerns(&self, key: &(TableName, PartName)) -> bool {
        let named = self.run.tables.is_empty() || self.patterns.iter().any(|pattern| pattern.matches(&key.0));
        named && self.run.slice.is_none_or(|slice| slice.contains(&key.0, &key.1))
    }

    fn has_read(&self, key: &(TableName, PartName)) -> bool {
        self.read.as_ref().map_or_else(|| !self.spared.contains(key), |read| read.contains(key))
    }

    /// Whether damage that the other run has found would have been found by this one.
    fn supersedes(&self, other: &Verified) -> bool {
        self.run.level >= other.level && self.supersedes_drift(other)
    }

    /// The same of drift: every level compares owners and modes.
    fn supersedes_drift(&self, other: &Verified) -> bool {
        let same_share = self.run.slice.is_none() || self.run.slice == other.slice;
        let same_tables = self.run.tables.is_empty() || self.run.tables == other.tables;
        !self.run.incomplete && same_share && same_tables
    }
}

impl Checks {
    /// What these events, in their order, say of checks.
    #[must_use]
    pub fn of(events: &[(DateTime<Utc>, Event)]) -> Self {
        let known = events.iter().filter_map(|(time, event)| match event {
            Event::Created { id, .. } => Some((*time, Kind::Created(*id))),
            Event::Verified(run) => Some((*time, Kind::Verified(Box::new(Prepared::new(run))))),
            _ => None,
        });
        Self { events: known.collect() }
    }

    fn runs(&self) -> impl Iterator<Item = (DateTime<Utc>, &Prepared)> {
        self.events.iter().filter_map(|(time, kind)| match kind {
            Kind::Verified(run) => Some((*time, run.as_ref())),
            Kind::Created(_) => None,
        })
    }

    /// When the bytes of a part were last read, and in which of these snapshots.
    ///
    /// A run that spared a part has found that every inode which it has in the run's snapshots is one that was read: so
    /// it is known of those snapshots too, and as old as it was. A run that found the part damaged takes all away.
    #[must_use]
    pub fn covered(&self, table: &TableName, part: &PartName, snapshots: &[SnapshotId]) -> Covered {
        let key = (table.clone(), part.clone());
        let mut covered = Covered { time: None, snapshots: vec![false; snapshots.len()] };
        for (time, run) in self.runs() {
            if run.damaged.contains_key(&key) {
                covered = Covered { time: None, snapshots: vec![false; snapshots.len()] };
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

    /// What was found damaged in each snapshot, or may have come into it since, and was not found whole since.
    ///
    /// A snapshot that was made while a part was damaged may have it too, if something outside of the snapshots linked the
    /// damaged inode: such a note is inherited, and holds where the snapshot has that part.
    #[must_use]
    pub fn damaged(&self) -> BTreeMap<SnapshotId, BTreeMap<(TableName, PartName), Note>> {
        let mut noted: BTreeMap<&PartOfTable, BTreeMap<SnapshotId, (Level, Note)>> = BTreeMap::new();
        for (_, kind) in &self.events {
            match kind {
                Kind::Created(id) => {
                    for snapshots in noted.values_mut() {
                        let live = snapshots.values().filter(|(_, note)| note.may_be_live).map(|(level, _)| *level);
                        if let Some(level) = live.max() {
                            snapshots.insert(*id, (level, Note { may_be_live: true, is_inherited: true }));
                        }
                    }
                }
                Kind::Verified(run) => {
                    noted.retain(|key, snapshots| {
                        let proves =
                            |level: Level| run.run.level >= level && (level < Level::Data || run.has_read(key));
                        if !run.run.incomplete && run.concerns(key) {
                            snapshots.retain(|id, (level, _)| !(run.ids.contains(id) && proves(*level)));
                        }
                        !snapshots.is_empty()
                    });
                    for (key, (ids, may_be_live)) in &run.damaged {
                        let note = Note { may_be_live: *may_be_live, is_inherited: false };
                        noted.entry(key).or_default().extend(ids.iter().map(|id| (*id, (run.run.level, note))));
                    }
                }
            }
        }
        let mut damaged: BTreeMap<SnapshotId, BTreeMap<(TableName, PartName), Note>> = BTreeMap::new();
        for (key, snapshots) in noted {
            for (id, (_, note)) in snapshots {
                damaged.entry(id).or_default().insert(key.clone(), note);
            }
        }
        damaged
    }

    /// Of so many slices the one that was checked longest ago, by runs that had all of these snapshots which stood when they
    /// began and could be read; none where there are no slices.
    ///
    /// What could not be checked then is no reason to check the same share again: every share comes round, and with it
    /// whatever can be read by then.
    #[must_use]
    pub fn next_slice(&self, level: Level, count: u32, snapshots: &[SnapshotId]) -> Option<Slice> {
        let created: BTreeMap<SnapshotId, usize> = (self.events.iter().enumerate())
            .filter_map(|(place, (_, kind))| match kind {
                Kind::Created(id) => Some((*id, place)),
                Kind::Verified(_) => None,
            })
            .collect();
        let mut last: BTreeMap<Slice, usize> = BTreeMap::new();
        for (place, (time, kind)) in self.events.iter().enumerate() {
            let Kind::Verified(run) = kind else { continue };
            let begun = run.run.begun.unwrap_or(*time);
            let came_later =
                |id: &SnapshotId| id.time() > begun || created.get(id).is_some_and(|created| *created > place);
            let had = |id: &SnapshotId| run.ids.contains(id) || run.run.unreadable.contains(id) || came_later(id);
            let is_as_good = run.run.level >= level && run.run.tables.is_empty() && snapshots.iter().all(had);
            if let Some(slice) = run.run.slice.filter(|slice| is_as_good && slice.count() == count) {
                last.insert(slice, place);
            }
        }
        // The order in which they were recorded, whatever the clock said.
        Slice::all(count).min_by_key(|slice| last.get(slice).copied())
    }

    /// When a snapshot was last verified as a whole. Whether it is damaged is by what runs have found in it as a whole; of its
    /// parts [`Checks::damaged`] knows more ([`Repository::last_checks`] has both).
    #[must_use]
    pub fn last(&self, id: SnapshotId) -> LastCheck {
        let mut rounds: BTreeMap<(Level, u32), BTreeMap<u32, DateTime<Utc>>> = BTreeMap::new();
        let mut last = LastCheck::default();
        let (mut damage, mut drift): (Vec<&Verified>, Vec<&Verified>) = (Vec::new(), Vec::new());
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
    /// What the journal knows of checks.
    ///
    /// # Errors
    /// If the journal is there and cannot be read.
    pub fn checks(&self) -> Result<Checks, RepoError> {
        Ok(Checks::of(&self.events()?))
    }

    /// When each of these snapshots was last verified, and whether it is damaged: the one answer for all who ask.
    ///
    /// # Errors
    /// If the journal is there and cannot be read.
    pub fn last_checks(&self, ids: &[SnapshotId]) -> Result<Vec<LastCheck>, RepoError> {
        let checks = self.checks()?;
        let mut damaged = checks.damaged();
        let last = |id: &SnapshotId| {
            let noted = damaged.remove(id).map(|noted| self.in_snapshot(*id, noted)).unwrap_or_default();
            let last = checks.last(*id);
            LastCheck { damaged: last.damaged || !noted.is_empty(), ..last }
        };
        Ok(ids.iter().map(last).collect())
    }

    /// The same of all snapshots, as paths relative to each.
    ///
    /// # Errors
    /// If the journal is there and cannot be read.
    pub(super) fn damaged_paths(&self) -> Result<BTreeSet<(SnapshotId, PathBuf)>, RepoError> {
        let mut paths = BTreeSet::new();
        for (id, noted) in self.checks()?.damaged() {
            paths.extend(noted.into_keys().map(|(table, part)| (id, part_path(&table, &part))));
        }
        Ok(paths)
    }

    /// The parts of a snapshot that are damaged, or may be: see [`Checks::damaged`]. None of them is a source of another
    /// snapshot.
    ///
    /// # Errors
    /// If the journal is there and cannot be read.
    pub fn damaged_parts(&self, id: SnapshotId) -> Result<BTreeSet<(TableName, PartName)>, RepoError> {
        let noted = self.checks()?.damaged().remove(&id);
        Ok(noted.map(|noted| self.in_snapshot(id, noted)).unwrap_or_default())
    }

    /// Those of the noted parts that a snapshot has: an inherited note holds only where the part is there. Where that cannot
    /// be read, all of them.
    fn in_snapshot(
        &self,
        id: SnapshotId,
        noted: BTreeMap<(TableName, PartName), Note>,
    ) -> BTreeSet<(TableName, PartName)> {
        let has = |dir: &Dir, (table, part): &(TableName, PartName)| {
            dir.find_beneath(&part_path(table, part)).map_or(true, |found| found.is_some())
        };
        let dir = self.snapshot_dir(id).ok();
        let holds = |key: &(TableName, PartName), note: &Note| {
            !note.is_inherited || dir.as_ref().is_none_or(|dir| has(dir, key))
        };
        noted.into_iter().filter(|(key, note)| holds(key, note)).map(|(key, _)| key).collect()
    }
}
