//! `journal/<month>.jsonl`: what happened to the repository that its snapshots do not say.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::SnapshotId;

use super::error::RepoError;
use super::lock::Locked;
use super::repository::Repository;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A snapshot was made.
    Created {
        /// The snapshot.
        id: SnapshotId,
    },
    /// Snapshots were about to be moved to the trash.
    Removed {
        /// The snapshots.
        ids: Vec<SnapshotId>,
    },
    /// Snapshots were taken back from the trash.
    Restored {
        /// The snapshots.
        ids: Vec<SnapshotId>,
    },
    /// Snapshots in the trash can no longer be taken back.
    Emptied {
        /// The snapshots.
        ids: Vec<SnapshotId>,
    },
}

#[derive(Serialize, Deserialize)]
struct Line {
    time: DateTime<Utc>,
    #[serde(flatten)]
    event: Event,
}

const LIMIT_BYTES: u64 = 256 << 20;

impl Locked<'_> {
    /// Appends an event, durably.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn record(&self, now: DateTime<Utc>, event: &Event) -> Result<(), RepoError> {
        let journal = self.repository().ensure("journal")?;
        let name = format!("{}.jsonl", now.format("%Y-%m"));
        let line = Line { time: now, event: event.clone() };
        let mut text = serde_json::to_string(&line).expect("an event has only string keys");
        text.push('\n');
        // A line that a crash cut short has no end: ours begins on a new one.
        if journal.find_and_read(&name, LIMIT_BYTES)?.is_some_and(|bytes| !bytes.is_empty() && !bytes.ends_with(b"\n"))
        {
            text.insert(0, '\n');
        }
        let is_new = journal.find(&name)?.is_none();
        journal.append(&name, 0o640, text.as_bytes())?;
        if is_new {
            journal.sync()?;
        }
        Ok(())
    }
}

impl Repository {
    /// The events that the journal holds, oldest first. Lines that cannot be read are passed over.
    ///
    /// # Errors
    /// If the journal is there and cannot be read.
    pub fn events(&self) -> Result<Vec<(DateTime<Utc>, Event)>, RepoError> {
        let Some(journal) = self.find_dir("journal")? else { return Ok(Vec::new()) };
        let mut names: Vec<_> = journal.entries()?.into_iter().map(|entry| entry.name).collect();
        names.retain(|name| name.to_string_lossy().ends_with(".jsonl"));
        names.sort();
        let mut events = Vec::new();
        for name in names {
            let bytes = journal.read(&name, LIMIT_BYTES)?;
            let lines = bytes.split(|byte| *byte == b'\n');
            events
                .extend(lines.filter_map(|line| serde_json::from_slice::<Line>(line).ok()).map(|l| (l.time, l.event)));
        }
        Ok(events)
    }
}
