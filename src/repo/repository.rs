//! Making, opening and reading a repository.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs::{self, Dir, ErrorKind, Kind, Verbs};
use crate::model::{RepositoryId, SnapshotId};

use super::content::SeriesChoice;
use super::error::RepoError;
use super::manifest::{FORMAT, Manifest};

const CONFIG: &str = "chsnap.json";
const MANIFEST: &str = "manifest.json";
const DIRECTORIES: [&str; 5] = ["snapshots", "incoming", "trash", "pins", "journal"];
const DIRECTORY_MODE: u32 = 0o750;
const CONFIG_LIMIT_BYTES: u64 = 1 << 20;
/// A manifest has a few hundred bytes a table; a hundred thousand tables fit.
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
    /// Its UUID, where it has one that is not zero.
    pub uuid: Option<String>,
}

/// The device, inode, size and time of a file when it was read.
pub(super) type FileState = (u64, u64, u64, (i64, u32));

/// The files of the journal that were read, by their names.
pub(super) type JournalRead = Mutex<HashMap<OsString, (FileState, Arc<[u8]>)>>;

/// An open repository. Reading it needs no lock.
#[derive(Debug)]
pub struct Repository {
    dir: Dir,
    config: Config,
    series: SeriesChoice,
    journal: JournalRead,
}

/// What stands under `snapshots/` by an id.
#[derive(Clone, Debug)]
pub enum SnapshotState {
    /// A snapshot of this format.
    Complete(Box<Manifest>),
    /// A snapshot of a newer format.
    NewerFormat(u32),
    /// Its manifest is missing or cannot be read.
    Damaged(String),
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Repository {
    /// What was read of the journal.
    pub(super) fn journal_read(&self) -> &JournalRead {
        &self.journal
    }

    /// Makes a repository at `path`, whose directory may be there and empty, or missing.
    ///
    /// # Errors
    /// If there is one already, the directory holds something else, or cannot be written.
    pub fn init(path: &Path, now: DateTime<Utc>, verbs: &Arc<dyn Verbs>) -> Result<Self, RepoError> {
        let dir = suited(fs::create_path(path, DIRECTORY_MODE, verbs)?, verbs);
        if dir.find(CONFIG)?.is_some() {
            return Err(RepoError::AlreadyARepository { path: path.to_owned() });
        }
        // An init that was cut short has made some of our directories, all empty; a new filesystem has lost+found.
        for entry in dir.entries_with_kind()? {
            let name = entry.name.to_string_lossy().into_owned();
            let ours = DIRECTORIES.contains(&name.as_str())
                && entry.kind == Kind::Directory
                && dir.open_dir(&entry.name)?.entries()?.is_empty();
            if !ours && name != "lost+found" && name != format!("{CONFIG}.new") {
                return Err(RepoError::NotEmpty { path: path.to_owned(), entry: name });
            }
        }
        for name in DIRECTORIES {
            dir.ensure_dir(name, DIRECTORY_MODE)?;
        }
        let config = Config { format: FORMAT, id: RepositoryId::from_bits(random()?), created: now, server: None };
        let repository = Self { dir, config, series: SeriesChoice::default(), journal: Mutex::default() };
        repository.write_config(&repository.config)?;
        Ok(repository)
    }

    /// Opens the repository at `path`.
    ///
    /// # Errors
    /// If there is none, or its `chsnap.json` cannot be read.
    pub fn open(path: &Path, verbs: &Arc<dyn Verbs>) -> Result<Self, RepoError> {
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
        Ok(Self { dir, config, series: SeriesChoice::default(), journal: Mutex::default() })
    }

    /// The same, with the series that a command goes by.
    #[must_use]
    pub fn with_series(self, series: SeriesChoice) -> Self {
        Self { series, ..self }
    }

    pub(super) fn series_choice(&self) -> &SeriesChoice {
        &self.series
    }

    /// Where it is, as it was named.
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

    /// A repository of a newer format is read as far as it can be, and never written.
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

    /// A directory of ours, or `None` where it is missing: a reader makes nothing.
    pub(super) fn find_dir(&self, name: &str) -> Result<Option<Dir>, RepoError> {
        Ok(self.dir.find_beneath(Path::new(name))?)
    }

    /// Writes down the server that the repository belongs to; only who holds the lock may.
    pub(super) fn write_server(&self, server: BoundServer) -> Result<(), RepoError> {
        self.write_config(&Config { server: Some(server), ..self.config.clone() })
    }

    fn write_config(&self, config: &Config) -> Result<(), RepoError> {
        let bytes = serde_json::to_vec_pretty(config).expect("a configuration has only string keys");
        Ok(self.dir.replace(CONFIG, 0o640, &bytes)?)
    }

    /// The ids that stand under `snapshots/`, oldest first. Other names there are not snapshots: the second list.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn snapshot_ids(&self) -> Result<(Vec<SnapshotId>, Vec<String>), RepoError> {
        let (mut ids, mut others) = (Vec::new(), Vec::new());
        let Some(snapshots) = self.find_dir("snapshots")? else { return Ok((ids, others)) };
        for entry in snapshots.entries_with_kind()? {
            let name = entry.name.to_string_lossy().into_owned();
            match name.parse() {
                Ok(id) if entry.kind == Kind::Directory => ids.push(id),
                _ => others.push(name),
            }
        }
        ids.sort_unstable();
        Ok((ids, others))
    }

    /// Whether a snapshot stands under `snapshots/`. What belongs to one that does not may be removed, so an answer that
    /// the filesystem does not give, if only for now, is an error and never a no.
    ///
    /// # Errors
    /// If the filesystem does not answer.
    pub fn has_snapshot(&self, id: SnapshotId) -> Result<bool, RepoError> {
        let Some(snapshots) = self.find_dir("snapshots")? else { return Ok(false) };
        Ok(snapshots.find(id.to_string())?.is_some_and(|stat| stat.kind == Kind::Directory))
    }

    /// The directory of a snapshot.
    ///
    /// # Errors
    /// If there is no such snapshot.
    pub fn snapshot_dir(&self, id: SnapshotId) -> Result<Dir, RepoError> {
        let relative = PathBuf::from("snapshots").join(id.to_string());
        self.dir.find_beneath(&relative)?.ok_or(RepoError::NoSnapshot { id, place: "snapshots/" })
    }

    /// Reads what a snapshot says of itself.
    ///
    /// # Errors
    /// If there is no such snapshot; a manifest that cannot be read is a state, not an error.
    pub fn snapshot(&self, id: SnapshotId) -> Result<SnapshotState, RepoError> {
        let dir = self.snapshot_dir(id)?;
        let bytes = match dir.read(MANIFEST, MANIFEST_LIMIT_BYTES) {
            Ok(bytes) => bytes,
            Err(error) => {
                // Removed under the reader's eyes is removed, not damaged.
                self.snapshot_dir(id)?;
                return Ok(SnapshotState::Damaged(crate::monitor::chain(&error)));
            }
        };
        Ok(Self::state(id, &bytes))
    }

    /// What the bytes of a `manifest.json` say of the snapshot that they stand in.
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

/// With verbs that know what a network filesystem does, where `dir` lies on one.
fn suited(dir: Dir, verbs: &Arc<dyn Verbs>) -> Dir {
    if !fs::is_network_filesystem(&dir) {
        return dir;
    }
    dir.with_verbs(fs::network_verbs(Arc::clone(verbs)))
}

/// The format of a file that a newer chsnap has written, whatever else of it can be read here.
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
