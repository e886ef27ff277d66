//! `index.sqlite`: a cache over all manifests. It is never the truth, and losing it loses nothing.
//!
//! Opening it brings it up to date: manifests that it lacks, or whose file has been replaced, are read; snapshots that
//! are gone are dropped; a file that is not such a database is deleted and created again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use crate::fs::{self, Dir};
use crate::model::{InodeSet, SnapshotId};

use super::content::{SeriesOf, SnapshotScope};
use super::error::RepoError;
use super::holdings::Holdings;
use super::holdings_added::{self, Added, HeldParts};
use super::holdings_rows;
use super::host;
use super::journal_content::Line;
use super::kept_lists::{self, ListFile, SnapshotLists};
use super::known_parts::{self, KnownParts};
use super::manifest_digest::{ManifestDigest, check_manifest};
use super::parts::{self, PartRecord, read_parts};
use super::remembered;
use super::repository::{Repository, SnapshotState};
use super::series::line;
use super::summary::Summary;

/// Where the index is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexPlace {
    /// In the repository, which is on a local filesystem.
    Repository,
    /// Under this host's state directory: the repository is on a network filesystem, or not writable here.
    Host(PathBuf),
    /// Nowhere: nothing is writable.
    Memory,
}

/// Summaries of all snapshots, brought up to date when it was opened.
#[derive(Debug)]
pub struct Index {
    summaries: Vec<Summary>,
    series: SeriesOf,
    /// Snapshots in the trash that can be restored.
    removed: Vec<SnapshotId>,
    place: IndexPlace,
}

const FILE: &str = "index.sqlite";
/// Version of the tables below; an index of another version is deleted. Versions before 4 were not synced, so a power
/// cut may have torn them; version 4 had no states of live parts, version 5 no lists, version 6 no lines about damage.
const VERSION: i64 = 7;
const SCHEMA: &str = "CREATE TABLE repository (id TEXT NOT NULL, generation INTEGER NOT NULL);
    CREATE TABLE snapshot (id TEXT PRIMARY KEY, stamp TEXT NOT NULL, summary TEXT NOT NULL) WITHOUT ROWID;";

fn schema() -> impl Iterator<Item = &'static str> {
    let statements = [SCHEMA, holdings_rows::SCHEMA, kept_lists::SCHEMA, remembered::SCHEMA]
        .into_iter()
        .flat_map(|schema| schema.split(';'));
    statements.map(str::trim).filter(|statement| !statement.is_empty())
}

impl Index {
    /// Opens the index of a repository and brings it up to date.
    ///
    /// # Errors
    /// If the repository cannot be read; a problem with the index itself is never an error.
    pub fn open(repository: &Repository) -> Result<Self, RepoError> {
        for place in places(repository) {
            let read = || with_database(repository, &place, |connection| refresh(repository, connection)).transpose();
            let Some(mut summaries) = read()? else { continue };
            if summaries.is_none() {
                // It opened and then failed: retry with a new file, then elsewhere.
                remove_cache(repository, &place);
                summaries = read()?.flatten();
            }
            if let Some(summaries) = summaries {
                return Self::judged(repository, summaries, place);
            }
        }
        Self::in_memory(repository)
    }

