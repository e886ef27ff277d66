//! Replaces a damaged entry of a snapshot by a link to an intact copy.

use std::path::Path;

use crate::fs::{Dir, EntryKind, FsError};

use super::finding::InodeKey;
use super::search::IntactFile;

/// Why an entry was not replaced. The entry is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The directory that should contain it is missing.
    #[error("its directory is missing")]
    NoDirectory,
    /// The entry there is no longer the one that was found damaged.
    #[error("it is not what was found there before")]
    Changed,
    /// A directory cannot be replaced in one step, and its content is unknown.
    #[error("a directory is in its place: check its content, and move it away")]
    Directory,
    /// A system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// The name of the link until it replaces the entry.
const LINK: &str = "intact";

/// Replaces the entry at `path` in a snapshot by a link to `copy`, atomically: the link is created in `scratch`, which
/// is the repository's own, and renamed over the entry. `damaged` is the current inode at that path; `None` if nothing
/// is there, or something that is not a file.
///
/// The damaged inode itself is not touched: others may link it. The directory keeps its modification time.
///
/// # Errors
/// If something else is there by now, or the filesystem refuses. The entry is then unchanged; if only the last sync
/// failed, the entry is replaced but not durable.
pub fn relink(
    snapshot: &Dir,
    path: &Path,
    damaged: Option<InodeKey>,
    copy: &IntactFile,
    scratch: &Dir,
) -> Result<(), RepairError> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let (Some(name), Some(copy_name)) = (path.file_name(), copy.path.file_name()) else {
        return Err(RepairError::Changed);
    };
    let dir = snapshot.find_beneath(parent)?.ok_or(RepairError::NoDirectory)?;
    match (dir.find(name)?, damaged) {
        // Two things were wrong with the entry, and repairing the first has replaced it already.
        (Some(there), _) if InodeKey::from(&there) == copy.inode => return Ok(()),
        (Some(there), Some(damaged)) if InodeKey::from(&there) == damaged => {}
        (Some(there), None) if there.kind == EntryKind::Directory => return Err(RepairError::Directory),
        (Some(there), None) if there.kind != EntryKind::File => {}
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
