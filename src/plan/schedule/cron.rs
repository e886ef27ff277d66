//! Converts schedules to cron's syntax (`crontab(5)`).

use chrono_tz::Tz;

use super::{Field, Range, Schedule, ScheduleZone};

/// Why a schedule cannot be expressed in cron.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It occurs only once.
    #[error("cron cannot run something once, at a moment")]
    Once,
    /// It does not occur at second 0.
    #[error("cron starts at full minutes only")]
    Seconds,
    /// It is limited to some years.
    #[error("cron knows no years")]
    Years,
    /// It counts days from the end of a month.
    #[error("cron cannot count days from the end of a month")]
    FromEnd,
    /// It limits both days of the month and days of the week.
    #[error("cron takes a day of the month or a day of the week as either of them, not as both")]
    BothDays,
    /// It uses another time zone than the machine.
    #[error("cron goes by the clock of this machine, {here}, and the timer by {wanted}")]
    Zone {
        /// The zone of this machine.
        here: String,
        /// The time zone of the schedule.
        wanted: String,
    },
}

impl Schedule {
    /// The five fields of a crontab line, for a machine whose time zone is `here`.
    ///
    /// # Errors
    /// Why the schedule cannot be expressed in cron.
    pub fn cron(&self, here: &str) -> Result<String, CronError> {
        if self.moment.is_some() {
            return Err(CronError::Once);
        }
        let is_same_zone = match self.zone {
            ScheduleZone::Local => true,
            ScheduleZone::Utc => is_utc(here),
            ScheduleZone::Named(zone) => zone.name() == here || (is_utc(zone.name()) && is_utc(here)),
        };
        if !is_same_zone {
            let wanted = match self.zone {
                ScheduleZone::Named(zone) => zone.name().to_owned(),
                _ => "UTC".to_owned(),
            };
            return Err(CronError::Zone { here: here.to_owned(), wanted });
        }
        if self.seconds.values(0, 59) != [0] {
            return Err(CronError::Seconds);
        }
        if !self.years.is_any() {
            return Err(CronError::Years);
        }
        if self.from_end && !self.days.is_any() {
            return Err(CronError::FromEnd);
        }
        if !self.days.is_any() && !self.weekdays.is_empty() {
            return Err(CronError::BothDays);
        }
        // cron's Sunday is 0 as well as 7.
        let weekdays = Field(
            self.weekdays.iter().map(|day| Range { start: (day + 1) % 7, end: None, step: 0 }).collect::<Vec<_>>(),
        );
        let fields = [
            text(&self.minutes, 0, 59),
            text(&self.hours, 0, 23),
            text(&self.days, 1, 31),
            text(&self.months, 1, 12),
            text(&weekdays, 0, 6),
        ];
        Ok(fields.join(" "))
    }
}

/// Whether a time zone is a name of UTC.
fn is_utc(name: &str) -> bool {
    let bare = name.strip_prefix("Etc/").unwrap_or(name);
    matches!(bare, "UTC" | "UCT" | "Universal" | "Zulu" | "GMT" | "GMT0" | "GMT+0" | "GMT-0" | "Greenwich")
        || name == Tz::UTC.name()
}

/// `*` for all, `*/5` for every fifth, `1-5` for all from 1 to 5, else a list.
fn text(field: &Field, from: u32, to: u32) -> String {
    if field.is_any() {
        return "*".to_owned();
    }
    let values = field.values(from, to);
    if values.len() == usize::try_from(to - from + 1).unwrap_or(0) {
        return "*".to_owned();
    }
    let joined = || values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (Some(first), Some(second), Some(last)) = (values.first(), values.get(1), values.last()) else {
        return joined();
    };
    let step = second - first;
    let is_even = values.windows(2).all(|pair| pair.get(1).zip(pair.first()).is_some_and(|(b, a)| b - a == step));
    match (is_even, step) {
        (true, 1) if values.len() > 2 => format!("{first}-{last}"),
        // Only if the step after the last value leads to the first again.
        (true, step) if from == 0 && *first == 0 && last + step == to + 1 && step > 1 => format!("*/{step}"),
        _ => joined(),
    }
}
