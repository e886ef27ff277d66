//! The methods of [`Dir`] that change something, each through the [`Mutations`] that it was opened with.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use rustix::io::Errno;

use crate::model::Ownership;

use super::dir::{Dir, component, uninterrupted};
use super::error::FsError;
use super::mutations::Mutations;
use super::stat::Stat;

/// A new file that is being written; see [`Dir::begin_file`].
#[derive(Debug)]
pub struct NewFile<'a> {
    dir: &'a Dir,
    name: OsString,
    file: File,
}

impl NewFile<'_> {
    /// Writes the next bytes.
    ///
    /// # Errors
    /// If the filesystem does not take all of them.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        self.dir.write_all(&self.file, &self.name, bytes)
    }

    /// Turns the error of a writer in front of the file into an [`FsError`]: this file's error that it passes on, else
    /// its own.
    #[must_use]
    pub fn failed(&self, error: std::io::Error) -> FsError {
        match error.downcast::<FsError>() {
            Ok(error) => error,
            Err(error) => FsError::new("write", &self.dir.path().join(&self.name), error),
        }
    }

    /// Finishes the file, with this owner, group, mode and modification time.
    ///
    /// # Errors
    /// As [`NewFile::close`]; also if this process may not give the file to that owner.
    pub fn close_as(self, ownership: Ownership, modified: (i64, u32)) -> Result<(), FsError> {
        let Self { dir, name, file } = self;
        dir.set_file_metadata(&file, &name, ownership, modified)?;
        dir.close(file, &name)
    }

    /// Finishes the file.
    ///
    /// # Errors
    /// If closing it reports that something could not be written.
    pub fn close(self) -> Result<(), FsError> {
        self.dir.close(self.file, &self.name)
    }
}

