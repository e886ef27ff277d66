//! Decisions of an unattended run: its exit code, whether nights were missed, how long to wait for a server.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The exit code of a plan that a guard refused.
pub const GUARD_REFUSED: u8 = 13;

/// Exit codes from the worst to the best. An unknown one counts as a failure.
const SEVERITY: [u8; 11] = [143, 130, 129, 12, 1, 10, 11, 2, 13, 3, 0];

fn rank(code: u8) -> usize {
    let of = |code: u8| SEVERITY.iter().position(|known| *known == code);
    of(code).or_else(|| of(1)).unwrap_or(0)
}

/// The exit code of a run of several steps: that of the worst step, or 0 without steps.
#[must_use]
pub fn worst_code(codes: impl IntoIterator<Item = u8>) -> u8 {
    codes.into_iter().min_by_key(|code| rank(*code)).unwrap_or(0)
}

/// Nights without a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// When the newest snapshot before this run was made.
    pub since: DateTime<Utc>,
    /// The number of runs that should have made one since then, not counting this one.
    pub runs: u64,
}

/// Returns the missed runs, if one is expected every `every`. A run that is late by less than half of that was not
/// missed.
#[must_use]
pub fn missed(newest: Option<DateTime<Utc>>, now: DateTime<Utc>, every: Duration) -> Option<Missed> {
    let since = newest?;
    let every = every.as_secs();
    let passed = u64::try_from((now - since).num_seconds()).ok()?;
    let runs = (passed + every / 2).checked_div(every)?.saturating_sub(1);
    (runs > 0).then_some(Missed { since, runs })
}

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How long to wait before the next attempt: twice as long each time, at most a minute. `None` once `waited` exceeds
/// the `patience`.
#[must_use]
pub fn next_wait(attempt: u32, waited: Duration, patience: Duration) -> Option<Duration> {
    let wait = FIRST_WAIT.saturating_mul(1 << attempt.min(6)).min(LONGEST_WAIT);
    let left = patience.checked_sub(waited).filter(|left| !left.is_zero())?;
    Some(wait.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_step_gives_the_code() {
        assert_eq!(worst_code([]), 0);
        assert_eq!(worst_code([0, 3, 0]), 3);
        assert_eq!(worst_code([3, 13]), 13);
        assert_eq!(worst_code([11, 1]), 1);
        assert_eq!(worst_code([1, 12, 3]), 12);
        assert_eq!(worst_code([12, 130]), 130);
        assert_eq!(worst_code([12, 129]), 129);
        assert_eq!(worst_code([3, 77]), 77, "an unknown code is a failure");
    }

    #[test]
    fn a_late_night_is_none_missed_and_a_holiday_is_counted() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let day = Duration::from_secs(86_400);
        let now = at("2026-11-22T02:00:00Z");
        let runs = |newest: &str| missed(Some(at(newest)), now, day).map(|missed| missed.runs);
        assert_eq!(missed(None, now, day), None, "the first run ever");
        assert_eq!(runs("2026-11-21T02:00:07Z"), None);
        assert_eq!(runs("2026-11-20T15:00:00Z"), None, "35 hours");
        assert_eq!(runs("2026-11-20T02:00:00Z"), Some(1));
        assert_eq!(runs("2026-11-08T02:00:00Z"), Some(13));
        assert_eq!(runs("2031-01-01T00:00:00Z"), None, "a clock that was wrong");
        assert_eq!(missed(Some(at("2026-01-01T00:00:00Z")), now, Duration::ZERO), None, "nothing is expected");
    }

    #[test]
    fn a_server_is_waited_for_longer_and_longer_and_not_for_ever() {
        let patience = Duration::from_secs(100);
        let mut waited = Duration::ZERO;
        let mut waits = Vec::new();
        while let Some(wait) = next_wait(u32::try_from(waits.len()).expect("few"), waited, patience) {
            waited += wait;
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 37]);
        assert_eq!(waited, patience);
        assert_eq!(next_wait(0, Duration::ZERO, Duration::ZERO), None);
    }
}
