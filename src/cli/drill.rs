use chrono::Utc;
use chsnap::ops::restore::TableState;
use chsnap::ops::{self, OpError, Proof, Trial, TriedTable};
use chsnap::plan::{SnapshotReference, TablePattern};
use serde_json::{Value, json};

use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::render;
use super::render::Align::{Left, Right};
use super::restore::Place;
use super::{CommandResult, DAMAGED, DONE, WARNED, signals};

/// Prove a snapshot: restore tables for a trial, read, compare and drop them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// An id, the beginning of one, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", default_value = "latest")]
    snapshot: String,
    /// Tables to try, as 'database.glob' [default: all]
    #[arg(long, value_name = "DB.GLOB")]
    table: Vec<TablePattern>,
    /// Try so many of them, another choice each time
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
    fingerprints always.

Exit code 12: something is not what the snapshot says.

Examples:
  chsnap drill
  chsnap drill --sample 3 --table 'posthog.*'";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let reference: SnapshotReference = args.snapshot.parse().map_err(OpError::from)?;
    let interrupted = signals::watch(!globals.json && !globals.quiet);
    let server = opening::connect(globals, interrupted.clone())?;
    let trial = Trial {
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
    let result = ops::drill(&repository, &server, &reference, &trial, &Utc::now, &progress);
    progress.clear();
    let proof = result?;
    output.warnings(&proof.warnings);
    if output.is_json() {
        output.json(&document(&proof, &output.schema()));
    } else {
        output.text(&text(&proof));
    }
    let has_warnings = !proof.warnings.is_empty();
    Ok(if !proof.is_proven() {
        DAMAGED
    } else if has_warnings {
        WARNED
    } else {
        DONE
    })
}

fn sum(proof: &Proof, figure: fn(&TriedTable) -> u64) -> u64 {
    proof.tables.iter().map(figure).fold(0, u64::saturating_add)
}

fn document(proof: &Proof, schema: &str) -> Value {
    let failed = proof.tables.iter().filter(|table| !table.is_proven).count();
    json!({
        "schema": schema, "snapshot": proof.snapshot.to_string(),
        "state": if proof.is_proven() { "proven" } else { "failed" },
        "tables": proof.tables,
        "totals": {
            "tables": proof.tables.len(), "tables_in_snapshot": proof.tables_in_snapshot, "failed": failed,
            "parts": sum(proof, |table| table.restored.parts), "rows": sum(proof, |table| table.restored.rows),
            "bytes": sum(proof, |table| table.restored.bytes),
            "digests": {
                "equal": sum(proof, |table| table.digests.equal),
                "different": sum(proof, |table| table.digests.different),
                "unknown": sum(proof, |table| table.digests.unknown),
            },
        },
        "warnings": proof.warnings, "seconds": proof.seconds,
    })
}

fn text(proof: &Proof) -> String {
    let columns =
        [("TABLE", Left), ("STATE", Left), ("ROWS", Right), ("PARTS", Right), ("VALUES", Left), ("NOTES", Left)];
    let rows = proof.tables.iter().map(|table| {
        let digests = table.digests;
        let values = if digests.equal + digests.different == 0 {
            "read, none recorded".to_owned()
        } else if digests.different > 0 {
            format!("{} DIFFERENT", render::count(digests.different, "part"))
        } else if digests.unknown > 0 {
            format!("{} of {} equal", digests.equal, render::count(digests.equal + digests.unknown, "part"))
        } else {
            "all equal".to_owned()
        };
        let is_restored = table.restored.state == TableState::Restored;
        let figure = |text: String| if is_restored { text } else { String::new() };
        vec![
            render::safe(&table.restored.from.to_string(), 100),
            if table.is_proven { "proven" } else { "FAILED" }.to_owned(),
            figure(render::thousands(table.restored.rows)),
            figure(render::thousands(table.restored.parts)),
            figure(values),
            render::safe(table.restored.reason.as_deref().unwrap_or_default(), 500),
        ]
    });
    let mut text = render::table(&columns, rows);
    let verdict = if proof.is_proven() { "is proven" } else { "is NOT proven" };
    text.push_str(
        &[
            format!("{} {verdict}: ", proof.snapshot),
            format!("{} of {}, ", proof.tables.len(), render::count(proof.tables_in_snapshot as u64, "table")),
            format!("{}, ", render::count(sum(proof, |table| table.restored.rows), "row")),
            format!("{} with equal sums, ", render::count(sum(proof, |table| table.digests.equal), "part")),
            format!(
                "in {:.1} s; the database that they were in is dropped\n",
                proof.seconds.get("total").copied().unwrap_or(0.0)
            ),
        ]
        .concat(),
    );
    text
}
