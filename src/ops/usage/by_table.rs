//! Space by table and by partition.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{InodeStats, SnapshotId, TableName};
use crate::plan::{HolderSets, Holders, Piece, sum_up};
use crate::repo::{Holding, InstanceOrigin};

use super::measure::{Measured, instance_holders};

/// The space that one table, or one partition of it, takes in the requested snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableUsage {
    /// The table.
    pub table: TableName,
    /// The partition, if the figures are by partition.
    pub partition: Option<String>,
    /// Sum of the sizes of its files in the newest of those snapshots that has it: what a restore needs.
    pub apparent_bytes: u64,
    /// Its parts there.
    pub parts: u64,
    /// Allocated bytes of its files in all of those snapshots, each inode once.
    pub allocated_bytes: u64,
    /// The share of them that is also linked from outside the repository.
    pub live_shared_bytes: u64,
    /// The share of them that only its own parts in those snapshots link.
    pub exclusive_bytes: u64,
    /// Allocated bytes of the directories of its parts.
    pub directory_bytes: u64,
}

/// The number of the holder that stands for all holders outside the chosen snapshots.
const OTHERS: usize = 0;

/// Sums by table, or by partition, over these snapshots, ordered by table name.
pub(super) fn by_table(measured: &Measured, chosen: &BTreeSet<SnapshotId>, by_partition: bool) -> Vec<TableUsage> {
    let holdings = &measured.holdings;
    let present = measured.summaries.iter().map(|summary| summary.id);
    let ids: Vec<SnapshotId> = present.chain(measured.removed.iter().copied()).collect();
    let mut sets = HolderSets::default();
    let holders = instance_holders(holdings, &ids, &mut sets);
    let is_chosen: Holders =
        ids.iter().enumerate().filter(|(_, id)| chosen.contains(id)).map(|(number, _)| number).collect();
    let mut groups: BTreeMap<(TableName, Option<String>), usize> = BTreeMap::new();
    let mut pieces = Vec::new();
    let mut group_sets = HolderSets::default();
    let mut origins = BTreeMap::new();
    for (id, instance) in holdings.instances() {
        let (Some(held_by), Some(origin)) = (holders.get(&id).and_then(|set| sets.set(*set)), instance.origin()) else {
            continue;
        };
        let mut group = Holders::default();
        if held_by.iter().any(|number| is_chosen.contains(number)) {
            let next = groups.len() + 1;
            let number = *groups.entry(name(&origin, by_partition)).or_insert(next);
            group.insert(number);
            origins.insert(id, (number, origin));
        }
        if !held_by.is_within(&is_chosen) {
            group.insert(OTHERS);
        }
        let copies = held_by.len() as u64;
        pieces.push(Piece { holders: group_sets.id(&group), copies, is_part: true, links: instance.links() });
    }
    let stats: Vec<&InodeStats> = measured.stats.values().collect();
    let space = sum_up(&pieces, &mut group_sets, &stats, Vec::new()).space;
    let mut rows: BTreeMap<usize, TableUsage> = groups
        .into_iter()
        .map(|((table, partition), number)| {
            let held = space.held(number);
            let row = TableUsage {
                table,
                partition,
                apparent_bytes: 0,
                parts: 0,
                allocated_bytes: held.allocated_bytes,
                live_shared_bytes: held.live_shared_bytes,
                exclusive_bytes: held.exclusive_bytes,
                directory_bytes: 0,
            };
            (number, row)
        })
        .collect();
    let mut counted = BTreeSet::new();
    for id in measured.summaries.iter().rev().map(|summary| summary.id).filter(|id| chosen.contains(id)) {
        let mut here = BTreeSet::new();
        for (instance, directory_bytes) in holdings.get(id).into_iter().flat_map(Holding::instances) {
            let Some((number, origin)) = origins.get(&instance) else { continue };
            let Some(row) = rows.get_mut(number) else { continue };
            row.directory_bytes += directory_bytes;
            if !counted.contains(number) {
                row.apparent_bytes += origin.bytes;
                row.parts += 1;
                here.insert(*number);
            }
        }
        counted.extend(here);
    }
    let mut rows: Vec<TableUsage> = rows.into_values().collect();
    rows.sort_by(|a, b| {
        (&a.table.database, &a.table.table, &a.partition).cmp(&(&b.table.database, &b.table.table, &b.partition))
    });
    rows
}

fn name(origin: &InstanceOrigin, by_partition: bool) -> (TableName, Option<String>) {
    let table = TableName::new(origin.database.clone(), origin.table.clone());
    (table, by_partition.then(|| origin.partition.0.to_string()))
}
