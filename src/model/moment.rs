//! The moment of a snapshot whose tables all have their state of one moment.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// When the parts of a snapshot were listed that was made with `--one-moment`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Moment {
    /// Whether no table changed from `from` to `to`: then each of these instants is the moment. Otherwise every table is as
    /// it was at some instant in between.
    pub exact: bool,
    /// The beginning, by the clock of the host that made the snapshot.
    pub from: DateTime<Utc>,
    /// The end.
    pub to: DateTime<Utc>,
}

impl Moment {
    /// Milliseconds from the beginning to the end, rounded up; at least 1.
    #[must_use]
    pub fn span_ms(&self) -> i64 {
        let microseconds = (self.to - self.from).num_microseconds().unwrap_or(i64::MAX);
        (microseconds.saturating_add(999) / 1000).max(1)
    }
}

/// `exact`, or `within 12 ms`.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exact { f.pad("exact") } else { write!(f, "within {} ms", self.span_ms()) }
    }
}

/// Why a table is not of the snapshot's moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OffMoment {
    /// The kind of reason.
    pub kind: OffMomentKind,
    /// The reason as a person reads it.
    pub reason: String,
}

/// The kinds of these reasons. Their names, in `snake_case`, are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OffMomentKind {
    /// A listed part was removed before it was linked.
    PartGone,
    /// Another table has its directory.
    Replaced,
    /// Its definition changed between the list and the freeze.
    DefinitionChanged,
    /// It was renamed after the list.
    Renamed,
    /// Its parts were not in the list: it was attached, detached, renamed or first written to around it.
    NotListed,
    /// Something else was wrong with it in every round.
    Unsettled,
    /// It has no parts: its rows were read after the list.
    Dumped,
    /// A kind of a newer version.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use serde_json::json;

    use super::{Moment, OffMomentKind};

    #[test]
    fn a_span_is_rounded_up_and_never_zero() {
        let from = DateTime::UNIX_EPOCH;
        for (microseconds, text) in
            [(0, "within 1 ms"), (1, "within 1 ms"), (1000, "within 1 ms"), (1001, "within 2 ms")]
        {
            let moment = Moment { exact: false, from, to: from + TimeDelta::microseconds(microseconds) };
            assert_eq!(moment.to_string(), text);
            assert_eq!(Moment { exact: true, ..moment }.to_string(), "exact");
        }
    }

    #[test]
    fn a_kind_of_a_newer_version_can_be_read() {
        assert_eq!(json!(OffMomentKind::PartGone), "part_gone");
        assert_eq!(serde_json::from_value::<OffMomentKind>(json!("newest")).expect("a kind"), OffMomentKind::Unknown);
    }
}
