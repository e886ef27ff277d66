//! What of a table is to be in a snapshot, and what of that is frozen.

use std::collections::BTreeSet;

use crate::model::{Part, PartName, PartitionId, Table};

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

/// One table to take.
#[derive(Clone, Debug)]
pub struct TableFreeze {
    /// The table as it was when the plan was made.
    pub table: Table,
    /// How much of it is to be in the snapshot.
    pub scope: Scope,
    /// What of that the server is asked to freeze; the other parts are linked from the last snapshot.
    pub freeze: Scope,
}

impl TableFreeze {
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
