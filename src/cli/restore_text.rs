//! What a restore will do, and what it did, as a person and as a program reads it.

use std::fmt::Write as _;
use std::path::Path;

use chsnap::ops::restore::{Outcome, Prepared, Report, TableReport, TableState};
use chsnap::plan::{Action, Expired, Kept, ObjectAction, ObjectPlan, TablePlan};
use serde_json::{Value, json};

use super::access_text;
use super::output::{insert_path, sentences, with_warnings};
use super::render;
use super::render::Align::{Left, Right};

const WRITABLE: &str = "a String takes everything";

fn action(plan: &TablePlan) -> (&'static str, &'static str) {
    match plan.action {
        Action::Place => ("place", "new table"),
        Action::Swap if plan.replaces.is_some() => ("replace", "REPLACE the table"),
        Action::Swap => ("replace", "in place of an empty table"),
        Action::Partitions { others_go: true } => ("replace_partitions", "REPLACE all partitions"),
        Action::Partitions { others_go: false } if plan.replaces.is_some() => ("partitions", "REPLACE partitions"),
        Action::Partitions { others_go: false } => ("partitions", "add partitions"),
        Action::Fill { replaces: false } => ("fill", "new table, from its dump"),
        Action::Fill { replaces: true } => ("fill", "from its dump, in place of an empty table"),
        Action::Make(_) => ("make", "new"),
        Action::Keep(Kept::Same) => ("keep", "exists, same"),
        Action::Keep(_) => ("keep", "exists, DIFFERS: stays"),
        Action::Skip(_) => ("skip", "NOT MADE"),
        Action::Damaged(_) | Action::Impossible(_) => ("impossible", "NOT POSSIBLE"),
    }
}

pub(super) fn plan(prepared: &Prepared<'_>) -> String {
    let plan = prepared.plan();
    let mut text = String::new();
    for step in &plan.recovery {
        writeln!(text, "after an interrupted restore: {}", render::safe(&step.to_string(), 500)).expect(WRITABLE);
    }
    for database in &plan.databases {
        let name = render::safe(&database.name, 100);
        match &database.engine {
            Ok(_) => writeln!(text, "make database {name}"),
            Err(reason) => writeln!(text, "database {name} is NOT POSSIBLE: {}", render::safe(reason, 500)),
        }
        .expect(WRITABLE);
    }
    for object in &plan.objects {
        let name = render::safe(&format!("{} {}", object.kind, object.name), 200);
        match &object.action {
            ObjectAction::Make(statement) => {
                let secret = if statement.has_hidden_secret() { ", with [HIDDEN] for its secret" } else { "" };
                writeln!(text, "make {name}{secret}").expect(WRITABLE);
            }
            ObjectAction::Refuse(reason) => {
                writeln!(text, "{name} is NOT MADE: {}", render::safe(reason, 500)).expect(WRITABLE);
            }
            ObjectAction::KeepOther => writeln!(text, "{name} exists and DIFFERS: stays").expect(WRITABLE),
            ObjectAction::Keep => {}
        }
    }
    text.push_str(&access_text::plan(&plan.access));
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
        let mut notes = Vec::new();
        if table.from != table.to {
            notes.push(format!("was {}", table.from));
        }
        if table.uuid_changed {
            notes.push("new UUID: the server still knows the old one".to_owned());
        }
        if let Some(live) = table.replaces {
            let (parts, rows) = (render::count(live.parts, "part"), render::count(live.rows, "row"));
            notes.push(format!("exists: {parts}, {rows}, {}", render::bytes(live.bytes)));
        }
        if !table.expired.is_none() {
            notes.push(expired(&table.expired));
        }
        if !table.losses.is_empty() {
            let losses: Vec<String> = table.losses.iter().map(ToString::to_string).collect();
            notes.push(format!("LOSES {}", losses.join(", ")));
        }
        match &table.action {
            Action::Keep(Kept::NotCompared) => notes.push("rows not compared".to_owned()),
            Action::Keep(Kept::OtherDefinition) => notes.push("another definition".to_owned()),
            Action::Keep(Kept::OtherData { rows, stored_rows, has_same_definition }) => {
                let (shown, stored) = (render::count(*rows, "row"), render::count(*stored_rows, "row"));
                notes.push(if rows == stored_rows {
                    format!("{shown} as in the snapshot, in other parts")
                } else {
                    format!("{shown}, {stored} in the snapshot")
                });
                if !has_same_definition {
                    notes.push("another definition".to_owned());
                }
            }
            action => notes.extend(action.reason()),
        }
        if table.detaches {
            notes.push("detached again, for good where the server knows that".to_owned());
        }
        notes.extend(table.warnings.iter().map(ToString::to_string));
        let has_rows = table.restores.parts > 0 || table.restores.bytes > 0;
        let figure = |text: String| if has_rows { text } else { String::new() };
        vec![
            render::safe(&table.to.to_string(), 100),
            render::safe(&table.engine, 40),
            action(table).1.to_owned(),
            figure(render::thousands(table.restores.parts)),
            figure(render::thousands(table.restores.rows)),
            figure(render::bytes(table.restores.bytes)),
            render::safe(&notes.join("; "), 500),
        ]
    });
    text.push_str(&render::table(&columns, rows));
    let sum = |figure: fn(&TablePlan) -> u64| plan.tables.iter().map(figure).fold(0, u64::saturating_add);
    writeln!(
        text,
        "from {}: {}, {}, {}",
        prepared.snapshot(),
        render::count(plan.tables.len() as u64, "object"),
        render::count(sum(|table| table.restores.parts), "part"),
        render::bytes(sum(|table| table.restores.bytes))
    )
    .expect(WRITABLE);
    text
}

