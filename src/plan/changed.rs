//! Decides how much of a table must be frozen if some of its parts are unchanged in the last snapshot.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{CatalogPart, PartName, PartitionId};

use super::freeze::{FreezeScope, TableFreeze};

/// How a frozen part comes into the snapshot, which decides what it costs to freeze one that is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// It is renamed or linked.
    Linked,
    /// The repository is on another filesystem: an equal part of an earlier snapshot is looked for.
    Copied,
}

/// The cost of one statement by itself, in nanoseconds.
const STATEMENT_NS: u64 = 300_000;
/// How many partitions one statement freezes: this keeps it far below the 256 KiB that a server accepts as one statement.
pub const PARTITIONS_OF_A_STATEMENT: usize = 100;
/// The cost of the freeze of one partition for each part of the table, because the server looks through all of them: 2 ms
/// for 5,000 parts of 26.9.
const LOOK_NS: u64 = 400;
/// The fewest files of a part, for servers that do not report them.
const LEAST_FILES: u64 = 8;

impl Placing {
    /// The cost of freezing, placing and checking a file of an unchanged part, beyond that of linking it from the last
    /// snapshot, in nanoseconds: FREEZE alone takes 18 to 21 microseconds.
    fn unchanged_file_ns(self) -> u64 {
        match self {
            Self::Linked => 20_000,
            Self::Copied => 200_000,
        }
    }

    /// Whether to freeze a table of `parts` parts as a whole is cheaper than to freeze its changed partitions, although that
    /// also freezes the files of the others.
    fn is_whole_cheaper(self, parts: u64, changed_partitions: u64, unchanged_files: u64) -> bool {
        let looks = parts.saturating_mul(LOOK_NS).saturating_mul(changed_partitions.saturating_sub(1));
        let statements = changed_partitions.div_ceil(PARTITIONS_OF_A_STATEMENT as u64).saturating_sub(1);
        let saved = looks.saturating_add(statements.saturating_mul(STATEMENT_NS));
        saved > unchanged_files.saturating_mul(self.unchanged_file_ns())
    }
}

/// Splits a table by the names of its parts. Returns what to freeze within `scope`; everything else of the table is
/// linked.
///
/// A partition is linked if the last snapshot `knows` all its parts. One statement for the whole table is cheaper than
/// many for most of it: if more than half of the files have changed, or if there are very many parts and changed
/// partitions, the whole table is frozen.
#[must_use]
pub(super) fn split_freeze(
    scope: &FreezeScope,
    parts: &[CatalogPart],
    knows: impl Fn(&PartName) -> bool,
    placing: Placing,
) -> FreezeScope {
    let (same, moved) = divide(parts.iter().filter(|part| scope.covers(&part.partition)), |part| knows(&part.name));
    let least_files = |part: &&CatalogPart| part.files.max(LEAST_FILES);
    let unchanged_files = same.iter().flat_map(|(_, parts)| parts).map(least_files).fold(0, u64::saturating_add);
    let is_whole = *scope == FreezeScope::Whole
        && placing.is_whole_cheaper(parts.len() as u64, moved.len() as u64, unchanged_files);
    if same.is_empty() || files_of(&moved) > files_of(&same) || is_whole {
        scope.clone()
    } else if moved.is_empty() {
        FreezeScope::Nothing
    } else {
        FreezeScope::Partitions(ids_of(&moved))
    }
}

/// The additional freeze for parts that were to be linked and proved to differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The complete scope of the freeze.
    pub freeze: FreezeScope,
    /// The share of it that was not frozen before.
    pub more: FreezeScope,
}

