//! The inodes of the files of one directory tree, stored in few bytes.

use std::fmt;

use super::leb128::{read_number, write_number};

/// One directory entry of a file, and what is known about its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// Inode number.
    pub inode: u64,
    /// Blocks of 512 bytes that the inode takes (`st_blocks`).
    pub blocks: u64,
    /// Whether the inode last had a link outside the repository, or its link count was never read.
    pub is_outside: bool,
}

impl Link {
    /// A link to an inode that was just stat'ed; its other links were not looked for.
    #[must_use]
    pub fn of(inode: u64, allocated_bytes: u64) -> Self {
        Self { inode, blocks: allocated_bytes / BLOCK_BYTES, is_outside: true }
    }

    /// The allocated bytes of the inode.
    #[must_use]
    pub fn allocated_bytes(self) -> u64 {
        self.blocks.saturating_mul(BLOCK_BYTES)
    }
}

/// The unit of `st_blocks`.
const BLOCK_BYTES: u64 = 512;

/// More blocks than any file has (2^60 bytes): larger values, which only a damaged index contains, are refused.
pub const MAX_BLOCKS: u64 = 1 << 51;

/// Links in ascending order of their inodes; an inode with two entries occurs twice.
///
/// For each, as LEB128: the distance of its inode from the previous one, and twice its blocks, plus one if it is
/// outside.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Links {
    bytes: Box<[u8]>,
    count: usize,
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Links {
    /// Encodes these links.
    #[must_use]
    pub fn new(mut links: Vec<Link>) -> Self {
        links.sort_unstable();
        let mut bytes = Vec::with_capacity(links.len() * 3);
        let mut last = 0;
        for link in &links {
            write_number(&mut bytes, link.inode - last);
            write_number(&mut bytes, link.blocks.min(MAX_BLOCKS) << 1 | u64::from(link.is_outside));
            last = link.inode;
        }
        Self { bytes: bytes.into_boxed_slice(), count: links.len() }
    }

    /// The number of links.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The links, in ascending order of their inodes.
    pub fn iter(&self) -> impl Iterator<Item = Link> {
        let (mut rest, mut last) = (&*self.bytes, 0);
        std::iter::from_fn(move || {
            let link = read_link(&mut rest, last)?;
            last = link.inode;
            Some(link)
        })
    }

    /// Whether the other links lead to the same inodes.
    #[must_use]
    pub fn has_inodes_of(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().map(|link| link.inode).eq(other.iter().map(|link| link.inode))
    }

    /// Whether one of them is outside.
    #[must_use]
    pub fn any_outside(&self) -> bool {
        self.iter().any(|link| link.is_outside)
    }

    /// The links as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Decodes the result of [`Links::as_bytes`]; `None` if the bytes are not such a result.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        let (mut rest, mut last, mut count) = (bytes.as_slice(), 0_u64, 0);
        while !rest.is_empty() {
            let link = read_link(&mut rest, last)?;
            last = link.inode;
            count += 1;
        }
        Some(Self { bytes: bytes.into_boxed_slice(), count })
    }
}

fn read_link(rest: &mut &[u8], last: u64) -> Option<Link> {
    let inode = last.checked_add(read_number(rest)?)?;
    let blocks = read_number(rest)?;
    (blocks >> 1 <= MAX_BLOCKS).then_some(Link { inode, blocks: blocks >> 1, is_outside: blocks & 1 == 1 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Link, Links, MAX_BLOCKS};

    fn link() -> impl Strategy<Value = Link> {
        (prop_oneof![0_u64..50, any::<u64>()], prop_oneof![0_u64..9, 0..=MAX_BLOCKS], any::<bool>())
            .prop_map(|(inode, blocks, is_outside)| Link { inode, blocks, is_outside })
    }

    proptest! {
        #[test]
        fn links_come_out_in_order_and_survive_their_bytes(mut all in proptest::collection::vec(link(), 0..60)) {
            let links = Links::new(all.clone());
            all.sort_unstable();
            prop_assert_eq!(links.iter().collect::<Vec<_>>(), all.clone());
            prop_assert_eq!((links.len(), links.any_outside()), (all.len(), all.iter().any(|link| link.is_outside)));
            prop_assert_eq!(Links::from_bytes(links.as_bytes().to_vec()), Some(links));
        }

        #[test]
        fn any_bytes_are_links_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(links) = Links::from_bytes(bytes.clone()) {
                prop_assert_eq!(links.len(), links.iter().count());
                prop_assert_eq!(Links::new(links.iter().collect()).len(), links.len());
            }
        }
    }
}
