//! The last complete snapshot, as far as the next one is made from it.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::fs::{Dir, Entry, FsError, Kind};
use crate::model::{InodeSet, PartName, SnapshotId, Table, TableName, TableUuid, Warning, WarningKind};
use crate::ops::error::OpError;
use crate::repo::{self, Index, PartRecord, RepoError, Repository, SnapshotState, Summary, read_parts};

/// The newest complete snapshot.
#[derive(Debug)]
pub(super) struct Previous {
    pub(super) id: SnapshotId,
    /// When it was begun.
    pub(super) time: DateTime<Utc>,
    pub(super) inodes: InodeSet,
    /// What parts can be linked from; nothing where everything is frozen.
    earlier: Option<Earlier>,
}

/// The parts of a table, by name. In one piece: there can be hundreds of thousands, and they go together.
#[derive(Clone, Debug, Default)]
pub(super) struct TableParts(Vec<PartRecord>);

impl TableParts {
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
    data: Dir,
    parts: HashMap<TableName, TableParts>,
    names: HashMap<TableUuid, TableName>,
}

/// One table of the snapshot.
#[derive(Clone, Debug)]
pub(super) struct EarlierTable<'a> {
    pub(super) dir: Dir,
    pub(super) parts: &'a TableParts,
}

impl Previous {
    /// Reads the newest complete snapshot, its parts only where they are to be linked from. One that cannot be read is a
    /// warning, and no reason to have none of tonight: then everything is frozen.
    pub(super) fn read(
        repository: &Repository,
        index: &Index,
        with_parts: bool,
        warnings: &mut Vec<Warning>,
    ) -> Option<Self> {
        let mut complete = index.summaries().iter().rev().filter(|summary| Summary::is_complete(summary));
        let newest = complete.next()?;
        let mut previous = match Self::look(repository, index, newest) {
            Ok(Some(found)) => found,
            Ok(None) => return None,
            Err(error) => {
                warnings.push(unread(newest.id, &error));
                return None;
            }
        };
        if with_parts {
            match Earlier::read(repository, previous.id, warnings) {
                Ok(earlier) => previous.earlier = earlier,
                Err(error) => warnings.push(unread(newest.id, &error)),
            }
        }
        Some(previous)
    }

    /// The same without the index, and with nothing but its parts: for a comparison that changes no file.
    pub(super) fn read_parts(repository: &Repository, warnings: &mut Vec<Warning>) -> Result<Option<Self>, OpError> {
        let summaries = repository.summaries()?;
        let Some(newest) = summaries.iter().rev().find(|summary| Summary::is_complete(summary)) else {
            return Ok(None);
        };
        let mut previous = Self { id: newest.id, time: newest.time, inodes: InodeSet::default(), earlier: None };
        match Earlier::read(repository, newest.id, warnings) {
            Ok(earlier) => previous.earlier = earlier,
            Err(error) => warnings.push(unread(newest.id, &error)),
        }
        Ok(Some(previous))
    }

    /// The snapshot with the inodes of its parts; nothing if it has gone.
    fn look(repository: &Repository, index: &Index, newest: &Summary) -> Result<Option<Self>, RepoError> {
        let snapshot = match repository.snapshot_dir(newest.id) {
            Err(RepoError::NoSnapshot { .. }) => return Ok(None),
            result => result?,
        };
        let data = snapshot.find_beneath(Path::new(repo::DATA))?;
        let inodes = match (index.inodes(repository, newest.id), &data) {
            (Some(inodes), _) => inodes,
            (None, Some(data)) => inodes_below(data)?,
            (None, None) => InodeSet::default(),
        };
        Ok(Some(Self { id: newest.id, time: newest.time, inodes, earlier: None }))
    }

    /// Without its parts, once nothing is linked from it any more: they take much memory.
    pub(super) fn without_parts(self) -> Self {
        Self { earlier: None, ..self }
    }

    /// Whether it has a part of this name of a table, which can be linked.
    pub(super) fn knows(&self, table: &Table, part: &PartName) -> bool {
        let parts = self.earlier.as_ref().and_then(|earlier| earlier.parts.get(earlier.name_of(table)?));
        parts.is_some_and(|parts| parts.get(part).is_some())
    }

