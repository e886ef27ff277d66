//! A FUSE filesystem that forwards every call to a directory, and can be set to be slow, to fail, or to lose the reply
//! of a call. The kernel treats it as an ordinary filesystem, and chsnap as a remote one.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirEntryExt as _, FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use nix::sched::{CloneFlags, unshare};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, XattrFlags};

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with this error (`errno(3)`), and has no effect.
    Error(i32),
    /// It is executed twice, and returns the second answer, as if that of the first were lost. A call that gives the
    /// same answer when it is repeated ([`REPEATED`] lists the others) is executed once.
    Repeated,
    /// It is executed, and then reported as failed with this error: as when a server goes away after it.
    DoneThenError(i32),
    /// The calling process is killed, and the call has no effect.
    Kill,
}

#[derive(Clone, Copy, Debug, Default)]
struct Behavior {
    delay: Duration,
    /// The number of calls until the fault, counted from now on.
    fault: Option<(usize, Fault)>,
    /// The owner that is shown for everything that does not belong to root.
    nobody: Option<u32>,
}

/// Calls that change something, or report whether something was changed: only these are counted and can fail.
const COUNTED: [&str; 15] = [
    "setattr", "mkdir", "unlink", "rmdir", "symlink", "rename", "link", "write", "flush", "fsync", "fsyncdir",
    "setxattr", "create", "readdir", "open",
];

/// Calls that give another answer the second time. `create` is not among them: a server recognizes an exclusive create
/// that it has executed by its verifier (RFC 8881, 18.16.3), and returns the same file.
pub const REPEATED: [&str; 6] = ["mkdir", "unlink", "rmdir", "symlink", "rename", "link"];

/// The filesystem while it is mounted, visible to the thread that mounted it and the processes that the thread starts.
pub struct Passthrough {
    shared: Arc<Shared>,
    session: Option<BackgroundSession>,
    mount: PathBuf,
    _folder: tempfile::TempDir,
}

impl Passthrough {
    /// Mounts one over an empty directory.
    #[track_caller]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (below, mount) = (folder.path().join("below"), folder.path().join("mount"));
        fs::create_dir(&below).and_then(|()| fs::create_dir(&mount)).expect("directories");
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of its own (are you root?)");
        let status = std::process::Command::new("mount").args(["--make-rprivate", "/"]).status();
        assert!(status.expect("mount starts").success(), "mounts of one's own");
        // The modes in the kernel's requests already take the caller's umask into account.
        rustix::process::umask(Mode::empty());
        let root = open_path(CWD, below.as_os_str()).expect("a directory");
        let shared = Arc::new(Shared::new(root));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("passthrough".into()), MountOption::DefaultPermissions];
        config.acl = fuser::SessionACL::All;
        config.n_threads = Some(32);
        let session = fuser::spawn_mount(Handler(Arc::clone(&shared)), &mount, &config).expect("mounted");
        Self { shared, session: Some(session), mount, _folder: folder }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Delays every call by this time from now on.
    pub fn delay(&self, delay: Duration) {
        self.shared.behavior().delay = delay;
    }

    /// Injects this fault at the `at`-th counted call from now on, the first being 0.
    pub fn strike(&self, at: usize, fault: Fault) {
        self.shared.calls.store(0, Ordering::SeqCst);
        self.shared.behavior().fault = Some((at, fault));
        *lock(&self.shared.struck) = None;
    }

    /// Shows this id instead of all owners and groups except root's from now on, as an NFSv4 client does with names for
    /// which it has no number. Setting an owner is reported as successful.
    pub fn map_ids_to(&self, nobody: Option<u32>) {
        self.shared.behavior().nobody = nobody;
    }

    /// Injects no fault from now on. Returns the kind of the call that got one, if any did.
    pub fn spare(&self) -> Option<&'static str> {
        self.shared.behavior().fault = None;
        lock(&self.shared.struck).take()
    }

    /// The kinds of the counted calls, in order, since this method was last called.
    pub fn take_kinds(&self) -> Vec<&'static str> {
        std::mem::take(&mut lock(&self.shared.kinds))
    }

    /// The highest number of concurrent calls since this method was last called.
    pub fn take_most_at_once(&self) -> usize {
        self.shared.most_at_once.swap(0, Ordering::SeqCst)
    }
}

