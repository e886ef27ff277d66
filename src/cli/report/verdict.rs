//! Whether all is well, in plain words, and what to do if it is not.

use chsnap::model::{SnapshotId, WarningKind};
use chsnap::ops::usage::SnapshotUsage;
use chsnap::ops::{Alert, Severity};

use super::super::documents::report::{FindingKind, ReportFinding, ReportSeverity, ReportVerdict};
use super::super::render;
use super::Facts;

impl ReportSeverity {
    /// The word next to its color.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "Warning",
            Self::Bad => "Act now",
        }
    }

    /// The class of the style sheet.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// A finding is shown if the disk will be full within this number of days.
const SOON_DAYS: f64 = 14.0;
/// Findings that are shown.
const SHOWN: usize = 50;

fn finding(kind: FindingKind, state: ReportSeverity, text: String, next: &str, command: &str) -> ReportFinding {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ReportFinding { kind, state, text, next: some(next), command: some(command) }
}

/// `1 snapshot is …`, `3 snapshots are …`.
fn snapshots_are(count: usize, what: &str) -> String {
    let is = if count == 1 { "is" } else { "are" };
    format!("{} {is} {what}", render::count(count as u64, "snapshot"))
}

pub(super) fn verdict(facts: &Facts, alerts: &[Alert]) -> ReportVerdict {
    let mut findings: Vec<ReportFinding> =
        [age(facts), damage(facts), drills(facts), incomplete(facts), disk(facts), own_freezes(facts), drift(facts)]
            .into_iter()
            .flatten()
            .collect();
    findings.extend(other_freezes(facts));
    findings.extend(others(facts, alerts));
    for command in findings.iter_mut().filter_map(|finding| finding.command.as_mut()) {
        let about_this_repository = |one: &str| match one.strip_prefix("chsnap ") {
            Some(rest) => format!("{} {rest}", facts.commands),
            None => one.to_owned(),
        };
        *command = command.split("; ").map(about_this_repository).collect::<Vec<_>>().join("; ");
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.state));
    findings.truncate(SHOWN);
    let told = newest(facts)
        .map(|newest| format!(" The newest snapshot is {} old.", render::age(newest.summary.time, facts.now)));
    let told = told.unwrap_or_default();
    match findings.first() {
        None => ReportVerdict { state: ReportSeverity::Ok, text: format!("All is well.{told}"), findings },
        Some(first) => {
            let told = if first.kind == FindingKind::NoNewSnapshot { "" } else { told.as_str() };
            ReportVerdict { state: first.state, text: format!("{}.{told}", first.text), findings }
        }
    }
}

/// The newest good snapshot of the series.
fn newest(facts: &Facts) -> Option<&SnapshotUsage> {
    let series = &facts.usage.series.chosen;
    let good = facts.usage.snapshots.iter().filter(|row| {
        let summary = &row.summary;
        summary.is_good() && summary.is_of(series) && summary.time <= facts.now
    });
    good.max_by_key(|row| row.summary.time)
}

fn age(facts: &Facts) -> Option<ReportFinding> {
    let kind = FindingKind::NoNewSnapshot;
    let next = "See whether the nightly job runs and why it fails, then take one:";
    let Some(newest) = newest(facts) else {
        return Some(finding(
            kind,
            ReportSeverity::Bad,
            "There is no good snapshot".to_owned(),
            next,
            "chsnap doctor && chsnap create",
        ));
    };
    let age = (facts.now - newest.summary.time).to_std().unwrap_or_default();
    let old = render::age(newest.summary.time, facts.now);
    if age > facts.crit {
        let text = format!("No new snapshot for {old}: nights were missed");
        Some(finding(kind, ReportSeverity::Bad, text, next, "journalctl -u chsnap -n 50; chsnap doctor; chsnap create"))
    } else if age > facts.warn {
        let text = format!("No new snapshot for {old}: the last night was missed");
        Some(finding(
            kind,
            ReportSeverity::Warning,
            text,
            next,
            "journalctl -u chsnap -n 50; chsnap doctor; chsnap create",
        ))
    } else {
        None
    }
}

fn damage(facts: &Facts) -> Option<ReportFinding> {
    let is_damaged = |row: &&SnapshotUsage| {
        !row.summary.is_complete() || facts.checks.get(&row.summary.id).is_some_and(|check| check.damaged)
    };
    let damaged: Vec<SnapshotId> = facts.usage.snapshots.iter().filter(is_damaged).map(|row| row.summary.id).collect();
    let newest = damaged.last()?;
    let next = "Look at the disk first (dmesg, smartctl). This shows what is damaged, and links intact copies:";
    let command = format!("chsnap verify {newest} --level data; chsnap verify --level data --repair");
    Some(finding(FindingKind::Damage, ReportSeverity::Bad, snapshots_are(damaged.len(), "damaged"), next, &command))
}

