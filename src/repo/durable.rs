//! Makes a snapshot durable before it is committed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::fs::{self, Dir, EntryKind, FsError};
use crate::model::Placement;

use super::layout::part_path;
use super::parts::PartRecord;

/// Makes the snapshot in `dir`, which consists of these parts, durable.
///
/// # Errors
/// If the filesystem could not write something.
pub(super) fn sync_snapshot(dir: &Dir, records: &[PartRecord]) -> Result<(), FsError> {
    dir.sync_filesystem()?;
    if fs::is_fuse(dir) {
        // A part that is linked as a whole from a sealed snapshot was synced with that snapshot.
        let linked = records.iter().filter(|record| record.placed == Placement::Linked && record.from.is_some());
        let path = |record: &PartRecord| part_path(&record.table, &record.part);
        let durable: HashSet<PathBuf> = linked.map(path).collect();
        sync_each(dir, Path::new(""), &|path| durable.contains(path), false)?;
    }
    Ok(())
}

/// Syncs all directories below `dir`, whose path in the snapshot is `path`, and each file that is not durable yet.
fn sync_each(
    dir: &Dir,
    path: &Path,
    is_durable: &(dyn Fn(&Path) -> bool + Sync),
    above_is_durable: bool,
) -> Result<(), FsError> {
    let is_synced = above_is_durable || is_durable(path);
    dir.entries_with_kind()?.par_iter().try_for_each(|entry| match entry.kind {
        EntryKind::Directory => sync_each(&dir.open_dir(&entry.name)?, &path.join(&entry.name), is_durable, is_synced),
        EntryKind::File if !is_synced => dir.sync_file(&entry.name),
        _ => Ok(()),
    })?;
    dir.sync()
}
