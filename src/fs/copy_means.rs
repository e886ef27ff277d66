//! How files are copied, and what comes of it.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::copy_hash::Digest;
use super::error::FsError;
use super::keep::Unkept;
use super::rate::RateLimit;
use super::stat::Stat;

/// Called with the bytes that were copied since the last call; stops the copy by its answer.
pub type Advanced<'a> = dyn Fn(u64) -> ControlFlow<()> + Sync + 'a;

/// How files are copied between two filesystems. What one copy learns of them, the next need not try.
pub struct CopyMeans<'a> {
    pub(super) wants_clones: bool,
    pub(super) rate: Option<&'a RateLimit>,
    pub(super) advanced: &'a Advanced<'a>,
    pub(super) clones_refused: AtomicBool,
    pub(super) ranges_refused: AtomicBool,
}

impl std::fmt::Debug for CopyMeans<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyMeans").field("wants_clones", &self.wants_clones).finish_non_exhaustive()
    }
}

impl<'a> CopyMeans<'a> {
    /// With `wants_clones`, blocks are shared (`FICLONE`) where the filesystem can. No more bytes a second than `rate`
    /// allows are copied.
    #[must_use]
    pub fn new(wants_clones: bool, rate: Option<&'a RateLimit>, advanced: &'a Advanced<'a>) -> Self {
        let (clones_refused, ranges_refused) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { wants_clones, rate, advanced, clones_refused, ranges_refused }
    }

    /// The same means for another run, with what was learned so far.
    #[must_use]
    pub fn again(&self) -> Self {
        let known = |flag: &AtomicBool| AtomicBool::new(flag.load(Ordering::Relaxed));
        let (clones_refused, ranges_refused) = (known(&self.clones_refused), known(&self.ranges_refused));
        Self { clones_refused, ranges_refused, ..*self }
    }
}

/// Why a file was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Something wrote to the source, or replaced it, while it was read.
    #[error("cannot copy {}: it {what} meanwhile", .path.display())]
    Changed {
        /// The source.
        path: PathBuf,
        /// What became of it.
        what: &'static str,
    },
    /// The copy was told to stop.
    #[error("cannot copy {}: interrupted", .path.display())]
    Interrupted {
        /// The source.
        path: PathBuf,
    },
}

/// A file that was copied.
#[derive(Clone, Debug)]
pub struct CopiedFile {
    /// The source, after its last byte was read.
    pub source: Stat,
    /// Whether it shares its blocks with the source.
    pub is_clone: bool,
    /// The hash of the bytes that were read, if one was asked for.
    pub digest: Option<Digest>,
    /// What of the source the copy does not have.
    pub unkept: Vec<Unkept>,
    /// Whether the inode of the source changed while it was read, but neither its size nor its modification time: links
    /// to it were made or removed, as a merge does, or its owner, mode or attributes were set.
    pub was_touched: bool,
}

/// What a system answers when it cannot do this on these files, although it could be done another way.
pub(super) fn is_unsupported(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOTTY | Errno::PERM | Errno::TXTBSY
    )
}
