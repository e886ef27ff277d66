//! The mutating verbs on a network filesystem: what NFS may answer although it has done what it was asked, or only later.
//!
//! A client repeats a call whose answer it has not got. A server that has done it already, and does not remember that
//! (after its restart, or where its memory of replies is too small), then answers what the second call deserves: EEXIST,
//! ENOENT. What has come of it is told by the inodes. Local filesystems never see this module.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::model::Ownership;

use super::entries::{self, Kind};
use super::stat::{Stat, stat_at};
use super::verbs::{VerbResult, Verbs};

/// Verbs for a network filesystem, by way of `verbs`. `path` is for messages about a server that does not answer.
#[must_use]
pub fn network_verbs(verbs: Arc<dyn Verbs>, path: &Path) -> Arc<dyn Verbs> {
    let calls = Arc::new(Calls { path: path.to_owned(), next: AtomicU64::new(0), under_way: Mutex::default() });
    let asked = Arc::downgrade(&calls);
    let thread = std::thread::Builder::new().name("chsnap-patience".to_owned()).spawn(move || watch(&asked));
    if let Err(error) = thread {
        tracing::debug!(%error, "nobody tells when the server does not answer");
    }
    Arc::new(NetworkVerbs { verbs, calls })
}

struct NetworkVerbs {
    verbs: Arc<dyn Verbs>,
    calls: Arc<Calls>,
}

/// What the server was asked and has not answered.
struct Calls {
    path: PathBuf,
    next: AtomicU64,
    under_way: Mutex<BTreeMap<u64, (Instant, &'static str)>>,
}

/// After so long without an answer the person is told, and again after each time twice as long.
const PATIENCE: Duration = Duration::from_secs(20);

fn watch(calls: &Weak<Calls>) {
    let mut told = Duration::ZERO;
    loop {
        std::thread::sleep(PATIENCE / 20);
        let Some(calls) = calls.upgrade() else { return };
        let under_way = calls.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = under_way.values().min_by_key(|(since, _)| *since).map(|(since, verb)| (since.elapsed(), *verb));
        drop(under_way);
        match oldest {
            Some((waited, verb)) if waited >= PATIENCE.max(told * 2) => {
                told = waited;
                let (path, seconds) = (calls.path.display(), waited.as_secs());
                tracing::warn!("waiting for the server of {path}, which has not answered \"{verb}\" for {seconds} s");
            }
            Some((waited, _)) if waited >= PATIENCE => {}
            _ => told = Duration::ZERO,
        }
    }
}

/// A call under way; it ends with the value.
struct Call<'a>(&'a Calls, u64);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// How often, and how long altogether, a directory is asked again that still holds silly-renamed files: what the client
/// makes of a file that is removed while somebody has it open (`.nfs…`), and removes with the last of them.
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

impl NetworkVerbs {
    fn call(&self, verb: &'static str) -> Call<'_> {
        let number = self.calls.next.fetch_add(1, Ordering::Relaxed);
        let mut under_way = self.calls.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.insert(number, (Instant::now(), verb));
        drop(under_way);
        Call(&self.calls, number)
    }
}

impl Verbs for NetworkVerbs {
    fn create_dir(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult {
        let _call = self.call("mkdir");
        match self.verbs.create_dir(dir, name, mode) {
            // An empty one is as good as new: nothing in it can be mistaken for what will be put there. Who must know
            // whether it was there before looks before.
            Err(Errno::EXIST) if names_in(dir, name).is_ok_and(|names| names.is_empty()) => Ok(()),
            result => result,
        }
    }

    fn link(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        let _call = self.call("link");
        match self.verbs.link(from, from_name, to, to_name) {
            Err(Errno::EXIST) => match (stat_at(from, from_name), stat_at(to, to_name)) {
                (Ok(source), Ok(target)) if same_inode(&source, &target) => Ok(()),
                _ => Err(Errno::EXIST),
            },
            result => result,
        }
    }

    fn rename(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        let _call = self.call("rename");
        // What is there before tells afterwards whether it has moved.
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
        let _call = self.call("symlink");
        match self.verbs.symlink(target, dir, name) {
            Err(Errno::EXIST) => match rustix::fs::readlinkat(dir, name, Vec::new()) {
                Ok(found) if found.as_bytes() == target.as_encoded_bytes() => Ok(()),
                _ => Err(Errno::EXIST),
            },
            result => result,
        }
    }

    fn remove_file(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        let _call = self.call("unlink");
        let was_there = stat_at(dir, name).is_ok();
        match self.verbs.remove_file(dir, name) {
            Err(Errno::NOENT) if was_there => Ok(()),
            // It goes with the last of those who have it open; the removal of its directory waits for that.
            Err(Errno::BUSY) if is_silly(name) => Ok(()),
            result => result,
        }
    }

    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        let _call = self.call("rmdir");
        let was_there = stat_at(dir, name).is_ok_and(|stat| stat.kind == Kind::Directory);
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
        let _call = self.call("create");
        // O_EXCL is settled by the protocol itself: the server keeps a verifier with the file (RFC 1813, 3.3.8).
        self.verbs.create_file(dir, name, mode)
    }

