//! The places of configuration files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::failure::CommandFailure;
use super::super::trust;

/// Files, the weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct ConfigSearch {
    files: Vec<PathBuf>,
    /// Whether the only file was named, and so must exist.
    named: bool,
    /// The directories that were searched, each with the variable that can name another one.
    places: Vec<SearchDirectory>,
}

/// A directory in which files are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct SearchDirectory {
    /// The variable of the environment that names it.
    pub(in super::super) variable: &'static str,
    /// The value to which that variable would be set.
    pub(in super::super) directory: PathBuf,
    /// Whether another user's process searches it without that variable.
    is_usual: bool,
}

/// The directory of the system's configuration, unless [`SYSTEM_VARIABLE`] names another one.
const SYSTEM: &str = "/etc/chsnap";
/// For packagers and tests: the directory of `config.toml` and `conf.d/`.
const SYSTEM_VARIABLE: &str = "CHSNAP_SYSTEM_CONFIG_DIR";
const USER_VARIABLE: &str = "XDG_CONFIG_HOME";
const USER_FILE: &str = "chsnap/config.toml";

impl ConfigSearch {
    /// The file that was named, or else the system's files and then the user's.
    ///
    /// # Errors
    /// If `conf.d/` exists and cannot be listed.
    pub(in super::super) fn new(named: Option<&Path>) -> Result<Self, CommandFailure> {
        if let Some(file) = named {
            return Ok(Self { files: vec![file.to_owned()], named: true, places: Vec::new() });
        }
        let (system, user) = (system_directory(), user_directory());
        let mut files = vec![system.join("config.toml")];
        files.extend(parts(&system.join("conf.d"))?);
        files.extend(user.iter().map(|user| user.join(USER_FILE)));
        let is_usual = system == Path::new(SYSTEM);
        let mut places = vec![SearchDirectory { variable: SYSTEM_VARIABLE, directory: system, is_usual }];
        places.extend(user.map(|directory| SearchDirectory { variable: USER_VARIABLE, directory, is_usual: false }));
        Ok(Self { files, named: false, places })
    }

    /// No file at all: for the command that writes the first one.
    pub(in super::super) fn none() -> Self {
        Self { files: Vec::new(), named: false, places: Vec::new() }
    }

    /// The directories of the files that were read which a process of root's, with an empty environment, would not
    /// search.
    pub(in super::super) fn private_places(&self, read: &[PathBuf]) -> Vec<SearchDirectory> {
        let is_used = |place: &&SearchDirectory| read.iter().any(|file| file.starts_with(&place.directory));
        self.places.iter().filter(|place| !place.is_usual).filter(is_used).cloned().collect()
    }

    /// The existing files, with their text.
    ///
    /// # Errors
    /// If one cannot be read, or the named one does not exist.
    pub(in super::super) fn read(&self) -> Result<Vec<(PathBuf, String)>, CommandFailure> {
        let mut read = Vec::new();
        for path in &self.files {
            match std::fs::read_to_string(path) {
                Ok(text) => {
                    trust::check("the configuration file", path)?;
                    read.push((path.clone(), text));
                }
                Err(error) if !self.named && is_absent(&error) => {}
                // Another user's home directory, as with `sudo -u`: its configuration does not concern this user.
                Err(error) if !self.named && is_hidden(path, &error) => {}
                Err(error) => {
                    let message = format!("cannot read the configuration file {}", path.display());
                    return Err(CommandFailure::usage(message).caused_by(error.to_string()));
                }
            }
        }
        Ok(read)
    }
}

/// The directory of the system's `config.toml` and `conf.d/`.
fn system_directory() -> PathBuf {
    set(SYSTEM_VARIABLE).unwrap_or_else(|| PathBuf::from(SYSTEM))
}

/// The directory of the user's configuration, shared by all programs.
fn user_directory() -> Option<PathBuf> {
    let user = set(USER_VARIABLE).filter(|path| path.is_absolute());
    user.or_else(|| set("HOME").map(|home| home.join(".config")))
}

fn set(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The path of a first configuration file: the system's for root, else the user's.
pub(in super::super) fn first_file() -> PathBuf {
    let of_user = user_directory().filter(|_| chsnap::fs::user_id() != 0).map(|user| user.join(USER_FILE));
    of_user.unwrap_or_else(|| system_directory().join("config.toml"))
}

/// Missing, or in a home directory that this user may not enter.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn is_hidden(path: &Path, error: &std::io::Error) -> bool {
    let denied = std::io::ErrorKind::PermissionDenied;
    error.kind() == denied && std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == denied)
}

/// The files `*.toml` of a directory, by name.
fn parts(directory: &Path) -> Result<Vec<PathBuf>, CommandFailure> {
    let failure = |error: std::io::Error| {
        CommandFailure::usage(format!("cannot list {}", directory.display())).caused_by(error.to_string())
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        entries => entries.map_err(failure)?,
    };
    let names: Result<Vec<OsString>, std::io::Error> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names = names.map_err(failure)?;
    names.retain(|name| {
        let name = name.to_string_lossy();
        name.ends_with(".toml") && !name.starts_with('.')
    });
    names.sort();
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}