    /// Reads all manifests, and writes nothing.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn in_memory(repository: &Repository) -> Result<Self, RepoError> {
        let (summaries, series) = repository.summaries()?;
        let removed = repository.removed_ids().unwrap_or_default();
        Ok(Self { summaries, series, removed, place: IndexPlace::Memory })
    }

    fn judged(repository: &Repository, mut summaries: Vec<Summary>, place: IndexPlace) -> Result<Self, RepoError> {
        let series = repository.judge_series(&mut summaries)?;
        // Used only to give more detail about snapshots that are not found.
        let removed = repository.removed_ids().unwrap_or_default();
        Ok(Self { summaries, series, removed, place })
    }

    /// The snapshots that were in the trash when it was opened.
    #[must_use]
    pub fn removed(&self) -> &[SnapshotId] {
        &self.removed
    }

    /// The series of the repository.
    #[must_use]
    pub fn series(&self) -> &SeriesOf {
        &self.series
    }

    /// The snapshot of the main series that was made last.
    #[must_use]
    pub fn latest(&self) -> Option<SnapshotId> {
        line(&self.summaries, &self.series.main).last().map(|summary| summary.id)
    }

    /// All snapshots in the order in which they were made, the newest last.
    #[must_use]
    pub fn summaries(&self) -> &[Summary] {
        &self.summaries
    }

    /// The content of the snapshots, including those in the trash, if [`Index::keep_holdings`] has stored it. It
    /// describes the current trees: a different manifest file, as after the repository was copied, invalidates it.
    #[must_use]
    pub fn holdings(&self, repository: &Repository) -> Holdings {
        let stamps = stamps(repository);
        let read = |connection: &Connection| holdings_rows::read(connection, &stamps);
        let holdings = read_database(repository, &self.place, read).unwrap_or_else(|| Ok(Holdings::default()));
        holdings.unwrap_or_else(|error| {
            tracing::debug!(%error, "the index does not tell what snapshots hold");
            Holdings::default()
        })
    }

    /// Stores what has changed in `holdings`, unless the index has changed since they were read; the next query then
    /// computes the missing entries.
    pub fn keep_holdings(&self, repository: &Repository, holdings: &mut Holdings) {
        if holdings.is_kept() {
            return;
        }
        match with_database(repository, &self.place, |connection| holdings_rows::write(connection, holdings)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => tracing::debug!("another process has written the index meanwhile"),
            Some(Err(error)) => tracing::debug!(%error, "the index does not keep what snapshots hold"),
        }
    }

    /// The inodes of the parts of one snapshot, if [`Index::keep_holdings`] has stored what it holds.
    #[must_use]
    pub fn inodes(&self, repository: &Repository, id: SnapshotId) -> Option<InodeSet> {
        let stamp = stamp(repository, id).ok().flatten()?;
        let read = |connection: &Connection| holdings_rows::read_inodes(connection, id, &stamp);
        let inodes = read_database(repository, &self.place, read)?;
        inodes.inspect_err(|error| tracing::debug!(%error, "the index does not tell inodes")).ok()?
    }

    /// The parts of a snapshot; `None` if the index cannot be read.
    #[must_use]
    pub fn known_parts(&self, repository: &Repository, id: SnapshotId) -> Option<KnownParts> {
        let stamp = stamp(repository, id).ok().flatten()?;
        let read = |connection: &Connection| known_parts::read(connection, id, &stamp);
        let parts = read_database(repository, &self.place, read)?;
        parts.inspect_err(|error| tracing::debug!(%error, "the index does not tell the parts of a snapshot")).ok()
    }

    /// Keeps the lists of a new snapshot, whose manifest is written, in an index outside the repository.
    pub fn keep_lists(
        &self,
        repository: &Repository,
        (id, snapshot): (SnapshotId, &Dir),
        lists: Option<&SnapshotLists>,
    ) {
        let is_outside = matches!(self.place, IndexPlace::Host(_));
        let Some((lists, stamp)) = lists.filter(|_| is_outside).zip(Self::stamp(snapshot)) else { return };
        let keep = |connection: &mut Connection| kept_lists::keep(connection, (id, &stamp), lists);
        if let Some(Err(error)) = with_database(repository, &self.place, keep) {
            tracing::debug!(%error, "the index does not keep the lists of a snapshot");
        }
    }

    fn list(&self, repository: &Repository, (id, snapshot): (SnapshotId, &Dir), file: ListFile) -> Option<Vec<u8>> {
        if !matches!(self.place, IndexPlace::Host(_)) {
            return None;
        }
        let stamp = Self::stamp(snapshot)?;
        let read = |connection: &mut Connection| kept_lists::read(connection, (id, &stamp), file);
        let bytes = with_database(repository, &self.place, read)?;
        bytes.inspect_err(|error| tracing::debug!(%error, "the index does not tell the lists of a snapshot")).ok()?
    }

    /// Works as [`Repository::snapshot`], and does not open the manifest if an index outside the repository has it.
    ///
    /// # Errors
    /// As [`Repository::snapshot`].
    pub fn snapshot(&self, repository: &Repository, of: (SnapshotId, &Dir)) -> Result<SnapshotState, RepoError> {
        let kept = self.list(repository, of, ListFile::Manifest);
        let intact = kept.filter(|bytes| check_manifest(bytes) == ManifestDigest::Right);
        let kept = intact.map(|bytes| Repository::state(of.0, &bytes));
        kept.filter(|state| matches!(state, SnapshotState::Complete(_))).map_or_else(|| repository.snapshot(of.0), Ok)
    }

    /// Works as [`read_parts`], and does not open the list if an index outside the repository has it.
    ///
    /// # Errors
    /// As [`read_parts`].
    pub fn parts(
        &self,
        repository: &Repository,
        of: (SnapshotId, &Dir),
        blake3: &str,
    ) -> Result<Vec<PartRecord>, RepoError> {
        let kept = self.list(repository, of, ListFile::Parts);
        let kept = kept.and_then(|bytes| parts::parse(&bytes, blake3, of.1).ok());
        kept.map_or_else(|| read_parts(of.1, blake3), Ok)
    }

    /// Works as [`Index::known_parts`] without opening the index: nothing is written.
    #[must_use]
    pub fn peek_at_parts(repository: &Repository, id: SnapshotId) -> Option<KnownParts> {
        let stamp = stamp(repository, id).ok().flatten()?;
        Self::peek(repository, |connection| known_parts::read(connection, id, &stamp))
    }

    /// Remembers the damage that the journal notes, for a time when it cannot be read.
    pub fn remember_damage(&self, repository: &Repository) {
        let remember = |connection: &mut Connection| remember_damage(repository, connection);
        let _ = with_database(repository, &self.place, remember);
    }

    /// The lines of the journal that the index remembers because they note damage, without opening the index.
    pub(super) fn remembered_lines(repository: &Repository) -> Vec<Line> {
        Self::peek(repository, remembered::read).unwrap_or_default()
    }

    /// Reads the index without opening it: nothing is written.
    fn peek<T>(repository: &Repository, read: impl Fn(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let peek = |place: &IndexPlace| -> rusqlite::Result<Option<T>> {
            let Some(path) = file(repository, place).filter(|path| path.is_file()) else { return Ok(None) };
            check_files(&path)?;
            let flags =
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(&path, flags)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            in_one_transaction(&connection, |connection| {
                check_owner(connection, repository)?;
                read(connection).map(Some)
            })
        };
        places(repository).iter().find_map(|place| {
            peek(place).inspect_err(|error| tracing::debug!(%error, ?place, "the index does not open")).ok().flatten()
        })
    }

    /// Stores what a new snapshot holds: its parts, each with the allocated bytes of its directories. `last` are the parts
    /// of the snapshot from which the unchanged ones come. Its manifest is written, and has this stamp. The snapshot need
    /// not be committed yet: rows of snapshots with another stamp are invalid anyway.
    pub fn keep_snapshot<'a>(
        &self,
        repository: &Repository,
        (id, stamp): (SnapshotId, String),
        parts: &'a HeldParts<'a>,
        last: Option<KnownParts>,
    ) {
        let added = Added { id, stamp, parts, last };
        match with_database(repository, &self.place, |connection| holdings_added::add(connection, added)) {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => tracing::debug!("the index does not know the last snapshot: it will look at this one"),
            Some(Err(error)) => tracing::debug!(%error, "the index does not keep what the snapshot holds"),
        }
    }

    /// Size of the index; 0 if it is not in the repository.
    #[must_use]
    pub fn bytes(&self, repository: &Repository) -> u64 {
        let is_here = self.place == IndexPlace::Repository;
        let stat = is_here.then(|| repository.dir().find(FILE).ok().flatten()).flatten();
        stat.map_or(0, |stat| stat.allocated_bytes)
    }

    /// Distinguishes the manifest in this directory of a snapshot from every other; `None` if there is no manifest.
    #[must_use]
    pub fn stamp(snapshot: &Dir) -> Option<String> {
        stamp_in(snapshot).ok().flatten()
    }

    /// Has the link counts of a snapshot's files read again, because some of the files have been, or will be, linked
    /// elsewhere.
    pub fn mark_for_recount(&self, repository: &Repository, id: SnapshotId) {
        let mut holdings = self.holdings(repository);
        holdings.mark_for_recount(id);
        self.keep_holdings(repository, &mut holdings);
    }

    /// Forgets the inodes of a snapshot whose entries were replaced. The journal records the replacement, so the
    /// manifest's statement of their origin is no longer trusted.
    pub fn forget_inodes(&self, repository: &Repository, id: SnapshotId) {
        let mut holdings = self.holdings(repository);
        holdings.forget(id);
        self.keep_holdings(repository, &mut holdings);
    }

    /// Where the index is kept.
    #[must_use]
    pub fn place(&self) -> &IndexPlace {
        &self.place
    }
}

