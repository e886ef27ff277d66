//! The number of periods that a rule keeps.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of periods, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "CountText", into = "CountText")]
pub enum Count {
    /// This many; with 0 the rule keeps nothing.
    Of(u32),
    /// All that exist.
    Unlimited,
}

/// A text is not a number of periods.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no number of snapshots: write a number, or unlimited")]
pub struct InvalidCount {
    text: String,
}

/// The form in a file: a number, or a text.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
enum CountText {
    Number(i64),
    Text(String),
}

impl Count {
    /// Whether the rule keeps nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::Of(0)
    }

    /// Whether the count allows another one after this many.
    #[must_use]
    pub fn allows_more_than(self, taken: usize) -> bool {
        match self {
            Self::Of(count) => taken < count as usize,
            Self::Unlimited => true,
        }
    }
}

impl Default for Count {
    fn default() -> Self {
        Self::Of(0)
    }
}

impl FromStr for Count {
    type Err = InvalidCount;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            // The second is restic's older spelling.
            "unlimited" | "-1" => Some(Self::Unlimited),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().map(Self::Of),
            _ => None,
        }
        .ok_or_else(|| InvalidCount { text: text.chars().take(100).collect() })
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(count) => count.fmt(f),
            Self::Unlimited => f.pad("unlimited"),
        }
    }
}

impl TryFrom<CountText> for Count {
    type Error = InvalidCount;

    fn try_from(written: CountText) -> Result<Self, Self::Error> {
        match written {
            CountText::Number(number) => number.to_string().parse(),
            CountText::Text(text) => text.parse(),
        }
    }
}

impl From<Count> for CountText {
    fn from(count: Count) -> Self {
        match count {
            Count::Of(count) => Self::Number(count.into()),
            Count::Unlimited => Self::Text(count.to_string()),
        }
    }
}