/// Extends a freeze for parts that were to be linked and proved to differ; `None` if each of them `is_same`. A
/// partition with a changed part is frozen as a whole.
///
/// If nothing was to be frozen and most of the table has changed, that is the whole table.
pub fn extend_freeze(table: &TableFreeze, is_same: impl Fn(&PartName) -> bool) -> Option<Extension> {
    if table.linked_parts().all(|part| is_same(&part.name)) {
        return None;
    }
    let parts = table.parts().filter(|part| !part.name.is_patch());
    let (same, moved) = divide(parts, |part| table.is_linked(part) && is_same(&part.name));
    let frozen = match &table.freeze {
        FreezeScope::Nothing if same.is_empty() || files_of(&moved) > files_of(&same) => {
            return Some(Extension { freeze: table.scope.clone(), more: table.scope.clone() });
        }
        FreezeScope::Partitions(frozen) => frozen.clone(),
        FreezeScope::Nothing | FreezeScope::Whole => BTreeSet::new(),
    };
    let ids = ids_of(&moved);
    let more = ids.difference(&frozen).cloned().collect();
    let freeze = FreezeScope::Partitions(ids.union(&frozen).cloned().collect());
    Some(Extension { freeze, more: FreezeScope::Partitions(more) })
}

type Partitions<'a> = Vec<(&'a PartitionId, Vec<&'a CatalogPart>)>;

/// The partitions in which every part is the same, and the others, without patch parts.
fn divide<'a>(
    parts: impl Iterator<Item = &'a CatalogPart>,
    is_same: impl Fn(&CatalogPart) -> bool,
) -> (Partitions<'a>, Partitions<'a>) {
    let mut partitions: BTreeMap<&PartitionId, Vec<&CatalogPart>> = BTreeMap::new();
    for part in parts.filter(|part| !part.name.is_patch()) {
        partitions.entry(&part.partition).or_default().push(part);
    }
    partitions.into_iter().partition(|(_, parts)| parts.iter().all(|part| is_same(part)))
}

/// The number of files in some partitions, as the server reports them; the sum saturates.
fn files_of(partitions: &Partitions<'_>) -> u64 {
    let parts = partitions.iter().flat_map(|(_, parts)| parts);
    parts.map(|part| part.files.max(1)).fold(0, u64::saturating_add)
}

