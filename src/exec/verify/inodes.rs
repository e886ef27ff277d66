//! Inodes that were read in this run and are sound: an inode that many parts share is read once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use crate::fs::ContentDigest;

use super::finding::InodeKey;

/// Inodes with the hash that each was found to have. The entries are valid only while something holds the inodes, so
/// for one run.
#[derive(Debug)]
pub(super) struct Inodes {
    shards: Vec<Mutex<HashMap<(u64, u64), u64>>>,
}

const SHARDS: usize = 64;

/// A short form of a hash that was compared in full: enough to distinguish it from another hash expected of the same
/// inode.
fn tag(digest: ContentDigest) -> u64 {
    let mut hasher = DefaultHasher::new();
    match digest {
        ContentDigest::ClickHouse(hash) => (0_u8, hash).hash(&mut hasher),
        ContentDigest::Blake3(hash) => (1_u8, hash.as_bytes()).hash(&mut hasher),
    }
    hasher.finish()
}

impl Inodes {
    pub(super) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    fn shard(&self, key: InodeKey) -> Option<&Mutex<HashMap<(u64, u64), u64>>> {
        self.shards.get(usize::try_from(key.inode % SHARDS as u64).unwrap_or(0))
    }

    pub(super) fn has(&self, key: InodeKey, digest: ContentDigest) -> bool {
        let known = self.shard(key).and_then(|shard| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).get(&(key.device, key.inode)).copied()
        });
        known == Some(tag(digest))
    }

    pub(super) fn add(&self, key: InodeKey, digest: ContentDigest) {
        if let Some(shard) = self.shard(key) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).insert((key.device, key.inode), tag(digest));
        }
    }
}
