//! Adds a new snapshot's rows to the index. A part that is unchanged from the last snapshot costs a lookup of that
//! snapshot's row for the part, and no access to its inodes.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::model::{Links, SnapshotId};

use super::holdings::{Holding, InstanceId, InstanceOrigin, PartInstance, PartKey, RetainedPart};
use super::holdings_rows::{
    BLOB_LIMIT_BYTES, INSTANCE_LIMIT, advance_generation, generation_of, number, put_holding, put_instance,
    put_live_state,
};
use super::known_parts::{self, KnownParts, TextDigest, digest, digest_of};

/// Parts that are about to be added: each call returns the same ones.
pub type HeldParts<'a> = dyn Fn() -> Box<dyn Iterator<Item = (RetainedPart, u64)> + 'a> + 'a;

/// A new snapshot.
pub(super) struct Added<'a> {
    pub(super) id: SnapshotId,
    pub(super) stamp: String,
    /// Its parts, each with the allocated bytes of its directories. They are produced on demand, because all of them
    /// together would take much memory.
    pub(super) parts: &'a HeldParts<'a>,
    /// The parts of the snapshot from which the unchanged ones come.
    pub(super) last: Option<KnownParts>,
}

/// Writes the content of a new snapshot. Writes nothing and returns false if the index does not know an unchanged part;
/// the next query then examines the snapshot.
pub(super) fn add(connection: &mut Connection, added: Added<'_>) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut has_unchanged, mut origins) = (false, HashSet::new());
    for (part, _) in (added.parts)() {
        match part {
            RetainedPart::Seen(seen, _) => drop(origins.insert(digest(seen.origin_text()))),
            RetainedPart::Unchanged(..) => has_unchanged = true,
        }
    }
    let last = match added.last.filter(|_| has_unchanged) {
        // Another process has written the index since: it may have numbered these parts differently.
        Some(last) if last.generation != generation_of(&transaction)? => {
            Some(known_parts::read(&transaction, last.snapshot, &last.stamp)?)
        }
        last => last,
    };
    let known = with_origins(&transaction, &origins)?;
    let mut next: InstanceId =
        transaction.query_row("SELECT coalesce(max(id), 0) + 1 FROM instance", [], |row| row.get(0))?;
    let mut take_number = || {
        let number = next;
        next = next.saturating_add(1);
        number
    };
    let mut parts = Vec::new();
    for (part, directory_bytes) in (added.parts)() {
        let id = match &part {
            RetainedPart::Unchanged(origin, live) => {
                let was = last.as_ref().and_then(|last| last.find(&PartKey::of_origin(origin)));
                let id = match was {
                    Some(was) if was.origin == digest_of(origin) => was.instance,
                    // Its table has been renamed.
                    Some(was) if was.bytes == origin.bytes => copy(&transaction, was.instance, take_number(), origin)?,
                    _ => return Ok(false),
                };
                if let Some(live) = live {
                    put_live_state(&transaction, id, live)?;
                }
                id
            }
            RetainedPart::Seen(seen, live) => {
                let id = same_as(&transaction, seen, known.get(&digest(seen.origin_text())))?
                    .unwrap_or_else(&mut take_number);
                put_instance(&transaction, id, seen)?;
                if let Some(live) = live {
                    put_live_state(&transaction, id, live)?;
                }
                id
            }
        };
        parts.push((id, directory_bytes));
    }
    if u64::from(next) > INSTANCE_LIMIT {
        return Ok(false);
    }
    put_holding(&transaction, added.id, &added.stamp, &Holding::new(parts, None))?;
    advance_generation(&transaction)?;
    transaction.commit()?;
    Ok(true)
}

