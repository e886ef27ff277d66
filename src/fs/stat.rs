//! The fields of an inode that chsnap reads.

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, StatxFlags};
use rustix::io::Errno;

use crate::model::{DirectoryState, Ownership};

use super::entries::EntryKind;

/// One inode's identity, kind, size and ownership, as `stat` gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Its kind.
    pub kind: EntryKind,
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
    /// When the inode itself last changed, in the same form: any write, link, rename, or change of owner, mode, times
    /// or attributes sets it.
    pub changed: (i64, u32),
}

impl From<rustix::fs::Stat> for Stat {
    fn from(stat: rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            kind: EntryKind::from(rustix::fs::FileType::from_raw_mode(stat.st_mode)),
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0) * 512,
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
            ownership: Ownership { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777 },
            modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            changed: (stat.st_ctime, u32::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }
}

/// Identifies a directory: its inode number alone may be reused once it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryId {
    device: u64,
    inode: u64,
    /// When it was created: seconds since 1970, and nanoseconds; `None` if the filesystem does not record that.
    born: Option<(i64, u32)>,
}

pub(super) fn identity_of_fd(fd: impl AsFd) -> Result<DirectoryId, Errno> {
    let Stat { device, inode, .. } = stat_of_fd(&fd)?;
    let mask = StatxFlags::BTIME;
    let born = match rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, mask) {
        Ok(found) if StatxFlags::from_bits_retain(found.stx_mask).contains(mask) => {
            Some((found.stx_btime.tv_sec, found.stx_btime.tv_nsec))
        }
        Ok(_) | Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => None,
        Err(errno) => return Err(errno),
    };
    Ok(DirectoryId { device, inode, born })
}

/// The state of a directory, whose files are not counted; `None` where the filesystem records no birth times.
pub(super) fn state_of_fd(fd: impl AsFd) -> Result<Option<DirectoryState>, Errno> {
    let mask = StatxFlags::INO | StatxFlags::BTIME | StatxFlags::MTIME | StatxFlags::CTIME;
    let found = match rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, mask) {
        Ok(found) if StatxFlags::from_bits_retain(found.stx_mask).contains(mask) => found,
        Ok(_) | Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let time = |time: rustix::fs::StatxTimestamp| (time.tv_sec, time.tv_nsec);
    Ok(Some(DirectoryState {
        inode: found.stx_ino,
        born: time(found.stx_btime),
        modified: time(found.stx_mtime),
        changed: time(found.stx_ctime),
        files: 0,
    }))
}

pub(super) fn stat_at(dir: impl AsFd, name: &std::ffi::OsStr) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(Stat::from)
}

pub(super) fn stat_of_fd(fd: impl AsFd) -> Result<Stat, Errno> {
    rustix::fs::fstat(fd).map(Stat::from)
}

/// An inode, and the time of its last access: seconds since 1970, and nanoseconds.
pub(super) fn stat_with_access(fd: impl AsFd) -> Result<(Stat, (i64, u32)), Errno> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((Stat::from(stat), (stat.st_atime, u32::try_from(stat.st_atime_nsec).unwrap_or(0))))
}
