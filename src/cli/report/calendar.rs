//! A calendar of the snapshots that stay and why, the newest month first.

use std::collections::BTreeMap;

use chrono::{Datelike as _, Days, NaiveDate};
use maud::{Markup, html};

use super::super::documents::report::{Figures, SnapshotFigures};
use super::figures::by_day;
use super::pieces::{cells, folded, legend, section};

/// Months that are shown.
const MONTHS: usize = 12;

/// The kind of a day in the calendar: its class in the style sheet, and its word.
fn kind(rows: &[&SnapshotFigures]) -> (&'static str, &'static str) {
    match rows {
        [] => ("none", ""),
        rows if rows.iter().any(|row| row.pinned) => ("pin", "pinned"),
        rows if rows.iter().any(|row| row.keeps) => ("keep", "stays"),
        _ => ("go", "goes"),
    }
}

pub(super) fn calendar(figures: &Figures) -> Markup {
    let days = by_day(figures);
    if days.is_empty() {
        return html! {};
    }
    let lead = match &figures.policy {
        None => "No policy is configured, so all of them stay.".to_owned(),
        Some(policy) => format!("{policy}."),
    };
    let mut months: Vec<(i32, u32)> = days.keys().map(|day| (day.year(), day.month())).collect();
    months.dedup();
    let rows: Vec<Vec<Markup>> =
        figures.snapshots.iter().rev().map(|row| cells(&[&row.id.to_string(), &row.why])).collect();
    let mut keys = vec![("keep", "a snapshot that stays"), ("pin", "a pinned one"), ("none", "no snapshot")];
    if figures.policy.is_some() {
        keys.insert(1, ("go", "one that goes at the next prune"));
    }
    let inside = html! {
        (legend(&keys))
        div class="months" {
            @for (year, month) in months.iter().rev().take(MONTHS) {
                div class="month" { (a_month(&days, *year, *month)) }
            }
        }
        (folded("Why each snapshot stays, the newest first", &["Snapshot", "Why"], &rows))
    };
    section("calendar", "What stays, and why", &lead, &inside)
}

/// The weeks of a month: seven days each, `None` for days of another month.
fn weeks(first: NaiveDate) -> Vec<[Option<NaiveDate>; 7]> {
    let mut weeks = vec![[None; 7]];
    let mut day = first;
    while day.month() == first.month() {
        let place = day.weekday().num_days_from_monday() as usize;
        if place == 0 && day != first {
            weeks.push([None; 7]);
        }
        if let Some(slot) = weeks.last_mut().and_then(|week| week.get_mut(place)) {
            *slot = Some(day);
        }
        let Some(next) = day.checked_add_days(Days::new(1)) else { break };
        day = next;
    }
    weeks
}

fn a_month(days: &BTreeMap<NaiveDate, Vec<&SnapshotFigures>>, year: i32, month: u32) -> Markup {
    let Some(first) = NaiveDate::from_ymd_opt(year, month, 1) else { return html! {} };
    html! {
        table {
            caption { (first.format("%B %Y")) }
            thead { tr { @for name in ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"] { th scope="col" { (name) } } } }
            tbody {
                @for week in weeks(first) {
                    tr {
                        @for day in week {
                            td { @if let Some(day) = day { (a_day(day, days.get(&day).map(Vec::as_slice).unwrap_or_default())) } }
                        }
                    }
                }
            }
        }
    }
}

fn a_day(day: NaiveDate, rows: &[&SnapshotFigures]) -> Markup {
    let (class, word) = kind(rows);
    let told: Vec<String> = rows.iter().map(|row| format!("{}: {}", row.id, row.why)).collect();
    html! {
        @if word.is_empty() {
            span class=(class) { (day.day()) }
        } @else {
            span class=(class) title=(told.join("; ")) { (day.day()) span class="spoken" { " " (word) } }
        }
    }
}