/// Returns the instances with one of these origins.
fn with_origins(
    transaction: &Connection,
    origins: &HashSet<TextDigest>,
) -> rusqlite::Result<HashMap<TextDigest, Vec<InstanceId>>> {
    let mut found: HashMap<TextDigest, Vec<InstanceId>> = HashMap::new();
    if origins.is_empty() {
        return Ok(found);
    }
    let sql = "SELECT id, origin FROM instance WHERE octet_length(origin) <= ?1 LIMIT ?2";
    let mut rows_of = transaction.prepare(sql)?;
    let mut rows = rows_of.query(params![BLOB_LIMIT_BYTES, number(INSTANCE_LIMIT)])?;
    while let Some(row) = rows.next()? {
        let origin = digest(row.get_ref(1)?.as_str().unwrap_or_default());
        if origins.contains(&origin) {
            found.entry(origin).or_default().push(row.get(0)?);
        }
    }
    Ok(found)
}

/// Finds the one of these instances that has the same inodes.
fn same_as(
    transaction: &Connection,
    seen: &PartInstance,
    known: Option<&Vec<InstanceId>>,
) -> rusqlite::Result<Option<InstanceId>> {
    let mut links_of =
        transaction.prepare_cached("SELECT links FROM instance WHERE id = ?1 AND length(links) <= ?2")?;
    for id in known.into_iter().flatten() {
        let links = links_of.query_row(params![id, BLOB_LIMIT_BYTES], |row| row.get(0)).optional()?;
        if links.and_then(Links::from_bytes).is_some_and(|links| links.has_inodes_of(seen.links())) {
            return Ok(Some(*id));
        }
    }
    Ok(None)
}

