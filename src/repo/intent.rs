//! The intent: what a run is about to do outside the repository, written down before it does it.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{self, Dir, Kind};
use crate::model::{FreezeName, RepositoryId, SnapshotId};

use super::error::RepoError;
use super::lock::Locked;
use super::repository::Repository;

/// A directory under which the server puts a shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowPlace {
    /// The disk's name.
    pub disk: String,
    /// The disk's directory, as chsnap sees it.
    pub path: PathBuf,
}

/// Stands as `incoming/<id>.intent.json` from before the first freeze until the last shadow is gone.
///
/// It stands beside the snapshot's directory and not in it, so that the commit takes the directory as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Intent {
    /// Format version.
    pub format: u32,
    /// The snapshot.
    pub id: SnapshotId,
    /// When the run began.
    pub started: DateTime<Utc>,
    /// Host of the run.
    pub host: String,
    /// Process of the run.
    pub pid: u32,
    /// The address of the server that freezes.
    pub url: String,
    /// Where shadows may stand.
    pub disks: Vec<ShadowPlace>,
    /// Names of the freezes that were asked for, or are about to be.
    pub freezes: Vec<FreezeName>,
    /// Query ids begin with this.
    pub query_id_prefix: String,
    /// The boot of the host: what was written before another one may not be on the disk.
    #[serde(default)]
    pub boot: String,
    /// Whether parts are copied, so that what is whole of them is worth keeping.
    #[serde(default)]
    pub copies: bool,
}

/// What a run that ended early has left.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// The snapshot that it was building.
    pub id: SnapshotId,
    /// Whether it has written an intent.
    pub has_intent: bool,
    /// The intent, where it can be read and is this repository's.
    pub intent: Option<Intent>,
    /// Whether `incoming/<id>` stands, a directory or something else.
    pub has_tree: bool,
}

const SUFFIX: &str = ".intent.json";
const LIMIT_BYTES: u64 = 16 << 20;

pub(super) fn file_name(id: SnapshotId) -> String {
    format!("{id}{SUFFIX}")
}

pub(super) fn write(incoming: &Dir, intent: &Intent) -> Result<(), RepoError> {
    let bytes = serde_json::to_vec_pretty(intent).expect("an intent has only string keys");
    incoming.replace(&file_name(intent.id), 0o640, &bytes)?;
    Ok(())
}

/// Reads an intent; one that names freezes of another repository is not ours to act on.
pub(super) fn read(incoming: &Dir, id: SnapshotId, repository: &RepositoryId) -> Option<Intent> {
    // What is there and cannot be read is said, and keeps nobody from the rest.
    let bytes = incoming.read(file_name(id), LIMIT_BYTES).ok()?;
    let intent: Intent = serde_json::from_slice(&bytes).ok()?;
    let prefix = repository.freeze_prefix();
    let is_ours = intent.id == id && intent.freezes.iter().all(|freeze| freeze.as_str().starts_with(&prefix));
    is_ours.then_some(intent)
}

impl Repository {
    /// The directories of the disks that runs which are not over have written down.
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
    /// What earlier runs have left in `incoming/`, oldest first.
    ///
    /// # Errors
    /// If `incoming/` cannot be read.
    pub fn leftovers(&self) -> Result<Vec<Leftover>, RepoError> {
        let incoming = self.incoming_dir()?;
        let mut leftovers: std::collections::BTreeMap<SnapshotId, Leftover> = std::collections::BTreeMap::new();
        for entry in incoming.entries()? {
            let name = entry.name.to_string_lossy();
            // Whatever stands there under an id goes as the tree would: a link is unlinked, and never followed.
            let (text, is_tree) = name.strip_suffix(SUFFIX).map_or((name.as_ref(), true), |text| (text, false));
            let Ok(id) = text.parse::<SnapshotId>() else { continue };
            let leftover =
                leftovers.entry(id).or_insert(Leftover { id, has_intent: false, intent: None, has_tree: false });
            leftover.has_tree |= is_tree;
            if !is_tree {
                leftover.has_intent = true;
                leftover.intent = read(&incoming, id, self.repository().id());
            }
        }
        Ok(leftovers.into_values().collect())
    }

    /// Removes what a kill in the middle of replacing a file has left beside it.
    ///
    /// # Errors
    /// If it is there and cannot be removed.
    pub fn remove_torn_files(&self) -> Result<(), RepoError> {
        let root = self.repository().dir().clone();
        for dir in [root, self.incoming_dir()?, self.repository().ensure("pins")?] {
            for entry in dir.entries_with_kind()? {
                let name = entry.name.to_string_lossy();
                let ours = ["chsnap.json.new", "latest.new"].contains(&name.as_ref())
                    || name
                        .strip_suffix(".json.new")
                        .is_some_and(|rest| rest.strip_suffix(".intent").unwrap_or(rest).parse::<SnapshotId>().is_ok());
                if ours && entry.kind != Kind::Directory {
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

    /// The parts that an interrupted run has placed, where it has come so far.
    ///
    /// # Errors
    /// If they are there and cannot be opened.
    pub fn leftover_data(&self, id: SnapshotId) -> Result<Option<Dir>, RepoError> {
        Ok(self.incoming_dir()?.find_beneath(&std::path::Path::new(&id.to_string()).join(super::layout::DATA))?)
    }

    /// Moves what was built of a snapshot that will not be to the trash, where it cannot be taken for one.
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
) -> Intent {
    Intent {
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
    }
}
