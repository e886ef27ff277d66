//! `sources.sqlite`: finds parts and files that can be linked again, by their content. A cache like the index: it is
//! never the truth, and losing it costs only time.
//!
//! A part of many snapshots has one row, with the newest of them. Names and hashes of files are not stored: a 64-bit
//! number made from each leads to the part, whose own `checksums.txt` has the rest. So 10 million files of 4 KiB and
//! more take some 200 MB on disk, and nothing in memory.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use crate::checksums::{Checksums, FileHash};
use crate::fs::Dir;
use crate::model::{Fingerprint, PartName, SnapshotId, TableName, TableUuid};

use super::error::RepoError;
use super::index::Index;
use super::layout::part_path;
use super::parts::PartRecord;
use super::repository::{Repository, SnapshotState};
use super::sources_file::{FILE, connect, paths, prepare, remove_cache};

/// Smaller files are found only through their part.
const LEAST_BYTES: u64 = 4096;
/// At most this many candidates are examined: the first ones are the newest.
const CANDIDATES: i64 = 8;
const CHECKSUMS_LIMIT_BYTES: u64 = 64 << 20;

/// A file's size and hash in few bits: equal files have equal keys, and different files nearly always have different
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey(i64);

impl FileKey {
    /// The key of a file that `checksums.txt` covers, if the file is large enough to have one.
    #[must_use]
    pub fn of(bytes: u64, hash: FileHash) -> Option<Self> {
        let low = first_bits(&hash.to_bytes());
        (bytes >= LEAST_BYTES)
            .then(|| Self(low ^ i64::from_le_bytes(bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())))
    }
}

/// A part in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSource {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The part's directory, relative to that of the snapshot.
    pub path: PathBuf,
    /// Its name.
    pub part: PartName,
    /// Whether it belongs to the requested table.
    pub is_of_table: bool,
}

/// A part of a new snapshot, with the keys of its files if they are known.
#[derive(Clone, Copy, Debug)]
pub struct NewPart<'a> {
    /// The record of the part in the snapshot.
    pub record: &'a PartRecord,
    /// The keys of its files.
    pub keys: Option<&'a [FileKey]>,
}

/// All parts of all complete snapshots that were sound when they were taken.
#[derive(Debug)]
pub struct Sources {
    connection: Mutex<Connection>,
    /// Whether it has any part: without one, nothing is looked for.
    has_parts: bool,
    /// Parts that verifications have found damaged are not sources, whatever the cache says.
    damaged: BTreeSet<(SnapshotId, PathBuf)>,
}

/// The portion of a name that a mutation does not change.
fn stem(name: &PartName) -> &str {
    match name.mutation_version() {
        0 => name.as_str(),
        _ => name.as_str().rsplit_once('_').map_or(name.as_str(), |(stem, _)| stem),
    }
}

/// The identity of a table: its UUID, or its name if it has none.
fn owner(name: &TableName, uuid: Option<&TableUuid>) -> String {
    uuid.map_or_else(|| format!("{}\n{}", name.database, name.table), |uuid| uuid.as_str().to_owned())
}

fn stem_key(owner: &str, name: &PartName) -> i64 {
    let digest = blake3::hash(format!("{owner}\n{}", stem(name)).as_bytes());
    first_bits(digest.as_bytes())
}

/// The first 64 bits of a hash.
fn first_bits(hash: &[u8]) -> i64 {
    i64::from_le_bytes(hash.first_chunk().copied().unwrap_or_default())
}

impl Sources {
    /// Opens the cache and brings it up to date with the snapshots in the index; missing entries are read from those.
    ///
    /// # Errors
    /// If the repository cannot be read. A problem with the cache itself is not an error: it is then created again, or
    /// kept in memory if nothing can be written.
    pub fn open(repository: &Repository, index: &Index) -> Result<Self, RepoError> {
        for path in paths(repository) {
            for _ in 0..2 {
                match connect(&path, repository).and_then(|connection| Self::refreshed(connection, repository, index)) {
                    Ok(sources) => return sources,
                    Err(error) => {
                        tracing::debug!(%error, path = %path.display(), "the cache of sources is rebuilt");
                        remove_cache(&path);
                    }
                }
            }
        }
        Self::in_memory(repository, index)
    }

