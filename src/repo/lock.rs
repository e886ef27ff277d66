//! One writer at a time.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

use crate::fs::{self, Dir, FileLock};

use super::error::RepoError;
use super::holder::Holder;
use super::repository::{BoundServer, Repository};

/// A repository that this process, and no other, may change. The lock ends with the value, or with the process.
#[derive(Debug)]
pub struct Locked<'a> {
    repository: &'a Repository,
    _lock: FileLock,
}

const FILE: &str = "lock";
const RETRY: Duration = Duration::from_millis(100);

impl Repository {
    /// Takes the lock, waiting for at most `wait` while another process holds it.
    ///
    /// # Errors
    /// If it is held for longer, cannot be taken at all, or the repository is of a newer format.
    pub fn lock(&self, command: &str, now: DateTime<Utc>, wait: Duration) -> Result<Locked<'_>, RepoError> {
        self.check_writable_format()?;
        let begun = Instant::now();
        loop {
            match FileLock::try_acquire(self.dir(), FILE)? {
                Ok(mut lock) => {
                    let holder = Holder {
                        host: fs::host_name(),
                        boot: fs::boot_id(),
                        pid: std::process::id(),
                        since: now,
                        command: command.to_owned(),
                    };
                    let text = serde_json::to_string(&holder).expect("a holder has only string keys");
                    // Only those who find the lock taken read it: a full disk must not keep `gc` from making room.
                    if let Err(error) = lock.describe(&text) {
                        tracing::warn!(%error, "cannot write the lock's holder");
                    }
                    return Ok(Locked { repository: self, _lock: lock });
                }
                Err(_) if begun.elapsed() < wait => std::thread::sleep(RETRY),
                Err(text) => {
                    let holder = serde_json::from_str(&text).unwrap_or_else(|_| Holder {
                        host: "unknown".to_owned(),
                        boot: String::new(),
                        pid: 0,
                        since: now,
                        command: "that has not said who it is".to_owned(),
                    });
                    return Err(RepoError::Locked { path: self.path().to_owned(), holder: Box::new(holder) });
                }
            }
        }
    }
}

impl<'a> Locked<'a> {
    /// The repository.
    #[must_use]
    pub fn repository(&self) -> &'a Repository {
        self.repository
    }

    pub(super) fn incoming_dir(&self) -> Result<Dir, RepoError> {
        self.repository.ensure("incoming")
    }

    pub(super) fn snapshots_dir(&self) -> Result<Dir, RepoError> {
        self.repository.ensure("snapshots")
    }

    pub(super) fn trash_dir(&self) -> Result<Dir, RepoError> {
        self.repository.ensure("trash")
    }

    /// Writes down the server that the repository belongs to.
    ///
    /// # Errors
    /// If `chsnap.json` cannot be replaced.
    pub fn bind(&self, server: BoundServer) -> Result<(), RepoError> {
        self.repository.write_server(server)
    }
}
