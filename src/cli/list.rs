use chrono::Utc;
use chsnap::ops;
use chsnap::repo::{Pin, Summary};
use serde_json::{Map, Value, json};

use super::create::merge;
use super::globals::Globals;
use super::opening;
use super::output::{Output, insert_path};
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED};

/// List the snapshots
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let listing = ops::list(&repository)?;
    if output.is_json() {
        let snapshots: Vec<Value> =
            listing.snapshots.iter().map(|(summary, pin)| document(summary, pin.as_ref())).collect();
        let removed: Vec<String> = listing.removed.iter().map(ToString::to_string).collect();
        let mut document = Map::new();
        document.insert("schema".to_owned(), output.schema().into());
        insert_path(&mut document, "repository", repository.path());
        document.insert("snapshots".to_owned(), snapshots.into());
        document.insert("removed".to_owned(), removed.into());
        document.insert("warnings".to_owned(), json!(listing.warnings));
        output.json(&Value::Object(document));
    } else {
        output.text(&text(&listing.snapshots));
        if !listing.removed.is_empty() && !globals.quiet {
            let removed = render::count(listing.removed.len() as u64, "removed snapshot");
            output.text(&format!("{removed} in the trash: chsnap undo brings back, chsnap gc frees\n"));
        }
    }
    output.warnings(&listing.warnings);
    Ok(if listing.warnings.is_empty() { DONE } else { WARNED })
}

fn document(summary: &Summary, pin: Option<&Pin>) -> Value {
    let mut row = Map::new();
    merge(&mut row, summary);
    row.insert("pinned".to_owned(), pin.is_some().into());
    if let Some(pin) = pin {
        row.insert("pin".to_owned(), json!(pin));
    }
    Value::Object(row)
}

fn text(snapshots: &[(Summary, Option<Pin>)]) -> String {
    if snapshots.is_empty() {
        return "no snapshots yet: chsnap create takes one\n".to_owned();
    }
    let now = Utc::now();
    let columns = [
        ("SNAPSHOT", Left),
        ("AGE", Right),
        ("TABLES", Right),
        ("PARTS", Right),
        ("FILES", Right),
        ("TO RESTORE", Right),
        ("ON DISK", Right),
        ("NEW", Right),
        ("NAME", Left),
    ];
    let rows = snapshots.iter().map(|(summary, pin)| {
        let mut name = summary.label.text.as_deref().map(|text| render::safe(text, 40)).unwrap_or_default();
        let mut notes = Vec::new();
        if let Some(pin) = pin {
            notes.push(format!("pinned: {}", render::safe(&pin.reason, 40)));
        }
        if !summary.is_complete() {
            notes.push(summary.state.replace('_', " "));
        } else if summary.warning_count > 0 {
            notes.push(render::count(summary.warning_count, "warning"));
        }
        if !notes.is_empty() {
            let space = if name.is_empty() { "" } else { " " };
            name = format!("{name}{space}[{}]", notes.join("; "));
        }
        let totals = &summary.totals;
        let figures = if summary.is_complete() {
            [
                render::thousands(totals.tables),
                render::thousands(totals.parts),
                render::thousands(totals.files),
                render::bytes(totals.apparent_bytes),
                render::bytes(totals.allocated_bytes),
                render::bytes(totals.written_bytes),
            ]
        } else {
            std::array::from_fn(|_| "?".to_owned())
        };
        let mut row = vec![summary.id.to_string(), render::age(summary.time, now)];
        row.extend(figures);
        row.push(name);
        row
    });
    render::table(&columns, rows)
}
