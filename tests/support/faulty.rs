//! Mutating calls of which one fails, or at which the process dies.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use chsnap::fs::{Mutations, RealVerbs, VerbResult};
use chsnap::model::Ownership;
use rustix::io::Errno;

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This call fails with this error; the others do not.
    Error(Errno),
    /// Neither this call nor any later one has an effect: this looks from outside as if the process were killed there,
    /// whatever the program still tries.
    Kill,
    /// This call is executed twice, and the answer is that of the second: a program sees the same if the answer of an
    /// NFS server is lost and the client repeats the call.
    Repeated,
    /// These verbs fail with this error whenever they are called.
    Refuse(&'static [&'static str], Errno),
    /// This verb fails with this error, the first time that it is called.
    First(&'static str, Errno),
    /// No inode gets more links than this.
    Links(u64),
}

/// The errors that a mutating call can return.
pub const ERRNOS: [Errno; 8] =
    [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::MLINK, Errno::XDEV, Errno::STALE, Errno::INTR, Errno::ACCESS];

/// The system's mutations, with a fault at the n-th call.
#[derive(Debug)]
pub struct FaultyVerbs {
    calls: AtomicUsize,
    at: usize,
    fault: Fault,
    met: Mutex<String>,
    firsts: AtomicUsize,
}

impl FaultyVerbs {
    pub fn new(at: usize, fault: Fault) -> Self {
        Self { calls: AtomicUsize::new(0), at, fault, met: Mutex::default(), firsts: AtomicUsize::new(0) }
    }

    /// The call that met the fault; empty if none has.
    pub fn met(&self) -> String {
        self.met.lock().expect("no thread panics with it").clone()
    }

    /// The number of calls.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// How often the verb was called whose first call fails.
    pub fn firsts(&self) -> usize {
        self.firsts.load(Ordering::SeqCst)
    }

    /// Whether the call that was just counted must be executed twice.
    fn is_repeated(&self) -> bool {
        self.fault == Fault::Repeated && self.calls() == self.at
    }

    fn pass(&self, verb: &str, name: &OsStr) -> VerbResult {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if call == self.at {
            *self.met.lock().expect("no thread panics with it") = format!("{verb} {}", name.display());
        }
        match self.fault {
            Fault::Error(errno) if call == self.at => Err(errno),
            Fault::Kill if call >= self.at => Err(Errno::IO),
            Fault::Refuse(verbs, errno) if verbs.contains(&verb) => Err(errno),
            Fault::First(first, errno) if first == verb && self.firsts.fetch_add(1, Ordering::SeqCst) == 0 => {
                Err(errno)
            }
            _ => Ok(()),
        }
    }
}

