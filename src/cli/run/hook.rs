//! Runs the user's own commands, before and after a run.

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chsnap::fs;
use wait_timeout::ChildExt as _;

use super::super::failure::CommandFailure;
use super::super::{signals, trust};
use super::hook_line::{Unseen, read};

/// How a hook failed.
pub(super) type HookFailure = String;

/// Refuses a hook that runs a program by a relative path or by a name that only the shell can resolve, or whose program
/// a user other than root and the caller may write.
///
/// # Errors
/// The program, and what to do so that only root and the caller may write it.
pub(in super::super) fn check(phase: &str, line: &str) -> Result<(), CommandFailure> {
    check_words(phase, line)?;
    programs(line).iter().try_for_each(|program| trust::check(&format!("the program of the hook {phase:?},"), program))
}

/// Refuses a hook that runs a program by a relative path or by a name that only the shell can resolve: the owner of
/// such a program cannot be checked in advance.
///
/// # Errors
/// The word in the line, and what to write instead.
pub(in super::super) fn check_words(phase: &str, line: &str) -> Result<(), CommandFailure> {
    let Some(Unseen { word, reason }) = read(line).unseen.into_iter().next() else { return Ok(()) };
    Err(CommandFailure::usage(format!("the hook {phase:?} is not run: its program {word:?} {reason}"))
        .with_hint(
            "write the absolute path of the program, without variables, backslashes and patterns; put a here-document into a \
             script, and name that",
        ))
}

/// The programs in a shell line that are named by an absolute path: the first word of each command, and the script
/// after a shell, an interpreter or the like.
pub(in super::super) fn programs(line: &str) -> Vec<PathBuf> {
    read(line).programs
}

/// The longest time until a stop is noticed; the end of a hook is noticed at once.
const SLICE: Duration = Duration::from_millis(50);
/// The time between the request to end and the kill.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a command line in a shell. Its output goes to stderr: stdout is for the summary.
///
/// # Errors
/// If it does not start, ends with a code other than 0, or does not end in time; in the last case, it is ended together
/// with all processes that it has started.
pub(super) fn run(
    line: &str,
    environment: &[(&str, String)],
    timeout: Duration,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), HookFailure> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).stdin(Stdio::null()).process_group(0);
    if let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() {
        command.stdout(stderr);
    }
    // A hook has no business with the ClickHouse user's password.
    command.env_remove("CHSNAP_PASSWORD");
    command.envs(environment.iter().map(|(name, value)| (name, cut(value))));
    signals::catch_child_exits();
    let mut child = command.spawn().map_err(|error| format!("it does not start: {error}"))?;
    match wait(&mut child, timeout, is_stopped) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("it ended with {status}")),
        None if is_stopped() => {
            end(&mut child);
            Err("the run was interrupted, and it was ended".to_owned())
        }
        None => {
            end(&mut child);
            Err(format!("it did not end within {} s, and was ended", timeout.as_secs()))
        }
    }
}

/// Longest value of a variable in bytes. The kernel starts no program with a value of 128 KiB or more, nor, if the
/// stack is limited, with too many bytes in total; a file has the full value.
const VALUE_LIMIT_BYTES: usize = 8 << 10;

/// A value that fits: as many whole lines as possible, and the number of missing ones.
fn cut(value: &str) -> String {
    // A variable cannot hold a NUL.
    let value = value.replace('\0', "");
    if value.len() <= VALUE_LIMIT_BYTES {
        return value;
    }
    let mut kept = String::new();
    let mut lines = value.lines();
    for line in lines.by_ref() {
        if kept.len() + line.len() + 1 > VALUE_LIMIT_BYTES {
            let left = lines.count() + 1;
            let first: String =
                if kept.is_empty() { line.chars().take(VALUE_LIMIT_BYTES / 8).collect() } else { String::new() };
            return format!("{kept}{first}… and {left} more");
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// The exit status; `None` if it is still running after the timeout, or must be stopped.
fn wait(child: &mut Child, timeout: Duration, is_stopped: &dyn Fn() -> bool) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        let left = timeout.saturating_sub(begun.elapsed());
        match child.wait_timeout(left.min(SLICE)) {
            Ok(None) if !left.is_zero() && !is_stopped() => {}
            ended => return ended.ok().flatten(),
        }
    }
}

fn end(child: &mut Child) {
    fs::end_process_group(child.id(), fs::StopSignal::Asked);
    if wait(child, GRACE, &|| false).is_none() {
        fs::end_process_group(child.id(), fs::StopSignal::Forced);
        if let Err(error) = child.wait() {
            tracing::debug!(%error, "the end of a hook is not told");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{VALUE_LIMIT_BYTES, cut};

    #[test]
    fn a_value_is_cut_to_whole_lines_that_fit() {
        let warnings = vec!["w".repeat(99); 1100].join("\n");
        let cut_warnings = cut(&warnings);
        assert!(
            cut_warnings.len() < VALUE_LIMIT_BYTES + 100 && cut_warnings.ends_with("… and 1019 more"),
            "{}",
            cut_warnings.len()
        );
        assert_eq!(cut("a\nb"), "a\nb");
        assert!(cut(&"é".repeat(VALUE_LIMIT_BYTES)).len() < VALUE_LIMIT_BYTES);
    }
}
