//! `pins/<id>.json`: snapshots that stay whatever the rules say.

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
    /// Since when.
    pub since: DateTime<Utc>,
    /// Until when; for ever where there is none.
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
    /// The pin of a snapshot, also one that has ended ([`Pin::holds`]). One that cannot be read pins all the same.
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
    /// Pins a snapshot, one that is being built too.
    ///
    /// # Errors
    /// If the pin cannot be written.
    pub fn set_pin(&self, id: SnapshotId, pin: &Pin) -> Result<(), RepoError> {
        let pins = self.repository().ensure("pins")?;
        let bytes = serde_json::to_vec_pretty(pin).expect("a pin has only string keys");
        Ok(pins.replace(&file_name(id), 0o640, &bytes)?)
    }

    /// Removes the pin of a snapshot, durably: where the snapshot is gone for good, what says that it was there goes
    /// next.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn forget_pin(&self, id: SnapshotId) -> Result<(), RepoError> {
        let pins = self.repository().ensure("pins")?;
        if pins.find(file_name(id))?.is_some() {
            pins.remove_file(file_name(id))?;
        }
        // Even where there is none: a run that was killed may have removed it and not come as far as this.
        Ok(pins.sync()?)
    }
}
