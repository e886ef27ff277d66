//! One thing that is wrong with a snapshot.

use std::path::PathBuf;

use crate::fs::{Digest, Stat};
use crate::model::{DamageKind, Ownership, PartName, TableName};

/// An inode by its numbers, which mean something only while something holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InodeKey {
    /// Device.
    pub device: u64,
    /// Number.
    pub inode: u64,
}

impl From<&Stat> for InodeKey {
    fn from(stat: &Stat) -> Self {
        Self { device: stat.device, inode: stat.inode }
    }
}

/// What should stand in a place: enough to know a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its size.
    pub size_bytes: u64,
    /// Its hash.
    pub digest: Digest,
    /// Its owner, group and mode, where they are recorded.
    pub ownership: Option<Ownership>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The snapshots in which it was found, as positions among those of the run; not empty.
    pub snapshots: Vec<usize>,
    /// Where, relative to the first of them.
    pub path: PathBuf,
    /// The table that it is of.
    pub table: Option<TableName>,
    /// The part that it is of.
    pub part: Option<PartName>,
    /// What is wrong.
    pub kind: DamageKind,
    /// What should be.
    pub expected: String,
    /// What is.
    pub found: String,
    /// The inode that is wrong, where it is one that others can share.
    pub inode: Option<InodeKey>,
    /// What should stand there, where that is a file and known.
    pub wanted: Option<Wanted>,
    /// Whether this was so on the server already, when the snapshot was made.
    pub noted: bool,
}

impl Finding {
    /// Something wrong in one snapshot, and with no part of it.
    #[must_use]
    pub fn new(
        snapshot: usize,
        path: impl Into<PathBuf>,
        kind: DamageKind,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            snapshots: vec![snapshot],
            path: path.into(),
            table: None,
            part: None,
            kind,
            expected: expected.into(),
            found: found.into(),
            inode: None,
            wanted: None,
            noted: false,
        }
    }
}

/// Whether a mode is the recorded one, or what the server itself makes of that later.
///
/// FREEZE and DETACH take the write bits from a live file that a snapshot may have had before them: an inode has one
/// mode for all its links (ClickHouse's `localBackup.cpp`).
pub(super) fn is_mode(recorded: u32, found: u32) -> bool {
    found == recorded || found == recorded & !0o222
}

pub(super) fn owner(ownership: Ownership) -> String {
    format!("{}:{}", ownership.uid, ownership.gid)
}

pub(super) fn mode(mode: u32) -> String {
    format!("{mode:04o}")
}

pub(super) fn size(bytes: u64) -> String {
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::is_mode;

    #[test]
    fn only_the_servers_own_change_of_a_mode_is_none() {
        assert!(is_mode(0o440, 0o440) && is_mode(0o640, 0o440) && is_mode(0o644, 0o444));
        assert!(!is_mode(0o440, 0o640) && !is_mode(0o640, 0o400) && !is_mode(0o640, 0o600) && !is_mode(0o440, 0));
    }
}
