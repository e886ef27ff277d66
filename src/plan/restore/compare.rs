//! Compares the parts that a server lists with those of a snapshot.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use crate::model::{Fingerprint, PartName, PartitionId, count, thousands};

/// A part in the manifest or on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartState {
    /// Its name.
    pub name: PartName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its fingerprint, if it has one.
    pub fingerprint: Option<Fingerprint>,
    /// Rows, if known.
    pub rows: Option<u64>,
    /// Size on disk.
    pub bytes: u64,
    /// Whether its rows count now.
    pub is_active: bool,
}

impl PartState {
    /// Whether it has no rows: such a part covers deleted blocks, and a server drops it at any time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == Some(0)
    }

    /// Whether its rows are rows of its table now: it is active, and neither empty nor a patch of other parts.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.is_active && !self.is_empty() && !self.name.is_patch()
    }

    /// First block, last block and mutation version, according to its name.
    ///
    /// Source: `MergeTreePartInfo::tryParsePartName`: `<partition>_<min block>_<max block>_<level>[_<mutation>]`; in
    /// the old month syntax two dates replace the partition.
    fn blocks(&self) -> Option<BlockRange> {
        let rest = self.name.as_str().strip_prefix(self.partition.0.as_str()).and_then(|rest| rest.strip_prefix('_'));
        let fields: Vec<&str> = match rest {
            Some(rest) => rest.split('_').collect(),
            None => self.name.as_str().split('_').skip(2).collect(),
        };
        Some(BlockRange {
            first: fields.first()?.parse().ok()?,
            last: fields.get(1)?.parse().ok()?,
            mutation: fields.get(3).and_then(|text| text.parse().ok()).unwrap_or(0),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BlockRange {
    first: i64,
    last: i64,
    mutation: u64,
}

impl BlockRange {
    fn covers(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }
}

/// How a part differs from the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartDifference {
    /// The server lists neither it nor a part that was merged from it.
    Missing,
    /// Its fingerprint differs.
    Fingerprint {
        /// The manifest's.
        expected: Fingerprint,
        /// The server's.
        found: Fingerprint,
    },
    /// Its number of rows differs.
    Rows {
        /// The manifest's.
        expected: u64,
        /// The server's.
        found: u64,
    },
}

/// A part that differs from the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongPart {
    /// Its name.
    pub part: PartName,
    /// How it differs.
    pub difference: PartDifference,
}

impl fmt::Display for WrongPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = &self.part;
        match self.difference {
            PartDifference::Missing => write!(f, "part {part} is missing"),
            PartDifference::Fingerprint { expected, found } => {
                write!(f, "part {part} has the fingerprint {found} and not {expected}")
            }
            PartDifference::Rows { expected, found } => {
                write!(f, "part {part} has {} and not {}", count(found, "row"), thousands(expected))
            }
        }
    }
}

/// The result of comparing listed parts with stored ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartsComparison {
    /// Parts that the server lists, with the rows and the fingerprint of the manifest.
    pub verified: u64,
    /// Parts that a merge or a mutation has replaced already.
    pub merged: u64,
    /// Parts without rows that the server does not list: it drops them when it attaches a table.
    pub empty: u64,
    /// Missing or different parts.
    pub wrong: Vec<WrongPart>,
    /// Active parts with rows that contain none of the stored blocks: something else was written to the table.
    pub foreign: Vec<PartName>,
    /// Whether one of the parts counted as merged carries a mutation that the stored ones do not.
    pub is_mutated: bool,
}

/// The parts of a partition that one table gave to another, under their new names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopiedPartition {
    /// Parts that exist with an equal fingerprint, or with equal rows if the server lists no fingerprints.
    pub verified: u64,
    /// Parts that no longer exist: merged since, judged by the rows.
    pub merged: u64,
    /// Rows: of the original parts if all exist, else of the active ones.
    pub rows: u64,
}

