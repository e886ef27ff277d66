//! How much of a table must be frozen, when some of its parts stand unchanged in the last snapshot.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Part, PartName, PartitionId};

use super::freeze::{Scope, TableFreeze};

/// Splits a table by the names of its parts: the answer is what is frozen of `scope`; everything else of it is linked.
///
/// A partition is linked if the last snapshot `knows` all of its parts. One statement for the whole table is cheaper than
/// many for most of it: where more than half of the files have changed, all of it is frozen.
#[must_use]
pub(super) fn split_freeze(scope: &Scope, parts: &[Part], knows: impl Fn(&PartName) -> bool) -> Scope {
    let (same, moved) = divide(parts.iter().filter(|part| scope.covers(&part.partition)), |part| knows(&part.name));
    if same.is_empty() || files_of(&moved) > files_of(&same) {
        scope.clone()
    } else if moved.is_empty() {
        Scope::Nothing
    } else {
        Scope::Partitions(ids_of(&moved))
    }
}

/// What is frozen besides, because parts that were to be linked have proved to be others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// All that is frozen then.
    pub freeze: Scope,
    /// What of it was not frozen before.
    pub more: Scope,
}

/// Extends a freeze where parts that were to be linked have proved to be others; `None` where each of them `is_same`. A
/// partition of which one part has changed is frozen as a whole.
///
/// Where nothing was to be frozen and most has changed, that is the whole table.
pub fn extend_freeze(table: &TableFreeze, is_same: impl Fn(&PartName) -> bool) -> Option<Extension> {
    if table.linked_parts().all(|part| is_same(&part.name)) {
        return None;
    }
    let parts = table.parts().filter(|part| !part.name.is_patch());
    let (same, moved) = divide(parts, |part| table.is_linked(part) && is_same(&part.name));
    let frozen = match &table.freeze {
        Scope::Nothing if same.is_empty() || files_of(&moved) > files_of(&same) => {
            return Some(Extension { freeze: table.scope.clone(), more: table.scope.clone() });
        }
        Scope::Partitions(frozen) => frozen.clone(),
        Scope::Nothing | Scope::Whole => BTreeSet::new(),
    };
    let ids = ids_of(&moved);
    let more = ids.difference(&frozen).cloned().collect();
    let freeze = Scope::Partitions(ids.union(&frozen).cloned().collect());
    Some(Extension { freeze, more: Scope::Partitions(more) })
}

type Partitions<'a> = Vec<(&'a PartitionId, Vec<&'a Part>)>;

/// The partitions of which every part is the same, and the others; patch parts left out.
fn divide<'a>(
    parts: impl Iterator<Item = &'a Part>,
    is_same: impl Fn(&Part) -> bool,
) -> (Partitions<'a>, Partitions<'a>) {
    let mut partitions: BTreeMap<&PartitionId, Vec<&Part>> = BTreeMap::new();
    for part in parts.filter(|part| !part.name.is_patch()) {
        partitions.entry(&part.partition).or_default().push(part);
    }
    partitions.into_iter().partition(|(_, parts)| parts.iter().all(|part| is_same(part)))
}

/// Files of some partitions, as the server reports them: they add up to the largest number and not beyond it.
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
    use std::path::Path;

    use proptest::prelude::*;

    use super::{extend_freeze, split_freeze};
    use crate::model::{Part, PartName, PartitionId, Table, TableKey, TableName};
    use crate::plan::{Scope, TableFreeze};

    fn freeze(parts: &[(u8, u8, u64)]) -> TableFreeze {
        let part = |(partition, number, files): &(u8, u8, u64)| Part {
            name: PartName::try_from(format!("{partition}_{number}_{number}_0")).expect("a part's name"),
            partition: PartitionId(partition.to_string().into()),
            parent: Path::new("x").into(),
            disk: "default".into(),
            rows: 1,
            bytes: 1,
            files: *files,
            fingerprint: None,
        };
        let table = Table {
            key: TableKey { name: TableName::new("d", "t"), uuid: None },
            engine: "MergeTree".into(),
            definition: String::new(),
            data_paths: Vec::new(),
            metadata_path: "x".into(),
            storage_policy: String::new(),
            has_own_data: None,
            parts: parts.iter().map(part).collect::<Vec<_>>().into(),
            mutations: Vec::new(),
        };
        TableFreeze { table, remote: None, scope: Scope::Whole, freeze: Scope::Whole }
    }

    /// The freeze, split by the names of the parts that are known.
    fn split(mut freeze: TableFreeze, known: &BTreeSet<PartName>) -> TableFreeze {
        freeze.freeze = split_freeze(&freeze.scope, &freeze.table.parts, |name| known.contains(name));
        freeze
    }

    fn linked(freeze: &TableFreeze) -> BTreeSet<PartName> {
        freeze.linked_parts().map(|part| part.name.clone()).collect()
    }

    fn name(partition: u8, number: u8) -> PartName {
        PartName::try_from(format!("{partition}_{number}_{number}_0")).expect("a part's name")
    }

    proptest! {
        /// Every part is either linked, and known, or frozen; never both; and a partition is never torn.
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
        /// After the comparison each partition is frozen or linked as a whole, what was frozen is not frozen again, and
        /// nothing is linked that is another part.
        #[test]
        fn what_proves_changed_is_frozen_besides(
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
    fn most_of_a_table_is_frozen_by_one_statement() {
        let all = freeze(&[(1, 0, 10), (2, 0, 30)]);
        let frozen = |known: &[PartName]| split(all.clone(), &known.iter().cloned().collect()).freeze;
        assert_eq!(frozen(&[name(1, 0)]), Scope::Whole);
        assert_eq!(frozen(&[name(2, 0)]), Scope::Partitions(BTreeSet::from([PartitionId("1".into())])));
        assert_eq!(frozen(&[name(1, 0), name(2, 0)]), Scope::Nothing);
        assert_eq!(frozen(&[]), Scope::Whole);
    }
}
