//! Who holds the lock of a repository.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Who holds a lock, as the holder wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Host.
    pub host: String,
    /// The boot of that host.
    pub boot: String,
    /// Process.
    pub pid: u32,
    /// Since when.
    pub since: DateTime<Utc>,
    /// Command.
    pub command: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "chsnap {} (host {}, pid {}, since {})",
            self.command,
            self.host,
            self.pid,
            self.since.format("%Y-%m-%dT%H:%M:%SZ")
        )
    }
}