/// Compares the active parts of a partition with the copies, active or not.
#[must_use]
pub fn compare_copies(given: &[PartState], found: &[PartState]) -> CopiedPartition {
    let mut left: Vec<&PartState> = found.iter().collect();
    let is_same = |given: &PartState, found: &PartState| match (given.fingerprint, found.fingerprint) {
        (Some(given), Some(found)) => given == found,
        _ => given.rows == found.rows,
    };
    let mut copied = CopiedPartition::default();
    let sum = |rows: u64, part: &PartState| rows.saturating_add(part.rows.unwrap_or(0));
    for part in given {
        match left.iter().position(|there| is_same(part, there)) {
            Some(at) => {
                left.swap_remove(at);
                copied.verified += 1;
            }
            None => copied.merged += 1,
        }
    }
    copied.rows = if copied.merged == 0 {
        given.iter().fold(0, sum)
    } else {
        // Rows that were inserted since do not count.
        found.iter().filter(|part| part.is_active).fold(0, sum).min(given.iter().fold(0, sum))
    };
    copied
}

/// Rows that were inserted into a partition after the last look at it, and were replaced with it: parts of one block,
/// without a mutation, that are no longer active and were not listed `before`. `given` are the parts that took their
/// place, of which some may have been merged already.
#[must_use]
pub fn replaced_unseen<'a>(before: &[PartState], given: &[PartState], after: &'a [PartState]) -> Vec<&'a PartState> {
    let known: HashSet<&PartName> = before.iter().map(|part| &part.name).collect();
    let mut copies: Vec<&PartState> = given.iter().collect();
    let mut is_copy = |part: &PartState| {
        let at = copies.iter().position(|copy| match (copy.fingerprint, part.fingerprint) {
            (Some(copy), Some(part)) => copy == part,
            _ => copy.rows == part.rows,
        });
        at.map(|at| copies.swap_remove(at)).is_some()
    };
    let is_new = |part: &&PartState| !known.contains(&part.name);
    // Copies that are active are not looked for among the others.
    for part in after.iter().filter(is_new).filter(|part| part.is_active) {
        is_copy(part);
    }
    let is_insert = |part: &&PartState| {
        let has_one_block = part.blocks().is_some_and(|blocks| blocks.first == blocks.last && blocks.mutation == 0);
        has_one_block && !part.is_active && !part.is_empty() && !part.name.is_patch()
    };
    after.iter().filter(is_new).filter(is_insert).filter(|part| !is_copy(part)).collect()
}

impl PartsComparison {
    /// Parts that neither exist nor were merged into another part.
    pub fn missing(&self) -> impl Iterator<Item = &PartName> {
        let is_missing = |wrong: &&WrongPart| wrong.difference == PartDifference::Missing;
        self.wrong.iter().filter(is_missing).map(|wrong| &wrong.part)
    }
}

/// Compares the parts that the server lists with those of the manifest. A server merges and mutates as soon as a table
/// is attached: a part whose blocks are within those of an active one is not lost. A part without rows may exist or
/// not.
#[must_use]
pub fn compare_parts(expected: &[PartState], found: &[PartState]) -> PartsComparison {
    let by_name: HashMap<&PartName, &PartState> = found.iter().map(|part| (&part.name, part)).collect();
    let mut active: BTreeMap<&PartitionId, Vec<(BlockRange, &PartState)>> = BTreeMap::new();
    for part in found.iter().filter(|part| part.is_active) {
        if let Some(range) = part.blocks() {
            active.entry(&part.partition).or_default().push((range, part));
        }
    }
    let mut comparison = PartsComparison::default();
    let mut covering: HashSet<&PartName> = HashSet::new();
    for part in expected {
        let cover = || {
            let stored = part.blocks()?;
            let ranges = active.get(&part.partition)?;
            ranges
                .iter()
                .find(|(range, _)| range.covers(&stored))
                .map(|(range, by)| (range.mutation > stored.mutation, *by))
        };
        match by_name.get(&part.name) {
            Some(there) if there.is_active => {
                covering.insert(&there.name);
                match difference(part, there) {
                    None => comparison.verified += 1,
                    Some(difference) => comparison.wrong.push(WrongPart { part: part.name.clone(), difference }),
                }
            }
            _ if part.is_empty() => comparison.empty += 1,
            // A patch is removed once it is applied.
            _ if part.name.is_patch() => comparison.merged += 1,
            _ => {
                if let Some((is_mutated, by)) = cover() {
                    comparison.merged += 1;
                    comparison.is_mutated |= is_mutated;
                    covering.insert(&by.name);
                } else {
                    let difference = PartDifference::Missing;
                    comparison.wrong.push(WrongPart { part: part.name.clone(), difference });
                }
            }
        }
    }
    let is_foreign = |part: &&PartState| part.is_active && !part.is_empty() && !covering.contains(&part.name);
    comparison.foreign = found.iter().filter(is_foreign).map(|part| part.name.clone()).collect();
    comparison
}