fn drills(facts: &Facts) -> Option<ReportFinding> {
    let failed: Vec<&SnapshotId> =
        facts.drills.iter().filter(|(_, drill)| drill.failed > 0).map(|(id, _)| id).collect();
    let newest = failed.last()?;
    let text = format!("Trial restore failed for {}", render::count(failed.len() as u64, "snapshot"));
    let next = "This restores it on trial once more and says which table differs, and how:";
    Some(finding(FindingKind::DrillFailed, ReportSeverity::Bad, text, next, &format!("chsnap drill {newest}")))
}

fn incomplete(facts: &Facts) -> Option<ReportFinding> {
    let series = &facts.usage.series.chosen;
    let last = facts.usage.snapshots.iter().rfind(|row| row.summary.is_of(series) && row.summary.time <= facts.now)?;
    let text = "The newest snapshot lacks a table that it could have had".to_owned();
    let next = "This says which table, and why:";
    let command = format!("chsnap show {}", last.summary.id);
    last.summary.incomplete.then(|| finding(FindingKind::Incomplete, ReportSeverity::Warning, text, next, &command))
}

fn disk(facts: &Facts) -> Option<ReportFinding> {
    let days = facts.usage.growth.days_until_full.filter(|days| *days < SOON_DAYS)?;
    let text = format!("The disk is full in {days:.0} days at this rate");
    let next = "See what takes the space, and what the rules would remove:";
    Some(finding(FindingKind::DiskFilling, ReportSeverity::Warning, text, next, "chsnap usage; chsnap prune --dry-run"))
}

fn own_freezes(facts: &Facts) -> Option<ReportFinding> {
    let bytes = facts.usage.totals.shadow_bytes;
    let text = format!("Freezes that chsnap left behind hold {}", render::bytes(bytes));
    let next = "An interrupted run left them; this releases them:";
    (bytes > 0).then(|| finding(FindingKind::LeftoverFreezes, ReportSeverity::Warning, text, next, "chsnap gc"))
}

fn other_freezes(facts: &Facts) -> Vec<ReportFinding> {
    let told = |shadow: &chsnap::ops::usage::ForeignShadow| {
        let size = render::bytes(shadow.freed_bytes);
        let text = format!("{} holds {size} and is not chsnap's", shadow.path.display());
        let next = "Another tool, or somebody by hand, froze it. Remove that directory if it is not needed.";
        finding(FindingKind::LeftoverFreezes, ReportSeverity::Warning, text, next, "chsnap doctor")
    };
    facts.usage.totals.foreign_shadows.iter().map(told).collect()
}

fn drift(facts: &Facts) -> Option<ReportFinding> {
    let drifted: Vec<&SnapshotId> = facts.checks.iter().filter(|(_, check)| check.drifted).map(|(id, _)| id).collect();
    let newest = drifted.last()?;
    let text = format!("Owners or modes are not as recorded in {}", render::count(drifted.len() as u64, "snapshot"));
    let next = "Change them back if that was not meant; the next snapshot records those of now. This shows which:";
    Some(finding(FindingKind::Drift, ReportSeverity::Warning, text, next, &format!("chsnap verify {newest}")))
}

/// Warnings of monitoring and `usage` for which there is no separate finding.
fn others(facts: &Facts, alerts: &[Alert]) -> Vec<ReportFinding> {
    let mut findings = Vec::new();
    let mut known = Vec::new();
    for Alert { severity, warning, .. } in alerts {
        known.push(warning.message.as_str());
        let (kind, next, command) = match warning.kind {
            // Each of these has a separate finding.
            WarningKind::DamageFound
            | WarningKind::DrillFailed
            | WarningKind::SnapshotIncomplete
            | WarningKind::Drift => continue,
            WarningKind::PruneRefused => (
                FindingKind::PruneRefused,
                "Read the plan; if it is right, this carries it out once:",
                "chsnap prune --dry-run; chsnap prune --yes-really",
            ),
            _ => (FindingKind::Other, "", ""),
        };
        let state = if *severity == Severity::Critical { ReportSeverity::Bad } else { ReportSeverity::Warning };
        findings.push(finding(kind, state, warning.message.clone(), next, command));
    }
    let more = facts.usage.warnings.iter().filter(|warning| !known.contains(&warning.message.as_str()));
    findings
        .extend(more.map(|warning| finding(FindingKind::Other, ReportSeverity::Warning, warning.to_string(), "", "")));
    findings
}
