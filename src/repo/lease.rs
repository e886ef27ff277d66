//! A reader's hold on a snapshot: while it lasts, nothing unlinks the snapshot.
//!
//! On a local filesystem a lease is a shared `flock` on the snapshot's `manifest.json`. Nothing is written, so a
//! repository that is mounted read-only works too, and the kernel releases the lock when its holder ends, however that
//! happens. On a network filesystem it is a mark in `readers/` that the reader renews (`mark.rs`), because a kernel
//! lock may be visible only on this host there; a reader that may not write there has no lease. A leased snapshot can
//! be moved to the trash, where its reader still has it by descriptor, but it is not unlinked from there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::fs::{self, Dir, ErrorKind, FileLock};
use crate::model::SnapshotId;

use super::error::RepoError;
use super::identity::{ProcessIdentity, ProcessState};
use super::manifest_digest::{ManifestDigest, check_manifest};
use super::mark::{Hold, LockMark, MarkRelease, Watch};
use super::repository::{MANIFEST_LIMIT_BYTES, Repository, SnapshotState};

/// A snapshot that is not unlinked as long as this value lives.
#[derive(Debug)]
pub struct Lease {
    id: SnapshotId,
    dir: Dir,
    _lock: Option<FileLock>,
    _hold: Option<Hold>,
}

const DIRECTORY: &str = "readers";
const TAG: &str = "read-";
const PAUSE: Duration = Duration::from_millis(500);

impl Repository {
    /// Takes a lease on a snapshot, before it is restored, verified or drilled.
    ///
    /// # Errors
    /// If the snapshot is not there, or is being unlinked, or its manifest cannot be opened.
    pub fn lease(&self, id: SnapshotId) -> Result<Lease, RepoError> {
        let removed = || RepoError::NoSnapshot { id, place: "snapshots/" };
        let dir = self.snapshot_dir(id)?;
        let (lock, hold) = if fs::is_network_filesystem(&dir) {
            (None, self.announce_reader(id)?)
        } else {
            (Some(FileLock::try_share(&dir, Self::manifest_file_name())?.ok_or_else(removed)?), None)
        };
        // Between the two calls above, the snapshot may have been removed and replaced by another one of its name.
        let is_same = self.snapshot_dir(id)?.stat_self()?.inode == dir.stat_self()?.inode;
        if is_same { Ok(Lease { id, dir, _lock: lock, _hold: hold }) } else { Err(removed()) }
    }

    fn announce_reader(&self, id: SnapshotId) -> Result<Option<Hold>, RepoError> {
        let mark = LockMark::new(format!("{TAG}{id}"), 1, ProcessIdentity::own())?;
        let announced = self.ensure(DIRECTORY).and_then(|dir| {
            dir.write_unsynced(mark.to_string(), 0o640, &[])?;
            Ok(dir)
        });
        match announced {
            Ok(dir) => Ok(Some(Hold::begin(dir, mark, MarkRelease::Removed))),
            Err(RepoError::Fs(error))
                if matches!(error.kind(), ErrorKind::ReadOnly | ErrorKind::NoPermission | ErrorKind::NoSpace) =>
            {
                let error = crate::monitor::chain(&error);
                tracing::warn!(error, "other hosts cannot see that {id} is being read: a gc there may remove it");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The snapshots that have readers, according to marks. A mark whose reader has ended is removed; a mark from
    /// another host is watched until it moves, or has not moved for as long as it allows.
    pub(super) fn marked_readers(&self, of: &BTreeSet<SnapshotId>) -> Result<BTreeSet<SnapshotId>, RepoError> {
        let mut reading = BTreeSet::new();
        let Some(dir) = self.find_dir(DIRECTORY)? else { return Ok(reading) };
        let own = ProcessIdentity::own();
        let mut watches: BTreeMap<u64, Watch> = BTreeMap::new();
        loop {
            let mut is_open = false;
            for name in dir.fresh_names()? {
                let Ok(mark) = name.parse::<LockMark>() else { continue };
                let id = mark.tag.strip_prefix(TAG).and_then(|id| id.parse().ok());
                let Some(id) = id.filter(|id| of.contains(id) && !reading.contains(id)) else { continue };
                let is_own = mark.owner.is_same_process(&own);
                let is_gone = match mark.owner.life(&own) {
                    ProcessState::Gone => true,
                    ProcessState::Runs => is_own && !mark.is_held_here(&dir),
                    ProcessState::Unknown => {
                        let now = Instant::now();
                        let watch = watches.entry(mark.nonce).or_insert_with(|| Watch::new(&mark, now));
                        watch.look(&mark, now, PAUSE * 5);
                        if !watch.has_moved() && watch.quiet() < mark.silence {
                            is_open = true;
                            continue;
                        }
                        !watch.has_moved()
                    }
                };
                if is_gone {
                    fs::if_found(dir.remove_file(&name))?;
                } else {
                    reading.insert(id);
                }
            }
            if !is_open {
                return Ok(reading);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Lease {
    /// The snapshot's directory, even if it was moved meanwhile.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Reads the snapshot's manifest, even if the snapshot was moved meanwhile, and compares it with the digest in it.
    ///
    /// # Errors
    /// If its manifest cannot be read at all.
    pub fn manifest(&self) -> Result<(SnapshotState, ManifestDigest), RepoError> {
        let bytes = self.dir.read(Repository::manifest_file_name(), MANIFEST_LIMIT_BYTES)?;
        Ok((Repository::state(self.id, &bytes), check_manifest(&bytes)))
    }
}

/// Whether a snapshot that is to be unlinked has readers.
pub(super) enum Readers {
    /// A lease is held.
    Reading,
    /// It has none, and no lease can be taken while this value lives. A snapshot whose manifest cannot be opened cannot
    /// be leased.
    None(#[expect(dead_code, reason = "it is held, not looked at")] Option<FileLock>),
}

pub(super) fn readers(snapshot: &Dir) -> Readers {
    if fs::is_network_filesystem(snapshot) {
        return Readers::None(None);
    }
    match FileLock::try_hold(snapshot, Repository::manifest_file_name()) {
        Ok(None) => Readers::Reading,
        Ok(lock) => Readers::None(lock),
        Err(_) => Readers::None(None),
    }
}
