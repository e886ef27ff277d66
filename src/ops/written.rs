//! The snapshot that a new one is compared with, and the inodes that it does not have.

use crate::model::{InodeSet, Links, SnapshotId};
use crate::plan::SeriesKey;
use crate::repo::{Index, RepoError, Repository, SeriesOf, Summary, line};

use super::inodes::inodes_of;

/// The snapshot that a new one is compared with: its written bytes are those of inodes that this one does not have.
#[derive(Debug)]
pub(in crate::ops) struct ComparedSnapshot {
    pub(in crate::ops) id: SnapshotId,
    /// The inodes of its parts.
    pub(in crate::ops) inodes: InodeSet,
}

impl ComparedSnapshot {
    /// Reads the snapshot that a new one of `series` is compared with, which comes after those in `before`. `None` if
    /// it is the first, or if the snapshot has just been removed.
    ///
    /// # Errors
    /// If its files cannot be listed.
    pub(in crate::ops) fn read(
        repository: &Repository,
        index: &Index,
        before: &[Summary],
        series: &SeriesKey,
    ) -> Result<Option<Self>, RepoError> {
        let compared = compared(before, index.series(), series);
        compared.map_or(Ok(None), |compared| Self::read_one(repository, index, compared.id))
    }

    /// Reads this snapshot. `None` if it has just been removed.
    ///
    /// # Errors
    /// If its files cannot be listed.
    pub(in crate::ops) fn read_one(
        repository: &Repository,
        index: &Index,
        id: SnapshotId,
    ) -> Result<Option<Self>, RepoError> {
        let snapshot = match repository.snapshot_dir(id) {
            Err(RepoError::NoSnapshot { .. }) => return Ok(None),
            result => result?,
        };
        let inodes = inodes_of(repository, index, id, &snapshot)?;
        Ok(Some(Self { id, inodes }))
    }
}

/// The snapshot that a new one of a series is compared with: the newest before it of its series or of the main one.
pub(in crate::ops) fn compared<'a>(before: &'a [Summary], of: &SeriesOf, series: &SeriesKey) -> Option<&'a Summary> {
    let is_own = |summary: &&Summary| summary.is_complete() && summary.is_of(series);
    let own = before.iter().rev().find(is_own);
    let main = line(before, &of.main).last().copied();
    [own, main].into_iter().flatten().max_by_key(|summary| (summary.sequence, summary.id))
}

/// The snapshots before a place in the order in which they were made.
pub(in crate::ops) fn before(summaries: &[Summary], (id, sequence): (SnapshotId, u64)) -> &[Summary] {
    let end = summaries.partition_point(|summary| (summary.sequence.unwrap_or(0), summary.id) < (sequence, id));
    summaries.get(..end).unwrap_or_default()
}

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
