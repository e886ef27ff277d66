//! What a snapshot has that the one before it has not.

use std::path::Path;

use rayon::prelude::*;

use crate::exec::InodeUse;
use crate::fs::{Dir, FsError, Kind};
use crate::model::{InodeSet, SnapshotId};
use crate::ops::error::OpError;
use crate::repo::{Index, Repository, Summary};

/// The inodes of the newest snapshot.
#[derive(Debug)]
pub(super) struct Previous {
    pub(super) id: SnapshotId,
    inodes: InodeSet,
}

/// The inode numbers of the newest complete snapshot: from the index, else read off its directories, without touching a
/// file of it.
///
/// Inode numbers compare because both snapshots are on one filesystem.
pub(super) fn previous_inodes(repository: &Repository) -> Result<Option<Previous>, OpError> {
    let index = Index::open(repository)?;
    let Some(id) =
        index.summaries().iter().rev().find(|summary| Summary::is_complete(summary)).map(|summary| summary.id)
    else {
        return Ok(None);
    };
    if let Some(inodes) = index.inodes(repository, id) {
        return Ok(Some(Previous { id, inodes }));
    }
    let mut inodes = Vec::new();
    if let Some(data) = repository.snapshot_dir(id)?.find_beneath(Path::new("data"))? {
        inodes = files_below(&data)?;
        inodes.par_sort_unstable();
    }
    Ok(Some(Previous { id, inodes: InodeSet::from_sorted(inodes) }))
}

fn files_below(dir: &Dir) -> Result<Vec<u64>, FsError> {
    let (directories, files): (Vec<_>, Vec<_>) =
        dir.entries_with_kind()?.into_iter().partition(|entry| entry.kind == Kind::Directory);
    let below: Vec<Vec<u64>> =
        directories.par_iter().map(|entry| files_below(&dir.open_dir(&entry.name)?)).collect::<Result<_, FsError>>()?;
    let mut inodes: Vec<u64> = files.iter().map(|entry| entry.inode).collect();
    inodes.extend(below.into_iter().flatten());
    Ok(inodes)
}

/// What distinct inodes take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allocated {
    /// Allocated bytes of all of them.
    pub(super) all_bytes: u64,
    /// Allocated bytes of those that the previous snapshot does not have.
    pub(super) new_bytes: u64,
    /// All of them.
    pub(super) inodes: InodeSet,
}

impl Allocated {
    pub(super) fn of(mut inodes: Vec<InodeUse>, previous: Option<&Previous>) -> Self {
        inodes.par_sort_unstable();
        inodes.dedup_by_key(|inode| inode.inode);
        let known = |inode: &InodeUse| previous.is_some_and(|before| before.inodes.contains(inode.inode));
        Self {
            all_bytes: inodes.iter().map(|inode| inode.allocated_bytes).sum(),
            new_bytes: inodes.iter().filter(|inode| !known(inode)).map(|inode| inode.allocated_bytes).sum(),
            inodes: InodeSet::from_sorted(inodes.iter().map(|inode| inode.inode)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Allocated, Previous};
    use crate::exec::InodeUse;
    use crate::model::{InodeSet, SnapshotId};

    #[test]
    fn an_inode_counts_once_and_a_known_one_is_not_written() {
        let inode = |inode, allocated_bytes| InodeUse { inode, allocated_bytes };
        let id = SnapshotId::at("2026-11-22T02:00:00Z".parse().expect("a valid time"));
        let previous = Previous { id, inodes: InodeSet::from_sorted([2, 4]) };
        let inodes = vec![inode(1, 10), inode(2, 20), inode(1, 10), inode(3, 40)];
        let bytes = |written: Allocated| (written.all_bytes, written.new_bytes);
        assert_eq!(bytes(Allocated::of(inodes.clone(), Some(&previous))), (70, 50));
        assert_eq!(bytes(Allocated::of(inodes, None)), (70, 70));
    }
}
