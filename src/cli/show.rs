use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use chsnap::model::{Warning, WarningKind};
use chsnap::ops::{self, Shown};
use chsnap::plan::SnapshotReference;
use chsnap::repo::{TableEntry, TableState};
use serde_json::{Map, Value, json};

use super::access_text;
use super::create::merge;
use super::globals::Globals;
use super::list::{verified, verified_text};
use super::opening;
use super::output::{Output, insert_path, insert_warnings};
use super::pin;
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED, series};

/// Show one snapshot: its tables, where it is, what was noted when it was made
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An id, the beginning of one, a name, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Show its users, roles, quotas, policies and settings profiles, as statements that make them
    #[arg(long)]
    access: bool,
    /// Show hashes and passwords in these statements, too
    #[arg(long, requires = "access")]
    secrets: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let reference: SnapshotReference = args.snapshot.parse().map_err(ops::OpError::from)?;
    let now = Utc::now();
    let mut shown = ops::show(&repository, &reference)?;
    shown.pin.take_if(|pin| !pin.holds(now));
    if args.access {
        let access = ops::show_access(&repository, shown.manifest.id, &shown.manifest)?;
        return Ok(show_access(&access, args.secrets, &shown, output));
    }
    if output.is_json() {
        output.json(&document(&shown, output));
    } else {
        output.text(&text(&shown, now));
        output.warnings(&shown.manifest.warnings);
    }
    Ok(DONE)
}

fn show_access(access: &ops::ShownAccess, with_secrets: bool, shown: &Shown, output: &Output) -> u8 {
    let warnings = access_text::warnings(access);
    if output.is_json() {
        let mut document = document(shown, output);
        if let Value::Object(fields) = &mut document {
            fields.insert("access".to_owned(), access_text::rows(access, with_secrets).into());
            fields.insert("access_warnings".to_owned(), json!(warnings));
            let own = warnings.iter().map(|message| Warning::new(WarningKind::AccessUnreadable, message));
            let of_snapshot = shown.manifest.all_warnings();
            insert_warnings(fields, &of_snapshot.into_iter().chain(own).collect::<Vec<_>>());
        }
        output.json(&document);
    } else {
        output.text(&access_text::statements(access, with_secrets));
        output.warnings(&warnings);
    }
    if warnings.is_empty() { DONE } else { WARNED }
}

fn document(shown: &Shown, output: &Output) -> Value {
    let mut document = Map::new();
    merge(&mut document, &shown.manifest);
    for table in document.get_mut("tables").and_then(Value::as_array_mut).into_iter().flatten() {
        // In the manifest it has a state that earlier versions know.
        if let Some(fields) = table.as_object_mut().filter(|fields| fields.contains_key("dump")) {
            fields.insert("state".to_owned(), "dumped".into());
        }
    }
    let dumped = json!(shown.manifest.dumped);
    document.insert("dumped".to_owned(), dumped);
    // As in every answer, `tables` is how many were taken; the list of them has a name of its own.
    if let Some(tables) = document.remove("tables") {
        document.insert("table_list".to_owned(), tables);
    }
    document.remove("totals");
    merge(&mut document, &shown.manifest.totals);
    document.insert("schema".to_owned(), output.schema().into());
    document.insert("state".to_owned(), "complete".into());
    document.insert("series".to_owned(), json!(shown.summary.series.as_ref().map(ToString::to_string)));
    series::insert_label(&mut document, &shown.summary, &shown.series);
    if shown.summary.incomplete {
        document.insert("incomplete".to_owned(), true.into());
    }
    insert_path(&mut document, "path", &shown.path);
    document.insert("pinned".to_owned(), shown.pin.is_some().into());
    document.insert("verified".to_owned(), verified(&shown.check));
    if let Some(pin) = &shown.pin {
        document.insert("pin".to_owned(), json!(pin));
    }
    document.insert("drilled".to_owned(), json!(shown.drill));
    Value::Object(document)
}

