//! The directory that a restore without a server writes into: its contents, and what an interrupted run left.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exec;
use crate::fs::{Dir, ErrorKind, FileLock, FsError, Mount, are_on_one_mount, create_path, mount_of, space};
use crate::ops::error::OpError;
use crate::ops::init::resolved;
use crate::plan::{BACKUP_LIST, TargetDirectory};
use crate::repo::Repository;

/// Exists in the directory until the contents are complete.
pub(super) const UNFINISHED: &str = ".chsnap-unfinished";
pub(super) const LOCK: &str = "lock";
pub(super) const TREE: &str = "tree";
const INTENT: &str = "intent.json";
const INTENT_LIMIT_BYTES: u64 = 1 << 20;

/// Created by `mkfs`; ignored.
const LOST_AND_FOUND: &str = "lost+found";

/// The names at the top level of a tree.
const NAMES: [&str; 12] = [
    BACKUP_LIST,
    "data",
    "metadata",
    "dumps",
    "user_defined",
    "access",
    "named_collections",
    "workload",
    "executable_functions",
    "user_scripts",
    "configs",
    "local",
];

/// Filesystems in which files can share blocks (`FICLONE`).
const SHARING: [&str; 4] = ["btrfs", "xfs", "bcachefs", "ocfs2"];

/// The entries that will be moved out of [`UNFINISHED`] once all of them exist.
#[derive(Debug, Default, Serialize, Deserialize)]
struct DirectoryIntent {
    names: Vec<String>,
}

/// Reads the directory, or its nearest existing parent. Changes nothing.
///
/// # Errors
/// If it cannot be read, or is not a directory.
pub(super) fn survey(repository: &Repository, path: &Path) -> Result<TargetDirectory, OpError> {
    // Without a trailing slash.
    let path: PathBuf = resolved(path).components().collect();
    let mut target = TargetDirectory {
        is_in_repository: path.starts_with(resolved(repository.path())),
        path: path.clone(),
        ..TargetDirectory::default()
    };
    let dir = match repository.dir().open_elsewhere(&path) {
        Ok(dir) => {
            target.exists = true;
            survey_entries(&dir, &mut target)?;
            dir
        }
        Err(error) if error.kind() == ErrorKind::NotFound => nearest_above(repository, &path)?,
        Err(error) => return Err(error.into()),
    };
    let (here, there) = (mount_of(repository.dir())?, mount_of(&dir)?);
    target.is_on_same_mount = are_on_one_mount(repository.dir(), &dir)?;
    target.shares_blocks = here.zip(there).is_some_and(|(here, there)| share_blocks(&here, &there));
    target.room = space(&dir)?.room();
    Ok(target)
}

fn share_blocks(here: &Mount, there: &Mount) -> bool {
    let can = SHARING.contains(&here.filesystem.as_str());
    can && (&here.filesystem, &here.source) == (&there.filesystem, &there.source)
}

fn nearest_above(repository: &Repository, path: &Path) -> Result<Dir, FsError> {
    for above in path.ancestors().skip(1) {
        match repository.dir().open_elsewhere(above) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return result,
        }
    }
    repository.dir().open_elsewhere(Path::new("/"))
}

fn survey_entries(dir: &Dir, target: &mut TargetDirectory) -> Result<(), FsError> {
    let mut intent = DirectoryIntent::default();
    let unfinished = dir.find_beneath(Path::new(UNFINISHED))?;
    if let Some(unfinished) = &unfinished {
        intent = read_intent(unfinished)?;
        let has_lock = unfinished.find(LOCK)?.is_some();
        target.is_in_use = has_lock && FileLock::try_share(unfinished, LOCK)?.is_none();
    }
    for entry in dir.entries()? {
        let name = entry.name.to_string_lossy().into_owned();
        if name == UNFINISHED && unfinished.is_some() || intent.names.contains(&name) {
            target.leftovers.push(name);
        } else if name != LOST_AND_FOUND {
            target.foreign.push(name);
        }
    }
    target.leftovers.sort_unstable();
    target.foreign.sort_unstable();
    Ok(())
}

/// The intent, reduced to names that can be ours.
fn read_intent(unfinished: &Dir) -> Result<DirectoryIntent, FsError> {
    let bytes = unfinished.find_and_read(INTENT, INTENT_LIMIT_BYTES)?;
    let mut intent: DirectoryIntent = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    intent.names.retain(|name| NAMES.contains(&name.as_str()));
    Ok(intent)
}

/// The directory and its parents that do not exist, the deepest first.
///
/// # Errors
/// If that cannot be determined.
pub(super) fn missing(repository: &Repository, path: &Path) -> Result<Vec<PathBuf>, FsError> {
    let mut missing = Vec::new();
    for above in path.ancestors() {
        match repository.dir().open_elsewhere(above) {
            Err(error) if error.kind() == ErrorKind::NotFound => missing.push(above.to_owned()),
            result => {
                result?;
                break;
            }
        }
    }
    Ok(missing)
}

/// Opens the directory, or creates it if it does not exist.
pub(super) fn open_or_create(repository: &Repository, path: &Path) -> Result<Dir, FsError> {
    match repository.dir().open_elsewhere(path) {
        // Changed through the same `Mutations` as the repository.
        Err(error) if error.kind() == ErrorKind::NotFound => create_path(path, 0o750, &repository.dir().verbs()),
        result => result,
    }
}

/// Removes what an interrupted run left: its tree, and the entries that it had moved out of that, which its intent
/// names.
///
/// # Errors
/// If the directory contains anything else: without an intent nothing proves that it is ours.
pub(super) fn clear(target: &Dir, unfinished: &Dir) -> Result<(), OpError> {
    for name in read_intent(unfinished)?.names {
        exec::remove_tree(target, name, &|_| ())?;
    }
    target.sync()?;
    exec::remove_tree(unfinished, TREE, &|_| ())?;
    if unfinished.find(INTENT)?.is_some() {
        unfinished.remove_file(INTENT)?;
    }
    if let Some(entry) = target.entries()?.iter().find(|entry| entry.name != UNFINISHED && entry.name != LOST_AND_FOUND)
    {
        let entry = entry.name.to_string_lossy().into_owned();
        return Err(OpError::TargetNotEmpty { path: target.path().to_owned(), entry });
    }
    Ok(())
}

/// Durably moves the whole tree to its place. If it is killed meanwhile, a rerun [`clear`]s what it left.
pub(super) fn publish(target: &Dir, unfinished: &Dir, tree: &Dir) -> Result<(), OpError> {
    let mut names: Vec<String> =
        tree.entries()?.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect();
    // `.backup` sorts before all letters: it comes last, so that no partial tree looks like a backup.
    names.sort_unstable_by(|a, b| b.cmp(a));
    let intent = serde_json::to_vec(&DirectoryIntent { names: names.clone() }).expect("an intent has only strings");
    unfinished.replace(INTENT, 0o600, &intent)?;
    target.sync()?;
    // Syncs the new files in one call instead of one for each file.
    unfinished.sync_filesystem()?;
    for name in &names {
        target.rename_from(tree, name, name)?;
    }
    target.sync()?;
    // From here on the tree is complete: the mark of an unfinished one is removed last, and its contents before it.
    exec::remove_tree(unfinished, TREE, &|_| ())?;
    unfinished.remove_file(INTENT)?;
    exec::remove_tree(target, UNFINISHED, &|_| ())?;
    Ok(target.sync()?)
}

/// Removes the directory if nothing is left in it.
pub(super) fn remove_if_empty(target: &Dir) -> Result<(), FsError> {
    let path = target.path();
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    target.open_elsewhere(parent)?.remove_dir(name)
}
