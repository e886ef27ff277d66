//! The retention options, for every command that removes by rules or shows what rules would do.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use chsnap::plan::retention::{CalendarSpan, Count, NameGlob, Policy};

use super::documents::RuleRow;

/// The retention rules, which are applied to each series separately. A snapshot stays if any rule keeps it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Retention rules")]
pub(super) struct PolicyArgs {
    /// The newest N snapshots; N is a number or "unlimited", here and below
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep_last: Option<Count>,
    /// The newest snapshot of each of the last N hours that have one
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep_hourly: Option<Count>,
    /// The same for days
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep_daily: Option<Count>,
    /// The same for weeks, from Monday to Sunday
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep_weekly: Option<Count>,
    /// The same for months
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep_monthly: Option<Count>,
    /// The same for years
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keep_yearly: Option<Count>,
    /// All snapshots within DUR before the newest one; DUR is for example 1y2m3d4h: years, months, days, hours
    #[arg(long, value_name = "DUR")]
    keep_within: Option<CalendarSpan>,
    /// The newest snapshot of each hour within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_hourly: Option<CalendarSpan>,
    /// The newest snapshot of each day within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_daily: Option<CalendarSpan>,
    /// The newest snapshot of each week within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_weekly: Option<CalendarSpan>,
    /// The newest snapshot of each month within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_monthly: Option<CalendarSpan>,
    /// The newest snapshot of each year within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_yearly: Option<CalendarSpan>,
    /// Remove all snapshots of a series, other than the main one, that has had no new snapshot for DUR [default: never]
    #[arg(long, value_name = "DUR")]
    keep_other_within: Option<CalendarSpan>,
    /// Snapshots whose name matches this pattern: 'release-*'; may be given more than once
    #[arg(long, value_name = "GLOB")]
    keep_name: Vec<NameGlob>,
    /// Always keep the newest N of each series [default: 1]
    #[arg(long, value_name = "N")]
    min_keep: Option<u32>,
    /// Always keep snapshots younger than DUR [default: 0]
    #[arg(long, value_name = "DUR")]
    min_age: Option<CalendarSpan>,
    /// Time zone of hours, days, weeks, months and years: Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    zone: Option<Tz>,
}

/// A zone of the IANA database, by its name in upper or lower case.
fn zone(text: &str) -> Result<Tz, String> {
    let found = TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        "no such zone (write a name of the IANA database: Europe/Berlin, America/New_York, UTC)".to_owned()
    })
}

impl PolicyArgs {
    /// The policy `base`, overridden by the options that were given.
    pub(super) fn over(&self, base: Policy) -> Policy {
        let names = if self.keep_name.is_empty() { base.keep_name } else { self.keep_name.clone() };
        Policy {
            keep_last: self.keep_last.unwrap_or(base.keep_last),
            keep_hourly: self.keep_hourly.unwrap_or(base.keep_hourly),
            keep_daily: self.keep_daily.unwrap_or(base.keep_daily),
            keep_weekly: self.keep_weekly.unwrap_or(base.keep_weekly),
            keep_monthly: self.keep_monthly.unwrap_or(base.keep_monthly),
            keep_yearly: self.keep_yearly.unwrap_or(base.keep_yearly),
            keep_within: self.keep_within.unwrap_or(base.keep_within),
            keep_within_hourly: self.keep_within_hourly.unwrap_or(base.keep_within_hourly),
            keep_within_daily: self.keep_within_daily.unwrap_or(base.keep_within_daily),
            keep_within_weekly: self.keep_within_weekly.unwrap_or(base.keep_within_weekly),
            keep_within_monthly: self.keep_within_monthly.unwrap_or(base.keep_within_monthly),
            keep_within_yearly: self.keep_within_yearly.unwrap_or(base.keep_within_yearly),
            keep_other_within: self.keep_other_within.unwrap_or(base.keep_other_within),
            keep_name: names,
            min_keep: self.min_keep.unwrap_or(base.min_keep),
            min_age: self.min_age.unwrap_or(base.min_age),
            zone: self.zone.unwrap_or(base.zone),
        }
    }
}

impl PolicyArgs {
    /// Only the options with these ids.
    fn only(&self, ids: &BTreeSet<String>) -> Self {
        let has = |id: &str| ids.contains(id);
        Self {
            keep_last: self.keep_last.filter(|_| has("keep_last")),
            keep_hourly: self.keep_hourly.filter(|_| has("keep_hourly")),
            keep_daily: self.keep_daily.filter(|_| has("keep_daily")),
            keep_weekly: self.keep_weekly.filter(|_| has("keep_weekly")),
            keep_monthly: self.keep_monthly.filter(|_| has("keep_monthly")),
            keep_yearly: self.keep_yearly.filter(|_| has("keep_yearly")),
            keep_within: self.keep_within.filter(|_| has("keep_within")),
            keep_within_hourly: self.keep_within_hourly.filter(|_| has("keep_within_hourly")),
            keep_within_daily: self.keep_within_daily.filter(|_| has("keep_within_daily")),
            keep_within_weekly: self.keep_within_weekly.filter(|_| has("keep_within_weekly")),
            keep_within_monthly: self.keep_within_monthly.filter(|_| has("keep_within_monthly")),
            keep_within_yearly: self.keep_within_yearly.filter(|_| has("keep_within_yearly")),
            min_age: self.min_age.filter(|_| has("min_age")),
            keep_other_within: self.keep_other_within.filter(|_| has("keep_other_within")),
            min_keep: self.min_keep.filter(|_| has("min_keep")),
            zone: self.zone.filter(|_| has("zone")),
            keep_name: if has("keep_name") { self.keep_name.clone() } else { Vec::new() },
        }
    }

