//! Problems that need a person's attention, derived from everything known about all snapshots.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{SnapshotId, Warning, WarningKind, span};
use crate::repo::{Event, LastCheck, Repository};

use super::error::OpError;
use super::read::SnapshotList;

/// How severe an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It can wait for the morning.
    Warning,
    /// A snapshot would not restore everything that it should.
    Critical,
}

/// A problem that needs a person's attention.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// Its severity.
    pub severity: Severity,
    /// The warning, with its kind.
    pub warning: Warning,
}

/// The largest number of snapshots that one alert names.
const NAMED: usize = 5;
/// A prune refused longer ago than this is no longer reported.
const REFUSED_WITHIN: TimeDelta = TimeDelta::days(8);

/// All alerts, the worst first. Damage and failed drills are critical. An incomplete newest snapshot, drift, snapshots
/// not read for longer than `verified_within`, a refused prune and all other warnings of the listing are warnings.
///
/// # Errors
/// If the journal exists and cannot be read.
pub fn alerts(
    repository: &Repository,
    listing: &SnapshotList,
    verified_within: Option<Duration>,
    now: DateTime<Utc>,
) -> Result<Vec<Alert>, OpError> {
    let mut warnings = listing.warnings.clone();
    let failed = listing.snapshots.iter().map(|(summary, _)| summary.id);
    let failed = failed.filter(|id| listing.drills.get(id).is_some_and(|drill| drill.failed > 0));
    warnings.extend(naming(
        failed,
        WarningKind::DrillFailed,
        "were not restored as they were taken when they were drilled",
    ));
    let mut of_series = listing
        .snapshots
        .iter()
        .map(|(summary, _)| summary)
        .filter(|summary| summary.is_of(&listing.series.chosen) && summary.time <= now);
    if let Some(newest) = of_series.next_back().filter(|newest| newest.incomplete) {
        let message = format!(
            "the newest snapshot {} is incomplete: chsnap show {} says which table it lacks",
            newest.id, newest.id
        );
        warnings.push(Warning::new(WarningKind::SnapshotIncomplete, message));
    }
    warnings.extend(unverified(listing, verified_within, now));
    warnings.extend(refused(&repository.events(), now));
    let mut alerts: Vec<Alert> =
        warnings.into_iter().map(|warning| Alert { severity: severity(warning.kind), warning }).collect();
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.severity));
    Ok(alerts)
}

fn severity(kind: WarningKind) -> Severity {
    match kind {
        WarningKind::DamageFound | WarningKind::DrillFailed => Severity::Critical,
        _ => Severity::Warning,
    }
}

/// One warning that names the snapshots, or `None` if there are none.
fn naming(ids: impl Iterator<Item = SnapshotId>, kind: WarningKind, what: &str) -> Option<Warning> {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    let newest: Vec<&str> = ids.iter().rev().take(NAMED).map(String::as_str).collect();
    let more = ids.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!ids.is_empty()).then(|| Warning::new(kind, format!("{}{more} {what}", newest.join(", "))))
}

/// Snapshots that are old enough to have been read completely, and were not.
fn unverified(listing: &SnapshotList, within: Option<Duration>, now: DateTime<Utc>) -> Option<Warning> {
    let within = TimeDelta::from_std(within?).ok()?;
    let since = now.checked_sub_signed(within)?;
    let is_late =
        |time: DateTime<Utc>, check: &LastCheck| time < since && check.data_time.is_none_or(|read| read < since);
    let late = listing
        .snapshots
        .iter()
        .zip(&listing.checks)
        .filter(|((summary, _), check)| summary.is_complete() && is_late(summary.time, check));
    let what = format!("were not read as a whole within {}", span(within.to_std().ok()?));
    naming(late.map(|((summary, _), _)| summary.id), WarningKind::NotVerified, &what)
}

/// The last refused prune, unless snapshots were removed since.
fn refused(events: &[(DateTime<Utc>, Event)], now: DateTime<Utc>) -> Option<Warning> {
    let last =
        events.iter().rev().find(|(_, event)| matches!(event, Event::PruneRefused { .. } | Event::Removed { .. }));
    let (time, Event::PruneRefused { guards }) = last? else { return None };
    if now.signed_duration_since(*time) > REFUSED_WITHIN {
        return None;
    }
    let time = time.format("%Y-%m-%d %H:%M UTC");
    let message = format!("prune was refused at {time}: {}; chsnap prune --dry-run shows its plan", guards.join("; "));
    Some(Warning::new(WarningKind::PruneRefused, message))
}
