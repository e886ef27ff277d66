use chrono::Utc;
use chsnap::model::SnapshotId;
use chsnap::ops::usage::measure;
use chsnap::ops::{self, OpError};
use chsnap::plan::SnapshotReference;
use chsnap::repo::Repository;

use super::documents::{RmDocument, texts};
use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::{CommandResult, DONE, WARNED, render};

/// Move snapshots to the trash; undo brings them back, gc frees their space
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ids, beginnings of ids, names, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
    /// Also remove pinned snapshots, and the last complete one
    #[arg(long)]
    force: bool,
    /// Show what would be removed, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Accepted for scripts; rm never asks
    #[arg(long, short = 'y')]
    yes: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    // rm never asks; it accepts --yes so that a script can pass it to every command that removes something.
    let Args { snapshots, force, dry_run, yes: _ } = args;
    let repository = opening::open(globals)?;
    let references: Vec<SnapshotReference> =
        snapshots.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(OpError::from)?;
    let now = Utc::now();
    if *dry_run {
        return would_remove(&repository, &ops::plan_removal(&repository, &references, *force, now)?, globals, output);
    }
    let locked = repository.lock("rm", now, globals.lock_wait).map_err(OpError::from)?;
    let ids = ops::remove(&locked, &references, *force, now)?;
    if output.is_json() {
        let document = RmDocument {
            state: "removed".to_owned(),
            removed: texts(&ids),
            freed_bytes: None,
            freed_with_trash_bytes: None,
        };
        output.document(&document, &[]);
    } else {
        for id in &ids {
            output.prose(&format!("removed {id}\n"));
        }
        if !globals.quiet {
            output.prose("chsnap undo brings back what was removed last; chsnap gc frees its space\n");
        }
    }
    Ok(DONE)
}

fn would_remove(repository: &Repository, ids: &[SnapshotId], globals: &Globals, output: &Output) -> CommandResult {
    let measured = measure(repository, &globals.paths(), globals.jobs_for(repository))?;
    let freed = measured.freed(ids);
    if output.is_json() {
        let document = RmDocument {
            state: "dry_run".to_owned(),
            removed: texts(ids),
            freed_bytes: Some(freed.freed_bytes),
            freed_with_trash_bytes: Some(freed.freed_with_trash_bytes),
        };
        output.document(&document, &measured.warnings);
    } else {
        for id in ids {
            output.prose(&format!("would remove {id}\n"));
        }
        output
            .text(&format!("frees {} once chsnap gc has run; nothing was touched\n", render::bytes(freed.freed_bytes)));
    }
    output.warnings(&measured.warnings);
    Ok(if measured.warnings.is_empty() { DONE } else { WARNED })
}
