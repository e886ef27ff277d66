//! The entries of a directory.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{FileType, RawDir};
use rustix::io::Errno;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Special,
    /// The filesystem does not say; ask by `stat`.
    Unknown,
}

impl From<FileType> for Kind {
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
    /// What it is.
    pub kind: Kind,
}

/// Bytes asked of one `getdents64`: a part directory in one call, a directory of thousands of parts in a few.
const BUFFER_BYTES: usize = 16 * 1024;

/// Room for the entries of most directories, so that a list of them is not moved as it grows.
const USUAL_ENTRIES: usize = 64;

pub(super) fn read(fd: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    let mut entries = Vec::with_capacity(USUAL_ENTRIES);
    visit(fd, |name, inode, kind| entries.push(Entry { name: name.to_owned(), inode, kind }))?;
    Ok(entries)
}

/// Hands out each entry's name, inode number and kind, and keeps none.
pub(super) fn visit(fd: &OwnedFd, mut seen: impl FnMut(&OsStr, u64, Kind)) -> Result<(), Errno> {
    // On the stack: the C library gives out pieces of this size slowly, for it tidies up before.
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut raw = RawDir::new(fd, &mut buffer);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            seen(OsStr::from_bytes(name), entry.ino(), Kind::from(entry.file_type()));
        }
    }
    Ok(())
}
