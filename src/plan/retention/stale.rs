//! Series to which nothing is added any more.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

use super::candidate::{Candidate, SnapshotHealth};
use super::decide::RetentionDecision;

/// How long a series other than the main one may have nothing new before it is reported.
pub const STALE_AFTER: TimeDelta = TimeDelta::days(30);

/// A series other than the main one to which nothing was added for [`STALE_AFTER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleSeries {
    /// Its name.
    pub series: String,
    /// When its newest snapshot was taken.
    pub newest: DateTime<Utc>,
    /// Indices of those of its snapshots that stay and are not pinned, the oldest first.
    pub members: Vec<usize>,
}

/// The stale series with snapshots that stay and are not pinned, by name.
#[must_use]
pub fn stale(candidates: &[Candidate], fates: &[RetentionDecision], now: DateTime<Utc>) -> Vec<StaleSeries> {
    let mut all: BTreeMap<&str, StaleSeries> = BTreeMap::new();
    // The newest come first.
    for fate in fates {
        let Some(candidate) = candidates.get(fate.index) else { continue };
        if !candidate.is_other || matches!(candidate.health, SnapshotHealth::Unreadable(_)) {
            continue;
        }
        let series = all.entry(&candidate.series).or_insert_with(|| StaleSeries {
            series: candidate.series.clone(),
            newest: candidate.time,
            members: Vec::new(),
        });
        if fate.is_kept() && candidate.pin.is_none() {
            series.members.insert(0, fate.index);
        }
    }
    let is_stale = |series: &StaleSeries| !series.members.is_empty() && now - series.newest >= STALE_AFTER;
    all.into_values().filter(is_stale).collect()
}
