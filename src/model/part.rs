//! Parts and partitions.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

/// The name of a part's directory, as the server gives it: one plain path component.
///
/// There can be millions of them: most take no memory besides their own 24 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "CompactString", into = "CompactString")]
#[schemars(with = "String")]
pub struct PartName(CompactString);

/// A part name that is not one plain path component.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a part name: it must be one plain directory name")]
pub struct InvalidPartName {
    text: String,
}

impl PartName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the part holds the patches of lightweight updates, which `FREEZE` leaves out.
    ///
    /// Source: `MergeTreePartInfo::isPatch`: the partition id begins with `patch-`.
    #[must_use]
    pub fn is_patch(&self) -> bool {
        self.0.starts_with("patch-")
    }

    /// The mutation version in the name: the number after the level, if there is one.
    #[must_use]
    pub fn mutation_version(&self) -> u64 {
        self.number(3).unwrap_or(0)
    }

    /// The newest version that the part has: that of its last mutation, or of its first insert if it has none. A
    /// mutation of a higher version is not applied to the part yet.
    ///
    /// Source: `MergeTreePartInfo::getDataVersion`.
    #[must_use]
    pub fn data_version(&self) -> u64 {
        match self.mutation_version() {
            0 => self.number(0).unwrap_or(0),
            version => version,
        }
    }

    /// The blocks that the part contains; `None` if the name does not have the form of a part name.
    #[must_use]
    pub fn blocks(&self) -> Option<Blocks> {
        let (min, max, level) = (self.number(0)?, self.number(1)?, self.number(2)?);
        Some(Blocks { min, max, level, mutation: self.mutation_version() })
    }

    /// The id of the partition with which the name begins; `None` if the name does not have the form of a part name.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionId> {
        self.blocks()?;
        let id = match OldMonthName::parse(&self.0) {
            Some(old) => old.month,
            None => self.0.split('_').next()?,
        };
        Some(PartitionId(id.into()))
    }

    /// The number at a position after the partition in `<partition>_<min block>_<max block>_<level>[_<mutation>]`.
    fn number(&self, place: usize) -> Option<u64> {
        let first = if OldMonthName::parse(&self.0).is_some() { 2 } else { 1 };
        self.0.split('_').nth(first + place)?.parse().ok()
    }
}

/// A name in the syntax `MergeTree(date, key, 8192)`: `<first day>_<last day>_<min block>_<max
/// block>_<level>[_<mutation>]`.
///
/// Source: `MergeTreePartInfo::tryParsePartName`. A name of five numbers in today's syntax can look like it, if the
/// partition is a day and the blocks have eight digits: but then the third number, a block, is larger than the fourth,
/// a level.
struct OldMonthName<'a> {
    /// The partition: a year and a month.
    month: &'a str,
}

impl<'a> OldMonthName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        let mut fields = name.split('_');
        let (first, last) = (fields.next()?, fields.next()?);
        let (min, max): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        fields.next()?;
        let is_day = |text: &str| {
            let number = |range| text.get(range).and_then(|digits: &str| digits.parse::<u32>().ok());
            text.len() == 8
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && number(4..6).is_some_and(|month| (1..=12).contains(&month))
                && number(6..8).is_some_and(|day| (1..=31).contains(&day))
        };
        let month = first.get(..6)?;
        let is_old = is_day(first) && is_day(last) && last.starts_with(month) && min <= max;
        is_old.then_some(Self { month })
    }
}

/// The insert blocks that a part contains, and how they were merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Blocks {
    /// The first block.
    pub min: u64,
    /// The last block.
    pub max: u64,
    /// How often parts were merged to make it.
    pub level: u64,
    /// The last mutation that was applied to it.
    pub mutation: u64,
}

impl Blocks {
    /// Whether these blocks include every block of the other.
    #[must_use]
    pub fn cover(&self, other: &Self) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// Whether a part with these blocks makes another one of its partition obsolete: it is merged or mutated from it.
    ///
    /// Source: `MergeTreePartInfo::contains`.
    #[must_use]
    pub fn supersede(&self, other: &Self) -> bool {
        self.cover(other) && self.level >= other.level && self.mutation >= other.mutation && self != other
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for PartName {
    type Error = InvalidPartName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::try_from(CompactString::from(text))
    }
}

impl TryFrom<CompactString> for PartName {
    type Error = InvalidPartName;

