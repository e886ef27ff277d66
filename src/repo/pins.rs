//! `pins/<id>.json`: snapshots that are kept whatever the rules decide.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::SnapshotId;

use super::error::RepoError;
use super::lock::Locked;
use super::repository::Repository;

/// Why a snapshot is pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The reason given.
    pub reason: String,
    /// When the snapshot was pinned.
    pub since: DateTime<Utc>,
    /// The end of the pin; `None` means forever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
}

impl Pin {
    /// Whether it still keeps its snapshot.
    #[must_use]
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

const LIMIT_BYTES: u64 = 1 << 20;

fn file_name(id: SnapshotId) -> String {
    format!("{id}.json")
}

impl Repository {
    /// The pin of a snapshot, even if it has expired ([`Pin::holds`]). A pin that cannot be read still counts as a pin.
    ///
    /// # Errors
    /// If `pins/` itself cannot be read.
    pub fn pin(&self, id: SnapshotId) -> Result<Option<Pin>, RepoError> {
        let Some(pins) = self.find_dir("pins")? else { return Ok(None) };
        let parsed = match pins.find_and_read(file_name(id), LIMIT_BYTES) {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(crate::monitor::chain(&error)),
        };
        Ok(Some(parsed.unwrap_or_else(|reason| Pin {
            reason: format!("the pin cannot be read: {reason}"),
            since: id.time(),
            until: None,
        })))
    }
}

impl Locked<'_> {
    /// Pins a snapshot, which may still be being built.
    ///
    /// # Errors
    /// If the pin cannot be written.
    pub fn set_pin(&self, id: SnapshotId, pin: &Pin) -> Result<(), RepoError> {
        let pins = self.repository().ensure("pins")?;
        let bytes = serde_json::to_vec_pretty(pin).expect("a pin has only string keys");
        Ok(pins.replace(&file_name(id), 0o640, &bytes)?)
    }

    /// Removes the pin of a snapshot, durably. This comes after the snapshot itself is gone for good, because the pin
    /// is evidence that it existed.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn forget_pin(&self, id: SnapshotId) -> Result<(), RepoError> {
        let pins = self.repository().ensure("pins")?;
        if pins.find(file_name(id))?.is_some() {
            pins.remove_file(file_name(id))?;
        }
        // Synced even if there is no pin: a run that was killed may have removed it without reaching this sync.
        Ok(pins.sync()?)
    }
}
