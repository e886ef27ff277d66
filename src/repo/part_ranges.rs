//! Parts of a table as ranges of names.
//!
//! A check that spares most parts has read those that are new since the last one. These are adjacent in the order of
//! their blocks, so a few ranges can name a hundred thousand of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{Blocks, PartName, PartitionId, TableName};

/// Parts of a table, as ranges among all parts that a run covered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRanges {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// The ranges, in their order; none overlaps another.
    pub parts: Vec<PartRange>,
}

/// Consecutive parts in the order of [`PartOrder`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PartRange {
    /// A single part.
    One(PartName),
    /// All parts from the first through the last.
    Through(PartName, PartName),
}

/// The order of parts in ranges: by partition, first block, last block, level and mutation, then by name. Names of any
/// other form come first. This order is part of the format: with another one, old ranges would hold other parts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PartOrder {
    place: Option<(PartitionId, Blocks)>,
    name: PartName,
}

impl PartOrder {
    fn of(name: &PartName) -> Self {
        Self { place: name.partition().zip(name.blocks()), name: name.clone() }
    }
}

impl TableRanges {
    /// Expresses the first list as ranges that contain nothing of the second.
    #[must_use]
    pub fn gather(included: &[(TableName, PartName)], excluded: &[(TableName, PartName)]) -> Vec<Self> {
        let mut tables: BTreeMap<&TableName, Vec<(PartOrder, bool)>> = BTreeMap::new();
        for (parts, is_included) in [(included, true), (excluded, false)] {
            for (table, part) in parts {
                tables.entry(table).or_default().push((PartOrder::of(part), is_included));
            }
        }
        let ranges = tables.into_iter().map(|(table, mut parts)| {
            parts.sort_unstable();
            let runs = parts.chunk_by(|(_, a), (_, b)| a == b);
            let parts = runs.filter_map(|run| match run {
                [(only, true)] => Some(PartRange::One(only.name.clone())),
                [(first, true), .., (last, true)] => Some(PartRange::Through(first.name.clone(), last.name.clone())),
                _ => None,
            });
            Self { database: table.database.clone(), table: table.table.clone(), parts: parts.collect() }
        });
        ranges.filter(|table| !table.parts.is_empty()).collect()
    }
}

/// Ranges in which parts are looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct PartRanges {
    /// The first and the last of each range, in order.
    tables: BTreeMap<TableName, Vec<(PartOrder, PartOrder)>>,
}

impl PartRanges {
    pub(super) fn of(ranges: &[TableRanges]) -> Self {
        let mut tables: BTreeMap<TableName, Vec<(PartOrder, PartOrder)>> = BTreeMap::new();
        for table in ranges {
            let ends = table.parts.iter().map(|range| match range {
                PartRange::One(part) => (PartOrder::of(part), PartOrder::of(part)),
                PartRange::Through(first, last) => (PartOrder::of(first), PartOrder::of(last)),
            });
            tables.entry(TableName::new(&table.database, &table.table)).or_default().extend(ends);
        }
        for ranges in tables.values_mut() {
            ranges.sort_unstable();
        }
        Self { tables }
    }

    pub(super) fn contain(&self, (table, part): &(TableName, PartName)) -> bool {
        let Some(ranges) = self.tables.get(table) else { return false };
        let part = PartOrder::of(part);
        let behind = ranges.partition_point(|(first, _)| *first <= part);
        behind.checked_sub(1).and_then(|place| ranges.get(place)).is_some_and(|(_, last)| part <= *last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_map;
    use proptest::prelude::*;

    use super::{PartOrder, PartRange, PartRanges, TableRanges};
    use crate::model::{PartName, TableName};

    fn part(text: &str) -> PartName {
        PartName::try_from(text.to_owned()).expect("a part's name")
    }

    fn name() -> impl Strategy<Value = String> {
        prop_oneof![
            8 => ("(all|202611|-1|patch-0a-all)", 0_u64..30, 0_u64..4, 0_u64..3, proptest::option::of(1_u64..40))
                .prop_map(|(partition, min, more, level, mutation)| {
                    let mutation = mutation.map(|mutation| format!("_{mutation}")).unwrap_or_default();
                    format!("{partition}_{min}_{}_{level}{mutation}", min + more)
                }),
            1 => "20261[01]0[12]_20261[01]0[12]_[0-9]{1,2}_[0-9]{1,8}_[0-2]",
            1 => "[a-z_0-9]{1,12}",
        ]
    }

    proptest! {
        #[test]
        fn ranges_hold_exactly_the_parts_that_were_read_of_all_that_there_were(
            parts in btree_map((0_u8..3, name()), any::<bool>(), 0..120),
        ) {
            let keys = |is_read: bool| -> Vec<(TableName, PartName)> {
                let mine = parts.iter().filter(|(_, read)| **read == is_read);
                mine.map(|((table, name), _)| (TableName::new("d", format!("t{table}")), part(name))).collect()
            };
            let (read, others) = (keys(true), keys(false));
            let ranges = TableRanges::gather(&read, &others);
            let text = serde_json::to_string(&ranges).expect("JSON");
            let back: Vec<TableRanges> = serde_json::from_str(&text).expect("ranges");
            prop_assert_eq!(&back, &ranges);
            let held = PartRanges::of(&back);
            prop_assert!(read.iter().all(|key| held.contain(key)));
            prop_assert!(!others.iter().any(|key| held.contain(key)));
            // There are never more ranges than parts that were read, nor than other parts plus one for each table.
            let count: usize = ranges.iter().map(|table| table.parts.len()).sum();
            let tables: BTreeSet<&TableName> = read.iter().map(|(table, _)| table).collect();
            prop_assert!(count <= read.len() && count <= others.len() + tables.len());
        }
    }

    #[test]
    fn the_parts_of_a_night_are_one_range_whatever_their_numbers() {
        let table = TableName::new("d", "t");
        let parts = |numbers: std::ops::Range<u32>| -> Vec<(TableName, PartName)> {
            numbers.map(|number| (table.clone(), part(&format!("all_{number}_{number}_0")))).collect()
        };
        let ranges = TableRanges::gather(&parts(95..70_000), &parts(0..95));
        assert_eq!(
            serde_json::to_string(&ranges).expect("JSON"),
            r#"[{"database":"d","table":"t","parts":[["all_95_95_0","all_69999_69999_0"]]}]"#
        );
        let single = TableRanges::gather(&parts(5..6), &parts(0..5));
        let single: Vec<&PartRange> = single.iter().flat_map(|table| &table.parts).collect();
        assert_eq!(single, [&PartRange::One(part("all_5_5_0"))]);
    }

    /// Ranges that were written stay on disk, so this order must never change.
    #[test]
    fn the_order_of_parts_stays_what_it_is() {
        let sorted = [
            "something",
            "-1_3_3_0",
            "20260101_20260131_5_6_1",
            "202601_7_7_0",
            "202611_9_9_0",
            "202611_9_9_0_12",
            "202611_9_9_1",
            "202611_9_10_0",
            "202611_10_10_0",
            "all_1_1_0",
            "patch-0a-all_1_1_0",
        ];
        let mut parts = sorted.map(part);
        parts.reverse();
        parts.sort_by_key(PartOrder::of);
        assert_eq!(parts.map(|part| part.as_str().to_owned()), sorted);
    }
}
