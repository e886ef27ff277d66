//! Removes a tree of the repository in parallel.

use std::ffi::{OsStr, OsString};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;

use crate::fs::ErrorKind::{self, Exists, NotEmpty, WrongKind};
use crate::fs::{Dir, Entry, EntryKind, FsError, is_network_filesystem};

/// The entries that were unlinked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files, and all other entries that are not directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
}

impl std::ops::AddAssign for Removed {
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.directories += other.directories;
    }
}

impl std::iter::Sum for Removed {
    fn sum<I: Iterator<Item = Self>>(iterator: I) -> Self {
        iterator.fold(Self::default(), |mut sum, removed| {
            sum += removed;
            sum
        })
    }
}

/// Directories deeper than this below the tree are moved to its top before they are emptied, so that neither the stack
/// nor the descriptors of this process depend on how deep a tree is. No snapshot is half as deep.
const DEPTH_LIMIT: usize = 16;

/// Removes `name` in `parent` and everything beneath it, directories in parallel, in the current pool.
///
/// A symbolic link is unlinked, never followed. An entry that has vanished already is not an error, so that an
/// interrupted removal can be resumed. `progress` is notified of each directory that was emptied.
///
/// # Errors
/// If something cannot be removed; as much as possible of the rest is gone then.
pub fn remove_tree(
    parent: &Dir,
    name: impl AsRef<OsStr>,
    progress: &(dyn Fn(Removed) + Sync),
) -> Result<Removed, FsError> {
    let name = name.as_ref();
    let Some(stat) = parent.find(name)? else { return Ok(Removed::default()) };
    if stat.kind != EntryKind::Directory {
        parent.remove_file(name)?;
        return Ok(Removed { files: 1, directories: 0 });
    }
    let Some((dir, mut entries)) = parent.find_and_list(name)? else { return Ok(Removed::default()) };
    let is_on_network = is_network_filesystem(&dir);
    let tree = TreeRemoval { top: &dir, is_on_network, raised: AtomicU64::new(0), progress };
    let mut removed = Removed::default();
    loop {
        let before = tree.raised.load(Ordering::Relaxed);
        removed += tree.empty(&dir, entries, 0)?;
        if tree.raised.load(Ordering::Relaxed) == before {
            break;
        }
        entries = dir.entries_with_kind()?;
    }
    drop(dir);
    if if_present(parent.remove_dir(name))? {
        removed.directories += 1;
    }
    Ok(removed)
}

/// Emptied directories in one directory.
///
/// On local disks, the thread that empties a directory removes it while it is still open: Linux then frees its blocks
/// when it is closed, on all threads at once. The blocks of a directory that no process has open are freed within
/// `rmdir`, with the directory above locked, and on a filesystem that is mounted with `discard` that waits for the disk
/// each time.
///
/// On a network filesystem each call is a round trip, and calls in one directory queue. There, one thread removes what
/// others have left meanwhile, and the others do not wait for it.
struct EmptiedDirectories<'a> {
    dir: &'a Dir,
    is_on_network: bool,
    names: Mutex<Vec<OsString>>,
    removed: Mutex<Removed>,
}

impl EmptiedDirectories<'_> {
    /// Removes an empty directory, or leaves that to the thread that is removing already. What `removed` counts is not
    /// in the answer.
    fn take_away(&self, name: &OsStr) -> Result<Removed, FsError> {
        if !self.is_on_network {
            let was_there = if_present(self.dir.remove_dir(name))?;
            return Ok(Removed { files: 0, directories: u64::from(was_there) });
        }
        self.names.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        if let Ok(mut removed) = self.removed.try_lock() {
            self.remove_queued(&mut removed)?;
        }
        Ok(Removed::default())
    }

    fn remove_rest(self) -> Result<Removed, FsError> {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_queued(&mut removed)?;
        Ok(*removed)
    }

    fn remove_queued(&self, removed: &mut Removed) -> Result<(), FsError> {
        let mut first_error = None;
        loop {
            let next = self.names.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(name) = next else { return first_error.map_or(Ok(()), Err) };
            match if_present(self.dir.remove_dir(&name)) {
                Ok(was_there) => removed.directories += u64::from(was_there),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
    }
}

/// A tree that is being removed.
struct TreeRemoval<'a> {
    top: &'a Dir,
    is_on_network: bool,
    /// How many directories were moved to its top.
    raised: AtomicU64,
    progress: &'a (dyn Fn(Removed) + Sync),
}

impl TreeRemoval<'_> {
    /// Empties a directory, given with its listing.
    fn empty(&self, dir: &Dir, entries: Vec<Entry>, depth: usize) -> Result<Removed, FsError> {
        let (directories, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.kind == EntryKind::Directory);
        let mut first_error = None;
        let mut own = Removed::default();
        for entry in &files {
            match if_present(dir.remove_file(&entry.name)) {
                Ok(was_there) => own.files += u64::from(was_there),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        (self.progress)(own);
        if depth == DEPTH_LIMIT {
            for entry in &directories {
                first_error = first_error.or(self.raise(dir, &entry.name).err());
            }
            return first_error.map_or(Ok(own), Err);
        }
        let is_on_network = self.is_on_network;
        let emptied = EmptiedDirectories { dir, is_on_network, names: Mutex::default(), removed: Mutex::default() };
        let empty_one = |name: &OsStr| -> Result<Removed, FsError> {
            let (below, entries) = dir.open_and_list(name)?;
            let mut removed = self.empty(&below, entries, depth + 1)?;
            removed += emptied.take_away(name)?;
            drop(below);
            Ok(removed)
        };
        let below: Vec<_> = directories.par_iter().map(|entry| empty_one(&entry.name)).collect();
        for result in below {
            match result {
                Ok(removed) => own += removed,
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        match emptied.remove_rest() {
            Ok(removed) => own += removed,
            Err(error) => first_error = first_error.or(Some(error)),
        }
        first_error.map_or(Ok(own), Err)
    }

    /// Moves a directory to the top, under a name that does not exist there.
    fn raise(&self, dir: &Dir, name: &OsStr) -> Result<(), FsError> {
        loop {
            let number = self.raised.fetch_add(1, Ordering::Relaxed);
            match self.top.rename_from(dir, name, format!("raised-{number}")) {
                Err(error) if matches!(error.kind(), Exists | NotEmpty | WrongKind) => {}
                result => return if_present(result).map(drop),
            }
        }
    }
}

fn if_present(result: Result<(), FsError>) -> Result<bool, FsError> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
