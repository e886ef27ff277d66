//! Commands of the person's own, before and after a run.

use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use chsnap::fs;

/// How a hook ended badly.
pub(super) type Trouble = String;

const POLL: Duration = Duration::from_millis(20);
/// Between the request to end and the end.
const GRACE: Duration = Duration::from_secs(5);

/// Runs a command line in a shell. Its output goes to stderr: stdout is for the summary.
///
/// # Errors
/// If it does not start, ends with another code than 0, or does not end in time; then it is ended, with whatever it
/// has started.
pub(super) fn run(line: &str, environment: &[(&str, String)], timeout: Duration) -> Result<(), Trouble> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line).stdin(Stdio::null()).process_group(0);
    if let Ok(stderr) = std::io::stderr().as_fd().try_clone_to_owned() {
        command.stdout(stderr);
    }
    // What a hook does is no affair of the ClickHouse user's.
    command.env_remove("CHSNAP_PASSWORD");
    command.envs(environment.iter().map(|(name, value)| (name, cut(value))));
    let mut child = command.spawn().map_err(|error| format!("it does not start: {error}"))?;
    match wait(&mut child, timeout) {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("it ended with {status}")),
        None => {
            end(&mut child);
            Err(format!("it did not end within {} s, and was ended", timeout.as_secs()))
        }
    }
}

/// Longest value of a variable in bytes: the kernel starts no program with one of 128 KiB or more.
const VALUE_LIMIT_BYTES: usize = 64 << 10;

/// A value that fits: whole lines as far as they do, and how many are missing.
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

fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if begun.elapsed() < timeout => std::thread::sleep(POLL),
            _ => return None,
        }
    }
}

fn end(child: &mut Child) {
    fs::end_process_group(child.id(), fs::Ending::Asked);
    if wait(child, GRACE).is_none() {
        fs::end_process_group(child.id(), fs::Ending::Forced);
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
            cut_warnings.len() < VALUE_LIMIT_BYTES + 100 && cut_warnings.ends_with("… and 445 more"),
            "{}",
            cut_warnings.len()
        );
        assert_eq!(cut("a\nb"), "a\nb");
        assert!(cut(&"é".repeat(VALUE_LIMIT_BYTES)).len() < VALUE_LIMIT_BYTES);
    }
}
