//! The space that snapshots take, alone and together: the arithmetic of hard links.
//!
//! Inodes are summed up in classes: all inodes with the same holders, with or without links from outside the
//! repository. Removing a set of holders frees the classes whose holders are all in the set and that have no links from
//! outside. This is not additive over the holders: inodes shared by two of them are freed with the second.

use crate::model::{InodeSet, Links};

use super::holders::{HolderSets, Holders, SetId};

/// All inodes that the same holders link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// The holders.
    pub holders: Holders,
    /// Whether something outside the repository links them too.
    pub is_outside: bool,
    /// Whether they are files of parts, and not manifests, definitions and the like.
    pub is_part: bool,
    /// The number of inodes.
    pub inodes: u64,
    /// Their allocated bytes.
    pub allocated_bytes: u64,
}

/// The bytes of one holder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HolderBytes {
    /// Allocated bytes of its files of parts, each inode once.
    pub allocated_bytes: u64,
    /// The share of them that something outside the repository links.
    pub live_shared_bytes: u64,
    /// Allocated bytes of all its inodes that nothing else links.
    pub exclusive_bytes: u64,
    /// Allocated bytes of its files outside parts.
    pub metadata_bytes: u64,
    /// Allocated bytes of its directories.
    pub directory_bytes: u64,
}

/// The holders of all inodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    classes: Vec<Class>,
    directory_bytes: Vec<u64>,
}

impl Space {
    /// The classes, unordered.
    #[must_use]
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Allocated bytes of the directories of these holders.
    #[must_use]
    pub fn directory_bytes(&self, set: &Holders) -> u64 {
        set.iter().filter_map(|holder| self.directory_bytes.get(holder)).sum()
    }

    /// Allocated bytes of the files that removing these holders frees.
    #[must_use]
    pub fn freed_file_bytes(&self, set: &Holders) -> u64 {
        let freed = self.classes.iter().filter(|class| !class.is_outside && class.holders.is_within(set));
        freed.map(|class| class.allocated_bytes).sum()
    }

    /// The space that removing these holders frees: files, and their directories.
    #[must_use]
    pub fn freed_bytes(&self, set: &Holders) -> u64 {
        self.freed_file_bytes(set) + self.directory_bytes(set)
    }

    /// For each of these holders, the bytes freed by removing it and all before it in this order, directories included.
    #[must_use]
    pub fn freed_in_order(&self, order: &[usize]) -> Vec<u64> {
        let mut freed = vec![0; order.len()];
        for class in self.classes.iter().filter(|class| !class.is_outside) {
            let mut left = class.holders.len();
            let last = order.iter().position(|holder| {
                left -= usize::from(class.holders.contains(*holder));
                left == 0
            });
            if let Some(freed) = last.and_then(|last| freed.get_mut(last)) {
                *freed += class.allocated_bytes;
            }
        }
        let mut sum = 0;
        for (freed, holder) in freed.iter_mut().zip(order) {
            sum += *freed + self.directory_bytes.get(*holder).copied().unwrap_or(0);
            *freed = sum;
        }
        freed
    }

    /// The bytes of a holder.
    #[must_use]
    pub fn held(&self, holder: usize) -> HolderBytes {
        let directory_bytes = self.directory_bytes.get(holder).copied().unwrap_or(0);
        let mut held = HolderBytes { directory_bytes, ..HolderBytes::default() };
        for class in self.classes.iter().filter(|class| class.holders.contains(holder)) {
            let bytes = class.allocated_bytes;
            if !class.is_outside && class.holders.len() == 1 {
                held.exclusive_bytes += bytes;
            }
            if !class.is_part {
                held.metadata_bytes += bytes;
                continue;
            }
            held.allocated_bytes += bytes;
            if class.is_outside {
                held.live_shared_bytes += bytes;
            }
        }
        held
    }

    /// Whether both have the same number of holders.
    #[must_use]
    pub fn is_of_as_many(&self, other: &Self) -> bool {
        self.directory_bytes.len() == other.directory_bytes.len()
    }

    /// The sum of the classes for which `wanted` is true.
    pub fn sum(&self, wanted: impl Fn(&Class) -> bool) -> u64 {
        self.classes.iter().filter(|class| wanted(class)).map(|class| class.allocated_bytes).sum()
    }
}

