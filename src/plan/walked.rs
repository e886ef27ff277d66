//! The sums of `usage` from a walk over every entry, without the index.

use std::collections::HashMap;

use super::holders::{HolderSets, Holders, SetId};
use super::space::{Space, Sums};

/// One directory entry of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkedFile {
    /// Inode number.
    pub inode: u64,
    /// Its link count, wherever the links are.
    pub links: u64,
    /// Its allocated blocks of 512 bytes.
    pub blocks: u64,
    /// Whether it is a file of a part.
    pub is_part: bool,
}

#[derive(Clone, Copy, Debug)]
struct Inode {
    set: SetId,
    seen: u64,
    links: u64,
    blocks: u64,
    is_part: bool,
}

/// Every inode that a walk has found.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    sets: HolderSets,
    inodes: HashMap<u64, Inode>,
    directory_bytes: Vec<u64>,
}

impl Walked {
    /// Adds a file of a holder.
    pub fn add_file(&mut self, holder: usize, file: WalkedFile) {
        let alone = self.sets.id(&Holders::default());
        let WalkedFile { inode, links, blocks, is_part } = file;
        let known = self.inodes.entry(inode).or_insert(Inode { set: alone, seen: 0, links, blocks, is_part });
        known.seen += 1;
        known.set = self.sets.with(known.set, holder);
        known.is_part |= is_part;
        // The later stat is more accurate.
        known.links = links;
        known.blocks = blocks;
    }

    /// Adds a directory of a holder.
    pub fn add_directory(&mut self, holder: usize, allocated_bytes: u64) {
        if self.directory_bytes.len() <= holder {
            self.directory_bytes.resize(holder + 1, 0);
        }
        if let Some(bytes) = self.directory_bytes.get_mut(holder) {
            *bytes += allocated_bytes;
        }
    }

    /// The sums.
    #[must_use]
    pub fn space(self) -> Space {
        let mut sums = Sums::default();
        for inode in self.inodes.values() {
            sums.add(inode.set, inode.links > inode.seen, inode.is_part, inode.blocks);
        }
        sums.space(&self.sets, self.directory_bytes)
    }
}
