//! The options that say what is kept, for every command that removes by rules or shows what they would do.

use chrono_tz::{TZ_VARIANTS, Tz};
use chsnap::plan::retention::{Count, NameGlob, Policy, Span};

use super::failure::Failure;

/// What stays. Rules add up: a snapshot stays if any of them keeps it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "What stays")]
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
    /// All that are no older than DUR, counted back from the newest; DUR is 1y2m3d4h: years, months, days, hours
    #[arg(long, value_name = "DUR")]
    keep_within: Option<Span>,
    /// The newest snapshot of each hour within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_hourly: Option<Span>,
    /// The newest snapshot of each day within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_daily: Option<Span>,
    /// The newest snapshot of each week within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_weekly: Option<Span>,
    /// The newest snapshot of each month within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_monthly: Option<Span>,
    /// The newest snapshot of each year within DUR
    #[arg(long, value_name = "DUR")]
    keep_within_yearly: Option<Span>,
    /// Snapshots whose name is as this pattern says: 'release-*'; may be given more than once
    #[arg(long, value_name = "GLOB")]
    keep_name: Vec<NameGlob>,
    /// The newest N stay whatever the rules say [default: 1]
    #[arg(long, value_name = "N")]
    min_keep: Option<u32>,
    /// What is younger than DUR stays whatever the rules say [default: 0]
    #[arg(long, value_name = "DUR")]
    min_age: Option<Span>,
    /// Whose calendar has the hours, days, weeks, months and years: Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    zone: Option<Tz>,
}

/// A zone of the IANA database, by its name in any case.
fn zone(text: &str) -> Result<Tz, String> {
    let found = TZ_VARIANTS.iter().copied().find(|zone| zone.name().eq_ignore_ascii_case(text));
    found.ok_or_else(|| {
        "no such zone (write a name of the IANA database: Europe/Berlin, America/New_York, UTC)".to_owned()
    })
}

impl PolicyArgs {
    /// The policy `base`, with what was given on the command line in its place.
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
            keep_name: names,
            min_keep: self.min_keep.unwrap_or(base.min_keep),
            min_age: self.min_age.unwrap_or(base.min_age),
            zone: self.zone.unwrap_or(base.zone),
        }
    }
}

/// The policy, unless it has no rule: what nobody asked to keep must not go for that.
pub(super) fn with_a_rule(policy: Policy) -> Result<Policy, Failure> {
    if policy.is_empty() {
        return Err(Failure::usage("no rule says what to keep").with_hint(
            "give one at least, for example --keep-daily 7 --keep-weekly 4 --keep-monthly 12; --min-keep and --min-age \
             are floors below the rules, and no rules themselves",
        ));
    }
    Ok(policy)
}
