//! A server's state besides tables: functions, users, named collections, workloads, and directories of configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::fs::{Dir, EntryKind, ErrorKind, FsError};
use crate::model::{Warning, WarningKind, escape_for_file_name};
use crate::ops::disks::{DEFINITION_LIMIT_BYTES, LocalDisks, PREPROCESSED};
use crate::ops::error::OpError;
use crate::plan::{InKeeper, ServerConfig, StatePlaces, StateSources, state_places};
use crate::repo::{Incoming, MetadataFile};
use crate::server::{self, FunctionRow, Server, ServerError};

/// Writes the state of a server into a snapshot.
pub(super) struct StateWriter<'a> {
    pub(super) server: &'a Server,
    pub(super) local: &'a LocalDisks,
    pub(super) incoming: &'a Incoming<'a>,
    pub(super) files: &'a mut Vec<MetadataFile>,
    /// The paths of the files that it wrote.
    pub(super) kept: BTreeSet<PathBuf>,
    pub(super) warnings: &'a mut Vec<Warning>,
}

/// The directories in the snapshot for executable functions and for their scripts.
const EXECUTABLE: &str = "executable_functions";
const SCRIPTS: &str = "user_scripts";
/// The directory in the snapshot for directories of configuration.
const CONFIGS: &str = "configs";
/// The nesting depth up to which directories are kept; deeper trees are no configuration.
const DEPTH: usize = 16;
/// The largest number of names in a warning, which counts the rest.
const NAMED: usize = 5;

