//! A directory held by its descriptor: everything beneath it is reached from there, one component at a time.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::model::Ownership;

use super::entries::{self, Entry, Kind};
use super::error::{FsError, if_found};
use super::stat::{self, Stat};
use super::verbs::Verbs;

/// An open directory.
///
/// Names given to its methods are single components: one with a slash, or `..`, is refused as `EINVAL`, and no
/// symbolic link is ever followed beneath it. The path is kept for messages only.
#[derive(Clone)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    path: PathBuf,
    verbs: Arc<dyn Verbs>,
}

impl std::fmt::Debug for Dir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dir").field(&self.path).finish()
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn component(name: &OsStr) -> Result<&OsStr, Errno> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(name),
        _ => Err(Errno::INVAL),
    }
}

/// Repeats a call that a signal interrupted.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

impl Dir {
    /// Opens the directory that a person or the server named; symbolic links on the way are theirs and followed.
    ///
    /// # Errors
    /// If there is no such directory, or it may not be read.
    pub fn open(path: &Path, verbs: Arc<dyn Verbs>) -> Result<Self, FsError> {
        let fd = uninterrupted(|| rustix::fs::open(path, DIRECTORY, Mode::empty()))
            .map_err(|errno| FsError::new("open directory", path, errno))?;
        Ok(Self { fd: Arc::new(fd), path: path.to_owned(), verbs })
    }

    /// Opens one directory in this one.
    ///
    /// # Errors
    /// If it is missing, not a directory (a symbolic link is not), or may not be read.
    pub fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Self, FsError> {
        let name = name.as_ref();
        let fd = component(name)
            .and_then(|name| {
                uninterrupted(|| rustix::fs::openat(&self.fd, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()))
            })
            .map_err(|errno| FsError::new("open directory", &self.path.join(name), errno))?;
        Ok(Self { fd: Arc::new(fd), path: self.path.join(name), verbs: Arc::clone(&self.verbs) })
    }

    /// Opens the directory at a relative path, component by component.
    ///
    /// # Errors
    /// As [`Dir::open_dir`]; also if the path is absolute or holds `..`.
    pub fn open_beneath(&self, relative: &Path) -> Result<Self, FsError> {
        let mut dir = self.clone();
        for part in relative.components() {
            if part != Component::CurDir {
                dir = dir.open_dir(part.as_os_str())?;
            }
        }
        Ok(dir)
    }

    /// [`Dir::open_beneath`], or `None` where there is no such directory.
    ///
    /// # Errors
    /// Every error but that one.
    pub fn find_beneath(&self, relative: &Path) -> Result<Option<Self>, FsError> {
        if_found(self.open_beneath(relative))
    }

