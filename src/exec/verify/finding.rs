//! One thing that is wrong with a snapshot.

use std::path::{Path, PathBuf};

use crate::fs::{ContentDigest, Stat};
use crate::model::{DamageKind, DriftKind, Ownership, PartName, TableName};

/// An inode by its numbers, which are meaningful only while something holds it.
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

/// The file expected at a path: enough to recognize a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedFile {
    /// Its size.
    pub size_bytes: u64,
    /// Its hash.
    pub digest: ContentDigest,
    /// Its owner, group and mode, if they are recorded.
    pub ownership: Option<Ownership>,
    /// Those that its inode has now, or, if it is missing, those of the first file of its part: a chown of the live
    /// data gives them to every copy.
    pub present: Option<Ownership>,
}

impl WantedFile {
    /// Whether a copy with this owner, group and mode can replace it.
    pub(super) fn accepts(&self, found: Ownership) -> bool {
        let is_same =
            |wanted: Ownership| (wanted.uid, wanted.gid) == (found.uid, found.gid) && is_mode(wanted.mode, found.mode);
        self.ownership.is_none_or(is_same) || self.present.is_some_and(is_same)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartFinding {
    /// The snapshots in which it was found, as positions among those of the run; not empty.
    pub snapshots: Vec<usize>,
    /// Where, relative to the first of them.
    pub path: PathBuf,
    /// The table that it concerns.
    pub table: Option<TableName>,
    /// The part that it concerns.
    pub part: Option<PartName>,
    /// The kind of damage.
    pub kind: DamageKind,
    /// The expected state.
    pub expected: String,
    /// The actual state.
    pub found: String,
    /// The inode that is wrong, if others can share it.
    pub inode: Option<InodeKey>,
    /// The expected file, if it is a file and is known.
    pub wanted: Option<WantedFile>,
    /// Whether the server had the same problem already when the snapshot was made.
    pub noted: bool,
}

impl PartFinding {
    /// Describes a problem of one snapshot that concerns no part.
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

/// Files and directories of one part whose owner or mode differs from its record; their bytes may be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartDrift {
    /// The kind of drift.
    pub kind: DriftKind,
    /// The table.
    pub table: TableName,
    /// The part.
    pub part: PartName,
    /// The recorded owner or mode.
    pub expected: String,
    /// The actual owner or mode.
    pub found: String,
    /// The snapshots in which it was found, as positions among those of the run; sorted, not empty.
    pub snapshots: Vec<usize>,
    /// One of the files or directories, relative to each of these snapshots.
    pub path: PathBuf,
    /// How many inodes differ in this way.
    pub inodes: u64,
}

/// Drift of one inode, or of a part's directory.
#[derive(Clone, Debug)]
pub(super) struct DriftedInode {
    pub(super) kind: DriftKind,
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) snapshots: Vec<usize>,
    /// Path in the part; the empty path is the part's directory.
    pub(super) path: String,
}

impl DriftedInode {
    /// The differences between the recorded owner and mode of a file or directory and those that it has.
    pub(super) fn compare(
        recorded: Ownership,
        found: Ownership,
        is_mode: fn(u32, u32) -> bool,
        (path, snapshots): (&str, &[usize]),
    ) -> Vec<Self> {
        let drift = |kind, expected: String, found: String| Self {
            kind,
            expected,
            found,
            snapshots: snapshots.to_vec(),
            path: path.to_owned(),
        };
        let mut drifted = Vec::new();
        if !is_owner(recorded, found) {
            drifted.push(drift(DriftKind::Owner, owner(recorded), owner(found)));
        }
        if !is_mode(recorded.mode, found.mode) {
            drifted.push(drift(DriftKind::Mode, mode(recorded.mode), mode(found.mode)));
        }
        drifted
    }
}

/// Adds the drift of one inode to the list of its part.
///
/// Inodes that differ in the same way in the same snapshots form one entry, and so does the same path in several
/// snapshots: after `chown -R` there is one entry for each part, however many files and snapshots there are.
pub(super) fn add_drift(
    list: &mut Vec<PartDrift>,
    (table, part): (&TableName, &PartName),
    at: &Path,
    inode: DriftedInode,
) {
    let DriftedInode { kind, expected, found, mut snapshots, path } = inode;
    let path = if path.is_empty() { at.to_owned() } else { at.join(path) };
    snapshots.sort_unstable();
    let is_alike = |known: &&mut PartDrift| {
        (known.kind, &known.expected, &known.found) == (kind, &expected, &found)
            && (known.snapshots == snapshots || known.path == path)
    };
    if let Some(known) = list.iter_mut().find(is_alike) {
        known.inodes += 1;
        known.snapshots.extend(snapshots);
        known.snapshots.sort_unstable();
        known.snapshots.dedup();
        return;
    }
    let (table, part) = (table.clone(), part.clone());
    list.push(PartDrift { kind, table, part, expected, found, snapshots, path, inodes: 1 });
}

/// Whether a file has the recorded owner, group and mode, or the mode that the server itself makes of that later.
#[must_use]
pub fn is_as_recorded(recorded: Ownership, found: Ownership) -> bool {
    is_owner(recorded, found) && is_mode(recorded.mode, found.mode)
}

fn is_owner(recorded: Ownership, found: Ownership) -> bool {
    (recorded.uid, recorded.gid) == (found.uid, found.gid)
}

/// Whether a mode is the recorded one, or one into which the server itself changes it later.
///
/// FREEZE and DETACH clear the write bits of a live file that a snapshot may have taken before: an inode has one mode
/// for all its links (ClickHouse's `localBackup.cpp`).
pub(super) fn is_mode(recorded: u32, found: u32) -> bool {
    found == recorded || found == recorded & !0o222
}

fn owner(ownership: Ownership) -> String {
    format!("{}:{}", ownership.uid, ownership.gid)
}

fn mode(mode: u32) -> String {
    format!("{mode:04o}")
}

pub(super) fn size(bytes: u64) -> String {
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::is_mode;

    #[test]
    fn only_the_servers_own_change_of_a_mode_is_no_drift() {
        assert!(is_mode(0o440, 0o440) && is_mode(0o640, 0o440) && is_mode(0o644, 0o444));
        assert!(!is_mode(0o440, 0o640) && !is_mode(0o640, 0o400) && !is_mode(0o640, 0o600) && !is_mode(0o440, 0));
    }
}
