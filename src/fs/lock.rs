//! An exclusive lock on a file, which the kernel drops when its holder ends, however it ends.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd;

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use super::dir::Dir;
use super::entries::Kind;
use super::error::FsError;
use super::stat;

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct FileLock {
    file: File,
}

/// More than a holder writes of itself.
const HOLDER_LIMIT_BYTES: u64 = 64 << 10;

impl FileLock {
    /// Tries to take the lock on the file `name`, made if it is not there.
    ///
    /// The inner `Err` is what the present holder wrote there.
    ///
    /// # Errors
    /// If the file can be neither opened nor locked.
    pub fn try_acquire(dir: &Dir, name: &str) -> Result<Result<Self, String>, FsError> {
        let file = Self::open(dir, name)?.file;
        match flock(file.as_fd(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Ok(Self { file })),
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // What a holder has not finished writing is no reason to fail: it is shown, not used.
                drop((&file).take(HOLDER_LIMIT_BYTES).read_to_string(&mut holder));
                Ok(Err(holder))
            }
            Err(errno) => Err(FsError::new("lock", &dir.path().join(name), errno)),
        }
    }

    /// Opens the file `name`, made if it is not there, and locks nothing.
    ///
    /// # Errors
    /// If it cannot be opened, or is no regular file.
    pub fn open(dir: &Dir, name: &str) -> Result<Self, FsError> {
        let error = |verb| move |errno: Errno| FsError::new(verb, &dir.path().join(name), errno);
        // What is no regular file, a pipe say, is neither waited for nor read.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir.fd(), name, flags, Mode::from_raw_mode(0o640)).map_err(error("open"))?;
        if stat::stat_of_fd(&fd).map_err(error("stat"))?.kind != Kind::File {
            return Err(error("lock what is not a regular file,")(Errno::INVAL));
        }
        Ok(Self { file: File::from(fd) })
    }

    /// Tries to share the lock on a file that is there, with whoever shares it too; `None` while it is held alone.
    ///
    /// Reading the file is enough for it: nothing is made or written.
    ///
    /// # Errors
    /// If the file is not there, is no regular file, or can be neither opened nor locked.
    pub fn try_share(dir: &Dir, name: &str) -> Result<Option<Self>, FsError> {
        Self::try_existing(dir, name, FlockOperation::NonBlockingLockShared)
    }

    /// Tries to hold the lock on a file that is there alone; `None` while others share or hold it.
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

    /// Writes who holds the lock, for those who find it taken.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn describe(&mut self, holder: &str) -> std::io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(holder.as_bytes())
    }
}
