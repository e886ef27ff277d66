//! How one part is copied, and what comes of it.

use std::ops::AddAssign;
use std::path::PathBuf;

use crate::fs::{CopyError, Entry, FsError, Unkept};
use crate::model::{Fingerprint, Placement};
use crate::repo::PartFile;

use super::ExecError;
use super::join::Joins;

/// Which entries of a directory belong in a copy of it.
pub(super) type Wanted<'a> = dyn Fn(&Entry) -> bool + Sync + 'a;

/// How one part is copied.
#[derive(Clone, Copy)]
pub struct PartCopy<'a> {
    /// Which entries of its directories belong in the copy.
    pub wanted: &'a Wanted<'a>,
    /// The files that stand somewhere already.
    pub joins: &'a Joins,
    /// Whether it is held against its `checksums.txt` at all. A part that is damaged where it comes from cannot be.
    pub is_checked: bool,
}

impl std::fmt::Debug for PartCopy<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartCopy").field("is_checked", &self.is_checked).finish_non_exhaustive()
    }
}

/// Why a part was not copied. What was made of it stays, and is the caller's to remove.
#[derive(Debug, thiserror::Error)]
pub enum CopyPartError {
    /// A file could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A system call failed, or something in it is nothing that a part has.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// What was read is not what the part's own `checksums.txt` says: it is damaged on its disk, or on the way from
    /// there.
    #[error("{} is damaged: its checksums.txt says {expected}, read was {found}", .path.display())]
    Damaged {
        /// The file, or the directory of a projection.
        path: PathBuf,
        /// Size and hash by the `checksums.txt` beside it.
        expected: String,
        /// What it has.
        found: String,
    },
}

impl From<FsError> for CopyPartError {
    fn from(error: FsError) -> Self {
        ExecError::from(error).into()
    }
}

/// A part that was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedPart {
    /// Its files, projections included.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Of the files, those that share their blocks with their sources.
    pub cloned_files: u64,
    /// Of the files, those that are links to copies of the same inode.
    pub linked_files: u64,
    /// Sum of their sizes.
    pub cloned_bytes: u64,
    /// Sum of the sizes of `linked_files`.
    pub linked_bytes: u64,
    /// Of the files, those that are links to equal files of earlier parts.
    pub joined_files: u64,
    /// Sum of their sizes.
    pub joined_bytes: u64,
    /// Of the files, those whose bytes were copied; empty ones are none.
    pub copied_files: u64,
    /// Files that were copied although there is a copy, because that has as many links as it may have.
    pub afresh_files: u64,
    /// Files whose inode changed while they were read, but neither size nor modification time.
    pub touched_files: u64,
    /// The fingerprint derived from its checksums, where they can be read.
    pub fingerprint: Option<Fingerprint>,
    /// Why its files could not be held against its checksums, where they could not.
    pub unverifiable: Option<String>,
    /// The files that its checksums do not cover, in the order of their paths; none unless the copier verifies.
    pub uncovered: Vec<PartFile>,
    /// What could not be kept, by paths relative to the part; its own is empty.
    pub unkept: Vec<(String, Unkept)>,
}

impl CopiedPart {
    /// How it was placed: one file that was copied makes it a copy, and one that was not joined keeps it from being
    /// linked.
    #[must_use]
    pub fn placement(&self) -> Placement {
        if self.files > 0 && self.joined_files == self.files {
            Placement::Linked
        } else if self.cloned_files > 0 && self.copied_files == 0 {
            Placement::Reflinked
        } else {
            Placement::Copied
        }
    }
}

impl AddAssign for CopiedPart {
    /// Adds what is below; what is said of the part as a whole stays.
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.cloned_files += other.cloned_files;
        self.cloned_bytes += other.cloned_bytes;
        self.linked_files += other.linked_files;
        self.linked_bytes += other.linked_bytes;
        self.joined_files += other.joined_files;
        self.joined_bytes += other.joined_bytes;
        self.afresh_files += other.afresh_files;
        self.copied_files += other.copied_files;
        self.touched_files += other.touched_files;
        self.uncovered.extend(other.uncovered);
        self.unkept.extend(other.unkept);
    }
}
