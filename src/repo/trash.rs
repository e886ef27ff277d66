//! Snapshots on their way out: renamed into `trash/`, restored from there, or unlinked.
//!
//! `trash/<id>` can be restored. A name with a suffix after the id is being unlinked and cannot.

use std::collections::BTreeSet;
use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::fs::{Dir, EntryKind, ErrorKind};
use crate::model::SnapshotId;

use super::error::RepoError;
use super::event::{Event, Removal};
use super::lease::{Readers, readers};
use super::lock::Locked;
use super::repository::{MANIFEST_LIMIT_BYTES, Repository, SnapshotState, random};

const CONDEMNED: &str = ".deleting";
const DISCARDED: &str = ".discarded";

/// Entries to be unlinked.
#[derive(Debug)]
pub struct ToRemove {
    /// The directory that it is in.
    pub trash: Dir,
    /// Its names there.
    pub names: Vec<String>,
    /// The snapshots among them that could be restored until now.
    pub ids: Vec<SnapshotId>,
    /// The snapshots that stay because they have readers.
    pub leased: Vec<SnapshotId>,
}

/// A directory for probes. Dropping it removes it with the files and empty directories in it.
#[derive(Debug)]
pub struct ScratchDir {
    parent: Dir,
    name: String,
    dir: Dir,
}

impl ScratchDir {
    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Writes a file, makes it durable and removes it.
    ///
    /// # Errors
    /// If one of these fails.
    pub fn write_probe(&self) -> Result<(), RepoError> {
        self.dir.write_new("probe", 0o600, b"probe")?;
        Ok(self.dir.remove_file("probe")?)
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        let removed = (|| {
            for entry in self.dir.entries_with_kind()? {
                if entry.kind == EntryKind::Directory {
                    self.dir.remove_dir(&entry.name)?;
                } else {
                    self.dir.remove_file(&entry.name)?;
                }
            }
            self.parent.remove_dir(&self.name)
        })();
        if let Err(error) = removed {
            tracing::debug!(%error, "a probe stays in the trash for the next gc");
        }
    }
}

impl Repository {
    /// The removed snapshots that can be restored.
    ///
    /// # Errors
    /// If `trash/` cannot be read.
    pub fn removed_ids(&self) -> Result<Vec<SnapshotId>, RepoError> {
        let Some(trash) = self.find_dir("trash")? else { return Ok(Vec::new()) };
        let mut ids: Vec<SnapshotId> = trash
            .entries_with_kind()?
            .iter()
            .filter(|entry| entry.kind == EntryKind::Directory)
            .filter_map(|entry| entry.name.to_str()?.parse().ok())
            .collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// The directory of a removed snapshot that can be restored.
    ///
    /// # Errors
    /// If there is no such snapshot in the trash.
    pub fn removed_dir(&self, id: SnapshotId) -> Result<Dir, RepoError> {
        let relative = PathBuf::from("trash").join(id.to_string());
        self.dir().find_beneath(&relative)?.ok_or(RepoError::NoSnapshot { id, place: "trash/" })
    }

    /// Reads the manifest of a snapshot in the trash.
    ///
    /// # Errors
    /// If there is no such snapshot in the trash.
    pub fn removed_snapshot(&self, id: SnapshotId) -> Result<SnapshotState, RepoError> {
        let dir = self.removed_dir(id)?;
        Ok(match dir.read(Self::manifest_file_name(), MANIFEST_LIMIT_BYTES) {
            Ok(bytes) => Self::state(id, &bytes),
            Err(error) => SnapshotState::Damaged(crate::monitor::chain(&error)),
        })
    }
}

impl Locked<'_> {
    /// Moves snapshots to the trash. The event is journaled first, unless the journal has no room: an interrupted run
    /// has removed at most what the journal says, never more.
    ///
    /// # Errors
    /// If one of them is not there, or cannot be moved; those before it are in the trash.
    pub fn remove_snapshots(&self, ids: &[SnapshotId], removal: &Removal, now: DateTime<Utc>) -> Result<(), RepoError> {
        let (snapshots, trash) = (self.snapshots_dir()?, self.trash_dir()?);
        for id in ids {
            if snapshots.find(id.to_string())?.is_none() {
                return Err(RepoError::NoSnapshot { id: *id, place: "snapshots/" });
            }
        }
        self.record_if_there_is_room(now, &Event::Removed { ids: ids.to_vec(), removal: removal.clone() })?;
        for id in ids {
            self.confirm()?;
            trash.rename_from(&snapshots, id.to_string(), id.to_string())?;
        }
        self.sync_both(&snapshots, &trash)
    }

    /// Restores snapshots from the trash.
    ///
    /// # Errors
    /// If one of them is not there, or cannot be moved; those before it are back.
    pub fn restore_snapshots(&self, ids: &[SnapshotId], now: DateTime<Utc>) -> Result<(), RepoError> {
        let (snapshots, trash) = (self.snapshots_dir()?, self.trash_dir()?);
        for id in ids {
            if trash.find(id.to_string())?.is_none() {
                return Err(RepoError::NoSnapshot { id: *id, place: "trash/" });
            }
            if snapshots.find(id.to_string())?.is_some() {
                return Err(RepoError::SnapshotExists { id: *id });
            }
        }
        for id in ids {
            self.confirm()?;
            snapshots.rename_from(&trash, id.to_string(), id.to_string())?;
        }
        self.sync_both(&snapshots, &trash)?;
        self.record_if_there_is_room(now, &Event::Restored { ids: ids.to_vec() })?;
        Ok(())
    }

