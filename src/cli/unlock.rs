use chrono::Utc;
use chsnap::ops::OpError;
use chsnap::repo::{Holder, HolderState, RepoError};
use serde_json::{Value, json};

use super::failure::Failure;
use super::globals::Globals;
use super::opening;
use super::output::Output;
use super::{CommandResult, DONE, render};

/// Show who holds the lock, and with --break take it away from a holder that has died
///
/// A lock whose holder has ended on this host is no hindrance to any command, and one whose holder has died elsewhere is
/// taken over by the next command that watches it for a minute: this is for those who know better.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Take the lock from a holder that is dead; one elsewhere is watched first, and left alone if it lives
    #[arg(long = "break")]
    is_break: bool,
    /// Take it also from one that lives: it stops before it next changes anything that counts
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
            let refused = Failure::refused(error.to_string());
            return Err(
                refused.with_hint("its holder lives: wait for it, or stop it; --force takes the lock all the same")
            );
        }
        Err(error) => return Err(OpError::from(error).into()),
    }
    answer(output, "broken", Some((&holder, state)), &format!("taken from {}; the lock is free\n", safe(&holder)));
    Ok(DONE)
}

fn safe(holder: &Holder) -> String {
    render::safe(&holder.to_string(), render::MESSAGE_LIMIT)
}

fn answer(output: &Output, state: &str, holder: Option<(&Holder, HolderState)>, text: &str) {
    if output.is_json() {
        let holder = holder.map_or(Value::Null, |(holder, life)| {
            json!({"host": holder.host, "pid": holder.pid, "since": holder.since, "command": holder.command, "is": life})
        });
        output.json(&json!({"schema": output.schema(), "state": state, "holder": holder}));
    } else {
        output.text(text);
    }
}
