//! The checks that were made, and their extent.

use chrono::{DateTime, Utc};
use chsnap::model::Level;
use maud::{Markup, html};

use super::super::documents::report::{DrillFigures, Figures, SnapshotFigures};
use super::super::render;
use super::pieces::{cells, folded, section, table};

/// The time and the result of a snapshot's last drill.
fn drilled(drill: &DrillFigures, now: DateTime<Utc>) -> String {
    let ago = render::age(drill.time, now);
    match (drill.failed, drill.tables == drill.of_tables) {
        (0, true) => format!("all {} came back, {ago} ago", render::count(drill.tables, "table")),
        (0, false) => format!("{} of {} tables came back, {ago} ago", drill.tables, drill.of_tables),
        (failed, _) => format!("FAILED: {failed} of {}, {ago} ago", render::count(drill.tables, "table")),
    }
}

/// The extent of a snapshot's checks.
fn how_far(row: &SnapshotFigures) -> String {
    let check = &row.checked;
    let whole = match (check.data_time, check.level) {
        (Some(_), _) | (None, Some(Level::Data)) => "every byte".to_owned(),
        (None, Some(Level::Size)) => "sizes".to_owned(),
        (None, Some(Level::Structure)) => "structure".to_owned(),
        (None, None) => "nothing as a whole".to_owned(),
    };
    match check.slice {
        Some(slice) => format!("{whole}; of this round share {}", slice.to_string().replace('/', " of ")),
        None => whole,
    }
}

fn state(row: &SnapshotFigures) -> &'static str {
    match (row.checked.damaged, row.checked.drifted) {
        (true, _) => "DAMAGED",
        (false, true) => "owners or modes drifted",
        (false, false) if row.checked.time.is_none() && row.checked.slice.is_none() => "not known",
        (false, false) => "nothing wrong found",
    }
}

pub(super) fn checked(figures: &Figures) -> Markup {
    if figures.snapshots.is_empty() {
        return html! {};
    }
    let ago = |time: Option<DateTime<Utc>>| {
        time.map_or_else(|| "never".to_owned(), |time| format!("{} ago", render::age(time, figures.time)))
    };
    let row = |row: &SnapshotFigures| {
        let trial = row.drill.as_ref().map_or_else(|| "never".to_owned(), |drill| drilled(drill, figures.time));
        let (time, data) = (ago(row.checked.time), ago(row.checked.data_time));
        cells(&[&row.id.to_string(), &how_far(row), &time, &data, &trial, state(row)])
    };
    let is_wrong =
        |row: &&SnapshotFigures| row.checked.damaged || row.drill.as_ref().is_some_and(|drill| drill.failed > 0);
    let rows: Vec<Vec<Markup>> = figures.snapshots.iter().rev().map(row).collect();
    let wrong: Vec<Vec<Markup>> = figures.snapshots.iter().rev().filter(is_wrong).map(row).collect();
    let head = ["Snapshot", "How far", "Checked", "Every byte read", "Trial restore", "Found"];
    let coverage = &figures.coverage;
    let is_unchecked = |row: &SnapshotFigures| row.checked.time.is_none() && row.checked.slice.is_none();
    let inside = html! {
        p {
            "Of " (render::count(figures.snapshots.len() as u64, "snapshot")) ": every byte of " strong { (coverage.data) }
            " was read, of " strong { (coverage.size) } " sizes or structure alone were compared, "
            strong { (coverage.never) } " were not checked as a whole, and "
            strong { (coverage.drilled) } " were restored on trial."
        }
        @if figures.snapshots.iter().all(is_unchecked) {
            p {
                "Nothing was verified yet: " code { "chsnap verify" } " does it, and " code { "chsnap run" }
                " a share a night."
            }
        }
        @if coverage.drilled == 0 {
            p {
                "Nothing was restored on trial yet: " code { "chsnap drill" } " does it, and " code { "chsnap run" }
                " when one is due."
            }
        }
        // Problems that were found are never folded away.
        @if !wrong.is_empty() { (table("Found wrong", &head, &wrong)) }
        (folded("How far each was checked, the newest first", &head, &rows))
    };
    let lead = "Structure and sizes, or every byte against ClickHouse's own checksums; and what was restored on trial.";
    section("verification", "What was checked, and how far", lead, &inside)
}
