//! A part in all the snapshots that have it, and the result of checking it.

use std::ops::AddAssign;
use std::sync::Arc;

use crate::model::{PartName, TableName};
use crate::repo::PartRecord;

use super::finding::{PartDrift, PartFinding};

/// A part in one snapshot.
#[derive(Clone, Debug)]
pub struct PartInSnapshot {
    /// The snapshot, as its position among those of the run.
    pub snapshot: usize,
    /// The record of the part in the snapshot.
    pub record: Arc<PartRecord>,
    /// Whether its bytes need not be read again.
    pub covered: bool,
    /// Whether its inodes have the owners and modes of the record: the filesystem may be unable to preserve them.
    pub keeps_ids: bool,
}

/// A part in all the snapshots of the run that have it.
#[derive(Clone, Debug)]
pub struct PartGroup {
    /// Its table.
    pub table: TableName,
    /// Its name.
    pub part: PartName,
    /// Its location.
    pub instances: Vec<PartInSnapshot>,
}

/// Counts of what was checked. A part or file counts once for each snapshot that has it; reads count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckTally {
    /// Parts.
    pub parts: u64,
    /// Files in them.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Files that were read to their end.
    pub read_files: u64,
    /// Bytes in those.
    pub read_bytes: u64,
    /// Parts whose bytes were not read, because an earlier check has read them.
    pub spared_parts: u64,
    /// Parts without usable checksums.
    pub unverifiable_parts: u64,
    /// Files of which only name, owner, mode and, if it is recorded, size can be checked.
    pub unverifiable_files: u64,
    /// Sum of their sizes.
    pub unverifiable_bytes: u64,
}

impl AddAssign for CheckTally {
    fn add_assign(&mut self, other: Self) {
        self.parts += other.parts;
        self.files += other.files;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.read_files += other.read_files;
        self.read_bytes += other.read_bytes;
        self.spared_parts += other.spared_parts;
        self.unverifiable_parts += other.unverifiable_parts;
        self.unverifiable_files += other.unverifiable_files;
        self.unverifiable_bytes = self.unverifiable_bytes.saturating_add(other.unverifiable_bytes);
    }
}

/// The result of checking a part.
#[derive(Debug, Default)]
pub struct PartVerification {
    /// The totals of the check.
    pub tally: CheckTally,
    /// Everything that is wrong.
    pub findings: Vec<PartFinding>,
    /// Owners and modes that differ.
    pub drift: Vec<PartDrift>,
    /// Whether its bytes were not read, because an earlier check has read them.
    pub spared: bool,
}
