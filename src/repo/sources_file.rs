//! The file of the cache of sources: its place, and the check that it is such a cache.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use crate::fs::{self, Dir};

use super::index::{IndexPlace, places};
use super::repository::Repository;

pub(super) const FILE: &str = "sources.sqlite";
/// Version of the tables below; a cache of another version is deleted. The first version was not synced, so a power cut
/// may have torn it.
const VERSION: i64 = 2;
const SCHEMA: &str = "CREATE TABLE repository (id TEXT NOT NULL);
    CREATE TABLE snapshot (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, sequence INTEGER NOT NULL);
    CREATE TABLE part (number INTEGER PRIMARY KEY, snapshot INTEGER NOT NULL, owner TEXT NOT NULL, path TEXT NOT NULL,
        name TEXT NOT NULL, fingerprint BLOB, stem INTEGER NOT NULL);
    CREATE INDEX part_by_fingerprint ON part (fingerprint);
    CREATE INDEX part_by_stem ON part (stem);
    CREATE INDEX part_by_snapshot ON part (snapshot);
    CREATE TABLE file (key INTEGER NOT NULL, part INTEGER NOT NULL, PRIMARY KEY (key, part)) WITHOUT ROWID;";

/// The places where the cache may be, the preferred one first.
pub(super) fn paths(repository: &Repository) -> Vec<PathBuf> {
    let path = |place: IndexPlace| match place {
        // Resolved, because SQLite is configured to follow no link, not even one in a parent path.
        IndexPlace::Repository => Some(std::fs::canonicalize(repository.path()).ok()?.join(FILE)),
        IndexPlace::Host(index) => {
            fs::create_path(index.parent()?, 0o700, &fs::real()).ok()?;
            Some(index.with_extension(FILE))
        }
        IndexPlace::Memory => None,
    };
    places(repository).into_iter().filter_map(path).collect()
}

/// Removes a cache that cannot be used, with the files that `SQLite` keeps next to it.
pub(super) fn remove_cache(path: &Path) {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
    let Ok(dir) = Dir::open(parent, fs::real()) else { return };
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut name = name.to_owned();
        name.push(suffix);
        if let Err(error) = dir.remove_file(&name) {
            tracing::debug!(%error, "the cache of sources is not removed");
        }
    }
}

/// Opens the cache, and creates it if there is none.
///
/// # Errors
/// If it cannot be opened, or is not the cache of this repository in this version.
pub(super) fn connect(path: &Path, repository: &Repository) -> rusqlite::Result<Connection> {
    // SQLite would block on a pipe until its other end is opened: only plain files are handed to it.
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        if std::fs::symlink_metadata(file).is_ok_and(|stat| !stat.is_file()) {
            return Err(rusqlite::Error::InvalidQuery);
        }
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepare(Connection::open_with_flags(path, flags)?, repository)
}

/// Creates the tables in an empty database; checks those of another one.
///
/// # Errors
/// As [`connect`].
pub(super) fn prepare(mut connection: Connection, repository: &Repository) -> rusqlite::Result<Connection> {
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    // As in the index: a power cut preserves a whole transaction or nothing of it.
    connection.pragma_update(None, "synchronous", "EXTRA")?;
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.execute("INSERT INTO repository VALUES (?1)", params![repository.id().to_string()])?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    // There must be nothing besides these tables: a view instead of a table could be endless.
    let strange: i64 = transaction.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE type NOT IN ('table', 'index')",
        [],
        |row| row.get(0),
    )?;
    let id: String = transaction.query_row("SELECT id FROM repository", [], |row| row.get(0))?;
    if (version != 0 && version != VERSION) || strange != 0 || id != repository.id().to_string() {
        return Err(rusqlite::Error::InvalidQuery);
    }
    transaction.commit()?;
    Ok(connection)
}
