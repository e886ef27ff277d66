//! The states of live parts that the index keeps with the instances of a snapshot.

use std::collections::HashMap;

use rusqlite::{Connection, params};

use crate::model::{LivePartState, SnapshotId};

use super::holdings::{InstanceOrigin, PartKey};
use super::holdings_added::{TextDigest, digest_of};
use super::holdings_rows::{BLOB_LIMIT_BYTES, number, read_holding};
use super::parts::PartRecord;

/// The states in which live parts had the content of a snapshot's parts.
#[derive(Debug, Default)]
pub struct LiveStates(HashMap<TextDigest, Box<[u8]>>);

impl LiveStates {
    /// The state in which the live part had the content of this part; `None` if none was kept.
    #[must_use]
    pub fn get(&self, record: &PartRecord) -> Option<LivePartState> {
        LivePartState::from_bytes(self.0.get(&digest_of(&PartKey::of(record)))?)
    }
}

/// Reads the states of the parts of one snapshot.
pub(super) fn read(connection: &Connection, id: SnapshotId, stamp: &str) -> rusqlite::Result<LiveStates> {
    let Some(holding) = read_holding(connection, id, stamp)? else { return Ok(LiveStates::default()) };
    let sql = "SELECT origin, live FROM instance WHERE id >= ?1 AND id < ?2 AND live IS NOT NULL
        AND octet_length(origin) <= ?4 AND length(live) <= ?4 LIMIT ?3";
    let mut rows_of = connection.prepare(sql)?;
    let mut states = HashMap::new();
    for run in &holding.parts {
        let (first, count) = (u64::from(run.first), u64::from(run.count));
        let mut rows = rows_of.query(params![number(first), number(first + count), number(count), BLOB_LIMIT_BYTES])?;
        while let Some(row) = rows.next()? {
            if let Ok(origin) = serde_json::from_str::<InstanceOrigin>(row.get_ref(0)?.as_str().unwrap_or_default()) {
                states.insert(digest_of(&PartKey::of_origin(&origin)), row.get(1)?);
            }
        }
    }
    Ok(LiveStates(states))
}
