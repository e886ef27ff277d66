//! Runs the steps of the nightly job as the commands that a user would type; their answers are kept instead of printed.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chsnap::model::{Warning, count};
use chsnap::ops::OpError;
use chsnap::ops::nightly::{NightReport, Order, Step, StepFailure, StepFindings, StepName, StepResult, StepRunner};
use chsnap::repo::Repository;
use serde::Deserialize as _;
use serde_json::Value;

use super::super::failure::{CommandFailure, GUARD};
use super::super::globals::Globals;
use super::super::invocation::Invocation;
use super::super::output::Output;
use super::super::settings::Layer;
use super::super::{CommandResult, DAMAGED, DONE, WARNED, configured, opening, signals};
use super::found::found;

/// A nightly job whose steps are commands with the settings of one profile.
pub(super) struct CommandSteps<'a> {
    pub(super) globals: &'a Globals,
    pub(super) invocation: &'a Invocation,
    pub(super) layer: &'a Layer,
    pub(super) output: &'a Output,
    pub(super) interrupted: std::sync::Arc<std::sync::atomic::AtomicBool>,
    /// The step in progress.
    pub(super) at_step: Mutex<CurrentStep>,
}

/// The step in progress, for the thread that ends the run in the middle of it. Between steps it is the run itself.
#[derive(Clone)]
pub(super) struct CurrentStep {
    /// The report of the run before this step.
    pub(super) report: NightReport<Value>,
    pub(super) name: StepName,
    /// Whether the step handles signals itself, and rolls back its work.
    pub(super) hears_signals: bool,
}

impl CurrentStep {
    pub(super) fn between(report: NightReport<Value>) -> Self {
        Self { report, name: StepName::Run, hears_signals: true }
    }

    pub(super) fn failed(self, code: u8, message: impl Into<String>) -> NightReport<Value> {
        let Self { mut report, name, .. } = self;
        report.steps.push(Step::failed(name, StepFailure::new(code, message)));
        report
    }
}

impl From<CommandFailure> for StepFailure {
    fn from(failure: CommandFailure) -> Self {
        Self {
            code: failure.code(),
            message: failure.line(),
            hint: failure.hint().map(str::to_owned),
            is_absent_server: failure.is_absent_server(),
        }
    }
}

impl StepRunner for CommandSteps<'_> {
    type Document = Value;

    fn open(&self) -> Result<Repository, StepFailure> {
        Ok(opening::open(self.globals)?)
    }

    fn failure(&self, error: OpError) -> StepFailure {
        CommandFailure::from(error).into()
    }

    fn carry_out(&self, so_far: &NightReport<Value>, order: &Order) -> Step<Value> {
        let (name, hears_signals) = (order.step(), order.hears_signals());
        self.set_step(CurrentStep { report: so_far.clone(), name, hears_signals });
        let step = self.run(order);
        let mut after = so_far.clone();
        after.steps.push(step.clone());
        self.set_step(CurrentStep::between(after));
        step
    }

    fn interrupted(&self) -> Option<u8> {
        self.interrupted.load(std::sync::atomic::Ordering::Relaxed).then(signals::exit_code)
    }

    fn note(&self, message: &str) {
        self.output.note(message);
    }
}

