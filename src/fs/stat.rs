//! What chsnap reads of an inode.

use std::os::fd::AsFd;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::model::Ownership;

use super::entries::Kind;

/// One inode's identity, kind, size and ownership, as `stat` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// What it is.
    pub kind: Kind,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Allocated blocks in bytes (`st_blocks * 512`).
    pub allocated_bytes: u64,
    /// Links.
    pub links: u32,
    /// Owner and permissions.
    pub ownership: Ownership,
    /// Modification time: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// When the inode itself last changed, likewise: any write, link, rename, or change of owner, mode, times or
    /// attributes sets it.
    pub changed: (i64, u32),
}

impl From<rustix::fs::Stat> for Stat {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            kind: Kind::from(rustix::fs::FileType::from_raw_mode(stat.st_mode)),
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            ownership: Ownership { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 },
            modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }
}

pub(super) fn stat_at(dir: impl AsFd, name: &std::ffi::OsStr) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(Stat::from)
}

pub(super) fn stat_of_fd(fd: impl AsFd) -> Result<Stat, Errno> {
    rustix::fs::fstat(fd).map(Stat::from)
}

/// An inode, and when it was last read: seconds since 1970, and nanoseconds.
pub(super) fn stat_with_access(fd: impl AsFd) -> Result<(Stat, (i64, u32)), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((Stat::from(stat), (stat.st_atime, u32::try_from(stat.st_atime_nsec).unwrap_or(0))))
}
