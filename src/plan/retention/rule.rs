//! The kinds of rules, and what counts as one period for each.

use std::fmt;

use chrono::{Datelike as _, NaiveDateTime, Timelike as _};
use serde::Serialize;

/// A rule that keeps the newest snapshot of each of its periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// Each snapshot is a period of its own.
    Last,
    /// An hour of a day.
    Hourly,
    /// A day.
    Daily,
    /// A week from Monday to Sunday, in its ISO 8601 year.
    Weekly,
    /// A month of a year.
    Monthly,
    /// A year.
    Yearly,
}

/// Equal for two local times if and only if they are in the same period of a rule.
pub(super) type Period = (i64, u32);

impl Rule {
    /// All rules, the finest first.
    pub const ALL: [Self; 6] = [Self::Last, Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    /// Its name in options, files and reasons.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The period of the `position`-th snapshot, which was taken at `local`.
    pub(super) fn period(self, position: usize, local: NaiveDateTime) -> Period {
        let year = i64::from(local.year());
        let day = i64::from(local.num_days_from_ce());
        match self {
            Self::Last => (i64::try_from(position).unwrap_or(i64::MAX), 0),
            Self::Hourly => (day, local.hour()),
            Self::Daily => (day, 0),
            Self::Weekly => (i64::from(local.iso_week().year()), local.iso_week().week()),
            Self::Monthly => (year, local.month()),
            Self::Yearly => (year, 0),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
