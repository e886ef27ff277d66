//! How one part is copied, and the result.

use std::ops::AddAssign;
use std::path::PathBuf;

use crate::fs::{CopyError, Entry, FsError, LostMetadata};
use crate::model::{Fingerprint, Placement};
use crate::repo::PartFile;

use super::ExecError;
use super::join::LinkSources;

/// The entries of a directory that belong in a copy of it.
pub(super) type WantedEntries<'a> = dyn Fn(&Entry) -> bool + Sync + 'a;

/// How one part is copied.
#[derive(Clone, Copy)]
pub struct PartCopy<'a> {
    /// The entries of its directories that belong in the copy.
    pub wanted: &'a WantedEntries<'a>,
    /// Where files of the part that exist already can be linked from.
    pub joins: &'a LinkSources,
    /// Whether the part is compared with its `checksums.txt` at all. A part that is damaged at its source cannot be.
    pub is_checked: bool,
}

impl std::fmt::Debug for PartCopy<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartCopy").field("is_checked", &self.is_checked).finish_non_exhaustive()
    }
}

/// Why a part was not copied. Whatever was created of it stays; the caller removes it.
#[derive(Debug, thiserror::Error)]
pub enum CopyPartError {
    /// A file could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A system call failed, or the part contains something that no part has.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The bytes that were read do not match the part's own `checksums.txt`: the part is damaged on its disk, or on the
    /// way from there.
    #[error("{} is damaged: its checksums.txt says {expected}, read was {found}", .path.display())]
    Damaged {
        /// The file, or the directory of a projection.
        path: PathBuf,
        /// Size and hash by the `checksums.txt` next to it.
        expected: String,
        /// Size and hash that were read.
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
    /// Of the files, those whose bytes were copied; empty files do not count.
    pub copied_files: u64,
    /// Files that were copied although there is a copy, because that copy has as many links as it may have.
    pub recopied_files: u64,
    /// Files whose inode changed while they were read, but not their size or modification time.
    pub touched_files: u64,
    /// The fingerprint derived from its checksums, if they can be read.
    pub fingerprint: Option<Fingerprint>,
    /// Why its files could not be compared with its checksums, if they could not.
    pub unverifiable: Option<String>,
    /// The files that its checksums do not cover, in the order of their paths; none unless the copier verifies.
    pub uncovered: Vec<PartFile>,
    /// Metadata that could not be preserved, by paths relative to the part; the part's own path is empty.
    pub unkept: Vec<(String, LostMetadata)>,
}

impl CopiedPart {
    /// Determines how the part was placed: one copied file makes it a copy, and one file that was not joined keeps it
    /// from counting as linked.
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
    /// Adds the figures of `other`; the fields about the part as a whole stay.
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.cloned_files += other.cloned_files;
        self.cloned_bytes += other.cloned_bytes;
        self.linked_files += other.linked_files;
        self.linked_bytes += other.linked_bytes;
        self.joined_files += other.joined_files;
        self.joined_bytes += other.joined_bytes;
        self.recopied_files += other.recopied_files;
        self.copied_files += other.copied_files;
        self.touched_files += other.touched_files;
        self.uncovered.extend(other.uncovered);
        self.unkept.extend(other.unkept);
    }
}
