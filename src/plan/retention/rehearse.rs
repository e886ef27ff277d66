//! A policy over a calendar: snapshots are taken one after the other, and each day ends with a removal.

use chrono::{DateTime, Utc};

use super::candidate::Candidate;
use super::decide::{Fate, decide};
use super::policy::Policy;

/// What is left after the last removal, and what went on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// What stays at the end, the newest first, with its reasons. Places are those in the list of times.
    pub kept: Vec<Fate>,
    /// What went, in the order in which it went, and when.
    pub removed: Vec<(usize, DateTime<Utc>)>,
    /// How many stood at once, at most, before a removal.
    pub most: usize,
}

/// Takes a snapshot at each of these times, which ascend, and removes by the policy after the last one of each day of
/// the policy's zone.
#[must_use]
pub fn rehearse(times: &[DateTime<Utc>], policy: &Policy) -> Rehearsal {
    let mut rehearsal = Rehearsal { kept: Vec::new(), removed: Vec::new(), most: 0 };
    // The places of what stands, the oldest first.
    let mut standing: Vec<usize> = Vec::new();
    let day = |time: DateTime<Utc>| time.with_timezone(&policy.zone).date_naive();
    for (place, time) in times.iter().copied().enumerate() {
        standing.push(place);
        rehearsal.most = rehearsal.most.max(standing.len());
        if times.get(place + 1).is_some_and(|next| day(*next) == day(time)) {
            continue;
        }
        let taken = |place: &usize| times.get(*place).map(|time| Candidate { time: *time, ..Candidate::default() });
        let candidates: Vec<Candidate> = standing.iter().filter_map(taken).collect();
        let mut fates = decide(&candidates, policy, time);
        for fate in &mut fates {
            fate.index = standing.get(fate.index).copied().unwrap_or_default();
        }
        let (kept, removed): (Vec<Fate>, Vec<Fate>) = fates.into_iter().partition(Fate::is_kept);
        standing = kept.iter().rev().map(|fate| fate.index).collect();
        rehearsal.removed.extend(removed.iter().rev().map(|fate| (fate.index, time)));
        rehearsal.kept = kept;
    }
    rehearsal
}
