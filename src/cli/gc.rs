use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use chsnap::ops::{self, EmptiedTrash, OpError, TrashedSnapshot};
use chsnap::repo::Repository;

use super::documents::{GcDocument, texts};
use super::globals::{Globals, duration};
use super::opening;
use super::output::Output;
use super::{CommandFailure, CommandResult, DONE, WARNED, render};

/// Empty the trash, and clean up after interrupted runs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave snapshots in the trash that were removed less than this long ago, for example 7d
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    older_than: Duration,
    /// Show what would be deleted, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Accepted for scripts; gc never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    // gc never asks; it accepts --yes so that a script can pass it to every command that removes something.
    let Args { older_than, dry_run, yes: _ } = args;
    let older_than = TimeDelta::from_std(*older_than).map_err(|_| CommandFailure::usage("--older-than is too long"))?;
    let repository = opening::open(globals)?;
    let now = Utc::now();
    if *dry_run {
        return would_empty(&repository, older_than, globals, output);
    }
    let locked = repository.lock("gc", now, globals.lock_wait).map_err(OpError::from)?;
    // What each snapshot frees is determined before it is unlinked; a filesystem may take a while to release the space.
    let measured = ops::trash(&repository, &globals.paths(), globals.jobs_for(&repository)).ok();
    let progress = output.progress();
    // The server is needed only for a freeze that an interrupted run has left; without a server that freeze stays until
    // later.
    let connect = || opening::connect(globals, Arc::new(AtomicBool::new(false))).ok();
    let jobs = globals.jobs_for(&repository);
    let result = ops::collect_older_garbage(&locked, connect, &progress, jobs, (older_than, now));
    progress.clear();
    let emptied = result?;
    // Other writers may have used the space meanwhile.
    let measured = measured.filter(|_| emptied.spared.is_empty()).map(|trash| trash.freed_bytes);
    let freed_bytes = measured.unwrap_or(0).max(emptied.freed_bytes);
    output.warnings(&emptied.warnings);
    if output.is_json() {
        let document = GcDocument {
            state: "removed".to_owned(),
            removed: texts(&emptied.snapshots),
            spared: texts(&emptied.spared),
            files: Some(emptied.removed.files),
            directories: Some(emptied.removed.directories),
            freed_bytes: Some(freed_bytes),
        };
        output.document(&document, &emptied.warnings);
    } else if emptied.removed.files + emptied.removed.directories == 0 {
        output.prose("nothing to remove\n");
    } else {
        output.prose(&text(&emptied, freed_bytes));
    }
    Ok(if emptied.warnings.is_empty() { DONE } else { WARNED })
}

/// Snapshots that are named; if there are more, the number is given.
const NAMED: usize = 10;

fn text(emptied: &EmptiedTrash, freed_bytes: u64) -> String {
    let named: Vec<String> = emptied.snapshots.iter().take(NAMED).map(ToString::to_string).collect();
    let more = emptied.snapshots.len().saturating_sub(NAMED);
    let what = match emptied.snapshots.len() {
        0 => "removed what interrupted runs had left".to_owned(),
        count if more > 0 => {
            let count = render::count(count as u64, "snapshot");
            format!("removed {count} for good: {} and {} more", named.join(", "), render::thousands(more as u64))
        }
        count => format!("removed {} for good: {}", render::count(count as u64, "snapshot"), named.join(", ")),
    };
    let directories = match emptied.removed.directories {
        1 => "1 directory".to_owned(),
        directories => render::thousands(directories) + " directories",
    };
    format!(
        "{what}\nfreed {}: {} and {directories} unlinked\n",
        render::bytes(freed_bytes),
        render::count(emptied.removed.files, "file")
    )
}

fn would_empty(repository: &Repository, older_than: TimeDelta, globals: &Globals, output: &Output) -> CommandResult {
    let now = Utc::now();
    let trash = ops::trash(repository, &globals.paths(), globals.jobs_for(repository))?;
    let is_young = |snapshot: &&TrashedSnapshot| now.signed_duration_since(snapshot.removed) < older_than;
    let (spared, removed): (Vec<&TrashedSnapshot>, Vec<&TrashedSnapshot>) = trash.snapshots.iter().partition(is_young);
    let ids =
        |snapshots: &[&TrashedSnapshot]| snapshots.iter().map(|snapshot| snapshot.id.to_string()).collect::<Vec<_>>();
    let interrupted_bytes = trash.interrupted_bytes;
    // If only some are removed, the bytes that they share with the others are unknown.
    let freed_bytes = spared.is_empty().then_some(trash.freed_bytes + interrupted_bytes);
    if output.is_json() {
        let document = GcDocument {
            state: "dry_run".to_owned(),
            removed: ids(&removed),
            spared: ids(&spared),
            files: None,
            directories: None,
            freed_bytes,
        };
        output.document(&document, &trash.warnings);
    } else {
        for snapshot in &removed {
            output.prose(&format!("would unlink {}\n", snapshot.id));
        }
        if interrupted_bytes > 0 {
            output.prose(&format!("would unlink what interrupted runs left: {}\n", render::bytes(interrupted_bytes)));
        }
        let frees = freed_bytes.map(|bytes| format!("frees {}; ", render::bytes(bytes))).unwrap_or_default();
        let left = if spared.is_empty() {
            String::new()
        } else {
            let stay = if spared.len() == 1 { "stays" } else { "stay" };
            format!("{} {stay}; ", render::count(spared.len() as u64, "snapshot"))
        };
        output.prose(&format!("{frees}{left}nothing was touched\n"));
    }
    output.warnings(&trash.warnings);
    Ok(if trash.warnings.is_empty() { DONE } else { WARNED })
}
