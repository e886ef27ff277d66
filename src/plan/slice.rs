//! One share of the parts, so that a complete check can be spread over several nights.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::model::{PartName, TableName};

/// `I/N`: the I-th of N shares of all parts.
///
/// A part is always in the same share while it keeps its name and its table's, in every snapshot: a part in many
/// snapshots is read in one night.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Slice {
    index: u32,
    count: u32,
}

/// A text that is not a slice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no slice: write I/N with I from 1 to N, as in 1/30, or next/30")]
pub struct InvalidSlice {
    text: String,
}

/// The largest number of shares: more than anyone needs.
const MOST: u32 = 100_000;

impl Slice {
    /// All shares for this number of shares; empty if the number is invalid.
    pub fn all(count: u32) -> impl Iterator<Item = Self> {
        (1..=if count <= MOST { count } else { 0 }).map(move |index| Self { index, count })
    }

    /// The number of this share, from 1.
    #[must_use]
    pub fn index(self) -> u32 {
        self.index
    }

    /// The number of shares.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// Whether a part is in this share.
    #[must_use]
    pub fn contains(self, table: &TableName, part: &PartName) -> bool {
        let mut hasher = blake3::Hasher::new();
        for text in [&table.database, &table.table, part.as_str()] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let hash = hasher.finalize();
        let head = hash.as_bytes().first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(head) % u64::from(self.count) == u64::from(self.index - 1)
    }
}

/// The choice of a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SliceChoice {
    /// This one.
    At(Slice),
    /// Of this many shares, the one that was checked longest ago.
    Next(u32),
}

impl From<Slice> for SliceChoice {
    fn from(slice: Slice) -> Self {
        Self::At(slice)
    }
}

impl FromStr for SliceChoice {
    type Err = InvalidSlice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("next/") {
            None => text.parse().map(Self::At),
            Some(count) => {
                let first = format!("1/{count}").parse::<Slice>();
                first.map(|first| Self::Next(first.count())).map_err(|_| InvalidSlice { text: text.to_owned() })
            }
        }
    }
}

impl FromStr for Slice {
    type Err = InvalidSlice;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSlice { text: text.to_owned() };
        let number = |text: &str| text.parse::<u32>().ok().filter(|number| number.to_string() == text);
        let (index, count) = text.split_once('/').ok_or_else(invalid)?;
        let (index, count) = (number(index).ok_or_else(invalid)?, number(count).ok_or_else(invalid)?);
        if (1..=count).contains(&index) && count <= MOST { Ok(Self { index, count }) } else { Err(invalid()) }
    }
}

impl fmt::Display for Slice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl TryFrom<String> for Slice {
    type Error = InvalidSlice;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Slice> for String {
    fn from(slice: Slice) -> Self {
        slice.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Slice, SliceChoice};
    use crate::model::{PartName, TableName};

    proptest! {
        #[test]
        fn every_part_is_in_exactly_one_slice(
            database in "\\PC{1,8}", table in "\\PC{1,8}", part in "[a-z0-9_]{1,20}", count in 1_u32..40
        ) {
            let table = TableName::new(database, table);
            let part = PartName::try_from(part).expect("a part's name");
            let slices = (1..=count).map(|index| format!("{index}/{count}").parse::<Slice>().expect("a slice"));
            prop_assert_eq!(slices.filter(|slice| slice.contains(&table, &part)).count(), 1);
        }
    }

    #[test]
    fn slices_are_about_equal_and_stay_what_they_are() {
        let table = TableName::new("shop", "orders");
        let mut counts = [0_u32; 30];
        for number in 0..30_000 {
            let part = PartName::try_from(format!("202611_{number}_{number}_0")).expect("a part's name");
            for (at, count) in counts.iter_mut().enumerate() {
                let slice: Slice = format!("{}/30", at + 1).parse().expect("a slice");
                *count += u32::from(slice.contains(&table, &part));
            }
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
        // A part must be in the same slice for every version of chsnap; otherwise half a month of nights would be lost.
        let part = PartName::try_from("all_1_1_0".to_owned()).expect("a part's name");
        let at =
            (1..=30).find(|index| format!("{index}/30").parse::<Slice>().expect("a slice").contains(&table, &part));
        assert_eq!(at, Some(20));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "1", "0/3", "4/3", "1/0", "1/", "/3", "01/3", "+1/3", "1/3/4", "-1/3", "1/100001", "a/b"] {
            assert!(text.parse::<Slice>().is_err(), "{text}");
        }
        assert_eq!("3/30".parse::<Slice>().expect("a slice").to_string(), "3/30");
        assert_eq!("next/30".parse::<SliceChoice>(), Ok(SliceChoice::Next(30)));
        for text in ["next", "next/0", "next/", "next/1/2", "next/x"] {
            assert!(text.parse::<SliceChoice>().is_err(), "{text}");
        }
    }
}
