//! The parts of one snapshot as the index knows them: what a new snapshot needs to recognize unchanged parts.

use std::collections::HashMap;

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
    pub(super) parts: HashMap<TextDigest, KnownPart>,
}

/// A part of which the index has the inodes.
#[derive(Debug)]
pub(super) struct KnownPart {
    pub(super) instance: InstanceId,
    pub(super) origin: TextDigest,
    pub(super) bytes: u64,
    live: Option<EncodedLivePart>,
}

#[derive(Debug)]
struct EncodedLivePart {
    state: Box<[u8]>,
    links: Box<[u8]>,
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
        let encoded = self.find(record)?.live.as_ref()?;
        let state = LivePartState::from_bytes(&encoded.state)?;
        Some(KnownLivePart { state, links: Links::from_bytes(encoded.links.to_vec())? })
    }

    /// Whether the index has this part.
    #[must_use]
    pub fn has(&self, record: &PartRecord) -> bool {
        self.find(record).is_some()
    }

    fn find(&self, record: &PartRecord) -> Option<&KnownPart> {
        self.parts.get(&digest_of(&PartKey::of(record)))
    }

    /// Drops the states and links, which are of no use once all parts are placed.
    #[must_use]
    pub fn without_states(mut self) -> Self {
        self.parts.values_mut().for_each(|part| part.live = None);
        self
    }
}

/// Reads the parts of the snapshot whose manifest has this stamp; none if the index lacks it.
pub(super) fn read(connection: &Connection, snapshot: SnapshotId, stamp: &str) -> rusqlite::Result<KnownParts> {
    let generation = generation_of(connection)?;
    let mut parts = HashMap::new();
    if let Some(holding) = read_holding(connection, snapshot, stamp)? {
        read_rows(connection, "id, origin, live, links", holding.runs(), |row| {
            if let Ok(origin) = serde_json::from_str::<InstanceOrigin>(row.get_ref(1)?.as_str().unwrap_or_default()) {
                let instance = row.get(0)?;
                let live = match row.get::<_, Option<Box<[u8]>>>(2)? {
                    Some(state) => Some(EncodedLivePart { state, links: row.get(3)? }),
                    None => None,
                };
                let part = KnownPart { instance, origin: digest_of(&origin), bytes: origin.bytes, live };
                parts.insert(digest_of(&PartKey::of_origin(&origin)), part);
            }
            Ok(())
        })?;
    }
    Ok(KnownParts { snapshot, stamp: stamp.to_owned(), generation, parts })
}