impl CommandSteps<'_> {
    fn set_step(&self, step: CurrentStep) {
        *self.at_step.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    pub(super) fn step(&self) -> CurrentStep {
        self.at_step.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the profile defines what to keep.
    pub(super) fn has_policy(&self) -> bool {
        self.layer.sections.get("prune").is_some_and(|section| !section.is_empty())
    }

    /// The arguments after the command of an order.
    fn arguments(&self, order: &Order) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        match order {
            Order::Create | Order::Drill => Vec::new(),
            Order::Gc { older_than } => words(&["--older-than", &duration(*older_than)]),
            Order::Prune => words(&["--yes"]),
            Order::Copy { to } | Order::Push { to } => words(&["--new", "--to", to]),
            Order::Verify { shares } => {
                let verify = self.layer.sections.get("verify");
                let has_level = verify.is_some_and(|section| section.contains_key("level"));
                // At the configured level, or else every byte of the share.
                let level: &[&str] = if has_level { &[] } else { &["--level", "data"] };
                [words(&["--slice", &format!("next/{shares}")]), words(level)].concat()
            }
        }
    }

    fn run(&self, order: &Order) -> Step<Value> {
        let begun = Instant::now();
        let name = order.step();
        let output = Output::kept(self.globals, name.name());
        let code = self.command(name.name(), &self.arguments(order), &output);
        let document = output.take_document();
        let found = document.as_ref().and_then(|document| found(order, document));
        let list = document.as_ref().and_then(|document| document.get("warning_list"));
        let warnings: Vec<Warning> = list.and_then(|list| Vec::deserialize(list).ok()).unwrap_or_default();
        let result = self.result(code, found.as_ref(), document.as_ref());
        Step { name, result, found, warnings, seconds: begun.elapsed().as_secs_f64(), document }
    }

    fn command(&self, name: &str, arguments: &[String], output: &Output) -> CommandResult {
        let command = configured::command(&self.invocation.schema, self.layer, name, arguments)?;
        let mut globals = self.globals.clone();
        globals.json = true;
        super::super::dispatch(command, &globals, output)
    }

    fn result(&self, code: CommandResult, found: Option<&StepFindings>, document: Option<&Value>) -> StepResult {
        let code = match code {
            Ok(DONE) => return StepResult::Done,
            Ok(WARNED) => return StepResult::Warned,
            Ok(code) => code,
            Err(failure) => return StepResult::Failed(failure.into()),
        };
        let chsnap = self.commands();
        match (code, found) {
            (GUARD, Some(StepFindings::Pruned(_))) => {
                let reason = document.and_then(|document| document.get("reason")?.as_str());
                let reason = reason.unwrap_or("it looks like a mistake").to_owned();
                StepResult::Refused { reason, remedy: Some(format!("{chsnap} prune --yes-really")) }
            }
            (DAMAGED, Some(StepFindings::Verified(verified))) => {
                let are = if verified.damaged.len() == 1 { "is" } else { "are" };
                let files = count(verified.damaged.len() as u64, "file");
                let first = verified.damaged.first().map(|path| format!(", {path} first")).unwrap_or_default();
                let message = format!("{files} of share {} {are} damaged{first}", verified.share);
                let hint =
                    format!("{chsnap} verify --level data --repair replaces them with intact copies, if there are any");
                StepResult::Damaged { message, hint: Some(hint) }
            }
            (DAMAGED, Some(StepFindings::Drilled(drilled))) => {
                let tables = count(drilled.failed.len() as u64, "table");
                let named: Vec<&str> = drilled.failed.iter().take(NAMED).map(String::as_str).collect();
                let more = drilled.failed.len().saturating_sub(NAMED);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                let snapshot = drilled.snapshot;
                let message =
                    format!("the trial restore of {snapshot} failed for {tables}: {}{more}", named.join(", "));
                let hint = format!("{chsnap} drill {snapshot} reports the problem of each table");
                StepResult::Damaged { message, hint: Some(hint) }
            }
            (DAMAGED | GUARD, Some(StepFindings::Copied(copied))) => {
                let snapshots = count(copied.refused, "snapshot");
                // Only a store has a scheme.
                let (done, command) = if copied.to.contains("://") { ("pushed", "push") } else { ("copied", "copy") };
                let message = format!("{snapshots} not {done} to {}", copied.to);
                let hint = format!("{chsnap} {command} --new --to {} says why", copied.to);
                if code == DAMAGED {
                    StepResult::Damaged { message, hint: Some(hint) }
                } else {
                    StepResult::Failed(StepFailure { hint: Some(hint), ..StepFailure::new(code, message) })
                }
            }
            (code, _) => StepResult::Failed(StepFailure::new(code, format!("it ended with exit code {code}"))),
        }
    }

    /// The words with which a user starts a command for the same repository.
    fn commands(&self) -> String {
        self.invocation.command_words(self.globals)
    }
}

/// Tables that a message names.
const NAMED: usize = 5;

fn duration(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
