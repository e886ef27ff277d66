//! The rows of [`Holdings`] in the index.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension as _, Row, TransactionBehavior, params};

use crate::model::{InodeSet, Links, LivePartState, SnapshotId, read_number, write_number};

use super::holdings::{FilesOutsideParts, Holding, Holdings, InstanceId, PartInstance, PartRun};

pub(super) const SCHEMA: &str =
    "CREATE TABLE holding (id TEXT PRIMARY KEY, stamp TEXT NOT NULL, parts BLOB NOT NULL, rest BLOB) WITHOUT ROWID;
    CREATE TABLE instance (id INTEGER PRIMARY KEY, origin TEXT NOT NULL, links BLOB NOT NULL, live BLOB);";

/// More than any snapshot needs: a few bytes for each of some million parts.
pub(super) const BLOB_LIMIT_BYTES: i64 = 64 << 20;
/// Highest number of instances in one index: more than ten million parts. Beyond it the index is rebuilt from scratch.
pub(super) const INSTANCE_LIMIT: u64 = 1 << 24;

/// Reads what these snapshots hold. A snapshot that the index lacks, or whose rows are damaged, is missing from the
/// answer.
pub(super) fn read(connection: &Connection, stamps: &[(SnapshotId, String)]) -> rusqlite::Result<Holdings> {
    let mut holdings = Holdings::of(generation_of(connection)?);
    for (id, stamp) in stamps {
        if let Some(holding) = read_holding(connection, *id, stamp)? {
            holdings.snapshots.insert(*id, (stamp.clone(), holding));
        }
    }
    holdings.instances = read_instances(connection, &holdings)?;
    let instances = &holdings.instances;
    holdings.snapshots.retain(|_, (_, holding)| holding.instances().all(|(id, _)| instances.contains_key(&id)));
    Ok(holdings)
}

/// Reads what one snapshot holds; `None` if the index lacks it or its rows are damaged.
pub(super) fn read_holding(connection: &Connection, id: SnapshotId, stamp: &str) -> rusqlite::Result<Option<Holding>> {
    let sql = "SELECT parts, rest FROM holding WHERE id = ?1 AND stamp = ?2 AND length(parts) <= ?3
        AND coalesce(length(rest), 0) <= ?3";
    let row = connection.prepare_cached(sql)?.query_row(params![id.to_string(), stamp, BLOB_LIMIT_BYTES], |row| {
        Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
    });
    Ok(row.optional()?.and_then(|(parts, rest)| decode(&parts, rest)))
}

fn read_instances(
    connection: &Connection,
    holdings: &Holdings,
) -> rusqlite::Result<BTreeMap<InstanceId, PartInstance>> {
    let mut instances = Vec::new();
    read_rows(connection, "id, origin, links", holdings.held_runs(), |row| {
        if let (Ok(id), Some(instance)) = (row.get(0), PartInstance::stored(row.get(1)?, row.get(2)?)) {
            instances.push((id, instance));
        }
        Ok(())
    })?;
    Ok(instances.into_iter().collect())
}

/// Reads these columns of the instances in these runs, each from its first number up to its end. Leaves out rows with more
/// bytes than any instance has.
pub(super) fn read_rows(
    connection: &Connection,
    columns: &str,
    runs: impl IntoIterator<Item = (u64, u64)>,
    mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    // The number of rows is limited: in a damaged database, pages that refer to each other in circles have no last row.
    let sql = format!(
        "SELECT {columns} FROM instance WHERE id >= ?1 AND id < ?2 AND octet_length(origin) <= ?4
            AND length(links) <= ?4 AND coalesce(length(live), 0) <= ?4 LIMIT ?3"
    );
    let mut rows_of = connection.prepare(&sql)?;
    for (first, end) in runs {
        let limit = number(end.saturating_sub(first));
        let mut rows = rows_of.query(params![number(first), number(end), limit, BLOB_LIMIT_BYTES])?;
        while let Some(row) = rows.next()? {
            read(row)?;
        }
    }
    Ok(())
}

