//! The directory that a restore without a server writes into: what stands there, and what an interrupted run has left.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exec;
use crate::fs::{Dir, ErrorKind, FileLock, FsError, Mount, are_on_one_mount, create_path, mount_of, space};
use crate::ops::error::OpError;
use crate::ops::init::resolved;
use crate::plan::TargetDirectory;
use crate::repo::Repository;

/// Stands in the directory until what it holds is whole.
pub(super) const UNFINISHED: &str = ".chsnap-unfinished";
pub(super) const LOCK: &str = "lock";
pub(super) const TREE: &str = "tree";
const INTENT: &str = "intent.json";
const INTENT_LIMIT_BYTES: u64 = 1 << 20;

/// Made by `mkfs`, and in nobody's way.
const LOST_AND_FOUND: &str = "lost+found";

/// The names that a tree can have at its top.
const NAMES: [&str; 10] = [
    "data",
    "metadata",
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

/// What will be moved out of [`UNFINISHED`] when all of it is there.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Intent {
    names: Vec<String>,
}

/// Reads the directory, or the nearest one above it that exists. Changes nothing.
///
/// # Errors
/// If it cannot be read, or is no directory.
pub(super) fn survey(repository: &Repository, path: &Path) -> Result<TargetDirectory, OpError> {
    // Without a slash at its end.
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
    target.free_bytes = space(&dir)?.free_bytes;
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
    let mut intent = Intent::default();
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

/// The intent, as far as it names what can be ours.
fn read_intent(unfinished: &Dir) -> Result<Intent, FsError> {
    let bytes = unfinished.find_and_read(INTENT, INTENT_LIMIT_BYTES)?;
    let mut intent: Intent = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    intent.names.retain(|name| NAMES.contains(&name.as_str()));
    Ok(intent)
}

/// Opens the directory, and makes it if it is not there.
pub(super) fn open_or_create(repository: &Repository, path: &Path) -> Result<Dir, FsError> {
    match repository.dir().open_elsewhere(path) {
        // As the repository is changed by its verbs, so is this.
        Err(error) if error.kind() == ErrorKind::NotFound => create_path(path, 0o750, &repository.dir().verbs()),
        result => result,
    }
}

/// Removes what an interrupted run has left: its tree, and what it had moved out of that, by the names in its intent.
///
/// # Errors
/// If something else stands in the directory: without an intent nothing says that it is ours.
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

/// Moves all of the tree to its place, durably. A run that is killed meanwhile is one whose rerun [`clear`]s.
pub(super) fn publish(target: &Dir, unfinished: &Dir, tree: &Dir) -> Result<(), OpError> {
    let names: Vec<String> = tree.entries()?.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect();
    let intent = serde_json::to_vec(&Intent { names: names.clone() }).expect("an intent has only strings");
    unfinished.replace(INTENT, 0o600, &intent)?;
    target.sync()?;
    // What the new files lack, once and not for every file.
    unfinished.sync_filesystem()?;
    for name in &names {
        target.rename_from(tree, name, name)?;
    }
    target.sync()?;
    // From here on it is whole: what says that it is not goes last, and its own contents before it.
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
