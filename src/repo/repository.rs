//! Creating, opening and reading a repository.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{self, Dir, EntryKind, ErrorKind, Mutations};
use crate::model::{RepositoryId, SnapshotId};

use super::content::SeriesChoice;
use super::database::DatabaseSlot;
use super::error::RepoError;
use super::journal_content::JournalContent;
use super::manifest::{CopiedFrom, FORMAT, Manifest, SnapshotOrigin};

const CONFIG: &str = "chsnap.json";
const MANIFEST: &str = "manifest.json";
const DIRECTORIES: [&str; 5] = ["snapshots", "incoming", "trash", "pins", "journal"];
const DIRECTORY_MODE: u32 = 0o750;
const CONFIG_LIMIT_BYTES: u64 = 1 << 20;
/// A manifest takes a few hundred bytes for each table; a hundred thousand tables fit.
pub(super) const MANIFEST_LIMIT_BYTES: u64 = 256 << 20;

/// `chsnap.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Config {
    format: u32,
    id: RepositoryId,
    created: DateTime<Utc>,
    server: Option<BoundServer>,
}

/// The server that a repository belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundServer {
    /// Its data path.
    pub data_path: String,
    /// Its UUID, if it is not zero.
    pub uuid: Option<String>,
}

/// The device, inode, size and time of a file when it was read.
pub(super) type FileState = (u64, u64, u64, (i64, u32));

/// The files of the journal that were read, by their names.
pub(super) type JournalRead = Mutex<HashMap<OsString, (FileState, JournalContent)>>;

/// An open repository. Reading it needs no lock.
#[derive(Debug)]
pub struct Repository {
    dir: Dir,
    config: Config,
    series: SeriesChoice,
    journal: JournalRead,
    /// The database of the index.
    database: DatabaseSlot,
}

/// The state of an entry under `snapshots/`.
#[derive(Clone, Debug)]
pub enum SnapshotState {
    /// A snapshot of this format.
    Complete(Box<Manifest>),
    /// A snapshot of a newer format.
    NewerFormat(u32),
    /// Its manifest is missing or cannot be read.
    Damaged(String),
}

/// Whether a file of this name is a `chsnap.json` that was never renamed into its place.
pub(super) fn is_torn_config(name: &str) -> bool {
    name.strip_prefix(CONFIG).is_some_and(|rest| rest.starts_with('.') && rest.strip_suffix(".new").is_some())
}

