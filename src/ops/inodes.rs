//! The inodes of a snapshot's parts: the next snapshot's written bytes are those of inodes not among them.

use std::path::Path;

use rayon::prelude::*;

use crate::fs::{Dir, Entry, EntryKind, FsError};
use crate::model::{InodeSet, SnapshotId};
use crate::repo::{self, Index, RepoError, Repository};

/// The inodes of the parts of the snapshot `id`, which is open as `snapshot`: from the index, else from its
/// directories.
///
/// # Errors
/// If a directory cannot be read.
pub(super) fn inodes_of(
    repository: &Repository,
    index: &Index,
    id: SnapshotId,
    snapshot: &Dir,
) -> Result<InodeSet, RepoError> {
    if let Some(inodes) = index.inodes(repository, id) {
        return Ok(inodes);
    }
    let data = snapshot.find_beneath(Path::new(repo::DATA))?;
    Ok(data.as_ref().map(inodes_below).transpose()?.unwrap_or_default())
}

/// Reads the inode numbers of a snapshot from its directories, without touching a file in it.
fn inodes_below(data: &Dir) -> Result<InodeSet, FsError> {
    Ok(files_below(data, DEPTH)?.into_iter().collect())
}

/// Databases, tables, parts, projections, and what a newer server may nest in them. chsnap creates nothing deeper.
const DEPTH: usize = 8;

fn files_below(dir: &Dir, depth: usize) -> Result<Vec<u64>, FsError> {
    let (directories, files): (Vec<_>, Vec<_>) =
        dir.entries_with_kind()?.into_iter().partition(|entry| entry.kind == EntryKind::Directory);
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