    fn try_from(text: CompactString) -> Result<Self, Self::Error> {
        let plain = !text.is_empty()
            && text.len() <= 255
            && text != "."
            && text != ".."
            && !text.bytes().any(|byte| byte == b'/' || byte == 0);
        if plain { Ok(Self(text)) } else { Err(InvalidPartName { text: text.chars().take(300).collect() }) }
    }
}

impl From<PartName> for String {
    fn from(name: PartName) -> Self {
        name.0.into()
    }
}

impl From<PartName> for CompactString {
    fn from(name: PartName) -> Self {
        name.0
    }
}

/// The id of a partition, as `system.parts.partition_id` gives it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(with = "String")]
pub struct PartitionId(pub CompactString);

impl PartitionId {
    /// For the partition of a patch part, the partition whose rows it changes; otherwise the partition itself.
    ///
    /// Source: `getPartitionIdForPatch` in `PatchPartsUtils.cpp`: `patch-<hash of the columns, 32 hex
    /// digits>-<partition>`.
    #[must_use]
    pub fn of_data(&self) -> Self {
        let patched = self
            .0
            .strip_prefix("patch-")
            .and_then(|rest| rest.split_once('-'))
            .filter(|(hash, _)| !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
        patched.map_or_else(|| self.clone(), |(_, partition)| Self(partition.into()))
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::PartName;

    fn part(text: &str) -> PartName {
        PartName::try_from(text.to_owned()).expect("a valid part name")
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for text in ["", ".", "..", "a/b", "/etc", "a\0b"] {
            assert!(PartName::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        assert!(PartName::try_from("x".repeat(256)).is_err());
    }

    #[test]
    fn the_mutation_version_is_the_fifth_number() {
        assert_eq!(part("202001_1_1_0_3").mutation_version(), 3);
        assert_eq!(part("all_1_7_2").mutation_version(), 0);
        assert_eq!(part("20200105_20200105_1_1_0").mutation_version(), 0);
    }

    #[test]
    fn the_blocks_are_the_numbers_behind_the_partition() {
        let blocks =
            |text: &str| part(text).blocks().map(|blocks| (blocks.min, blocks.max, blocks.level, blocks.mutation));
        assert_eq!(blocks("202001_1_7_2"), Some((1, 7, 2, 0)));
        assert_eq!(blocks("all_3_3_0_9"), Some((3, 3, 0, 9)));
        assert_eq!(blocks("20200101_20200131_5_6_1"), Some((5, 6, 1, 0)));
        assert_eq!(blocks("patch-0a-all_2_2_0"), Some((2, 2, 0, 0)));
        assert_eq!(blocks("something"), None);
        assert!(part("a_1_7_1").blocks().expect("blocks").cover(&part("a_2_7_0").blocks().expect("blocks")));
    }

    #[test]
    fn a_day_as_partition_with_large_block_numbers_is_no_old_name() {
        let read = |text: &str| {
            let part = part(text);
            let blocks = part.blocks().expect("blocks");
            (
                part.partition().expect("a partition").0.to_string(),
                blocks.min,
                blocks.max,
                blocks.level,
                blocks.mutation,
            )
        };
        assert_eq!(read("20261101_12345678_12345678_0_7"), ("20261101".to_owned(), 12_345_678, 12_345_678, 0, 7));
        assert_eq!(read("20261101_20261102_20261103_1_7"), ("20261101".to_owned(), 20_261_102, 20_261_103, 1, 7));
        assert_eq!(read("20261101_12345678_12345678_0"), ("20261101".to_owned(), 12_345_678, 12_345_678, 0, 0));
        assert_eq!(read("20260101_20260131_5_6_1"), ("202601".to_owned(), 5, 6, 1, 0));
        assert_eq!(read("20260101_20260131_5_6_1_9"), ("202601".to_owned(), 5, 6, 1, 9));
        assert_eq!(read("-1_3_3_0"), ("-1".to_owned(), 3, 3, 0, 0));
        assert_eq!(part("something").partition(), None);
    }

    #[test]
    fn a_patch_changes_the_partition_that_its_own_ends_with() {
        let of = |text: &str| super::PartitionId(text.into()).of_data().0.to_string();
        assert_eq!(of("patch-1fd0e8a9f0a1c7a2f3a4b5c6d7e8f901-202601"), "202601");
        assert_eq!(of("patch-1fd0e8a9f0a1c7a2f3a4b5c6d7e8f901--2-1"), "-2-1");
        assert_eq!(of("2-1"), "2-1");
    }

    #[test]
    fn patch_parts_are_known_by_their_partition() {
        assert!(part("patch-1fd0e8a9f0a1c7a2f3a4b5c6d7e8f901-all_2_2_0").is_patch());
        assert!(!part("all_2_2_0").is_patch());
    }
}
