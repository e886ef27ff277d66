use chrono::Utc;
use chsnap::ops::{self, OpError};
use chsnap::plan::SnapshotReference;

use super::documents::{UndoDocument, texts};
use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::{CommandResult, DONE, trash};

/// Bring back from the trash the snapshots that were removed last
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Show the snapshots in the trash, and bring none back
    #[arg(long, conflicts_with = "snapshots")]
    list: bool,
    /// Snapshots in the trash to bring back [default: those that were removed last]
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    if args.list {
        return trash::show(globals, output, |document, output, warnings| {
            let document =
                UndoDocument { trash: document.trash, freed_bytes: document.freed_bytes, ..UndoDocument::default() };
            output.document(&document, warnings);
        });
    }
    let repository = opening::open(globals)?;
    let references: Vec<SnapshotReference> =
        args.snapshots.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(OpError::from)?;
    let now = Utc::now();
    let locked = repository.lock("undo", now, globals.lock_wait).map_err(OpError::from)?;
    let undone = ops::undo(&locked, &references, now)?;
    if output.is_json() {
        let document = UndoDocument {
            restored: Some(texts(&undone.restored)),
            remaining: Some(texts(&undone.remaining)),
            ..UndoDocument::default()
        };
        output.document(&document, &[]);
    } else {
        for id in texts(&undone.restored) {
            output.prose(&format!("brought back {id}\n"));
        }
        if !undone.remaining.is_empty() && !globals.quiet {
            output.prose(&format!("still in the trash: {}\n", texts(&undone.remaining).join(", ")));
        }
    }
    Ok(DONE)
}
