//! What `stat` returned for the inodes of one directory tree, stored in few bytes.

use super::leb128::{read_number, write_number};

/// The result of a `stat` of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InodeStat {
    /// Inode number.
    pub inode: u64,
    /// Its link count, wherever the links are.
    pub links: u64,
    /// Its allocated blocks of 512 bytes.
    pub blocks: u64,
}

/// Results of `stat` in ascending order of their inodes, one for each inode.
///
/// For each, as LEB128: the distance of its inode from the previous one, its link count, and its blocks. That is four
/// or five bytes for a file of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InodeStats {
    bytes: Box<[u8]>,
    count: usize,
}

impl InodeStats {
    /// Encodes these results. Of several for one inode, the one with the most links counts: a tree that is being
    /// unlinked loses links meanwhile, and an inode with one link too few would count as the repository's alone.
    #[must_use]
    pub fn new(mut stats: Vec<InodeStat>) -> Self {
        most_links_of_each(&mut stats);
        let mut bytes = Vec::with_capacity(stats.len() * 5);
        let mut last = 0;
        for stat in &stats {
            write_number(&mut bytes, stat.inode - last);
            write_number(&mut bytes, stat.links);
            write_number(&mut bytes, stat.blocks);
            last = stat.inode;
        }
        Self { bytes: bytes.into_boxed_slice(), count: stats.len() }
    }

    /// The number of inodes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The results, in ascending order of their inodes.
    pub fn iter(&self) -> impl Iterator<Item = InodeStat> {
        let (mut rest, mut last) = (&*self.bytes, 0);
        std::iter::from_fn(move || {
            let inode = last + read_number(&mut rest)?;
            last = inode;
            Some(InodeStat { inode, links: read_number(&mut rest)?, blocks: read_number(&mut rest)? })
        })
    }
}

/// Sorts the results by inode, and leaves the one with the most links of each.
pub fn most_links_of_each(stats: &mut Vec<InodeStat>) {
    stats.sort_unstable_by(|a, b| a.inode.cmp(&b.inode).then(b.cmp(a)));
    stats.dedup_by_key(|stat| stat.inode);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{InodeStat, InodeStats};

    proptest! {
        #[test]
        fn each_inode_comes_out_once_with_its_most_links(
            all in proptest::collection::vec((prop_oneof![0_u64..20, any::<u64>()], 0_u64..5, any::<u64>()), 0..60)
        ) {
            let mut most: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
            for (inode, links, blocks) in &all {
                let known = most.entry(*inode).or_default();
                *known = (*links, *blocks).max(*known);
            }
            let wanted: Vec<InodeStat> =
                most.into_iter().map(|(inode, (links, blocks))| InodeStat { inode, links, blocks }).collect();
            let stats = InodeStats::new(
                all.into_iter().map(|(inode, links, blocks)| InodeStat { inode, links, blocks }).collect(),
            );
            prop_assert_eq!((stats.len(), stats.is_empty()), (wanted.len(), wanted.is_empty()));
            prop_assert_eq!(stats.iter().collect::<Vec<_>>(), wanted);
        }
    }
}
