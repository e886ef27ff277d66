//! The system calls that change something, as a narrow trait.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;
use rustix::io::Errno;

use crate::model::Ownership;

/// Result of one mutating system call.
pub type VerbResult<T = ()> = Result<T, Errno>;

/// Every system call by which chsnap changes a filesystem; names are single path components.
///
/// # Errors
/// Every method returns the error number of its system call.
///
/// No method takes a path that could lead through a symbolic link, and none sets owner, mode or times other than
/// through a descriptor of something that the caller has just created.
pub trait Mutations: Send + Sync {
    /// Whether they are calls to a server, so that each costs a round trip.
    fn are_remote(&self) -> bool {
        false
    }

    /// `mkdirat`.
    fn create_dir(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult;
    /// `linkat`, without following a symbolic link.
    fn link(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult;
    /// `renameat`.
    fn rename(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult;
    /// `symlinkat`.
    fn symlink(&self, target: &OsStr, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult;
    /// `unlinkat` of an entry that is not a directory.
    fn remove_file(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult;
    /// `unlinkat` of an empty directory.
    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult;
    /// `openat` with `O_CREAT | O_EXCL`, for writing.
    fn create_file(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd>;
    /// `openat` with `O_CREAT | O_APPEND`, for writing.
    fn open_append(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd>;
    /// `write`; returns how many bytes were taken.
    fn write(&self, file: &File, bytes: &[u8]) -> VerbResult<usize>;
    /// `fsync` of a file or directory.
    fn sync(&self, fd: BorrowedFd<'_>) -> VerbResult;
    /// `syncfs` of the filesystem that holds `fd`.
    fn sync_filesystem(&self, fd: BorrowedFd<'_>) -> VerbResult;
    /// `fchown` and `fchmod` of a directory or file that chsnap itself has created and that has no other link.
    fn set_ownership(&self, fd: BorrowedFd<'_>, ownership: Ownership) -> VerbResult;
    /// `futimens` of the same, to a modification time in nanoseconds since 1970.
    fn set_modified(&self, fd: BorrowedFd<'_>, seconds: i64, nanoseconds: u32) -> VerbResult;
    /// `fchown` of the same, by number.
    fn set_owner(&self, fd: BorrowedFd<'_>, uid: u32, gid: u32) -> VerbResult;
    /// `fchmod` of the same.
    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> VerbResult;
    /// `futimens` of the same: last access, then last modification.
    fn set_times(&self, fd: BorrowedFd<'_>, accessed: (i64, u32), modified: (i64, u32)) -> VerbResult;
    /// `fsetxattr` of the same.
    fn set_xattr(&self, fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> VerbResult;
    /// `fremovexattr` of the same.
    fn remove_xattr(&self, fd: BorrowedFd<'_>, name: &CStr) -> VerbResult;
    /// `ioctl(FICLONE)`: `to` shares all blocks of `from`.
    fn clone_file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> VerbResult;
    /// `copy_file_range` from and to the same offset; returns how many bytes were copied.
    fn copy_range(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, bytes: usize) -> VerbResult<usize>;
    /// `pwrite`; returns how many bytes were taken.
    fn write_at(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> VerbResult<usize>;
    /// `fallocate`, leaving the size unchanged.
    fn allocate(&self, fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> VerbResult;
    /// `ftruncate`.
    fn set_size(&self, fd: BorrowedFd<'_>, bytes: u64) -> VerbResult;
    /// `close`, where some filesystems report a failed write. Must never be repeated: the descriptor is gone whatever
    /// the answer.
    fn close(&self, fd: OwnedFd) -> VerbResult;
}

/// The system calls themselves.
#[derive(Debug, Clone, Copy)]
pub struct RealVerbs;

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(error as i32)
}

impl Mutations for RealVerbs {
    fn create_dir(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult {
        nix::sys::stat::mkdirat(dir, name, Mode::from_bits_truncate(mode)).map_err(errno)
    }

    fn link(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        nix::unistd::linkat(from, from_name, to, to_name, AtFlags::empty()).map_err(errno)
    }

    fn rename(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        nix::fcntl::renameat(from, from_name, to, to_name).map_err(errno)
    }

    fn symlink(&self, target: &OsStr, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        nix::unistd::symlinkat(target, dir, name).map_err(errno)
    }

    fn remove_file(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        nix::unistd::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir).map_err(errno)
    }

    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        nix::unistd::unlinkat(dir, name, UnlinkatFlags::RemoveDir).map_err(errno)
    }

    fn create_file(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nix::fcntl::openat(dir, name, flags, Mode::from_bits_truncate(mode)).map_err(errno)
    }

    fn open_append(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        nix::fcntl::openat(dir, name, flags, Mode::from_bits_truncate(mode)).map_err(errno)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> VerbResult<usize> {
        nix::unistd::write(file, bytes).map_err(errno)
    }

    fn sync(&self, fd: BorrowedFd<'_>) -> VerbResult {
        nix::unistd::fsync(fd).map_err(errno)
    }

    fn sync_filesystem(&self, fd: BorrowedFd<'_>) -> VerbResult {
        nix::unistd::syncfs(fd).map_err(errno)
    }

    fn set_ownership(&self, fd: BorrowedFd<'_>, ownership: Ownership) -> VerbResult {
        let now = super::stat::stat_of_fd(fd)?.ownership;
        if now == ownership {
            return Ok(());
        }
        if (now.uid, now.gid) != (ownership.uid, ownership.gid) {
            let uid = nix::unistd::Uid::from_raw(ownership.uid);
            let gid = nix::unistd::Gid::from_raw(ownership.gid);
            nix::unistd::fchown(fd, Some(uid), Some(gid)).map_err(errno)?;
            // `fchown` may have cleared bits of the mode. A client of a network filesystem knows the answer.
            if super::stat::stat_of_fd(fd)?.ownership == ownership {
                return Ok(());
            }
        }
        nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(ownership.mode)).map_err(errno)
    }

    fn set_modified(&self, fd: BorrowedFd<'_>, seconds: i64, nanoseconds: u32) -> VerbResult {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: i64::from(nanoseconds) };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        rustix::fs::futimens(fd.as_fd(), &times)
    }

    fn set_owner(&self, fd: BorrowedFd<'_>, uid: u32, gid: u32) -> VerbResult {
        let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
        nix::unistd::fchown(fd, Some(uid), Some(gid)).map_err(errno)
    }

    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> VerbResult {
        nix::sys::stat::fchmod(fd, Mode::from_bits_truncate(mode)).map_err(errno)
    }

    fn set_times(&self, fd: BorrowedFd<'_>, accessed: (i64, u32), modified: (i64, u32)) -> VerbResult {
        let time = |(seconds, nanoseconds): (i64, u32)| rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: i64::from(nanoseconds),
        };
        let times = rustix::fs::Timestamps { last_access: time(accessed), last_modification: time(modified) };
        rustix::fs::futimens(fd, &times)
    }

    fn set_xattr(&self, fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> VerbResult {
        rustix::fs::fsetxattr(fd, name, value, rustix::fs::XattrFlags::empty())
    }

    fn remove_xattr(&self, fd: BorrowedFd<'_>, name: &CStr) -> VerbResult {
        rustix::fs::fremovexattr(fd, name)
    }

    fn clone_file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> VerbResult {
        rustix::fs::ioctl_ficlone(to, from)
    }

    fn copy_range(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, bytes: usize) -> VerbResult<usize> {
        let (mut from_offset, mut to_offset) = (offset, offset);
        rustix::fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), bytes)
    }

    fn write_at(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> VerbResult<usize> {
        rustix::io::pwrite(fd, bytes, offset)
    }

    fn allocate(&self, fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> VerbResult {
        rustix::fs::fallocate(fd, rustix::fs::FallocateFlags::KEEP_SIZE, offset, bytes)
    }

    fn set_size(&self, fd: BorrowedFd<'_>, bytes: u64) -> VerbResult {
        rustix::fs::ftruncate(fd, bytes)
    }

    fn close(&self, fd: OwnedFd) -> VerbResult {
        nix::unistd::close(fd).map_err(errno)
    }
}