fn ids_of(partitions: &Partitions<'_>) -> BTreeSet<PartitionId> {
    partitions.iter().map(|(partition, _)| (*partition).clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{Placing, extend_freeze, split_freeze};
    use crate::model::{PartName, PartitionId};
    use crate::plan::{FreezeScope, TableFreeze, WantedState, samples};

    fn freeze(parts: &[(u8, u8, u64)]) -> TableFreeze {
        let part = |(partition, number, files): &(u8, u8, u64)| {
            samples::part(name(*partition, *number), &partition.to_string(), *files)
        };
        samples::whole(samples::table(parts.iter().map(part).collect()), WantedState::Current)
    }

    /// The freeze, split by the names of the known parts.
    fn split(mut freeze: TableFreeze, known: &BTreeSet<PartName>) -> TableFreeze {
        freeze.freeze = split_freeze(&freeze.scope, &freeze.table.parts, |name| known.contains(name), Placing::Linked);
        freeze
    }

    fn linked(freeze: &TableFreeze) -> BTreeSet<PartName> {
        freeze.linked_parts().map(|part| part.name.clone()).collect()
    }

    fn name(partition: u8, number: u8) -> PartName {
        PartName::try_from(format!("{partition}_{number}_{number}_0")).expect("a part's name")
    }

    proptest! {
        /// Every part is either known and linked, or frozen, and never both; and a partition is never split.
        #[test]
        fn each_partition_is_frozen_or_linked_as_a_whole(
            parts in proptest::collection::btree_map((0_u8..6, 0_u8..4), (0_u64..50, any::<bool>()), 0..20)
        ) {
            let list: Vec<(u8, u8, u64)> = parts.iter().map(|((p, n), (files, _))| (*p, *n, *files)).collect();
            let known: BTreeSet<PartName> =
                parts.iter().filter(|(_, (_, same))| *same).map(|((p, n), _)| name(*p, *n)).collect();
            let freeze = split(freeze(&list), &known);
            let linked = linked(&freeze);
            prop_assert!(linked.is_subset(&known));
            for part in freeze.parts() {
                prop_assert_eq!(linked.contains(&part.name), !freeze.freeze.covers(&part.partition), "{}", part.name);
            }
        }
    }

    proptest! {
        /// After the comparison each partition is frozen or linked as a whole, no frozen part is frozen again, and no
        /// differing part is linked.
        #[test]
        fn a_part_that_proves_changed_has_its_partition_frozen(
            parts in proptest::collection::btree_map((0_u8..6, 0_u8..4), (0_u64..50, any::<bool>(), any::<bool>()), 0..20)
        ) {
            let list: Vec<(u8, u8, u64)> = parts.iter().map(|((p, n), (files, ..))| (*p, *n, *files)).collect();
            let known: BTreeSet<PartName> =
                parts.iter().filter(|(_, (_, known, _))| *known).map(|((p, n), _)| name(*p, *n)).collect();
            let same: BTreeSet<PartName> =
                parts.iter().filter(|(_, (.., same))| *same).map(|((p, n), _)| name(*p, *n)).collect();
            let first = split(freeze(&list), &known);
            let Some(extension) = extend_freeze(&first, |name| same.contains(name)) else {
                prop_assert!(linked(&first).is_subset(&same));
                return Ok(());
            };
            let wider = TableFreeze { freeze: extension.freeze, ..first.clone() };
            prop_assert!(linked(&wider).is_subset(&linked(&first)) && linked(&wider).is_subset(&same));
            for part in first.parts() {
                let (once, again) = (first.freeze.covers(&part.partition), extension.more.covers(&part.partition));
                prop_assert!(!(once && again), "{} is frozen twice", part.name);
                prop_assert_eq!(once || again, wider.freeze.covers(&part.partition));
            }
        }
    }

    #[test]
    fn many_partitions_of_many_parts_are_frozen_by_one_statement() {
        let files = |parts: u64, changed: u64| (parts - changed) * 20;
        let is_whole =
            |placing: Placing, parts, changed| placing.is_whole_cheaper(parts, changed, files(parts, changed));
        // 0.2 s of looking through all parts, or 2 s of freezing what has not changed.
        assert!(!is_whole(Placing::Linked, 5_000, 100));
        // 80 s, or 39 s.
        assert!(is_whole(Placing::Linked, 100_000, 2_000));
        assert!(!is_whole(Placing::Copied, 100_000, 2_000), "looking for equal parts costs more");
        assert!(!is_whole(Placing::Linked, 1_000_000, 1), "one partition is one look");
    }

    proptest! {
        /// More changed partitions, more parts and fewer unchanged files never make the whole table the dearer way.
        #[test]
        fn the_model_of_costs_is_monotonic(
            (parts, changed, files) in (0_u64..1 << 40, 0_u64..1 << 30, 0_u64..1 << 40),
            (more, fewer) in (0_u64..1 << 20, 0_u64..1 << 40),
        ) {
            for placing in [Placing::Linked, Placing::Copied] {
                if placing.is_whole_cheaper(parts, changed, files) {
                    prop_assert!(placing.is_whole_cheaper(parts + more, changed, files));
                    prop_assert!(placing.is_whole_cheaper(parts, changed + more, files));
                    prop_assert!(placing.is_whole_cheaper(parts, changed, files.saturating_sub(fewer)));
                }
            }
        }
    }

    #[test]
    fn most_of_a_table_is_frozen_by_one_statement() {
        let all = freeze(&[(1, 0, 10), (2, 0, 30)]);
        let frozen = |known: &[PartName]| split(all.clone(), &known.iter().cloned().collect()).freeze;
        assert_eq!(frozen(&[name(1, 0)]), FreezeScope::Whole);
        assert_eq!(frozen(&[name(2, 0)]), FreezeScope::Partitions(BTreeSet::from([PartitionId("1".into())])));
        assert_eq!(frozen(&[name(1, 0), name(2, 0)]), FreezeScope::Nothing);
        assert_eq!(frozen(&[]), FreezeScope::Whole);
    }
}
