//! The earlier snapshots that the next one is made from.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use crate::fs::{Dir, FsError};
use crate::model::{InodeSet, PartName, SnapshotId, Table, TableName, TableUuid, Warning, WarningKind};
use crate::ops::error::OpError;
use crate::ops::written::{ComparedSnapshot, compared};
use crate::plan::{LinkCandidate, Placing, SeriesKey, link_order};
use crate::repo::{self, Index, KnownParts, PartRecord, RepoError, Repository, SnapshotState, Summary, read_parts};
use chrono::{DateTime, Utc};

/// The snapshot that the next one is compared with, and the snapshots that its parts are linked from.
#[derive(Debug)]
pub(super) struct Previous {
    /// The newest snapshot of the series, or of the main one.
    pub(super) id: SnapshotId,
    pub(super) inodes: InodeSet,
    /// The snapshots that parts can be linked from, each with the tables that no newer one has. Empty if everything is
    /// frozen.
    earlier: Vec<Earlier>,
    /// How frozen parts come into the new snapshot.
    placing: Placing,
    /// The parts of the snapshot that most parts can be linked from, as the index has them.
    known: Option<KnownParts>,
}

/// The parts of a table, by name, in one allocation: there can be hundreds of thousands, and they are freed together.
#[derive(Clone, Debug, Default)]
pub(super) struct PreviousParts(Vec<PartRecord>);

impl PreviousParts {
    pub(super) fn iter(&self) -> impl Iterator<Item = &PartRecord> {
        self.0.iter()
    }

    pub(super) fn get(&self, name: &PartName) -> Option<&PartRecord> {
        let position = self.0.binary_search_by(|record| record.part.cmp(name)).ok()?;
        self.0.get(position)
    }
}

/// The tables of a snapshot with their parts.
#[derive(Debug)]
struct Earlier {
    id: SnapshotId,
    /// When it was begun.
    time: DateTime<Utc>,
    data: Dir,
    parts: HashMap<TableName, PreviousParts>,
    names: HashMap<TableUuid, TableName>,
}

/// One table of an earlier snapshot.
#[derive(Clone, Debug)]
pub(super) struct EarlierTable<'a> {
    /// The snapshot.
    pub(super) id: SnapshotId,
    /// When that was begun.
    pub(super) time: DateTime<Utc>,
    pub(super) dir: Dir,
    pub(super) parts: &'a PreviousParts,
    /// These parts as the index has them; `None` if it has those of another snapshot.
    pub(super) known: Option<&'a KnownParts>,
}

impl Previous {
    /// Reads the snapshot that one of `series` is compared with, and, if `with_parts`, those that parts are linked
    /// from. A snapshot that cannot be read is a warning and does not prevent a new one: its tables are frozen.
    pub(super) fn read(
        repository: &Repository,
        index: &Index,
        series: &SeriesKey,
        with_parts: bool,
        warnings: &mut Vec<Warning>,
    ) -> Option<Self> {
        let newest = compared(index.summaries(), index.series(), series)?.id;
        let ComparedSnapshot { id, inodes } = match ComparedSnapshot::read_one(repository, index, newest) {
            Ok(found) => found?,
            Err(error) => {
                warnings.push(unread(newest, &error));
                return None;
            }
        };
        let mut previous = Self { id, inodes, earlier: Vec::new(), placing: Placing::Copied, known: None };
        if with_parts {
            let source = ListSource { repository, index: Some(index) };
            previous.earlier = source.read_earlier(index.summaries(), series, warnings);
            previous.known = previous.main_source().and_then(|id| index.known_parts(repository, id));
        }
        Some(previous)
    }

