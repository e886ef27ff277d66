//! The largest tables and partitions.

use maud::{Markup, html};

use super::super::documents::report::{Figures, TableFigures};
use super::super::render;
use super::chart;
use super::pictures::{figure, size};
use super::pieces::{section, table};

pub(super) fn tables(figures: &Figures) -> Markup {
    if figures.tables.is_empty() {
        return html! {};
    }
    let common = |row: &TableFigures, name: String| {
        let only = row.allocated_bytes.saturating_sub(row.live_shared_bytes);
        vec![
            html! { (name) },
            html! { (render::bytes(row.allocated_bytes)) },
            html! { (render::bytes(only)) },
            html! { (render::bytes(row.live_shared_bytes)) },
        ]
    };
    let of_table = |row: &TableFigures| {
        let history: Vec<f64> = row.history.iter().map(|bytes| figure(*bytes)).collect();
        let mut cells = common(row, row.name.clone());
        cells.extend([html! { (change(&history)) }, chart::spark(&history)]);
        cells
    };
    let of_partition =
        |row: &TableFigures| common(row, format!("{} {}", row.name, row.partition.as_deref().unwrap_or_default()));
    let rows: Vec<Vec<Markup>> = figures.tables.iter().map(of_table).collect();
    let partitions: Vec<Vec<Markup>> = figures.partitions.iter().map(of_partition).collect();
    let head = ["Table", "On disk", "Only in snapshots", "On the server too", "Change", "Night by night"];
    let inside = html! {
        (table("By table", &head, &rows))
        (table("By partition", &["Partition", "On disk", "Only in snapshots", "On the server too"], &partitions))
    };
    let lead = "In all snapshots together, and how the size to restore changed from night to night.";
    section("tables", "The largest tables and partitions", lead, &inside)
}

/// The change from the first to the last of some sizes.
fn change(history: &[f64]) -> String {
    let (Some(first), Some(last)) = (history.first(), history.last()) else { return "–".to_owned() };
    let sign = if last < first { "−" } else { "+" };
    if (last - first).abs() < 1.0 { "none".to_owned() } else { format!("{sign}{}", size((last - first).abs())) }
}
