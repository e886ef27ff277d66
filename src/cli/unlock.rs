use chrono::Utc;
use chsnap::ops::OpError;
use chsnap::repo::{HolderState, LockHolder, RepoError};

use super::documents::{HolderRow, UnlockDocument};
use super::failure::CommandFailure;
use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::{CommandResult, DONE, render};

/// Show who holds the lock; with --break, break the lock of a dead holder
///
/// Seldom needed: commands ignore a lock whose holder on this host has ended, and take over a lock that its holder on another host has not renewed for a minute.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Break the lock of a dead holder; one on another host is watched first, and left alone if it is alive
    #[arg(long = "break")]
    is_break: bool,
    /// Break the lock even if its holder is alive; the holder stops before its next write
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let found = repository.lock_holder().map_err(OpError::from)?;
    let Some((holder, state)) = found else {
        answer(output, "free", None, "the lock is free\n");
        return Ok(DONE);
    };
    if !args.is_break && !args.force {
        let tells = match state {
            HolderState::Runs => "it runs",
            HolderState::Gone => "it has ended: the next command takes the lock at once",
            HolderState::Elsewhere => "it is on another host, or in another container",
        };
        answer(output, "held", Some((&holder, state)), &format!("held by {}; {tells}\n", safe(&holder)));
        return Ok(DONE);
    }
    let now = Utc::now();
    let taken = if args.force {
        repository.lock_by_force("unlock", now)
    } else {
        repository.lock("unlock", now, globals.lock_wait)
    };
    match taken {
        Ok(locked) => drop(locked),
        Err(error @ RepoError::Locked { .. }) => {
            let refused = CommandFailure::refused(error.to_string());
            return Err(
                refused.with_hint("its holder is alive: wait for it, or stop it; --force breaks the lock nevertheless")
            );
        }
        Err(error) => return Err(OpError::from(error).into()),
    }
    answer(output, "broken", Some((&holder, state)), &format!("taken from {}; the lock is free\n", safe(&holder)));
    Ok(DONE)
}

fn safe(holder: &LockHolder) -> String {
    render::safe(&holder.to_string(), render::MESSAGE_LIMIT)
}

fn answer(output: &Output, state: &str, holder: Option<(&LockHolder, HolderState)>, text: &str) {
    if output.is_json() {
        let holder = holder.map(|(holder, life)| HolderRow::new(holder, life));
        output.document(&UnlockDocument { state: state.to_owned(), holder }, &[]);
    } else {
        output.prose(text);
    }
}
