//! How fast a filesystem fills.

use chrono::{DateTime, TimeDelta, Utc};

/// The figures recorded when a snapshot was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub time: DateTime<Utc>,
    /// Allocated bytes of its files that the snapshot before it did not have.
    pub written_bytes: u64,
    /// Bytes in use on the filesystem, by anyone.
    pub used_bytes: Option<u64>,
}

/// Growth over the last weeks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Growth {
    /// The first and the last sample that it is made from.
    pub period: Option<(DateTime<Utc>, DateTime<Utc>)>,
    /// Bytes per day that were new in snapshots.
    pub written_bytes_per_day: Option<f64>,
    /// Growth of the used space per day; negative if it shrank.
    pub used_bytes_per_day: Option<f64>,
    /// Days until the filesystem is full at this rate; `None` if it does not grow.
    pub days_until_full: Option<f64>,
}

/// Older samples are ignored.
const WINDOW: TimeDelta = TimeDelta::days(30);
/// A shorter period is too short for a daily rate.
const LEAST: TimeDelta = TimeDelta::hours(12);
const SECONDS_A_DAY: f64 = 86_400.0;

/// The growth shown by these samples, in any order. Samples from the future are ignored.
#[must_use]
pub fn growth(samples: &[Sample], free_bytes: u64, now: DateTime<Utc>) -> Growth {
    let mut recent: Vec<Sample> = samples.iter().copied().filter(|sample| sample.time <= now).collect();
    recent.sort_unstable_by_key(|sample| sample.time);
    let newest = recent.last().map(|sample| sample.time);
    recent.retain(|sample| newest.is_some_and(|newest| newest - sample.time <= WINDOW));
    let (Some(first), Some(last)) = (recent.first(), recent.last()) else { return Growth::default() };
    if last.time - first.time < LEAST {
        return Growth::default();
    }
    let day_of = |time: DateTime<Utc>| (time - first.time).as_seconds_f64() / SECONDS_A_DAY;
    // The bytes of the first sample were written before the period began.
    let written: f64 = recent.iter().skip(1).map(|sample| to_f64(sample.written_bytes)).sum();
    let used: Vec<(f64, f64)> =
        recent.iter().filter_map(|sample| Some((day_of(sample.time), to_f64(sample.used_bytes?)))).collect();
    let used_bytes_per_day = slope(&used);
    Growth {
        period: Some((first.time, last.time)),
        written_bytes_per_day: Some(written / day_of(last.time)),
        used_bytes_per_day,
        days_until_full: used_bytes_per_day.filter(|slope| *slope >= 1.0).map(|slope| to_f64(free_bytes) / slope),
    }
}

#[expect(clippy::cast_precision_loss, reason = "53 bits are more than an estimate has")]
fn to_f64(bytes: u64) -> f64 {
    bytes as f64
}

/// The slope of the regression line through these points (least squares).
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return None };
    if last.0 - first.0 < LEAST.as_seconds_f64() / SECONDS_A_DAY {
        return None;
    }
    let count = to_f64(points.len() as u64);
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    (spread > 0.0).then(|| both / spread)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::{Sample, growth};

    fn at(day: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_000_000, 0).expect("a time") + TimeDelta::days(day)
    }

    fn sample(day: i64, written_bytes: u64, used_bytes: Option<u64>) -> Sample {
        Sample { time: at(day), written_bytes, used_bytes }
    }

    #[test]
    fn a_steady_growth_is_computed_exactly() {
        let samples: Vec<Sample> =
            (0..10_u32).map(|day| sample(day.into(), 7, Some(100 + 20 * u64::from(day)))).collect();
        let found = growth(&samples, 400, at(10));
        let near = |found: Option<f64>, expected: f64| found.is_some_and(|found| (found - expected).abs() < 1e-6);
        assert!(near(found.written_bytes_per_day, 7.0) && near(found.used_bytes_per_day, 20.0), "{found:?}");
        assert!(near(found.days_until_full, 20.0), "{found:?}");
        assert_eq!(found.period, Some((at(0), at(9))));
        let mut shuffled = samples.clone();
        shuffled.reverse();
        assert_eq!(growth(&shuffled, 400, at(10)), found);
    }

    #[test]
    fn too_few_samples_give_no_growth() {
        assert_eq!(growth(&[], 1, at(0)), super::Growth::default());
        assert_eq!(growth(&[sample(0, 1, Some(1))], 1, at(1)), super::Growth::default());
        let shrinking = [sample(0, 1, Some(100)), sample(2, 1, Some(50))];
        let found = growth(&shrinking, 1, at(3));
        assert!(found.used_bytes_per_day.is_some_and(|slope| slope < 0.0) && found.days_until_full.is_none());
        // Without the journal, from the snapshots themselves.
        let unused = [sample(0, 1, None), sample(1, 9, None)];
        let found = growth(&unused, 1, at(1));
        assert!(found.written_bytes_per_day.is_some() && found.used_bytes_per_day.is_none());
    }

    #[test]
    fn the_future_and_the_distant_past_count_for_nothing() {
        let steady = [sample(100, 1, Some(10)), sample(101, 1, Some(20)), sample(102, 1, Some(30))];
        let mut more = steady.to_vec();
        more.extend([sample(0, 900, Some(0)), sample(500, 900, Some(1 << 40))]);
        assert_eq!(growth(&more, 100, at(102)), growth(&steady, 100, at(102)));
    }
}
