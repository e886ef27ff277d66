//! A snapshot as the rules see it.

use chrono::{DateTime, Utc};

/// Whether a snapshot can be restored, as far as is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnapshotHealth {
    /// Complete, without known problems.
    #[default]
    Good,
    /// Complete, with damage found by a verification. The rules treat it like any other, but it does not count for
    /// `min_keep` while good ones exist.
    Damaged,
    /// It lacks a table that it could have had. The rules keep it among the others of its series, but it never
    /// displaces a complete one, and it does not count for `min_keep` while good ones exist.
    Incomplete,
    /// Its manifest cannot be read, or is of a newer format, for this reason. The rules do not judge it: it stays, and
    /// counts for nothing.
    Unreadable(String),
}

/// A snapshot that a policy decides about. Ordered by time; equal times are ordered by the other fields, so that the
/// order of the list has no influence.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// When it was taken.
    pub time: DateTime<Utc>,
    /// Orders snapshots with equal times: the higher one was taken later.
    pub sequence: u64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its tags. Snapshots in a repository have none.
    pub tags: Vec<String>,
    /// Why it is pinned, if it is.
    pub pin: Option<String>,
    /// Whether it can be restored.
    pub health: SnapshotHealth,
    /// Its series; each series is judged separately.
    pub series: String,
    /// Whether its series is not the main one.
    pub is_other: bool,
}
