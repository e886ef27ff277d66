use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use chsnap::model::SnapshotId;
use chsnap::ops::{self, OpError, TrashedSnapshot};
use chsnap::repo::Repository;
use serde_json::json;

use super::globals::{Globals, duration};
use super::opening;
use super::output::{Output, with_warnings};
use super::{CommandResult, DONE, Failure, WARNED, render};

/// Empty the trash, and finish what interrupted runs have left
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave what was removed less than this long ago, for example 7d
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    older_than: Duration,
    /// Show what would be emptied, and touch nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// For scripts: gc never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    // It never asks: --yes is there so that a script may give it to every command that removes.
    let Args { older_than, dry_run, yes: _ } = args;
    let older_than = TimeDelta::from_std(*older_than).map_err(|_| Failure::usage("--older-than is too long"))?;
    let repository = opening::open(globals)?;
    let now = Utc::now();
    if *dry_run {
        return would_empty(&repository, older_than, globals, output);
    }
    let locked = repository.lock("gc", now, globals.lock_wait).map_err(OpError::from)?;
    let progress = output.progress();
    // Only a freeze that an interrupted run has left needs the server; without it that one stays for later.
    let connect = || opening::connect(globals, Arc::new(AtomicBool::new(false))).ok();
    let jobs = globals.jobs_for(&repository);
    let result = ops::collect_older_garbage(&locked, connect, &progress, jobs, (older_than, now));
    progress.clear();
    let emptied = result?;
    output.warnings(&emptied.warnings);
    if output.is_json() {
        let removed: Vec<String> = emptied.snapshots.iter().map(ToString::to_string).collect();
        let document = json!({
            "schema": output.schema(), "removed": removed, "spared": emptied.spared, "files": emptied.removed.files,
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

fn would_empty(repository: &Repository, older_than: TimeDelta, globals: &Globals, output: &Output) -> CommandResult {
    let now = Utc::now();
    let trash = ops::trash(repository, &globals.paths(), globals.jobs_for(repository))?;
    let is_young = |snapshot: &&TrashedSnapshot| now.signed_duration_since(snapshot.removed) < older_than;
    let (spared, removed): (Vec<&TrashedSnapshot>, Vec<&TrashedSnapshot>) = trash.snapshots.iter().partition(is_young);
    let ids =
        |snapshots: &[&TrashedSnapshot]| snapshots.iter().map(|snapshot| snapshot.id).collect::<Vec<SnapshotId>>();
    // Of some of them that what they share with the others goes is not known.
    let freed_bytes = spared.is_empty().then_some(trash.freed_bytes);
    if output.is_json() {
        let document = json!({
            "schema": output.schema(), "state": "dry_run", "removed": ids(&removed), "spared": ids(&spared),
            "freed_bytes": freed_bytes,
        });
        output.json(&with_warnings(document, &trash.warnings));
    } else {
        for snapshot in &removed {
            output.text(&format!("would unlink {}\n", snapshot.id));
        }
        let frees = freed_bytes.map(|bytes| format!("frees {}; ", render::bytes(bytes))).unwrap_or_default();
        let left = if spared.is_empty() { String::new() } else { format!("{} stay; ", spared.len()) };
        output.text(&format!("{frees}{left}nothing was touched\n"));
    }
    output.warnings(&trash.warnings);
    Ok(if trash.warnings.is_empty() { DONE } else { WARNED })
}
