//! The entries of a directory.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Special,
    /// The filesystem does not report it; `stat` does.
    Unknown,
}

impl EntryKind {
    /// The kind in words, with its article.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Symlink => "a symbolic link",
            Self::Special => "a device, socket or pipe",
            Self::Unknown => "nothing known",
        }
    }
}

impl From<FileType> for EntryKind {
    fn from(file_type: FileType) -> Self {
        match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Unknown => Self::Unknown,
            _ => Self::Special,
        }
    }
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: one path component.
    pub name: OsString,
    /// Its inode number.
    pub inode: u64,
    /// Its kind.
    pub kind: EntryKind,
}

/// Bytes requested from one `getdents64`: a part directory takes one call, a directory of thousands of parts a few.
const BUFFER_BYTES: usize = 16 * 1024;

/// Room for the entries of most directories, so that a list of them is not moved as it grows.
const USUAL_ENTRIES: usize = 64;

pub(super) fn read(fd: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::with_capacity(USUAL_ENTRIES);
    visit(fd, |name, inode, kind| entries.push(Entry { name: name.to_owned(), inode, kind }))?;
    Ok(entries)
}

/// Passes on each entry's name, inode number and kind, and stores none.
pub(super) fn visit(fd: &OwnedFd, mut seen: impl FnMut(&OsStr, u64, EntryKind)) -> Result<(), Errno> {
    // On the stack: the C library allocates pieces of this size slowly, because it consolidates its free memory first.
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut raw = RawDir::new(fd, &mut buffer);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            seen(OsStr::from_bytes(name), entry.ino(), EntryKind::from(entry.file_type()));
        }
    }
    Ok(())
}
