//! The intent: what a run is about to do outside the repository, written before it does so.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{self, Dir, EntryKind};
use crate::model::{FreezeName, RepositoryId, SnapshotId};

use super::error::RepoError;
use super::lock::Locked;
use super::repository::{Repository, is_torn_config};

/// A directory under which the server puts a shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowPlace {
    /// The disk's name.
    pub disk: String,
    /// The disk's directory, as chsnap sees it.
    pub path: PathBuf,
    /// Device and inode of that directory. A disk that no table uses is empty, so its content does not identify it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<(u64, u64)>,
}

/// Exists as `incoming/<id>.intent.json` from before the first freeze until the last shadow is gone.
///
/// It is next to the snapshot's directory and not in it, so that the commit renames the directory as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateIntent {
    /// Format version.
    pub format: u32,
    /// The snapshot.
    pub id: SnapshotId,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// Host of the run.
    pub host: String,
    /// Process id of the run.
    pub pid: u32,
    /// The address of the server that freezes.
    pub url: String,
    /// The disks that may have shadows.
    pub disks: Vec<ShadowPlace>,
    /// Names of the freezes that were requested, or are about to be.
    pub freezes: Vec<FreezeName>,
    /// Query ids begin with this.
    pub query_id_prefix: String,
    /// The boot of the host: data written before another boot may not have reached the disk.
    #[serde(default)]
    pub boot: String,
    /// Whether parts are copied, so that complete parts are worth keeping.
    #[serde(default)]
    pub copies: bool,
    /// The id that the snapshot gets when it is committed, if it differs: for a copy, the id of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits_as: Option<SnapshotId>,
}

impl CreateIntent {
    /// Whether a directory is that of a disk of this run: on the same host, and with the same inode. After another boot the
    /// device may have another number.
    #[must_use]
    pub fn is_disk(&self, place: &ShadowPlace, dir: &Dir) -> bool {
        let (Some((device, inode)), Ok(found)) = (place.inode, dir.stat_self()) else { return false };
        let is_same_boot = !self.boot.is_empty() && self.boot == fs::boot_id();
        let is_same_host = is_same_boot || self.host == fs::host_name();
        is_same_host && found.inode == inode && (found.device == device || !is_same_boot)
    }

    /// The id that the snapshot gets when it is committed.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotId {
        self.commits_as.unwrap_or(self.id)
    }
}

/// The leftover of a run that ended early.
#[derive(Clone, Debug)]
pub struct CreateLeftover {
    /// The snapshot that it was building.
    pub id: SnapshotId,
    /// Whether it has written an intent.
    pub has_intent: bool,
    /// The intent, if it can be read and is this repository's.
    pub intent: Option<CreateIntent>,
    /// Whether `incoming/<id>` exists, as a directory or something else.
    pub has_tree: bool,
}

const SUFFIX: &str = ".intent.json";
const LIMIT_BYTES: u64 = 16 << 20;

pub(super) fn file_name(id: SnapshotId) -> String {
    format!("{id}{SUFFIX}")
}

pub(super) fn write(incoming: &Dir, intent: &CreateIntent) -> Result<(), RepoError> {
    let bytes = serde_json::to_vec_pretty(intent).expect("an intent has only string keys");
    incoming.replace(&file_name(intent.id), 0o640, &bytes)?;
    Ok(())
}

/// Reads an intent. An intent that names freezes of another repository is ignored.
pub(super) fn read(incoming: &Dir, id: SnapshotId, repository: &RepositoryId) -> Option<CreateIntent> {
    // An entry that cannot be read is reported, and does not prevent work on the rest.
    let bytes = incoming.read(file_name(id), LIMIT_BYTES).ok()?;
    let intent: CreateIntent = serde_json::from_slice(&bytes).ok()?;
    let prefix = repository.freeze_prefix();
    let is_ours = intent.id == id && intent.freezes.iter().all(|freeze| freeze.as_str().starts_with(&prefix));
    is_ours.then_some(intent)
}

