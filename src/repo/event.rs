//! The events that the journal records.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{Level, PartName, SnapshotId};
use crate::plan::Slice;

use super::part_ranges::TableRanges;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A snapshot was made.
    Created {
        /// The snapshot.
        id: SnapshotId,
        /// Allocated bytes of its files that the snapshot before it did not have.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        written_bytes: Option<u64>,
        /// Bytes in use on the repository's filesystem then, by any user.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used_bytes: Option<u64>,
    },
    /// Snapshots were about to be moved to the trash.
    Removed {
        /// The snapshots.
        ids: Vec<SnapshotId>,
        /// The command, and the reason.
        #[serde(flatten)]
        removal: Removal,
    },
    /// Snapshots were taken back from the trash.
    Restored {
        /// The snapshots.
        ids: Vec<SnapshotId>,
    },
    /// The lock was taken from a holder that did not release it.
    TakenOver {
        /// The holder's host.
        host: String,
        /// The holder's process id.
        pid: u32,
        /// The command that it was running.
        command: String,
        /// `gone`: it has ended; `silent`: it has not renewed its mark for too long; `broken`: a user broke the lock.
        reason: String,
    },
    /// A snapshot was pinned.
    Pinned {
        /// The snapshot.
        id: SnapshotId,
        /// Why.
        reason: String,
        /// The end of the pin; `None` means forever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// Snapshots were unpinned.
    Unpinned {
        /// The snapshots.
        ids: Vec<SnapshotId>,
    },
    /// Tables of a snapshot were restored in a drill, read and compared.
    Drilled {
        /// The snapshot.
        id: SnapshotId,
        /// Tables that were tried.
        tables: u64,
        /// All tables of the snapshot that have parts.
        of_tables: u64,
        /// Tables that differed from what the snapshot records.
        failed: u64,
        /// Parts of the tables that were tried.
        parts: u64,
        /// Rows in them.
        rows: u64,
        /// Parts whose digests match the recorded ones.
        digests: u64,
    },
    /// Snapshots in the trash can no longer be taken back.
    Emptied {
        /// The snapshots.
        ids: Vec<SnapshotId>,
    },
    /// An unattended prune was refused, for these reasons.
    PruneRefused {
        /// The guards that refused it.
        guards: Vec<String>,
    },
    /// Snapshots were verified.
    Verified(Box<VerifiedEvent>),
    /// Damaged entries were replaced by links to intact copies.
    Repaired {
        /// The snapshots.
        ids: Vec<SnapshotId>,
        /// The entries, relative to the repository.
        paths: Vec<String>,
    },
    /// An event that this version does not know. It is read from lines of a newer chsnap, and never written.
    #[serde(other)]
    Newer,
}

/// The command that removed snapshots, and the reason. The first versions wrote neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The command: `rm` or `prune`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why no rule kept them, or the reason that the user gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Removal {
    /// Describes a removal by a command.
    #[must_use]
    pub fn by(command: &str, why: impl Into<String>) -> Self {
        Self { by: Some(command.to_owned()), why: Some(why.into()) }
    }
}

/// Some parts of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableParts {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// The parts.
    pub parts: Vec<PartName>,
}

/// A part that has lost bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedPart {
    /// Its table's database.
    pub database: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub part: PartName,
    /// The snapshots in which it is damaged, including those that were not checked and share the inode.
    pub ids: Vec<SnapshotId>,
    /// Whether something outside the snapshots, most likely the live table, links the inode too: then later snapshots
    /// may have the damage. The first versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
}

/// One run of `verify`, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedEvent {
    /// The snapshots that were checked.
    pub ids: Vec<SnapshotId>,
    /// When the run began; the first versions did not record it. The run does not cover snapshots that were made later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<DateTime<Utc>>,
    /// The snapshots that could not be checked, because their list of parts could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<SnapshotId>,
    /// How thoroughly.
    pub level: Level,
    /// Patterns of the tables that were checked; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// The share of the parts that was checked; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<Slice>,
    /// True if something could not be checked: then the run proves nothing except the damage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// The time of the oldest check because of which a part was spared; `None` if no part was spared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<DateTime<Utc>>,
    /// The parts whose bytes were not read, because an earlier check has read them. The first versions wrote this list
    /// if it was the shorter one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<TableParts>,
    /// The parts whose bytes were read; all others were spared. Written empty if `read_ranges` has them: a reader that
    /// does not know `read_ranges` then takes every part for spared, which never claims more than is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<TableParts>>,
    /// The same as ranges among the parts that the run covered; absent if none was spared, and in old lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ranges: Option<Vec<TableRanges>>,
    /// How many bytes were read.
    pub read_bytes: u64,
    /// How much damage was found.
    pub damage: u64,
    /// The snapshots that have the damage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_ids: Vec<SnapshotId>,
    /// How many inodes have another owner or mode than is recorded, which is not damage.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drift: u64,
    /// The snapshots that have the drift.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drifted_ids: Vec<SnapshotId>,
    /// The parts that have lost bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<DamagedPart>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
