//! Decides about each snapshot: it stays, with every reason for that, or is removed.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, NaiveDateTime, Utc};

use super::candidate::{Candidate, SnapshotHealth};
use super::count::Count;
use super::policy::Policy;
use super::reason::Reason;
use super::rule::Rule;
use super::span::CalendarSpan;

/// The decision about one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionDecision {
    /// Its index in the given list.
    pub index: usize,
    /// Every reason to keep it; without one it is removed.
    pub reasons: Vec<Reason>,
    /// Its series; `None` if unknown.
    pub series: Option<String>,
    /// Whether its whole series is removed: it is not the main one, and nothing was added to it for a long time.
    pub is_of_ended_series: bool,
}

impl RetentionDecision {
    /// Whether it stays.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

struct Judged<'a> {
    index: usize,
    candidate: &'a Candidate,
    /// The local time in the policy's zone.
    local: NaiveDateTime,
    reasons: Vec<Reason>,
    is_of_ended_series: bool,
}

/// Decides about all snapshots, each series separately. Returns a decision for each, the newest first.
///
/// An empty policy removes everything that nothing else keeps: callers that remove snapshots must refuse it first
/// ([`Policy::is_empty`]).
#[must_use]
pub fn decide(candidates: &[Candidate], policy: &Policy, now: DateTime<Utc>) -> Vec<RetentionDecision> {
    let mut all: Vec<Judged<'_>> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| Judged {
            index,
            candidate,
            local: candidate.time.with_timezone(&policy.zone).naive_local(),
            reasons: Vec::new(),
            is_of_ended_series: false,
        })
        .collect();
    all.sort_by(|one, other| other.candidate.cmp(one.candidate));
    // Snapshots that no rule judges fill no period and are no reference.
    let mut present: BTreeMap<&str, Vec<&mut Judged<'_>>> = BTreeMap::new();
    for judged in &mut all {
        let candidate = judged.candidate;
        judged.reasons.extend(candidate.pin.clone().map(Reason::Pinned));
        if let SnapshotHealth::Unreadable(reason) = &candidate.health {
            judged.reasons.push(Reason::Unreadable(reason.clone()));
        } else if candidate.time > now {
            judged.reasons.push(Reason::Future);
        } else {
            present.entry(&candidate.series).or_default().push(judged);
        }
    }
    for series in present.values_mut() {
        decide_series(series, policy, now);
    }
    let fate = |judged: Judged<'_>| {
        let is_unreadable = matches!(judged.candidate.health, SnapshotHealth::Unreadable(_));
        RetentionDecision {
            index: judged.index,
            reasons: judged.reasons,
            series: (!is_unreadable).then(|| judged.candidate.series.clone()),
            is_of_ended_series: judged.is_of_ended_series,
        }
    };
    all.into_iter().map(fate).collect()
}

