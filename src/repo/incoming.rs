//! A snapshot being built, up to the one rename that commits it.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::fs::{self, Dir, FsError};
use crate::model::{FreezeName, SnapshotId};

use super::durable::sync_snapshot;
use super::error::RepoError;
use super::intent::{self, CreateIntent, ShadowPlace};
use super::kept_lists::SnapshotLists;
use super::lock::Locked;
use super::manifest::{Manifest, MetadataFile};
use super::manifest_digest;
use super::parts::{self, PartRecord};
use super::repository::{MANIFEST_LIMIT_BYTES, Repository, random};

/// `incoming/<id>/` with its intent. Dropped without [`Incoming::seal`], it stays for the next run to discard.
#[derive(Debug)]
pub struct Incoming<'a> {
    locked: &'a Locked<'a>,
    parent: Dir,
    dir: Dir,
    intent: CreateIntent,
}

const METADATA_MODE: u32 = 0o600;

impl<'a> Locked<'a> {
    /// Begins a snapshot: writes its intent, then creates its directory.
    ///
    /// The id is that of `now`, or the next one of the same second that was never used here.
    ///
    /// # Errors
    /// If the repository cannot be written.
    pub fn begin(&'a self, now: DateTime<Utc>, url: &str, disks: Vec<ShadowPlace>) -> Result<Incoming<'a>, RepoError> {
        let query_id_prefix = format!("chsnap-{:016x}", random()? >> 64);
        self.begin_with(intent::new(self.unused_id(now)?, now, url, disks, query_id_prefix))
    }

    /// Begins a copy of the snapshot `id` of another repository. Until it is committed, it has its own id, like every
    /// snapshot that is being built.
    ///
    /// # Errors
    /// If there is a snapshot of this id, or the repository cannot be written.
    pub fn begin_copy(&'a self, id: SnapshotId, now: DateTime<Utc>) -> Result<Incoming<'a>, RepoError> {
        if self.repository().has_snapshot(id)? {
            return Err(RepoError::SnapshotExists { id });
        }
        let intent = intent::new(self.unused_id(now)?, now, "", Vec::new(), String::new());
        self.begin_with(CreateIntent { copies: true, commits_as: Some(id), ..intent })
    }

    fn begin_with(&'a self, intent: CreateIntent) -> Result<Incoming<'a>, RepoError> {
        let incoming = self.incoming_dir()?;
        intent::write(&incoming, &intent)?;
        let dir = incoming.ensure_dir(intent.id.to_string(), 0o750)?;
        incoming.sync()?;
        Ok(Incoming { locked: self, parent: incoming, dir, intent })
    }

    /// The id of `now`, or the next one of the same second that was never used here.
    fn unused_id(&self, now: DateTime<Utc>) -> Result<SnapshotId, RepoError> {
        let mut id = SnapshotId::at(now);
        while self.is_used(id)? {
            id = id.next();
        }
        Ok(id)
    }

    fn is_used(&self, id: SnapshotId) -> Result<bool, RepoError> {
        let name = id.to_string();
        let mine = |entry: &crate::fs::Entry| {
            let entry = entry.name.to_string_lossy();
            entry == name || entry.strip_prefix(&name).is_some_and(|rest| rest.starts_with('.'))
        };
        for dir in [self.snapshots_dir()?, self.incoming_dir()?, self.trash_dir()?] {
            if dir.entries()?.iter().any(mine) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Incoming<'_> {
    /// Its id in `incoming/`: the snapshot's own, unless it is a copy.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.intent.id
    }

    /// The id that the snapshot has once it is committed.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotId {
        self.intent.snapshot()
    }

    /// The intent that was written before anything outside the repository was touched.
    #[must_use]
    pub fn intent(&self) -> &CreateIntent {
        &self.intent
    }

    /// The directory that becomes the snapshot.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Records in the intent that parts will be copied, so that a later run need not copy complete parts again.
    ///
    /// # Errors
    /// If the intent cannot be written.
    pub fn announce_copies(&mut self) -> Result<(), RepoError> {
        self.intent.copies = true;
        intent::write(&self.parent, &self.intent)
    }

    /// Generates a new freeze name and writes it to the intent, durably, before the freeze can be requested.
    ///
    /// # Errors
    /// If the intent cannot be written.
    pub fn announce_freeze(&mut self, now: DateTime<Utc>) -> Result<FreezeName, RepoError> {
        let bits = u32::try_from(random()? >> 96).expect("32 bits are left");
        let name = FreezeName::new(self.locked.repository().id(), now, bits);
        self.intent.freezes.push(name.clone());
        intent::write(&self.parent, &self.intent)?;
        Ok(name)
    }

    /// Writes a file outside the parts, readable by its owner alone, and creates the directories above it.
    ///
    /// # Errors
    /// If it is there already, or cannot be written.
    pub fn write_metadata(&self, relative: &Path, bytes: &[u8]) -> Result<MetadataFile, RepoError> {
        let mut dir = self.dir.clone();
        for component in relative.parent().unwrap_or(Path::new("")).components() {
            dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
        }
        dir.write_unsynced(relative.file_name().unwrap_or_default(), METADATA_MODE, bytes)?;
        Ok(MetadataFile::of(relative, bytes))
    }

    /// Writes the manifest, makes everything durable, and commits. `concurrently` runs at the same time as the sync, in the
    /// current pool; if it fails, nothing is committed. It is given the lists as they were written if the index is outside
    /// the repository, which keeps them there.
    ///
    /// After an error, `snapshots/` is unchanged. A non-empty answer says why the snapshot, although it is committed,
    /// might not survive a power cut.
    ///
    /// # Errors
    /// If anything cannot be written or made durable.
    pub fn seal(
        &self,
        manifest: &mut Manifest,
        records: &[PartRecord],
        concurrently: impl FnOnce(Option<SnapshotLists>) -> Result<(), FsError> + Send,
    ) -> Result<Vec<String>, RepoError> {
        let unwritable = |error: &dyn std::error::Error| RepoError::Damaged {
            path: self.dir.path().to_owned(),
            reason: error.to_string(),
        };
        let mut list = fs::is_network_filesystem(&self.dir).then(Vec::new);
        manifest.parts_blake3 = parts::write(&self.dir, records, list.as_mut())?;
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| unwritable(&error))?;
        let text = manifest_digest::seal(&text);
        if text.len() as u64 > MANIFEST_LIMIT_BYTES {
            // A manifest that cannot be read back must not be sealed.
            let reason = format!("its manifest would have {} bytes, too many to be read again", text.len());
            return Err(RepoError::Damaged { path: self.dir.path().to_owned(), reason });
        }
        self.dir.write_unsynced(Repository::manifest_file_name(), 0o640, &text)?;
        // FREEZE makes nothing durable: the whole filesystem is synced, then the directory that will be renamed.
        let lists = list.map(|parts| SnapshotLists { manifest: text, parts });
        let (synced, done) = rayon::join(|| sync_snapshot(&self.dir, records), || concurrently(lists));
        synced.and(done)?;
        self.dir.sync()?;
        let snapshots = self.locked.snapshots_dir()?;
        let name = self.snapshot().to_string();
        if snapshots.find(&name)?.is_some() {
            return Err(RepoError::SnapshotExists { id: self.snapshot() });
        }
        self.locked.confirm()?;
        snapshots.rename_from(&self.parent, self.id().to_string(), &name)?;
        let synced = [snapshots.sync(), self.parent.sync()];
        let failed = synced.into_iter().filter_map(Result::err);
        Ok(failed
            .map(|error| format!("the snapshot might not survive a power cut: {}", crate::monitor::chain(&error)))
            .collect())
    }
}
