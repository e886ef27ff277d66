//! stdout carries the result and nothing else; everything for the person at the terminal goes to stderr.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::IsTerminal as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chsnap::model::{Warning, WarningKind};
use serde_json::{Map, Value, json};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

use super::globals::{Globals, ProgressMode, When};
use super::progress::Progress;
use super::render;
use super::streams::{write_stderr, write_stdout};

/// Where the words of one command go.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own on the command line")]
pub(super) struct Output {
    command: String,
    json: bool,
    quiet: bool,
    verbose: u8,
    /// On stdout.
    color: bool,
    /// On stderr.
    color_messages: bool,
    progress: ProgressMode,
    write_error: Mutex<Option<String>>,
    /// Where a document goes that is kept instead of printed.
    kept: Option<Mutex<Option<Value>>>,
    is_step: bool,
}

/// What a message has from elsewhere (a manifest, a server, a path) can neither garble the terminal nor flood it.
fn safe(message: &str) -> String {
    render::safe(message, render::MESSAGE_LIMIT)
}

/// Warnings that are shown.
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
            write_error: Mutex::default(),
            kept: None,
            is_step: false,
        }
    }

    /// For a command line that is not read yet.
    pub(super) fn early(json: bool) -> Self {
        Self {
            command: "error".to_owned(),
            json,
            quiet: false,
            verbose: 0,
            color: false,
            color_messages: false,
            progress: ProgressMode::None,
            write_error: Mutex::default(),
            kept: None,
            is_step: false,
        }
    }

    /// For a command that is a step of another one: its document is kept, and its progress shown as that one's.
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

    /// A line about what goes on, for the person at the terminal.
    pub(super) fn note(&self, message: &str) {
        if !self.quiet && !self.json {
            write_stderr(&format!("{}\n", safe(message)));
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
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(self.color_messages);
        // The client's own log repeats statements, and what servers say of them: secrets among it.
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

    /// The one document of a command. Where it has `warnings`, it has `warning_list` too.
    pub(super) fn json(&self, document: &Value) {
        let document = &*with_warning_list(document);
        if let Some(kept) = &self.kept {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(document.clone());
            return;
        }
        self.write(&format!("{document}\n"), true);
    }

    /// A result for a person.
    pub(super) fn text(&self, text: &str) {
        self.write(text, self.color);
    }

    fn write(&self, text: &str, color: bool) {
        if let Err(error) = write_stdout(text, color) {
            let mut first = self.write_error.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error.to_string());
        }
    }

    /// Why an answer could not be written, if one could not.
    pub(super) fn write_error(&self) -> Option<String> {
        self.write_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn styled(&self, color: AnsiColor, text: &str) -> String {
        if self.color_messages {
            let style = Style::new().bold().fg_color(Some(color.into()));
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn problem(&self, kind: &str, message: &str) {
        write_stderr(&format!("{}: {}\n", self.styled(AnsiColor::Red, kind), safe(message)));
    }

    pub(super) fn detail(&self, kind: &str, message: &str) {
        write_stderr(&format!("  {}: {}\n", self.styled(AnsiColor::Cyan, kind), safe(message)));
    }

    /// Warnings; in JSON they stand in the document.
    pub(super) fn warnings(&self, warnings: &[impl Display]) {
        if !self.json {
            let kind = self.styled(AnsiColor::Yellow, "warning");
            for warning in warnings.iter().take(WARNINGS_LIMIT) {
                write_stderr(&format!("{kind}: {}\n", safe(&warning.to_string())));
            }
            if let Some(more) = warnings.len().checked_sub(WARNINGS_LIMIT).filter(|more| *more > 0) {
                write_stderr(&format!("{kind}: and {more} more, which --json shows\n"));
            }
        }
    }

    /// The monitor that shows the progress of this command.
    pub(super) fn progress(&self) -> Progress {
        // stderr is for one JSON document then, unless progress was asked for in so many words.
        let silent = self.quiet || (self.json && !self.is_step && self.progress == ProgressMode::Auto);
        Progress::new(if silent { ProgressMode::None } else { self.progress }, self.color_messages)
    }
}

/// Puts warnings into a document: the sentences as `warnings`, and each with its kind and table in `warning_list`.
pub(super) fn insert_warnings(document: &mut Map<String, Value>, warnings: &[Warning]) {
    document.insert("warnings".to_owned(), json!(sentences(warnings)));
    document.insert(WARNING_LIST.to_owned(), json!(warnings));
}

/// The sentences of warnings that stand with a table, whose kinds are in the document's own list.
pub(super) fn sentences(warnings: &[Warning]) -> Vec<&str> {
    warnings.iter().map(|warning| warning.message.as_str()).collect()
}

/// [`insert_warnings`] for a document that is written as one literal.
pub(super) fn with_warnings(mut document: Value, warnings: &[Warning]) -> Value {
    if let Some(document) = document.as_object_mut() {
        insert_warnings(document, warnings);
    }
    document
}

const WARNING_LIST: &str = "warning_list";

/// Completes a document whose warnings are sentences alone.
fn with_warning_list(document: &Value) -> Cow<'_, Value> {
    let (Some(Value::Array(messages)), None) = (document.get("warnings"), document.get(WARNING_LIST)) else {
        return Cow::Borrowed(document);
    };
    let messages = messages.iter().filter_map(Value::as_str);
    let warnings: Vec<Warning> = messages.map(|message| Warning::new(WarningKind::Unclassified, message)).collect();
    Cow::Owned(with_warnings(document.clone(), &warnings))
}

/// Puts a path into a document: as text, and its bytes in base64 beside it where they are not UTF-8.
pub(super) fn insert_path(document: &mut Map<String, Value>, name: &str, path: &Path) {
    document.insert(name.to_owned(), path.to_string_lossy().into());
    if path.to_str().is_none() {
        let bytes = STANDARD.encode(path.as_os_str().as_bytes());
        document.insert(format!("{name}_base64"), bytes.into());
    }
}
