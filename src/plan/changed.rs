//! How much of a table must be frozen, when some of its parts stand unchanged in the last snapshot.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Part, PartName, PartitionId};

use super::create::{Scope, TableFreeze};

/// What is frozen of a table, and what is linked from the last snapshot instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Narrowed {
    /// What the server is asked to freeze.
    pub ask: Scope,
    /// The parts that are linked.
    pub link: BTreeSet<PartName>,
}

/// Takes the partitions whose parts are all unchanged out of a freeze.
///
/// One statement for the whole table is cheaper than many for most of it: where more than half of the files have
/// changed, all of it is frozen. A partition that has come since the parts were listed is none of theirs.
#[must_use]
pub fn narrow(freeze: &TableFreeze, unchanged: &BTreeSet<PartName>) -> Narrowed {
    let mut partitions: BTreeMap<&PartitionId, Vec<&Part>> = BTreeMap::new();
    for part in freeze.parts().filter(|part| !part.name.is_patch()) {
        partitions.entry(&part.partition).or_default().push(part);
    }
    // Figures of a server: they add up to the largest number and not beyond it.
    let add = |sum: u64, files: u64| sum.saturating_add(files);
    let files = |parts: &[&Part]| parts.iter().map(|part| part.files.max(1)).fold(0, add);
    let (same, moved): (Vec<_>, Vec<_>) =
        partitions.iter().partition(|(_, parts)| parts.iter().all(|part| unchanged.contains(&part.name)));
    let weight =
        |partitions: &[(&&PartitionId, &Vec<_>)]| partitions.iter().map(|(_, parts)| files(parts)).fold(0, add);
    if same.is_empty() || weight(&moved) > weight(&same) {
        return Narrowed { ask: freeze.scope.clone(), link: BTreeSet::new() };
    }
    let link = same.iter().flat_map(|(_, parts)| parts.iter().map(|part| part.name.clone())).collect();
    let changed: BTreeSet<PartitionId> = moved.iter().map(|(partition, _)| (**partition).clone()).collect();
    let ask = if changed.is_empty() { Scope::Nothing } else { Scope::Partitions(changed) };
    Narrowed { ask, link }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::narrow;
    use crate::model::{Part, PartName, PartitionId, Table, TableKey, TableName};
    use crate::plan::{Scope, TableFreeze};

    fn freeze(parts: &[(u8, u8, u64)]) -> TableFreeze {
        let part = |(partition, number, files): &(u8, u8, u64)| Part {
            name: PartName::try_from(format!("{partition}_{number}_{number}_0")).expect("a part's name"),
            partition: PartitionId(partition.to_string()),
            path: "x".into(),
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
            parts: parts.iter().map(part).collect(),
            mutations: Vec::new(),
        };
        TableFreeze { table, scope: Scope::Whole }
    }

    proptest! {
        /// Every part is either linked, and unchanged, or asked for; never both; and a partition is never torn.
        #[test]
        fn each_partition_is_frozen_or_linked_as_a_whole(
            parts in proptest::collection::btree_map((0_u8..6, 0_u8..4), (0_u64..50, any::<bool>()), 0..20)
        ) {
            let list: Vec<(u8, u8, u64)> = parts.iter().map(|((p, n), (files, _))| (*p, *n, *files)).collect();
            let freeze = freeze(&list);
            let unchanged: BTreeSet<PartName> = parts.iter().filter(|(_, (_, same))| *same)
                .map(|((p, n), _)| PartName::try_from(format!("{p}_{n}_{n}_0")).expect("a part's name")).collect();
            let narrowed = narrow(&freeze, &unchanged);
            prop_assert!(narrowed.link.iter().all(|name| unchanged.contains(name)));
            let mut linked = BTreeSet::new();
            for part in freeze.parts() {
                let is_linked = narrowed.link.contains(&part.name);
                prop_assert_eq!(is_linked, !narrowed.ask.covers(&part.partition), "{}", part.name);
                if is_linked {
                    linked.insert(part.partition.clone());
                }
            }
            prop_assert!(freeze.parts().all(|part| !linked.contains(&part.partition) || narrowed.link.contains(&part.name)));
        }
    }

    #[test]
    fn most_of_a_table_is_frozen_by_one_statement() {
        let freeze = freeze(&[(1, 0, 10), (2, 0, 30)]);
        let unchanged = |name: &str| BTreeSet::from([PartName::try_from(name.to_owned()).expect("a part's name")]);
        assert_eq!(narrow(&freeze, &unchanged("1_0_0_0")).ask, Scope::Whole);
        let narrowed = narrow(&freeze, &unchanged("2_0_0_0"));
        assert_eq!(narrowed.ask, Scope::Partitions(BTreeSet::from([PartitionId("1".into())])));
        assert_eq!(narrow(&freeze, &BTreeSet::new()).ask, Scope::Whole);
    }
}
