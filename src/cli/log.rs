//! The engine's warnings as messages for a user: as those of a command, wrapped to the terminal.

use std::fmt::{Debug, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::messages::{MessageKind, write_message};

/// Writes each event of the log as `warning: MESSAGE: ERROR (FIELD VALUE)`.
pub(super) struct LogMessages {
    pub(super) is_colored: bool,
}

impl<S: Subscriber> Layer<S> for LogMessages {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = LogMessage::default();
        event.record(&mut message);
        let kind = if *event.metadata().level() == Level::ERROR { MessageKind::Error } else { MessageKind::Warning };
        write_message(kind, &message.into_text(), self.is_colored);
    }
}

/// An event in words.
#[derive(Debug, Default)]
struct LogMessage {
    message: String,
    error: Option<String>,
    others: String,
}

impl LogMessage {
    fn into_text(self) -> String {
        let error = self.error.map(|error| format!(": {error}")).unwrap_or_default();
        self.message + &error + &self.others
    }

    fn record(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            "error" => self.error = Some(value),
            name => {
                if write!(self.others, " ({name} {value})").is_err() {
                    // Writing to a String cannot fail.
                }
            }
        }
    }
}

impl Visit for LogMessage {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record(field, format!("{value:?}"));
    }
}
