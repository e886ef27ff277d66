//! What of a table is to be in a snapshot, and what of that is frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{Part, PartName, PartitionId, Table, Warning, WarningKind, count, size};

/// How much of a table is frozen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The whole table, by one statement.
    Whole,
    /// These partitions, by a statement each.
    Partitions(BTreeSet<PartitionId>),
    /// It has no part to freeze.
    Nothing,
}

impl Scope {
    /// Whether a part of this partition is to be in the snapshot.
    #[must_use]
    pub fn covers(&self, partition: &PartitionId) -> bool {
        match self {
            Self::Whole => true,
            Self::Partitions(partitions) => partitions.contains(partition),
            Self::Nothing => false,
        }
    }
}

/// What a table has on disks that are not local: it is not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteParts {
    /// The disks that the table may use, each with its type.
    pub disks: BTreeMap<String, String>,
    /// The partitions of the parts there.
    pub partitions: BTreeSet<PartitionId>,
    /// Parts, patch parts among them.
    pub parts: u64,
    /// Bytes in them, as the server counts them.
    pub bytes: u64,
    /// Whether they may stay behind without a warning.
    pub is_accepted: bool,
}

/// Partitions that are named; of more the number is given.
const NAMED_PARTITIONS: usize = 10;

impl fmt::Display for RemoteParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parts, bytes) = (count(self.parts, "part"), size(self.bytes));
        let named: Vec<&str> = self.partitions.iter().take(NAMED_PARTITIONS).map(|id| id.0.as_str()).collect();
        let partitions = count(self.partitions.len() as u64, "partition");
        let more = if self.partitions.len() > NAMED_PARTITIONS { ", …" } else { "" };
        let disks: Vec<String> = self.disks.iter().map(|(name, kind)| format!("{name:?} of type {kind}")).collect();
        let (is, disk) = (if self.parts == 1 { "is" } else { "are" }, if disks.len() == 1 { "disk" } else { "disks" });
        write!(
            f,
            "{parts} ({bytes}) of {partitions} ({:.200}{more}) {is} on the {disk} {}, and only local disks can be linked from",
            named.join(", "),
            disks.join(" and ")
        )
    }
}

/// One table to take.
#[derive(Clone, Debug)]
pub struct TableFreeze {
    /// The table as it was when the plan was made; of its parts and directories those on local disks.
    pub table: Table,
    /// What it has besides, where it may use disks that are not local. Such a table is never frozen, for `FREEZE` would
    /// make a shadow on those disks too, if only of a part that was moved there just then: its parts are linked from the
    /// last snapshot or from their live directories.
    pub remote: Option<RemoteParts>,
    /// How much of it is to be in the snapshot.
    pub scope: Scope,
    /// What of that the server is asked to freeze; the other parts are linked from the last snapshot.
    pub freeze: Scope,
}

impl TableFreeze {
    /// A table whose parts are linked from its directories, and not frozen.
    #[must_use]
    pub fn linked(table: Table) -> Self {
        Self { table, remote: None, scope: Scope::Whole, freeze: Scope::Nothing }
    }

    /// What the person should know of parts that are not taken.
    #[must_use]
    pub fn warning(&self) -> Option<Warning> {
        let remote = self.remote.as_ref().filter(|remote| remote.parts > 0 && !remote.is_accepted)?;
        let name = self.table.name();
        let message = format!("{name} is not whole in the snapshot: {remote} (--accept takes this warning away)");
        Some(Warning::of_table(WarningKind::DataLeftBehind, name, message))
    }

    /// The parts that are to be taken, patch parts among them.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.table.parts.iter().filter(|part| self.covers(&part.name, &part.partition))
    }

    /// Whether a patch part is to be taken: it belongs to the partition that it changes.
    #[must_use]
    pub fn takes_patch(&self, name: &PartName) -> bool {
        name.is_patch() && name.partition().is_none_or(|partition| self.covers(name, &partition))
    }

    fn covers(&self, name: &PartName, partition: &PartitionId) -> bool {
        if name.is_patch() { self.scope.covers(&partition.of_data()) } else { self.scope.covers(partition) }
    }

    /// Whether a part is linked from the last snapshot. A patch part never is: it is linked from the live table.
    #[must_use]
    pub fn is_linked(&self, part: &Part) -> bool {
        !part.name.is_patch() && self.scope.covers(&part.partition) && !self.freeze.covers(&part.partition)
    }

    /// The parts that are linked from the last snapshot.
    pub fn linked_parts(&self) -> impl Iterator<Item = &Part> {
        self.table.parts.iter().filter(|part| self.is_linked(part))
    }
}
