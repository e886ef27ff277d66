//! The options of a copy, and its result.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::copy_hash::ContentDigest;
use super::error::FsError;
use super::keep::LostMetadata;
use super::rate::RateLimit;
use super::stat::Stat;

/// Called with the bytes that were copied since the last call; its answer can stop the copy.
pub type Advanced<'a> = dyn Fn(u64) -> ControlFlow<()> + Sync + 'a;

/// Options for copying files between two filesystems. Later copies skip operations that earlier ones found to be
/// unsupported.
pub struct CopyOptions<'a> {
    pub(super) wants_clones: bool,
    pub(super) rate: Option<&'a RateLimit>,
    pub(super) advanced: &'a Advanced<'a>,
    pub(super) clones_refused: AtomicBool,
    pub(super) ranges_refused: AtomicBool,
}

impl std::fmt::Debug for CopyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CopyOptions").field("wants_clones", &self.wants_clones).finish_non_exhaustive()
    }
}

impl<'a> CopyOptions<'a> {
    /// With `wants_clones`, blocks are shared (`FICLONE`) if the filesystem supports it. At most the bytes per second
    /// that `rate` allows are copied.
    #[must_use]
    pub fn new(wants_clones: bool, rate: Option<&'a RateLimit>, advanced: &'a Advanced<'a>) -> Self {
        let (clones_refused, ranges_refused) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { wants_clones, rate, advanced, clones_refused, ranges_refused }
    }

    /// The same options for another run, including the refusals known so far.
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
    /// Another process wrote to the source, or replaced it, while it was read.
    #[error("cannot copy {}: it {what} meanwhile", .path.display())]
    Changed {
        /// The source.
        path: PathBuf,
        /// How it changed.
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
    /// The hash of the bytes that were read, if one was requested.
    pub digest: Option<ContentDigest>,
    /// Metadata of the source that the copy does not have.
    pub unkept: Vec<LostMetadata>,
    /// Whether the inode of the source changed while it was read, but neither its size nor its modification time. This
    /// happens if links to it are created or removed, as a merge does, or if its owner, mode or attributes are set.
    pub was_touched: bool,
}

/// Whether this error means that the system cannot do this on these files, although another way may work.
pub(super) fn is_unsupported(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOTTY | Errno::PERM | Errno::TXTBSY
    )
}
