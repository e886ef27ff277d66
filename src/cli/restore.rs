use std::path::PathBuf;

use chsnap::exec::RestoreMode;
use chsnap::model::PartitionId;
use chsnap::ops::OpError;
use chsnap::ops::restore::{self, Report, TableReport, TableState, ToDirectory, Wanted};
use chsnap::plan::{SnapshotReference, TablePattern};
use clap::ValueEnum;
use serde_json::{Value, json};

use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED, signals};

/// Bring tables back from a snapshot: into a server, or as files into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An id, the beginning of one, latest, or latest~N
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Tables to restore, as 'database.glob' [default: all]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Partitions to restore, by id as in system.parts [default: all]
    #[arg(long, value_name = "ID")]
    partition: Vec<String>,
    /// Restore files into this directory, which must be empty or not there yet; no server is needed
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// How files come there: auto links, else shares blocks, else copies
    #[arg(long, value_name = "HOW", default_value = "auto")]
    place: Place,
}

const EXAMPLES: &str = "Examples:
  chsnap restore latest --to /srv/files --table 'posthog.events' --place copy";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Place {
    /// Link where nothing can come of it, else share blocks, else copy.
    Auto,
    /// Link only.
    Link,
    /// Copy, or share blocks: nothing is the snapshot's own file.
    Copy,
}

impl Place {
    pub(super) fn mode(self) -> RestoreMode {
        match self {
            Self::Auto => RestoreMode::Auto,
            Self::Link => RestoreMode::Link,
            Self::Copy => RestoreMode::Copy,
        }
    }
}

pub(super) fn run(args: Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let reference: SnapshotReference = args.snapshot.parse().map_err(OpError::from)?;
    let interrupted = signals::watch(!globals.json && !globals.quiet);
    let wanted = Wanted { tables: args.table, partitions: args.partition.into_iter().map(PartitionId).collect() };
    let mode = args.place.mode();
    let directory = args.to;
    let request = ToDirectory { wanted, directory: directory.clone(), mode, jobs: globals.jobs(), interrupted };
    let progress = output.progress();
    let result = restore::restore_to_directory(&repository, &reference, &request, &progress);
    progress.clear();
    let report = result?;
    Ok(show(&report, Some(&directory), output))
}

fn show(report: &Report, directory: Option<&PathBuf>, output: &Output) -> u8 {
    output.warnings(&report.warnings);
    if output.is_json() {
        output.json(&document(report, directory, output));
    } else {
        output.text(&text(report));
        if let Some(directory) = directory {
            output.text(&format!("the files are in {}\n", render::safe(&directory.to_string_lossy(), 1000)));
        }
    }
    if report.has_warnings() { WARNED } else { DONE }
}

fn document(report: &Report, directory: Option<&PathBuf>, output: &Output) -> Value {
    let mut document = json!({
        "schema": output.schema(), "snapshot": report.snapshot.to_string(), "state": "restored",
        "tables": report.tables, "made": report.made, "totals": report.totals(), "warnings": report.warnings,
        "seconds": report.seconds,
    });
    if let (Some(directory), Value::Object(fields)) = (directory, &mut document) {
        super::output::insert_path(fields, "path", directory);
    }
    document
}

/// Restored tables, one a line.
pub(super) fn text(report: &Report) -> String {
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
    let mut text = render::table(&columns, report.tables.iter().map(row));
    for made in &report.made {
        text.push_str(&format!("made {}\n", render::safe(made, 200)));
    }
    text.push_str(&format!(
        "{} of {}: {}, {}, {} in {:.1} s\n",
        render::count(totals.tables, "table"),
        report.snapshot,
        render::count(totals.rows, "row"),
        render::count(totals.parts, "part"),
        render::bytes(totals.bytes),
        report.seconds.get("total").copied().unwrap_or(0.0),
    ));
    text
}

fn row(table: &TableReport) -> Vec<String> {
    let state = match table.state {
        TableState::Restored => "restored",
        TableState::Replaced => "replaced",
        TableState::Attached => "attached",
        TableState::Created => "created",
        TableState::Present => "there already",
        TableState::Failed => "FAILED",
    };
    let has_data = matches!(table.state, TableState::Restored | TableState::Replaced | TableState::Attached);
    let figure = |text: String| if has_data { text } else { String::new() };
    let placed = &table.placed;
    let ways = [(placed.linked, "linked"), (placed.reflinked, "reflinked"), (placed.copied, "copied")];
    let ways: Vec<String> = ways
        .iter()
        .filter(|(tally, _)| tally.parts > 0)
        .map(|(tally, how)| format!("{} {how}", render::thousands(tally.parts)))
        .collect();
    let mut notes: Vec<String> = Vec::new();
    if table.name() != table.from {
        notes.push(format!("was {}", table.from));
    }
    if table.uuid_changed {
        notes.push("new UUID".to_owned());
    }
    if table.merged_parts > 0 {
        notes.push(format!("{} merged already", render::count(table.merged_parts, "part")));
    }
    notes.extend(table.reason.clone());
    notes.extend(table.warnings.iter().cloned());
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