pub(super) fn places(repository: &Repository) -> Vec<IndexPlace> {
    let mut places = Vec::new();
    if !fs::is_network_filesystem(repository.dir()) {
        places.push(IndexPlace::Repository);
    }
    if let Some(state) = host::state_dir() {
        places.push(IndexPlace::Host(state.join("chsnap").join(format!("{}.sqlite", repository.id()))));
    }
    places
}

fn file(repository: &Repository, place: &IndexPlace) -> Option<PathBuf> {
    match place {
        // Resolved, because SQLite is configured to follow no link, not even one in a parent path.
        IndexPlace::Repository => Some(std::fs::canonicalize(repository.path()).ok()?.join(FILE)),
        IndexPlace::Host(path) => Some(path.clone()),
        IndexPlace::Memory => None,
    }
}

/// Runs `work` with the database of the index, which a command opens once. Returns `None` if it cannot be opened.
fn with_database<T>(repository: &Repository, place: &IndexPlace, work: impl FnOnce(&mut Connection) -> T) -> Option<T> {
    let path = file(repository, place)?;
    repository.database().with(&path, || connect(repository, place, &path), work)
}

/// As [`with_database`], for work that only reads.
fn read_database<T>(
    repository: &Repository,
    place: &IndexPlace,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Option<rusqlite::Result<T>> {
    with_database(repository, place, |connection| in_one_transaction(connection, read))
}

/// Reads from one state of the database. Outside a transaction each question locks the file, and unlocks it again: four
/// system calls.
fn in_one_transaction<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    read(&transaction)
}

