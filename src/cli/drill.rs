use chrono::Utc;
use chsnap::model::Warning;
use chsnap::ops::{self, DrillReport, DrillRequest, DrillState, DrillVerdict, DrilledTable, OpError};
use chsnap::plan::{SnapshotReference, TablePattern};
use serde_json::{Value, json};

use super::globals::Globals;
use super::opening;
use super::output::{Output, with_warnings};
use super::render;
use super::render::Align::{Left, Right};
use super::restore::Place;
use super::{CommandResult, DAMAGED, DONE, WARNED, signals};

/// Prove a snapshot: restore it into a database of its own, read, compare and drop it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An id, the beginning of one, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Tables to try, as 'database.glob' [default: all]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Try N tables that have data, others each time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// How files come to the server: auto links, else shares blocks, else copies
    #[arg(long, value_name = "HOW", default_value = "auto")]
    place: Place,
    /// For scripts: drill never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

const EXAMPLES: &str = "Values are compared where the snapshot was made with create --digest; rows, parts and \
    fingerprints always. Views, dictionaries and tables without data are made as well, if they name nothing outside the \
    drill's database and reach nothing outside the server; with --sample they are left out.

Exit code 12: data is missing, different or noted as damaged. Exit code 3: something could not be tried that has data or \
    should stay within the drill's database, or nothing was tried.

Examples:
  chsnap drill
  chsnap drill --sample 3 --table 'posthog.*'";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let reference: SnapshotReference = args.snapshot.parse().map_err(OpError::from)?;
    let interrupted = signals::watch(!globals.json && !globals.quiet);
    let server = opening::connect(globals, interrupted.clone())?;
    let request = DrillRequest {
        tables: args.table.clone(),
        sample: args.sample.and_then(|sample| usize::try_from(sample).ok()),
        mode: args.place.mode(),
        jobs: globals.jobs_for(&repository),
        paths: globals.paths(),
        lock_wait: globals.lock_wait,
        interrupted,
    };
    // It touches nothing that is there: --yes is so that a script may give it.
    let Args { yes: _, .. } = args;
    let progress = output.progress();
    let result = ops::drill(&repository, &server, &reference, &request, &Utc::now, &progress);
    progress.clear();
    let report = result?;
    let warnings = report.all_warnings();
    let of_no_table: Vec<&Warning> = warnings.iter().filter(|warning| warning.table.is_none()).collect();
    output.warnings(&of_no_table);
    if output.is_json() {
        output.json(&document(&report, &output.schema()));
    } else {
        output.text(&text(&report));
    }
    Ok(match report.state() {
        DrillState::Failed => DAMAGED,
        _ if !warnings.is_empty() => WARNED,
        _ => DONE,
    })
}

fn document(report: &DrillReport, schema: &str) -> Value {
    let document = json!({
        "schema": schema, "snapshot": report.snapshot.to_string(), "state": report.state(),
        "tables": report.tables,
        "totals": {
            "tables": report.count(is_tried_data), "tables_in_snapshot": report.tables_in_snapshot,
            "definitions": report.count(is_made), "failed": report.count(DrilledTable::is_failed),
            "not_tried": report.count(|table| !table.is_tried()),
            "parts": report.sum(|table| table.restored.parts), "rows": report.sum(|table| table.restored.rows),
            "bytes": report.sum(|table| table.restored.bytes),
            "digests": {
                "equal": report.sum(|table| table.digests.equal),
                "different": report.sum(|table| table.digests.different),
                "unknown": report.sum(|table| table.digests.unknown),
            },
        },
        "seconds": report.seconds,
    });
    with_warnings(document, &report.all_warnings())
}

/// Whether it has data in the snapshot, and was tried.
fn is_tried_data(table: &DrilledTable) -> bool {
    table.has_data && table.is_tried()
}

/// Whether it has no data in the snapshot, and its definition was made.
fn is_made(table: &DrilledTable) -> bool {
    !table.has_data && table.is_proven()
}

fn values(table: &DrilledTable) -> String {
    let digests = table.digests;
    match &table.verdict {
        DrillVerdict::Proven if !table.has_data => "definition made".to_owned(),
        _ if digests.different > 0 => format!("{} DIFFERENT", render::count(digests.different, "part")),
        DrillVerdict::Proven if digests.equal == 0 => "read, none recorded".to_owned(),
        DrillVerdict::Proven if digests.unknown > 0 => {
            format!("{} of {} equal", digests.equal, render::count(digests.equal + digests.unknown, "part"))
        }
        DrillVerdict::Proven => "all equal".to_owned(),
        _ => String::new(),
    }
}

fn row(table: &DrilledTable) -> Vec<String> {
    let state = match table.verdict {
        DrillVerdict::Proven => "proven",
        DrillVerdict::Failed(_) => "FAILED",
        DrillVerdict::NotTried(_) => "not tried",
    };
    let figure = |figure: u64| if is_tried_data(table) { render::thousands(figure) } else { String::new() };
    let notes = table
        .reason()
        .into_iter()
        .chain(table.digests_note())
        .chain(table.restored.warnings.iter().map(ToString::to_string));
    vec![
        render::safe(&table.restored.from.to_string(), 100),
        state.to_owned(),
        figure(table.restored.rows),
        figure(table.restored.parts),
        values(table),
        render::safe(&notes.collect::<Vec<_>>().join("; "), 500),
    ]
}

fn text(report: &DrillReport) -> String {
    let columns =
        [("TABLE", Left), ("STATE", Left), ("ROWS", Right), ("PARTS", Right), ("VALUES", Left), ("NOTES", Left)];
    let mut text = render::table(&columns, report.tables.iter().map(row));
    let (failed, tried) = (report.count(DrilledTable::is_failed), report.count(DrilledTable::is_tried));
    let verdict = match report.state() {
        DrillState::Failed => format!("is NOT proven: {failed} of {}", render::count(tried as u64, "table")),
        DrillState::Proven => {
            let proven = report.count(is_tried_data);
            format!("is proven: {proven} of {}", render::count(report.tables_in_snapshot as u64, "table"))
        }
        DrillState::NotTried => "was not tried".to_owned(),
    };
    let some = |count: usize, text: String| if count > 0 { text } else { String::new() };
    let (definitions, not_tried) = (report.count(is_made), report.count(|table| !table.is_tried()));
    text.push_str(
        &[
            format!("{} {verdict}, ", report.snapshot),
            some(definitions, format!("{}, ", render::count(definitions as u64, "definition"))),
            some(not_tried, format!("{not_tried} not tried, ")),
            format!("{}, ", render::count(report.sum(|table| table.restored.rows), "row")),
            format!("{} with equal sums, ", render::count(report.sum(|table| table.digests.equal), "part")),
            format!(
                "in {:.1} s; the drill's database is dropped\n",
                report.seconds.get("total").copied().unwrap_or(0.0)
            ),
        ]
        .concat(),
    );
    text
}
