//! Sets of inode numbers.

use std::ops::Range;

use super::leb128::{read_number, write_number};

/// A set of inode numbers, kept as runs: what was made together has numbers next to each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InodeSet {
    /// In ascending order, none empty, none touching the next.
    runs: Vec<Range<u64>>,
}

impl InodeSet {
    /// The set of these numbers, which must be in ascending order; repeated ones count once.
    #[must_use]
    pub fn from_sorted(inodes: impl IntoIterator<Item = u64>) -> Self {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for inode in inodes {
            match runs.last_mut() {
                Some(run) if inode < run.end => {}
                Some(run) if inode == run.end => run.end = inode.saturating_add(1),
                _ => runs.push(inode..inode.saturating_add(1)),
            }
        }
        Self { runs }
    }

    /// Whether the set has this number.
    #[must_use]
    pub fn contains(&self, inode: u64) -> bool {
        let after = self.runs.partition_point(|run| run.end <= inode);
        self.runs.get(after).is_some_and(|run| run.start <= inode)
    }

    /// The set as bytes: for each run, as LEB128, how far it begins behind the last one's end, and how long it is.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.runs.len() * 4);
        let mut end = 0;
        for run in &self.runs {
            write_number(&mut bytes, run.start - end);
            write_number(&mut bytes, run.end - run.start);
            end = run.end;
        }
        bytes
    }

    /// The set that [`InodeSet::to_bytes`] has written; `None` if it was not.
    #[must_use]
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        while !bytes.is_empty() {
            let end = runs.last().map_or(0, |run| run.end);
            let (gap, length) = (read_number(&mut bytes)?, read_number(&mut bytes)?);
            let start = end.checked_add(gap)?;
            if length == 0 || (gap == 0 && !runs.is_empty()) {
                return None;
            }
            runs.push(start..start.checked_add(length)?);
        }
        Some(Self { runs })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::InodeSet;

    proptest! {
        #[test]
        fn a_set_has_what_went_in_and_survives_its_bytes(
            low in proptest::collection::btree_set(0_u64..200, 0..100), high in proptest::collection::btree_set(any::<u64>(), 0..5)
        ) {
            let all: BTreeSet<u64> = low.union(&high).copied().filter(|inode| *inode < u64::MAX).collect();
            let set = InodeSet::from_sorted(all.iter().copied());
            for inode in (0..201).chain(high.iter().copied()).filter(|inode| *inode < u64::MAX) {
                prop_assert_eq!(set.contains(inode), all.contains(&inode));
            }
            prop_assert_eq!(InodeSet::from_bytes(&set.to_bytes()), Some(set));
        }

        #[test]
        fn any_bytes_are_a_set_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(set) = InodeSet::from_bytes(&bytes) {
                prop_assert_eq!(InodeSet::from_bytes(&set.to_bytes()), Some(set));
            }
        }
    }
}
