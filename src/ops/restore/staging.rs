//! The directories in which tables are assembled before a server knows them.
//!
//! `<disk>/chsnap_restore_<UTC digits>_<random>/` is next to `store/` and `data/`, where no server looks. A table is
//! moved from there to its place by one rename, right before it is attached. Before that, the intent of the restore is
//! written there and locked: the lock ends with the process.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::exec;
use crate::fs::{self, Dir, FsError};
use crate::model::{RESTORE_PREFIX, SnapshotId, run_name};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{BegunAccess, RestoreEntry};

use super::locked_dir::{LockedDir, random};

pub(super) const INTENT: &str = "intent.json";
pub(super) const INTENT_LIMIT_BYTES: u64 = 64 << 20;

/// The next step of a restore.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RestoreIntent {
    pub(super) snapshot: SnapshotId,
    pub(super) host: String,
    pub(super) pid: u32,
    pub(super) started: DateTime<Utc>,
    pub(super) tables: Vec<RestoreEntry>,
    /// Users, roles … that are being created: until all their statements were sent they may lack grants.
    #[serde(default)]
    pub(super) access: Vec<BegunAccess>,
    /// The paths of disks that definitions describe themselves, as the server sees them. After a restart the server
    /// does not list such a disk until a table on it is attached.
    #[serde(default)]
    pub(super) described_disks: BTreeMap<String, PathBuf>,
}

/// The directories of one restore, one for each disk.
#[derive(Debug)]
pub(super) struct Staging {
    name: String,
    own: LockedDir,
    intent: Mutex<RestoreIntent>,
    disks: BTreeMap<String, Dir>,
}

/// A word that every statement of one restore contains, and the name of its directories.
pub(super) fn new_name(now: DateTime<Utc>) -> Result<String, OpError> {
    Ok(run_name(RESTORE_PREFIX, now, random()?))
}

impl Staging {
    /// Creates the directory on the server's own disk, and records what is about to be done.
    ///
    /// # Errors
    /// If it cannot be written durably.
    pub(super) fn begin(
        local: &LocalDisks,
        name: &str,
        snapshot: SnapshotId,
        now: DateTime<Utc>,
        tables: Vec<RestoreEntry>,
    ) -> Result<Self, OpError> {
        let disk = local.own().expect("the server's own disk is open");
        let own = LockedDir::create(&disk.dir, name)?;
        let intent = RestoreIntent {
            snapshot,
            host: fs::host_name(),
            pid: std::process::id(),
            started: now,
            tables,
            access: Vec::new(),
            described_disks: BTreeMap::new(),
        };
        let disks = BTreeMap::from([(disk.disk.name.clone(), own.dir.clone())]);
        let staging = Self { name: name.to_owned(), disks, own, intent: Mutex::new(intent) };
        staging.change_intent(|_| ())?;
        disk.dir.sync()?;
        Ok(staging)
    }

    /// Records what else is about to be done.
    ///
    /// # Errors
    /// If it cannot be written durably.
    pub(super) fn note(&self, tables: Vec<RestoreEntry>) -> Result<(), OpError> {
        self.change_intent(|intent| intent.tables.extend(tables))
    }

    /// Records the tables for which parts are placed, and the paths of the disks that their definitions describe.
    ///
    /// # Errors
    /// If it cannot be written durably.
    pub(super) fn note_places(
        &self,
        tables: Vec<RestoreEntry>,
        described_disks: BTreeMap<String, PathBuf>,
    ) -> Result<(), OpError> {
        self.change_intent(|intent| {
            intent.tables.extend(tables);
            intent.described_disks = described_disks;
        })
    }

    /// Records which users, roles … are being created; an empty list means that none are any more.
    ///
    /// # Errors
    /// If it cannot be written durably.
    pub(super) fn note_access(&self, access: Vec<BegunAccess>) -> Result<(), OpError> {
        if self.intent.lock().unwrap_or_else(PoisonError::into_inner).access == access {
            return Ok(());
        }
        self.change_intent(|intent| intent.access = access)
    }

    /// Changes the intent, and writes it.
    fn change_intent(&self, change: impl FnOnce(&mut RestoreIntent)) -> Result<(), OpError> {
        let mut intent = self.intent.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut intent);
        let bytes = serde_json::to_vec_pretty(&*intent).expect("an intent has only string keys");
        Ok(self.own.dir.replace(INTENT, 0o600, &bytes)?)
    }

    /// The directory on a disk, created if it does not exist yet.
    pub(super) fn dir(&mut self, local: &LocalDisks, disk: &str) -> Result<Dir, OpError> {
        if let Some(dir) = self.disks.get(disk) {
            return Ok(dir.clone());
        }
        let local = local.named(disk).ok_or_else(|| OpError::NoDisk { disk: disk.to_owned() })?;
        let dir = local.dir.ensure_dir(&self.name, 0o700)?;
        self.disks.insert(disk.to_owned(), dir.clone());
        Ok(dir)
    }

    /// The directory on a disk, if it has one.
    pub(super) fn find(&self, disk: &str) -> Option<&Dir> {
        self.disks.get(disk)
    }

    /// Makes everything in the directories durable.
    pub(super) fn sync(&self) -> Result<(), FsError> {
        self.disks.values().try_for_each(Dir::sync_filesystem)
    }

    /// Removes the directories, and with the last of them the intent.
    pub(super) fn finish(self, local: &LocalDisks) -> Result<(), FsError> {
        for disk in self.disks.keys() {
            if let Some(local) =
                local.named(disk).filter(|_| self.disks.get(disk).map(Dir::path) != Some(self.own.dir.path()))
            {
                exec::remove_tree(&local.dir, &self.name, &|_| ())?;
            }
        }
        if let Some(own) = local.own() {
            exec::remove_tree(&own.dir, &self.name, &|_| ())?;
        }
        Ok(())
    }
}