fn expired(expired: &Expired) -> String {
    let amount = |parts, rows| format!("{} in {}", render::count(rows, "row"), render::count(parts, "part"));
    let mut texts = Vec::new();
    if expired.parts > 0 {
        texts.push(format!("{} past its TTL", amount(expired.parts, expired.rows)));
    }
    if expired.partly_parts > 0 {
        texts.push(format!("some of {} past its TTL", amount(expired.partly_parts, expired.partly_rows)));
    }
    texts.join(", ")
}

pub(super) fn plan_document(prepared: &Prepared<'_>, schema: &str) -> Value {
    let plan = prepared.plan();
    let tables: Vec<Value> = plan
        .tables
        .iter()
        .map(|table| {
            let replaces =
                table.replaces.map(|live| json!({"parts": live.parts, "rows": live.rows, "bytes": live.bytes}));
            let losses: Vec<Value> =
                table.losses.iter().map(|loss| json!({"kind": loss.kind(), "message": loss.to_string()})).collect();
            let reason = table.action.reason();
            json!({
                "database": table.to.database, "table": table.to.table, "from": table.from, "engine": table.engine,
                "state": "planned", "action": action(table).0, "parts": table.restores.parts,
                "rows": table.restores.rows, "bytes": table.restores.bytes, "uuid": table.uuid,
                "uuid_changed": table.uuid_changed, "replaces": replaces, "losses": losses,
                "expired": {
                    "parts": table.expired.parts, "rows": table.expired.rows,
                    "partly_parts": table.expired.partly_parts, "partly_rows": table.expired.partly_rows,
                },
                "reason": reason, "warnings": sentences(&table.warnings),
            })
        })
        .collect();
    let sum = |figure: fn(&TablePlan) -> u64| plan.tables.iter().map(figure).fold(0, u64::saturating_add);
    let document = json!({
        "schema": schema, "snapshot": prepared.snapshot().to_string(), "state": "planned", "dry_run": true,
        "recovery": plan.recovery.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "databases": plan.databases.iter().map(|database| &database.name).collect::<Vec<_>>(),
        "objects": plan.objects.iter().map(object).collect::<Vec<_>>(),
        "access": access_text::plan_rows(&plan.access), "tables": tables,
        "refused": plan.refused.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "totals": {
            "tables": plan.tables.len(), "parts": sum(|table| table.restores.parts), "rows": sum(|table| table.restores.rows),
            "bytes": sum(|table| table.restores.bytes),
        },
    });
    with_warnings(document, &plan.all_warnings())
}

