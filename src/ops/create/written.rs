//! What a snapshot has that the one before it has not.

use std::path::Path;

use rayon::prelude::*;

use crate::exec::InodeUse;
use crate::fs::{Dir, Entry, FsError, Kind};
use crate::model::SnapshotId;
use crate::ops::error::OpError;
use crate::repo::{Index, Repository, Summary};

/// The inodes of the newest snapshot.
#[derive(Debug)]
pub(super) struct Previous {
    pub(super) id: SnapshotId,
    /// Sorted.
    inodes: Vec<u64>,
}

/// Reads the inode numbers of the newest complete snapshot off its directories: no file of it is touched.
///
/// Inode numbers compare because both snapshots are on one filesystem.
pub(super) fn previous_inodes(repository: &Repository) -> Result<Option<Previous>, OpError> {
    let index = Index::open(repository)?;
    let Some(id) =
        index.summaries().iter().rev().find(|summary| Summary::is_complete(summary)).map(|summary| summary.id)
    else {
        return Ok(None);
    };
    let mut inodes = Vec::new();
    if let Some(data) = repository.snapshot_dir(id)?.find_beneath(Path::new("data"))? {
        inodes = files_below(&data, DEPTH)?;
        inodes.par_sort_unstable();
    }
    Ok(Some(Previous { id, inodes }))
}

/// Databases, tables, parts, projections, and what a newer server may nest in them. What stands deeper nobody made.
const DEPTH: usize = 8;

fn files_below(dir: &Dir, depth: usize) -> Result<Vec<u64>, FsError> {
    let (directories, files): (Vec<_>, Vec<_>) =
        dir.entries_with_kind()?.into_iter().partition(|entry| entry.kind == Kind::Directory);
    let deeper = depth.checked_sub(1).map(|depth| (depth, directories));
    let below = |(depth, directories): (usize, Vec<Entry>)| {
        let below = directories.par_iter().map(|entry| files_below(&dir.open_dir(&entry.name)?, depth));
        below.collect::<Result<Vec<Vec<u64>>, FsError>>()
    };
    let below = deeper.map_or(Ok(Vec::new()), below)?;
    let mut inodes: Vec<u64> = files.iter().map(|entry| entry.inode).collect();
    inodes.extend(below.into_iter().flatten());
    Ok(inodes)
}

/// Allocated bytes of all distinct inodes, and of those that the previous snapshot does not have.
pub(super) fn allocated_and_written(mut inodes: Vec<InodeUse>, previous: Option<&Previous>) -> (u64, u64) {
    inodes.par_sort_unstable();
    inodes.dedup_by_key(|inode| inode.inode);
    let mut before = previous.map_or(&[][..], |before| &before.inodes).iter().peekable();
    let (mut allocated, mut written) = (0, 0);
    for inode in &inodes {
        while before.next_if(|before| **before < inode.inode).is_some() {}
        allocated += inode.allocated_bytes;
        if before.peek() != Some(&&inode.inode) {
            written += inode.allocated_bytes;
        }
    }
    (allocated, written)
}

#[cfg(test)]
mod tests {
    use super::{Previous, allocated_and_written};
    use crate::exec::InodeUse;
    use crate::model::SnapshotId;

    #[test]
    fn an_inode_counts_once_and_a_known_one_is_not_written() {
        let inode = |inode, allocated_bytes| InodeUse { inode, allocated_bytes };
        let id = SnapshotId::at("2026-11-22T02:00:00Z".parse().expect("a valid time"));
        let previous = Previous { id, inodes: vec![2, 4] };
        let inodes = vec![inode(1, 10), inode(2, 20), inode(1, 10), inode(3, 40)];
        assert_eq!(allocated_and_written(inodes.clone(), Some(&previous)), (70, 50));
        assert_eq!(allocated_and_written(inodes, None), (70, 70));
    }
}
