use chrono::Utc;
use chsnap::ops::{self, OpError};
use chsnap::plan::SnapshotReference;
use serde_json::json;

use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::{CommandResult, DONE};

/// Move snapshots to the trash; undo brings them back, gc frees their space
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ids, beginnings of ids, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
    /// Also one that is pinned, or the last complete one
    #[arg(long)]
    force: bool,
    /// For scripts: rm never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    // It never asks: --yes is there so that a script may give it to every command that removes.
    let Args { snapshots, force, yes: _ } = args;
    let repository = opening::open(globals)?;
    let references: Vec<SnapshotReference> =
        snapshots.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(OpError::from)?;
    let now = Utc::now();
    let locked = repository.lock("rm", now, globals.lock_wait).map_err(OpError::from)?;
    let ids = ops::remove(&locked, &references, *force, now)?;
    if output.is_json() {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        output.json(&json!({"schema": output.schema(), "removed": ids}));
    } else {
        for id in &ids {
            output.text(&format!("removed {id}\n"));
        }
        if !globals.quiet {
            output.text("chsnap undo brings back what was removed last; chsnap gc frees its space\n");
        }
    }
    Ok(DONE)
}
