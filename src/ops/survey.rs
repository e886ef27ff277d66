//! The repositories of several servers, for example on one export.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::fs::{Dir, EntryKind, ErrorKind, FsError, real};
use crate::model::RepositoryId;
use crate::repo::{BoundServer, Repository};

use super::error::OpError;
use super::read::{SnapshotList, list};
use super::usage::{Usage, UsageRequest, usage};

/// One of several repositories.
#[derive(Debug)]
#[non_exhaustive]
pub struct Surveyed {
    /// Its path.
    pub path: PathBuf,
    /// The repository, or why it cannot be opened.
    pub found: Result<OpenedRepository, OpError>,
}

/// An opened repository.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenedRepository {
    /// Its id.
    pub id: RepositoryId,
    /// The server that it belongs to.
    pub server: Option<BoundServer>,
    /// Its snapshots.
    pub listing: SnapshotList,
    /// The space that it takes.
    pub usage: Result<Usage, OpError>,
}

/// The repositories beneath a directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct RepositorySurvey {
    /// Repositories by path, including unreadable ones.
    pub repositories: Vec<Surveyed>,
    /// Directories that could not be read.
    pub unread: Vec<(PathBuf, FsError)>,
}

/// The depth below the given directory up to which repositories are found.
pub const SURVEY_DEPTH: usize = 5;
/// The file that marks a directory as a repository.
const CONFIG: &str = "chsnap.json";

/// Lists the repositories beneath `path`, including the directory itself. Does not look inside a repository, and
/// follows no symbolic link. The space of each is computed from this host's index, according to `asked`.
///
/// # Errors
/// If the directory itself cannot be read.
pub fn survey(
    path: &Path,
    asked: impl Fn(&Repository) -> UsageRequest,
    now: DateTime<Utc>,
) -> Result<RepositorySurvey, OpError> {
    let mut survey = RepositorySurvey { repositories: Vec::new(), unread: Vec::new() };
    let mut level = vec![Dir::open(path, real())?];
    for depth in 0..=SURVEY_DEPTH {
        let mut below = Vec::new();
        for dir in level {
            let entries = match dir.entries_with_kind() {
                Ok(entries) => entries,
                Err(error) if depth == 0 => return Err(error.into()),
                Err(error) => {
                    survey.unread.push((dir.path().to_owned(), error));
                    continue;
                }
            };
            if entries.iter().any(|entry| entry.name == CONFIG) {
                survey.repositories.push(look(dir.path(), &asked, now));
                continue;
            }
            for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Directory && depth < SURVEY_DEPTH) {
                match dir.open_dir(&entry.name) {
                    Ok(dir) => below.push(dir),
                    // It was removed meanwhile.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => survey.unread.push((dir.path().join(&entry.name), error)),
                }
            }
        }
        level = below;
    }
    survey.repositories.sort_by(|a, b| a.path.cmp(&b.path));
    survey.unread.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(survey)
}

fn look(path: &Path, asked: impl Fn(&Repository) -> UsageRequest, now: DateTime<Utc>) -> Surveyed {
    let found = Repository::open(path, &real()).map_err(OpError::from).and_then(|repository| {
        let listing = list(&repository)?;
        let (id, server) = (repository.id().clone(), repository.server().cloned());
        Ok(OpenedRepository { id, server, listing, usage: usage(&repository, &asked(&repository), now) })
    });
    Surveyed { path: path.to_owned(), found }
}
