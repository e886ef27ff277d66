//! Schedules of timers: systemd's calendar expressions, parsed according to its grammar (`systemd.time(7)`,
//! `calendarspec.c`).

mod cron;
mod parse;
mod times;

use std::fmt;

use chrono_tz::Tz;

pub use cron::CronError;
pub use parse::InvalidSchedule;

/// Values of one field: a list of ranges and repetitions. Empty for `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Field(Vec<Range>);

/// `start`, `start..end`, `start/step` or `start..end/step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    start: u32,
    end: Option<u32>,
    /// 0 for a single value.
    step: u32,
}

impl Field {
    fn any() -> Self {
        Self(Vec::new())
    }

    fn one(value: u32) -> Self {
        Self(vec![Range { start: value, end: None, step: 0 }])
    }

    fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// The values between two limits, in order.
    fn values(&self, from: u32, to: u32) -> Vec<u32> {
        if self.is_any() {
            return (from..=to).collect();
        }
        let mut values: Vec<u32> = self.0.iter().flat_map(|range| range.values(to)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }
}

impl Range {
    fn values(self, to: u32) -> Vec<u32> {
        match (self.end, self.step) {
            (None, 0) => vec![self.start],
            (end, step) => {
                let step = usize::try_from(step.max(1)).unwrap_or(1);
                (self.start..=end.unwrap_or(to).min(to)).step_by(step).collect()
            }
        }
    }
}

/// The time zone of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleZone {
    /// The local time zone of the machine.
    Local,
    /// Coordinated universal time.
    Utc,
    /// A time zone of the IANA database.
    Named(Tz),
}

/// A calendar expression, with whole seconds: a fraction is parsed and dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From Monday, 0, to Sunday, 6; empty for every day.
    weekdays: Vec<u32>,
    years: Field,
    months: Field,
    days: Field,
    /// Whether days are counted from the end of the month.
    from_end: bool,
    hours: Field,
    minutes: Field,
    seconds: Field,
    zone: ScheduleZone,
    /// A single moment, in seconds since 1970.
    moment: Option<i64>,
    text: String,
}

impl Schedule {
    /// The time zone that it uses.
    #[must_use]
    pub fn zone(&self) -> ScheduleZone {
        self.zone
    }
}

/// The original text.
impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