impl Dir {
    /// Creates a directory.
    ///
    /// # Errors
    /// If the entry exists already, or the filesystem refuses.
    pub fn create_dir(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<(), FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| self.unless_stale(|dir| dir.verbs.create_dir(dir.fd(), name, mode)))
            .map_err(self.error("create directory", name))
    }

    /// Opens a directory, which is created with `mode` if it does not exist.
    ///
    /// # Errors
    /// If it can be neither created nor opened.
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
            .and_then(|name| {
                let link = |from: &Self, to: &Self| to.verbs.link(from.fd(), from_name, to.fd(), name);
                self.unless_stale(|to| from.unless_stale(|from| link(from, to)))
            })
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
            .and_then(|name| {
                let rename = |from: &Self, to: &Self| to.verbs.rename(from.fd(), from_name, to.fd(), name);
                self.unless_stale(|to| from.unless_stale(|from| rename(from, to)))
            })
            .map_err(|errno| FsError::between("rename", &from.path.join(from_name), &self.path.join(name), errno))
    }

    /// Creates a symbolic link.
    ///
    /// # Errors
    /// If the entry exists already, or the filesystem refuses.
    pub fn symlink(&self, target: &Path, name: impl AsRef<OsStr>) -> Result<(), FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| self.verbs.symlink(target.as_os_str(), self.fd(), name))
            .map_err(self.error("create symbolic link", name))
    }

    /// Unlinks an entry that is not a directory.
    ///
    /// # Errors
    /// If it is missing or the filesystem refuses.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<(), FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| self.unless_stale(|dir| dir.verbs.remove_file(dir.fd(), name)))
            .map_err(self.error("remove", name))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// If it is missing or not empty, or the filesystem refuses.
    pub fn remove_dir(&self, name: impl AsRef<OsStr>) -> Result<(), FsError> {
        let name = name.as_ref();
        component(name)
            .and_then(|name| self.unless_stale(|dir| dir.verbs.remove_dir(dir.fd(), name)))
            .map_err(self.error("remove directory", name))
    }

    /// Writes a new file and makes its bytes durable; the entry itself needs [`Dir::sync`].
    ///
    /// # Errors
    /// If the entry exists already, or the filesystem refuses.
    pub fn write_new(&self, name: impl AsRef<OsStr>, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        let name = name.as_ref();
        let file = self.create_file(name, mode, bytes)?;
        uninterrupted(|| self.verbs.sync(file.as_fd())).map_err(self.error("sync", name))
    }

    /// Writes a new file, which [`Dir::sync_filesystem`] makes durable later.
    ///
    /// # Errors
    /// If the entry exists already, or the filesystem refuses.
    pub fn write_unsynced(&self, name: impl AsRef<OsStr>, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        let name = name.as_ref();
        let file = self.create_file(name, mode, bytes)?;
        self.close(file, name)
    }

    /// Creates a file that is written piece by piece; [`Dir::sync_filesystem`] makes it durable later.
    ///
    /// # Errors
    /// If the entry exists already, or the filesystem refuses.
    pub fn begin_file(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<NewFile<'_>, FsError> {
        let name = name.as_ref();
        Ok(NewFile { dir: self, name: name.to_owned(), file: self.new_file(name, mode)? })
    }

    fn new_file(&self, name: &OsStr, mode: u32) -> Result<File, FsError> {
        component(name)
            .and_then(|name| self.unless_stale(|dir| uninterrupted(|| dir.verbs.create_file(dir.fd(), name, mode))))
            .map(File::from)
            .map_err(self.error("create", name))
    }

    fn create_file(&self, name: &OsStr, mode: u32, bytes: &[u8]) -> Result<File, FsError> {
        let file = self.new_file(name, mode)?;
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
        self.set_file_metadata(&file, name, like.ownership, like.modified)?;
        self.close(file, name)
    }

    /// Gives a file that was just created here an owner, a mode and a modification time.
    fn set_file_metadata(
        &self,
        file: &File,
        name: &OsStr,
        ownership: Ownership,
        (seconds, nanoseconds): (i64, u32),
    ) -> Result<(), FsError> {
        self.verbs.set_ownership(file.as_fd(), ownership).map_err(self.error("set the owner of", name))?;
        self.verbs
            .set_modified(file.as_fd(), seconds, nanoseconds)
            .map_err(self.error("set the modification time of", name))
    }

    /// Replaces a file atomically: the new one is written next to it, made durable, and renamed over it.
    ///
    /// # Errors
    /// If the filesystem refuses; the old file is then unchanged.
    pub fn replace(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        let new_name = format!("{name}.new");
        if self.find(&new_name)?.is_some() {
            self.remove_file(&new_name)?;
        }
        self.write_new(&new_name, mode, bytes)?;
        self.rename_from(self, &new_name, name)?;
        self.sync()
    }

    /// Replaces a file atomically, with this mode whatever the umask is. This is for files that all users may read,
    /// such as a page or metrics. It does not wait for the disk: such a file can be generated again.
    ///
    /// # Errors
    /// If the filesystem refuses; the old file is then unchanged.
    pub fn publish(&self, name: &str, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        let new_name = format!("{name}.{}.new", std::process::id());
        if self.find(&new_name)?.is_some() {
            self.remove_file(&new_name)?;
        }
        let written = self.create_file(OsStr::new(&new_name), mode, bytes).and_then(|file| {
            self.verbs.set_mode(file.as_fd(), mode).map_err(self.error("set the mode of", new_name.as_ref()))?;
            self.rename_from(self, &new_name, name)
        });
        if written.is_err() && self.find(&new_name).is_ok_and(|found| found.is_some()) {
            self.remove_file(&new_name)?;
        }
        written
    }

    /// Appends to a file, which is created with `mode` if it does not exist, and makes it durable.
    ///
    /// # Errors
    /// If the filesystem refuses; a part of the bytes may then have been written.
    pub fn append(&self, name: impl AsRef<OsStr>, mode: u32, bytes: &[u8]) -> Result<(), FsError> {
        let name = name.as_ref();
        let file = component(name)
            .and_then(|name| self.unless_stale(|dir| dir.verbs.open_append(dir.fd(), name, mode)))
            .map(File::from)
            .map_err(self.error("open", name))?;
        self.write_all(&file, name, bytes)?;
        uninterrupted(|| self.verbs.sync(file.as_fd())).map_err(self.error("sync", name))
    }

    /// Some filesystems, NFS among them, report only here that there is no space or no quota left.
    fn close(&self, file: File, name: &OsStr) -> Result<(), FsError> {
        self.verbs.close(file.into()).map_err(self.error("close", name))
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

    /// Makes one of its files durable.
    ///
    /// # Errors
    /// If it is not a regular file, or the filesystem could not write it.
    pub fn sync_file(&self, name: impl AsRef<OsStr>) -> Result<(), FsError> {
        let name = name.as_ref();
        let (_, file) = self.open_regular(name)?;
        uninterrupted(|| self.verbs.sync(file.as_fd()))
            .map_err(|errno| FsError::new("sync", &self.path.join(name), errno))
    }

    /// Makes everything on the directory's filesystem durable.
    ///
    /// # Errors
    /// If the filesystem could not write it (reported since Linux 5.8).
    pub fn sync_filesystem(&self) -> Result<(), FsError> {
        uninterrupted(|| self.verbs.sync_filesystem(self.fd()))
            .map_err(|errno| FsError::new("sync the filesystem of", &self.path, errno))
    }

    /// Gives this directory, which chsnap has created, an owner and a mode.
    ///
    /// # Errors
    /// If this process lacks the rights.
    pub fn set_ownership(&self, ownership: Ownership) -> Result<(), FsError> {
        self.verbs
            .set_ownership(self.fd(), ownership)
            .map_err(|errno| FsError::new("set the owner of", &self.path, errno))
    }

    /// Gives a regular file, which chsnap has created, to a user and a group.
    ///
    /// # Errors
    /// If this process lacks the rights, or if the file has another link (`EMLINK`): then it is not ours alone.
    pub fn give_file(&self, name: impl AsRef<OsStr>, (uid, gid): (u32, u32)) -> Result<(), FsError> {
        let name = name.as_ref();
        let (stat, file) = self.open_regular(name)?;
        if (stat.ownership.uid, stat.ownership.gid) == (uid, gid) {
            return Ok(());
        }
        let result = if stat.links == 1 { self.verbs.set_owner(file.as_fd(), uid, gid) } else { Err(Errno::MLINK) };
        result.map_err(self.error("set the owner of", name))
    }

    /// Gives this directory, which chsnap has created, a modification time.
    ///
    /// # Errors
    /// If this process lacks the rights.
    pub fn set_modified(&self, (seconds, nanoseconds): (i64, u32)) -> Result<(), FsError> {
        self.verbs
            .set_modified(self.fd(), seconds, nanoseconds)
            .map_err(|errno| FsError::new("set the modification time of", &self.path, errno))
    }
}

/// Creates a directory and the missing ones above it, durably.
///
/// # Errors
/// If one of them can be neither created nor opened, or the filesystem could not write it.
pub fn create_path(path: &Path, mode: u32, verbs: &Arc<dyn Mutations>) -> Result<Dir, FsError> {
    match Dir::open(path, Arc::clone(verbs)) {
        Err(error) if error.kind() == super::ErrorKind::NotFound => {}
        result => return result,
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(FsError::new("create directory", path, Errno::NOENT));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let parent = create_path(parent, mode, verbs)?;
    parent.ensure_dir(name, mode)?;
    parent.sync()?;
    Dir::open(path, Arc::clone(verbs))
}