    /// Combines both: of each rule and floor, the one that keeps more. A zone, and how long other series stay, come
    /// from the stronger one.
    fn added_to(&self, weaker: &Self) -> Self {
        Self {
            keep_last: self.keep_last.max(weaker.keep_last),
            keep_hourly: self.keep_hourly.max(weaker.keep_hourly),
            keep_daily: self.keep_daily.max(weaker.keep_daily),
            keep_weekly: self.keep_weekly.max(weaker.keep_weekly),
            keep_monthly: self.keep_monthly.max(weaker.keep_monthly),
            keep_yearly: self.keep_yearly.max(weaker.keep_yearly),
            keep_within: longer(self.keep_within, weaker.keep_within),
            keep_within_hourly: longer(self.keep_within_hourly, weaker.keep_within_hourly),
            keep_within_daily: longer(self.keep_within_daily, weaker.keep_within_daily),
            keep_within_weekly: longer(self.keep_within_weekly, weaker.keep_within_weekly),
            keep_within_monthly: longer(self.keep_within_monthly, weaker.keep_within_monthly),
            keep_within_yearly: longer(self.keep_within_yearly, weaker.keep_within_yearly),
            min_age: longer(self.min_age, weaker.min_age),
            keep_other_within: self.keep_other_within.or(weaker.keep_other_within),
            keep_name: weaker.keep_name.iter().chain(&self.keep_name).cloned().collect(),
            min_keep: self.min_keep.max(weaker.min_keep),
            zone: self.zone.or(weaker.zone),
        }
    }

    /// Whether one of them is a rule, and not a floor or a zone.
    fn has_a_rule(&self) -> bool {
        !self.over(Policy::default()).is_empty()
    }
}

/// The span that goes further back.
fn longer(one: Option<CalendarSpan>, other: Option<CalendarSpan>) -> Option<CalendarSpan> {
    let begin = |span: &CalendarSpan| span.before(DateTime::<Utc>::UNIX_EPOCH, Tz::UTC);
    [one, other].into_iter().flatten().min_by_key(begin)
}

/// The sources of the rules: the command line, and the configuration files.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleSources {
    /// Ids of the options on the command line.
    pub(super) from_line: BTreeSet<String>,
    /// The options in the files alone.
    pub(super) of_files: PolicyArgs,
    /// Each rule and floor that was given in any source.
    pub(super) given: Vec<GivenRule>,
}

/// A rule, floor or zone as it was given.
#[derive(Clone, Debug)]
pub(super) struct GivenRule {
    pub(super) key: String,
    pub(super) values: Vec<String>,
    /// `None` for the command line.
    pub(super) file: Option<String>,
}

impl RuleSources {
    /// The rules of the command line added to those of the files, or, with `only_these`, without them.
    pub(super) fn added(&self, args: &PolicyArgs, only_these: bool) -> RulesInForce {
        let line = args.only(&self.from_line);
        if only_these {
            return self.in_force(&line, |given| given.file.is_none());
        }
        // A step of `run` has no command line; the files' rules are its own.
        let files = if self.from_line.is_empty() { args } else { &self.of_files };
        self.in_force(&line.added_to(files), |_| true)
    }

    /// The rules of the command line, if it has any, else those of the files; floors and the zone of the files apply
    /// unless they are given.
    pub(super) fn replaced(&self, args: &PolicyArgs) -> RulesInForce {
        let line = args.only(&self.from_line);
        if !line.has_a_rule() {
            return self.in_force(args, |given| given.file.is_none() || !self.is_from_line(&given.key));
        }
        let floors: BTreeSet<String> = FLOORS.map(str::to_owned).into();
        let floors = args.only(&floors);
        let policy = PolicyArgs {
            min_keep: floors.min_keep,
            min_age: floors.min_age,
            zone: floors.zone,
            keep_other_within: floors.keep_other_within,
            ..line
        };
        let is_floor = |given: &GivenRule| FLOORS.contains(&given.key.as_str()) && !self.is_from_line(&given.key);
        self.in_force(&policy, |given| given.file.is_none() || is_floor(given))
    }

    fn is_from_line(&self, key: &str) -> bool {
        self.from_line.contains(key)
    }

    fn in_force(&self, args: &PolicyArgs, holds: impl Fn(&GivenRule) -> bool) -> RulesInForce {
        let given = self.given.iter().filter(|given| holds(given)).cloned().collect();
        RulesInForce { policy: args.over(Policy::default()), given }
    }
}

const FLOORS: [&str; 4] = ["keep_other_within", "min_age", "min_keep", "zone"];

/// Whether a key of a configuration file is one of the policy.
pub(super) fn is_of_policy(key: &str) -> bool {
    key.starts_with("keep_") || FLOORS.contains(&key)
}

/// The policy in force, and the sources of its rules.
pub(super) struct RulesInForce {
    pub(super) policy: Policy,
    given: Vec<GivenRule>,
}

impl RulesInForce {
    /// The source of each rule, a line each; the empty string if all come from the command line.
    pub(super) fn text(&self) -> String {
        if self.given.iter().all(|given| given.file.is_none()) {
            return String::new();
        }
        let line = |given: &GivenRule| {
            let origin = given.file.as_deref().unwrap_or(LINE);
            format!("  {} = {}  ({origin})\n", given.key, given.values.join(", "))
        };
        self.given.iter().map(line).collect()
    }

    /// The same as values.
    pub(super) fn rows(&self) -> Vec<RuleRow> {
        let row = |given: &GivenRule| RuleRow {
            key: given.key.clone(),
            values: given.values.clone(),
            origin: given.file.as_deref().unwrap_or(LINE).to_owned(),
        };
        self.given.iter().map(row).collect()
    }
}

const LINE: &str = "command line";