    /// Reads the parts of all snapshots, and writes nothing.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn in_memory(repository: &Repository, index: &Index) -> Result<Self, RepoError> {
        let memory = Connection::open_in_memory().and_then(|connection| prepare(connection, repository));
        let refreshed = memory.and_then(|connection| Self::refreshed(connection, repository, index));
        refreshed.unwrap_or_else(|error| {
            Err(RepoError::Damaged { path: repository.path().join(FILE), reason: error.to_string() })
        })
    }

    /// The outer error is the cache's, the inner one the repository's.
    fn refreshed(
        mut connection: Connection,
        repository: &Repository,
        index: &Index,
    ) -> rusqlite::Result<Result<Self, RepoError>> {
        refresh(&mut connection, repository, index)?;
        let has_parts = connection.query_row("SELECT 1 FROM part LIMIT 1", [], |_| Ok(())).optional()?.is_some();
        let damaged = repository.damaged_paths();
        Ok(Ok(Self { connection: Mutex::new(connection), has_parts, damaged }))
    }

    fn sound(&self, mut sources: Vec<PartSource>) -> Vec<PartSource> {
        sources.retain(|source| !self.damaged.contains(&(source.snapshot, source.path.clone())));
        sources
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers all questions of `work` in one read transaction: a transaction for each costs more than its answer.
    pub fn at_once<T>(&self, work: impl FnOnce() -> T) -> T {
        let execute = |sql: &str| {
            if let Err(error) = self.lock().execute_batch(sql) {
                tracing::debug!(%error, sql, "the cache of sources is read without a transaction");
            }
        };
        execute("BEGIN");
        let result = work();
        execute("COMMIT");
        result
    }

    /// Parts that may be equal to this one, and parts of which it may be a later version, the most likely first.
    #[must_use]
    pub fn of_part(
        &self,
        table: (&TableName, Option<&TableUuid>),
        name: &PartName,
        fingerprint: Option<Fingerprint>,
    ) -> Vec<PartSource> {
        if !self.has_parts {
            return Vec::new();
        }
        let owner = owner(table.0, table.1);
        let found = (|| -> rusqlite::Result<Vec<PartSource>> {
            let connection = self.lock();
            let select = "SELECT snapshot.id, part.path, part.owner, part.name FROM part JOIN snapshot ON snapshot.number = \
                          part.snapshot WHERE";
            let mut rows = Vec::new();
            if let Some(fingerprint) = fingerprint {
                // Parts of the same table come first: their bytes need not be compared.
                let sql = format!("{select} fingerprint = ?1 ORDER BY part.owner <> ?2, sequence DESC LIMIT ?3");
                let mut statement = connection.prepare_cached(&sql)?;
                let found = statement.query_map(params![fingerprint.to_bytes(), owner, CANDIDATES], SourceRow::read)?;
                rows.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
            }
            let sql =
                format!("{select} stem = ?1 AND part.owner = ?2 ORDER BY sequence DESC, part.number DESC LIMIT ?3");
            let mut statement = connection.prepare_cached(&sql)?;
            let found = statement.query_map(params![stem_key(&owner, name), owner, CANDIDATES], SourceRow::read)?;
            let is_older = |row: &SourceRow| {
                row.name.as_ref().is_some_and(|row| row.mutation_version() <= name.mutation_version())
            };
            let mut versions: Vec<SourceRow> = found.collect::<rusqlite::Result<_>>()?;
            versions.retain(is_older);
            rows.extend(versions);
            Ok(self.sound(to_sources(rows, &owner)))
        })();
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "nothing is linked to an earlier part: the cache of sources does not read");
            Vec::new()
        })
    }

    /// Parts that may have files with these keys, those with most matches first.
    #[must_use]
    pub fn of_files(&self, table: (&TableName, Option<&TableUuid>), keys: &[FileKey]) -> Vec<PartSource> {
        if !self.has_parts || keys.is_empty() {
            return Vec::new();
        }
        let owner = owner(table.0, table.1);
        let found = (|| -> rusqlite::Result<Vec<PartSource>> {
            let connection = self.lock();
            let mut counts: HashMap<i64, usize> = HashMap::new();
            let mut with_key =
                connection.prepare_cached("SELECT part FROM file WHERE key = ?1 ORDER BY part DESC LIMIT ?2")?;
            for FileKey(key) in keys {
                for part in with_key.query_map(params![key, CANDIDATES], |row| row.get::<_, i64>(0))? {
                    *counts.entry(part?).or_default() += 1;
                }
            }
            let mut ranked: Vec<(i64, usize)> = counts.into_iter().collect();
            ranked.sort_unstable_by_key(|(part, count)| (std::cmp::Reverse(*count), std::cmp::Reverse(*part)));
            let mut part_of = connection.prepare_cached(
                "SELECT snapshot.id, part.path, part.owner, part.name FROM part JOIN snapshot ON snapshot.number = \
                 part.snapshot WHERE part.number = ?1",
            )?;
            let mut rows = Vec::new();
            for (part, _) in ranked.into_iter().take(2 * usize::try_from(CANDIDATES).unwrap_or(0)) {
                rows.extend(part_of.query_row([part], SourceRow::read).optional()?);
            }
            Ok(self.sound(to_sources(rows, &owner)))
        })();
        found.unwrap_or_else(|error| {
            tracing::warn!(%error, "nothing is linked to an earlier file: the cache of sources does not read");
            Vec::new()
        })
    }

    /// Adds the parts of a snapshot that was just sealed.
    ///
    /// # Errors
    /// If the snapshot cannot be read. A problem with the cache is not an error: the next opening makes up for it.
    pub fn add(
        &mut self,
        repository: &Repository,
        id: SnapshotId,
        sequence: u64,
        parts: &[NewPart<'_>],
    ) -> Result<(), RepoError> {
        let snapshot = repository.snapshot_dir(id)?;
        let mut connection = self.lock();
        let added = (|| {
            let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            add(&transaction, &snapshot, (id, sequence), parts)?;
            transaction.commit()
        })();
        if let Err(error) = added {
            tracing::debug!(%error, "the cache of sources is not written");
        }
        drop(connection);
        self.has_parts |= !parts.is_empty();
        Ok(())
    }
}