fn connect(repository: &Repository, place: &IndexPlace, path: &Path) -> Option<Connection> {
    if let IndexPlace::Host(path) = place {
        fs::create_path(path.parent()?, 0o700, &fs::real()).ok()?;
    }
    for _ in 0..2 {
        match open(path, repository) {
            Ok(connection) => {
                tracing::debug!(?place, "the index is opened");
                return Some(connection);
            }
            Err(error) => {
                tracing::debug!(%error, ?place, "the index does not open");
                if !is_garbage(&error) {
                    return None;
                }
                remove(path);
            }
        }
    }
    None
}

fn is_garbage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SchemaChanged};
    match error.sqlite_error_code() {
        Some(code) => matches!(code, DatabaseCorrupt | NotADatabase | SchemaChanged),
        // Errors that are not SQLite's are ours: another version, or another repository's index.
        None => true,
    }
}

fn remove_cache(repository: &Repository, place: &IndexPlace) {
    repository.database().close();
    if let Some(path) = file(repository, place) {
        remove(&path);
    }
}

fn remove(path: &Path) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
    let Ok(dir) = Dir::open(parent, fs::real()) else { return };
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut name = name.to_owned();
        name.push(suffix);
        if let Err(error) = dir.remove_file(&name) {
            tracing::debug!(%error, "the index is not removed");
        }
    }
}

/// How long to wait for another process that writes the index.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(2);
/// Larger than the index of any repository.
const FILE_LIMIT_BYTES: u64 = 256 << 20;
/// Longest summary taken from the index; a snapshot with a longer label is read from its manifest.
const SUMMARY_LIMIT_BYTES: i64 = 1 << 20;
/// How many rows of snapshots that are gone are deleted at one opening.
const GONE_LIMIT: i64 = 10_000;

