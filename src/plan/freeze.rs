//! Decides what of a table goes into a snapshot, and how much of that is frozen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::model::{CatalogPart, PartName, PartitionId, Table, Warning, WarningKind, count, size};

/// The state of a table that goes into the snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WantedState {
    /// The state that its freeze finds, with the patch parts that exist right afterwards.
    #[default]
    Current,
    /// The listed state: these parts, and no others.
    Listed,
}

/// The scope of a freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeScope {
    /// The whole table, by one statement.
    Whole,
    /// These partitions, with one statement each.
    Partitions(BTreeSet<PartitionId>),
    /// Nothing: it has no part to freeze.
    Nothing,
}

impl FreezeScope {
    /// Whether parts of this partition go into the snapshot.
    #[must_use]
    pub fn covers(&self, partition: &PartitionId) -> bool {
        match self {
            Self::Whole => true,
            Self::Partitions(partitions) => partitions.contains(partition),
            Self::Nothing => false,
        }
    }
}

/// Where a part of a snapshot comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedSource {
    /// From the shadow of a freeze.
    Freeze,
    /// From the last snapshot, if the part there proves to be the same. If it differs, its partition is frozen; the parts
    /// of a table that is never frozen are linked from its live directory then.
    LastSnapshot,
    /// From its live directory: `FREEZE` leaves out patch parts.
    Live,
}

/// The share of a table on disks that are not local, which is not taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteParts {
    /// The disks that the table may use, each with its type.
    pub disks: BTreeMap<String, String>,
    /// The partitions of those parts.
    pub partitions: BTreeSet<PartitionId>,
    /// The number of parts, including patch parts.
    pub parts: u64,
    /// Their bytes, as reported by the server.
    pub bytes: u64,
    /// Whether they may be left out without a warning.
    pub is_accepted: bool,
}

/// The largest number of partitions that a warning names; of more it gives only the number.
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
    /// The table as it was when the plan was made, with only those parts and directories that are on local disks.
    pub table: Table,
    /// Its other parts, if it may use disks that are not local. Such a table is never frozen, because `FREEZE` would
    /// create a shadow on those disks too, even if only for a part that was moved there just then. Its parts are linked
    /// from the last snapshot or from their live directories.
    pub remote: Option<RemoteParts>,
    /// The scope that goes into the snapshot.
    pub scope: FreezeScope,
    /// The scope that the server is asked to freeze; the other parts are linked from the last snapshot.
    pub freeze: FreezeScope,
    /// The state that goes into the snapshot.
    pub wants: WantedState,
}

impl TableFreeze {
    /// A table whose parts are linked from its directories, and not frozen.
    #[must_use]
    pub fn linked(table: Table) -> Self {
        Self {
            table,
            remote: None,
            scope: FreezeScope::Whole,
            freeze: FreezeScope::Nothing,
            wants: WantedState::Current,
        }
    }

    /// The warning about parts that are not taken.
    #[must_use]
    pub fn warning(&self) -> Option<Warning> {
        let remote = self.remote.as_ref().filter(|remote| remote.parts > 0 && !remote.is_accepted)?;
        let name = self.table.name();
        let message = format!("{name} is not whole in the snapshot: {remote} (--accept suppresses this warning)");
        Some(Warning::of_table(WarningKind::DataLeftBehind, name, message))
    }

    /// The parts to take, including patch parts.
    pub fn parts(&self) -> impl Iterator<Item = &CatalogPart> {
        self.table.parts.iter().filter(|part| self.covers(&part.name, &part.partition))
    }

    /// Whether to take a patch part that was not listed with the table: it belongs to the partition that it changes.
    #[must_use]
    pub fn takes_later_patch(&self, name: &PartName) -> bool {
        self.wants == WantedState::Current
            && name.is_patch()
            && name.partition().is_none_or(|partition| self.covers(name, &partition))
    }

    fn covers(&self, name: &PartName, partition: &PartitionId) -> bool {
        if name.is_patch() { self.scope.covers(&partition.of_data()) } else { self.scope.covers(partition) }
    }

    /// Where a listed part comes from; `None` if it is not taken.
    #[must_use]
    pub fn source(&self, part: &CatalogPart) -> Option<PlannedSource> {
        if !self.covers(&part.name, &part.partition) {
            None
        } else if part.name.is_patch() {
            Some(PlannedSource::Live)
        } else if self.freeze.covers(&part.partition) {
            Some(PlannedSource::Freeze)
        } else {
            Some(PlannedSource::LastSnapshot)
        }
    }

    /// Whether a part is linked from the last snapshot.
    #[must_use]
    pub fn is_linked(&self, part: &CatalogPart) -> bool {
        self.source(part) == Some(PlannedSource::LastSnapshot)
    }

    /// The parts that are linked from the last snapshot.
    pub fn linked_parts(&self) -> impl Iterator<Item = &CatalogPart> {
        self.table.parts.iter().filter(|part| self.is_linked(part))
    }

    /// The parts that no statement freezes: they are linked from the last snapshot or from the live table.
    pub fn unfrozen_parts(&self) -> impl Iterator<Item = &CatalogPart> {
        let is_unfrozen = |part: &&CatalogPart| self.source(part).is_some_and(|source| source != PlannedSource::Freeze);
        self.table.parts.iter().filter(is_unfrozen)
    }
}
