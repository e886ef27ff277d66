//! A reader's hold on a snapshot: while it lasts, nothing unlinks the snapshot.
//!
//! A lease is a shared `flock` on the snapshot's `manifest.json`: nothing is written, a repository that is mounted
//! read-only will do, and the kernel ends it with its holder, however that ends. A snapshot that is leased can be moved
//! to the trash, where its reader still has it by descriptor, but it is not unlinked from there.

use crate::fs::{Dir, FileLock};
use crate::model::SnapshotId;

use super::error::RepoError;
use super::manifest_digest::{ManifestDigest, check_manifest};
use super::repository::{MANIFEST_LIMIT_BYTES, Repository, SnapshotState};

/// A snapshot that stays as long as this value.
#[derive(Debug)]
pub struct Lease {
    id: SnapshotId,
    dir: Dir,
    _lock: FileLock,
}

impl Repository {
    /// Takes a lease on a snapshot, before it is restored, verified or drilled.
    ///
    /// # Errors
    /// If the snapshot is not there, or being unlinked, or its manifest cannot be opened.
    pub fn lease(&self, id: SnapshotId) -> Result<Lease, RepoError> {
        let removed = || RepoError::NoSnapshot { id, place: "snapshots/" };
        let dir = self.snapshot_dir(id)?;
        let lock = FileLock::try_share(&dir, Self::manifest_file_name())?.ok_or_else(removed)?;
        // It may have gone, and another one of its name have come, between the two calls above.
        let is_same = self.snapshot_dir(id)?.stat_self()?.inode == dir.stat_self()?.inode;
        if is_same { Ok(Lease { id, dir, _lock: lock }) } else { Err(removed()) }
    }
}

impl Lease {
    /// The snapshot's directory, wherever it is meanwhile.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Reads what the snapshot says of itself, wherever it is meanwhile, and holds it against the digest in it.
    ///
    /// # Errors
    /// If its manifest cannot be read at all.
    pub fn manifest(&self) -> Result<(SnapshotState, ManifestDigest), RepoError> {
        let bytes = self.dir.read(Repository::manifest_file_name(), MANIFEST_LIMIT_BYTES)?;
        Ok((Repository::state(self.id, &bytes), check_manifest(&bytes)))
    }
}

/// Whether somebody reads a snapshot that is to be unlinked.
pub(super) enum Readers {
    /// A lease lasts.
    Reading,
    /// None does, and none can be taken while this value lasts. One whose manifest cannot be opened cannot be leased.
    None(#[expect(dead_code, reason = "it is held, not looked at")] Option<FileLock>),
}

pub(super) fn readers(snapshot: &Dir) -> Readers {
    match FileLock::try_hold(snapshot, Repository::manifest_file_name()) {
        Ok(None) => Readers::Reading,
        Ok(lock) => Readers::None(lock),
        Err(_) => Readers::None(None),
    }
}
