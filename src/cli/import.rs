use std::path::PathBuf;

use chrono::{DateTime, Utc};
use chsnap::model::{Label, TableName};
use chsnap::ops::import::{ImportReport, ImportRequest, PreparedImport, prepare_import};
use chsnap::plan::{ImportedTable, Refusal, TablePattern};

use super::documents::{ImportDocument, ImportSourceRow, ImportedTableRow};
use super::given_text::check_name;
use super::globals::{Globals, size};
use super::opening;
use super::output::Output;
use super::render;
use super::render::Align::{Left, Right};
use super::restore::RestorePlaceArgument;
use super::{CommandResult, DONE, WARNED, signals};

/// Make a snapshot from a backup of ClickHouse or clickhouse-backup, or from a tree of frozen parts
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The directory that holds .backup, metadata.json, or frozen parts
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Directory of the definitions of a tree of frozen parts: a server's metadata/, or a copy of it
    #[arg(long, value_name = "DIR")]
    metadata: Option<PathBuf>,
    /// Tables to take, as 'database.glob' [default: all]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// A name for the snapshot
    #[arg(long, value_name = "LABEL")]
    name: Option<std::ffi::OsString>,
    /// When the tree was made, as 2026-11-22T02:00:00Z [default: the time that it records]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<DateTime<Utc>>,
    /// How files are placed in the snapshot: auto links, else shares blocks, else copies
    #[arg(long, value_name = "HOW", default_value = "auto")]
    place: RestorePlaceArgument,
    /// Copy no more than this per second, for example 50MiB; 0 for no limit
    #[arg(long, value_name = "RATE", value_parser = size)]
    bwlimit: Option<u64>,
    /// Read and check the tree, show what would be taken, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    let time =
        DateTime::parse_from_rfc3339(text).map_err(|error| format!("{error}; for example 2026-11-22T02:00:00Z"))?;
    Ok(time.to_utc())
}

const EXAMPLES: &str = "Examples:
  chsnap import /var/lib/clickhouse/backups/2026-11-22 --dry-run
  chsnap import /var/lib/clickhouse/backup/2026-11-22T02-00-00 --name moved
  chsnap import /srv/old/shadow/1 --metadata /var/lib/clickhouse/metadata --table 'posthog.*'";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    check_name(args.name.as_deref())?;
    let repository = opening::open(globals)?;
    let interrupted = signals::watch(!globals.json && !globals.quiet);
    let request = ImportRequest::new(args.directory.clone())
        .with_metadata(args.metadata.clone())
        .with_tables(args.table.clone())
        .with_label(args.name.as_deref().map(Label::new).unwrap_or_default())
        .with_time(args.time)
        .with_mode(args.place.mode())
        .with_copy_rate(args.bwlimit.filter(|rate| *rate > 0))
        .with_jobs(globals.jobs_for(&repository))
        .with_lock_wait(globals.lock_wait)
        .with_interrupted(interrupted);
    let progress = output.progress();
    let prepared = prepare_import(&repository, &request, Utc::now(), &progress);
    progress.clear();
    let prepared = prepared?;
    let name = prepared.name().to_owned();
    let source = ImportSourceRow { kind: prepared.kind(), name, path: args.directory.to_string_lossy().into_owned() };
    let (time, made) = (prepared.time(), prepared.plan().made.clone());
    if args.dry_run {
        return Ok(show_plan(&prepared, source, output));
    }
    let result = prepared.run(&Utc::now, &progress);
    progress.clear();
    let report = result?;
    show_report(&report, (time, source, &made), output);
    Ok(if report.warnings.is_empty() { DONE } else { WARNED })
}

