//! What a snapshot has that the one before it has not.

use rayon::prelude::*;

use crate::exec::InodeUse;
use crate::model::InodeSet;

/// What distinct inodes take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allocated {
    /// Allocated bytes of all of them.
    pub(super) all_bytes: u64,
    /// Allocated bytes of those that the previous snapshot does not have.
    pub(super) new_bytes: u64,
}

impl Allocated {
    pub(super) fn of(mut inodes: Vec<InodeUse>, before: Option<&InodeSet>) -> Self {
        inodes.par_sort_unstable();
        inodes.dedup_by_key(|inode| inode.inode);
        let known = |inode: &InodeUse| before.is_some_and(|before| before.contains(inode.inode));
        Self {
            all_bytes: inodes.iter().map(|inode| inode.allocated_bytes).sum(),
            new_bytes: inodes.iter().filter(|inode| !known(inode)).map(|inode| inode.allocated_bytes).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Allocated;
    use crate::exec::InodeUse;
    use crate::model::InodeSet;

    #[test]
    fn an_inode_counts_once_and_a_known_one_is_not_written() {
        let inode = |inode, allocated_bytes| InodeUse { inode, allocated_bytes };
        let before = InodeSet::from_sorted([2, 4]);
        let inodes = vec![inode(1, 10), inode(2, 20), inode(1, 10), inode(3, 40)];
        let bytes = |written: Allocated| (written.all_bytes, written.new_bytes);
        assert_eq!(bytes(Allocated::of(inodes.clone(), Some(&before))), (70, 50));
        assert_eq!(bytes(Allocated::of(inodes, None)), (70, 70));
    }
}
