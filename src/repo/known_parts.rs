//! The parts of one snapshot as the index knows them: what a new snapshot needs to recognize unchanged parts.

use std::ops::Range;

use rusqlite::Connection;
use serde::Serialize;

use crate::model::{Links, LivePartState, SnapshotId};

use super::holdings::{InstanceId, InstanceOrigin, PartKey};
use super::holdings_rows::{generation_of, read_holding, read_rows};
use super::parts::PartRecord;

/// The first 128 bits of a BLAKE3. They serve as keys instead of the texts, which take much memory for hundreds of
/// thousands of parts.
pub(super) type TextDigest = [u8; 16];

pub(super) fn digest(text: &str) -> TextDigest {
    blake3::hash(text.as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default()
}

pub(super) fn digest_of(value: &impl Serialize) -> TextDigest {
    digest(&serde_json::to_string(value).expect("neither an origin nor a key has other keys than strings"))
}

/// The parts of one snapshot by digests of their keys, with the states in which live parts had their content.
///
/// It is read once, when a `create` begins, and serves until the new snapshot is added to the index.
#[derive(Debug)]
pub struct KnownParts {
    pub(super) snapshot: SnapshotId,
    pub(super) stamp: String,
    /// The generation of the index from which it was read.
    pub(super) generation: i64,
    /// Ordered by their keys, each key once.
    parts: Vec<KnownPart>,
    /// The states and links of all parts, one after the other.
    encoded: Vec<u8>,
}

/// A part of which the index has the inodes.
#[derive(Debug)]
pub(super) struct KnownPart {
    key: TextDigest,
    pub(super) instance: InstanceId,
    pub(super) origin: TextDigest,
    pub(super) bytes: u64,
    live: Option<EncodedLivePart>,
}

/// Where the state and the links of a part are in `encoded`: the state from `begin` on, then the links.
#[derive(Clone, Copy, Debug)]
struct EncodedLivePart {
    begin: usize,
    state_bytes: u32,
    link_bytes: u32,
}

/// The facts that are needed to link a part without examining its files.
#[derive(Debug)]
pub struct KnownLivePart {
    /// The state in which the live part had the content of the part.
    pub state: LivePartState,
    /// The links of the part.
    pub links: Links,
}

impl KnownParts {
    /// The snapshot that has them.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotId {
        self.snapshot
    }

    /// The part by which a live one is known; `None` if no state of that was kept.
    #[must_use]
    pub fn live_part(&self, record: &PartRecord) -> Option<KnownLivePart> {
        let encoded = self.find(&PartKey::of(record))?.live?;
        let links_begin = encoded.begin.checked_add(encoded.state_bytes as usize)?;
        let links = links_begin..links_begin.checked_add(encoded.link_bytes as usize)?;
        let bytes = |range: Range<usize>| self.encoded.get(range);
        let state = LivePartState::from_bytes(bytes(encoded.begin..links_begin)?)?;
        Some(KnownLivePart { state, links: Links::from_bytes(bytes(links)?.to_vec())? })
    }

    /// Whether the index has this part.
    #[must_use]
    pub fn has(&self, record: &PartRecord) -> bool {
        self.find(&PartKey::of(record)).is_some()
    }

    pub(super) fn find(&self, key: &PartKey) -> Option<&KnownPart> {
        let key = digest_of(key);
        let position = self.parts.binary_search_by(|part| part.key.cmp(&key)).ok()?;
        self.parts.get(position)
    }

    /// Drops the states and links, which are of no use once all parts are placed.
    #[must_use]
    pub fn without_states(mut self) -> Self {
        self.parts.iter_mut().for_each(|part| part.live = None);
        self.encoded = Vec::new();
        self
    }
}

/// Reads the parts of the snapshot whose manifest has this stamp; none if the index lacks it.
pub(super) fn read(connection: &Connection, snapshot: SnapshotId, stamp: &str) -> rusqlite::Result<KnownParts> {
    let generation = generation_of(connection)?;
    let (mut parts, mut encoded) = (Vec::new(), Vec::new());
    if let Some(holding) = read_holding(connection, snapshot, stamp)? {
        read_rows(connection, "id, origin, live, links", holding.runs(), |row| {
            if let Ok(origin) = serde_json::from_str::<InstanceOrigin>(row.get_ref(1)?.as_str().unwrap_or_default()) {
                let live = match row.get_ref(2)?.as_blob_or_null()? {
                    Some(state) => add(&mut encoded, state, row.get_ref(3)?.as_blob()?),
                    None => None,
                };
                let key = digest_of(&PartKey::of_origin(&origin));
                parts.push(KnownPart {
                    key,
                    instance: row.get(0)?,
                    origin: digest_of(&origin),
                    bytes: origin.bytes,
                    live,
                });
            }
            Ok(())
        })?;
    }
    parts.sort_by_key(|part| part.key);
    parts.dedup_by_key(|part| part.key);
    Ok(KnownParts { snapshot, stamp: stamp.to_owned(), generation, parts, encoded })
}

fn add(encoded: &mut Vec<u8>, state: &[u8], links: &[u8]) -> Option<EncodedLivePart> {
    let begin = encoded.len();
    let (state_bytes, link_bytes) = (u32::try_from(state.len()).ok()?, u32::try_from(links.len()).ok()?);
    encoded.extend_from_slice(state);
    encoded.extend_from_slice(links);
    Some(EncodedLivePart { begin, state_bytes, link_bytes })
}
