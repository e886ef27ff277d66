//! Manifests and lists of parts of the newest snapshots, in an index outside the repository: to read them there sends no
//! call to the server of a network filesystem.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::model::SnapshotId;

use super::holdings_rows::number;

pub(super) const SCHEMA: &str =
    "CREATE TABLE list (id TEXT PRIMARY KEY, stamp TEXT NOT NULL, manifest BLOB NOT NULL, parts BLOB NOT NULL)
        WITHOUT ROWID";

/// Snapshots whose lists are kept: the last one of each of a few series.
const KEPT_SNAPSHOTS: u64 = 3;
/// Larger lists are not kept: the index must stay smaller than what is accepted as one.
const KEPT_BYTES: usize = 16 << 20;

/// The files of a snapshot that describe it, as they were written.
#[derive(Debug)]
pub struct SnapshotLists {
    /// `manifest.json`.
    pub(super) manifest: Vec<u8>,
    /// `parts.jsonl.zst`.
    pub(super) parts: Vec<u8>,
}

/// One of the two files.
#[derive(Clone, Copy, Debug)]
pub(super) enum ListFile {
    Manifest,
    Parts,
}

/// Keeps the lists of the snapshot whose manifest has this stamp, and drops those of older snapshots.
pub(super) fn keep(
    connection: &mut Connection,
    (id, stamp): (SnapshotId, &str),
    lists: &SnapshotLists,
) -> rusqlite::Result<()> {
    if lists.manifest.len().max(lists.parts.len()) > KEPT_BYTES {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let put = "INSERT OR REPLACE INTO list (id, stamp, manifest, parts) VALUES (?1, ?2, ?3, ?4)";
    transaction.execute(put, params![id.to_string(), stamp, lists.manifest, lists.parts])?;
    let drop_older = "DELETE FROM list WHERE id NOT IN (SELECT id FROM list ORDER BY id DESC LIMIT ?1)";
    transaction.execute(drop_older, [number(KEPT_SNAPSHOTS)])?;
    transaction.commit()
}

/// Reads a file of the snapshot whose manifest has this stamp; `None` if it is not kept.
pub(super) fn read(
    connection: &Connection,
    (id, stamp): (SnapshotId, &str),
    file: ListFile,
) -> rusqlite::Result<Option<Vec<u8>>> {
    let column = match file {
        ListFile::Manifest => "manifest",
        ListFile::Parts => "parts",
    };
    let sql = format!("SELECT {column} FROM list WHERE id = ?1 AND stamp = ?2 AND length({column}) <= ?3");
    let limit = number(KEPT_BYTES as u64);
    connection.query_row(&sql, params![id.to_string(), stamp, limit], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{KEPT_BYTES, KEPT_SNAPSHOTS, ListFile, SCHEMA, SnapshotLists, keep, read};
    use crate::model::SnapshotId;

    fn id(second: u64) -> SnapshotId {
        format!("2026-11-22T0200{second:02}Z").parse().expect("an id")
    }

    fn found(index: &Connection, second: u64, stamp: &str) -> Option<Vec<u8>> {
        read(index, (id(second), stamp), ListFile::Parts).expect("the index works")
    }

    #[test]
    fn lists_of_the_newest_snapshots_are_found_by_their_stamps() {
        let mut index = Connection::open_in_memory().expect("SQLite");
        index.execute_batch(SCHEMA).expect("the table");
        let mut put = |second: u64, bytes: usize| {
            let lists = SnapshotLists { manifest: vec![1], parts: vec![2; bytes] };
            keep(&mut index, (id(second), "stamp"), &lists).expect("the index works");
        };
        (1..=KEPT_SNAPSHOTS + 1).for_each(|second| put(second, 3));
        put(9, KEPT_BYTES + 1);
        assert_eq!(found(&index, KEPT_SNAPSHOTS, "stamp"), Some(vec![2; 3]));
        assert_eq!(found(&index, KEPT_SNAPSHOTS, "another"), None);
        assert_eq!(found(&index, 1, "stamp"), None, "older than the newest ones");
        assert_eq!(found(&index, 9, "stamp"), None, "too large");
        let manifest = read(&index, (id(KEPT_SNAPSHOTS), "stamp"), ListFile::Manifest).expect("the index works");
        assert_eq!(manifest, Some(vec![1]));
    }
}
