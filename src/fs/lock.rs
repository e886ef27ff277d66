//! An exclusive lock on a file, which the kernel releases when its holder ends, however that happens.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::dir::Dir;
use super::entries::EntryKind;
use super::error::FsError;
use super::stat;

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

/// More than a holder writes about itself.
const HOLDER_LIMIT_BYTES: u64 = 64 << 10;

impl FileLock {
    /// Tries to take the lock on the file `name`, which is created if it does not exist.
    ///
    /// The inner `Err` is the text that the present holder wrote there.
    ///
    /// # Errors
    /// If the file can be neither opened nor locked.
    pub fn try_acquire(dir: &Dir, name: &str) -> Result<Result<Self, String>, FsError> {
        let file = Self::open(dir, name)?.file;
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Ok(Self { file })),
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // A text that the holder has not finished writing is no reason to fail: it is displayed, not
                // interpreted.
                drop((&file).take(HOLDER_LIMIT_BYTES).read_to_string(&mut holder));
                Ok(Err(holder))
            }
            Err(errno) => Err(FsError::new("lock", &dir.path().join(name), errno)),
        }
    }

    /// Opens the file `name`, which is created if it does not exist, and locks nothing.
    ///
    /// # Errors
    /// If it cannot be opened, or is not a regular file.
    pub fn open(dir: &Dir, name: &str) -> Result<Self, FsError> {
        let error = |verb| move |errno: Errno| FsError::new(verb, &dir.path().join(name), errno);
        // Anything that is not a regular file, such as a pipe, is neither waited for nor read.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir.fd(), name, flags, Mode::from_raw_mode(0o640)).map_err(error("open"))?;
        if stat::stat_of_fd(&fd).map_err(error("stat"))?.kind != EntryKind::File {
            return Err(error("lock what is not a regular file,")(Errno::INVAL));
        }
        Ok(Self { file: File::from(fd) })
    }

    /// Tries to take a shared lock on an existing file; `None` while another process holds it exclusively.
    ///
    /// Read access to the file is enough: nothing is created or written.
    ///
    /// # Errors
    /// If the file does not exist, is not a regular file, or can be neither opened nor locked.
    pub fn try_share(dir: &Dir, name: &str) -> Result<Option<Self>, FsError> {
        Self::try_existing(dir, name, FlockOperation::NonBlockingLockShared)
    }

    /// Tries to take an exclusive lock on an existing file; `None` while others share or hold it.
    ///
    /// # Errors
    /// As [`FileLock::try_share`].
    pub fn try_hold(dir: &Dir, name: &str) -> Result<Option<Self>, FsError> {
        Self::try_existing(dir, name, FlockOperation::NonBlockingLockExclusive)
    }

    fn try_existing(dir: &Dir, name: &str, operation: FlockOperation) -> Result<Option<Self>, FsError> {
        let file = dir.open_file(name)?;
        match flock(file.as_fd(), operation) {
            Ok(()) => Ok(Some(Self { file })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(FsError::new("lock", &dir.path().join(name), errno)),
        }
    }

    /// Writes a description of the holder, for processes that find the lock taken.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn describe(&mut self, holder: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(holder.as_bytes())
    }
}