fn text(shown: &Shown, now: DateTime<Utc>) -> String {
    let manifest = &shown.manifest;
    let totals = &manifest.totals;
    let mut lines = vec![
        ("snapshot", manifest.id.to_string()),
        (
            "taken",
            format!("{} ({} ago)", manifest.time.format("%Y-%m-%d %H:%M:%S UTC"), render::age(manifest.time, now)),
        ),
        ("path", shown.path.display().to_string()),
        (
            "server",
            format!(
                "ClickHouse {} on {}, data in {}",
                manifest.server.version, manifest.server.host_name, manifest.server.data_path
            ),
        ),
        (
            "holds",
            format!(
                "{}, {}, {}",
                render::count(totals.tables, "table"),
                render::count(totals.parts, "part"),
                render::count(totals.files, "file")
            ),
        ),
        (
            "size",
            format!(
                "{} to restore, {} on disk, {} of it not in {}",
                render::bytes(totals.apparent_bytes),
                render::bytes(totals.allocated_bytes),
                render::bytes(totals.written_bytes),
                manifest.previous.map_or_else(|| "an earlier snapshot".to_owned(), |id| id.to_string())
            ),
        ),
    ];
    if !manifest.dumped.is_empty() {
        let dumped = &manifest.dumped;
        let text = format!(
            "{} without parts, {}, {}",
            render::count(dumped.tables, "table"),
            render::count(dumped.rows, "row"),
            render::bytes(dumped.bytes)
        );
        lines.push(("dumped", text));
    }
    if let Some(label) = &manifest.label.text {
        lines.insert(1, ("name", render::safe(label, 200)));
    }
    if let Some(label) = series::label(&shown.summary, &shown.series.main) {
        lines.push(("series", format!("[{}]", render::safe(&label, 200))));
    }
    if shown.summary.incomplete {
        lines.push(("lacks", "a table that it could have had: it is incomplete".to_owned()));
    }
    if let Some(pin) = &shown.pin {
        lines.push(("pinned", format!("{}{}", render::safe(&pin.reason, 200), pin::until(pin))));
    }
    lines.push(("verified", verified_text(&shown.check, now)));
    if let Some(drill) = &shown.drill {
        lines.push(("drilled", drilled(drill, now)));
    }
    let mut text = String::new();
    for (name, value) in lines {
        writeln!(text, "{name:<9} {}", render::safe(&value, 400)).expect("writing to a String cannot fail");
    }
    let columns = [
        ("TABLE", Left),
        ("ENGINE", Left),
        ("PARTS", Right),
        ("FILES", Right),
        ("ROWS", Right),
        ("TO RESTORE", Right),
        ("NOTES", Left),
    ];
    text.push('\n');
    text.push_str(&render::table(&columns, manifest.tables.iter().map(row)));
    text
}

fn drilled(drill: &ops::Drill, now: DateTime<Utc>) -> String {
    let tables = format!("{} of {}", drill.tables, render::count(drill.of_tables, "table"));
    let outcome = if drill.failed == 0 {
        format!(
            "{tables} came back, {}, {} with equal sums",
            render::count(drill.rows, "row"),
            render::count(drill.digests, "part")
        )
    } else {
        format!("{} of {tables} NOT as they were taken", drill.failed)
    };
    format!("{} ago: {outcome}", render::age(drill.time, now))
}

fn row(table: &TableEntry) -> Vec<String> {
    let is_taken = table.state == TableState::Taken;
    // The figures of a table without parts are those of its dump.
    let (files, rows, bytes) = match &table.dump {
        None => (table.files, Some(table.rows), table.apparent_bytes),
        Some(dump) => (dump.files.len() as u64, dump.rows, dump.stored_bytes),
    };
    let has_files = is_taken || table.dump.is_some();
    let of_files = |text: String| if has_files { text } else { String::new() };
    let figure = |text: String| if is_taken { text } else { String::new() };
    let mut notes = Vec::new();
    match table.state {
        TableState::Taken => {}
        _ if table.dump.is_some() => notes.push("dumped".to_owned()),
        TableState::Definition => notes.push("definition only".to_owned()),
        TableState::DataLeft => notes.push("definition only; its data cannot be frozen".to_owned()),
        TableState::Skipped => notes.push(format!("skipped: {}", table.reason.as_deref().unwrap_or("no reason given"))),
    }
    if table.remote_parts > 0 {
        notes.push(format!("NOT WHOLE: {} on other disks not taken", render::count(table.remote_parts, "part")));
    }
    if table.is_detached {
        notes.push("detached".to_owned());
    }
    if table.patch_parts > 0 {
        notes.push(render::count(table.patch_parts, "patch part"));
    }
    if !table.mutations.is_empty() {
        notes.push(render::count(table.mutations.len() as u64, "unfinished mutation"));
    }
    if table.unverifiable_parts > 0 {
        let why = table.unverifiable.as_deref().unwrap_or("no readable checksums");
        notes.push(format!("{} cannot be verified: {why}", render::count(table.unverifiable_parts, "part")));
    }
    if table.detached_parts > 0 {
        notes.push(format!("{} not taken", render::count(table.detached_parts, "detached part")));
    }
    let name = table.name();
    vec![
        render::safe(&name.to_string(), 100),
        render::safe(&table.engine, 40),
        figure(render::thousands(table.parts)),
        of_files(render::thousands(files)),
        of_files(rows.map_or_else(|| "?".to_owned(), render::thousands)),
        of_files(render::bytes(bytes)),
        render::safe(&notes.join("; "), 200),
    ]
}