    /// Reads only the parts, and writes no index: for a comparison that changes no file.
    pub(super) fn read_parts(
        repository: &Repository,
        series: &SeriesKey,
        warnings: &mut Vec<Warning>,
    ) -> Result<Option<Self>, OpError> {
        let (summaries, of) = repository.summaries()?;
        let Some(newest) = compared(&summaries, &of, series) else { return Ok(None) };
        let earlier = ListSource { repository, index: None }.read_earlier(&summaries, series, warnings);
        let mut previous =
            Self { id: newest.id, inodes: InodeSet::default(), earlier, placing: Placing::Copied, known: None };
        previous.known = previous.main_source().and_then(|id| Index::peek_at_parts(repository, id));
        Ok(Some(previous))
    }

    /// Drops the parts once nothing is linked from them any more, because they take much memory. Returns what the index
    /// needs to recognize the unchanged ones.
    pub(super) fn without_parts(self) -> (Self, Option<KnownParts>) {
        let known = self.known.map(KnownParts::without_states);
        (Self { earlier: Vec::new(), known: None, ..self }, known)
    }

    pub(super) fn placing(&self) -> Placing {
        self.placing
    }

    /// Notes how frozen parts come into the new snapshot.
    pub(super) fn set_placing(&mut self, placing: Placing) {
        self.placing = placing;
    }

    /// The snapshot that most parts can be linked from.
    pub(super) fn main_source(&self) -> Option<SnapshotId> {
        let parts = |earlier: &&Earlier| earlier.parts.values().map(|parts| parts.0.len()).sum::<usize>();
        self.earlier.iter().max_by_key(parts).map(|earlier| earlier.id)
    }

    /// Whether it has a part of this name of a table that can be linked.
    pub(super) fn knows(&self, table: &Table, part: &PartName) -> bool {
        let parts = self.earlier.iter().find_map(|earlier| earlier.parts.get(earlier.name_of(table)?));
        parts.is_some_and(|parts| parts.get(part).is_some())
    }

    /// The table in the newest snapshot that has it.
    pub(super) fn table(&self, table: &Table) -> Result<Option<EarlierTable<'_>>, FsError> {
        let of = |earlier: &Earlier| Some(earlier.name_of(table)?.clone());
        let found = self.earlier.iter().find_map(|earlier| {
            let name = of(earlier)?;
            Some((earlier, earlier.parts.get(&name)?, name))
        });
        let Some((earlier, parts, name)) = found else { return Ok(None) };
        let dir = earlier.data.find_beneath(&repo::table_below_data(&name))?;
        let known = self.known.as_ref().filter(|known| known.snapshot() == earlier.id);
        Ok(dir.map(|dir| EarlierTable { id: earlier.id, time: earlier.time, dir, parts, known }))
    }
}

/// Where manifests and lists of parts are read from.
#[derive(Clone, Copy)]
struct ListSource<'a> {
    repository: &'a Repository,
    /// The index, which may have the lists of the newest snapshots.
    index: Option<&'a Index>,
}

impl ListSource<'_> {
    /// The snapshots that parts of a new one of `series` are linked from, in the order of [`link_order`].
    fn read_earlier(self, summaries: &[Summary], series: &SeriesKey, warnings: &mut Vec<Warning>) -> Vec<Earlier> {
        let readable: Vec<&Summary> = summaries.iter().filter(|summary| summary.is_complete()).collect();
        let candidates: Vec<LinkCandidate<'_>> = (readable.iter())
            .map(|summary| LinkCandidate { key: &summary.content.key, is_complete: !summary.incomplete })
            .collect();
        let mut all: Vec<Earlier> = Vec::new();
        for summary in link_order(&candidates, series).into_iter().filter_map(|place| readable.get(place)) {
            match Earlier::read(self, summary, &all) {
                Ok(earlier) => all.extend(earlier),
                Err(error) => warnings.push(unread(summary.id, &error)),
            }
        }
        all
    }

    fn snapshot(self, id: SnapshotId, dir: &Dir) -> Result<SnapshotState, RepoError> {
        self.index.map_or_else(|| self.repository.snapshot(id), |index| index.snapshot(self.repository, (id, dir)))
    }

    fn parts(self, id: SnapshotId, dir: &Dir, blake3: &str) -> Result<Vec<PartRecord>, RepoError> {
        self.index.map_or_else(|| read_parts(dir, blake3), |index| index.parts(self.repository, (id, dir), blake3))
    }
}