fn show_plan(prepared: &PreparedImport<'_>, source: ImportSourceRow, output: &Output) -> u8 {
    let plan = prepared.plan();
    let code = if plan.warnings.is_empty() { DONE } else { WARNED };
    if output.is_json() {
        let tables = plan.tables.iter().map(|table| ImportedTableRow {
            database: table.name.database.clone(),
            name: table.name.table.clone(),
            engine: table.engine.clone(),
            state: "planned".to_owned(),
            parts: table.parts.len() as u64,
            rows: None,
            bytes: None,
            reason: reason(table).map(str::to_owned),
        });
        let document = ImportDocument {
            table_list: tables.collect(),
            ..ImportDocument::planned(prepared.time(), source, &plan.made)
        };
        output.document(&document, &plan.warnings);
        return code;
    }
    let columns = [("TABLE", Left), ("ENGINE", Left), ("PARTS", Right), ("NOTES", Left)];
    let rows = plan.tables.iter().map(|table| {
        let reason = reason(table).unwrap_or_default();
        vec![
            named(&table.name),
            render::safe(&table.engine, 40),
            render::thousands(table.parts.len() as u64),
            render::safe(reason, 500),
        ]
    });
    output.text(&render::table(&columns, rows, output.width()));
    output.prose(&format!(
        "{}, made {}: nothing was imported\n",
        source.kind.text(),
        prepared.time().format("%Y-%m-%d %H:%M:%S UTC")
    ));
    notes(&plan.made, output);
    output.warnings(&plan.warnings);
    code
}

fn show_report(
    report: &ImportReport,
    (time, source, made): (DateTime<Utc>, ImportSourceRow, &[String]),
    output: &Output,
) {
    let ImportReport { id, same_name, totals, placed, rows, tables, warnings, seconds, .. } = report;
    if output.is_json() {
        let tables = tables.iter().map(|entry| ImportedTableRow {
            database: entry.database.clone(),
            name: entry.table.clone(),
            engine: entry.engine.clone(),
            state: entry.state.name().to_owned(),
            parts: entry.parts,
            rows: rows.of_table(entry),
            bytes: Some(entry.apparent_bytes),
            reason: entry.reason.clone(),
        });
        let document = ImportDocument {
            state: "complete".to_owned(),
            id: Some(*id),
            same_name: Some(same_name.clone()),
            tables: Some(totals.tables),
            parts: Some(totals.parts),
            files: Some(totals.files),
            apparent_bytes: Some(totals.apparent_bytes),
            allocated_bytes: Some(totals.allocated_bytes),
            written_bytes: Some(totals.written_bytes),
            rows: rows.all(),
            placed: Some(*placed),
            table_list: tables.collect(),
            seconds: Some(seconds.clone()),
            ..ImportDocument::planned(time, source, made)
        };
        output.document(&document, warnings);
        return;
    }
    let ways = [(placed.linked, "linked"), (placed.reflinked, "reflinked"), (placed.copied, "copied")];
    let ways: Vec<String> = (ways.iter().filter(|(tally, _)| tally.parts > 0))
        .map(|(tally, how)| format!("{} {how}", render::count(tally.parts, "part")))
        .collect();
    output.prose(&format!(
        "snapshot {id} from {}\n  {}, {}, {}, {}\n  {} to restore, {} on disk\n  {}\n",
        source.kind.text(),
        render::count(totals.tables, "table"),
        render::count(totals.parts, "part"),
        render::count(totals.files, "file"),
        rows.all().map_or_else(|| "an unknown number of rows".to_owned(), |rows| render::count(rows, "row")),
        render::bytes(totals.apparent_bytes),
        render::bytes(totals.allocated_bytes),
        if ways.is_empty() { "no parts".to_owned() } else { ways.join(", ") },
    ));
    notes(made, output);
    output.warnings(warnings);
}

/// Why a table, or its rows, are not taken.
fn reason(table: &ImportedTable) -> Option<&str> {
    table.skipped.as_ref().map(Refusal::reason).or(table.data_left.as_deref())
}

fn notes(made: &[String], output: &Output) {
    for made in made {
        output.note(&format!("made {made}"));
    }
}

fn named(name: &TableName) -> String {
    render::safe(&name.to_string(), 100)
}
