//! Whether what a server lists of a restored table is what the snapshot has of it.

use std::collections::HashMap;

use crate::model::{Fingerprint, PartName, PartitionId};

/// A part, as the manifest or as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComparedPart {
    /// Its name.
    pub name: PartName,
    /// Its partition.
    pub partition: PartitionId,
    /// Its fingerprint, where there is one.
    pub fingerprint: Option<Fingerprint>,
    /// Rows, where they are known.
    pub rows: Option<u64>,
    /// Whether its rows count now.
    pub is_active: bool,
}

/// What a comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Parts that the server lists, with the rows and the fingerprint of the manifest.
    pub verified: u64,
    /// Parts that a merge or a mutation has replaced already.
    pub merged: u64,
    /// What is missing or another one.
    pub wrong: Vec<String>,
}

/// First and last block of a part, by its name.
///
/// Source: `MergeTreePartInfo::tryParsePartName`: `<partition>_<min block>_<max block>_<level>[_<mutation>]`; in the old
/// month syntax two dates stand in the place of the partition.
fn blocks(name: &PartName, partition: &PartitionId) -> Option<(i64, i64)> {
    let rest = name.as_str().strip_prefix(partition.0.as_str()).and_then(|rest| rest.strip_prefix('_'));
    let fields: Vec<&str> = match rest {
        Some(rest) => rest.split('_').collect(),
        None => name.as_str().split('_').skip(2).collect(),
    };
    Some((fields.first()?.parse().ok()?, fields.get(1)?.parse().ok()?))
}

/// Holds the parts that the server lists against those of the manifest. A server merges and mutates as soon as a table is
/// attached: a part whose blocks are within those of an active one has not been lost.
#[must_use]
pub fn compare_parts(expected: &[ComparedPart], found: &[ComparedPart]) -> Comparison {
    let by_name: HashMap<&PartName, &ComparedPart> = found.iter().map(|part| (&part.name, part)).collect();
    let mut active: HashMap<&PartitionId, Vec<(i64, i64)>> = HashMap::new();
    for part in found.iter().filter(|part| part.is_active) {
        if let Some(range) = blocks(&part.name, &part.partition) {
            active.entry(&part.partition).or_default().push(range);
        }
    }
    let mut comparison = Comparison::default();
    for part in expected {
        let is_covered = || {
            let (first, last) = blocks(&part.name, &part.partition)?;
            let ranges = active.get(&part.partition)?;
            ranges.iter().any(|(min, max)| *min <= first && last <= *max).then_some(())
        };
        match by_name.get(&part.name) {
            Some(there) if there.is_active => match difference(part, there) {
                None => comparison.verified += 1,
                Some(what) => comparison.wrong.push(format!("part {} {what}", part.name)),
            },
            // A patch goes once it is applied.
            _ if part.name.is_patch() || is_covered().is_some() => comparison.merged += 1,
            _ => comparison.wrong.push(format!("part {} is missing", part.name)),
        }
    }
    comparison
}

fn difference(expected: &ComparedPart, found: &ComparedPart) -> Option<String> {
    if let (Some(expected), Some(found)) = (expected.fingerprint, found.fingerprint)
        && expected != found
    {
        return Some(format!("has the fingerprint {found} and not {expected}"));
    }
    match (expected.rows, found.rows) {
        (Some(expected), Some(found)) if expected != found => Some(format!("has {found} rows and not {expected}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{ComparedPart, compare_parts};
    use crate::model::{Fingerprint, PartName, PartitionId};

    fn part(name: &str, partition: &str, hash: u8, rows: u64) -> ComparedPart {
        ComparedPart {
            name: PartName::try_from(name.to_owned()).expect("a name"),
            partition: PartitionId(partition.into()),
            fingerprint: Some(Fingerprint::from_bytes([hash; 16])),
            rows: Some(rows),
            is_active: true,
        }
    }

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
        ];
        let comparison = compare_parts(&expected, &found);
        assert_eq!((comparison.verified, comparison.merged), (1, 4));
        assert_eq!(comparison.wrong, ["part 202602_3_3_0 is missing"]);
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
        assert_eq!(compare_parts(&expected, &inactive).wrong.len(), 2, "what nothing covers is gone");
    }
}
