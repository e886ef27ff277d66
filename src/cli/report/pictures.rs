//! The charts: what each snapshot wrote and would free, what is shared, and how the disk fills.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::super::documents::report::{Figures, SnapshotFigures};
use super::super::render;
use super::chart::{self, Bar, Caption};
use super::pieces::{cells, folded, legend, section};

#[expect(clippy::cast_precision_loss, reason = "a bar of a picture")]
pub(super) fn figure(bytes: u64) -> f64 {
    bytes as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a label of a scale")]
pub(super) fn size(figure: f64) -> String {
    render::bytes(figure as u64)
}

fn day(time: DateTime<Utc>) -> String {
    time.format("%m-%d").to_string()
}

const OLDEST_FIRST: &str = "A bar for each snapshot, the oldest first.";
/// Rows of the table of bytes in use on the disk.
const USED_ROWS: usize = 400;

pub(super) fn timeline(figures: &Figures) -> Markup {
    let lead = "What each wrote that the one before did not have, and what removing it alone would free.";
    if figures.snapshots.is_empty() {
        let none = html! { p { "There is none yet: " code { "chsnap create" } " takes one." } };
        return section("snapshots", "Snapshots", lead, &none);
    }
    let bars = |class: &'static str, name: &str, of: fn(&SnapshotFigures) -> u64| -> Vec<Bar> {
        let bar = |row: &SnapshotFigures| Bar {
            label: day(row.time),
            told: format!("{}: {name} {}", row.id, render::bytes(of(row))),
            pieces: vec![(class, figure(of(row)))],
        };
        figures.snapshots.iter().map(bar).collect()
    };
    let written = bars("new", "wrote", |row| row.written_bytes);
    let freed = bars("own", "alone frees", |row| row.freed_bytes);
    let row = |row: &SnapshotFigures| {
        cells(&[
            &row.id.to_string(),
            &render::age(row.time, figures.time),
            &render::bytes(row.apparent_bytes),
            &render::bytes(row.written_bytes),
            &render::bytes(row.freed_bytes),
            &render::bytes(row.freed_with_older_bytes),
            &row.notes.join("; "),
        ])
    };
    let rows: Vec<Vec<Markup>> = figures.snapshots.iter().rev().map(row).collect();
    let head = ["Snapshot", "Age", "To restore", "Wrote", "Frees alone", "Frees with all older", "Notes"];
    let caption = |id, title| Caption { id, title, told: OLDEST_FIRST };
    let inside = html! {
        h3 { "Written" }
        (legend(&[("new", "bytes that the snapshot before did not have")]))
        (chart::bars(caption("written", "What each snapshot wrote"), &written, &size))
        h3 { "Would free" }
        (legend(&[("own", "bytes that removing this one snapshot frees")]))
        (chart::bars(caption("freed", "What removing each snapshot alone would free"), &freed, &size))
        (folded("Snapshots, the newest first", &head, &rows))
    };
    section("snapshots", "Snapshots", lead, &inside)
}

pub(super) fn composition(figures: &Figures) -> Markup {
    if figures.snapshots.is_empty() {
        return html! {};
    }
    let bar = |row: &SnapshotFigures| Bar {
        label: day(row.time),
        told: format!(
            "{}: {} only here, {} in other snapshots, {} on the server",
            row.id,
            render::bytes(row.exclusive_bytes),
            render::bytes(row.shared_bytes),
            render::bytes(row.live_shared_bytes)
        ),
        pieces: vec![
            ("own", figure(row.exclusive_bytes)),
            ("shared", figure(row.shared_bytes)),
            ("live", figure(row.live_shared_bytes)),
        ],
    };
    let bars: Vec<Bar> = figures.snapshots.iter().map(bar).collect();
    let row = |row: &SnapshotFigures| {
        cells(&[
            &row.id.to_string(),
            &render::bytes(row.exclusive_bytes),
            &render::bytes(row.shared_bytes),
            &render::bytes(row.live_shared_bytes),
        ])
    };
    let rows: Vec<Vec<Markup>> = figures.snapshots.iter().rev().map(row).collect();
    let title = "What of each snapshot is shared";
    let told = "A bar for each snapshot, the oldest first, in three parts.";
    let keys = [
        ("own", "only in this snapshot: removing it frees this"),
        ("shared", "in other snapshots too"),
        ("live", "on the server too: costs nothing yet"),
    ];
    let inside = html! {
        (legend(&keys))
        (chart::bars(Caption { id: "shared", title, told }, &bars, &size))
        (folded(title, &["Snapshot", "Only here", "Other snapshots", "Server"], &rows))
    };
    let lead = "Where the bytes of each snapshot are: only there, in other snapshots too, or on the server too.";
    section("composition", "What is shared", lead, &inside)
}

pub(super) fn growth(figures: &Figures) -> Markup {
    let (Some(first), Some(last)) = (figures.used.first(), figures.used.last()) else { return html! {} };
    let seconds = (last.time - first.time).as_seconds_f64();
    if figures.used.len() < 2 || seconds <= 0.0 {
        return html! {};
    }
    let disk = &figures.filesystem;
    let told = match (disk.used_bytes_per_day, disk.days_until_full) {
        (Some(bytes), Some(days)) => {
            format!("It grows by {} a day, and is full in {days:.0} days at this rate.", size(bytes))
        }
        (Some(_), None) => "It does not grow.".to_owned(),
        (None, _) => "Not enough nights yet to say how fast it grows.".to_owned(),
    };
    let place = |time: DateTime<Utc>| (time - first.time).as_seconds_f64() / seconds;
    let points: Vec<(f64, f64)> = figures.used.iter().map(|used| (place(used.time), figure(used.used_bytes))).collect();
    let row = |used: &super::super::documents::report::Used| {
        cells(&[&used.time.format("%Y-%m-%d %H:%M").to_string(), &render::bytes(used.used_bytes)])
    };
    let rows: Vec<Vec<Markup>> = figures.used.iter().rev().take(USED_ROWS).map(row).collect();
    let title = "What is taken on the disk";
    let told_by = "By anything, when each snapshot was made.";
    let inside = html! {
        (legend(&[("shared", "bytes taken on the disk, by anything")]))
        (chart::line(Caption { id: "used", title, told: told_by }, &points, (&day(first.time), &day(last.time)), &size))
        (folded("What was taken on the disk", &["When", "Taken"], &rows))
    };
    section("growth", "How the disk fills", &told, &inside)
}
