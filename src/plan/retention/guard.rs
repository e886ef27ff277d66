//! Guards against plans that look like a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};

use super::decide::RetentionDecision;

/// The limits beyond which a plan is refused unless a person confirms it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuardLimits {
    /// The largest percentage of a series' snapshots that may go at once.
    pub removed_percent: u8,
    /// How far the clock may be ahead of the last recorded time.
    pub clock_step: TimeDelta,
}

crate::model::setters! { GuardLimits {
    with_removed_percent => removed_percent: u8,
    with_clock_step => clock_step: TimeDelta,
} }

impl Default for GuardLimits {
    fn default() -> Self {
        Self { removed_percent: 50, clock_step: TimeDelta::days(90) }
    }
}

/// Why a plan is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The plan removes too large a share.
    Share {
        /// The series; `None` if there is only one.
        series: Option<String>,
        /// The number of removed snapshots.
        removed: usize,
        /// The number of all snapshots.
        of: usize,
        /// The percentage that may go.
        percent: u8,
    },
    /// The clock is behind a time that was recorded already.
    ClockBack {
        /// The later time, which was recorded first.
        from: DateTime<Utc>,
        /// The earlier time, which was recorded after it.
        to: DateTime<Utc>,
    },
    /// The clock has advanced by more than is plausible.
    ClockAhead {
        /// The time before.
        from: DateTime<Utc>,
        /// The time after it.
        to: DateTime<Utc>,
    },
}

impl fmt::Display for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share { series, removed, of, percent } => {
                let series = series.as_ref().map(|series| format!(" of [{series}]")).unwrap_or_default();
                write!(f, "{removed} of {of} snapshots{series} would be removed, more than {percent} %")
            }
            Self::ClockBack { from, to } => write!(f, "the clock went back from {} to {}", text(*from), text(*to)),
            Self::ClockAhead { from, to } => {
                let days = (*to - *from).num_days();
                write!(f, "the clock went ahead from {} to {}, by {days} days", text(*from), text(*to))
            }
        }
    }
}

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// The series of which too large a share is removed. Only a rule removes a whole series, and unreadable
/// snapshots belong to no series.
fn shares(fates: &[RetentionDecision], percent: u8) -> Vec<Guard> {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for fate in fates.iter().filter(|fate| !fate.is_of_ended_series) {
        if let Some(series) = &fate.series {
            let (removed, of) = counts.entry(series).or_default();
            *removed += usize::from(!fate.is_kept());
            *of += 1;
        }
    }
    let is_only = fates.iter().filter_map(|fate| fate.series.as_ref()).collect::<BTreeSet<_>>().len() < 2;
    let too_many = counts.into_iter().filter(|(_, (removed, of))| removed * 100 > of * usize::from(percent));
    let guard = |(series, (removed, of)): (&str, (usize, usize))| {
        let series = (!is_only).then(|| series.to_owned());
        Guard::Share { series, removed, of, percent }
    };
    too_many.map(guard).collect()
}

/// All guards that refuse this decision; none if nothing is removed.
///
/// `recorded` are the times that the repository recorded since a removal was last carried out, that removal's own
/// first, in the order of recording: a person who confirmed a removal has confirmed the clock. A step back of up to a
/// minute is ignored, because clocks are adjusted by as much now and then.
#[must_use]
pub fn guards(
    fates: &[RetentionDecision],
    recorded: &[DateTime<Utc>],
    now: DateTime<Utc>,
    limits: GuardLimits,
) -> Vec<Guard> {
    if fates.iter().all(RetentionDecision::is_kept) {
        return Vec::new();
    }
    let mut found = shares(fates, limits.removed_percent);
    let behind = recorded.iter().copied().skip(1).chain([now]);
    for (from, to) in recorded.iter().copied().zip(behind) {
        if to < from - TimeDelta::minutes(1) {
            found.push(Guard::ClockBack { from, to });
        } else if to - from > limits.clock_step {
            found.push(Guard::ClockAhead { from, to });
        }
    }
    found
}
