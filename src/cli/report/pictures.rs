//! The pictures: what each snapshot wrote and would free, what is shared, how the disk fills.

use chrono::{DateTime, Utc};
use chsnap::ops::usage::SnapshotUsage;

use super::super::render;
use super::Facts;
use super::chart::{self, Bar};
use super::html::{Html, text};

/// Bars that a picture can have; older ones are in the table.
const BARS: usize = 90;

#[expect(clippy::cast_precision_loss, reason = "a bar of a picture")]
pub(super) fn figure(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a label of a scale")]
pub(super) fn size(figure: f64) -> String {
    render::bytes(figure as u64)
}

pub(super) fn day(time: DateTime<Utc>) -> String {
    time.format("%m-%d").to_string()
}

fn keys(html: &mut Html, keys: &[(&str, &str)]) {
    html.raw("<ul class=\"keys\">");
    for (class, name) in keys {
        html.raw(format!("<li><span class=\"k {class}\"></span>{}</li>", text(name)));
    }
    html.raw("</ul>");
}

fn shown(facts: &Facts) -> Vec<&SnapshotUsage> {
    let rows = &facts.usage.snapshots;
    rows.iter().skip(rows.len().saturating_sub(BARS)).collect()
}

pub(super) fn timeline(html: &mut Html, facts: &Facts) {
    let lead = "Each night: what it wrote that the night before did not have, and what removing it alone would free.";
    html.section("snapshots", "Snapshots", lead);
    if facts.usage.snapshots.is_empty() {
        html.raw("<p>There is none yet: <code>chsnap create</code> takes one.</p>").end();
        return;
    }
    let bars = |class: &'static str, name: &str, of: fn(&SnapshotUsage) -> u64| -> Vec<Bar> {
        let bar = |row: &&SnapshotUsage| Bar {
            label: day(row.summary.time),
            told: format!("{}: {name} {}", row.summary.id, render::bytes(of(row))),
            pieces: vec![(class, figure(of(row)))],
        };
        shown(facts).iter().map(bar).collect()
    };
    html.raw("<h3>Written</h3>");
    let written = bars("new", "wrote", |row| row.held.written_bytes);
    html.raw(chart::bars(
        "written",
        "What each snapshot wrote",
        "A bar for each snapshot, the oldest first.",
        &written,
        &size,
    ));
    html.raw("<h3>Would free</h3>");
    let freed = bars("own", "alone frees", |row| row.freed_bytes);
    html.raw(chart::bars(
        "freed",
        "What removing each snapshot alone would free",
        "A bar for each snapshot, the oldest first.",
        &freed,
        &size,
    ));
    let rows: Vec<Vec<String>> = facts
        .usage
        .snapshots
        .iter()
        .rev()
        .map(|row| {
            let summary = &row.summary;
            let label = summary.label.text.clone().unwrap_or_default();
            let pin = row.pin.as_ref().map(|pin| format!("pinned: {}", pin.reason)).unwrap_or_default();
            let notes: Vec<&str> = [label.as_str(), pin.as_str(), summary.problem.as_deref().unwrap_or("")]
                .into_iter()
                .filter(|note| !note.is_empty())
                .collect();
            vec![
                summary.id.to_string(),
                render::age(summary.time, facts.now),
                render::bytes(summary.totals.apparent_bytes),
                render::bytes(row.held.written_bytes),
                render::bytes(row.freed_bytes),
                render::bytes(row.freed_with_older_bytes),
                notes.join("; "),
            ]
        })
        .collect();
    let head = ["Snapshot", "Age", "To restore", "Wrote", "Frees alone", "Frees with all older", "Notes"];
    html.figures("Snapshots, the newest first", &head, &rows).end();
}

pub(super) fn composition(html: &mut Html, facts: &Facts) {
    if facts.usage.snapshots.is_empty() {
        return;
    }
    let lead = "Where the bytes of each snapshot stand: only there, in other snapshots too, or on the server too.";
    html.section("composition", "What is shared", lead);
    let parts = |row: &SnapshotUsage| {
        let held = &row.held;
        let all = held.allocated_bytes + held.metadata_bytes;
        let own = held.exclusive_bytes.min(all);
        let live = held.live_shared_bytes.min(all - own);
        (own, all - own - live, live)
    };
    let bars: Vec<Bar> = shown(facts)
        .iter()
        .map(|row| {
            let (own, shared, live) = parts(row);
            Bar {
                label: day(row.summary.time),
                told: format!(
                    "{}: {} only here, {} in other snapshots, {} on the server",
                    row.summary.id,
                    render::bytes(own),
                    render::bytes(shared),
                    render::bytes(live)
                ),
                pieces: vec![("own", figure(own)), ("shared", figure(shared)), ("live", figure(live))],
            }
        })
        .collect();
    keys(
        html,
        &[
            ("own", "only in this snapshot: removing it frees this"),
            ("shared", "in other snapshots too"),
            ("live", "on the server too: costs nothing yet"),
        ],
    );
    html.raw(chart::bars(
        "shared",
        "What of each snapshot is shared",
        "A bar for each snapshot, the oldest first, in three parts.",
        &bars,
        &size,
    ));
    let rows: Vec<Vec<String>> = facts
        .usage
        .snapshots
        .iter()
        .rev()
        .map(|row| {
            let (own, shared, live) = parts(row);
            vec![row.summary.id.to_string(), render::bytes(own), render::bytes(shared), render::bytes(live)]
        })
        .collect();
    html.figures("What of each snapshot is shared", &["Snapshot", "Only here", "Other snapshots", "Server"], &rows)
        .end();
}

pub(super) fn growth(html: &mut Html, facts: &Facts) {
    let (Some(first), Some(last)) = (facts.used.first(), facts.used.last()) else { return };
    let seconds = (last.0 - first.0).as_seconds_f64();
    if facts.used.len() < 2 || seconds <= 0.0 {
        return;
    }
    let told = match (facts.usage.growth.used_bytes_per_day, facts.usage.growth.days_until_full) {
        (Some(bytes), Some(days)) => {
            format!("It grows by {} a day, and is full in {days:.0} days if it goes on.", size(bytes))
        }
        (Some(_), None) => "It does not grow.".to_owned(),
        (None, _) => "Not enough nights yet to say how fast it grows.".to_owned(),
    };
    html.section("growth", "How the disk fills", &told);
    let points: Vec<(f64, f64)> =
        facts.used.iter().map(|(time, used)| ((*time - first.0).as_seconds_f64() / seconds, figure(*used))).collect();
    html.raw(chart::line(
        "used",
        "What is taken on the disk",
        "By whomever, when each snapshot was made.",
        &points,
        (&day(first.0), &day(last.0)),
        &size,
    ));
    let rows: Vec<Vec<String>> = facts
        .used
        .iter()
        .rev()
        .take(400)
        .map(|(time, used)| vec![time.format("%Y-%m-%d %H:%M").to_string(), render::bytes(*used)])
        .collect();
    html.figures("What was taken on the disk", &["When", "Taken"], &rows).end();
}
