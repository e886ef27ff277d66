//! The entries of a directory.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

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
const BUFFER_BYTES: usize = 32 * 1024;

pub(super) fn read(fd: &OwnedFd) -> Result<Vec<Entry>, Errno> {
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut raw = RawDir::new(fd, buffer.spare_capacity_mut());
    let mut entries = Vec::new();
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push(Entry {
                name: OsString::from_vec(name.to_vec()),
                inode: entry.ino(),
                kind: Kind::from(entry.file_type()),
            });
        }
    }
    Ok(entries)
}
