//! Figures for Prometheus, in a file that its node exporter reads. docs/monitoring/ describes each of them.

mod format;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Utc};
use chsnap::fs;
use chsnap::model::WarningKind;
use chsnap::ops::usage::UsageRequest;
use chsnap::ops::{self, SnapshotList};
use chsnap::repo::{Event, Manifest, Repository, SnapshotState, Summary};

use super::globals::Globals;
use super::{WARNED, opening};
use format::{Page, figures};

/// How a run ended.
#[derive(Debug)]
pub(super) struct RunOutcome {
    pub(super) profile: Option<String>,
    pub(super) started: DateTime<Utc>,
    pub(super) finished: DateTime<Utc>,
    pub(super) code: u8,
    pub(super) warnings: u64,
    pub(super) missed: u64,
    /// Seconds of each step.
    pub(super) steps: BTreeMap<String, f64>,
    /// The steps that were started or due, and whether each failed.
    pub(super) failed: BTreeMap<String, bool>,
    /// Seconds of each stage of `create`.
    pub(super) stages: BTreeMap<String, f64>,
}

/// Figures of the last run; a page that is written outside a run keeps them unchanged.
const OF_THE_RUN: [(&str, &str, &str); 8] = [
    ("chsnap_run_last_start_timestamp_seconds", "", "When the last run began."),
    ("chsnap_run_last_end_timestamp_seconds", "", "When the last run ended."),
    ("chsnap_run_exit_code", "", "Exit code of the last run: 0 done, 3 done with warnings, 11 locked, others failed."),
    ("chsnap_run_warnings", "", "Warnings of the last run."),
    ("chsnap_run_missed", "", "Runs that were missed before the last one."),
    ("chsnap_run_step_duration_seconds", "step", "How long each step of the last run took."),
    ("chsnap_run_step_failed", "step", "Whether a step of the last run failed: create, prune, a copy …"),
    (
        "chsnap_create_stage_duration_seconds",
        "stage",
        "How long each stage of the last create that was done took; stages overlap.",
    ),
];
const LAST_SUCCESS: &str = "chsnap_run_last_success_timestamp_seconds";

/// Larger than any page of ours.
const LIMIT_BYTES: u64 = 1 << 20;

/// Writes the page, completely or not at all.
///
/// # Errors
/// Why it is not written. Figures that cannot be read from the repository are left out, and `chsnap_up` is 0.
pub(super) fn write(
    path: &Path,
    globals: &Globals,
    outcome: Option<&RunOutcome>,
    now: DateTime<Utc>,
) -> Result<(), String> {
    let text = |error: fs::FsError| chsnap::monitor::chain(&error);
    let name = path.file_name().and_then(|name| name.to_str()).ok_or("it has no file name")?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = fs::Dir::open(parent, fs::real()).map_err(text)?;
    let before = directory.find_and_read(name, LIMIT_BYTES).ok().flatten().unwrap_or_default();
    let profile = outcome.map_or(globals.profile.as_deref(), |outcome| outcome.profile.as_deref());
    let page = page(globals, profile, outcome, &String::from_utf8_lossy(&before), now);
    // Readable for any user, because the exporter may run as any: it contains no secrets.
    directory.publish(name, 0o644, page.as_bytes()).map_err(text)
}

