//! Spans of calendar time, in restic's syntax: `1y2m3d3h`.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike as _, LocalResult, NaiveDate, NaiveDateTime, Offset as _, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

/// Years, months, days and hours. All zeros mean no span: a rule with it keeps nothing.
///
/// Source of the syntax: restic's `ParseDuration` in `internal/data/duration.go`. Signs and repeated units, both of
/// which restic accepts, are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct CalendarSpan {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

/// A text is not a span of time.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no span of time: {reason} (write 3d, 1y6m or 2d12h: y years, m months, d days, h hours)")]
pub struct InvalidSpan {
    text: String,
    reason: &'static str,
}

impl CalendarSpan {
    /// Whether it is no span (all zeros).
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// The moment this long before `time` in the calendar of `zone`.
    ///
    /// Years, months and days are subtracted from the local date, and an overflow is carried over: a month before 31
    /// March is "31 February", which is 3 March (2 March in a leap year), as with Go's `AddDate`. Hours are elapsed
    /// hours, subtracted last. An ambiguous local time is the first of the two; a local time that the clock skipped is
    /// computed as if the clock had not been changed yet. Results before the start of the calendar become the first
    /// possible moment.
    #[must_use]
    pub fn before(self, time: DateTime<Utc>, zone: Tz) -> DateTime<Utc> {
        self.checked_before(time, zone).unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    fn checked_before(self, time: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        let local = time.with_timezone(&zone).naive_local();
        let months = i64::from(local.year()) * 12 + i64::from(local.month0())
            - i64::from(self.years) * 12
            - i64::from(self.months);
        let year = i32::try_from(months.div_euclid(12)).ok()?;
        let month = u32::try_from(months.rem_euclid(12)).ok()? + 1;
        let days = TimeDelta::try_days(i64::from(local.day0()) - i64::from(self.days))?;
        let date = NaiveDate::from_ymd_opt(year, month, 1)?.checked_add_signed(days)?;
        let moment = from_local(date.and_time(local.time()), zone)?;
        moment.checked_sub_signed(TimeDelta::try_hours(i64::from(self.hours))?)
    }
}

fn from_local(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(moment) | LocalResult::Ambiguous(moment, _) => Some(moment.to_utc()),
        LocalResult::None => {
            let day_before = local.checked_sub_signed(TimeDelta::days(1))?;
            let offset = zone.offset_from_utc_datetime(&day_before).fix();
            Some(local.checked_sub_offset(offset)?.and_utc())
        }
    }
}

impl FromStr for CalendarSpan {
    type Err = InvalidSpan;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidSpan { text: text.chars().take(100).collect(), reason };
        let mut span = Self::default();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(invalid("it is empty"));
        }
        if rest == "0" {
            return Ok(span);
        }
        let mut named = String::new();
        while let Some(first) = rest.chars().next() {
            if !first.is_ascii_digit() {
                return Err(invalid("a number is missing"));
            }
            let end = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(|| invalid("a unit is missing"))?;
            let (digits, behind) = rest.split_at(end);
            let number: u32 = digits.parse().map_err(|_| invalid("a number is too large"))?;
            let unit = behind.chars().next().unwrap_or_default();
            let field = match unit {
                'y' => &mut span.years,
                'm' => &mut span.months,
                'd' => &mut span.days,
                'h' => &mut span.hours,
                _ => return Err(invalid("it has another unit")),
            };
            if named.contains(unit) {
                return Err(invalid("it has a unit twice"));
            }
            named.push(unit);
            *field = number;
            rest = behind.get(1..).unwrap_or_default();
        }
        Ok(span)
    }
}

impl fmt::Display for CalendarSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')];
        let named: Vec<String> =
            units.iter().filter(|(number, _)| *number > 0).map(|(number, unit)| format!("{number}{unit}")).collect();
        f.pad(if named.is_empty() { "0".to_owned() } else { named.concat() }.as_str())
    }
}

impl TryFrom<String> for CalendarSpan {
    type Error = InvalidSpan;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CalendarSpan> for String {
    fn from(span: CalendarSpan) -> Self {
        span.to_string()
    }
}