/// The number of rows of stored parts that a table at the same path in Keeper does not have, as far as names, contents and
/// counts show: replicas agree on the names of parts, so that a part which is neither listed nor merged into a listed one is
/// gone, unless a part with its content has another name. Rows that a mutation has removed show in the sum of a partition.
#[must_use]
pub fn lacking_rows(stored: &[PartState], listed: &[PartState]) -> u64 {
    let is_content = |part: &PartState, other: &PartState| {
        other.counts() && part.rows == other.rows && part.fingerprint.is_some() && part.fingerprint == other.fingerprint
    };
    let wrong = compare_parts(stored, listed).wrong;
    let wrong: HashSet<&PartName> = wrong.iter().map(|wrong| &wrong.part).collect();
    // By partition: rows of parts that are gone, stored rows, and the rows that are there.
    let mut partitions: BTreeMap<&PartitionId, (u64, u64, u64)> = BTreeMap::new();
    for part in stored.iter().filter(|part| part.counts()) {
        let (gone, all, _) = partitions.entry(&part.partition).or_default();
        let rows = part.rows.unwrap_or(0);
        *all = all.saturating_add(rows);
        if wrong.contains(&part.name) && !listed.iter().any(|other| is_content(part, other)) {
            *gone = gone.saturating_add(rows);
        }
    }
    for part in listed.iter().filter(|part| part.counts()) {
        if let Some((_, _, there)) = partitions.get_mut(&part.partition) {
            *there = there.saturating_add(part.rows.unwrap_or(0));
        }
    }
    let lacks = partitions.values().map(|(gone, all, there)| (*gone).max(all.saturating_sub(*there)));
    lacks.fold(0, u64::saturating_add)
}

fn difference(expected: &PartState, found: &PartState) -> Option<PartDifference> {
    if let (Some(expected), Some(found)) = (expected.fingerprint, found.fingerprint)
        && expected != found
    {
        return Some(PartDifference::Fingerprint { expected, found });
    }
    match (expected.rows, found.rows) {
        (Some(expected), Some(found)) if expected != found => Some(PartDifference::Rows { expected, found }),
        _ => None,
    }
}

#[cfg(test)]
pub(super) fn sample_part(name: &str, partition: &str, hash: u8, rows: u64) -> PartState {
    PartState {
        name: PartName::try_from(name.to_owned()).expect("a name"),
        partition: PartitionId(partition.into()),
        fingerprint: Some(Fingerprint::from_bytes([hash; 16])),
        rows: Some(rows),
        bytes: 10,
        is_active: true,
    }
}

#[cfg(test)]
mod tests {
    use super::{compare_parts, lacking_rows, sample_part as part};
    use crate::model::PartName;

    #[test]
    fn merged_parts_are_not_lost_and_lost_ones_are_named() {
        let expected = [
            part("202601_1_1_0", "202601", 1, 5),
            part("202601_2_2_0", "202601", 2, 5),
            part("202602_3_3_0", "202602", 3, 5),
            part("20200105_20200105_4_4_0", "202001", 4, 5),
            part("20200105_20200106_5_6_1", "202001", 5, 5),
            part("patch-ab-all_7_7_0", "patch-ab-all", 6, 1),
        ];
        let found = [
            part("202601_1_1_0", "202601", 1, 5),
            part("202601_2_2_0_9", "202601", 9, 4),
            part("20200105_20200106_4_6_2", "202001", 7, 10),
            part("202603_8_8_0", "202603", 8, 1),
        ];
        let comparison = compare_parts(&expected, &found);
        assert_eq!((comparison.verified, comparison.merged, comparison.is_mutated), (1, 4, true));
        let wrong: Vec<String> = comparison.wrong.iter().map(ToString::to_string).collect();
        assert_eq!(wrong, ["part 202602_3_3_0 is missing"]);
        assert_eq!(comparison.foreign.iter().map(PartName::as_str).collect::<Vec<_>>(), ["202603_8_8_0"]);
    }