/// A part as the cache has it.
struct SourceRow {
    snapshot: String,
    path: String,
    owner: String,
    name: Option<PartName>,
}

impl SourceRow {
    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let name: String = row.get(3)?;
        Ok(Self { snapshot: row.get(0)?, path: row.get(1)?, owner: row.get(2)?, name: PartName::try_from(name).ok() })
    }
}

fn to_sources(rows: Vec<SourceRow>, owner: &str) -> Vec<PartSource> {
    let mut sources: Vec<PartSource> = Vec::new();
    for row in rows {
        let (Ok(snapshot), Some(part)) = (row.snapshot.parse(), row.name) else { continue };
        let source = PartSource { snapshot, path: PathBuf::from(row.path), part, is_of_table: row.owner == owner };
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

/// Drops snapshots that are gone, and reads missing ones. A part whose newest snapshot is gone may be in the one
/// before, so that one is read again.
fn refresh(connection: &mut Connection, repository: &Repository, index: &Index) -> rusqlite::Result<()> {
    // Copied snapshots can have the sequence number of another one: the id then decides, as everywhere.
    let complete: BTreeSet<(u64, SnapshotId)> = (index.summaries().iter())
        .filter(|summary| summary.is_complete())
        .filter_map(|summary| Some((summary.sequence?, summary.id)))
        .collect();
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let known: Vec<(i64, String, i64)> = {
        let mut statement = transaction.prepare("SELECT number, id, sequence FROM snapshot")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    let existing: BTreeSet<String> = complete.iter().map(|(_, id)| id.to_string()).collect();
    let mut missing = complete.clone();
    missing.retain(|(_, id)| !known.iter().any(|(_, known, _)| *known == id.to_string()));
    for (number, id, sequence) in known.iter().filter(|(_, id, _)| !existing.contains(id)) {
        let lost = transaction.execute("DELETE FROM part WHERE snapshot = ?1", [number])?;
        transaction.execute("DELETE FROM snapshot WHERE number = ?1", [number])?;
        if lost > 0 {
            let Ok(id) = id.parse::<SnapshotId>() else { continue };
            let before = complete.range(..(u64::try_from(*sequence).unwrap_or(0), id)).next_back();
            missing.extend(before);
        }
    }
    for (sequence, id) in missing {
        let Ok(snapshot) = repository.snapshot_dir(id) else { continue };
        let Ok(SnapshotState::Complete(manifest)) = index.snapshot(repository, (id, &snapshot)) else { continue };
        match index.parts(repository, (id, &snapshot), &manifest.parts_blake3) {
            Ok(records) => {
                let parts: Vec<NewPart<'_>> = records.iter().map(|record| NewPart { record, keys: None }).collect();
                add(&transaction, &snapshot, (id, sequence), &parts)?;
            }
            Err(error) => tracing::warn!(%error, snapshot = %id, "nothing is linked from a snapshot"),
        }
    }
    transaction.commit()
}

fn add(
    transaction: &Transaction<'_>,
    snapshot: &Dir,
    (id, sequence): (SnapshotId, u64),
    parts: &[NewPart<'_>],
) -> rusqlite::Result<()> {
    let sequence = i64::try_from(sequence).unwrap_or(i64::MAX);
    transaction.execute(
        "INSERT INTO snapshot (id, sequence) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET sequence = ?2",
        params![id.to_string(), sequence],
    )?;
    let number: i64 =
        transaction.query_row("SELECT number FROM snapshot WHERE id = ?1", [id.to_string()], |row| row.get(0))?;
    let mut known = transaction.prepare(
        "SELECT part.number, snapshot.sequence FROM part JOIN snapshot ON snapshot.number = part.snapshot \
         WHERE stem = ?1 AND part.name = ?2 AND owner = ?3 AND fingerprint IS ?4 LIMIT 1",
    )?;
    let mut moved = transaction.prepare("UPDATE part SET snapshot = ?2, path = ?3 WHERE number = ?1")?;
    let mut made = transaction
        .prepare("INSERT INTO part (snapshot, owner, path, name, fingerprint, stem) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    let mut held = transaction.prepare("INSERT OR IGNORE INTO file (key, part) VALUES (?1, ?2)")?;
    // A part that was damaged when the snapshot was made is never a source.
    for part in parts.iter().filter(|part| part.record.damage.is_empty()) {
        let record = part.record;
        let owner = owner(&record.table, record.uuid.as_ref());
        // All names are escaped, or those of parts: they are UTF-8.
        let path = part_path(&record.table, &record.part).to_string_lossy().into_owned();
        let (stem, fingerprint) = (stem_key(&owner, &record.part), record.fingerprint.map(Fingerprint::to_bytes));
        let row = known
            .query_row(params![stem, record.part.as_str(), owner, fingerprint], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        match row {
            Some((part, newest)) if sequence >= newest => {
                let _: (i64, i64) = (part, newest);
                moved.execute(params![part, number, path])?;
            }
            Some(_) => {}
            None => {
                made.execute(params![number, owner, path, record.part.as_str(), fingerprint, stem])?;
                let part_number = transaction.last_insert_rowid();
                let read;
                let keys = if let Some(keys) = part.keys {
                    keys
                } else {
                    read = keys_in(snapshot, Path::new(&path));
                    &read
                };
                for FileKey(key) in keys {
                    held.execute(params![key, part_number])?;
                }
            }
        }
    }
    Ok(())
}

/// The keys of the files of a part in a snapshot; empty if its checksums cannot be read.
fn keys_in(snapshot: &Dir, path: &Path) -> Vec<FileKey> {
    let Ok(dir) = snapshot.open_beneath(path) else { return Vec::new() };
    let read = |dir: &Dir| Checksums::parse(&dir.read("checksums.txt", CHECKSUMS_LIMIT_BYTES).ok()?).ok();
    let Some(checksums) = read(&dir) else { return Vec::new() };
    let mut keys = Vec::new();
    let mut add = |checksums: &Checksums| {
        let files = checksums.files().filter(|(name, _)| !name.is_gin_index());
        keys.extend(files.filter_map(|(_, entry)| FileKey::of(entry.size, entry.hash)));
    };
    add(&checksums);
    for (name, _) in checksums.projections() {
        let nested = dir.open_dir(name.as_path()).ok().and_then(|dir| read(&dir));
        nested.iter().for_each(&mut add);
    }
    keys
}
