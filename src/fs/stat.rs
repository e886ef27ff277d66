//! What chsnap reads of an inode.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Statx, StatxFlags};
use rustix::io::Errno;

use crate::model::Ownership;

use super::entries::Kind;

/// One inode's identity, kind, size and ownership, as `statx` gives them.
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
}

impl From<Statx> for Stat {
    fn from(statx: Statx) -> Self {
        let mode = u32::from(statx.stx_mode);
        Self {
            device: rustix::fs::makedev(statx.stx_dev_major, statx.stx_dev_minor),
            inode: statx.stx_ino,
            kind: Kind::from(rustix::fs::FileType::from_raw_mode(mode)),
            size_bytes: statx.stx_size,
            allocated_bytes: statx.stx_blocks * 512,
            links: statx.stx_nlink,
            ownership: Ownership { uid: statx.stx_uid, gid: statx.stx_gid, mode: mode & 0o7777 },
            modified: (statx.stx_mtime.tv_sec, statx.stx_mtime.tv_nsec),
        }
    }
}

pub(super) fn stat_at(dir: impl AsFd, name: &std::ffi::OsStr) -> Result<Stat, Errno> {
    rustix::fs::statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).map(Stat::from)
}

pub(super) fn stat_of_fd(fd: impl AsFd) -> Result<Stat, Errno> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map(Stat::from)
}