/// The warning about a last snapshot that could not be read.
fn unread(id: SnapshotId, error: &dyn std::error::Error) -> Warning {
    let message = format!(
        "nothing is linked from the last snapshot {id}, everything is frozen: {}; chsnap verify looks at it",
        crate::monitor::chain(error)
    );
    Warning::new(WarningKind::PreviousUnreadable, message)
}

impl Earlier {
    /// The parts of a snapshot, without tables that newer ones have. `None` if no parts are left or the snapshot has
    /// gone.
    fn read(source: ListSource<'_>, summary: &Summary, newer: &[Self]) -> Result<Option<Self>, RepoError> {
        let id = summary.id;
        let snapshot = match source.repository.snapshot_dir(id) {
            Err(RepoError::NoSnapshot { .. }) => return Ok(None),
            result => result?,
        };
        let Some(data) = snapshot.find_beneath(Path::new(repo::DATA))? else { return Ok(None) };
        let SnapshotState::Complete(manifest) = source.snapshot(id, &snapshot)? else { return Ok(None) };
        let is_new = |uuid: Option<&TableUuid>, name: &TableName| !newer.iter().any(|newer| newer.has(uuid, name));
        let mut entries = manifest.tables.iter().filter(|entry| entry.parts > 0);
        let has_new = entries.any(|entry| is_new(entry.uuid.as_ref(), &TableName::new(&entry.database, &entry.table)));
        if !newer.is_empty() && !has_new {
            return Ok(None);
        }
        let mut records = source.parts(id, &snapshot, &manifest.parts_blake3)?;
        let mut known: HashSet<TableName> = HashSet::new();
        for entry in &manifest.tables {
            let name = TableName::new(&entry.database, &entry.table);
            if !is_new(entry.uuid.as_ref(), &name) {
                known.insert(name);
            }
        }
        if !known.is_empty() {
            records.retain(|record| !known.contains(record.table.as_ref()));
        }
        Ok(Some(Self::new(summary, data, records, &source.repository.damaged_parts(id))))
    }

    /// The name that a table has in the snapshot; in Atomic databases, the name of the table with the same UUID.
    fn name_of<'a>(&'a self, table: &'a Table) -> Option<&'a TableName> {
        match &table.key.uuid {
            Some(uuid) => self.names.get(uuid),
            None => Some(table.name()),
        }
    }

    /// Whether it has a table, by its UUID or, if it has none, by its name.
    fn has(&self, uuid: Option<&TableUuid>, name: &TableName) -> bool {
        match uuid {
            Some(uuid) => self.names.contains_key(uuid),
            None => self.parts.contains_key(name),
        }
    }

    fn new(summary: &Summary, data: Dir, records: Vec<PartRecord>, damaged: &BTreeSet<(TableName, PartName)>) -> Self {
        let mut counts: HashMap<&TableName, usize> = HashMap::new();
        for record in &records {
            *counts.entry(&record.table).or_default() += 1;
        }
        let of_table = |(name, count): (&TableName, _)| (name.clone(), PreviousParts(Vec::with_capacity(count)));
        let mut parts: HashMap<TableName, PreviousParts> = counts.into_iter().map(of_table).collect();
        let mut names = HashMap::new();
        // A part damaged when it was taken, or found damaged by a verification since, is never a source.
        for record in records.into_iter().filter(|record| record.damage.is_empty()) {
            let key = (record.table_name(), record.part.clone());
            if damaged.contains(&key) {
                continue;
            }
            let (name, _) = key;
            if let Some(uuid) = &record.uuid {
                names.entry(uuid.clone()).or_insert_with(|| name.clone());
            }
            parts.entry(name).or_default().0.push(record);
        }
        for parts in parts.values_mut() {
            parts.0.sort_unstable_by(|a, b| a.part.cmp(&b.part));
        }
        Self { id: summary.id, time: summary.time, data, parts, names }
    }
}
