//! Asks the user at the terminal, for every command that needs a confirmation.

use std::io::{BufRead as _, IsTerminal as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::output::Output;
use super::streams::write_stderr;

/// The interval at which a wait for an answer checks for a signal.
const POLL: Duration = Duration::from_millis(50);

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Yes.
    Yes,
    /// Anything else.
    No,
    /// There is no terminal to ask at, or a program reads the output.
    NotAsked,
    /// A signal arrived before the answer.
    Interrupted,
}

/// Whether there is a user who can be asked.
pub(super) fn can_ask(output: &Output) -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !output.is_json()
}

/// Asks `question`; only "y" or "yes" is consent.
///
/// `interrupted` becomes true on a signal, which ends the wait.
pub(super) fn confirm(question: &str, output: &Output, interrupted: &AtomicBool) -> Answer {
    if !can_ask(output) {
        return Answer::NotAsked;
    }
    write_stderr(&format!("{question} [y/N] "));
    let (sender, answers) = channel();
    // This thread ends with the process if no answer comes.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().lock().read_line(&mut answer);
        drop(sender.send(read.map(|_| answer)));
    });
    loop {
        match answers.recv_timeout(POLL) {
            Ok(Ok(answer)) if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") => return Answer::Yes,
            Err(RecvTimeoutError::Timeout) if interrupted.load(Ordering::Relaxed) => return Answer::Interrupted,
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Answer::No,
        }
    }
}
