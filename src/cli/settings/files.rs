//! Where configuration files are looked for.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::super::failure::Failure;

/// Files, the weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Search {
    files: Vec<PathBuf>,
    /// Whether the one file was named, and so must be there.
    named: bool,
}

/// Where the system's configuration is, unless [`SYSTEM_VARIABLE`] names another directory.
const SYSTEM: &str = "/etc/chsnap";
/// For packagers and tests: the directory of `config.toml` and `conf.d/`.
const SYSTEM_VARIABLE: &str = "CHSNAP_SYSTEM_CONFIG_DIR";

impl Search {
    /// The file that was named, or else the system's files and then the user's.
    ///
    /// # Errors
    /// If `conf.d/` is there and cannot be listed.
    pub(in super::super) fn new(named: Option<&Path>) -> Result<Self, Failure> {
        if let Some(file) = named {
            return Ok(Self { files: vec![file.to_owned()], named: true });
        }
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let system = set(SYSTEM_VARIABLE).unwrap_or_else(|| PathBuf::from(SYSTEM));
        let user = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
        let user = user.or_else(|| set("HOME").map(|home| home.join(".config")));
        let mut files = vec![system.join("config.toml")];
        files.extend(parts(&system.join("conf.d"))?);
        files.extend(user.map(|user| user.join("chsnap/config.toml")));
        Ok(Self { files, named: false })
    }

    /// The files that are there, with their text.
    ///
    /// # Errors
    /// If one cannot be read, or the named one is not there.
    pub(in super::super) fn read(&self) -> Result<Vec<(PathBuf, String)>, Failure> {
        let mut read = Vec::new();
        for path in &self.files {
            match std::fs::read_to_string(path) {
                Ok(text) => read.push((path.clone(), text)),
                Err(error) if !self.named && is_absent(&error) => {}
                // Somebody else's home directory, as with `sudo -u`: its configuration is no affair of this user's.
                Err(error) if !self.named && is_hidden(path, &error) => {}
                Err(error) => {
                    let message = format!("cannot read the configuration file {}", path.display());
                    return Err(Failure::usage(message).caused_by(error.to_string()));
                }
            }
        }
        Ok(read)
    }
}

/// Not there, or behind a home directory that this user has not.
fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

fn is_hidden(path: &Path, error: &std::io::Error) -> bool {
    let denied = std::io::ErrorKind::PermissionDenied;
    error.kind() == denied && std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == denied)
}

/// The files `*.toml` of a directory, by name.
fn parts(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failure = |error: std::io::Error| {
        Failure::usage(format!("cannot list {}", directory.display())).caused_by(error.to_string())
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
