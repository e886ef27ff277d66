//! A whole process, timed, with the most memory that it had.
//!
//! The kernel tells the memory of all children together. So this program starts itself once more, and that one has
//! no other child.

use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use serde::{Deserialize, Serialize};

const REQUEST: &str = "--measure-command";

/// What a command did and took.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measured {
    pub seconds: f64,
    pub peak_rss_bytes: u64,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end.
pub fn command(command: &Command) -> Measured {
    let mut measuring = Command::new(std::env::current_exe().expect("this program has a path"));
    measuring.arg(REQUEST).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => measuring.env(name, value),
            None => measuring.env_remove(name),
        };
    }
    let output = measuring.output().expect("this program starts again");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The command that this process was started to measure, if it was.
pub fn requested() -> Option<Vec<OsString>> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == REQUEST).then(|| arguments.collect())
}

/// Runs and measures the command, and prints the answer.
pub fn run(command: &[OsString]) {
    let (program, arguments) = command.split_first().expect("a program to measure");
    let begun = Instant::now();
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect("the program starts");
    let seconds = begun.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel tells what children have used");
    let measured = Measured {
        seconds,
        peak_rss_bytes: u64::try_from(usage.max_rss()).unwrap_or(0) * 1024,
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    println!("{}", serde_json::to_string(&measured).expect("an answer has only string keys"));
}