impl Drop for Passthrough {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            drop(session.umount_and_join());
        }
    }
}

struct Node {
    /// Opened with `O_PATH`; while it is open, its number is not reused for another inode.
    fd: Arc<OwnedFd>,
    lookups: u64,
}

type Listing = Vec<(OsString, u64, FileType)>;

struct Shared {
    root: Arc<OwnedFd>,
    nodes: Mutex<HashMap<u64, Node>>,
    files: Mutex<HashMap<u64, Arc<File>>>,
    listings: Mutex<HashMap<u64, Arc<Listing>>>,
    next_handle: AtomicU64,
    behavior: Mutex<Behavior>,
    calls: AtomicUsize,
    kinds: Mutex<Vec<&'static str>>,
    struck: Mutex<Option<&'static str>>,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread panics with it")
}

fn open_path(dir: impl std::os::fd::AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?)
}

/// A path of the file that a descriptor has open.
fn path_of(fd: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

impl Shared {
    fn new(root: OwnedFd) -> Self {
        Self {
            root: Arc::new(root),
            nodes: Mutex::default(),
            files: Mutex::default(),
            listings: Mutex::default(),
            next_handle: AtomicU64::new(1),
            behavior: Mutex::default(),
            calls: AtomicUsize::new(0),
            kinds: Mutex::default(),
            struck: Mutex::default(),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        }
    }

    fn behavior(&self) -> MutexGuard<'_, Behavior> {
        lock(&self.behavior)
    }

    /// Executes a call, unless a fault is due at it.
    fn call<T>(&self, kind: &'static str, request: &Request, body: impl Fn() -> io::Result<T>) -> Result<T, Errno> {
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let Behavior { delay, fault, .. } = *self.behavior();
        std::thread::sleep(delay);
        let number = COUNTED.contains(&kind).then(|| {
            lock(&self.kinds).push(kind);
            self.calls.fetch_add(1, Ordering::SeqCst)
        });
        let fault = fault.filter(|(at, _)| Some(*at) == number).map(|(_, fault)| fault);
        if fault.is_some() {
            *lock(&self.struck) = Some(kind);
        }
        let result = match fault {
            None => body(),
            Some(Fault::Error(error)) => Err(io::Error::from_raw_os_error(error)),
            Some(Fault::Repeated) if !REPEATED.contains(&kind) => body(),
            Some(Fault::Repeated) => body().and_then(|_| body()),
            Some(Fault::DoneThenError(error)) => body().and(Err(io::Error::from_raw_os_error(error))),
            Some(Fault::Kill) => {
                let caller = i32::try_from(request.pid()).ok().and_then(rustix::process::Pid::from_raw);
                if let Some(caller) = caller {
                    rustix::process::kill_process(caller, rustix::process::Signal::KILL).expect("it runs");
                }
                Err(io::Error::from_raw_os_error(5))
            }
        };
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        result.map_err(Errno::from)
    }

    fn fd(&self, number: INodeNo) -> io::Result<Arc<OwnedFd>> {
        if number == INodeNo::ROOT {
            return Ok(Arc::clone(&self.root));
        }
        let nodes = lock(&self.nodes);
        nodes.get(&number.0).map(|node| Arc::clone(&node.fd)).ok_or_else(|| io::Error::from_raw_os_error(116))
    }

    fn file(&self, handle: FileHandle) -> io::Result<Arc<File>> {
        let files = lock(&self.files);
        files.get(&handle.0).map(Arc::clone).ok_or_else(|| io::Error::from_raw_os_error(9))
    }

    fn keep(&self, file: File) -> FileHandle {
        let handle = self.next_handle.fetch_add(1, Ordering::SeqCst);
        lock(&self.files).insert(handle, Arc::new(file));
        FileHandle(handle)
    }

    /// The attributes of a name, whose inode number the kernel uses from then on.
    fn look(&self, parent: INodeNo, name: &OsStr) -> io::Result<FileAttr> {
        let fd = open_path(&*self.fd(parent)?, name)?;
        let attributes = self.shown(attributes(&fd)?);
        let mut nodes = lock(&self.nodes);
        nodes.entry(attributes.ino.0).or_insert_with(|| Node { fd: Arc::new(fd), lookups: 0 }).lookups += 1;
        Ok(attributes)
    }

    fn attributes(&self, number: INodeNo) -> io::Result<FileAttr> {
        Ok(FileAttr { ino: number, ..self.shown(attributes(&*self.fd(number)?)?) })
    }

    fn shown(&self, attributes: FileAttr) -> FileAttr {
        let nobody = self.behavior().nobody;
        let shown = |id: u32| nobody.filter(|_| id != 0).unwrap_or(id);
        FileAttr { uid: shown(attributes.uid), gid: shown(attributes.gid), ..attributes }
    }

    fn list(&self, number: INodeNo) -> io::Result<Listing> {
        let mut listing = Vec::new();
        for entry in fs::read_dir(path_of(&*self.fd(number)?))? {
            let entry = entry?;
            listing.push((entry.file_name(), entry.ino(), kind_of(entry.file_type()?)));
        }
        Ok(listing)
    }
}

