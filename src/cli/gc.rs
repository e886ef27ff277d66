use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::Utc;
use chsnap::ops::{self, OpError};
use serde_json::json;

use super::globals::Globals;
use super::opening;
use super::output::{Output, with_warnings};
use super::{CommandResult, DONE, WARNED, render};

/// Empty the trash, and finish what interrupted runs have left
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For scripts: gc never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    // It never asks: --yes is there so that a script may give it to every command that removes.
    let Args { yes: _ } = args;
    let repository = opening::open(globals)?;
    let now = Utc::now();
    let locked = repository.lock("gc", now, globals.lock_wait).map_err(OpError::from)?;
    let progress = output.progress();
    // Only a freeze that an interrupted run has left needs the server; without it that one stays for later.
    let connect = || opening::connect(globals, Arc::new(AtomicBool::new(false))).ok();
    let result = ops::collect_garbage(&locked, connect, &progress, globals.jobs_for(&repository), now);
    progress.clear();
    let emptied = result?;
    output.warnings(&emptied.warnings);
    if output.is_json() {
        let removed: Vec<String> = emptied.snapshots.iter().map(ToString::to_string).collect();
        let document = json!({
            "schema": output.schema(), "removed": removed, "files": emptied.removed.files,
            "directories": emptied.removed.directories, "freed_bytes": emptied.freed_bytes,
        });
        output.json(&with_warnings(document, &emptied.warnings));
    } else if emptied.removed.files + emptied.removed.directories == 0 {
        output.text("nothing to remove\n");
    } else {
        output.text(&format!(
            "removed {} for good: {} and {} unlinked; the filesystem has {} more free\n",
            render::count(emptied.snapshots.len() as u64, "snapshot"),
            render::count(emptied.removed.files, "file"),
            render::thousands(emptied.removed.directories) + " directories",
            render::bytes(emptied.freed_bytes),
        ));
    }
    Ok(if emptied.warnings.is_empty() { DONE } else { WARNED })
}