impl StateWriter<'_> {
    /// Keeps the server's state, and warns about what cannot be kept.
    ///
    /// # Errors
    /// If the snapshot cannot be written, or the server does not answer.
    pub(super) fn write(&mut self, functions: Vec<FunctionRow>) -> Result<(), OpError> {
        let places = self.places()?;
        for (kept_as, path) in &places.directories {
            self.keep_statements(kept_as, path)?;
        }
        self.keep_executable(&places)?;
        for function in functions {
            // ClickHouse's own file name for it; see `UserDefinedSQLObjectsDiskStorage`.
            let name = format!("function_{}.sql", escape_for_file_name(&function.name));
            self.keep_listed("user_defined", &name, &function.create_query)?;
        }
        self.keep_workloads()?;
        for (what, path) in &places.in_keeper {
            self.warn_of_objects_in_keeper(what, path.as_deref())?;
        }
        Ok(())
    }

    /// Keeps directories of configuration as a whole: as copies, readable by their owner alone.
    ///
    /// # Errors
    /// If the snapshot cannot be written.
    pub(super) fn write_configs(&mut self, folders: &[PathBuf]) -> Result<(), OpError> {
        for folder in folders {
            let Some(dir) = self.open(folder, true) else { continue };
            let below = Path::new(CONFIGS).join(folder.strip_prefix("/").unwrap_or(folder));
            self.keep_tree(&dir, &below, DEPTH)?;
        }
        Ok(())
    }

    fn places(&mut self) -> Result<StatePlaces, OpError> {
        let Some(own) = self.local.own() else { return Ok(StatePlaces::default()) };
        let settings = self.listed("settings", server::state_settings(self.server))?;
        let user_directories = self.listed("places of users", server::user_directories(self.server))?;
        let config = self.local.server_config().unwrap_or_else(|error| {
            self.warn_unreadable(&format!("{}/{}", PREPROCESSED.0, PREPROCESSED.1), &error);
            ServerConfig::default()
        });
        Ok(state_places(StateSources {
            data_path: &own.disk.path,
            settings: &settings,
            config: &config,
            user_directories: &user_directories,
        }))
    }

    /// The server's list; a warning if the server denies it to this user.
    fn listed<T: Default>(&mut self, what: &str, listed: Result<T, ServerError>) -> Result<T, OpError> {
        match listed {
            Err(error @ ServerError::Exception { .. }) => {
                let error = crate::monitor::chain(&error);
                let message = format!("the {what} of the server cannot be listed: {error}");
                self.warnings.push(Warning::new(WarningKind::ServerFilesUnreadable, message));
                Ok(T::default())
            }
            listed => Ok(listed?),
        }
    }

    fn warn_unreadable(&mut self, path: &str, error: &FsError) {
        let message = format!("{path} of the server is not in the snapshot: {error}");
        self.warnings.push(Warning::new(WarningKind::ServerFilesUnreadable, message));
    }

    /// Opens a directory, as the server sees it. A missing one is a warning if it `must_be` there.
    fn open(&mut self, path: &Path, must_be: bool) -> Option<Dir> {
        match self.local.open_anywhere(path) {
            Err(error) if error.kind() == ErrorKind::NotFound && !must_be => None,
            Err(error) => {
                self.warn_unreadable(&format!("{}/", path.display()), &error);
                None
            }
            Ok(dir) => Some(dir),
        }
    }

    fn keep(&mut self, path: &Path, bytes: &[u8]) -> Result<(), OpError> {
        if self.kept.insert(path.to_owned()) {
            self.files.push(self.incoming.write_metadata(path, bytes)?);
        }
        Ok(())
    }

    /// Keeps a statement that the server lists, unless a file of it was kept.
    fn keep_listed(&mut self, kept_as: &str, name: &str, statement: &str) -> Result<(), OpError> {
        if statement.is_empty() { Ok(()) } else { self.keep(&Path::new(kept_as).join(name), statement.as_bytes()) }
    }

    /// Keeps the files of a directory of statements.
    fn keep_statements(&mut self, kept_as: &str, path: &Path) -> Result<(), OpError> {
        let Some(dir) = self.open(path, false) else { return Ok(()) };
        // Of a directory that is not the server's own, only files that can be statements.
        let is_own = self.local.own().is_some_and(|own| own.disk.path.join(kept_as) == path);
        let is_kind = |name: &str| is_own || has_suffix(name, &["sql", "list"]);
        for (name, bytes) in self.files_of(&dir, path, &is_kind) {
            self.keep(&Path::new(kept_as).join(name), &bytes)?;
        }
        Ok(())
    }

    /// The files of a directory, including those behind links.
    fn files_of(&mut self, dir: &Dir, shown: &Path, is_wanted: &dyn Fn(&str) -> bool) -> Vec<(String, Vec<u8>)> {
        let entries = match dir.entries_with_kind() {
            Ok(entries) => entries,
            Err(error) => {
                self.warn_unreadable(&format!("{}/", shown.display()), &error);
                return Vec::new();
            }
        };
        let mut files = Vec::new();
        for entry in entries.iter().filter(|entry| matches!(entry.kind, EntryKind::File | EntryKind::Symlink)) {
            let Some(name) = entry.name.to_str().filter(|name| is_wanted(name)) else { continue };
            match read_through(dir, name, LINKS) {
                Ok(bytes) => files.push((name.to_owned(), bytes)),
                // A link to a directory.
                Err(error) if entry.kind == EntryKind::Symlink && error.kind() == ErrorKind::WrongKind => {}
                Err(error) => self.warn_unreadable(&shown.join(name).display().to_string(), &error),
            }
        }
        files
    }

    /// Keeps a directory with everything in it.
    fn keep_tree(&mut self, dir: &Dir, kept_as: &Path, depth: usize) -> Result<(), OpError> {
        let shown = dir.path().to_owned();
        // Kubernetes keeps these next to the links to them.
        let is_wanted = |name: &str| !name.starts_with("..");
        for (name, bytes) in self.files_of(dir, &shown, &is_wanted) {
            self.keep(&kept_as.join(name), &bytes)?;
        }
        let entries = dir.entries_with_kind().unwrap_or_default();
        let directories = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        for name in directories.filter_map(|entry| entry.name.to_str()).filter(|name| is_wanted(name)) {
            match dir.open_dir(name) {
                Ok(inner) if depth > 0 => self.keep_tree(&inner, &kept_as.join(name), depth - 1)?,
                Ok(_) => {
                    let message = format!("{} is not in the snapshot: it is too deep", shown.join(name).display());
                    self.warnings.push(Warning::new(WarningKind::ServerFilesUnreadable, message));
                }
                Err(error) => self.warn_unreadable(&format!("{}/", shown.join(name).display()), &error),
            }
        }
        Ok(())
    }

    /// Keeps the files that describe executable functions, and their scripts if there are any such functions.
    fn keep_executable(&mut self, places: &StatePlaces) -> Result<(), OpError> {
        let functions = self.listed("executable functions", server::executable_functions(self.server))?;
        let before = self.files.len();
        for (path, pattern) in &places.executable {
            let Some(dir) = self.open(path, false) else { continue };
            let Some(glob) = glob(pattern) else { continue };
            let is_kind = |name: &str| glob.is_match(name) && has_suffix(name, &["xml", "yaml", "yml"]);
            for (name, bytes) in self.files_of(&dir, path, &is_kind) {
                self.keep(&Path::new(EXECUTABLE).join(name), &bytes)?;
            }
        }
        let has_files = self.files.len() > before;
        if !functions.is_empty() && !has_files {
            let message = format!(
                "the executable functions {} are not in the snapshot: the files that describe them were not found here",
                named(&functions)
            );
            self.warnings.push(Warning::new(WarningKind::ServerFilesUnreadable, message));
        }
        if (has_files || !functions.is_empty())
            && let Some(dir) = self.open(&places.scripts, !functions.is_empty())
        {
            self.keep_tree(&dir, Path::new(SCRIPTS), DEPTH)?;
        }
        Ok(())
    }

    /// Workloads and resources without a file here: the server keeps them elsewhere, for example in Keeper.
    fn keep_workloads(&mut self) -> Result<(), OpError> {
        for (table, kind) in [("workloads", "workload"), ("resources", "resource")] {
            for (name, statement) in self.listed(table, server::statements_in(self.server, table))? {
                // ClickHouse's own file name for it; see `WorkloadEntityDiskStorage`.
                self.keep_listed("workload", &format!("{kind}_{}.sql", escape_for_file_name(&name)), &statement)?;
            }
        }
        Ok(())
    }

    /// Warns about objects in Keeper that are not in the snapshot.
    fn warn_of_objects_in_keeper(&mut self, what: &InKeeper, path: Option<&str>) -> Result<(), OpError> {
        let (what, names) = match what {
            InKeeper::Access { storage } => {
                let names = self.listed("users", server::access_names(self.server, storage))?;
                ("users, roles, quotas, policies and profiles", names)
            }
            InKeeper::NamedCollections => ("named collections", server::named_collections(self.server)),
            // Those that the server lists with their statements are kept.
            InKeeper::Functions => ("functions", self.not_kept("functions", "user_defined", "function")?),
            InKeeper::Workloads => {
                let mut names = self.not_kept("workloads", "workload", "workload")?;
                names.extend(self.not_kept("resources", "workload", "resource")?);
                ("workloads and resources", names)
            }
        };
        if names.is_empty() {
            return Ok(());
        }
        let at = path.map(|path| format!(" ({path})")).unwrap_or_default();
        let message = format!("{what} that are kept in Keeper{at} are not in the snapshot: {}", named(&names));
        self.warnings.push(Warning::new(WarningKind::InKeeper, message));
        Ok(())
    }

    /// Objects that a system table lists and whose statement was not kept.
    fn not_kept(&mut self, system_table: &str, kept_as: &str, prefix: &str) -> Result<Vec<String>, OpError> {
        let names: Vec<String> = if system_table == "functions" {
            server::functions(self.server)?.into_iter().map(|function| function.name).collect()
        } else {
            let listed = self.listed(system_table, server::statements_in(self.server, system_table))?;
            listed.into_iter().map(|(name, _)| name).collect()
        };
        let file = |name: &str| Path::new(kept_as).join(format!("{prefix}_{}.sql", escape_for_file_name(name)));
        Ok(names.into_iter().filter(|name| !self.kept.contains(&file(name))).collect())
    }
}

