//! The decision: each snapshot stays, with every reason for it, or goes.

use std::collections::HashSet;

use chrono::{DateTime, NaiveDateTime, Utc};

use super::candidate::{Candidate, Standing};
use super::count::Count;
use super::policy::Policy;
use super::reason::Reason;
use super::rule::Rule;
use super::span::Span;

/// What becomes of one snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Its place in the list that was asked about.
    pub index: usize,
    /// Every reason to keep it; without one it goes.
    pub reasons: Vec<Reason>,
}

impl Fate {
    /// Whether it stays.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

struct Judged<'a> {
    index: usize,
    candidate: &'a Candidate,
    /// By the clocks of the policy's zone.
    local: NaiveDateTime,
    reasons: Vec<Reason>,
}

/// Decides on all snapshots. There is a fate for each, the newest first.
///
/// An empty policy removes all that nothing else keeps: whoever removes by it refuses it first ([`Policy::is_empty`]).
#[must_use]
pub fn decide(candidates: &[Candidate], policy: &Policy, now: DateTime<Utc>) -> Vec<Fate> {
    let mut all: Vec<Judged<'_>> = candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| Judged {
            index,
            candidate,
            local: candidate.time.with_timezone(&policy.zone).naive_local(),
            reasons: Vec::new(),
        })
        .collect();
    all.sort_by(|one, other| other.candidate.cmp(one.candidate));
    // What no rule judges fills no period and is no reference.
    let mut present = Vec::with_capacity(all.len());
    for judged in &mut all {
        let candidate = judged.candidate;
        judged.reasons.extend(candidate.pin.clone().map(Reason::Pinned));
        if let Standing::Unreadable(reason) = &candidate.standing {
            judged.reasons.push(Reason::Unreadable(reason.clone()));
        } else if candidate.time > now {
            judged.reasons.push(Reason::Future);
        } else {
            present.push(judged);
        }
    }
    for judged in &mut present {
        let named = policy.keep_name.iter().filter(|glob| glob.matches(judged.candidate));
        judged.reasons.extend(named.map(|glob| Reason::Named(glob.as_str().to_owned())));
    }
    let newest = present.first().map(|judged| judged.candidate.time);
    if let Some(newest) = newest {
        let [all_within, periods_within @ ..] = policy.spans();
        keep_within(&mut present, all_within, newest, policy);
        for (rule, count) in policy.counts() {
            keep_counted(&mut present, rule, count);
        }
        for rule_within in periods_within {
            keep_within(&mut present, rule_within, newest, policy);
        }
    }
    keep_floors(&mut present, policy, now);
    all.into_iter().map(|judged| Fate { index: judged.index, reasons: judged.reasons }).collect()
}

/// The newest of each period, as many as are allowed; and the oldest of all if that leaves any.
fn keep_counted(present: &mut [&mut Judged<'_>], rule: Rule, of: Count) {
    let last = present.len().saturating_sub(1);
    let mut seen = HashSet::new();
    let mut taken = 0;
    for (position, judged) in present.iter_mut().enumerate() {
        if !of.allows_more_than(taken) {
            break;
        }
        let is_new = seen.insert(rule.period(position, judged.local));
        if is_new || position == last {
            taken += 1;
            judged.reasons.push(Reason::Counted { rule, position: taken, of, is_oldest: !is_new });
        }
    }
}

/// The newest of each period that lies less than the span before the newest snapshot.
fn keep_within(present: &mut [&mut Judged<'_>], (rule, span): (Rule, Span), newest: DateTime<Utc>, policy: &Policy) {
    if span.is_zero() {
        return;
    }
    let after = span.before(newest, policy.zone);
    let last = present.len().saturating_sub(1);
    let mut seen = HashSet::new();
    for (position, judged) in present.iter_mut().enumerate().take_while(|(_, judged)| judged.candidate.time > after) {
        let is_new = seen.insert(rule.period(position, judged.local));
        if is_new || position == last {
            judged.reasons.push(Reason::Within { rule, span, is_oldest: !is_new });
        }
    }
}

fn keep_floors(present: &mut [&mut Judged<'_>], policy: &Policy, now: DateTime<Utc>) {
    // Good ones first; where there are not enough of them, the newest of the others.
    let is_good = |judged: &Judged<'_>| judged.candidate.standing == Standing::Good;
    let (good, others): (Vec<_>, Vec<_>) = present.iter_mut().partition(|judged| is_good(judged));
    for (place, judged) in good.into_iter().chain(others).take(policy.min_keep as usize).enumerate() {
        // That the newest one stays goes without saying, unless nothing else says it.
        if policy.min_keep > 1 || judged.reasons.is_empty() {
            judged.reasons.push(Reason::MinKeep { position: place + 1, of: policy.min_keep });
        }
    }
    if policy.min_age.is_zero() {
        return;
    }
    let after = policy.min_age.before(now, policy.zone);
    for judged in present.iter_mut().take_while(|judged| judged.candidate.time > after) {
        judged.reasons.push(Reason::MinAge(policy.min_age));
    }
}