fn kind_of(kind: fs::FileType) -> FileType {
    match kind {
        kind if kind.is_dir() => FileType::Directory,
        kind if kind.is_symlink() => FileType::Symlink,
        kind if kind.is_fifo() => FileType::NamedPipe,
        kind if kind.is_socket() => FileType::Socket,
        _ => FileType::RegularFile,
    }
}

fn attributes(fd: &OwnedFd) -> io::Result<FileAttr> {
    // Uses the descriptor itself: its name in /proc would be followed through a symbolic link's target.
    let stat = File::from(fd.try_clone()?).metadata()?;
    let time = |seconds: i64, nanoseconds: i64| -> SystemTime {
        let seconds = u64::try_from(seconds).unwrap_or(0);
        UNIX_EPOCH + Duration::new(seconds, u32::try_from(nanoseconds).unwrap_or(0))
    };
    Ok(FileAttr {
        ino: INodeNo(stat.ino()),
        size: stat.size(),
        blocks: stat.blocks(),
        atime: time(stat.atime(), stat.atime_nsec()),
        mtime: time(stat.mtime(), stat.mtime_nsec()),
        ctime: time(stat.ctime(), stat.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: kind_of(stat.file_type()),
        perm: u16::try_from(stat.mode() & 0o7777).expect("twelve bits"),
        nlink: u32::try_from(stat.nlink()).unwrap_or(u32::MAX),
        uid: stat.uid(),
        gid: stat.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

/// The kernel caches nothing: as on NFS without caching, every lookup is a call.
const TTL: Duration = Duration::ZERO;

struct Handler(Arc<Shared>);

macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $then:expr) => {
        match $result {
            Ok($value) => $then,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Handler {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.0.call("lookup", request, || self.0.look(parent, name));
        answer!(reply, found, found => reply.entry(&TTL, &found, Generation(0)));
    }

    fn forget(&self, _: &Request, number: INodeNo, lookups: u64) {
        let mut nodes = lock(&self.0.nodes);
        if let Some(node) = nodes.get_mut(&number.0) {
            node.lookups = node.lookups.saturating_sub(lookups);
            if node.lookups == 0 {
                nodes.remove(&number.0);
            }
        }
    }

    fn getattr(&self, request: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let found = self.0.call("getattr", request, || self.0.attributes(number));
        answer!(reply, found, found => reply.attr(&TTL, &found));
    }

    fn setattr(
        &self,
        request: &Request,
        number: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        handle: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = || {
            let fd = self.0.fd(number)?;
            let path = path_of(&fd);
            if let Some(mode) = mode {
                rustix::fs::chmodat(CWD, &path, Mode::from_raw_mode(mode), AtFlags::empty())?;
            }
            if uid.is_some() || gid.is_some() {
                let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
                rustix::fs::chownat(CWD, &path, uid, gid, AtFlags::empty())?;
            }
            if let Some(size) = size {
                match handle {
                    Some(handle) => self.0.file(handle)?.set_len(size)?,
                    None => File::options().write(true).open(&path)?.set_len(size)?,
                }
            }
            if accessed.is_some() || modified.is_some() {
                let times = Timestamps { last_access: timespec(accessed), last_modification: timespec(modified) };
                rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty())?;
            }
            self.0.attributes(number)
        };
        answer!(reply, self.0.call("setattr", request, set), found => reply.attr(&TTL, &found));
    }

    fn readlink(&self, request: &Request, number: INodeNo, reply: ReplyData) {
        let read = || Ok(rustix::fs::readlinkat(&*self.0.fd(number)?, "", Vec::new())?);
        answer!(reply, self.0.call("readlink", request, read), target => reply.data(target.as_bytes()));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let make = || {
            rustix::fs::mkdirat(&*self.0.fd(parent)?, name, Mode::from_raw_mode(mode))?;
            self.0.look(parent, name)
        };
        answer!(reply, self.0.call("mkdir", request, make), found => reply.entry(&TTL, &found, Generation(0)));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let unlink = || Ok(rustix::fs::unlinkat(&*self.0.fd(parent)?, name, AtFlags::empty())?);
        answer!(reply, self.0.call("unlink", request, unlink), () => reply.ok());
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let remove = || Ok(rustix::fs::unlinkat(&*self.0.fd(parent)?, name, AtFlags::REMOVEDIR)?);
        answer!(reply, self.0.call("rmdir", request, remove), () => reply.ok());
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let make = || {
            rustix::fs::symlinkat(target, &*self.0.fd(parent)?, name)?;
            self.0.look(parent, name)
        };
        answer!(reply, self.0.call("symlink", request, make), found => reply.entry(&TTL, &found, Generation(0)));
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let rename = || {
            // NFS supports none of these flags.
            if !flags.is_empty() {
                return Err(io::Error::from_raw_os_error(22));
            }
            Ok(rustix::fs::renameat(&*self.0.fd(parent)?, name, &*self.0.fd(new_parent)?, new_name)?)
        };
        answer!(reply, self.0.call("rename", request, rename), () => reply.ok());
    }

    fn link(&self, request: &Request, number: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let link = || {
            let (fd, parent_fd) = (self.0.fd(number)?, self.0.fd(parent)?);
            rustix::fs::linkat(CWD, path_of(&fd), &*parent_fd, name, AtFlags::SYMLINK_FOLLOW)?;
            self.0.look(parent, name)
        };
        answer!(reply, self.0.call("link", request, link), found => reply.entry(&TTL, &found, Generation(0)));
    }

    fn open(&self, request: &Request, number: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let open = || {
            let flags = OFlags::from_bits_retain(flags.0.cast_unsigned()) - OFlags::NOFOLLOW - OFlags::CREATE;
            let fd = rustix::fs::openat(CWD, path_of(&*self.0.fd(number)?), flags | OFlags::CLOEXEC, Mode::empty())?;
            Ok(self.0.keep(File::from(fd)))
        };
        answer!(reply, self.0.call("open", request, open), handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let create = || {
            let flags = OFlags::from_bits_retain(flags.cast_unsigned()) | OFlags::CREATE | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(&*self.0.fd(parent)?, name, flags, Mode::from_raw_mode(mode))?;
            Ok((self.0.look(parent, name)?, self.0.keep(File::from(fd))))
        };
        answer!(reply, self.0.call("create", request, create), (found, handle) =>
            reply.created(&TTL, &found, Generation(0), handle, FopenFlags::empty()));
    }

    fn read(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = || {
            let file = self.0.file(handle)?;
            let mut bytes = vec![0; size as usize];
            let mut filled = 0;
            while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, offset + filled as u64)? {
                    0 => break,
                    count => filled += count,
                }
            }
            bytes.truncate(filled);
            Ok(bytes)
        };
        answer!(reply, self.0.call("read", request, read), bytes => reply.data(&bytes));
    }

    fn write(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let write = || self.0.file(handle)?.write_all_at(data, offset);
        let size = u32::try_from(data.len()).expect("a piece of a file");
        answer!(reply, self.0.call("write", request, write), () => reply.written(size));
    }

    fn flush(&self, request: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        answer!(reply, self.0.call("flush", request, || Ok(())), () => reply.ok());
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        lock(&self.0.files).remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, request: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.0.call("fsync", request, || self.0.file(handle).map(drop)), () => reply.ok());
    }

    fn opendir(&self, request: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let open = || {
            let handle = self.0.next_handle.fetch_add(1, Ordering::SeqCst);
            lock(&self.0.listings).insert(handle, Arc::new(self.0.list(number)?));
            Ok(FileHandle(handle))
        };
        answer!(reply, self.0.call("opendir", request, open), handle => reply.opened(handle, FopenFlags::empty()));
    }

    fn readdir(&self, request: &Request, number: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let read = || {
            if offset == 0 {
                // A reader that rewinds, or reads a directory that was opened before, sees its present content.
                lock(&self.0.listings).insert(handle.0, Arc::new(self.0.list(number)?));
            }
            let listings = lock(&self.0.listings);
            listings.get(&handle.0).map(Arc::clone).ok_or_else(|| io::Error::from_raw_os_error(9))
        };
        answer!(reply, self.0.call("readdir", request, read), listing => {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            for (position, (name, inode, kind)) in listing.iter().enumerate().skip(start) {
                if reply.add(INodeNo(*inode), position as u64 + 1, *kind, name) {
                    break;
                }
            }
            reply.ok();
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        lock(&self.0.listings).remove(&handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, request: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answer!(reply, self.0.call("fsyncdir", request, || Ok(())), () => reply.ok());
    }

    fn statfs(&self, request: &Request, _: INodeNo, reply: ReplyStatfs) {
        let ask = || Ok(rustix::fs::fstatvfs(&*self.0.root)?);
        let block = |bytes: u64| u32::try_from(bytes).unwrap_or(4096);
        answer!(reply, self.0.call("statfs", request, ask), found => reply.statfs(
            found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree,
            block(found.f_bsize), 255, block(found.f_frsize)));
    }

    fn setxattr(
        &self,
        request: &Request,
        number: INodeNo,
        name: &OsStr,
        value: &[u8],
        _: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        let set = || Ok(rustix::fs::setxattr(path_of(&*self.0.fd(number)?), name, value, XattrFlags::empty())?);
        answer!(reply, self.0.call("setxattr", request, set), () => reply.ok());
    }

    fn getxattr(&self, request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let get = || {
            let mut value = vec![0; size as usize];
            let length = rustix::fs::getxattr(path_of(&*self.0.fd(number)?), name, &mut value)?;
            value.truncate(length);
            Ok((value, length))
        };
        answer_xattr(reply, size, self.0.call("getxattr", request, get));
    }

    fn listxattr(&self, request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        let list = || {
            let mut names = vec![0; size as usize];
            let length = rustix::fs::listxattr(path_of(&*self.0.fd(number)?), &mut names)?;
            names.truncate(length);
            Ok((names, length))
        };
        answer_xattr(reply, size, self.0.call("listxattr", request, list));
    }
}

fn answer_xattr(reply: ReplyXattr, size: u32, result: Result<(Vec<u8>, usize), Errno>) {
    answer!(reply, result, (bytes, length) => match size {
        0 => reply.size(u32::try_from(length).unwrap_or(u32::MAX)),
        _ => reply.data(&bytes),
    });
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match time {
        None => special(UTIME_OMIT),
        Some(TimeOrNow::Now) => special(UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Timespec { tv_sec: since.as_secs().cast_signed(), tv_nsec: since.subsec_nanos().into() }
        }
    }
}
