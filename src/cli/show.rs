use chrono::{DateTime, Utc};
use chsnap::model::{LackedMutation, PartName, Warning, WarningKind};
use chsnap::ops::{self, SnapshotDetails};
use chsnap::plan::SnapshotReference;
use chsnap::repo::{ServerEntry, TableEntry, TableState};

use super::access_text;
use super::create::moment_text;
use super::documents::{DrilledRow, PinRow, ShowDocument, ShownTable, VerifiedRow};
use super::globals::Globals;
use super::layout::{self, ENGINE, TextTable, Width, left, name, right};
use super::list::verified_text;
use super::opening;
use super::output::{Output, path_base64};
use super::pin;
use super::render;
use super::{CommandResult, DONE, WARNED, series};

/// How many of the parts that lack a mutation are named.
const NAMED_PARTS: usize = 3;

/// Show one snapshot: its tables, its path, and the warnings of its creation
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An id, the beginning of one, a name, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Show its users, roles, quotas, policies and settings profiles as CREATE and GRANT statements
    #[arg(long)]
    access: bool,
    /// Also show hashes and passwords in these statements
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
        let all: Vec<Warning> = shown.manifest.all_warnings().into_iter().chain(shown.warnings.clone()).collect();
        output.document(&document(&shown), &all);
    } else {
        output.text(&text(&shown, now, output.width()));
        output.warnings(&shown.manifest.warnings);
        output.warnings(&shown.warnings);
    }
    Ok(if shown.warnings.is_empty() { DONE } else { WARNED })
}

fn show_access(access: &ops::ShownAccess, with_secrets: bool, shown: &SnapshotDetails, output: &Output) -> u8 {
    let warnings = access_text::warnings(access);
    if output.is_json() {
        let own = warnings.iter().map(|message| Warning::new(WarningKind::AccessUnreadable, message));
        let all: Vec<Warning> =
            shown.manifest.all_warnings().into_iter().chain(own).chain(shown.warnings.clone()).collect();
        let document = ShowDocument {
            access: Some(access_text::rows(access, with_secrets)),
            access_warnings: Some(warnings.clone()),
            ..document(shown)
        };
        output.document(&document, &all);
    } else {
        output.prose(&access_text::statements(access, with_secrets));
        output.warnings(&warnings);
        output.warnings(&shown.warnings);
    }
    if warnings.is_empty() && shown.warnings.is_empty() { DONE } else { WARNED }
}

fn document(shown: &SnapshotDetails) -> ShowDocument {
    let manifest = shown.manifest.clone();
    ShowDocument {
        state: "complete".to_owned(),
        format: manifest.format,
        chsnap: manifest.chsnap,
        id: manifest.id,
        sequence: manifest.sequence,
        time: manifest.time,
        sealed: manifest.sealed,
        label: manifest.label,
        server: manifest.server,
        settings: manifest.settings,
        imported: manifest.imported,
        moment: manifest.moment,
        copied: manifest.copied,
        extracted: manifest.extracted,
        secrets_left_out: manifest.secrets_left_out,
        previous: manifest.previous,
        totals: manifest.totals,
        placed: manifest.placed,
        dumped: manifest.dumped,
        databases: manifest.databases,
        table_list: manifest.tables.iter().map(ShownTable::from).collect(),
        metadata: manifest.metadata,
        parts_blake3: manifest.parts_blake3,
        series: shown.summary.series.as_ref().map(ToString::to_string),
        series_label: series::label(&shown.summary, &shown.series.main),
        incomplete: shown.summary.incomplete,
        path: shown.path.to_string_lossy().into_owned(),
        path_base64: path_base64(&shown.path),
        pinned: shown.pin.is_some(),
        pin: shown.pin.as_ref().map(PinRow::from),
        verified: VerifiedRow::of(&shown.check),
        drilled: shown.drill.as_ref().map(DrilledRow::from),
        access: None,
        access_warnings: None,
    }
}

/// The server in words; an imported snapshot may know neither its version nor its data path.
fn server(server: &ServerEntry) -> String {
    let version = match server.version.as_str() {
        "unknown" => "ClickHouse of an unknown version".to_owned(),
        version => format!("ClickHouse {version}"),
    };
    let data = if server.data_path.is_empty() { String::new() } else { format!(", data in {}", server.data_path) };
    format!("{version} on {}{data}", server.host_name)
}

