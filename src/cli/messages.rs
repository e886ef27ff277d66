//! Messages on stderr: a word that says their kind, in color, wrapped at the width of the terminal.

use anstyle::{AnsiColor, Style};

use super::layout::{self, Width};
use super::render;
use super::streams::write_stderr;

/// Text from elsewhere in a message (a manifest, a server, a path) can neither garble nor flood the terminal.
pub(super) fn safe(message: &str) -> String {
    render::safe(message, render::MESSAGE_LIMIT)
}

/// The width of a terminal. One that does not know its size is assumed to have the usual width.
pub(super) fn terminal_columns(term: &console::Term) -> Option<usize> {
    term.is_term().then(|| term.size_checked().map_or(80, |(_, columns)| usize::from(columns)))
}

/// The width of messages, which only the terminal determines.
pub(super) fn message_width() -> Width {
    terminal_columns(&console::Term::stderr()).map_or(Width::Unlimited, Width::Columns)
}

/// A kind of message on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    Error,
    Warning,
    Cause,
    /// One more fact about the error above.
    And,
    Hint,
}

impl MessageKind {
    /// Its word, color and indentation.
    fn form(self) -> (&'static str, AnsiColor, usize) {
        match self {
            Self::Error => ("error", AnsiColor::Red, 0),
            Self::Warning => ("warning", AnsiColor::Yellow, 0),
            Self::Cause => ("caused by", AnsiColor::Cyan, 2),
            Self::And => ("and", AnsiColor::Cyan, 2),
            Self::Hint => ("hint", AnsiColor::Cyan, 2),
        }
    }
}

/// Writes a message to stderr, wrapped between words if that is a terminal.
pub(super) fn write_message(kind: MessageKind, message: &str, is_colored: bool) {
    let (word, color, indent) = kind.form();
    let wrapped = layout::paragraph(&format!("{word}: {}", safe(message)), message_width(), indent, indent + 2);
    let text = wrapped.trim_start().strip_prefix(word).unwrap_or(&wrapped);
    let style = if is_colored { Style::new().bold().fg_color(Some(color.into())) } else { Style::new() };
    write_stderr(&format!("{:indent$}{style}{word}{style:#}{text}", ""));
}