fn object(object: &ObjectPlan) -> Value {
    let (action, reason) = match &object.action {
        ObjectAction::Make(_) => ("make", None),
        ObjectAction::Keep => ("keep", None),
        ObjectAction::KeepOther => ("keep_other", None),
        ObjectAction::Refuse(reason) => ("refuse", Some(reason)),
    };
    json!({"kind": object.kind.to_string(), "name": object.name, "action": action, "reason": reason})
}

pub(super) fn document(report: &Report, directory: Option<&Path>, schema: &str) -> Value {
    let mut document = json!({
        "schema": schema, "snapshot": report.snapshot.to_string(), "state": report.outcome(), "tables": report.tables,
        "made": report.made, "access": report.access, "totals": report.totals(), "notes": report.notes,
        "seconds": report.seconds,
    });
    if let (Some(directory), Value::Object(fields)) = (directory, &mut document) {
        insert_path(fields, "path", directory);
    }
    with_warnings(document, &report.all_warnings())
}

/// Restored tables, one a line.
pub(super) fn report(report: &Report) -> String {
    let columns = [
        ("TABLE", Left),
        ("STATE", Left),
        ("ROWS", Right),
        ("PARTS", Right),
        ("CHECKED", Right),
        ("SIZE", Right),
        ("PLACED", Left),
        ("NOTES", Left),
    ];
    let totals = report.totals();
    let mut text = String::new();
    if report.outcome() == Outcome::NothingToDo {
        writeln!(text, "nothing to do: everything is as in {}", report.snapshot).expect(WRITABLE);
        return text;
    }
    for made in &report.made {
        writeln!(text, "made {}", render::safe(made, 200)).expect(WRITABLE);
    }
    text.push_str(&access_text::report(&report.access));
    text.push_str(&render::table(&columns, report.tables.iter().map(row)));
    for statement in report.tables.iter().flat_map(|table| &table.ttl_statements) {
        writeln!(text, "to bring back its TTL: {}", render::safe(statement, 2000)).expect(WRITABLE);
    }
    writeln!(
        text,
        "{} of {}: {}, {}, {} in {:.1} s",
        render::count(totals.tables, "table"),
        report.snapshot,
        render::count(totals.rows, "row"),
        render::count(totals.parts, "part"),
        render::bytes(totals.bytes),
        report.seconds.get("total").copied().unwrap_or(0.0),
    )
    .expect(WRITABLE);
    text
}

fn row(table: &TableReport) -> Vec<String> {
    let state = match table.state {
        TableState::Restored => "restored",
        TableState::Replaced => "replaced",
        TableState::Attached => "attached",
        TableState::Created => "created",
        TableState::Present => "exists",
        TableState::Skipped => "not made",
        TableState::Incomplete => "FEWER ROWS",
        TableState::Failed => "FAILED",
    };
    let has_data = table.state.has_data();
    let figure = |text: String| if has_data { text } else { String::new() };
    let placed = &table.placed;
    let ways = [(placed.linked, "linked"), (placed.reflinked, "reflinked"), (placed.copied, "copied")];
    let ways: Vec<String> = ways
        .iter()
        .filter(|(tally, _)| tally.parts > 0)
        .map(|(tally, how)| format!("{} {how}", render::thousands(tally.parts)))
        .collect();
    let mut notes: Vec<String> = Vec::new();
    if table.is_detached {
        notes.push("detached, as it was".to_owned());
    }
    if table.name() != table.from {
        notes.push(format!("was {}", table.from));
    }
    if table.uuid_changed {
        notes.push("new UUID".to_owned());
    }
    if table.merged_parts > 0 {
        notes.push(format!("{} merged already", render::count(table.merged_parts, "part")));
    }
    if let Some(replaced) = &table.replaced_table {
        notes.push(format!("the replaced table is now {replaced}"));
    }
    notes.extend(table.reason.as_ref().map(ToString::to_string));
    vec![
        render::safe(&table.name().to_string(), 100),
        state.to_owned(),
        figure(render::thousands(table.rows)),
        figure(render::thousands(table.parts)),
        figure(render::thousands(table.verified_parts)),
        figure(render::bytes(table.bytes)),
        ways.join(", "),
        render::safe(&notes.join("; "), 500),
    ]
}