    #[test]
    fn another_fingerprint_or_other_rows_are_wrong() {
        let expected = [part("all_1_1_0", "all", 1, 5), part("all_2_2_0", "all", 2, 5)];
        let found = [part("all_1_1_0", "all", 3, 5), part("all_2_2_0", "all", 2, 6)];
        let comparison = compare_parts(&expected, &found);
        assert_eq!(comparison.wrong.len(), 2, "{comparison:?}");
        let mut inactive = found.to_vec();
        for part in &mut inactive {
            part.is_active = false;
        }
        assert_eq!(compare_parts(&expected, &inactive).wrong.len(), 2, "a part that nothing covers is gone");
    }

    #[test]
    fn a_part_without_rows_may_be_there_or_not() {
        let expected = [part("all_1_1_0", "all", 1, 5), part("all_2_2_1", "all", 2, 0)];
        let gone = compare_parts(&expected, &[part("all_1_1_0", "all", 1, 5)]);
        assert_eq!((gone.verified, gone.empty, gone.wrong.len(), gone.foreign.len()), (1, 1, 0, 0));
        let there = compare_parts(&expected, &expected);
        assert_eq!((there.verified, there.empty, there.wrong.len(), there.foreign.len()), (2, 0, 0, 0));
        let other = [part("all_1_1_0", "all", 1, 5), part("all_9_9_1", "all", 2, 0)];
        assert!(compare_parts(&expected, &other).foreign.is_empty(), "an empty part holds nothing");
    }

    #[test]
    fn rows_that_the_peers_do_not_have_are_counted_by_parts_and_by_partitions() {
        let stored = [
            part("1_0_0_0", "1", 1, 5),
            part("1_1_1_0", "1", 2, 5),
            part("2_0_0_0", "2", 3, 7),
            part("patch-ab-1_2_2_0", "patch-ab-1", 4, 9),
        ];
        let lacks = |listed: &[crate::plan::PartState]| lacking_rows(&stored, listed);
        assert_eq!(lacks(&stored), 0);
        assert_eq!(lacks(&[]), 17);
        assert_eq!(lacks(&[part("1_0_1_1", "1", 9, 10), part("2_0_0_0", "2", 3, 7)]), 0, "merged");
        assert_eq!(lacks(&[part("1_0_1_1_3", "1", 9, 4), part("2_0_0_0", "2", 3, 7)]), 6, "some were deleted");
        let others = [part("1_0_1_1", "1", 9, 10), part("3_0_0_0", "3", 8, 700)];
        assert_eq!(lacks(&others), 7, "rows of another partition make up for none");
        let others = [part("1_0_1_1", "1", 9, 10), part("2_5_5_0", "2", 8, 700)];
        assert_eq!(lacks(&others), 7, "nor do other rows of the same one");
        let renumbered = [part("1_0_1_1", "1", 9, 10), part("2_5_5_0", "2", 3, 7)];
        assert_eq!(lacks(&renumbered), 0, "the same content under another name");
    }

    #[test]
    fn partitions_with_a_minus_and_blocks_of_eight_digits_are_read() {
        let expected = [
            part("-1_1_1_0", "-1", 1, 5),
            part("-1-2_2_2_0", "-1-2", 2, 5),
            part("20261101_12345678_12345678_0", "20261101", 3, 5),
        ];
        let found = [
            part("-1_1_3_1", "-1", 4, 5),
            part("-1-2_2_2_1", "-1-2", 5, 5),
            part("20261101_12345678_12345679_1", "20261101", 6, 5),
        ];
        let comparison = compare_parts(&expected, &found);
        assert_eq!((comparison.merged, comparison.wrong.len(), comparison.foreign.len()), (3, 0, 0), "{comparison:?}");
    }
}