/// Reads the inodes of the parts of one snapshot; `None` if the index lacks it or its rows are damaged.
pub(super) fn read_inodes(connection: &Connection, id: SnapshotId, stamp: &str) -> rusqlite::Result<Option<InodeSet>> {
    let Some(holding) = read_holding(connection, id, stamp)? else { return Ok(None) };
    let (mut inodes, mut missing) = (InodeSet::default(), holding.instances().count());
    read_rows(connection, "links", holding.runs(), |row| {
        if let Some(links) = Links::from_bytes(row.get(0)?) {
            missing = missing.saturating_sub(1);
            for link in links.iter() {
                inodes.insert(link.inode);
            }
        }
        Ok(())
    })?;
    Ok((missing == 0).then_some(inodes))
}

pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Writes the changes, or nothing if the index has changed since it was read. Returns whether it was written.
pub(super) fn write(connection: &mut Connection, holdings: &mut Holdings) -> rusqlite::Result<bool> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if generation_of(&transaction)? != holdings.generation {
        return Ok(false);
    }
    let next = advance_generation(&transaction)?;
    holdings.drop_unheld();
    {
        for id in &holdings.changed {
            if let Some(instance) = holdings.instances.get(id) {
                put_instance(&transaction, *id, instance)?;
            }
        }
        for id in &holdings.changed_snapshots {
            if let Some((stamp, holding)) = holdings.snapshots.get(id) {
                put_holding(&transaction, *id, stamp, holding)?;
            }
        }
    }
    let present: BTreeSet<String> = holdings.snapshots.keys().map(ToString::to_string).collect();
    let gone: Vec<String> = {
        let limit = number(present.len() as u64 + GONE_LIMIT);
        let mut all = transaction.prepare("SELECT id FROM holding LIMIT ?1")?;
        let ids = all.query_map(params![limit], |row| row.get::<_, String>(0))?;
        ids.filter(|id| id.as_ref().map_or(true, |id| !present.contains(id))).collect::<Result<_, _>>()?
    };
    for id in gone {
        transaction.execute("DELETE FROM holding WHERE id = ?1", params![id])?;
    }
    drop_unheld(&transaction, holdings)?;
    transaction.commit()?;
    holdings.generation = next;
    holdings.changed.clear();
    holdings.changed_snapshots.clear();
    Ok(true)
}

pub(super) fn generation_of(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT generation FROM repository", [], |row| row.get(0))
}

/// Advances the generation of the index, so that all earlier readings are outdated. Returns the new generation.
pub(super) fn advance_generation(transaction: &Connection) -> rusqlite::Result<i64> {
    let next = generation_of(transaction)?.wrapping_add(1);
    transaction.execute("UPDATE repository SET generation = ?1", params![next])?;
    Ok(next)
}

/// Stores the state in which the live part was found equal to an instance.
pub(super) fn put_live_state(transaction: &Connection, id: InstanceId, state: &LivePartState) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached("UPDATE instance SET live = ?2 WHERE id = ?1")?;
    put.execute(params![id, state.to_bytes()]).map(|_| ())
}

/// Stores an instance. The state of its live part stays if it has the inodes that it had under this number.
pub(super) fn put_instance(transaction: &Connection, id: InstanceId, instance: &PartInstance) -> rusqlite::Result<()> {
    let mut known_links = transaction
        .prepare_cached("SELECT links FROM instance WHERE id = ?1 AND origin = ?2 AND length(links) <= ?3")?;
    let known: Option<Vec<u8>> =
        known_links.query_row(params![id, instance.origin_text(), BLOB_LIMIT_BYTES], |row| row.get(0)).optional()?;
    let has_its_inodes = known.and_then(Links::from_bytes).is_some_and(|known| known.has_inodes_of(instance.links()));
    let sql = if has_its_inodes {
        "UPDATE instance SET links = ?3 WHERE id = ?1 AND origin = ?2"
    } else {
        "INSERT OR REPLACE INTO instance (id, origin, links) VALUES (?1, ?2, ?3)"
    };
    let mut put = transaction.prepare_cached(sql)?;
    put.execute(params![id, instance.origin_text(), instance.links().as_bytes()]).map(|_| ())
}

