//! Directories next to a server's data that belong to one run, and are locked while that run lives.

use std::path::Path;

use crate::exec;
use crate::fs::{Dir, EntryKind, ErrorKind, FileLock, FsError};
use crate::model::is_run_name;
use crate::ops::error::OpError;
use crate::repo::RepoError;

pub(super) const LOCK: &str = "lock";

/// How many times a directory is created if another run takes it for a leftover each time.
const ATTEMPTS: u32 = 5;

/// Returns 32 random bits.
pub(in crate::ops) fn random() -> Result<u32, OpError> {
    let mut bits = [0; 4];
    getrandom::fill(&mut bits).map_err(|error| RepoError::Random { reason: error.to_string() })?;
    Ok(u32::from_ne_bytes(bits))
}

/// A directory of this run with its lock, which the system releases when the process ends.
#[derive(Debug)]
pub(in crate::ops) struct LockedDir {
    pub(in crate::ops) dir: Dir,
    _lock: FileLock,
}

impl LockedDir {
    /// Creates the directory `name`, which no other run ever sees without its lock: it is created and locked under a
    /// hidden name, and then renamed.
    ///
    /// # Errors
    /// If it cannot be written durably.
    pub(in crate::ops) fn create(parent: &Dir, name: &str) -> Result<Self, OpError> {
        let hidden = format!(".{name}");
        let mut last = None;
        for _ in 0..ATTEMPTS {
            parent.create_dir(&hidden, 0o700)?;
            // Until it is locked, another run may take it for a leftover: then one of these calls fails.
            let locked = (|| -> Result<Option<FileLock>, FsError> {
                let dir = parent.open_dir(&hidden)?;
                let Ok(lock) = FileLock::try_acquire(&dir, LOCK)? else { return Ok(None) };
                parent.rename_from(parent, &hidden, name)?;
                Ok(Some(lock))
            })();
            match locked {
                Ok(Some(lock)) => {
                    parent.sync()?;
                    return Ok(Self { dir: parent.open_dir(name)?, _lock: lock });
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => last = Some(error),
                Err(error) => {
                    exec::remove_tree(parent, &hidden, &|_| ())?;
                    return Err(error.into());
                }
            }
            exec::remove_tree(parent, &hidden, &|_| ())?;
        }
        Err(last.map_or_else(|| OpError::TargetInUse { path: parent.path().join(name) }, OpError::from))
    }
}

/// Directories of this kind whose runs are over.
#[derive(Debug, Default)]
pub(in crate::ops) struct Abandoned {
    /// Names of the visible ones.
    pub(in crate::ops) names: Vec<String>,
    /// Names of those that were never locked: they can contain only a lock file.
    pub(in crate::ops) hidden: Vec<String>,
}

/// Whether no run holds the directory's lock.
fn is_over(parent: &Dir, name: &str) -> Result<bool, FsError> {
    match parent.find_beneath(Path::new(name))? {
        Some(dir) if dir.find(LOCK)?.is_some() => Ok(FileLock::try_hold(&dir, LOCK)?.is_some()),
        _ => Ok(true),
    }
}

/// Finds the directories with this prefix whose runs are over. Every visible one is locked while its run lives.
pub(in crate::ops) fn abandoned(parent: &Dir, prefix: &str) -> Result<Abandoned, FsError> {
    let mut found = Abandoned::default();
    for entry in parent.entries_with_kind()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let Ok(name) = entry.name.into_string() else { continue };
        let hidden = name.strip_prefix('.').is_some_and(|name| is_run_name(prefix, name));
        if (hidden || is_run_name(prefix, &name)) && is_over(parent, &name)? {
            let list = if hidden { &mut found.hidden } else { &mut found.names };
            list.push(name);
        }
    }
    found.names.sort_unstable();
    Ok(found)
}
