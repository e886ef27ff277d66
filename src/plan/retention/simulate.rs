//! Simulates a policy over a calendar: snapshots are taken one after the other, and each day ends with a removal.

use chrono::{DateTime, Utc};

use super::candidate::Candidate;
use super::decide::{RetentionDecision, decide};
use super::policy::Policy;

/// The snapshots left after the last removal, and those removed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// The snapshots that stay at the end, the newest first, with their reasons. Indices refer to the list of times.
    pub kept: Vec<RetentionDecision>,
    /// The removed snapshots, in the order of their removal, and when.
    pub removed: Vec<(usize, DateTime<Utc>)>,
    /// The largest number of snapshots before any removal.
    pub most: usize,
}

/// Takes a snapshot at each of these ascending times, and removes by the policy after the last snapshot of each day in
/// the policy's time zone.
#[must_use]
pub fn simulate(times: &[DateTime<Utc>], policy: &Policy) -> Simulation {
    let mut simulation = Simulation { kept: Vec::new(), removed: Vec::new(), most: 0 };
    // The indices of the present snapshots, the oldest first.
    let mut existing: Vec<usize> = Vec::new();
    let day = |time: DateTime<Utc>| time.with_timezone(&policy.zone).date_naive();
    for (place, time) in times.iter().copied().enumerate() {
        existing.push(place);
        simulation.most = simulation.most.max(existing.len());
        if times.get(place + 1).is_some_and(|next| day(*next) == day(time)) {
            continue;
        }
        let taken = |place: &usize| times.get(*place).map(|time| Candidate { time: *time, ..Candidate::default() });
        let candidates: Vec<Candidate> = existing.iter().filter_map(taken).collect();
        let mut fates = decide(&candidates, policy, time);
        for fate in &mut fates {
            fate.index = existing.get(fate.index).copied().unwrap_or_default();
        }
        let (kept, removed): (Vec<RetentionDecision>, Vec<RetentionDecision>) =
            fates.into_iter().partition(RetentionDecision::is_kept);
        existing = kept.iter().rev().map(|fate| fate.index).collect();
        simulation.removed.extend(removed.iter().rev().map(|fate| (fate.index, time)));
        simulation.kept = kept;
    }
    simulation
}