impl Repository {
    /// The directories of the disks that unfinished runs have recorded.
    ///
    /// # Errors
    /// If `incoming/` cannot be read.
    pub(super) fn announced_disks(&self) -> Result<Vec<PathBuf>, RepoError> {
        let Some(incoming) = self.find_dir("incoming")? else { return Ok(Vec::new()) };
        let names = incoming.entries()?.into_iter();
        let ids = names.filter_map(|entry| entry.name.to_str()?.strip_suffix(SUFFIX)?.parse::<SnapshotId>().ok());
        let intents = ids.filter_map(|id| read(&incoming, id, self.id()));
        Ok(intents.flat_map(|intent| intent.disks).map(|disk| disk.path).collect())
    }
}

impl Locked<'_> {
    /// The leftovers of earlier runs in `incoming/`, oldest first.
    ///
    /// # Errors
    /// If `incoming/` cannot be read.
    pub fn leftovers(&self) -> Result<Vec<CreateLeftover>, RepoError> {
        let incoming = self.incoming_dir()?;
        let mut leftovers: std::collections::BTreeMap<SnapshotId, CreateLeftover> = std::collections::BTreeMap::new();
        for entry in incoming.entries()? {
            let name = entry.name.to_string_lossy();
            // Any entry under an id is treated like the tree: a link is unlinked, and never followed.
            let (text, is_tree) = name.strip_suffix(SUFFIX).map_or((name.as_ref(), true), |text| (text, false));
            let Ok(id) = text.parse::<SnapshotId>() else { continue };
            let leftover =
                leftovers.entry(id).or_insert(CreateLeftover { id, has_intent: false, intent: None, has_tree: false });
            leftover.has_tree |= is_tree;
            if !is_tree {
                leftover.has_intent = true;
                leftover.intent = read(&incoming, id, self.repository().id());
            }
        }
        Ok(leftovers.into_values().collect())
    }

    /// Removes temporary files that a kill in the middle of replacing a file has left.
    ///
    /// # Errors
    /// If such a file is there and cannot be removed.
    pub fn remove_torn_files(&self) -> Result<(), RepoError> {
        let root = self.repository().dir().clone();
        for dir in [root, self.incoming_dir()?, self.repository().ensure("pins")?] {
            for entry in dir.entries_with_kind()? {
                let name = entry.name.to_string_lossy();
                let ours = name == "latest.new"
                    || is_torn_config(&name)
                    || name
                        .strip_suffix(".json.new")
                        .is_some_and(|rest| rest.strip_suffix(".intent").unwrap_or(rest).parse::<SnapshotId>().is_ok());
                if ours && entry.kind != EntryKind::Directory {
                    dir.remove_file(&entry.name)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets an intent whose shadows are gone.
    ///
    /// # Errors
    /// If the file cannot be removed.
    pub fn forget_intent(&self, id: SnapshotId) -> Result<(), RepoError> {
        let incoming = self.incoming_dir()?;
        if incoming.find(file_name(id))?.is_some() {
            incoming.remove_file(file_name(id))?;
            incoming.sync()?;
        }
        Ok(())
    }

    /// The parts that an interrupted run has placed, if it got that far.
    ///
    /// # Errors
    /// If they are there and cannot be opened.
    pub fn leftover_data(&self, id: SnapshotId) -> Result<Option<Dir>, RepoError> {
        Ok(self.incoming_dir()?.find_beneath(&std::path::Path::new(&id.to_string()).join(super::layout::DATA))?)
    }

    /// Moves the tree of a snapshot that will not be completed to the trash, where it cannot be mistaken for a
    /// snapshot.
    ///
    /// # Errors
    /// If it cannot be moved.
    pub fn discard_incoming(&self, id: SnapshotId) -> Result<(), RepoError> {
        let incoming = self.incoming_dir()?;
        self.discard(&incoming, &id.to_string())
    }
}

pub(super) fn new(
    id: SnapshotId,
    started: DateTime<Utc>,
    url: &str,
    disks: Vec<ShadowPlace>,
    query_id_prefix: String,
) -> CreateIntent {
    CreateIntent {
        format: super::FORMAT,
        id,
        started,
        host: fs::host_name(),
        pid: std::process::id(),
        url: url.to_owned(),
        disks,
        freezes: Vec::new(),
        query_id_prefix,
        boot: fs::boot_id(),
        copies: false,
        commits_as: None,
    }
}
