//! Limits how fast bytes may be copied.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The longest idle time that a later copy may make up for.
const SAVED: Duration = Duration::from_millis(250);

/// A token bucket that all copies of a run share.
#[derive(Debug)]
pub struct RateLimit {
    bytes_per_second: u64,
    /// The time at which everything handed out so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl RateLimit {
    /// Allows at most this many bytes per second, and at least one.
    #[must_use]
    pub fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid: Mutex::new(None) }
    }

    /// Waits until `bytes` more may be copied.
    pub fn wait_for(&self, bytes: u64) {
        std::thread::sleep(self.reserve(Instant::now(), bytes));
    }

    /// The most bytes to request at once: a tenth of a second's worth, so that no single wait is long.
    #[must_use]
    pub fn piece_bytes(&self) -> u64 {
        (self.bytes_per_second / 10).max(4096)
    }

    /// How long to wait from `now` until `bytes` more may be copied.
    fn reserve(&self, now: Instant, bytes: u64) -> Duration {
        let cost_nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(cost_nanos).unwrap_or(u64::MAX));
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(SAVED).unwrap_or(now);
        let start = paid.map_or(earliest, |paid| paid.max(earliest));
        let end = start.checked_add(cost).unwrap_or(start);
        *paid = Some(end);
        end.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_any_stretch_no_more_is_handed_out_than_the_rate_and_what_was_saved() {
        let limit = RateLimit::new(1_000_000);
        let begin = Instant::now();
        let mut now = begin;
        let mut taken = 0_u64;
        for step in 0..400_u64 {
            let bytes = (step * 7919) % 50_000;
            // Every seventh caller comes late, as if it had slept elsewhere.
            now += limit.reserve(now, bytes) + Duration::from_millis(if step % 7 == 0 { 30 } else { 0 });
            taken += bytes;
            let most = u64::try_from((now - begin + SAVED).as_micros()).expect("a short time");
            assert!(taken <= most + 1, "{taken} of {most} at step {step}");
        }
    }

    #[test]
    fn a_caller_after_a_long_pause_gets_no_more_than_what_is_saved() {
        let limit = RateLimit::new(1000);
        let begin = Instant::now();
        assert_eq!(limit.reserve(begin, 250), Duration::ZERO);
        assert_eq!(limit.reserve(begin, 1000), Duration::from_secs(1));
        let later = begin + Duration::from_secs(3600);
        assert_eq!(limit.reserve(later, 250), Duration::ZERO);
        assert_eq!(limit.reserve(later, 500), Duration::from_millis(500));
    }

    #[test]
    fn a_rate_of_nothing_is_a_byte_a_second() {
        let limit = RateLimit::new(0);
        let begin = Instant::now();
        assert_eq!(limit.reserve(begin, 2), Duration::from_millis(1750));
        assert!(limit.reserve(begin, u64::MAX).as_secs() >= u64::MAX / 1_000_000_000);
    }
}