    fn sync_both(&self, a: &Dir, b: &Dir) -> Result<(), RepoError> {
        a.sync()?;
        b.sync()?;
        // The snapshots are where they belong: a link that cannot be updated is a nuisance, not a failure.
        if let Err(error) = self.update_latest() {
            tracing::warn!(error = crate::monitor::chain(&error), "latest is not updated");
        }
        Ok(())
    }

    /// Moves `from/name`, which is not a snapshot, to where the next emptying of the trash removes it.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub(super) fn discard(&self, from: &Dir, name: &str) -> Result<(), RepoError> {
        let trash = self.trash_dir()?;
        let unique = format!("{name}{DISCARDED}-{:08x}", random()? >> 96);
        self.confirm()?;
        trash.rename_from(from, name, &unique)?;
        Ok(())
    }

    /// Creates a directory for probes; the next emptying of the trash removes it if this process does not.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn scratch(&self, now: DateTime<Utc>) -> Result<ScratchDir, RepoError> {
        let parent = self.trash_dir()?;
        let name = format!("{}{DISCARDED}-{:08x}", SnapshotId::at(now), random()? >> 96);
        let dir = parent.ensure_dir(&name, 0o700)?;
        Ok(ScratchDir { parent, name, dir })
    }

    /// The entries of the trash that never were snapshots, with the directory that they are in.
    ///
    /// # Errors
    /// If the trash cannot be read.
    pub fn discarded(&self) -> Result<(Dir, Vec<String>), RepoError> {
        let trash = self.trash_dir()?;
        let entries = trash.entries()?;
        let names = entries.iter().filter_map(|entry| entry.name.to_str()).filter(|name| has_suffix(name, DISCARDED));
        let names = names.map(str::to_owned).collect();
        Ok((trash, names))
    }

    /// Renames everything in the trash, durably, so that nothing of it can be restored any more, and removes its pins.
    /// Snapshots in `spared`, and those that a reader has leased, are left alone.
    ///
    /// # Errors
    /// If the trash cannot be read or renamed in, or a pin cannot be removed.
    pub fn condemn_trash(&self, spared: &BTreeSet<SnapshotId>) -> Result<ToRemove, RepoError> {
        let trash = self.trash_dir()?;
        let (mut names, mut ids, mut leased) = (Vec::new(), Vec::new(), Vec::new());
        let marked = self.repository().marked_readers(&self.repository().removed_ids()?.into_iter().collect())?;
        for entry in trash.entries()? {
            let Some(name) = entry.name.to_str().map(str::to_owned) else { continue };
            if let Ok(id) = name.parse::<SnapshotId>() {
                if spared.contains(&id) {
                    continue;
                }
                // An entry that is not a directory was never a snapshot, and is removed as what it is.
                let readers = match trash.open_dir(&name) {
                    Ok(snapshot) => readers(&snapshot),
                    Err(error) if error.kind() == ErrorKind::WrongKind => Readers::None(None),
                    Err(error) => return Err(error.into()),
                };
                if matches!(readers, Readers::Reading) || marked.contains(&id) {
                    leased.push(id);
                    continue;
                }
                let condemned = format!("{name}{CONDEMNED}-{:08x}", random()? >> 96);
                self.confirm()?;
                trash.rename_from(&trash, &name, &condemned)?;
                drop(readers);
                ids.push(id);
                names.push(condemned);
            } else if is_ours(&name) {
                names.push(name);
            }
        }
        ids.sort_unstable();
        if !names.is_empty() {
            // Synced even if this call renamed nothing: the process that did may have been killed before its sync.
            trash.sync()?;
        }
        // Pins are removed now, while a name in the trash still shows to which snapshot they belong.
        for id in names.iter().filter_map(|name| name.split_once(CONDEMNED)?.0.parse().ok()) {
            // The same id may exist again: restored, or made within one second of a clock that was set back.
            if !self.repository().has_snapshot(id)? {
                self.forget_pin(id)?;
            }
        }
        leased.sort_unstable();
        Ok(ToRemove { trash, names, ids, leased })
    }
}

/// Whether chsnap gave this name in the trash: an id with one of our suffixes.
pub(super) fn is_ours(name: &str) -> bool {
    has_suffix(name, CONDEMNED) || has_suffix(name, DISCARDED)
}

fn has_suffix(name: &str, suffix: &str) -> bool {
    name.split_once(suffix).is_some_and(|(id, _)| id.parse::<SnapshotId>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::is_ours;

    #[test]
    fn only_names_of_ours_are_emptied_from_the_trash() {
        assert!(is_ours("2026-11-22T020000Z.deleting-00000001"));
        assert!(is_ours("2026-11-22T020000Z-2.discarded-00000001"));
        assert!(!is_ours("precious"));
        assert!(!is_ours("precious.deleting-1"));
    }
}
