use chrono::Utc;
use chsnap::model::Warning;
use chsnap::ops::{self, DrillReport, DrillRequest, DrillState, DrillVerdict, DrilledTable, OpError};
use chsnap::plan::{SnapshotReference, TablePattern};

use super::documents::{DrillDigests, DrillDocument, DrillTotals};
use super::globals::Globals;
use super::layout::{self, TextTable, Width, left, name, right};
use super::opening;
use super::output::Output;
use super::render;
use super::restore::RestorePlaceArgument;
use super::{CommandResult, DAMAGED, DONE, WARNED, signals};

/// Prove a snapshot: restore it into a database of its own, read, compare and drop it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An id, the beginning of one, a name, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Tables to try, as 'database.glob' [default: all]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Try N tables that have data, others each time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    sample: Option<u32>,
    /// How files are placed on the server: auto links, else shares blocks, else copies
    #[arg(long, value_name = "HOW", default_value = "auto")]
    place: RestorePlaceArgument,
    /// Accepted for scripts; drill never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

const EXAMPLES: &str = "Values are compared where the snapshot was made with create --digest; rows, parts and \
    fingerprints always. Views, dictionaries and tables without data are made as well, if they name nothing outside the \
    drill's database and reach nothing outside the server; with --sample they are left out.

Exit code 12: data is missing, different or noted as damaged. Exit code 3: a table with data could not be tried, a \
    definition would reach outside the drill's database, or nothing was tried.

Examples:
  chsnap drill
  chsnap drill --sample 3 --table 'posthog.*'";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let reference: SnapshotReference = args.snapshot.parse().map_err(OpError::from)?;
    let interrupted = signals::watch(!globals.json && !globals.quiet);
    let server = opening::connect(globals, interrupted.clone())?;
    let request = DrillRequest::new()
        .with_tables(args.table.clone())
        .with_sample(args.sample.and_then(|sample| usize::try_from(sample).ok()))
        .with_mode(args.place.mode())
        .with_jobs(globals.jobs_for(&repository))
        .with_paths(globals.paths())
        .with_lock_wait(globals.lock_wait)
        .with_interrupted(interrupted);
    // It changes nothing that exists; --yes is accepted so that a script can give it to every command.
    let Args { yes: _, .. } = args;
    let progress = output.progress();
    let result = ops::drill(&repository, &server, &reference, &request, &Utc::now, &progress);
    progress.clear();
    let report = result?;
    let warnings = report.all_warnings();
    let of_no_table: Vec<&Warning> = warnings.iter().filter(|warning| warning.table.is_none()).collect();
    output.warnings(&of_no_table);
    if output.is_json() {
        output.document(&document(&report), &warnings);
    } else {
        output.text(&text(&report, output.width()));
    }
    Ok(match report.state() {
        DrillState::Failed => DAMAGED,
        _ if !warnings.is_empty() => WARNED,
        _ => DONE,
    })
}

fn document(report: &DrillReport) -> DrillDocument {
    let count = |is_counted: fn(&DrilledTable) -> bool| report.count(is_counted) as u64;
    DrillDocument {
        state: report.state(),
        snapshot: report.snapshot,
        tables: report.tables.clone(),
        totals: DrillTotals {
            tables: count(is_tried_data),
            tables_in_snapshot: report.tables_in_snapshot as u64,
            definitions: count(is_made),
            failed: count(DrilledTable::is_failed),
            not_tried: count(|table| !table.is_tried()),
            parts: report.sum(|table| table.restored.parts),
            rows: report.sum(|table| table.restored.rows),
            bytes: report.sum(|table| table.restored.bytes),
            digests: DrillDigests {
                equal: report.sum(|table| table.digests.equal),
                different: report.sum(|table| table.digests.different),
                unknown: report.sum(|table| table.digests.unknown),
            },
        },
        seconds: report.seconds.clone(),
    }
}

/// Whether it has data in the snapshot, and was tried.
fn is_tried_data(table: &DrilledTable) -> bool {
    table.has_data && table.is_tried()
}

/// Whether it has no data in the snapshot, and was created from its definition.
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

fn row(table: &DrilledTable) -> (Vec<String>, Vec<String>) {
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
    let cells = vec![
        render::safe(&table.restored.from.to_string(), 400),
        state.to_owned(),
        figure(table.restored.rows),
        figure(table.restored.parts),
        values(table),
    ];
    (cells, notes.map(|note| render::safe(&note, 500)).collect())
}

fn text(report: &DrillReport, width: Width) -> String {
    let mut table = TextTable::new([
        name("TABLE"),
        left("STATE"),
        right("ROWS"),
        right("PARTS").dropped(1),
        left("VALUES").dropped(2),
    ]);
    for drilled in &report.tables {
        let (cells, notes) = row(drilled);
        table.add_with_notes(cells, notes);
    }
    let (failed, tried) = (report.count(DrilledTable::is_failed), report.count(DrilledTable::is_tried));
    let verdict = match report.state() {
        DrillState::Failed => {
            format!("is NOT proven: {} of {}", render::thousands(failed as u64), render::count(tried as u64, "table"))
        }
        DrillState::Proven => {
            let proven = report.count(is_tried_data);
            format!(
                "is proven: {} of {}",
                render::thousands(proven as u64),
                render::count(report.tables_in_snapshot as u64, "table")
            )
        }
        DrillState::NotTried => "was not tried".to_owned(),
    };
    let some = |count: usize, text: String| if count > 0 { text } else { String::new() };
    let (definitions, not_tried) = (report.count(is_made), report.count(|table| !table.is_tried()));
    let line = [
        format!("{} {verdict}, ", report.snapshot),
        some(definitions, format!("{}, ", render::count(definitions as u64, "definition"))),
        some(not_tried, format!("{} not tried, ", render::thousands(not_tried as u64))),
        format!("{}, ", render::count(report.sum(|table| table.restored.rows), "row")),
        format!("{} with equal sums, ", render::count(report.sum(|table| table.digests.equal), "part")),
        format!("in {:.1} s", report.seconds.get("total").copied().unwrap_or(0.0)),
        if report.leaves_database { "\n".to_owned() } else { "; the drill's database is dropped\n".to_owned() },
    ]
    .concat();
    table.render(width) + &layout::prose(&line, width)
}