fn seconds(time: DateTime<Utc>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a time of this age is exact")]
    let seconds = time.timestamp() as f64;
    seconds
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
fn number(number: impl TryInto<u64>) -> f64 {
    number.try_into().unwrap_or(u64::MAX) as f64
}

fn page(
    globals: &Globals,
    profile: Option<&str>,
    outcome: Option<&RunOutcome>,
    before: &str,
    now: DateTime<Utc>,
) -> String {
    let mut page = Page::new("profile", profile.unwrap_or("default"));
    page.gauges(
        "chsnap_build_info",
        "The version of chsnap.",
        "version",
        [(env!("CARGO_PKG_VERSION").to_owned(), 1.0)],
    );
    run(&mut page, outcome, before);
    let repository = opening::open(globals).ok();
    let listing = repository.as_ref().and_then(|repository| ops::list(repository).ok());
    page.gauge("chsnap_up", "Whether the repository could be read.", f64::from(u8::from(listing.is_some())));
    if let (Some(repository), Some(listing)) = (&repository, &listing) {
        snapshots(&mut page, repository, listing);
        space(&mut page, repository);
        checks(&mut page, repository, listing);
        refused(&mut page, repository, listing, now);
        usage(&mut page, repository, globals, now);
    }
    page.text().to_owned()
}

fn run(page: &mut Page, outcome: Option<&RunOutcome>, before: &str) {
    for (name, by, help) in OF_THE_RUN {
        let new: Vec<(String, f64)> = outcome.map(|outcome| of_run(outcome, name)).unwrap_or_default();
        let figures = if new.is_empty() { kept(before, name, by) } else { new };
        page.gauges(name, help, by, figures);
    }
    let success = outcome.filter(|outcome| matches!(outcome.code, 0 | WARNED)).map(|outcome| seconds(outcome.finished));
    let success = success.map_or_else(|| kept(before, LAST_SUCCESS, ""), |time| vec![(String::new(), time)]);
    page.gauges(
        LAST_SUCCESS,
        "When the last run ended that did all that it should, with warnings or without.",
        "",
        success,
    );
}

fn of_run(outcome: &RunOutcome, name: &str) -> Vec<(String, f64)> {
    let one = |value: f64| vec![(String::new(), value)];
    let all = |figures: &BTreeMap<String, f64>| figures.clone().into_iter().collect();
    match name {
        "chsnap_run_last_start_timestamp_seconds" => one(seconds(outcome.started)),
        "chsnap_run_last_end_timestamp_seconds" => one(seconds(outcome.finished)),
        "chsnap_run_exit_code" => one(f64::from(outcome.code)),
        "chsnap_run_warnings" => one(number(outcome.warnings)),
        "chsnap_run_missed" => one(number(outcome.missed)),
        "chsnap_run_step_duration_seconds" => all(&outcome.steps),
        "chsnap_run_step_failed" => {
            outcome.failed.iter().map(|(step, failed)| (step.clone(), f64::from(u8::from(*failed)))).collect()
        }
        "chsnap_create_stage_duration_seconds" => all(&outcome.stages),
        _ => Vec::new(),
    }
}

/// The figures of the previous page, by the value of their label.
fn kept(before: &str, name: &str, by: &str) -> Vec<(String, f64)> {
    let label = |labels: &str| {
        let value = labels.rsplit_once(&format!(",{by}=\""))?.1.strip_suffix('"')?;
        Some(value.to_owned())
    };
    figures(before, name)
        .filter_map(|(labels, value)| Some((if by.is_empty() { String::new() } else { label(labels)? }, value)))
        .collect()
}

fn snapshots(page: &mut Page, repository: &Repository, listing: &SnapshotList) {
    let mut states = BTreeMap::from([("complete", 0_u64), ("damaged", 0), ("newer_format", 0)]);
    for (summary, _) in &listing.snapshots {
        *states.entry(summary.state.as_str()).or_default() += 1;
    }
    let states = states.into_iter().map(|(state, count)| (state.to_owned(), number(count)));
    page.gauges("chsnap_snapshots", "Snapshots by state.", "state", states);
    let pinned = listing.snapshots.iter().filter(|(_, pin)| pin.is_some()).count();
    page.gauge("chsnap_snapshots_pinned", "Snapshots that stay whatever the rules say.", number(pinned));
    page.gauge(
        "chsnap_snapshots_in_trash",
        "Removed snapshots whose space gc would free.",
        number(listing.removed.len()),
    );
    page.gauge(
        "chsnap_problems",
        "What list warns of: damaged snapshots, drift and foreign names.",
        number(listing.warnings.len()),
    );
    let main = &listing.series.chosen;
    let of_main = |summary: &&Summary| summary.is_good() && summary.is_of(main);
    let complete = || listing.snapshots.iter().map(|(summary, _)| summary).filter(of_main);
    let incomplete = listing.snapshots.iter().filter(|(summary, _)| summary.incomplete).count();
    page.gauge(
        "chsnap_snapshots_incomplete",
        "Snapshots that lack a table which they could have had.",
        number(incomplete),
    );
    let of_series = |summary: &&Summary| summary.is_of(main);
    if let Some(last) = listing.snapshots.iter().map(|(summary, _)| summary).rfind(of_series) {
        page.gauge(
            "chsnap_newest_snapshot_incomplete",
            "Whether the newest snapshot of the main series lacks a table that it could have had.",
            f64::from(u8::from(last.incomplete)),
        );
    }
    let Some(newest) = complete().max_by_key(|summary| summary.time) else { return };
    page.gauge(
        "chsnap_newest_snapshot_timestamp_seconds",
        "When the newest complete snapshot of the main series was begun.",
        seconds(newest.time),
    );
    if let Some(oldest) = complete().map(|summary| summary.time).min() {
        page.gauge(
            "chsnap_oldest_snapshot_timestamp_seconds",
            "When the oldest complete snapshot of the main series was begun.",
            seconds(oldest),
        );
    }
    let totals = &newest.totals;
    for (name, help, value) in [
        ("chsnap_newest_snapshot_tables", "Tables in the newest complete snapshot.", totals.tables),
        ("chsnap_newest_snapshot_parts", "Parts in it.", totals.parts),
        ("chsnap_newest_snapshot_files", "Files in it.", totals.files),
        ("chsnap_newest_snapshot_apparent_bytes", "What restoring it needs.", totals.apparent_bytes),
        (
            "chsnap_newest_snapshot_allocated_bytes",
            "What it takes on disk, shared files included.",
            totals.allocated_bytes,
        ),
        ("chsnap_newest_snapshot_written_bytes", "What the snapshot before it does not have.", totals.written_bytes),
    ] {
        page.gauge(name, help, number(value));
    }
    page.gauge("chsnap_newest_snapshot_warnings", "Warnings when it was made.", number(newest.warning_count));
    if let Ok(SnapshotState::Complete(manifest)) = repository.snapshot(newest.id) {
        placed(page, &manifest);
        let of_replica = [WarningKind::ReplicaBehind, WarningKind::ReplicaReadOnly];
        let warnings = manifest.all_warnings();
        let behind = warnings.iter().filter(|warning| of_replica.contains(&warning.kind));
        let tables: BTreeSet<_> = behind.filter_map(|warning| warning.table.as_ref()).collect();
        page.gauge(
            "chsnap_newest_snapshot_replicas_behind",
            "Replicated tables that were read-only or behind their peers when they were taken.",
            number(tables.len()),
        );
    }
}

fn placed(page: &mut Page, manifest: &Manifest) {
    let placed = &manifest.placed;
    let how = [
        ("renamed", placed.renamed),
        ("linked", placed.linked),
        ("reflinked", placed.reflinked),
        ("copied", placed.copied),
    ];
    let by = |figure: fn(&chsnap::model::PartTally) -> u64| {
        how.iter().map(move |(how, tally)| ((*how).to_owned(), number(figure(tally))))
    };
    page.gauges(
        "chsnap_newest_snapshot_placed_parts",
        "How the parts of it came there.",
        "placement",
        by(|tally| tally.parts),
    );
    page.gauges(
        "chsnap_newest_snapshot_placed_files",
        "How its files came there.",
        "placement",
        by(|tally| tally.files),
    );
    page.gauges(
        "chsnap_newest_snapshot_placed_bytes",
        "How its bytes came there.",
        "placement",
        by(|tally| tally.bytes),
    );
}

/// The verifications that the journal records.
fn checks(page: &mut Page, repository: &Repository, listing: &SnapshotList) {
    let last = repository
        .events()
        .into_iter()
        .rev()
        .find(|(_, event)| matches!(event, Event::Verified(run) if !run.incomplete));
    if let Some((time, _)) = last {
        page.gauge(
            "chsnap_last_verified_timestamp_seconds",
            "When verification last ran to its end, of a share of the parts or of all.",
            seconds(time),
        );
    }
    let drilled = repository.events().into_iter().rev();
    let drilled = drilled.filter_map(|(time, event)| match event {
        Event::Drilled { failed, .. } => Some((time, failed)),
        _ => None,
    });
    if let Some((time, failed)) = drilled.max() {
        let help = "When a snapshot was last restored for a trial.";
        page.gauge("chsnap_last_drill_timestamp_seconds", help, seconds(time));
        let help = "Tables that were not what the snapshot says, in the last trial.";
        page.gauge("chsnap_last_drill_failed_tables", help, number(failed));
    }
    let ids = listing.snapshots.iter().map(|(summary, _)| summary.id);
    let failed = ids.filter(|id| listing.drills.get(id).is_some_and(|drill| drill.failed > 0)).count();
    page.gauge("chsnap_snapshots_with_failed_drill", "Snapshots whose last trial restore failed.", number(failed));
    let damaged = listing.checks.iter().filter(|check| check.damaged).count();
    page.gauge(
        "chsnap_snapshots_with_damage",
        "Snapshots with known damage, which no check has found gone.",
        number(damaged),
    );
    let drifted = listing.checks.iter().filter(|check| check.drifted).count();
    page.gauge(
        "chsnap_snapshots_with_drift",
        "Snapshots in which verification found owners or modes that are not as recorded, and no damage for that.",
        number(drifted),
    );
    let gaps = listing.warnings.iter().filter(|warning| warning.kind == WarningKind::JournalUnreadable).count();
    page.gauge(
        "chsnap_journal_unreadable_files",
        "Files of the journal that cannot be read whole: damage that they recorded is not known.",
        number(gaps),
    );
    let newest_read = listing.checks.iter().filter(|check| !check.damaged).filter_map(|check| check.data_time).max();
    if let Some(time) = newest_read {
        page.gauge(
            "chsnap_last_fully_read_timestamp_seconds",
            "Since when every byte of some snapshot has been read and found right.",
            seconds(time),
        );
    }
}

/// Whether prune is refused, by the same criteria as `monitor`.
fn refused(page: &mut Page, repository: &Repository, listing: &SnapshotList, now: DateTime<Utc>) {
    let Ok(alerts) = ops::alerts(repository, listing, None, now) else { return };
    let is_refused = alerts.iter().any(|alert| alert.warning.kind == WarningKind::PruneRefused);
    page.gauge(
        "chsnap_prune_refused",
        "Whether the last unattended prune was refused, and nothing was removed since.",
        f64::from(u8::from(is_refused)),
    );
}

/// The figures of `chsnap usage`, computed by the same code.
fn usage(page: &mut Page, repository: &Repository, globals: &Globals, now: DateTime<Utc>) {
    let request = UsageRequest::new().with_paths(globals.paths()).with_jobs(globals.jobs_for(repository));
    let Ok(found) = ops::usage::usage(repository, &request, now) else { return };
    let totals = &found.totals;
    for (name, help, value) in [
        ("chsnap_repository_cost_bytes", "What would be free without the repository.", totals.cost_bytes),
        (
            "chsnap_repository_pinned_bytes",
            "Files that are there only because snapshots hold them.",
            totals.pinned_bytes,
        ),
        (
            "chsnap_repository_live_shared_bytes",
            "Files that something outside links too: they cost nothing yet.",
            totals.live_shared_bytes,
        ),
        (
            "chsnap_repository_directory_bytes",
            "Directories of snapshots, which nothing shares.",
            totals.directory_bytes,
        ),
        ("chsnap_repository_trash_bytes", "What emptying the trash frees.", totals.trash_bytes),
        ("chsnap_repository_shadow_bytes", "What leftover freezes of this repository hold.", totals.shadow_bytes),
    ] {
        page.gauge(name, help, number(value));
    }
    page.gauge(
        "chsnap_foreign_freezes",
        "Freezes in shadow/ that are not chsnap's.",
        number(totals.foreign_shadows.len()),
    );
    let is_of_main = |summary: &Summary| summary.is_good() && summary.is_of(&found.series.chosen);
    if let Some(newest) = found.snapshots.iter().rev().find(|row| is_of_main(&row.summary)) {
        page.gauge(
            "chsnap_newest_snapshot_exclusive_bytes",
            "What nothing else links.",
            number(newest.held.exclusive_bytes),
        );
    }
    if let Some(oldest) = found.snapshots.first() {
        page.gauge(
            "chsnap_oldest_snapshot_freed_bytes",
            "What removing the oldest snapshot frees.",
            number(oldest.freed_bytes),
        );
    }
    if let Some(days) = found.growth.days_until_full {
        page.gauge(
            "chsnap_filesystem_full_in_seconds",
            "Seconds until the filesystem is full at the current growth.",
            days * 86_400.0,
        );
    }
}

fn space(page: &mut Page, repository: &Repository) {
    let Ok(space) = fs::space(repository.dir()) else { return };
    page.gauge("chsnap_filesystem_size_bytes", "Size of the repository's filesystem.", number(space.size_bytes));
    page.gauge("chsnap_filesystem_free_bytes", "What of it is free.", number(space.free_bytes));
    if space.inodes > 0 {
        page.gauge("chsnap_filesystem_free_inodes", "Its free inodes.", number(space.free_inodes));
    }
}