fn text(shown: &SnapshotDetails, now: DateTime<Utc>, width: Width) -> String {
    let manifest = &shown.manifest;
    let totals = &manifest.totals;
    let mut lines = vec![
        ("snapshot", manifest.id.to_string()),
        (
            "taken",
            format!("{} ({} ago)", manifest.time.format("%Y-%m-%d %H:%M:%S UTC"), render::age(manifest.time, now)),
        ),
        ("path", shown.path.display().to_string()),
        ("server", server(&manifest.server)),
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
    if let Some(copied) = &manifest.copied {
        let (path, time) = (render::safe(&copied.path, 200), copied.time.format("%Y-%m-%d %H:%M:%S UTC"));
        lines.push(("copied", format!("from {path}, {time}")));
    }
    if let Some(extracted) = &manifest.extracted {
        let path = render::safe(&extracted.path, 200);
        let time = extracted.time.format("%Y-%m-%d %H:%M:%S UTC");
        lines.push(("selected", format!("from {} in {path}, {time}", extracted.id)));
    }
    if let Some(left_out) = &manifest.secrets_left_out {
        lines.push(("secrets", left_out.to_string()));
    }
    if let Some(moment) = &manifest.moment {
        let text = moment_text(moment, manifest.off_moment_tables());
        lines.push(("moment", format!("{text}, at {}", moment.from.format("%Y-%m-%d %H:%M:%S%.3f UTC"))));
    }
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
    for table in &manifest.tables {
        for mutation in &table.keeper_mutations {
            lines.push(("mutation", keeper_mutation(table, mutation)));
        }
    }
    if shown.summary.incomplete {
        lines.push(("lacks", "a table that it could have had: it is incomplete".to_owned()));
    }
    if let Some(pin) = &shown.pin {
        let reason = if pin.reason.is_empty() { "without a reason".to_owned() } else { render::safe(&pin.reason, 200) };
        lines.push(("pinned", format!("{reason}{}", pin::until(pin))));
    }
    lines.push(("verified", verified_text(&shown.check, now)));
    if let Some(drill) = &shown.drill {
        lines.push(("drilled", drilled(drill, now)));
    }
    let lines: Vec<(&str, String)> = lines.into_iter().map(|(name, value)| (name, render::safe(&value, 400))).collect();
    let mut table = TextTable::new([
        name("TABLE"),
        left("ENGINE").cut_to(ENGINE).dropped(3),
        right("PARTS").dropped(2),
        right("FILES").dropped(1),
        right("ROWS"),
        right("TO RESTORE"),
    ]);
    for entry in &manifest.tables {
        let (cells, notes) = row(entry);
        table.add_with_notes(cells, notes);
    }
    format!("{}\n{}", layout::facts(&lines, width), table.render(width))
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

/// A mutation whose effect the snapshot does not contain.
fn keeper_mutation(table: &TableEntry, mutation: &LackedMutation) -> String {
    let lacking = match mutation.parts.as_slice() {
        [] => "which of its parts lack it is not known".to_owned(),
        parts => {
            let of = render::thousands(table.parts);
            let named: Vec<&str> = parts.iter().take(NAMED_PARTS).map(PartName::as_str).collect();
            let more = if parts.len() > NAMED_PARTS { ", …" } else { "" };
            format!("{} of {of} parts lack it ({}{more})", parts.len(), named.join(", "))
        }
    };
    let command = if mutation.command.is_empty() { "(its statement is not known)" } else { &mutation.command };
    format!("{} of {}, which only Keeper has: {lacking}: {command}", mutation.id, table.name())
}

/// The figures of a table, and the notes on it.
fn row(table: &TableEntry) -> (Vec<String>, Vec<String>) {
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
    if let Some(off_moment) = table.off_moment.as_ref() {
        notes.push(format!("not of the moment: {}", off_moment.reason));
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
    let cells = vec![
        render::safe(&table.name().to_string(), 400),
        render::safe(&table.engine, 40),
        figure(render::thousands(table.parts)),
        of_files(render::thousands(files)),
        of_files(rows.map_or_else(|| "?".to_owned(), render::thousands)),
        of_files(render::bytes(bytes)),
    ];
    (cells, notes.iter().map(|note| render::safe(note, 200)).collect())
}
