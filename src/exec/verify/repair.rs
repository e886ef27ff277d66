//! A damaged entry of a snapshot replaced by a link of an intact copy.

use std::path::Path;

use crate::fs::{Dir, FsError, Kind};

use super::finding::InodeKey;
use super::search::Copy;

/// Why an entry was not replaced. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory that it should stand in is not there.
    #[error("the directory that it should stand in is not there")]
    NoDirectory,
    /// What stands there is not what was found damaged.
    #[error("it is not what was found there before")]
    Changed,
    /// A directory cannot be replaced at one stroke, and what is in it is not known.
    #[error("a directory stands in its place: look what is in it, and move it away")]
    Directory,
    /// A system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// What a link is called until it takes its place.
const LINK: &str = "intact";

/// Replaces the entry at `path` in a snapshot by a link of `copy`, at one stroke: the link is made in `scratch`, which is
/// the repository's own, and renamed over the entry. `damaged` is the inode that stands there; none where nothing does, or
/// something that is no file.
///
/// The damaged inode itself is not touched: others may link it. The directory keeps its modification time.
///
/// # Errors
/// If something else stands there by now, or the filesystem refuses; then the entry is as it was, or, where only the last
/// sync failed, replaced and not durable.
pub fn relink(
    snapshot: &Dir,
    path: &Path,
    damaged: Option<InodeKey>,
    copy: &Copy,
    scratch: &Dir,
) -> Result<(), RepairError> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let (Some(name), Some(copy_name)) = (path.file_name(), copy.path.file_name()) else {
        return Err(RepairError::Changed);
    };
    let dir = snapshot.find_beneath(parent)?.ok_or(RepairError::NoDirectory)?;
    match (dir.find(name)?, damaged) {
        // Two things were wrong with it, and this was done for the first.
        (Some(there), _) if InodeKey::from(&there) == copy.inode => return Ok(()),
        (Some(there), Some(damaged)) if InodeKey::from(&there) == damaged => {}
        (Some(there), None) if there.kind == Kind::Directory => return Err(RepairError::Directory),
        (Some(there), None) if there.kind != Kind::File => {}
        (None, None) => {}
        _ => return Err(RepairError::Changed),
    }
    let modified = dir.stat_self()?.modified;
    scratch.link_from(&copy.dir, copy_name, LINK)?;
    let linked = scratch.stat(LINK).map(|stat| InodeKey::from(&stat) == copy.inode);
    let replaced = match linked {
        Ok(true) => dir.rename_from(scratch, LINK, name).map_err(RepairError::from),
        Ok(false) => Err(RepairError::Changed),
        Err(error) => Err(error.into()),
    };
    if let Err(error) = replaced {
        if let Err(error) = scratch.remove_file(LINK) {
            tracing::debug!(%error, "a link stays in the trash for the next gc");
        }
        return Err(error);
    }
    if let Err(error) = dir.set_modified(modified) {
        tracing::debug!(%error, "the directory of what was repaired has a new modification time");
    }
    dir.sync()?;
    Ok(())
}