    /// The table as the snapshot has it.
    pub(super) fn table(&self, table: &Table) -> Result<Option<EarlierTable<'_>>, FsError> {
        let Some(earlier) = &self.earlier else { return Ok(None) };
        let Some(name) = earlier.name_of(table) else { return Ok(None) };
        let Some(parts) = earlier.parts.get(name) else { return Ok(None) };
        Ok(earlier.data.find_beneath(&repo::table_below_data(name))?.map(|dir| EarlierTable { dir, parts }))
    }
}

type DamagedParts = BTreeSet<(TableName, PartName)>;

/// The parts of the snapshot that verifications have found damaged.
fn noted(repository: &Repository, id: SnapshotId, warnings: &mut Vec<Warning>) -> DamagedParts {
    repository.damaged_parts(id).unwrap_or_else(|error| {
        let message = format!("what verifications have found damaged is not known: {}", crate::monitor::chain(&error));
        warnings.push(Warning::new(WarningKind::JournalUnreadable, message));
        DamagedParts::new()
    })
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
    /// The parts of a snapshot; nothing if it has no tables or has gone.
    fn read(repository: &Repository, id: SnapshotId, warnings: &mut Vec<Warning>) -> Result<Option<Self>, RepoError> {
        let snapshot = match repository.snapshot_dir(id) {
            Err(RepoError::NoSnapshot { .. }) => return Ok(None),
            result => result?,
        };
        let Some(data) = snapshot.find_beneath(Path::new(repo::DATA))? else { return Ok(None) };
        let SnapshotState::Complete(manifest) = repository.snapshot(id)? else { return Ok(None) };
        let records = read_parts(&snapshot, &manifest.parts_blake3)?;
        Ok(Some(Self::new(data, records, &noted(repository, id, warnings))))
    }

    /// The name that a table has in the snapshot: in Atomic databases that of the table of the same UUID.
    fn name_of<'a>(&'a self, table: &'a Table) -> Option<&'a TableName> {
        match &table.key.uuid {
            Some(uuid) => self.names.get(uuid),
            None => Some(table.name()),
        }
    }

    fn new(data: Dir, records: Vec<PartRecord>, damaged: &DamagedParts) -> Self {
        let name_of = |record: &PartRecord| TableName::new(record.database.as_str(), record.table.as_str());
        let mut counts: HashMap<TableName, usize> = HashMap::new();
        for record in &records {
            *counts.entry(name_of(record)).or_default() += 1;
        }
        let of_table = |(name, count)| (name, TableParts(Vec::with_capacity(count)));
        let mut parts: HashMap<TableName, TableParts> = counts.into_iter().map(of_table).collect();
        let mut names = HashMap::new();
        // A part that was damaged then, or that a verification has found damaged since, is never a source.
        for record in records.into_iter().filter(|record| record.damage.is_empty()) {
            let key = (name_of(&record), record.part.clone());
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
        Self { data, parts, names }
    }
}

/// Reads the inode numbers of a snapshot off its directories, without touching a file of it.
fn inodes_below(data: &Dir) -> Result<InodeSet, FsError> {
    Ok(files_below(data, DEPTH)?.into_iter().collect())
}

/// Databases, tables, parts, projections, and what a newer server may nest in them. What stands deeper nobody made.
const DEPTH: usize = 8;

fn files_below(dir: &Dir, depth: usize) -> Result<Vec<u64>, FsError> {
    let (directories, files): (Vec<_>, Vec<_>) =
        dir.entries_with_kind()?.into_iter().partition(|entry| entry.kind == Kind::Directory);
    let deeper = depth.checked_sub(1).map(|depth| (depth, directories));
    let below = |(depth, directories): (usize, Vec<Entry>)| {
        let below = directories.par_iter().map(|entry| files_below(&dir.open_dir(&entry.name)?, depth));
        below.collect::<Result<Vec<Vec<u64>>, FsError>>()
    };
    let below = deeper.map_or(Ok(Vec::new()), below)?;
    let mut inodes: Vec<u64> = files.iter().map(|entry| entry.inode).collect();
    inodes.extend(below.into_iter().flatten());
    Ok(inodes)
}