/// Stores the same inodes under another name.
fn copy(
    transaction: &Connection,
    id: InstanceId,
    to: InstanceId,
    origin: &InstanceOrigin,
) -> rusqlite::Result<InstanceId> {
    let origin = serde_json::to_string(origin).expect("an origin has only string keys");
    let sql = "INSERT INTO instance (id, origin, links, live) SELECT ?2, ?3, links, live FROM instance WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![id, to, origin])?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::super::holdings_rows::{SCHEMA, read};
    use super::super::known_parts::{self, KnownParts};
    use super::{Added, InstanceOrigin, Links, PartInstance, RetainedPart, add};
    use crate::model::{Link, PartName, PartitionId, SnapshotId, TableUuid};

    fn origin(table: &str, part: &str) -> InstanceOrigin {
        InstanceOrigin {
            database: "d".into(),
            table: table.into(),
            uuid: TableUuid::from_server("00000000-0000-4000-8000-000000000001").expect("a UUID"),
            partition: PartitionId("all".into()),
            part: PartName::try_from(part.to_owned()).expect("a part"),
            bytes: 7,
            directories: 0,
        }
    }

    fn links(inodes: &[u64], is_outside: bool) -> Links {
        Links::new(inodes.iter().map(|inode| Link { inode: *inode, blocks: 8, is_outside }).collect())
    }

    fn seen(part: &str, inodes: &[u64]) -> (RetainedPart, u64) {
        (RetainedPart::Seen(PartInstance::new(&origin("t", part), links(inodes, true)), None), 4096)
    }

    fn unchanged(table: &str, part: &str) -> (RetainedPart, u64) {
        (RetainedPart::Unchanged(origin(table, part), None), 4096)
    }

    fn id(second: u32) -> SnapshotId {
        format!("2026-11-22T0200{second:02}Z").parse().expect("an id")
    }

    fn put(index: &mut Connection, second: u32, parts: &[(RetainedPart, u64)], last: Option<u32>) -> bool {
        let last = last.map(|last| known_parts::read(index, id(last), "stamp").expect("the index works"));
        put_since(index, second, parts, last)
    }

    fn put_since(index: &mut Connection, second: u32, parts: &[(RetainedPart, u64)], last: Option<KnownParts>) -> bool {
        let parts = || -> Box<dyn Iterator<Item = _>> { Box::new(parts.iter().cloned()) };
        add(index, Added { id: id(second), stamp: "stamp".into(), parts: &parts, last }).expect("the index works")
    }

    /// The inodes of a snapshot, and the number of its instances with their numbers.
    fn held(index: &Connection, second: u32) -> Vec<(u32, String, Vec<u64>)> {
        let stamps: Vec<_> = (1..9).map(|second| (id(second), "stamp".to_owned())).collect();
        let holdings = read(index, &stamps).expect("the index works");
        let Some(holding) = holdings.get(id(second)) else { return Vec::new() };
        let instances = holding.instances().map(|(number, _)| {
            let instance = holdings.instance(number).expect("an instance");
            let origin = instance.origin().expect("an origin");
            (number, format!("{}.{}", origin.table, origin.part), instance.links().iter().map(|l| l.inode).collect())
        });
        instances.collect()
    }

    fn index() -> Connection {
        let index = Connection::open_in_memory().expect("SQLite");
        index.execute_batch(SCHEMA).expect("the tables");
        index
            .execute_batch("CREATE TABLE repository (id, generation); INSERT INTO repository VALUES ('', 0)")
            .expect("one");
        index
    }

    #[test]
    fn an_unchanged_part_is_the_instance_of_the_last_snapshot() {
        let mut index = index();
        assert!(put(&mut index, 1, &[seen("all_1_1_0", &[5, 6]), seen("all_2_2_0", &[7])], None));
        assert!(put(&mut index, 2, &[unchanged("t", "all_1_1_0"), seen("all_3_3_0", &[8, 9])], Some(1)));
        let first = (1, "t.all_1_1_0".to_owned(), vec![5, 6]);
        assert_eq!(held(&index, 1), [first.clone(), (2, "t.all_2_2_0".to_owned(), vec![7])]);
        assert_eq!(held(&index, 2), [first, (3, "t.all_3_3_0".to_owned(), vec![8, 9])]);
    }

    #[test]
    fn the_parts_of_the_last_snapshot_are_read_again_only_if_the_index_was_written_since() {
        let mut index = index();
        assert!(put(&mut index, 1, &[seen("all_1_1_0", &[5, 6])], None));
        let last = || Some(known_parts::read(&index, id(1), "stamp").expect("the index works"));
        let (current, outdated) = (last(), last());
        // What is read from now on lacks the part.
        index.execute_batch("UPDATE instance SET origin = 'garbage'").expect("changed");
        assert!(put_since(&mut index, 2, &[unchanged("t", "all_1_1_0")], current));
        assert!(!put_since(&mut index, 3, &[unchanged("t", "all_1_1_0")], outdated));
    }

    #[test]
    fn a_renamed_table_has_the_inodes_that_it_had() {
        let mut index = index();
        assert!(put(&mut index, 1, &[seen("all_1_1_0", &[5, 6])], None));
        assert!(put(&mut index, 2, &[unchanged("other", "all_1_1_0")], Some(1)));
        assert_eq!(held(&index, 1), [(1, "t.all_1_1_0".to_owned(), vec![5, 6])]);
        assert_eq!(held(&index, 2), [(2, "other.all_1_1_0".to_owned(), vec![5, 6])]);
    }

    #[test]
    fn a_part_of_an_older_snapshot_is_known_again_by_its_inodes_alone() {
        let mut index = index();
        assert!(put(&mut index, 1, &[seen("all_1_1_0", &[5, 6])], None));
        assert!(put(&mut index, 2, &[seen("all_2_2_0", &[7])], Some(1)));
        assert!(put(&mut index, 3, &[seen("all_1_1_0", &[5, 6]), seen("all_2_2_0", &[70])], Some(2)));
        let again = [(1, "t.all_1_1_0".to_owned(), vec![5, 6]), (3, "t.all_2_2_0".to_owned(), vec![70])];
        assert_eq!(held(&index, 3), again);
    }

    #[test]
    fn without_the_last_snapshot_nothing_is_kept() {
        let mut index = index();
        assert!(!put(&mut index, 2, &[unchanged("t", "all_1_1_0")], Some(1)));
        assert!(put(&mut index, 1, &[seen("all_1_1_0", &[5, 6])], None));
        assert!(!put(&mut index, 2, &[unchanged("t", "all_2_2_0")], Some(1)), "it has no such part");
        assert!(!put(&mut index, 2, &[unchanged("t", "all_1_1_0")], None));
        assert_eq!(held(&index, 2), []);
    }
}