impl Mutations for FaultyVerbs {
    fn create_dir(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult {
        self.pass("create_dir", name)?;
        if self.is_repeated() {
            let _ = RealVerbs.create_dir(dir, name, mode);
        }
        RealVerbs.create_dir(dir, name, mode)
    }

    fn link(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        self.pass("link", from_name)?;
        if self.is_repeated() {
            let _ = RealVerbs.link(from, from_name, to, to_name);
        }
        if let Fault::Links(most) = self.fault {
            let stat = rustix::fs::statat(from, from_name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
            if stat.st_nlink >= most {
                return Err(Errno::MLINK);
            }
        }
        RealVerbs.link(from, from_name, to, to_name)
    }

    fn rename(&self, from: BorrowedFd<'_>, from_name: &OsStr, to: BorrowedFd<'_>, to_name: &OsStr) -> VerbResult {
        self.pass("rename", from_name)?;
        if self.is_repeated() {
            let _ = RealVerbs.rename(from, from_name, to, to_name);
        }
        RealVerbs.rename(from, from_name, to, to_name)
    }

    fn symlink(&self, target: &OsStr, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        self.pass("symlink", name)?;
        if self.is_repeated() {
            let _ = RealVerbs.symlink(target, dir, name);
        }
        RealVerbs.symlink(target, dir, name)
    }

    fn remove_file(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        self.pass("remove_file", name)?;
        if self.is_repeated() {
            let _ = RealVerbs.remove_file(dir, name);
        }
        RealVerbs.remove_file(dir, name)
    }

    fn remove_dir(&self, dir: BorrowedFd<'_>, name: &OsStr) -> VerbResult {
        self.pass("remove_dir", name)?;
        if self.is_repeated() {
            let _ = RealVerbs.remove_dir(dir, name);
        }
        RealVerbs.remove_dir(dir, name)
    }

    fn create_file(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        self.pass("create_file", name)?;
        RealVerbs.create_file(dir, name, mode)
    }

    fn open_append(&self, dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> VerbResult<OwnedFd> {
        self.pass("open_append", name)?;
        RealVerbs.open_append(dir, name, mode)
    }

    fn write(&self, file: &File, bytes: &[u8]) -> VerbResult<usize> {
        self.pass("write", OsStr::new(""))?;
        // A write may always be short.
        let part = bytes.get(..bytes.len().div_ceil(2)).unwrap_or(bytes);
        RealVerbs.write(file, part)
    }

    fn sync(&self, fd: BorrowedFd<'_>) -> VerbResult {
        self.pass("sync", OsStr::new(""))?;
        RealVerbs.sync(fd)
    }

    fn sync_filesystem(&self, fd: BorrowedFd<'_>) -> VerbResult {
        self.pass("sync_filesystem", OsStr::new(""))?;
        RealVerbs.sync_filesystem(fd)
    }

    fn set_ownership(&self, fd: BorrowedFd<'_>, ownership: Ownership) -> VerbResult {
        self.pass("set_ownership", OsStr::new(""))?;
        RealVerbs.set_ownership(fd, ownership)
    }

    fn set_modified(&self, fd: BorrowedFd<'_>, seconds: i64, nanoseconds: u32) -> VerbResult {
        self.pass("set_modified", OsStr::new(""))?;
        RealVerbs.set_modified(fd, seconds, nanoseconds)
    }

    fn set_owner(&self, fd: BorrowedFd<'_>, uid: u32, gid: u32) -> VerbResult {
        self.pass("set_owner", OsStr::new(""))?;
        RealVerbs.set_owner(fd, uid, gid)
    }

    fn set_mode(&self, fd: BorrowedFd<'_>, mode: u32) -> VerbResult {
        self.pass("set_mode", OsStr::new(""))?;
        RealVerbs.set_mode(fd, mode)
    }

    fn set_times(&self, fd: BorrowedFd<'_>, accessed: (i64, u32), modified: (i64, u32)) -> VerbResult {
        self.pass("set_times", OsStr::new(""))?;
        RealVerbs.set_times(fd, accessed, modified)
    }

    fn set_xattr(&self, fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> VerbResult {
        self.pass("set_xattr", OsStr::new(&*name.to_string_lossy()))?;
        RealVerbs.set_xattr(fd, name, value)
    }

    fn remove_xattr(&self, fd: BorrowedFd<'_>, name: &CStr) -> VerbResult {
        self.pass("remove_xattr", OsStr::new(&*name.to_string_lossy()))?;
        RealVerbs.remove_xattr(fd, name)
    }

    fn clone_file(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> VerbResult {
        self.pass("clone_file", OsStr::new(""))?;
        RealVerbs.clone_file(from, to)
    }

    fn copy_range(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, offset: u64, bytes: usize) -> VerbResult<usize> {
        self.pass("copy_range", OsStr::new(""))?;
        // A copy may always be short.
        RealVerbs.copy_range(from, to, offset, bytes.div_ceil(2))
    }

    fn write_at(&self, fd: BorrowedFd<'_>, bytes: &[u8], offset: u64) -> VerbResult<usize> {
        self.pass("write_at", OsStr::new(""))?;
        let part = bytes.get(..bytes.len().div_ceil(2)).unwrap_or(bytes);
        RealVerbs.write_at(fd, part, offset)
    }

    fn allocate(&self, fd: BorrowedFd<'_>, offset: u64, bytes: u64) -> VerbResult {
        self.pass("allocate", OsStr::new(""))?;
        RealVerbs.allocate(fd, offset, bytes)
    }

    fn set_size(&self, fd: BorrowedFd<'_>, bytes: u64) -> VerbResult {
        self.pass("set_size", OsStr::new(""))?;
        RealVerbs.set_size(fd, bytes)
    }

    fn close(&self, fd: OwnedFd) -> VerbResult {
        let passed = self.pass("close", OsStr::new(""));
        // The descriptor is closed whatever is answered.
        RealVerbs.close(fd).and(passed)
    }
}
