//! What a restore into a directory will do, as a person and as a program reads it.

use std::fmt::Write as _;

use chsnap::model::Placement;
use chsnap::ops::restore::PreparedDirectory;
use chsnap::plan::{DirectoryAction, DirectoryTable};
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Output, insert_path, sentences, with_warnings};
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED};

const WRITABLE: &str = "a String takes everything";

/// Shows the plan. The exit code is that of the restore, as far as the plan tells.
pub(super) fn show(prepared: &PreparedDirectory<'_>, output: &Output) -> CommandResult {
    let plan = prepared.plan();
    if output.is_json() {
        output.json(&document(prepared, &output.schema()));
    } else {
        output.text(&text(prepared));
        output.warnings(&plan.warnings);
    }
    match prepared.check_obstacles() {
        // One document: the plan says itself what is in the way.
        Err(error) if output.is_json() => return Ok(Failure::from(error).code()),
        result => result?,
    }
    Ok(if plan.all_warnings().is_empty() { DONE } else { WARNED })
}

fn way(placement: Placement) -> &'static str {
    match placement {
        Placement::Linked => "link",
        Placement::Reflinked => "reflink",
        Placement::Copied | Placement::Renamed => "copy",
    }
}

fn action(table: &DirectoryTable) -> (&'static str, &'static str) {
    match table.action {
        DirectoryAction::Place(placement) => ("place", way(placement)),
        DirectoryAction::Define => ("define", "definition"),
        DirectoryAction::Refuse(_) => ("refuse", "NOT RESTORED"),
    }
}

fn text(prepared: &PreparedDirectory<'_>) -> String {
    let plan = prepared.plan();
    let mut text = String::new();
    let path = render::safe(&plan.path.to_string_lossy(), 1000);
    for obstacle in &plan.obstacles {
        writeln!(text, "NOT POSSIBLE: {}", render::safe(&obstacle.to_string(), 500)).expect(WRITABLE);
    }
    if plan.makes_directory {
        writeln!(text, "make {path}").expect(WRITABLE);
    }
    if !plan.leftovers.is_empty() {
        let names = render::safe(&plan.leftovers.join(", "), 500);
        writeln!(text, "remove what an interrupted restore has left there: {names}").expect(WRITABLE);
    }
    let columns = [
        ("TABLE", Left),
        ("ENGINE", Left),
        ("DO", Left),
        ("PARTS", Right),
        ("ROWS", Right),
        ("SIZE", Right),
        ("NOTES", Left),
    ];
    let rows = plan.tables.iter().map(|table| {
        let figure = |text: String| if table.amount.parts > 0 { text } else { String::new() };
        let reason = match &table.action {
            DirectoryAction::Refuse(reason) => Some(reason.clone()),
            DirectoryAction::Place(_) | DirectoryAction::Define => None,
        };
        let notes: Vec<String> = reason.into_iter().chain(table.warnings.iter().map(ToString::to_string)).collect();
        vec![
            render::safe(&table.name.to_string(), 100),
            render::safe(&table.engine, 40),
            action(table).1.to_owned(),
            figure(render::thousands(table.amount.parts)),
            figure(render::thousands(table.amount.rows)),
            figure(render::bytes(table.amount.bytes)),
            render::safe(&notes.join("; "), 500),
        ]
    });
    text.push_str(&render::table(&columns, rows));
    let total = plan.amount();
    writeln!(
        text,
        "from {} into {path}: {}, {}, {}; {} free there",
        prepared.snapshot(),
        render::count(plan.tables.len() as u64, "object"),
        render::count(total.parts, "part"),
        render::bytes(total.bytes),
        render::bytes(plan.free_bytes),
    )
    .expect(WRITABLE);
    text
}

fn document(prepared: &PreparedDirectory<'_>, schema: &str) -> Value {
    let plan = prepared.plan();
    let table = |table: &DirectoryTable| {
        let (how, reason) = match &table.action {
            DirectoryAction::Place(placement) => (Some(way(*placement)), None),
            DirectoryAction::Define => (None, None),
            DirectoryAction::Refuse(reason) => (None, Some(reason)),
        };
        json!({
            "database": table.name.database, "table": table.name.table, "engine": table.engine, "state": "planned",
            "action": action(table).0, "how": how, "parts": table.amount.parts, "rows": table.amount.rows,
            "bytes": table.amount.bytes, "reason": reason, "warnings": sentences(&table.warnings),
        })
    };
    let obstacles =
        plan.obstacles.iter().map(|obstacle| json!({"kind": obstacle.kind(), "message": obstacle.to_string()}));
    let total = plan.amount();
    let placed = |placement| {
        let amount = plan.placed(placement);
        json!({"parts": amount.parts, "bytes": amount.bytes})
    };
    let mut document = json!({
        "schema": schema, "snapshot": prepared.snapshot().to_string(), "state": "planned", "dry_run": true,
        "makes_directory": plan.makes_directory, "leftovers": plan.leftovers,
        "tables": plan.tables.iter().map(table).collect::<Vec<_>>(), "in_the_way": obstacles.collect::<Vec<_>>(),
        "free_bytes": plan.free_bytes,
        "totals": {
            "tables": plan.tables.len(), "parts": total.parts, "rows": total.rows, "bytes": total.bytes,
            "placed": {
                "linked": placed(Placement::Linked), "reflinked": placed(Placement::Reflinked),
                "copied": placed(Placement::Copied),
            },
        },
    });
    if let Value::Object(fields) = &mut document {
        insert_path(fields, "path", &plan.path);
    }
    with_warnings(document, &plan.all_warnings())
}