/// Checks that only plain files are handed to SQLite, which would block on a pipe until its other end is opened.
fn check_files(path: &Path) -> rusqlite::Result<()> {
    let unusable = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN), None);
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::symlink_metadata(file) {
            Ok(stat) if !stat.is_file() && suffix.is_empty() => return Err(unusable()),
            // Its name is ours, but its size or kind is not: garbage.
            Ok(stat) if !stat.is_file() || stat.len() > FILE_LIMIT_BYTES => return Err(rusqlite::Error::InvalidQuery),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that the tables are those of [`SCHEMA`], and that there is nothing else: a view instead of a table could be
/// endless.
fn check_schema(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT substr(sql, 1, 400) FROM sqlite_schema LIMIT 9")?;
    let found: BTreeSet<Option<String>> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let expected: BTreeSet<Option<String>> = schema().map(|statement| Some(statement.to_owned())).collect();
    if found == expected { Ok(()) } else { Err(rusqlite::Error::InvalidQuery) }
}

fn open(path: &Path, repository: &Repository) -> rusqlite::Result<Connection> {
    check_files(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // A power cut preserves a whole transaction or nothing of it. A file with pages of two transactions could be read
    // without an error, and give false answers.
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        schema().try_for_each(|statement| transaction.execute_batch(statement))?;
        transaction.execute("INSERT INTO repository VALUES (?1, random())", params![repository.id().to_string()])?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    check_owner(&transaction, repository)?;
    transaction.commit()?;
    Ok(connection)
}

/// Checks that the database is an index of this version, and of this repository.
fn check_owner(connection: &Connection, repository: &Repository) -> rusqlite::Result<()> {
    check_schema(connection)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let id: String = connection.query_row("SELECT id FROM repository", [], |row| row.get(0))?;
    if version != VERSION || id != repository.id().to_string() {
        return Err(rusqlite::Error::InvalidQuery);
    }
    Ok(())
}

/// Distinguishes one `manifest.json` from another without reading it.
fn stamp(repository: &Repository, id: SnapshotId) -> Result<Option<String>, RepoError> {
    repository.snapshot_dir(id).map_or(Ok(None), |dir| stamp_in(&dir))
}

/// Distinguishes the manifest in this snapshot from every other.
///
/// # Errors
/// If it cannot be stat'ed.
fn stamp_in(dir: &Dir) -> Result<Option<String>, RepoError> {
    let stat = dir.find(Repository::manifest_file_name())?;
    Ok(stat.map(|stat| format!("{}:{}:{}.{}", stat.inode, stat.size_bytes, stat.modified.0, stat.modified.1)))
}

/// The snapshots and those in the trash, each with its stamp.
fn stamps(repository: &Repository) -> Vec<(SnapshotId, String)> {
    let ids = repository.snapshot_ids().map(|(ids, _)| ids).unwrap_or_default();
    let removed = repository.removed_ids().unwrap_or_default();
    let removed = removed.into_iter().filter(|id| !ids.contains(id)).map(|id| (id, repository.removed_dir(id).ok()));
    let present = ids.iter().map(|id| (*id, repository.snapshot_dir(*id).ok()));
    present.chain(removed).filter_map(|(id, dir)| Some((id, stamp_in(&dir?).ok()??))).collect()
}

/// A summary as stored in the index, with the values that decide whether it is still valid.
#[derive(Serialize, Deserialize)]
struct IndexRow {
    #[serde(flatten)]
    summary: Summary,
    content: SnapshotScope,
}

impl IndexRow {
    fn into_summary(self) -> Summary {
        let Self { summary, content } = self;
        Summary { series: summary.is_complete().then(|| content.key.clone()), content, ..summary }
    }
}

/// Brings the index up to date; returns `None` if the database fails.
fn refresh(repository: &Repository, connection: &mut Connection) -> Result<Option<Vec<Summary>>, RepoError> {
    let (ids, _) = repository.snapshot_ids()?;
    let (known, gone) = match in_one_transaction(connection, |connection| read(connection, &ids)) {
        Ok(known) => known,
        Err(error) => {
            tracing::debug!(%error, "the index does not read");
            return Ok(None);
        }
    };
    let mut summaries = Vec::with_capacity(ids.len());
    let mut fresh = Vec::new();
    for id in &ids {
        let stamp = stamp(repository, *id)?;
        let cached = known.get(id).filter(|(known, _)| Some(known) == stamp.as_ref());
        let cached =
            cached.and_then(|(_, text)| serde_json::from_str::<IndexRow>(text).ok()).map(IndexRow::into_summary);
        if let Some(summary) = cached.filter(|summary| summary.id == *id) {
            summaries.push(summary);
            continue;
        }
        let state = match repository.snapshot(*id) {
            Err(RepoError::NoSnapshot { .. }) => continue,
            result => result?,
        };
        let summary = Summary::of(*id, &state);
        if let (true, Some(stamp)) = (summary.is_complete(), stamp) {
            fresh.push((stamp, summary.clone()));
        }
        summaries.push(summary);
    }
    if let Err(error) = write(connection, &fresh, &gone) {
        // The answer is complete nevertheless; the next opening writes what this one could not.
        tracing::debug!(%error, "the index is not written");
    }
    // There, each opening would read the journal again; commands that note damage remember it themselves.
    if !fs::is_network_filesystem(repository.dir()) {
        remember_damage(repository, connection);
    }
    Summary::sort(&mut summaries);
    Ok(Some(summaries))
}

/// Remembers the lines of the journal that note damage, if all of the journal can be read.
fn remember_damage(repository: &Repository, connection: &mut Connection) {
    let Some(lines) = repository.lines_about_damage() else { return };
    if let Err(error) = remembered::remember(connection, &lines) {
        tracing::debug!(%error, "the index does not remember damage");
    }
}

/// Reads the rows of these snapshots, stamp and summary, and the ids of other rows.
///
/// Each row is queried by its id, and the number of the others is limited: in a damaged database, pages that refer to
/// each other in circles have no last row.
fn read(connection: &Connection, ids: &[SnapshotId]) -> rusqlite::Result<(IndexedSummaries, Vec<String>)> {
    let sql = "SELECT stamp, summary FROM snapshot WHERE id = ?1 AND octet_length(summary) <= ?2";
    let mut row_of = connection.prepare(sql)?;
    let mut known = IndexedSummaries::new();
    for id in ids {
        let row = row_of.query_row(params![id.to_string(), SUMMARY_LIMIT_BYTES], |row| Ok((row.get(0)?, row.get(1)?)));
        if let Some(row) = row.optional()? {
            known.insert(*id, row);
        }
    }
    let mut all_ids = connection.prepare("SELECT id FROM snapshot LIMIT ?1")?;
    let limit = i64::try_from(ids.len()).unwrap_or(GONE_LIMIT).saturating_add(GONE_LIMIT);
    let present: BTreeSet<String> = ids.iter().map(ToString::to_string).collect();
    let all = all_ids.query_map(params![limit], |row| row.get(0))?;
    let gone = all.filter(|id| id.as_ref().map_or(true, |id| !present.contains(id)));
    Ok((known, gone.collect::<Result<_, _>>()?))
}

/// Stamp and summary of each snapshot that the index has.
type IndexedSummaries = BTreeMap<SnapshotId, (String, String)>;

fn write(connection: &mut Connection, fresh: &[(String, Summary)], gone: &[String]) -> rusqlite::Result<()> {
    if fresh.is_empty() && gone.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    for (stamp, summary) in fresh {
        let row = IndexRow { summary: summary.clone(), content: summary.content.clone() };
        let text = serde_json::to_string(&row).expect("a summary has only string keys");
        transaction.execute(
            "INSERT OR REPLACE INTO snapshot (id, stamp, summary) VALUES (?1, ?2, ?3)",
            params![summary.id.to_string(), stamp, text],
        )?;
    }
    for id in gone {
        transaction.execute("DELETE FROM snapshot WHERE id = ?1", params![id])?;
        transaction.execute("DELETE FROM list WHERE id = ?1", params![id])?;
    }
    transaction.commit()
}
