//! The failure of a system call, and the paths that it concerns.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

/// A system call that failed: the verb, the path or paths, the cause.
#[derive(Clone, Debug, thiserror::Error)]
#[error(transparent)]
pub struct FsError(Arc<Failed>);

#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}{}", .path.display(), other(.other_path.as_ref()))]
struct Failed {
    verb: &'static str,
    path: PathBuf,
    other_path: Option<PathBuf>,
    source: io::Error,
}

/// Causes on which callers decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// `ENOENT`.
    NotFound,
    /// `EEXIST`.
    Exists,
    /// `ENOTEMPTY`.
    NotEmpty,
    /// `ENOTDIR`, `ELOOP`: an entry of another kind is in the place of a directory or file.
    WrongKind,
    /// `EXDEV`: the two sides are not on one mount of one filesystem.
    CrossDevice,
    /// `EMLINK`: the inode has as many links as its filesystem allows.
    TooManyLinks,
    /// `EACCES`, `EPERM`.
    NoPermission,
    /// `EROFS`.
    ReadOnly,
    /// `ENOSPC`, `EDQUOT`: no blocks, no inodes or no quota left.
    NoSpace,
    /// Anything else.
    Other,
}

fn other(path: Option<&PathBuf>) -> String {
    path.map(|path| format!(" to {}", path.display())).unwrap_or_default()
}

impl FsError {
    pub(crate) fn new(verb: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self(Arc::new(Failed { verb, path: path.to_owned(), other_path: None, source: source.into() }))
    }

    pub(crate) fn between(verb: &'static str, from: &Path, to: &Path, source: impl Into<io::Error>) -> Self {
        let (path, other_path) = (from.to_owned(), Some(to.to_owned()));
        Self(Arc::new(Failed { verb, path, other_path, source: source.into() }))
    }

    /// The path that the call was about; the source of a two-path call.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The cause, in the detail that callers distinguish.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match Errno::from_io_error(&self.0.source) {
            Some(Errno::NOENT) => ErrorKind::NotFound,
            Some(Errno::EXIST) => ErrorKind::Exists,
            Some(Errno::NOTEMPTY) => ErrorKind::NotEmpty,
            Some(Errno::NOTDIR | Errno::LOOP | Errno::ISDIR) => ErrorKind::WrongKind,
            Some(Errno::XDEV) => ErrorKind::CrossDevice,
            Some(Errno::MLINK) => ErrorKind::TooManyLinks,
            Some(Errno::ACCESS | Errno::PERM) => ErrorKind::NoPermission,
            Some(Errno::ROFS) => ErrorKind::ReadOnly,
            Some(Errno::NOSPC | Errno::DQUOT) => ErrorKind::NoSpace,
            _ => ErrorKind::Other,
        }
    }
}

/// Turns "not found" into `None`.
///
/// # Errors
/// Every other error is passed on.
pub fn if_found<T>(result: Result<T, FsError>) -> Result<Option<T>, FsError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
