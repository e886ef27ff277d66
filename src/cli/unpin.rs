use chrono::Utc;
use chsnap::ops::{self, OpError};
use chsnap::plan::SnapshotReference;

use super::documents::{UnpinDocument, texts};
use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::{CommandResult, DONE};

/// Remove pins, so that the rules decide on the snapshots again
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ids, beginnings of ids, names, latest, or latest~N
    #[arg(value_name = "SNAPSHOT", required = true)]
    snapshots: Vec<String>,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let now = Utc::now();
    let repository = opening::open(globals)?;
    let references: Vec<SnapshotReference> =
        args.snapshots.iter().map(|text| text.parse()).collect::<Result<_, _>>().map_err(OpError::from)?;
    let locked = repository.lock("unpin", now, globals.lock_wait).map_err(OpError::from)?;
    let done = ops::unpin(&locked, &references, now)?;
    if output.is_json() {
        let document = UnpinDocument { unpinned: texts(&done.unpinned), not_pinned: texts(&done.not_pinned) };
        output.document(&document, &[]);
    } else {
        for id in &done.unpinned {
            output.prose(&format!("unpinned {id}\n"));
        }
        for id in &done.not_pinned {
            output.prose(&format!("{id} was not pinned\n"));
        }
    }
    Ok(DONE)
}
