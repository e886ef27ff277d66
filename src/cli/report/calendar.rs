//! What stays and why, on a calendar.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{Datelike as _, Days, NaiveDate};
use chsnap::ops::usage::SnapshotUsage;
use chsnap::plan::retention::Fate;

use super::Facts;
use super::html::{Html, text};

/// Months that are shown.
const MONTHS: usize = 12;

pub(super) fn calendar(html: &mut Html, facts: &Facts) {
    let lead = if facts.fates.is_empty() {
        "No policy is configured, so all of them stay. Days with a snapshot are filled.".to_owned()
    } else {
        format!("{}. Filled days stay, dashed ones go at the next prune.", facts.policy)
    };
    let zone = facts.policy.zone;
    let mut days: BTreeMap<NaiveDate, Vec<&SnapshotUsage>> = BTreeMap::new();
    for row in &facts.usage.snapshots {
        days.entry(row.summary.time.with_timezone(&zone).date_naive()).or_default().push(row);
    }
    if days.is_empty() {
        return;
    }
    html.section("calendar", "What stays, and why", &lead).raw("<div class=\"months\">");
    let mut months: Vec<(i32, u32)> = days.keys().map(|day| (day.year(), day.month())).collect();
    months.dedup();
    for (year, month) in months.iter().rev().take(MONTHS) {
        html.raw(format!("<div class=\"month\">{}</div>", a_month(facts, &days, *year, *month)));
    }
    html.raw("</div>");
    let rows: Vec<Vec<String>> =
        facts.usage.snapshots.iter().rev().map(|row| vec![row.summary.id.to_string(), why(facts, row)]).collect();
    html.figures("Why each snapshot stays", &["Snapshot", "Why"], &rows).end();
}

fn why(facts: &Facts, row: &SnapshotUsage) -> String {
    match facts.fates.get(&row.summary.id) {
        Some(fate) if fate.is_kept() => fate.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        Some(_) => "no rule keeps it".to_owned(),
        None => row.pin.as_ref().map_or_else(|| "no policy".to_owned(), |pin| format!("pinned: {}", pin.reason)),
    }
}

fn a_month(facts: &Facts, days: &BTreeMap<NaiveDate, Vec<&SnapshotUsage>>, year: i32, month: u32) -> String {
    let Some(first) = NaiveDate::from_ymd_opt(year, month, 1) else { return String::new() };
    let mut table = format!(
        "<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody><tr>",
        first.format("%B %Y"),
        ["Mo", "Tu", "We", "Th", "Fr", "Sa", "Su"].map(|name| format!("<th scope=\"col\">{name}</th>")).concat()
    );
    table.push_str(&"<td></td>".repeat(first.weekday().num_days_from_monday() as usize));
    let mut day = first;
    while day.month() == month {
        if day != first && day.weekday().num_days_from_monday() == 0 {
            table.push_str("</tr><tr>");
        }
        let rows = days.get(&day).map(Vec::as_slice).unwrap_or_default();
        let is_kept = |row: &&SnapshotUsage| facts.fates.get(&row.summary.id).is_none_or(Fate::is_kept);
        let class = match rows {
            [] => "",
            rows if rows.iter().any(|row| row.pin.is_some()) => "pin",
            rows if rows.iter().any(is_kept) => "keep",
            _ => "go",
        };
        let told: Vec<String> = rows.iter().map(|row| format!("{}: {}", row.summary.id, why(facts, row))).collect();
        let title = if told.is_empty() { String::new() } else { format!(" title=\"{}\"", text(&told.join("; "))) };
        let spoken = match class {
            "" => "",
            "go" => " goes",
            "pin" => " pinned",
            _ => " stays",
        };
        let spoken = if spoken.is_empty() { String::new() } else { format!(" aria-label=\"{}{spoken}\"", day.day()) };
        write!(table, "<td><span class=\"{class}\"{title}{spoken}>{}</span></td>", day.day())
            .expect("a String takes everything");
        let Some(next) = day.checked_add_days(Days::new(1)) else { break };
        day = next;
    }
    table.push_str("</tr></tbody></table>");
    table
}