/// Decides about the snapshots of one series, given with the newest first.
fn decide_series(series: &mut [&mut Judged<'_>], policy: &Policy, now: DateTime<Utc>) {
    for judged in series.iter_mut() {
        let named = policy.keep_name.iter().filter(|glob| glob.matches(judged.candidate));
        judged.reasons.extend(named.map(|glob| Reason::Named(glob.as_str().to_owned())));
    }
    if has_ended(series, policy, now) {
        for judged in series.iter_mut() {
            judged.is_of_ended_series = true;
        }
    } else {
        for (position, reasons) in kept_by_rules(series, policy) {
            if let Some(judged) = series.get_mut(position) {
                judged.reasons.extend(reasons);
            }
        }
        keep_newest(series, policy);
    }
    if !policy.min_age.is_zero() {
        let after = policy.min_age.before(now, policy.zone);
        for judged in series.iter_mut().take_while(|judged| judged.candidate.time > after) {
            judged.reasons.push(Reason::MinAge(policy.min_age));
        }
    }
}

/// Whether a series is removed as a whole: the policy limits how long series other than the main one stay without
/// anything new.
fn has_ended(series: &[&mut Judged<'_>], policy: &Policy, now: DateTime<Utc>) -> bool {
    let within = policy.keep_other_within;
    let is_old = |newest: &&mut Judged<'_>| newest.candidate.time <= within.before(now, policy.zone);
    !within.is_zero() && series.first().is_some_and(|newest| newest.candidate.is_other && is_old(newest))
}

/// The snapshots of a series that the rules keep, by index.
///
/// An incomplete snapshot displaces no complete one: the complete ones are judged without the incomplete ones, which
/// are judged among all.
fn kept_by_rules(series: &[&mut Judged<'_>], policy: &Policy) -> Vec<(usize, Vec<Reason>)> {
    let is_whole = |position: &usize| {
        series.get(*position).is_some_and(|judged| judged.candidate.health != SnapshotHealth::Incomplete)
    };
    let all: Vec<usize> = (0..series.len()).collect();
    let whole: Vec<usize> = all.iter().copied().filter(is_whole).collect();
    let of_all = rules(series, &all, policy);
    if whole.is_empty() || whole.len() == all.len() {
        return of_all;
    }
    let of_others = of_all.into_iter().filter(|(position, _)| !is_whole(position));
    of_others.chain(rules(series, &whole, policy)).collect()
}

/// The snapshots among these that the rules keep, with every reason.
fn rules(series: &[&mut Judged<'_>], positions: &[usize], policy: &Policy) -> Vec<(usize, Vec<Reason>)> {
    let members: Vec<(DateTime<Utc>, NaiveDateTime)> = (positions.iter())
        .filter_map(|position| series.get(*position))
        .map(|judged| (judged.candidate.time, judged.local))
        .collect();
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); members.len()];
    let Some((newest, _)) = members.first().copied() else { return Vec::new() };
    let mut add = |found: Vec<(usize, Reason)>| {
        for (place, reason) in found {
            if let Some(reasons) = reasons.get_mut(place) {
                reasons.push(reason);
            }
        }
    };
    let [all_within, periods_within @ ..] = policy.spans();
    add(kept_within(&members, all_within, newest, policy));
    for (rule, count) in policy.counts() {
        add(kept_counted(&members, rule, count));
    }
    for rule_within in periods_within {
        add(kept_within(&members, rule_within, newest, policy));
    }
    positions.iter().copied().zip(reasons).collect()
}

/// The newest of each period, up to the allowed number; and the oldest of all if the number is not reached.
fn kept_counted(members: &[(DateTime<Utc>, NaiveDateTime)], rule: Rule, of: Count) -> Vec<(usize, Reason)> {
    let last = members.len().saturating_sub(1);
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for (place, (_, local)) in members.iter().enumerate() {
        if !of.allows_more_than(kept.len()) {
            break;
        }
        let is_new = seen.insert(rule.period(place, *local));
        if is_new || place == last {
            let position = kept.len() + 1;
            kept.push((place, Reason::Counted { rule, position, of, is_oldest: !is_new }));
        }
    }
    kept
}

/// The newest of each period that is less than the span before the newest snapshot.
fn kept_within(
    members: &[(DateTime<Utc>, NaiveDateTime)],
    (rule, span): (Rule, CalendarSpan),
    newest: DateTime<Utc>,
    policy: &Policy,
) -> Vec<(usize, Reason)> {
    if span.is_zero() {
        return Vec::new();
    }
    let after = span.before(newest, policy.zone);
    let last = members.len().saturating_sub(1);
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for (place, (_, local)) in members.iter().enumerate().take_while(|(_, (time, _))| *time > after) {
        let is_new = seen.insert(rule.period(place, *local));
        if is_new || place == last {
            kept.push((place, Reason::Within { rule, span, is_oldest: !is_new }));
        }
    }
    kept
}

/// Keeps the newest `min_keep` of a series.
fn keep_newest(series: &mut [&mut Judged<'_>], policy: &Policy) {
    // Good ones first; if there are too few, then the newest damaged ones, then the newest incomplete ones.
    let is_good = |judged: &&mut Judged<'_>| judged.candidate.health == SnapshotHealth::Good;
    let is_incomplete = |judged: &&mut Judged<'_>| judged.candidate.health == SnapshotHealth::Incomplete;
    let (good, others): (Vec<_>, Vec<_>) = series.iter_mut().partition(|judged| is_good(judged));
    let (incomplete, damaged): (Vec<_>, Vec<_>) = others.into_iter().partition(|judged| is_incomplete(judged));
    for (place, judged) in good.into_iter().chain(damaged).chain(incomplete).take(policy.min_keep as usize).enumerate()
    {
        // The newest always stays; that reason is given only if there is no other.
        if policy.min_keep > 1 || judged.reasons.is_empty() {
            judged.reasons.push(Reason::MinKeep { position: place + 1, of: policy.min_keep });
        }
    }
}
