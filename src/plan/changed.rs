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
    let (same, moved) = divide(freeze, |name| unchanged.contains(name));
    if same.is_empty() || files_of(&moved) > files_of(&same) {
        return Narrowed { ask: freeze.scope.clone(), link: BTreeSet::new() };
    }
    let ask = if moved.is_empty() { Scope::Nothing } else { Scope::Partitions(ids_of(&moved)) };
    Narrowed { ask, link: names_of(&same) }
}

/// What is to be frozen besides where parts that were to be linked have proved to be others, with all that is frozen and
/// linked then. `None` where each of them `is_same`.
///
/// Where nothing was asked for yet and most has changed, that is the whole table.
pub fn widen(
    freeze: &TableFreeze,
    narrowed: &Narrowed,
    is_same: impl Fn(&PartName) -> bool,
) -> Option<(Narrowed, Scope)> {
    if narrowed.link.iter().all(&is_same) {
        return None;
    }
    let (same, moved) = divide(freeze, |name| narrowed.link.contains(name) && is_same(name));
    let asked = match &narrowed.ask {
        Scope::Nothing if same.is_empty() || files_of(&moved) > files_of(&same) => {
            let whole = freeze.scope.clone();
            return Some((Narrowed { ask: whole.clone(), link: BTreeSet::new() }, whole));
        }
        Scope::Partitions(asked) => asked.clone(),
        Scope::Nothing | Scope::Whole => BTreeSet::new(),
    };
    let ids = ids_of(&moved);
    let more = ids.difference(&asked).cloned().collect();
    let ask = Scope::Partitions(ids.union(&asked).cloned().collect());
    Some((Narrowed { ask, link: names_of(&same) }, Scope::Partitions(more)))
}

type Partitions<'a> = Vec<(&'a PartitionId, Vec<&'a Part>)>;

/// The partitions of which every part is the same, and the others.
fn divide(freeze: &TableFreeze, is_same: impl Fn(&PartName) -> bool) -> (Partitions<'_>, Partitions<'_>) {
    let mut partitions: BTreeMap<&PartitionId, Vec<&Part>> = BTreeMap::new();
    for part in freeze.parts().filter(|part| !part.name.is_patch()) {
        partitions.entry(&part.partition).or_default().push(part);
    }
    partitions.into_iter().partition(|(_, parts)| parts.iter().all(|part| is_same(&part.name)))
}

/// Files of some partitions, as the server tells them: they add up to the largest number and not beyond it.
fn files_of(partitions: &Partitions<'_>) -> u64 {
    let parts = partitions.iter().flat_map(|(_, parts)| parts);
    parts.map(|part| part.files.max(1)).fold(0, u64::saturating_add)
}

fn names_of(partitions: &Partitions<'_>) -> BTreeSet<PartName> {
    partitions.iter().flat_map(|(_, parts)| parts.iter().map(|part| part.name.clone())).collect()
}

fn ids_of(partitions: &Partitions<'_>) -> BTreeSet<PartitionId> {
    partitions.iter().map(|(partition, _)| (*partition).clone()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use proptest::prelude::*;

    use super::{narrow, widen};
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

    proptest! {
        /// After a second look each partition is frozen or linked as a whole, what was frozen is not asked for again, and
        /// nothing is linked that is another part.
        #[test]
        fn what_proves_changed_is_frozen_besides(
            parts in proptest::collection::btree_map((0_u8..6, 0_u8..4), (0_u64..50, any::<bool>(), any::<bool>()), 0..20)
        ) {
            let list: Vec<(u8, u8, u64)> = parts.iter().map(|((p, n), (files, ..))| (*p, *n, *files)).collect();
            let freeze = freeze(&list);
            let name = |p: u8, n: u8| PartName::try_from(format!("{p}_{n}_{n}_0")).expect("a part's name");
            let known: BTreeSet<PartName> =
                parts.iter().filter(|(_, (_, known, _))| *known).map(|((p, n), _)| name(*p, *n)).collect();
            let same: BTreeSet<PartName> =
                parts.iter().filter(|(_, (.., same))| *same).map(|((p, n), _)| name(*p, *n)).collect();
            let first = narrow(&freeze, &known);
            let Some((wider, more)) = widen(&freeze, &first, |name| same.contains(name)) else {
                prop_assert!(first.link.is_subset(&same));
                return Ok(());
            };
            prop_assert!(wider.link.is_subset(&first.link) && wider.link.is_subset(&same));
            for part in freeze.parts() {
                let (once, again) = (first.ask.covers(&part.partition), more.covers(&part.partition));
                prop_assert!(!(once && again), "{} is frozen twice", part.name);
                prop_assert_eq!(once || again, wider.ask.covers(&part.partition));
                prop_assert_eq!(wider.link.contains(&part.name), !wider.ask.covers(&part.partition), "{}", part.name);
            }
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
