//! Writes to the two output streams of the process; a missing reader is not an error.

use std::io::Write as _;

/// Writes to stdout; a reader that has gone away ends the command quietly.
///
/// # Errors
/// If the answer cannot be written for any other reason.
pub(super) fn write_stdout(text: &str, color: bool) -> std::io::Result<()> {
    let text = if color { text.to_owned() } else { anstream::adapter::strip_str(text).to_string() };
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        // A closed pipe is the reader's decision, and the work itself is done.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Writes to stderr, which may have no reader.
pub(super) fn write_stderr(text: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.write_all(text.as_bytes()).is_err() {
        // There is nowhere left to report it.
    }
}
