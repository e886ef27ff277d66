//! The largest tables, and what was checked.

use chrono::{DateTime, Utc};
use chsnap::model::{SnapshotId, TableName};
use chsnap::ops::Drill;
use chsnap::ops::usage::TableUsage;
use chsnap::repo::LastCheck;

use super::super::render;
use super::Facts;
use super::chart;
use super::html::{Html, text};
use super::pictures::size;

/// Rows of the largest tables and partitions.
const LARGEST: usize = 12;

fn name(table: &TableName) -> String {
    render::cut(&table.to_string(), 120)
}

pub(super) fn tables(html: &mut Html, facts: &Facts) {
    let mut tables: Vec<&TableUsage> = facts.usage.tables.iter().flatten().collect();
    if tables.is_empty() {
        return;
    }
    tables.sort_by_key(|table| std::cmp::Reverse(table.allocated_bytes));
    html.section(
        "tables",
        "The largest tables",
        "In all snapshots together, and how the size to restore changed from night to night.",
    );
    html.raw("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"The largest tables\"><table>")
        .raw("<thead><tr><th scope=\"col\">Table</th><th scope=\"col\">On disk</th><th scope=\"col\">Only in snapshots</th>")
        .raw("<th scope=\"col\">On the server too</th><th scope=\"col\">Change</th><th scope=\"col\">Night by night</th></tr></thead><tbody>");
    for table in tables.iter().take(LARGEST) {
        let key = (table.table.database.clone(), table.table.table.clone());
        let history = facts.history.get(&key).map(Vec::as_slice).unwrap_or_default();
        html.raw(format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            text(&name(&table.table)),
            render::bytes(table.allocated_bytes),
            render::bytes(table.allocated_bytes.saturating_sub(table.live_shared_bytes)),
            render::bytes(table.live_shared_bytes),
            text(&change(history)),
            chart::spark(history)
        ));
    }
    html.raw("</tbody></table></div>");
    let mut partitions: Vec<&TableUsage> = facts.partitions.iter().collect();
    partitions.sort_by_key(|table| std::cmp::Reverse(table.allocated_bytes));
    let rows: Vec<Vec<String>> = partitions
        .iter()
        .take(LARGEST)
        .map(|row| {
            let partition = row.partition.as_deref().unwrap_or_default();
            vec![
                format!("{} {}", name(&row.table), render::cut(partition, 60)),
                render::bytes(row.allocated_bytes),
                render::bytes(row.allocated_bytes.saturating_sub(row.live_shared_bytes)),
                render::bytes(row.live_shared_bytes),
            ]
        })
        .collect();
    html.raw("<h3>The largest partitions</h3>");
    html.table("The largest partitions", &["Partition", "On disk", "Only in snapshots", "On the server too"], &rows)
        .end();
}

/// From the first to the last of some sizes.
fn change(history: &[f64]) -> String {
    let (Some(first), Some(last)) = (history.first(), history.last()) else { return "–".to_owned() };
    let sign = if last < first { "−" } else { "+" };
    if (last - first).abs() < 1.0 { "none".to_owned() } else { format!("{sign}{}", size((last - first).abs())) }
}

/// What came of the last trial of a snapshot, and when.
fn tried(drill: &Drill, now: DateTime<Utc>) -> String {
    let ago = render::age(drill.time, now);
    match (drill.failed, drill.tables == drill.of_tables) {
        (0, true) => format!("all {} came back, {ago} ago", render::count(drill.tables, "table")),
        (0, false) => format!("{} of {} tables came back, {ago} ago", drill.tables, drill.of_tables),
        (failed, _) => format!("FAILED: {failed} of {}, {ago} ago", render::count(drill.tables, "table")),
    }
}

pub(super) fn verification(html: &mut Html, facts: &Facts) {
    if facts.checks.is_empty() {
        return;
    }
    html.section(
        "verification",
        "What was checked",
        "Structure and sizes, or every byte against ClickHouse's own checksums; and what was restored on trial.",
    );
    let rows: Vec<Vec<String>> = facts
        .checks
        .iter()
        .rev()
        .map(|(id, check)| {
            let slice = check.slice.map(|slice| format!("share {slice} of a round")).unwrap_or_default();
            let state = match (check.damaged, check.drifted) {
                (true, _) => "DAMAGED".to_owned(),
                (false, true) => "owners or modes drifted".to_owned(),
                (false, false) => slice,
            };
            let trial = facts.drills.get(id).map_or_else(|| "never".to_owned(), |drill| tried(drill, facts.now));
            vec![id.to_string(), facts.ago(check.time), facts.ago(check.data_time), trial, state]
        })
        .collect();
    let head = ["Snapshot", "Checked", "Every byte read", "Restored on trial", "State"];
    let is_unchecked = |check: &LastCheck| check.time.is_none() && check.slice.is_none() && !check.damaged;
    if facts.checks.values().all(is_unchecked) {
        html.raw("<p>Nothing was verified yet: <code>chsnap verify</code> does it, and <code>chsnap run</code> a share a night.</p>");
    }
    if facts.drills.is_empty() {
        html.raw("<p>Nothing was restored on trial yet: <code>chsnap drill</code> does it, and <code>chsnap run</code> when one is due.</p>");
    }
    if !facts.drills.is_empty() || !facts.checks.values().all(is_unchecked) {
        // What was found wrong is never folded away.
        let is_wrong = |id: &SnapshotId| {
            facts.checks.get(id).is_some_and(|check| check.damaged)
                || facts.drills.get(id).is_some_and(|drill| drill.failed > 0)
        };
        let ids = facts.checks.keys().rev();
        let wrong: Vec<Vec<String>> =
            ids.zip(&rows).filter(|(id, _)| is_wrong(id)).map(|(_, row)| row.clone()).collect();
        if !wrong.is_empty() {
            html.table("Wrong", &head, &wrong);
        }
        html.figures("Verification", &head, &rows);
    }
    html.end();
}
