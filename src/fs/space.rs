//! The filesystem under a directory.

use super::dir::Dir;
use super::error::FsError;
use crate::model::Room;

/// The space of a filesystem, as this user sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilesystemSpace {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Bytes that an ordinary user may still write.
    pub free_bytes: u64,
    /// Bytes in use; together with the free ones they are less than the size if blocks are reserved for root.
    pub used_bytes: u64,
    /// Inodes; 0 if the filesystem creates them on demand.
    pub inodes: u64,
    /// Free inodes.
    pub free_inodes: u64,
    /// The unit in which files take space.
    pub block_bytes: u64,
    /// The unit in which directories take space, if each takes some of its own.
    pub directory_block_bytes: Option<u64>,
}

/// The largest block that a file is taken to need. Network filesystems report the size of their transfers as that of a
/// block, and ZFS that of its records.
const LARGEST_BLOCK_BYTES: u64 = 4096;

/// Reads the space of the filesystem that holds `dir`.
///
/// # Errors
/// If the filesystem does not answer.
pub fn space(dir: &Dir) -> Result<FilesystemSpace, FsError> {
    let stat = rustix::fs::fstatvfs(dir.fd()).map_err(|errno| FsError::new("read the space of", dir.path(), errno))?;
    let has_directory_blocks = rustix::fs::fstatfs(dir.fd()).is_ok_and(|stat| stat.f_type == EXT4);
    Ok(FilesystemSpace {
        size_bytes: stat.f_blocks * stat.f_frsize,
        free_bytes: stat.f_bavail * stat.f_frsize,
        used_bytes: stat.f_blocks.saturating_sub(stat.f_bfree) * stat.f_frsize,
        inodes: stat.f_files,
        free_inodes: stat.f_favail,
        block_bytes: stat.f_frsize.clamp(1, LARGEST_BLOCK_BYTES),
        directory_block_bytes: has_directory_blocks.then_some(stat.f_frsize),
    })
}

impl FilesystemSpace {
    /// The room for something new.
    #[must_use]
    pub fn room(&self) -> Room {
        Room {
            free_bytes: self.free_bytes,
            free_inodes: (self.inodes > 0).then_some(self.free_inodes),
            block_bytes: self.block_bytes,
            directory_block_bytes: self.directory_block_bytes,
        }
    }

    /// Bytes in use as a share of the usable bytes, in percent, rounded up: the figure of `df`.
    #[must_use]
    pub fn used_percent(&self) -> u64 {
        let can_be = u128::from(self.used_bytes) + u128::from(self.free_bytes);
        let percent = (u128::from(self.used_bytes) * 100).div_ceil(can_be.max(1));
        u64::try_from(percent).unwrap_or(100)
    }
}

/// Filesystem types (`statfs(2)`, `linux/magic.h`) on which a database file does not belong: NFS, SMB/CIFS, FUSE,
/// AFS, Ceph, 9p.
const NETWORK_TYPES: [i64; 8] =
    [0x6969, 0x517B, 0xFF53_4D42, 0xFE53_4D42, 0x6573_5546, 0x5346_414F, 0x00C3_6400, 0x0102_1997];

/// Whether `dir` lies on a network filesystem; one that does not answer counts as one.
#[must_use]
pub fn is_network_filesystem(dir: &Dir) -> bool {
    rustix::fs::fstatfs(dir.fd()).map_or(true, |stat| NETWORK_TYPES.contains(&stat.f_type))
}

/// The type of ext2, ext3 and ext4 (`statfs(2)`, `linux/magic.h`): a directory takes a block there. XFS and btrfs keep a
/// small one where its inode is.
const EXT4: i64 = 0xEF53;

/// Types of ext4, XFS and btrfs (`statfs(2)`, `linux/magic.h`).
const LASTING_TYPES: [i64; 3] = [EXT4, 0x5846_5342, 0x9123_683E];

/// Whether inode numbers in `dir` stay for as long as their inodes, and every change of a directory's entries changes
/// its ctime: on filesystems where this was measured.
#[must_use]
pub fn has_lasting_inodes(dir: &Dir) -> bool {
    rustix::fs::fstatfs(dir.fd()).is_ok_and(|stat| LASTING_TYPES.contains(&stat.f_type))
}

/// The type of tmpfs, whose inode numbers last as long as the files.
const TMPFS: i64 = 0x0102_1994;

/// Whether a file in `dir` keeps its inode number for as long as it exists. FUSE and overlay may give it another one after a
/// restart, and what a server of NFS stores its files on is unknown.
#[must_use]
pub fn keeps_inode_numbers(dir: &Dir) -> bool {
    let is_known = |filesystem: i64| filesystem == TMPFS || LASTING_TYPES.contains(&filesystem);
    rustix::fs::fstatfs(dir.fd()).is_ok_and(|stat| is_known(stat.f_type))
}

/// The type of FUSE.
const FUSE: i64 = 0x6573_5546;

/// Whether `dir` lies on a filesystem that a user process provides (FUSE): that process is never notified of `syncfs`,
/// so only files and directories that are synced individually are durable.
#[must_use]
pub fn is_fuse(dir: &Dir) -> bool {
    rustix::fs::fstatfs(dir.fd()).is_ok_and(|stat| stat.f_type == FUSE)
}

/// The C library's answer for a filesystem whose limit it does not know (`LINUX_LINK_MAX` in glibc).
const UNKNOWN_LINK_LIMIT: u64 = 127;

/// The most links that one inode may have on the filesystem of `dir`; `None` if it is unknown.
#[must_use]
pub fn link_limit(dir: &Dir) -> Option<u64> {
    let limit = nix::unistd::fpathconf(dir.fd(), nix::unistd::PathconfVar::LINK_MAX).ok().flatten()?;
    u64::try_from(limit).ok().filter(|limit| *limit != UNKNOWN_LINK_LIMIT)
}
