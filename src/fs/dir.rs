//! A directory held by its descriptor: everything beneath it is reached from there, one component at a time. Methods
//! that change it are in `change.rs`.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::model::DirectoryState;

use super::entries::{self, Entry, EntryKind};
use super::error::{ErrorKind, FsError, if_found};
use super::mutations::Mutations;
use super::stat::{self, DirectoryId, Stat};

/// An open directory.
///
/// Names given to its methods are single components: one with a slash, or `..`, is refused as `EINVAL`, and no
/// symbolic link is ever followed beneath it. The path is kept for messages only.
#[derive(Clone)]
pub struct Dir {
    fd: Arc<OwnedFd>,
    /// The directory that the user named, beneath which this one lies; a stale descriptor is opened again from there.
    root: Arc<Path>,
    pub(super) path: Arc<Path>,
    pub(super) verbs: Arc<dyn Mutations>,
}

/// A directory, and its entries when it was opened.
#[derive(Debug)]
pub struct DirectoryListing {
    /// The directory.
    pub dir: Dir,
    /// Its state before it was listed, with no files counted; `None` if it was not requested or cannot be known.
    pub state: Option<DirectoryState>,
    /// Its entries, each of a known kind.
    pub entries: Vec<Entry>,
}

impl std::fmt::Debug for Dir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dir").field(&self.path).finish()
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Opens a directory or file for reading, without updating the time of the last access if the system permits that: it
/// does for the owner of a file, and for root.
fn open_to_read(dir: &OwnedFd, name: impl rustix::path::Arg + Copy, flags: OFlags) -> Result<OwnedFd, Errno> {
    let open = |flags| uninterrupted(|| rustix::fs::openat(dir, name, flags, Mode::empty()));
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        result => result,
    }
}

pub(super) fn component(name: &OsStr) -> Result<&OsStr, Errno> {
    // Called for every file, so it compares bytes and does not use the standard library's path parser.
    match name.as_bytes() {
        b"" | b"." | b".." => Err(Errno::INVAL),
        bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
        _ => Ok(name),
    }
}

