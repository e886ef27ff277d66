//! The name of a snapshot: when it was taken.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDateTime, SubsecRound, Utc};
use serde::{Deserialize, Serialize};

const FORMAT: &str = "%Y-%m-%dT%H%M%SZ";

/// `YYYY-MM-DDTHHMMSSZ`, with `-2`, `-3` … behind it for more than one in a second.
///
/// Ordered by time, then by that serial; the text form sorts the same way up to `-9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct SnapshotId {
    time: DateTime<Utc>,
    serial: u32,
}

/// A text is not a snapshot id.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a snapshot id (YYYY-MM-DDTHHMMSSZ, -2 and so on behind it)")]
pub struct ParseSnapshotIdError {
    text: String,
}

impl SnapshotId {
    /// The first id of the second that `time` lies in.
    #[must_use]
    pub fn at(time: DateTime<Utc>) -> Self {
        Self { time: time.trunc_subsecs(0), serial: 1 }
    }

    /// The next id of the same second.
    #[must_use]
    pub fn next(self) -> Self {
        Self { serial: self.serial + 1, ..self }
    }

    /// The second at which the snapshot was begun.
    #[must_use]
    pub fn time(self) -> DateTime<Utc> {
        self.time
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.time.format(FORMAT).to_string();
        if self.serial > 1 {
            text = format!("{text}-{}", self.serial);
        }
        f.pad(&text)
    }
}

impl FromStr for SnapshotId {
    type Err = ParseSnapshotIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            let (stamp, rest) = text.split_at_checked(18)?;
            let time = NaiveDateTime::parse_from_str(stamp, FORMAT).ok()?.and_utc();
            let serial = match rest.strip_prefix('-') {
                None if rest.is_empty() => 1,
                None => return None,
                Some(digits) => digits.parse().ok().filter(|serial| *serial > 1)?,
            };
            Some(Self { time, serial })
        };
        // Only one spelling is accepted: a text that does not print as it was read is not an id.
        parsed().filter(|id| id.to_string() == text).ok_or_else(|| ParseSnapshotIdError { text: text.to_owned() })
    }
}

impl TryFrom<String> for SnapshotId {
    type Error = ParseSnapshotIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SnapshotId> for String {
    fn from(id: SnapshotId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::SnapshotId;

    #[test]
    fn an_id_reads_back_as_it_was_written() {
        for text in ["2026-11-22T020000Z", "2026-11-22T020000Z-2", "1999-12-31T235959Z-117"] {
            assert_eq!(text.parse::<SnapshotId>().expect("a valid id").to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "latest",
            "2026-11-22",
            "2026-11-22T02:00:00Z",
            "2026-11-22T020000Z-1",
            "2026-11-22T020000Z-02",
            "2026-11-22T020000Z-",
            "2026-13-22T020000Z",
            "../2026-11-22T0200",
            "2026-11-22T020000Z/x",
            "2026-11-22T020000Z.deleting",
            "２026-11-22T020000Z",
        ] {
            assert!(text.parse::<SnapshotId>().is_err(), "{text}");
        }
    }

    #[test]
    fn serials_sort_as_numbers() {
        let first: SnapshotId = "2026-11-22T020000Z-9".parse().expect("a valid id");
        let second = first.next();
        assert_eq!(second.to_string(), "2026-11-22T020000Z-10");
        assert!(second > first);
    }
}
