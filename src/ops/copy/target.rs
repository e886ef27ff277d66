//! The target repository: found, compared with the source, created if it is missing.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::fs::{self, Dir, ErrorKind, Mutations};
use crate::model::Room;
use crate::ops::bound::same_server_for_copy;
use crate::ops::error::OpError;
use crate::ops::init::{init, resolved};
use crate::repo::{Locked, RepoError, Repository};

/// A repository to copy to.
pub struct TargetRepository {
    path: PathBuf,
    verbs: Arc<dyn Mutations>,
    existing: Option<Repository>,
}

impl std::fmt::Debug for TargetRepository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("path", &self.path).field("standing", &self.existing).finish_non_exhaustive()
    }
}

impl TargetRepository {
    /// Looks for the repository at `path`. It may be missing; a copy then creates it.
    ///
    /// # Errors
    /// If it is the source itself, lies inside the source or contains it; if something else is at `path`; or if it
    /// cannot be read.
    pub fn find(source: &Repository, path: &Path, verbs: &Arc<dyn Mutations>) -> Result<Self, OpError> {
        let (own, other) = (resolved(source.path()), resolved(path));
        let overlapping = || OpError::CopyIntoItself { target: path.to_owned(), source_path: source.path().to_owned() };
        if own.starts_with(&other) || other.starts_with(&own) {
            return Err(overlapping());
        }
        let existing = match Repository::open(path, verbs) {
            Err(RepoError::NotARepository { .. }) => match Repository::check_init(path, verbs) {
                Ok(()) => None,
                // Another copy has created it in the meantime.
                Err(RepoError::AlreadyARepository { .. }) => Some(Repository::open(path, verbs)?),
                Err(error) => return Err(error.into()),
            },
            repository => Some(repository?),
        };
        match &existing {
            // For example a bind mount: another path to the same directory.
            Some(repository) if repository.dir().identity()? == source.dir().identity()? => return Err(overlapping()),
            Some(repository) => repository.check_writable_format()?,
            None => {}
        }
        Ok(Self { path: path.to_owned(), verbs: Arc::clone(verbs), existing })
    }

    /// Its path, existing or not.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The repository, if it exists already.
    #[must_use]
    pub fn existing(&self) -> Option<&Repository> {
        self.existing.as_ref()
    }

    /// Checks that it belongs to the source's server, or to none yet.
    pub(super) fn check_server(&self, source: &Repository, allow_other: bool) -> Result<(), OpError> {
        same_server_for_copy(self.existing().and_then(Repository::server), source.server(), allow_other)
    }

    /// Opens the repository, or creates it if it is missing.
    pub(super) fn open_or_make(self, now: DateTime<Utc>) -> Result<Repository, OpError> {
        let Self { path, verbs, existing } = self;
        match existing.map_or_else(|| init(&path, now, &verbs), Ok) {
            // Another copy may have created it in the meantime.
            Err(error @ OpError::Repo(RepoError::AlreadyARepository { .. } | RepoError::NotEmpty { .. })) => {
                Repository::open(&path, &verbs).map_err(|_| error)
            }
            result => result,
        }
    }

    /// The free space for the copies: in the repository, or in its nearest existing parent directory.
    pub(super) fn room(&self) -> Result<TargetRoom, OpError> {
        if let Some(repository) = &self.existing {
            return TargetRoom::of(repository);
        }
        let path = resolved(&self.path);
        let mut above: &Path = &path;
        let dir = loop {
            match (Dir::open(above, Arc::clone(&self.verbs)), above.parent()) {
                (Err(error), Some(parent)) if error.kind() == ErrorKind::NotFound => above = parent,
                (dir, _) => break dir?,
            }
        };
        Ok(TargetRoom { path: self.path.clone(), room: fs::space(&dir)?.room() })
    }
}

/// The free space of a repository.
#[derive(Clone, Debug)]
pub(super) struct TargetRoom {
    /// The repository.
    pub(super) path: PathBuf,
    /// The room on its filesystem.
    pub(super) room: Room,
}

impl TargetRoom {
    pub(super) fn of(repository: &Repository) -> Result<Self, OpError> {
        Ok(Self { path: repository.path().to_owned(), room: fs::space(repository.dir())?.room() })
    }
}

/// Binds the target to the source's server.
pub(super) fn bind(source: &Repository, target: &Locked<'_>) -> Result<(), OpError> {
    match source.server() {
        Some(server) if target.repository().server() != Some(server) => Ok(target.bind(server.clone())?),
        _ => Ok(()),
    }
}