    /// Where the directory was when it was opened; for messages and answers, never to reopen it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn error<'a>(&'a self, verb: &'static str, name: &'a OsStr) -> impl Fn(Errno) -> FsError + 'a {
        move |errno| FsError::new(verb, &self.path.join(name), errno)
    }

    /// All entries, in the filesystem's order, without `.` and `..`.
    ///
    /// # Errors
    /// If the directory cannot be read to its end.
    pub fn entries(&self) -> Result<Vec<Entry>, FsError> {
        // A descriptor of its own: the position in a directory belongs to the open file, which clones share.
        uninterrupted(|| rustix::fs::openat(&self.fd, c".", DIRECTORY, Mode::empty()))
            .and_then(|fd| entries::read(&fd))
            .map_err(|errno| FsError::new("read directory", &self.path, errno))
    }

    /// All entries, each of a known kind.
    ///
    /// # Errors
    /// As [`Dir::entries`] and [`Dir::stat`].
    pub fn entries_with_kind(&self) -> Result<Vec<Entry>, FsError> {
        let mut entries = self.entries()?;
        for entry in &mut entries {
            if entry.kind == Kind::Unknown {
                entry.kind = self.stat(&entry.name)?.kind;
            }
        }
        Ok(entries)
    }

    /// What stands at `name`; a symbolic link is itself.
    ///
    /// # Errors
    /// If nothing stands there.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> Result<Stat, FsError> {
        let name = name.as_ref();
        component(name).and_then(|name| stat::stat_at(&self.fd, name)).map_err(self.error("stat", name))
    }

    /// [`Dir::stat`], or `None` where nothing stands.
    ///
    /// # Errors
    /// Every error but that one.
    pub fn find(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>, FsError> {
        if_found(self.stat(name))
    }

    /// The directory's own inode.
    ///
    /// # Errors
    /// If the filesystem does not answer.
    pub fn stat_self(&self) -> Result<Stat, FsError> {
        stat::stat_of_fd(&self.fd).map_err(|errno| FsError::new("stat", &self.path, errno))
    }

    /// Reads a whole regular file of at most `limit_bytes`.
    ///
    /// # Errors
    /// If it is missing, a symbolic link, not a regular file, unreadable, or longer (`EFBIG`).
    pub fn read(&self, name: impl AsRef<OsStr>, limit_bytes: u64) -> Result<Vec<u8>, FsError> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = component(name)
            .and_then(|name| uninterrupted(|| rustix::fs::openat(&self.fd, name, flags, Mode::empty())))
            .map_err(self.error("open", name))?;
        let stat = stat::stat_of_fd(&fd).map_err(self.error("stat", name))?;
        if stat.kind != Kind::File {
            return Err(self.error("read what is not a regular file,", name)(Errno::INVAL));
        }
        if stat.size_bytes > limit_bytes {
            return Err(self.error("read", name)(Errno::FBIG));
        }
        let expected = usize::try_from(stat.size_bytes).unwrap_or(0);
        let mut bytes = Vec::with_capacity(expected.saturating_add(1));
        File::from(fd)
            .take(limit_bytes.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| FsError::new("read", &self.path.join(name), error))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(self.error("read", name)(Errno::FBIG));
        }
        Ok(bytes)
    }

    /// [`Dir::read`], or `None` where there is no such file.
    ///
    /// # Errors
    /// Every error but that one.
    pub fn find_and_read(&self, name: impl AsRef<OsStr>, limit_bytes: u64) -> Result<Option<Vec<u8>>, FsError> {
        if_found(self.read(name, limit_bytes))
    }

    /// What the symbolic link at `name` points to.
    ///
    /// # Errors
    /// If it is missing or no symbolic link.
    pub fn read_link(&self, name: impl AsRef<OsStr>) -> Result<PathBuf, FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| rustix::fs::readlinkat(&self.fd, name, Vec::new()))
            .map(|target| PathBuf::from(std::ffi::OsString::from(target.to_string_lossy().into_owned())))
            .map_err(self.error("read link", name))
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// If something stands there already, or the filesystem refuses.
    pub fn create_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<(), FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| self.verbs.create_dir(self.fd(), name, mode))
            .map_err(self.error("create directory", name))
    }

    /// Opens a directory, made with `mode` if it is not there.
    ///
    /// # Errors
    /// If it can be neither made nor opened.
    pub fn ensure_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Self, FsError> {
        match self.create_dir(&name, mode) {
            Err(error) if error.kind() != super::ErrorKind::Exists => Err(error),
            _ => self.open_dir(name),
        }
    }

    /// Links `from_name` in `from` to `name` in this directory.
    ///
    /// # Errors
    /// If the filesystem refuses.
    pub fn link_from(&self, from: &Self, from_name: impl AsRef<OsStr>, name: impl AsRef<OsStr>) -> Result<(), FsError> {
        let (from_name, name) = (from_name.as_ref(), name.as_ref());
        component(from_name)
            .and(component(name))
            .and_then(|name| self.verbs.link(from.fd(), from_name, self.fd(), name))
            .map_err(|errno| FsError::between("link", &from.path.join(from_name), &self.path.join(name), errno))
    }

    /// Renames `from_name` in `from` to `name` in this directory.
    ///
    /// # Errors
    /// If the filesystem refuses.
    pub fn rename_from(
        &self,
        from: &Self,
        from_name: impl AsRef<OsStr>,
        name: impl AsRef<OsStr>,
    ) -> Result<(), FsError> {
        let (from_name, name) = (from_name.as_ref(), name.as_ref());
        component(from_name)
            .and(component(name))
            .and_then(|name| self.verbs.rename(from.fd(), from_name, self.fd(), name))
            .map_err(|errno| FsError::between("rename", &from.path.join(from_name), &self.path.join(name), errno))
    }

    /// Makes a symbolic link.
    ///
    /// # Errors
    /// If something stands there already, or the filesystem refuses.
    pub fn symlink(&self, target: &Path, name: impl AsRef<OsStr>) -> Result<(), FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| self.verbs.symlink(target.as_os_str(), self.fd(), name))
            .map_err(self.error("create symbolic link", name))
    }

    /// Unlinks what is not a directory.
    ///
    /// # Errors
    /// If it is missing or the filesystem refuses.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<(), FsError> {
        let name = name.as_ref();
        component(name).and_then(|name| self.verbs.remove_file(self.fd(), name)).map_err(self.error("remove", name))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// If it is missing or not empty, or the filesystem refuses.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<(), FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| self.verbs.remove_dir(self.fd(), name))
            .map_err(self.error("remove directory", name))
    }

    /// Writes a new file and makes its bytes durable; the entry itself needs [`Dir::sync`].
    ///
    /// # Errors
    /// If something stands there already, or the filesystem refuses.
    pub fn write_new(&self, name: impl AsRef<OsStr>, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        let name = name.as_ref();
        let file = self.create_file(name, mode, bytes)?;
        uninterrupted(|| self.verbs.sync(file.as_fd())).map_err(self.error("sync", name))
    }

    /// Writes a new file and leaves it to [`Dir::sync_filesystem`] to make it durable.
    ///
    /// # Errors
    /// If something stands there already, or the filesystem refuses.
    pub fn write_unsynced(&self, name: impl AsRef<OsStr>, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        self.create_file(name.as_ref(), mode, bytes).map(drop)
    }

    fn create_file(&self, name: &OsStr, mode: u32, bytes: &[u8]) -> Result<File, FsError> {
        let file = component(name)
            .and_then(|name| uninterrupted(|| self.verbs.create_file(self.fd(), name, mode)))
            .map(File::from)
            .map_err(self.error("create", name))?;
        self.write_all(&file, name, bytes)?;
        Ok(file)
    }

    /// Writes a new file that carries the ownership and modification time of another one; see
    /// [`Dir::write_unsynced`].
    ///
    /// # Errors
    /// As [`Dir::write_new`]; also if this process may not give the file to that owner.
    pub fn write_copy(&self, name: impl AsRef<OsStr>, like: &Stat, bytes: &[u8]) -> Result<(), FsError> {
        let name = name.as_ref();
        let file = self.create_file(name, 0o600, bytes)?;
        self.verbs.set_ownership(file.as_fd(), like.ownership).map_err(self.error("set the owner of", name))?;
        let (seconds, nanoseconds) = like.modified;
        self.verbs
            .set_modified(file.as_fd(), seconds, nanoseconds)
            .map_err(self.error("set the modification time of", name))
    }

    /// Replaces a file at one stroke: written beside it, made durable, renamed over it.
    ///
    /// # Errors
    /// If the filesystem refuses; then the old file is as it was.
    pub fn replace(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        let new_name = format!("{name}.new");
        if self.find(&new_name)?.is_some() {
            self.remove_file(&new_name)?;
        }
        self.write_new(&new_name, mode, bytes)?;
        self.rename_from(self, &new_name, name)?;
        self.sync()
    }

    /// Appends to a file, made with `mode` if it is not there, and makes it durable.
    ///
    /// # Errors
    /// If the filesystem refuses; then a part of the bytes may stand.
    pub fn append(&self, name: impl AsRef<OsStr>, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        let name = name.as_ref();
        let file = component(name)
            .and_then(|name| self.verbs.open_append(self.fd(), name, mode))
            .map(File::from)
            .map_err(self.error("open", name))?;
        self.write_all(&file, name, bytes)?;
        uninterrupted(|| self.verbs.sync(file.as_fd())).map_err(self.error("sync", name))
    }

    fn write_all(&self, file: &File, name: &OsStr, mut bytes: &[u8]) -> Result<(), FsError> {
        while !bytes.is_empty() {
            let taken = uninterrupted(|| self.verbs.write(file, bytes)).map_err(self.error("write", name))?;
            if taken == 0 {
                return Err(self.error("write", name)(Errno::IO));
            }
            bytes = bytes.get(taken..).unwrap_or_default();
        }
        Ok(())
    }

    /// Makes the directory's entries durable.
    ///
    /// # Errors
    /// If the filesystem could not write them.
    pub fn sync(&self) -> Result<(), FsError> {
        uninterrupted(|| self.verbs.sync(self.fd())).map_err(|errno| FsError::new("sync", &self.path, errno))
    }

    /// Makes everything on the directory's filesystem durable.
    ///
    /// # Errors
    /// If the filesystem could not write it (reported since Linux 5.8).
    pub fn sync_filesystem(&self) -> Result<(), FsError> {
        uninterrupted(|| self.verbs.sync_filesystem(self.fd()))
            .map_err(|errno| FsError::new("sync the filesystem of", &self.path, errno))
    }

    /// Gives this directory, which chsnap has made, an owner and a mode.
    ///
    /// # Errors
    /// If this process may not.
    pub fn set_ownership(&self, ownership: Ownership) -> Result<(), FsError> {
        self.verbs
            .set_ownership(self.fd(), ownership)
            .map_err(|errno| FsError::new("set the owner of", &self.path, errno))
    }

    /// Gives this directory, which chsnap has made, a modification time.
    ///
    /// # Errors
    /// If this process may not.
    pub fn set_modified(&self, (seconds, nanoseconds): (i64, u32)) -> Result<(), FsError> {
        self.verbs
            .set_modified(self.fd(), seconds, nanoseconds)
            .map_err(|errno| FsError::new("set the modification time of", &self.path, errno))
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes a directory and those above it that are missing.
///
/// # Errors
/// If one of them can be neither made nor opened.
pub fn create_path(path: &Path, mode: u32, verbs: &Arc<dyn Verbs>) -> Result<Dir, FsError> {
    match Dir::open(path, Arc::clone(verbs)) {
        Err(error) if error.kind() == super::ErrorKind::NotFound => {}
        result => return result,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(FsError::new("create directory", path, Errno::NOENT));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    create_path(parent, mode, verbs)?.ensure_dir(name, mode)?;
    Dir::open(path, Arc::clone(verbs))
}
