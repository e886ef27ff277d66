//! The holder of a repository's lock.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::fs;

/// The holder of a lock, as the holder described itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    /// Host.
    pub host: String,
    /// The boot of that host.
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// Start of the hold, by the holder's clock.
    pub since: DateTime<Utc>,
    /// Command.
    pub command: String,
    /// The random number in the name of its mark, in hexadecimal: it identifies the hold that this text describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// The state of a holder that can be determined from here, without watching it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HolderState {
    /// It runs on this host.
    Runs,
    /// It has ended: the next command takes the lock at once.
    Gone,
    /// It is on another host, or in another container.
    Elsewhere,
}

impl LockHolder {
    pub(super) fn own(since: DateTime<Utc>, command: &str, nonce: Option<u64>) -> Self {
        let nonce = nonce.map(|nonce| format!("{nonce:016x}"));
        let (host, boot, pid) = (fs::host_name(), fs::boot_id(), std::process::id());
        Self { host, boot, pid, since, command: command.to_owned(), nonce }
    }

    /// A holder that has not described itself.
    pub(super) fn unknown() -> Self {
        Self {
            host: "unknown".to_owned(),
            boot: String::new(),
            pid: 0,
            since: DateTime::UNIX_EPOCH,
            command: "that has not said what it does".to_owned(),
            nonce: None,
        }
    }

    pub(super) fn is_of(&self, nonce: u64) -> bool {
        self.nonce.as_deref() == Some(format!("{nonce:016x}").as_str())
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chsnap {} (host {}, pid {}", self.command, self.host, self.pid)?;
        if self.since != DateTime::UNIX_EPOCH {
            write!(f, ", since {}", self.since.format("%Y-%m-%dT%H:%M:%SZ"))?;
        }
        f.write_str(")")
    }
}
