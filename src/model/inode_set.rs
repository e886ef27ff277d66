//! Sets of inode numbers.

use roaring::RoaringTreemap;

/// A set of inode numbers. Inodes that were created together have adjacent numbers, so each takes only some bits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InodeSet(RoaringTreemap);

impl InodeSet {
    /// Adds a number; returns whether it is new to the set.
    pub fn insert(&mut self, inode: u64) -> bool {
        self.0.insert(inode)
    }

    /// Whether the set has this number.
    #[must_use]
    pub fn contains(&self, inode: u64) -> bool {
        self.0.contains(inode)
    }
}

impl FromIterator<u64> for InodeSet {
    fn from_iter<T: IntoIterator<Item = u64>>(inodes: T) -> Self {
        Self(inodes.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::InodeSet;

    proptest! {
        #[test]
        fn a_set_has_what_went_in(
            low in proptest::collection::vec(0_u64..200, 0..100), high in proptest::collection::vec(any::<u64>(), 0..5)
        ) {
            let all: BTreeSet<u64> = low.iter().chain(&high).copied().collect();
            let set: InodeSet = low.iter().chain(&high).copied().collect();
            let mut one_by_one = InodeSet::default();
            let new = low.iter().chain(&high).filter(|inode| one_by_one.insert(**inode)).count();
            prop_assert_eq!((&one_by_one, new), (&set, all.len()));
            for inode in (0..201).chain(high) {
                prop_assert_eq!(set.contains(inode), all.contains(&inode));
            }
        }
    }
}
