//! Asks the person at the terminal, for every command that asks.

use std::io::{BufRead as _, IsTerminal as _};

use super::output::Output;
use super::streams::write_stderr;

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Yes.
    Yes,
    /// Anything else.
    No,
    /// There is no terminal to ask at, or the answer is to be read by a program.
    NotAsked,
}

/// Whether somebody can be asked.
pub(super) fn can_ask(output: &Output) -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !output.is_json()
}

/// Asks `question`, to which only "y" or "yes" agrees.
pub(super) fn confirm(question: &str, output: &Output) -> Answer {
    if !can_ask(output) {
        return Answer::NotAsked;
    }
    write_stderr(&format!("{question} [y/N] "));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Answer::Yes
    } else {
        Answer::No
    }
}
