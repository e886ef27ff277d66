//! stdout carries the result and nothing else; everything for the person at the terminal goes to stderr.

use std::io::{IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use serde_json::Value;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

use super::globals::{Globals, ProgressMode, When};
use super::progress::Progress;

/// Where the words of one command go.
pub(super) struct Output {
    command: &'static str,
    json: bool,
    quiet: bool,
    verbose: u8,
    color: bool,
    progress: ProgressMode,
}

/// Writes to stdout; a reader that has gone away ends the command quietly.
pub(super) fn write_stdout(text: &str, color: bool) {
    let text = if color { text.to_owned() } else { anstyle_stripped(text) };
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        // A closed pipe is the reader's decision, and the work itself is done.
    }
}

/// Writes to stderr, where nobody may be listening.
pub(super) fn write_stderr(text: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.write_all(text.as_bytes()).is_err() {
        // There is nowhere left to say so.
    }
}

fn anstyle_stripped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(letter);
        }
    }
    plain
}

impl Output {
    pub(super) fn new(globals: &Globals, command: &'static str) -> Self {
        let wanted =
            || std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let color = match globals.color {
            When::Auto => wanted(),
            When::Always => true,
            When::Never => false,
        };
        Self {
            command,
            json: globals.json,
            quiet: globals.quiet,
            verbose: globals.verbose,
            color,
            progress: globals.progress,
        }
    }

    /// Sends the engine's log to stderr, as far as `-v` asks for it.
    pub(super) fn start_log(&self) {
        let (ours, others) = match self.verbose {
            0 if self.quiet => (LevelFilter::ERROR, LevelFilter::OFF),
            0 => (LevelFilter::WARN, LevelFilter::OFF),
            1 => (LevelFilter::DEBUG, LevelFilter::WARN),
            _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(self.color);
        let filter = Targets::new().with_default(others).with_target("chsnap", ours);
        let subscriber = tracing_subscriber::registry().with(lines).with(filter);
        if tracing::subscriber::set_global_default(subscriber).is_err() {
            // Only a second call in one process could fail, and there is none.
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    pub(super) fn schema(&self) -> String {
        format!("chsnap.{}.v1", self.command)
    }

    /// The one document of a command.
    #[expect(clippy::unused_self, reason = "results go through the output of their command")]
    pub(super) fn json(&self, document: &Value) {
        write_stdout(&format!("{document}\n"), true);
    }

    /// A result for a person.
    pub(super) fn text(&self, text: &str) {
        write_stdout(text, self.color);
    }

    fn styled(&self, color: AnsiColor, text: &str) -> String {
        if self.color {
            let style = Style::new().bold().fg_color(Some(color.into()));
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn problem(&self, kind: &str, message: &str) {
        write_stderr(&format!("{}: {message}\n", self.styled(AnsiColor::Red, kind)));
    }

    pub(super) fn detail(&self, kind: &str, message: &str) {
        write_stderr(&format!("  {}: {message}\n", self.styled(AnsiColor::Cyan, kind)));
    }

    /// A warning; in JSON it stands in the document.
    pub(super) fn warnings(&self, warnings: &[String]) {
        if !self.json {
            for warning in warnings {
                write_stderr(&format!("{}: {warning}\n", self.styled(AnsiColor::Yellow, "warning")));
            }
        }
    }

    /// The monitor that shows the progress of this command.
    pub(super) fn progress(&self) -> Progress {
        if self.quiet { Progress::new(ProgressMode::None) } else { Progress::new(self.progress) }
    }
}
