//! Counts, bytes and numeric owners.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Owner, group and permission bits of a file or directory, all numeric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ownership {
    /// Numeric user id.
    pub uid: u32,
    /// Numeric group id.
    pub gid: u32,
    /// Permission bits, `0o7777` at most.
    pub mode: u32,
}

/// How a part's files were placed in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// The frozen directory was renamed out of the shadow.
    Renamed,
    /// Every file was hard-linked.
    Linked,
    /// Every file shares its blocks with the source under a new inode.
    Reflinked,
    /// Every file was copied.
    Copied,
}

/// Parts, files and apparent bytes of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PartTally {
    /// Parts.
    pub parts: u64,
    /// Files in them.
    pub files: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
}

impl AddAssign for PartTally {
    fn add_assign(&mut self, other: Self) {
        self.parts += other.parts;
        self.files += other.files;
        self.bytes += other.bytes;
    }
}

/// Placed parts, by the kind of placement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct PlacedTotals {
    /// See [`Placement::Renamed`].
    pub renamed: PartTally,
    /// See [`Placement::Linked`].
    pub linked: PartTally,
    /// See [`Placement::Reflinked`].
    pub reflinked: PartTally,
    /// See [`Placement::Copied`].
    pub copied: PartTally,
}

impl AddAssign for PlacedTotals {
    fn add_assign(&mut self, other: Self) {
        self.renamed += other.renamed;
        self.linked += other.linked;
        self.reflinked += other.reflinked;
        self.copied += other.copied;
    }
}

impl PlacedTotals {
    /// Counts `tally` under `placement`.
    pub fn add(&mut self, placement: Placement, tally: PartTally) {
        *match placement {
            Placement::Renamed => &mut self.renamed,
            Placement::Linked => &mut self.linked,
            Placement::Reflinked => &mut self.reflinked,
            Placement::Copied => &mut self.copied,
        } += tally;
    }
}

/// Totals of a snapshot. `docs/glossary.md` says what each kind of bytes means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotTotals {
    /// Tables whose parts are in the snapshot, empty ones included.
    pub tables: u64,
    /// Parts.
    pub parts: u64,
    /// Files of parts, projections included.
    pub files: u64,
    /// Sum of the sizes of those files: what a restore needs.
    pub apparent_bytes: u64,
    /// Sum of `st_blocks * 512` over the distinct inodes among them.
    pub allocated_bytes: u64,
    /// The part of `allocated_bytes` on inodes that the previous snapshot did not have when this one was made.
    pub written_bytes: u64,
}