/// Repeats a call that a signal interrupted.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Reads a file to its end, or until it turns out to be longer than `limit_bytes`.
///
/// One call suffices if the file has the size that its inode gave: room for one more byte shows whether it has grown
/// since.
fn read_all(mut file: &File, size_bytes: u64, limit_bytes: u64) -> std::io::Result<Vec<u8>> {
    let expected = usize::try_from(size_bytes).unwrap_or(usize::MAX);
    let mut bytes = vec![0; expected.saturating_add(1)];
    let mut taken = 0;
    loop {
        match file.read(bytes.get_mut(taken..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(more) => taken += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        }
        if taken >= expected {
            break;
        }
    }
    bytes.truncate(taken);
    if taken > expected {
        let more = limit_bytes.saturating_add(1).saturating_sub(taken as u64);
        file.take(more).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

impl Dir {
    /// Opens the directory that the user or the server named; symbolic links in the path are theirs and are followed.
    ///
    /// # Errors
    /// If there is no such directory, or it may not be read.
    pub fn open(path: &Path, verbs: Arc<dyn Mutations>) -> Result<Self, FsError> {
        let fd = uninterrupted(|| rustix::fs::open(path, DIRECTORY, Mode::empty()))
            .map_err(|errno| FsError::new("open directory", path, errno))?;
        let path: Arc<Path> = Arc::from(path);
        Ok(Self { fd: Arc::new(fd), root: Arc::clone(&path), path, verbs })
    }

    /// The mutations through which this directory is changed.
    #[must_use]
    pub fn verbs(&self) -> Arc<dyn Mutations> {
        Arc::clone(&self.verbs)
    }

    /// Opens a directory elsewhere, with the same mutations as this one.
    ///
    /// # Errors
    /// As [`Dir::open`].
    pub fn open_elsewhere(&self, path: &Path) -> Result<Self, FsError> {
        Self::open(path, Arc::clone(&self.verbs))
    }

    /// Opens one directory in this one.
    ///
    /// # Errors
    /// If it is missing, is not a directory (a symbolic link does not count as one), or may not be read.
    pub fn open_dir(&self, name: impl AsRef<OsStr>) -> Result<Self, FsError> {
        let name = name.as_ref();
        let open = |dir: &Self| open_to_read(&dir.fd, name, DIRECTORY | OFlags::NOFOLLOW);
        let fd = component(name)
            .and_then(|_| self.unless_stale(open))
            .map_err(|errno| FsError::new("open directory", &self.path.join(name), errno))?;
        let (root, path) = (Arc::clone(&self.root), self.path.join(name).into());
        Ok(Self { fd: Arc::new(fd), root, path, verbs: Arc::clone(&self.verbs) })
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

    /// Works as [`Dir::open_beneath`], but returns `None` if there is no such directory.
    ///
    /// # Errors
    /// Every other error.
    pub fn find_beneath(&self, relative: &Path) -> Result<Option<Self>, FsError> {
        if_found(self.open_beneath(relative))
    }

    /// Works as [`Dir::find_beneath`], but follows symbolic links to directories, as a server does in its data path.
    /// `elsewhere` maps an absolute target to a path of this host.
    ///
    /// # Errors
    /// Every error except that there is no such directory. A dangling link is an error.
    pub fn find_following(
        &self,
        relative: &Path,
        elsewhere: &dyn Fn(&Path) -> PathBuf,
    ) -> Result<Option<Self>, FsError> {
        let mut dir = self.clone();
        for name in relative.components().map(std::path::Component::as_os_str) {
            dir = match dir.open_dir(name) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) if error.kind() == ErrorKind::WrongKind => match dir.read_link(name) {
                    Ok(target) if target.is_absolute() => dir.open_elsewhere(&elsewhere(&target))?,
                    Ok(target) => dir.open_elsewhere(&dir.path().join(target))?,
                    Err(_) => return Err(error),
                },
                result => result?,
            };
        }
        Ok(Some(dir))
    }

    /// The path of the directory when it was opened; for messages and answers, never to reopen it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn error<'a>(&'a self, verb: &'static str, name: &'a OsStr) -> impl Fn(Errno) -> FsError + 'a {
        move |errno| FsError::new(verb, &self.path.join(name), errno)
    }

    /// Opens one directory in this one, and lists it as [`Dir::entries_with_kind`] does, in fewer calls.
    ///
    /// # Errors
    /// As [`Dir::open_dir`] and [`Dir::entries_with_kind`].
    pub fn open_and_list(&self, name: impl AsRef<OsStr>) -> Result<(Self, Vec<Entry>), FsError> {
        let dir = self.open_dir(name)?;
        let entries = dir.list_fresh()?;
        Ok((dir, entries))
    }

    /// Works as [`Dir::open_and_list`], without the state of the directory.
    ///
    /// # Errors
    /// As [`Dir::open_and_list`].
    pub fn open_and_list_plainly(&self, name: &str) -> Result<DirectoryListing, FsError> {
        let (dir, entries) = self.open_and_list(name)?;
        Ok(DirectoryListing { dir, state: None, entries })
    }

    /// Works as [`Dir::open_and_list`], and requests the state of the directory before it is listed.
    ///
    /// # Errors
    /// As [`Dir::open_and_list`].
    pub fn open_and_list_with_state(&self, name: &str) -> Result<DirectoryListing, FsError> {
        let dir = self.open_dir(name)?;
        let state = dir.state()?;
        let entries = dir.list_fresh()?;
        Ok(DirectoryListing { dir, state, entries })
    }

    /// Lists a directory whose descriptor is not shared yet, so that its position is the beginning.
    fn list_fresh(&self) -> Result<Vec<Entry>, FsError> {
        let entries = entries::read(&self.fd).map_err(|errno| FsError::new("read directory", &self.path, errno))?;
        self.with_kinds(entries)
    }

    /// Opens one directory in this one, of which every entry is about to be named. On a network filesystem it is listed
    /// first: the client then knows all entries by a few calls to the server, instead of one for each.
    ///
    /// # Errors
    /// As [`Dir::open_and_list`].
    pub fn open_for_all_entries(&self, name: impl AsRef<OsStr>) -> Result<Self, FsError> {
        if self.verbs.are_remote() { self.open_and_list(name).map(|(dir, _)| dir) } else { self.open_dir(name) }
    }

    /// Has the client of a network filesystem learn all entries by a few calls to the server, instead of one for each entry
    /// that is named later. Does nothing on a local filesystem.
    ///
    /// # Errors
    /// As [`Dir::entries`].
    pub fn learn_entries(&self) -> Result<(), FsError> {
        if self.verbs.are_remote() { self.entries().map(drop) } else { Ok(()) }
    }

    /// Opens one directory in this one, if it exists, and passes on the names in it.
    ///
    /// # Errors
    /// If it exists and cannot be read.
    pub fn find_and_visit(
        &self,
        name: impl AsRef<OsStr>,
        mut seen: impl FnMut(&OsStr),
    ) -> Result<Option<Self>, FsError> {
        let Some(dir) = if_found(self.open_dir(name))? else { return Ok(None) };
        match entries::visit(&dir.fd, |name, _, _| seen(name)) {
            // It vanished meanwhile.
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(FsError::new("read directory", &dir.path, errno)),
            Ok(()) => Ok(Some(dir)),
        }
    }

    /// Works as [`Dir::open_and_list`], but returns `None` if there is no such directory.
    ///
    /// # Errors
    /// Every other error.
    pub fn find_and_list(&self, name: impl AsRef<OsStr>) -> Result<Option<(Self, Vec<Entry>)>, FsError> {
        if_found(self.open_and_list(name))
    }

    /// All entries, in the filesystem's order, without `.` and `..`.
    ///
    /// # Errors
    /// If the directory cannot be read to its end.
    pub fn entries(&self) -> Result<Vec<Entry>, FsError> {
        // Uses a separate descriptor: the position in a directory belongs to the open file, which clones share.
        self.unless_stale(|dir| open_to_read(&dir.fd, c".", DIRECTORY).and_then(|fd| entries::read(&fd)))
            .map_err(|errno| FsError::new("read directory", &self.path, errno))
    }

    /// All entries, each of a known kind.
    ///
    /// # Errors
    /// As [`Dir::entries`] and [`Dir::stat`].
    pub fn entries_with_kind(&self) -> Result<Vec<Entry>, FsError> {
        self.with_kinds(self.entries()?)
    }

    fn with_kinds(&self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, FsError> {
        for entry in &mut entries {
            if entry.kind == EntryKind::Unknown {
                entry.kind = self.stat(&entry.name)?.kind;
            }
        }
        Ok(entries)
    }

    /// Works as [`Dir::entries_with_kind`], but returns an empty list if the directory has been removed since it was
    /// opened: a running server removes directories.
    ///
    /// # Errors
    /// Every other error.
    pub fn entries_if_there(&self) -> Result<Vec<Entry>, FsError> {
        Ok(if_found(self.entries_with_kind())?.unwrap_or_default())
    }

    /// The inode at `name`; a symbolic link is not followed.
    ///
    /// # Errors
    /// If there is no such entry.
    pub fn stat(&self, name: impl AsRef<OsStr>) -> Result<Stat, FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| self.unless_stale(|dir| stat::stat_at(&dir.fd, name)))
            .map_err(self.error("stat", name))
    }

    /// Works as [`Dir::stat`], but returns `None` if there is no such entry.
    ///
    /// # Errors
    /// Every other error.
    pub fn find(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>, FsError> {
        if_found(self.stat(name))
    }

    /// The directory's own inode.
    ///
    /// # Errors
    /// If the filesystem does not answer.
    pub fn stat_self(&self) -> Result<Stat, FsError> {
        self.unless_stale(|dir| stat::stat_of_fd(&dir.fd)).map_err(|errno| FsError::new("stat", &self.path, errno))
    }

    /// The identity of this directory: no other one has the same, before or after it.
    ///
    /// # Errors
    /// If the filesystem does not answer.
    pub fn identity(&self) -> Result<DirectoryId, FsError> {
        self.unless_stale(|dir| stat::identity_of_fd(&dir.fd)).map_err(|errno| FsError::new("stat", &self.path, errno))
    }

    /// The state of this directory, which has `files` files; `None` where the filesystem records no birth times.
    ///
    /// # Errors
    /// If the filesystem does not answer.
    pub fn state(&self) -> Result<Option<DirectoryState>, FsError> {
        self.unless_stale(|dir| stat::state_of_fd(&dir.fd)).map_err(|errno| FsError::new("stat", &self.path, errno))
    }

    /// Reads a whole regular file of at most `limit_bytes`, and the inode that was read.
    ///
    /// # Errors
    /// If it is missing, a symbolic link, not a regular file, unreadable, or longer (`EFBIG`).
    pub fn read_with_stat(&self, name: impl AsRef<OsStr>, limit_bytes: u64) -> Result<(Stat, Vec<u8>), FsError> {
        let name = name.as_ref();
        let (stat, file) = self.open_regular(name)?;
        if stat.size_bytes > limit_bytes {
            return Err(self.error("read", name)(Errno::FBIG));
        }
        let bytes = read_all(&file, stat.size_bytes, limit_bytes)
            .map_err(|error| FsError::new("read", &self.path.join(name), error))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(self.error("read", name)(Errno::FBIG));
        }
        Ok((stat, bytes))
    }

    /// Opens a regular file for reading or locking.
    pub(super) fn open_file(&self, name: &str) -> Result<File, FsError> {
        self.open_regular(OsStr::new(name)).map(|(_, file)| file)
    }

    pub(super) fn open_regular(&self, name: &OsStr) -> Result<(Stat, File), FsError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = component(name)
            .and_then(|name| self.unless_stale(|dir| open_to_read(&dir.fd, name, flags)))
            .map_err(self.error("open", name))?;
        let stat = stat::stat_of_fd(&fd).map_err(self.error("stat", name))?;
        if stat.kind != EntryKind::File {
            return Err(self.error("read what is not a regular file,", name)(Errno::INVAL));
        }
        Ok((stat, File::from(fd)))
    }

    /// Works as [`Dir::read_with_stat`], without the inode.
    ///
    /// # Errors
    /// As [`Dir::read_with_stat`].
    pub fn read(&self, name: impl AsRef<OsStr>, limit_bytes: u64) -> Result<Vec<u8>, FsError> {
        self.read_with_stat(name, limit_bytes).map(|(_, bytes)| bytes)
    }

    /// Works as [`Dir::read_with_stat`], but returns `None` if there is no such file.
    ///
    /// # Errors
    /// Every other error.
    pub fn find_with_stat(
        &self,
        name: impl AsRef<OsStr>,
        limit_bytes: u64,
    ) -> Result<Option<(Stat, Vec<u8>)>, FsError> {
        if_found(self.read_with_stat(name, limit_bytes))
    }

    /// Works as [`Dir::read`], but returns `None` if there is no such file.
    ///
    /// # Errors
    /// Every other error.
    pub fn find_and_read(&self, name: impl AsRef<OsStr>, limit_bytes: u64) -> Result<Option<Vec<u8>>, FsError> {
        if_found(self.read(name, limit_bytes))
    }

    /// The target of the symbolic link at `name`.
    ///
    /// # Errors
    /// If it is missing or not a symbolic link.
    pub fn read_link(&self, name: impl AsRef<OsStr>) -> Result<PathBuf, FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| rustix::fs::readlinkat(&self.fd, name, Vec::new()))
            .map(|target| PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes())))
            .map_err(self.error("read link", name))
    }

    /// Calls `call` on this directory, and, if its descriptor turns out to be stale, again with a new one.
    ///
    /// An NFS server that was restarted, or has moved its export, may no longer know the handle behind a descriptor
    /// (ESTALE), although the directory is where it was.
    pub(super) fn unless_stale<T>(&self, call: impl Fn(&Self) -> Result<T, Errno>) -> Result<T, Errno> {
        match call(self) {
            Err(Errno::STALE) => self.opened_again().map_or(Err(Errno::STALE), |dir| call(&dir)),
            result => result,
        }
    }

    fn opened_again(&self) -> Option<Self> {
        let below = self.path.strip_prefix(&self.root).ok()?;
        let mut fd = uninterrupted(|| rustix::fs::open(&*self.root, DIRECTORY, Mode::empty())).ok()?;
        for part in below.components() {
            fd = open_to_read(&fd, part.as_os_str(), DIRECTORY | OFlags::NOFOLLOW).ok()?;
        }
        tracing::debug!(path = %self.path.display(), "a stale directory is opened again");
        Some(Self { fd: Arc::new(fd), ..self.clone() })
    }

    /// The same directory with other mutations.
    #[must_use]
    pub fn with_verbs(self, verbs: Arc<dyn Mutations>) -> Self {
        Self { verbs, ..self }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::Dir;
    use crate::fs::real;

    #[test]
    fn the_target_of_a_link_is_read_byte_for_byte() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = OsStr::from_bytes(b"caf\xe9/\xff\xfe");
        std::os::unix::fs::symlink(target, folder.path().join("link")).expect("a link");
        let dir = Dir::open(folder.path(), real()).expect("it opens");
        assert_eq!(dir.read_link("link").expect("it is read").as_os_str(), target);
    }
}
