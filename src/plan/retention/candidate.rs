//! A snapshot as the rules see it.

use chrono::{DateTime, Utc};

/// What is known of whether a snapshot can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Complete, and nothing is known against it.
    #[default]
    Good,
    /// Complete, and a verification found damage in it: the rules treat it as any other, but where good ones are left
    /// it is none of those that `min_keep` speaks of.
    Damaged,
    /// It lacks a table that it could have had. The rules keep it among the others of its series, but no complete one goes
    /// because of it, and where good ones are left it is none of those that `min_keep` speaks of.
    Incomplete,
    /// Its manifest cannot be read, or is of a newer format: for this reason. The rules do not judge it, it stays, and
    /// counts for nothing.
    Unreadable(String),
}

/// A snapshot that a policy decides on. Ordered by time; equal times by what else tells two of them apart, so that
/// the order in which they are listed decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    /// When it was taken.
    pub time: DateTime<Utc>,
    /// Which of two of one time was taken later: the higher one.
    pub sequence: u64,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Its tags. Snapshots in a repository have none.
    pub tags: Vec<String>,
    /// Why it is pinned, if it is.
    pub pin: Option<String>,
    /// What is known of it.
    pub standing: Standing,
    /// Its series: each is judged by itself.
    pub series: String,
    /// Whether its series is another one than the main one.
    pub is_other: bool,
}
