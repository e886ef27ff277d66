//! Inodes that were read in this run and are as they should be: what many parts share is read once.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};

use crate::fs::Digest;

use super::finding::InodeKey;

/// Inodes with the hash that each was found to have. They hold while something holds the inodes, so for one run.
#[derive(Debug)]
pub(super) struct Inodes {
    shards: Vec<Mutex<HashMap<(u64, u64), u64>>>,
}

const SHARDS: usize = 64;

/// Of a hash that was compared in full, enough to tell it from another one that the same inode should have.
fn tag(digest: Digest) -> u64 {
    let mut hasher = DefaultHasher::new();
    match digest {
        Digest::ClickHouse(hash) => (0_u8, hash).hash(&mut hasher),
        Digest::Blake3(hash) => (1_u8, hash.as_bytes()).hash(&mut hasher),
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

    pub(super) fn has(&self, key: InodeKey, digest: Digest) -> bool {
        let known = self.shard(key).and_then(|shard| {
            shard.lock().unwrap_or_else(PoisonError::into_inner).get(&(key.device, key.inode)).copied()
        });
        known == Some(tag(digest))
    }

    pub(super) fn add(&self, key: InodeKey, digest: Digest) {
        if let Some(shard) = self.shard(key) {
            shard.lock().unwrap_or_else(PoisonError::into_inner).insert((key.device, key.inode), tag(digest));
        }
    }
}
