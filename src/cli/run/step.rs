//! One step of a run: a command as a person would type it, its answer kept instead of printed.

use std::time::Instant;

use chsnap::model::Warning;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::globals::Globals;
use super::super::output::Output;
use super::super::settings::{self, Layer, Schema};
use super::super::{Cli, DONE, WARNED};
use clap::FromArgMatches as _;

/// What became of a step.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) state: State,
    pub(super) seconds: f64,
    /// The document that the command answers with `--json`.
    pub(super) document: Option<Value>,
}

#[derive(Clone, Debug)]
pub(super) enum State {
    /// Done, with the exit code: 0, or 3 with warnings.
    Ended(u8),
    Failed {
        code: u8,
        message: String,
        hint: Option<String>,
        /// Whether the server was not there: it may be starting.
        is_absent: bool,
    },
    /// Why it was not begun.
    Skipped(String),
}

impl Step {
    pub(super) fn skipped(name: &str, reason: impl Into<String>) -> Self {
        Self { name: name.to_owned(), state: State::Skipped(reason.into()), seconds: 0.0, document: None }
    }

    /// A step that is no command of its own.
    pub(super) fn failed(name: &str, code: u8, message: String) -> Self {
        let state = State::Failed { code, message, hint: None, is_absent: false };
        Self { name: name.to_owned(), state, seconds: 0.0, document: None }
    }

    /// Has it count as failed, with its answer as it is.
    pub(super) fn fail(&mut self, code: u8, message: String) {
        self.state = State::Failed { code, message, hint: None, is_absent: false };
    }

    pub(super) fn code(&self) -> u8 {
        match self.state {
            State::Ended(code) | State::Failed { code, .. } => code,
            State::Skipped(_) => DONE,
        }
    }

    /// Whether it did what it was to do, if with warnings.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Ended(DONE | WARNED))
    }

    pub(super) fn warnings(&self) -> Vec<Warning> {
        let list = self.document.as_ref().and_then(|document| document.get("warning_list"));
        list.and_then(|list| Vec::deserialize(list).ok()).unwrap_or_default()
    }

    pub(super) fn text_of(&self, field: &str) -> Option<String> {
        self.document.as_ref()?.get(field)?.as_str().map(str::to_owned)
    }

    pub(super) fn number_of(&self, field: &str) -> Option<u64> {
        self.document.as_ref()?.get(field)?.as_u64()
    }

    pub(super) fn json(&self) -> Value {
        let (state, error, hint, reason) = match &self.state {
            State::Ended(DONE) => ("done", None, None, None),
            State::Ended(WARNED) => ("warnings", None, None, None),
            State::Ended(_) => ("failed", None, None, None),
            State::Failed { message, hint, .. } => ("failed", Some(message), hint.as_ref(), None),
            State::Skipped(reason) => ("skipped", None, None, Some(reason)),
        };
        json!({
            "step": self.name, "state": state, "exit_code": self.code(), "seconds": self.seconds, "error": error,
            "hint": hint, "reason": reason, "result": self.document,
        })
    }
}

/// Runs commands with the settings of one profile.
pub(super) struct Runner<'a> {
    pub(super) globals: &'a Globals,
    pub(super) schema: &'a Schema,
    pub(super) layer: &'a Layer,
}

impl Runner<'_> {
    /// Whether this chsnap has a command.
    pub(super) fn has(&self, command: &str) -> bool {
        self.schema.section(command).is_some()
    }

    /// Whether the profile says anything of a command.
    pub(super) fn is_configured(&self, command: &str) -> bool {
        self.layer.sections.get(command).is_some_and(|section| !section.is_empty())
    }

    /// Runs a command with what the profile says of it.
    pub(super) fn run(&self, name: &str, arguments: &[&str]) -> Step {
        let begun = Instant::now();
        let output = Output::kept(self.globals, name);
        let state = match self.command(name, arguments, &output) {
            Ok(code) => State::Ended(code),
            Err(failure) => State::Failed {
                code: failure.code(),
                message: failure.line(),
                hint: failure.hint().map(str::to_owned),
                is_absent: failure.is_absent_server(),
            },
        };
        Step { name: name.to_owned(), state, seconds: begun.elapsed().as_secs_f64(), document: output.take_document() }
    }

    fn command(&self, name: &str, arguments: &[&str], output: &Output) -> Result<u8, Failure> {
        let command = settings::defaults(super::super::tree(), self.schema, self.layer);
        let line = [&["chsnap", name], arguments].concat();
        let usage = |error: clap::Error| {
            let text = error.render().to_string();
            Failure::usage(text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
        };
        let found = command.try_get_matches_from(line).map_err(usage)?;
        let cli = Cli::from_arg_matches(&found).map_err(usage)?;
        let mut globals = self.globals.clone();
        globals.json = true;
        super::super::dispatch(cli.command, &globals, output)
    }
}