    fn open_append(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        let _call = self.call("open");
        self.verbs.open_append(dir, name, mode)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> VerbResult<usize> {
        let _call = self.call("write");
        self.verbs.write(file, bytes)
    }

    fn sync(&self, fd: BorrowedFd<'_>) -> VerbResult {
        let _call = self.call("fsync");
        self.verbs.sync(fd)
    }

    fn sync_filesystem(&self, fd: BorrowedFd<'_>) -> VerbResult {
        let _call = self.call("syncfs");
        self.verbs.sync_filesystem(fd)
    }

    fn set_ownership(&self, fd: BorrowedFd<'_>, ownership: Ownership) -> VerbResult {
        let _call = self.call("chown");
        self.verbs.set_ownership(fd, ownership)
    }

    fn set_modified(&self, fd: BorrowedFd<'_>, seconds: i64, nanoseconds: u32) -> VerbResult {
        let _call = self.call("utimens");
        self.verbs.set_modified(fd, seconds, nanoseconds)
    }

    fn set_owner(&self, fd: BorrowedFd<'_>, uid: u32, gid: u32) -> VerbResult {
        let _call = self.call("chown");
        self.verbs.set_owner(fd, uid, gid)
    }

    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> VerbResult {
        let _call = self.call("chmod");
        self.verbs.set_mode(fd, mode)
    }

    fn set_times(&self, fd: BorrowedFd<'_>, accessed: (i64, u32), modified: (i64, u32)) -> VerbResult {
        let _call = self.call("utimens");
        self.verbs.set_times(fd, accessed, modified)
    }

    fn set_xattr(&self, fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> VerbResult {
        let _call = self.call("setxattr");
        self.verbs.set_xattr(fd, name, value)
    }

    fn remove_xattr(&self, fd: BorrowedFd<'_>, name: &CStr) -> VerbResult {
        let _call = self.call("removexattr");
        self.verbs.remove_xattr(fd, name)
    }

    fn clone_file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> VerbResult {
        let _call = self.call("clone");
        self.verbs.clone_file(from, to)
    }

    fn copy_range(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, bytes: usize) -> VerbResult<usize> {
        let _call = self.call("copy");
        self.verbs.copy_range(from, to, offset, bytes)
    }

    fn write_at(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> VerbResult<usize> {
        let _call = self.call("write");
        self.verbs.write_at(fd, bytes, offset)
    }

    fn allocate(&self, fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> VerbResult {
        let _call = self.call("allocate");
        self.verbs.allocate(fd, offset, bytes)
    }

    fn set_size(&self, fd: BorrowedFd<'_>, bytes: u64) -> VerbResult {
        let _call = self.call("truncate");
        self.verbs.set_size(fd, bytes)
    }

    fn close(&self, fd: OwnedFd) -> VerbResult {
        let _call = self.call("close");
        self.verbs.close(fd)
    }
}
