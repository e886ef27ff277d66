//! stdout carries only the result; all messages for the user at the terminal go to stderr.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chsnap::model::Warning;
use serde_json::Value;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

use super::documents::{self, Document};
use super::globals::{Globals, ProgressMode, When};
use super::layout::{self, Width};
use super::log::LogMessages;
use super::messages::{MessageKind, message_width, safe, terminal_columns, write_message};
use super::progress::Progress;
use super::streams::{write_stderr, write_stdout};

/// The destinations of one command's output.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub(super) struct Output {
    command: String,
    json: bool,
    quiet: bool,
    verbose: u8,
    /// Whether stdout is colored.
    color: bool,
    /// Whether stderr is colored.
    color_messages: bool,
    progress: ProgressMode,
    width: Width,
    write_error: Mutex<Option<String>>,
    /// Holds a document that is kept instead of printed.
    kept: Option<Mutex<Option<Value>>>,
    is_step: bool,
}

/// The columns from `COLUMNS`, else of the terminal at stdout: output to anything else is not cut.
fn width() -> Width {
    let given = std::env::var("COLUMNS").ok().and_then(|text| text.parse().ok()).filter(|columns| *columns > 0);
    given.or_else(|| terminal_columns(&console::Term::stdout())).map_or(Width::Unlimited, Width::Columns)
}

/// The number of warnings that are shown.
const WARNINGS_LIMIT: usize = 1000;

impl Output {
    pub(super) fn new(globals: &Globals, command: &str) -> Self {
        let color = |is_terminal: bool| match globals.color {
            When::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
            When::Always => true,
            When::Never => false,
        };
        Self {
            command: command.to_owned(),
            json: globals.json,
            quiet: globals.quiet,
            verbose: globals.verbose,
            color: color(std::io::stdout().is_terminal()),
            color_messages: color(std::io::stderr().is_terminal()),
            progress: globals.progress,
            width: width(),
            write_error: Mutex::default(),
            kept: None,
            is_step: false,
        }
    }

    /// For a command line that is not parsed yet.
    pub(super) fn unconfigured(json: bool) -> Self {
        Self {
            command: "error".to_owned(),
            json,
            quiet: false,
            verbose: 0,
            color: false,
            color_messages: false,
            progress: ProgressMode::None,
            width: Width::Unlimited,
            write_error: Mutex::default(),
            kept: None,
            is_step: false,
        }
    }

    /// For a command that is a step of another one: its document is kept, and its progress is shown as the other one's.
    pub(super) fn kept(globals: &Globals, command: &str) -> Self {
        let is_silent = globals.json && globals.progress == ProgressMode::Auto;
        Self {
            command: command.to_owned(),
            json: true,
            progress: if is_silent { ProgressMode::None } else { globals.progress },
            is_step: true,
            kept: Some(Mutex::default()),
            ..Self::new(globals, command)
        }
    }

    /// The document that was kept.
    pub(super) fn take_document(&self) -> Option<Value> {
        self.kept.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Prints a line about the progress of work, for the user at the terminal.
    pub(super) fn note(&self, message: &str) {
        if !self.quiet && !self.json {
            write_stderr(&layout::paragraph(&safe(message), message_width(), 0, 2));
        }
    }

    /// Sends the engine's log to stderr, at the level that `-v` selects.
    pub(super) fn start_log(&self) {
        let (ours, others) = match self.verbose {
            0 if self.quiet => (LevelFilter::ERROR, LevelFilter::OFF),
            0 => (LevelFilter::WARN, LevelFilter::OFF),
            1 => (LevelFilter::DEBUG, LevelFilter::WARN),
            _ => (LevelFilter::TRACE, LevelFilter::DEBUG),
        };
        // A user reads messages; the log also records when and where.
        let lines: Box<dyn tracing_subscriber::Layer<tracing_subscriber::Registry> + Send + Sync> = if self.verbose == 0
        {
            LogMessages { is_colored: self.color_messages }.boxed()
        } else {
            let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
            log.with_ansi(self.color_messages).boxed()
        };
        // The client's own log repeats statements and servers' messages, which may contain secrets.
        let filter =
            Targets::new().with_default(others).with_target("chsnap", ours).with_target("clickhouse", LevelFilter::OFF);
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

    /// Prints the one document of a command.
    pub(super) fn json(&self, document: &Value) {
        if let Some(kept) = &self.kept {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(document.clone());
            return;
        }
        self.write(&format!("{document}\n"), true);
    }

    /// Prints the one document of a command, with its warnings if it can have any.
    pub(super) fn document<T: Document>(&self, document: &T, warnings: &[Warning]) {
        self.json(&documents::value(document, warnings));
    }

    /// Prints a result as text.
    pub(super) fn text(&self, text: &str) {
        self.write(text, self.color);
    }

    /// Prints a result in sentences, wrapped between words if the terminal is narrow.
    pub(super) fn prose(&self, text: &str) {
        self.text(&layout::prose(text, self.width));
    }

    /// The width available for an answer.
    pub(super) fn width(&self) -> Width {
        self.width
    }

    fn write(&self, text: &str, color: bool) {
        if let Err(error) = write_stdout(text, color) {
            let mut first = self.write_error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error.to_string());
        }
    }

    /// Why an answer could not be written, if that happened.
    pub(super) fn write_error(&self) -> Option<String> {
        self.write_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Prints the error of a command.
    pub(super) fn error(&self, message: &str) {
        write_message(MessageKind::Error, message, self.color_messages);
    }

    /// Prints a cause of an error.
    pub(super) fn cause(&self, message: &str) {
        write_message(MessageKind::Cause, message, self.color_messages);
    }

    /// Prints one more fact about an error.
    pub(super) fn and(&self, message: &str) {
        write_message(MessageKind::And, message, self.color_messages);
    }

    /// Prints how to resolve an error.
    pub(super) fn hint(&self, message: &str) {
        write_message(MessageKind::Hint, message, self.color_messages);
    }

    /// Prints warnings; with JSON they are in the document.
    pub(super) fn warnings(&self, warnings: &[impl Display]) {
        if !self.json {
            for warning in warnings.iter().take(WARNINGS_LIMIT) {
                write_message(MessageKind::Warning, &warning.to_string(), self.color_messages);
            }
            if let Some(more) = warnings.len().checked_sub(WARNINGS_LIMIT).filter(|more| *more > 0) {
                let message = format!("and {more} more, which --json shows");
                write_message(MessageKind::Warning, &message, self.color_messages);
            }
        }
    }

    /// The monitor that shows the progress of this command.
    pub(super) fn progress(&self) -> Progress {
        // stderr is then reserved for one JSON document, unless progress was requested explicitly.
        let silent = self.quiet || (self.json && !self.is_step && self.progress == ProgressMode::Auto);
        Progress::new(if silent { ProgressMode::None } else { self.progress }, self.color_messages)
    }
}

/// The bytes of a path in base64, if they are not UTF-8.
pub(super) fn path_base64(path: &Path) -> Option<String> {
    path.to_str().is_none().then(|| STANDARD.encode(path.as_os_str().as_bytes()))
}
