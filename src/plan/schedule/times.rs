//! The times of a schedule: how far apart, and how often.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, Days, FixedOffset, NaiveDate, Timelike as _, Utc};

use super::{Schedule, ScheduleZone};

const DAY_SECONDS: i64 = 86_400;
/// The number of days examined: four years, so that a leap day is among them.
const DAYS_EXAMINED: u64 = 4 * 366;
/// The last year that systemd supports.
const LAST_YEAR: i32 = 2199;

impl Schedule {
    /// The longest time between two runs within four years from `from`, by a clock that is never adjusted; `None` with
    /// fewer than two runs.
    #[must_use]
    pub fn longest_gap(&self, from: NaiveDate) -> Option<Duration> {
        if self.moment.is_some() {
            return None;
        }
        let times = self.times_of_day();
        let (first, last) = (*times.first()?, *times.last()?);
        let within = times.windows(2).filter_map(|pair| Some(pair.get(1)? - pair.first()?)).max().unwrap_or(0);
        let days = (0..DAYS_EXAMINED).filter_map(|day| from.checked_add_days(Days::new(day)));
        let days: Vec<i64> =
            days.filter(|day| self.is_on(*day)).map(|day| (day - from).num_days() * DAY_SECONDS).collect();
        let between =
            days.windows(2).filter_map(|pair| Some(pair.get(1)? - pair.first()? + first - last)).max().unwrap_or(0);
        let gap = within.max(between);
        u64::try_from(gap).ok().filter(|gap| *gap > 0 && !days.is_empty()).map(Duration::from_secs)
    }

    /// Whether it ever occurs after `now`, on a machine with the UTC offset `here`.
    #[must_use]
    pub fn comes_after(&self, now: DateTime<Utc>, here: FixedOffset) -> bool {
        if let Some(moment) = self.moment {
            return moment > now.timestamp();
        }
        let clock = match self.zone {
            ScheduleZone::Local => now.with_timezone(&here).naive_local(),
            ScheduleZone::Utc => now.naive_utc(),
            ScheduleZone::Named(zone) => now.with_timezone(&zone).naive_local(),
        };
        let (today, second) = (clock.date(), i64::from(clock.num_seconds_from_midnight()));
        let is_today = self.is_on(today) && self.times_of_day().last().is_some_and(|last| *last > second);
        is_today || today.iter_days().skip(1).take_while(|day| day.year() <= LAST_YEAR).any(|day| self.is_on(day))
    }

    /// Whether it occurs on a day.
    fn is_on(&self, day: NaiveDate) -> bool {
        let has = |field: &super::Field, value: u32, from: u32, to: u32| {
            field.is_any() || field.values(from, to).binary_search(&value).is_ok()
        };
        let year = u32::try_from(day.year()).unwrap_or(0);
        let last = u32::from(day.num_days_in_month());
        let of_month = if self.from_end { last + 1 - day.day() } else { day.day() };
        (self.weekdays.is_empty() || self.weekdays.contains(&day.weekday().num_days_from_monday()))
            && has(&self.years, year, 1970, 2199)
            && has(&self.months, day.month(), 1, 12)
            && has(&self.days, of_month, 1, 31)
    }

    /// The seconds of the day at which it occurs, in order.
    fn times_of_day(&self) -> Vec<i64> {
        let (minutes, seconds) = (self.minutes.values(0, 59), self.seconds.values(0, 59));
        let mut times = Vec::new();
        for hour in self.hours.values(0, 23) {
            for minute in &minutes {
                times.extend(seconds.iter().map(|second| i64::from(hour * 3600 + minute * 60 + second)));
            }
        }
        times
    }
}