/// Links that occur together in the same holders, once in each.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The holders that they are counted for.
    pub holders: SetId,
    /// The number of trees that contain them.
    pub copies: u64,
    /// Whether they are files of a part.
    pub is_part: bool,
    /// The links in one of those trees.
    pub links: &'a Links,
}

/// The result of a new stat of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InodeStat {
    /// Inode number.
    pub inode: u64,
    /// Its link count, wherever the links are.
    pub links: u64,
    /// Its allocated blocks of 512 bytes.
    pub blocks: u64,
}

/// The sum, and additional findings.
#[derive(Clone, Debug, Default)]
pub struct Summed {
    /// The holders of all inodes.
    pub space: Space,
    /// The inodes that something outside the repository links.
    pub outside: InodeSet,
    /// Inodes with fewer links than the pieces contain: some have been removed.
    pub too_few: Vec<u64>,
}

#[derive(Clone, Copy)]
struct InodeRow {
    inode: u64,
    blocks: u64,
    piece: u32,
    is_outside: bool,
}

/// Sums up pieces. For the inodes in `asked`, which is sorted by inode, the stat decides whether something outside
/// links them; for all others their recorded links do.
#[must_use]
pub fn sum_up(pieces: &[Piece<'_>], sets: &mut HolderSets, asked: &[InodeStat], directory_bytes: Vec<u64>) -> Summed {
    let mut rows = Vec::with_capacity(pieces.iter().map(|piece| piece.links.len()).sum());
    for (number, piece) in (0..).zip(pieces) {
        rows.extend(piece.links.iter().map(|link| InodeRow {
            inode: link.inode,
            blocks: link.blocks,
            piece: number,
            is_outside: link.is_outside,
        }));
    }
    // A stable sort uses the long ascending runs of pieces that were created together.
    rows.sort_by_key(|row| row.inode);
    let mut asked = asked.iter().peekable();
    let (mut sums, mut outside, mut too_few) = (Sums::default(), InodeSet::default(), Vec::new());
    for same in rows.chunk_by(|a, b| a.inode == b.inode) {
        let Some(first) = same.first() else { continue };
        let (mut set, mut copies, mut is_part) = (None, 0_u64, false);
        let mut blocks = 0;
        for row in same {
            let Some(piece) = pieces.get(row.piece as usize) else { continue };
            set = Some(set.map_or(piece.holders, |set| sets.union(set, piece.holders)));
            copies = copies.saturating_add(piece.copies);
            is_part |= piece.is_part;
            blocks = row.blocks.max(blocks);
        }
        while asked.next_if(|asked| asked.inode < first.inode).is_some() {}
        let mut is_outside = same.iter().any(|row| row.is_outside);
        if let Some(asked) = asked.next_if(|asked| asked.inode == first.inode) {
            is_outside = asked.links > copies;
            blocks = asked.blocks;
            if asked.links < copies {
                too_few.push(first.inode);
            }
        }
        if is_outside {
            outside.insert(first.inode);
        }
        if let Some(set) = set {
            sums.add(set, is_outside, is_part, blocks);
        }
    }
    let space = sums.space(sets, directory_bytes);
    Summed { space, outside, too_few }
}

/// Inodes and blocks of each class, at four times the number of its set plus its two flags.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Vec<(u64, u64)>);

impl Sums {
    pub(super) fn add(&mut self, set: SetId, is_outside: bool, is_part: bool, blocks: u64) {
        let at = set.index() * 4 + usize::from(is_outside) * 2 + usize::from(is_part);
        if self.0.len() <= at {
            self.0.resize(at + 1, (0, 0));
        }
        if let Some((inodes, sum)) = self.0.get_mut(at) {
            *inodes += 1;
            *sum = sum.saturating_add(blocks);
        }
    }

    pub(super) fn space(&self, sets: &HolderSets, directory_bytes: Vec<u64>) -> Space {
        debug_assert!(self.0.len() <= sets.count() * 4);
        let classes = self.0.chunks(4).zip(sets.all()).flat_map(|(four, holders)| {
            four.iter().enumerate().filter(|(_, (inodes, _))| *inodes > 0).map(|(marks, (inodes, blocks))| Class {
                holders: holders.clone(),
                is_outside: marks & 2 != 0,
                is_part: marks & 1 != 0,
                inodes: *inodes,
                allocated_bytes: blocks.saturating_mul(512),
            })
        });
        Space { classes: classes.collect(), directory_bytes }
    }
}
