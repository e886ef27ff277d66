//! The inodes of a snapshot that the one before it does not have.

use crate::model::{InodeSet, Links};

/// The space of distinct inodes.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Allocated<'a> {
    before: Option<&'a InodeSet>,
    /// The inodes counted so far.
    seen: InodeSet,
    /// Allocated bytes of all of them.
    pub(in crate::ops) all_bytes: u64,
    /// Allocated bytes of those that the previous snapshot does not have.
    pub(in crate::ops) new_bytes: u64,
}

impl<'a> Allocated<'a> {
    /// An empty count, compared with the previous snapshot.
    pub(in crate::ops) fn since(before: Option<&'a InodeSet>) -> Self {
        Self { before, seen: InodeSet::default(), all_bytes: 0, new_bytes: 0 }
    }

    /// Adds the inodes of a part, except for those counted before.
    pub(in crate::ops) fn add(&mut self, links: &Links) {
        for link in links.iter() {
            if self.seen.insert(link.inode) {
                let bytes = link.allocated_bytes();
                self.all_bytes = self.all_bytes.saturating_add(bytes);
                let is_known = self.before.is_some_and(|before| before.contains(link.inode));
                self.new_bytes = self.new_bytes.saturating_add(if is_known { 0 } else { bytes });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Allocated;
    use crate::model::{InodeSet, Link, Links};

    #[test]
    fn an_inode_counts_once_and_a_known_one_is_not_written() {
        let before = InodeSet::from_iter([2, 4]);
        let parts =
            [vec![Link::of(1, 512), Link::of(2, 1024), Link::of(1, 512)], vec![Link::of(2, 1024), Link::of(3, 2048)]];
        let bytes = |before| {
            let mut allocated = Allocated::since(before);
            for part in &parts {
                allocated.add(&Links::new(part.clone()));
            }
            (allocated.all_bytes, allocated.new_bytes)
        };
        assert_eq!(bytes(Some(&before)), (3584, 2560));
        assert_eq!(bytes(None), (3584, 3584));
    }
}