/// How many links that lead to each other are followed.
const LINKS: usize = 8;

/// Reads a file of a directory, through symbolic links.
fn read_through(dir: &Dir, name: &str, links: usize) -> Result<Vec<u8>, FsError> {
    match dir.read(name, DEFINITION_LIMIT_BYTES) {
        Err(error) if links > 0 => {
            let Ok(target) = dir.read_link(name) else { return Err(error) };
            let target = dir.path().join(target);
            let (Some(parent), Some(name)) = (target.parent(), target.file_name().and_then(|name| name.to_str()))
            else {
                return Err(error);
            };
            read_through(&dir.open_elsewhere(parent)?, name, links - 1)
        }
        result => result,
    }
}

fn has_suffix(name: &str, suffixes: &[&str]) -> bool {
    name.rsplit_once('.').is_some_and(|(_, suffix)| suffixes.contains(&suffix))
}

fn glob(pattern: &str) -> Option<GlobMatcher> {
    Some(GlobBuilder::new(pattern).literal_separator(true).build().ok()?.compile_matcher())
}

fn named(names: &[String]) -> String {
    let names: BTreeSet<&String> = names.iter().collect();
    let list: Vec<String> = names.iter().take(NAMED).map(|name| format!("{name:.100}")).collect();
    let more = if names.len() > NAMED { format!(", and {} more", names.len() - NAMED) } else { String::new() };
    format!("{}{more}", list.join(", "))
}