pub(super) fn put_holding(
    transaction: &Connection,
    id: SnapshotId,
    stamp: &str,
    holding: &Holding,
) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO holding (id, stamp, parts, rest) VALUES (?1, ?2, ?3, ?4)";
    let (parts, rest) = encode(holding);
    transaction.prepare_cached(sql)?.execute(params![id.to_string(), stamp, parts, rest]).map(|_| ())
}

/// Deletes the instances between those that a snapshot holds; some of them were never read.
fn drop_unheld(connection: &Connection, holdings: &Holdings) -> rusqlite::Result<()> {
    let mut rows_of = connection.prepare("SELECT id FROM instance WHERE id >= ?1 AND id < ?2 LIMIT ?3")?;
    let mut delete = connection.prepare("DELETE FROM instance WHERE id = ?1")?;
    let mut from = 0;
    for (first, end) in holdings.held_runs().into_iter().chain([(INSTANCE_LIMIT, INSTANCE_LIMIT)]) {
        let unheld = rows_of
            .query_map(params![number(from), number(first), number(first.saturating_sub(from))], |row| {
                row.get::<_, i64>(0)
            })?;
        for id in unheld.collect::<Result<Vec<_>, _>>()? {
            delete.execute(params![id])?;
        }
        from = end;
    }
    Ok(())
}

/// How many rows of snapshots that are gone are deleted at once.
const GONE_LIMIT: u64 = 10_000;

/// Encodes as LEB128, for each run: its distance from the end of the previous one, its length, and the blocks of 512
/// bytes of each directory. For the rest: the blocks of its directories, and its links.
fn encode(holding: &Holding) -> (Vec<u8>, Option<Vec<u8>>) {
    let (mut parts, mut end) = (Vec::new(), 0);
    for run in &holding.parts {
        let first = u64::from(run.first);
        write_number(&mut parts, first - end);
        write_number(&mut parts, u64::from(run.count));
        write_number(&mut parts, run.directory_bytes / 512);
        end = first + u64::from(run.count);
    }
    let rest = holding.rest.as_ref().map(|rest| {
        let mut bytes = Vec::new();
        write_number(&mut bytes, rest.directory_bytes / 512);
        bytes.extend_from_slice(rest.links.as_bytes());
        bytes
    });
    (parts, rest)
}

fn decode(mut parts: &[u8], rest: Option<Vec<u8>>) -> Option<Holding> {
    let (mut runs, mut end, mut all) = (Vec::new(), 0_u64, 0_u64);
    while !parts.is_empty() {
        let first = end.checked_add(read_number(&mut parts)?)?;
        let count = read_number(&mut parts)?;
        let blocks = read_number(&mut parts)?;
        end = first.checked_add(count)?;
        all = all.checked_add(count).filter(|all| *all <= INSTANCE_LIMIT && end <= INSTANCE_LIMIT)?;
        let directory_bytes = blocks.checked_mul(512)?;
        runs.push(PartRun { first: first.try_into().ok()?, count: count.try_into().ok()?, directory_bytes });
    }
    let rest = match rest {
        None => None,
        Some(bytes) => {
            let mut bytes = bytes.as_slice();
            let blocks = read_number(&mut bytes)?;
            Some(FilesOutsideParts {
                directory_bytes: blocks.checked_mul(512)?,
                links: Links::from_bytes(bytes.to_vec())?,
            })
        }
    };
    Some(Holding { parts: runs, rest })
}
