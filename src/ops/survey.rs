//! The repositories of several servers side by side, on one export say.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::fs::{Dir, ErrorKind, FsError, Kind, real};
use crate::model::RepositoryId;
use crate::repo::{BoundServer, Repository};

use super::error::OpError;
use super::read::{Listing, list};
use super::usage::{Usage, UsageRequest, usage};

/// One of several repositories.
#[derive(Debug)]
pub struct Surveyed {
    /// Where it is.
    pub path: PathBuf,
    /// What it is, as far as it opens.
    pub found: Result<Found, OpError>,
}

/// A repository that opens.
#[derive(Debug)]
pub struct Found {
    /// Its id.
    pub id: RepositoryId,
    /// The server that it is of.
    pub server: Option<BoundServer>,
    /// What it holds.
    pub listing: Listing,
    /// What that takes.
    pub usage: Result<Usage, OpError>,
}

/// What was found beneath a directory.
#[derive(Debug)]
pub struct Survey {
    /// Repositories, those that cannot be read among them, by path.
    pub repositories: Vec<Surveyed>,
    /// Directories that could not be looked into.
    pub unread: Vec<(PathBuf, FsError)>,
}

/// How many directories below the one that is named a repository is still found.
pub const SURVEY_DEPTH: usize = 5;
/// What makes a directory a repository.
const CONFIG: &str = "chsnap.json";

/// Lists the repositories beneath `path`, the directory itself among them; what lies inside one is not looked at, and no
/// symbolic link is followed. What each takes is found out as `asked` of it, from this host's index.
///
/// # Errors
/// If the directory itself cannot be read.
pub fn survey(path: &Path, asked: impl Fn(&Repository) -> UsageRequest, now: DateTime<Utc>) -> Result<Survey, OpError> {
    let mut survey = Survey { repositories: Vec::new(), unread: Vec::new() };
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
            for entry in entries.iter().filter(|entry| entry.kind == Kind::Directory && depth < SURVEY_DEPTH) {
                match dir.open_dir(&entry.name) {
                    Ok(dir) => below.push(dir),
                    // It went meanwhile.
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
        Ok(Found { id, server, listing, usage: usage(&repository, &asked(&repository), now) })
    });
    Surveyed { path: path.to_owned(), found }
}
