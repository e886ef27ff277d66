//! Mutations on a network filesystem: an NFS client may report an error although the call succeeded, or complete it
//! only later.
//!
//! A client repeats a call whose answer it has not received. A server that has already executed it, and does not
//! remember that (after its restart, or because its reply cache is too small), then returns the error that a second
//! call deserves: EEXIST, ENOENT. The inodes show what really happened. Local filesystems never use this module.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::model::Ownership;

use super::entries::{self, EntryKind};
use super::mutations::{Mutations, VerbResult};
use super::stat::{Stat, stat_at};

/// Wraps `verbs` for a network filesystem.
#[must_use]
pub fn network_verbs(verbs: Arc<dyn Mutations>) -> Arc<dyn Mutations> {
    Arc::new(NetworkVerbs { verbs })
}

struct NetworkVerbs {
    verbs: Arc<dyn Mutations>,
}

/// How often a directory that still holds silly-renamed files is tried again, and for how long in total. An NFS client
/// creates such a file (`.nfs…`) when a file is removed while some process has it open, and removes it when the last
/// one closes it.
const SILLY_PAUSE: Duration = Duration::from_millis(50);
const SILLY_LIMIT: Duration = Duration::from_secs(10);
const SILLY_PREFIX: &[u8] = b".nfs";

fn is_silly(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(SILLY_PREFIX)
}

fn same_inode(a: &Stat, b: &Stat) -> bool {
    (a.device, a.inode) == (b.device, b.inode)
}

/// The names in the directory `name` of `dir`, if it is one.
fn names_in(dir: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<std::ffi::OsString>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    Ok(entries::read(&fd)?.into_iter().map(|entry| entry.name).collect())
}

impl Mutations for NetworkVerbs {
    fn are_remote(&self) -> bool {
        true
    }

    fn create_dir(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult {
        match self.verbs.create_dir(dir, name, mode) {
            // An existing empty directory is as good as a new one: nothing in it can be mistaken for what will be put
            // there. Callers that must know whether it existed check first.
            Err(Errno::EXIST) if names_in(dir, name).is_ok_and(|names| names.is_empty()) => Ok(()),
            result => result,
        }
    }

    fn link(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        match self.verbs.link(from, from_name, to, to_name) {
            Err(Errno::EXIST) => match (stat_at(from, from_name), stat_at(to, to_name)) {
                (Ok(source), Ok(target)) if same_inode(&source, &target) => Ok(()),
                _ => Err(Errno::EXIST),
            },
            result => result,
        }
    }

    fn rename(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        // The inode before the call shows afterwards whether it was moved.
        let before = stat_at(from, from_name);
        match self.verbs.rename(from, from_name, to, to_name) {
            Err(errno @ (Errno::NOENT | Errno::EXIST | Errno::NOTEMPTY)) => match (before, stat_at(to, to_name)) {
                (Ok(source), Ok(target)) if same_inode(&source, &target) => Ok(()),
                _ => Err(errno),
            },
            result => result,
        }
    }

    fn symlink(&self, target: &OsStr, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        match self.verbs.symlink(target, dir, name) {
            Err(Errno::EXIST) => match rustix::fs::readlinkat(dir, name, Vec::new()) {
                Ok(found) if found.as_bytes() == target.as_encoded_bytes() => Ok(()),
                _ => Err(Errno::EXIST),
            },
            result => result,
        }
    }

    fn remove_file(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        let was_there = stat_at(dir, name).is_ok();
        match self.verbs.remove_file(dir, name) {
            Err(Errno::NOENT) if was_there => Ok(()),
            // It vanishes when the last process that has it open closes it; the removal of its directory waits for
            // that.
            Err(Errno::BUSY) if is_silly(name) => Ok(()),
            result => result,
        }
    }

    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        let was_there = stat_at(dir, name).is_ok_and(|stat| stat.kind == EntryKind::Directory);
        let begun = Instant::now();
        loop {
            match self.verbs.remove_dir(dir, name) {
                Err(Errno::NOENT) if was_there => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST)
                    if begun.elapsed() < SILLY_LIMIT
                        && names_in(dir, name).is_ok_and(|names| names.iter().all(|name| is_silly(name))) =>
                {
                    std::thread::sleep(SILLY_PAUSE);
                }
                result => return result,
            }
        }
    }

    fn create_file(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        // The protocol itself guarantees O_EXCL: the server stores a verifier with the file (RFC 1813, 3.3.8).
        self.verbs.create_file(dir, name, mode)
    }

    fn open_append(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        self.verbs.open_append(dir, name, mode)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> VerbResult<usize> {
        self.verbs.write(file, bytes)
    }

    fn sync(&self, fd: BorrowedFd<'_>) -> VerbResult {
        self.verbs.sync(fd)
    }

    fn sync_filesystem(&self, fd: BorrowedFd<'_>) -> VerbResult {
        self.verbs.sync_filesystem(fd)
    }

    fn set_ownership(&self, fd: BorrowedFd<'_>, ownership: Ownership) -> VerbResult {
        self.verbs.set_ownership(fd, ownership)
    }

    fn set_modified(&self, fd: BorrowedFd<'_>, seconds: i64, nanoseconds: u32) -> VerbResult {
        self.verbs.set_modified(fd, seconds, nanoseconds)
    }

    fn set_owner(&self, fd: BorrowedFd<'_>, uid: u32, gid: u32) -> VerbResult {
        self.verbs.set_owner(fd, uid, gid)
    }

    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> VerbResult {
        self.verbs.set_mode(fd, mode)
    }

    fn set_times(&self, fd: BorrowedFd<'_>, accessed: (i64, u32), modified: (i64, u32)) -> VerbResult {
        self.verbs.set_times(fd, accessed, modified)
    }

    fn set_xattr(&self, fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> VerbResult {
        self.verbs.set_xattr(fd, name, value)
    }

    fn remove_xattr(&self, fd: BorrowedFd<'_>, name: &CStr) -> VerbResult {
        self.verbs.remove_xattr(fd, name)
    }

    fn clone_file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> VerbResult {
        self.verbs.clone_file(from, to)
    }

    fn copy_range(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, bytes: usize) -> VerbResult<usize> {
        self.verbs.copy_range(from, to, offset, bytes)
    }

    fn write_at(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> VerbResult<usize> {
        self.verbs.write_at(fd, bytes, offset)
    }

    fn allocate(&self, fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> VerbResult {
        self.verbs.allocate(fd, offset, bytes)
    }

    fn set_size(&self, fd: BorrowedFd<'_>, bytes: u64) -> VerbResult {
        self.verbs.set_size(fd, bytes)
    }

    fn close(&self, fd: OwnedFd) -> VerbResult {
        self.verbs.close(fd)
    }
}
