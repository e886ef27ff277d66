//! What the journal records.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{Level, PartName, SnapshotId, TableName};
use crate::plan::Slice;

/// Something that happened.
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
        /// Bytes that were taken on the repository's filesystem then, by whomever.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        used_bytes: Option<u64>,
    },
    /// Snapshots were about to be moved to the trash.
    Removed {
        /// The snapshots.
        ids: Vec<SnapshotId>,
        /// By which command, and why.
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
        /// The holder's process.
        pid: u32,
        /// What it was doing.
        command: String,
        /// `gone`: it has ended; `silent`: it has not renewed its mark for long; `broken`: a person said so.
        reason: String,
    },
    /// A snapshot was pinned.
    Pinned {
        /// The snapshot.
        id: SnapshotId,
        /// Why.
        reason: String,
        /// Until when; for ever where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<DateTime<Utc>>,
    },
    /// Snapshots are pinned no longer.
    Unpinned {
        /// The snapshots.
        ids: Vec<SnapshotId>,
    },
    /// Tables of a snapshot were restored for a trial, read and compared.
    Drilled {
        /// The snapshot.
        id: SnapshotId,
        /// Tables that were tried.
        tables: u64,
        /// Tables with parts that it has.
        of_tables: u64,
        /// Those that were not what the snapshot says.
        failed: u64,
        /// Parts of the tables that were tried.
        parts: u64,
        /// Rows in them.
        rows: u64,
        /// Parts whose sums are those that were recorded.
        digests: u64,
    },
    /// Snapshots in the trash can no longer be taken back.
    Emptied {
        /// The snapshots.
        ids: Vec<SnapshotId>,
    },
    /// An unattended prune was refused, for these reasons.
    PruneRefused {
        /// What spoke against it.
        guards: Vec<String>,
    },
    /// Snapshots were verified.
    Verified(Box<Verified>),
    /// Damaged entries were replaced by links of intact copies.
    Repaired {
        /// The snapshots.
        ids: Vec<SnapshotId>,
        /// The entries, relative to the repository.
        paths: Vec<String>,
    },
}

/// By which command snapshots were removed, and why. The first versions wrote neither.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// The command: `rm` or `prune`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The rules that kept them not, or what a person gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Removal {
    /// A removal by a command.
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
    /// The snapshots in which it is damaged, also those that were not looked at and share the inode.
    pub ids: Vec<SnapshotId>,
    /// Whether something outside of the snapshots, the live table most likely, links the inode too: then later snapshots may
    /// have it. The first versions did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
}

/// One run of `verify`, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// The snapshots that were checked.
    pub ids: Vec<SnapshotId>,
    /// When the run began; the first versions did not say. Snapshots that were made later are not of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<DateTime<Utc>>,
    /// The snapshots that could not be checked, because their list of parts could not be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<SnapshotId>,
    /// How thoroughly.
    pub level: Level,
    /// Patterns of the tables that were checked; none for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// The share of the parts that was checked; none for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slice: Option<Slice>,
    /// True if something could not be checked: then it is no proof of anything but the damage.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// When the oldest of the checks was made that spared a part its reading; none if no part was spared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<DateTime<Utc>>,
    /// The parts whose bytes were not read, because an earlier check has; see `read`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spared: Vec<TableParts>,
    /// Where most were spared: the parts whose bytes were read, all others being spared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read: Option<Vec<TableParts>>,
    /// How many bytes were read.
    pub read_bytes: u64,
    /// How much damage was found.
    pub damage: u64,
    /// The snapshots that it is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged_ids: Vec<SnapshotId>,
    /// How many inodes have another owner or mode than is recorded: no damage.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub drift: u64,
    /// The snapshots that they are in.
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

impl TableParts {
    /// Gathers parts by their tables.
    #[must_use]
    pub fn gather(parts: impl IntoIterator<Item = (TableName, PartName)>) -> Vec<Self> {
        let mut tables: BTreeMap<TableName, Vec<PartName>> = BTreeMap::new();
        for (table, part) in parts {
            tables.entry(table).or_default().push(part);
        }
        let list =
            |(table, parts): (TableName, Vec<PartName>)| Self { database: table.database, table: table.table, parts };
        tables.into_iter().map(list).collect()
    }
}