/// Checks that a directory has only leftovers of an interrupted `init`: some of our directories, all empty. A new
/// filesystem has `lost+found`.
fn check_suits_init(dir: &Dir, path: &Path) -> Result<(), RepoError> {
    let already = || RepoError::AlreadyARepository { path: path.to_owned() };
    if dir.find(CONFIG)?.is_some() {
        return Err(already());
    }
    for entry in dir.entries_with_kind()? {
        let name = entry.name.to_string_lossy().into_owned();
        let ours = DIRECTORIES.contains(&name.as_str())
            && entry.kind == EntryKind::Directory
            && dir.open_dir(&entry.name)?.entries()?.is_empty();
        if !ours && name != "lost+found" && !is_torn_config(&name) {
            // Another process may have created it since the look above.
            let is_made = dir.find(CONFIG)?.is_some();
            return Err(if is_made { already() } else { RepoError::NotEmpty { path: path.to_owned(), entry: name } });
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

#[derive(Deserialize)]
struct OriginOnly {
    parts_blake3: String,
    #[serde(default)]
    copied: Option<CopiedFrom>,
}

impl Repository {
    /// The cached content of the journal.
    pub(super) fn journal_read(&self) -> &JournalRead {
        &self.journal
    }

    /// The database of the index.
    pub(super) fn database(&self) -> &DatabaseSlot {
        &self.database
    }

    /// Creates a repository at `path`, whose directory may be missing, or exist and be empty.
    ///
    /// # Errors
    /// If there is one already, the directory holds something else, or cannot be written.
    pub fn init(path: &Path, now: DateTime<Utc>, verbs: &Arc<dyn Mutations>) -> Result<Self, RepoError> {
        let dir = suited(fs::create_path(path, DIRECTORY_MODE, verbs)?, verbs);
        check_suits_init(&dir, path)?;
        for name in DIRECTORIES {
            dir.ensure_dir(name, DIRECTORY_MODE)?;
        }
        let config = Config { format: FORMAT, id: RepositoryId::from_bits(random()?), created: now, server: None };
        let repository = Self {
            dir,
            config,
            series: SeriesChoice::default(),
            journal: Mutex::default(),
            database: DatabaseSlot::default(),
        };
        repository.write_first_config(path)?;
        Ok(repository)
    }

    /// Checks that [`Repository::init`] would create a repository at `path`. Changes nothing.
    ///
    /// # Errors
    /// As [`Repository::init`].
    pub fn check_init(path: &Path, verbs: &Arc<dyn Mutations>) -> Result<(), RepoError> {
        match Dir::open(path, Arc::clone(verbs)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            dir => check_suits_init(&dir?, path),
        }
    }

    /// Opens the repository at `path`.
    ///
    /// # Errors
    /// If there is none, or its `chsnap.json` cannot be read.
    pub fn open(path: &Path, verbs: &Arc<dyn Mutations>) -> Result<Self, RepoError> {
        let none = || RepoError::NotARepository { path: path.to_owned() };
        let dir = match Dir::open(path, Arc::clone(verbs)) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::WrongKind) => return Err(none()),
            result => suited(result?, verbs),
        };
        let bytes = dir.find_and_read(CONFIG, CONFIG_LIMIT_BYTES)?.ok_or_else(none)?;
        let config = serde_json::from_slice(&bytes).map_err(|error| {
            let path = path.join(CONFIG);
            match newer_format(&bytes) {
                Some(format) => RepoError::NewerFormat { path, format, known: FORMAT },
                None => RepoError::Damaged { path, reason: error.to_string() },
            }
        })?;
        Ok(Self {
            dir,
            config,
            series: SeriesChoice::default(),
            journal: Mutex::default(),
            database: DatabaseSlot::default(),
        })
    }

    /// The same repository, with the series that a command uses.
    #[must_use]
    pub fn with_series(self, series: SeriesChoice) -> Self {
        Self { series, ..self }
    }

    pub(super) fn series_choice(&self) -> &SeriesChoice {
        &self.series
    }

    /// Its path, as the user named it.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &RepositoryId {
        &self.config.id
    }

    /// The server that it belongs to, once a snapshot was made.
    #[must_use]
    pub fn server(&self) -> Option<&BoundServer> {
        self.config.server.as_ref()
    }

    /// Its format version.
    #[must_use]
    pub fn format(&self) -> u32 {
        self.config.format
    }

    /// Checks that the repository may be written. A repository of a newer format is read where possible, and never
    /// written.
    ///
    /// # Errors
    /// If its format is newer than [`FORMAT`].
    pub fn check_writable_format(&self) -> Result<(), RepoError> {
        if self.config.format > FORMAT {
            let path = self.path().join(CONFIG);
            return Err(RepoError::NewerFormat { path, format: self.config.format, known: FORMAT });
        }
        Ok(())
    }

    pub(super) fn ensure(&self, name: &str) -> Result<Dir, RepoError> {
        Ok(self.dir.ensure_dir(name, DIRECTORY_MODE)?)
    }

    /// Opens a directory of the repository; returns `None` if it is missing: a reader creates nothing.
    pub(super) fn find_dir(&self, name: &str) -> Result<Option<Dir>, RepoError> {
        Ok(self.dir.find_beneath(Path::new(name))?)
    }

    /// Records the server that the repository belongs to; the caller must hold the lock.
    pub(super) fn write_server(&self, server: BoundServer) -> Result<(), RepoError> {
        self.write_config(&Config { server: Some(server), ..self.config.clone() })
    }

    /// Writes `chsnap.json` if there is none: if several processes create a repository here at once, exactly one
    /// succeeds.
    fn write_first_config(&self, path: &Path) -> Result<(), RepoError> {
        let bytes = serde_json::to_vec_pretty(&self.config).expect("a configuration has only string keys");
        let new_name = format!("{CONFIG}.{}.new", self.config.id);
        self.dir.write_new(&new_name, 0o640, &bytes)?;
        let linked = self.dir.link_from(&self.dir, &new_name, CONFIG);
        // If the answer was lost on the way, the call is repeated, and then reports that the link exists.
        let inode = |name: &str| self.dir.find(name).map(|found| found.map(|stat| stat.inode));
        let is_own = inode(CONFIG)?.is_some_and(|found| inode(&new_name).is_ok_and(|own| own == Some(found)));
        fs::if_found(self.dir.remove_file(&new_name))?;
        match linked {
            Ok(()) => Ok(self.dir.sync()?),
            Err(_) if is_own => Ok(self.dir.sync()?),
            // Not found: the process that created the repository meanwhile has also cleaned up.
            Err(error) if matches!(error.kind(), ErrorKind::Exists | ErrorKind::NotFound) => {
                Err(RepoError::AlreadyARepository { path: path.to_owned() })
            }
            // A filesystem without hard links, which `create` refuses with its reason.
            Err(error) if matches!(error.kind(), ErrorKind::NoPermission | ErrorKind::Other) => {
                self.write_config(&self.config)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn write_config(&self, config: &Config) -> Result<(), RepoError> {
        let bytes = serde_json::to_vec_pretty(config).expect("a configuration has only string keys");
        Ok(self.dir.replace(CONFIG, 0o640, &bytes)?)
    }

    /// The ids under `snapshots/`, oldest first. Other names there are not snapshots; they are the second list.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn snapshot_ids(&self) -> Result<(Vec<SnapshotId>, Vec<String>), RepoError> {
        let (mut ids, mut others) = (Vec::new(), Vec::new());
        let Some(snapshots) = self.find_dir("snapshots")? else { return Ok((ids, others)) };
        for entry in snapshots.entries_with_kind()? {
            let name = entry.name.to_string_lossy().into_owned();
            match name.parse() {
                Ok(id) if entry.kind == EntryKind::Directory => ids.push(id),
                _ => others.push(name),
            }
        }
        ids.sort_unstable();
        Ok((ids, others))
    }

    /// Whether a snapshot is under `snapshots/`. If it does not, what belongs to it may be removed; so if the
    /// filesystem gives no answer, even temporarily, that is an error and never a no.
    ///
    /// # Errors
    /// If the filesystem does not answer.
    pub fn has_snapshot(&self, id: SnapshotId) -> Result<bool, RepoError> {
        let Some(snapshots) = self.find_dir("snapshots")? else { return Ok(false) };
        Ok(snapshots.find(id.to_string())?.is_some_and(|stat| stat.kind == EntryKind::Directory))
    }

    /// The directory of a snapshot.
    ///
    /// # Errors
    /// If there is no such snapshot.
    pub fn snapshot_dir(&self, id: SnapshotId) -> Result<Dir, RepoError> {
        let relative = PathBuf::from("snapshots").join(id.to_string());
        self.dir.find_beneath(&relative)?.ok_or(RepoError::NoSnapshot { id, place: "snapshots/" })
    }

    /// Reads a snapshot's manifest.
    ///
    /// # Errors
    /// If there is no such snapshot; a manifest that cannot be read is a state, not an error.
    pub fn snapshot(&self, id: SnapshotId) -> Result<SnapshotState, RepoError> {
        let dir = self.snapshot_dir(id)?;
        let bytes = match dir.read(MANIFEST, MANIFEST_LIMIT_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => {
                // A snapshot that is removed while it is read is removed, not damaged.
                self.snapshot_dir(id)?;
                return Ok(SnapshotState::Damaged(crate::monitor::chain(&error)));
            }
        };
        Ok(Self::state(id, &bytes))
    }

    /// The original of this snapshot; `None` if its manifest cannot be read. No other part of the manifest is kept.
    ///
    /// # Errors
    /// If there is no such snapshot.
    pub fn snapshot_origin(&self, id: SnapshotId) -> Result<Option<SnapshotOrigin>, RepoError> {
        let Ok(bytes) = self.snapshot_dir(id)?.read(MANIFEST, MANIFEST_LIMIT_BYTES) else { return Ok(None) };
        let read = serde_json::from_slice::<OriginOnly>(&bytes).ok();
        Ok(read.map(|OriginOnly { parts_blake3, copied }| match copied {
            Some(copied) => copied.origin,
            None => SnapshotOrigin { repository: self.id().clone(), parts_blake3 },
        }))
    }

    /// The state of a snapshot by the bytes of its `manifest.json`.
    pub(super) fn state(id: SnapshotId, bytes: &[u8]) -> SnapshotState {
        match serde_json::from_slice::<Manifest>(bytes) {
            Ok(manifest) if manifest.format <= FORMAT && manifest.id == id => {
                SnapshotState::Complete(Box::new(manifest))
            }
            Ok(manifest) if manifest.format <= FORMAT => {
                SnapshotState::Damaged(format!("its manifest.json is that of {}", manifest.id))
            }
            Ok(manifest) => SnapshotState::NewerFormat(manifest.format),
            Err(error) => newer_format(bytes).map_or_else(
                || SnapshotState::Damaged(format!("its manifest.json cannot be read: {error}")),
                SnapshotState::NewerFormat,
            ),
        }
    }

    pub(super) fn manifest_file_name() -> &'static str {
        MANIFEST
    }
}

/// Returns `dir` with mutations suited to a network filesystem, if it lies on one.
fn suited(dir: Dir, verbs: &Arc<dyn Mutations>) -> Dir {
    if !fs::is_network_filesystem(&dir) {
        return dir;
    }
    dir.with_verbs(fs::network_verbs(Arc::clone(verbs)))
}

/// The format of a file that a newer chsnap has written, even if the rest of it cannot be read here.
fn newer_format(bytes: &[u8]) -> Option<u32> {
    let FormatOnly { format } = serde_json::from_slice(bytes).ok()?;
    (format > FORMAT).then_some(format)
}

/// 128 random bits.
pub(super) fn random() -> Result<u128, RepoError> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| RepoError::Random { reason: error.to_string() })?;
    Ok(u128::from_ne_bytes(bits))
}
