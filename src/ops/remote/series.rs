//! The series of the snapshots of one remote repository.

use std::collections::BTreeSet;

use crate::model::TableName;
use crate::plan::{Member, SeriesKey, incomplete, main_series};
use crate::remote::RemoteHead;
use crate::repo::{SnapshotScope, TableEntry, TableState};

/// The facts about a remote snapshot that concern its series.
#[derive(Clone, Debug, Default)]
pub(super) struct RemoteMember {
    /// Its place in the order of its repository.
    pub(super) sequence: u64,
    /// The number of its tables.
    pub(super) tables: u64,
    pub(super) scope: SnapshotScope,
    /// The tables whose data it has.
    pub(super) taken: BTreeSet<TableName>,
}

impl RemoteMember {
    pub(super) fn of(head: &RemoteHead) -> Self {
        let entries = head.manifest.tables.iter();
        Self {
            sequence: head.manifest.sequence,
            tables: head.manifest.totals.tables,
            scope: SnapshotScope::from(&head.manifest),
            taken: entries.filter(|entry| entry.state == TableState::Taken).map(TableEntry::name).collect(),
        }
    }
}

/// Returns for each snapshot of a repository, given in the order in which they were made, whether it lacks a table that
/// it could have had; and the main series of the repository.
pub(super) fn judge_series(all: &[&RemoteMember]) -> (Vec<bool>, SeriesKey) {
    let members: Vec<Member<'_>> = (all.iter())
        .map(|one| {
            let RemoteMember { scope, tables, .. } = one;
            Member { key: &scope.key, tables: *tables, skipped: scope.skipped, left: &scope.left }
        })
        .collect();
    let lacks = incomplete(&members, |place, table| all.get(place).is_some_and(|one| one.taken.contains(table)));
    let main = main_series(&members, &lacks, None, None);
    (lacks, main)
}
