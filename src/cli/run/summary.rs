//! The outcome of a run, in one answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use chsnap::model::SnapshotId;
use chsnap::ops::nightly::{NightReport, Step, StepFailure, StepFindings, StepProblem, StepResult};
use serde_json::Value;

use super::super::documents::{self, MissedRow, RunDocument, StepRow};
use super::super::failure::{CommandFailure, GUARD};
use super::super::layout::{self, Width};
use super::super::metrics::RunOutcome;
use super::super::output::Output;
use super::super::{CommandResult, DONE, WARNED, render};

type Report = NightReport<Value>;

const WRITABLE: &str = "a String takes everything";

fn state(code: u8) -> &'static str {
    match code {
        DONE => "success",
        WARNED => "warnings",
        _ => "failure",
    }
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn missed_text(report: &Report) -> Option<String> {
    let missed = report.missed?;
    let runs = if missed.runs == 1 { "one run was".to_owned() } else { format!("{} runs were", missed.runs) };
    Some(format!("{runs} missed: there was no snapshot since {}", rfc3339(missed.since)))
}

fn words(ids: &[SnapshotId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// The environment variables of a hook.
pub(super) fn environment(report: &Report, phase: &str, code: u8) -> Vec<(&'static str, String)> {
    let mut environment = vec![
        ("CHSNAP_RUN_PHASE", phase.to_owned()),
        ("CHSNAP_RUN_PROFILE", report.profile.clone().unwrap_or_default()),
        ("CHSNAP_RUN_STARTED", rfc3339(report.started)),
    ];
    if let Some(repo) = &report.repository {
        environment.push(("CHSNAP_REPO", repo.to_string_lossy().into_owned()));
    }
    if phase == "after" {
        let messages: Vec<String> = report.all_warnings().into_iter().map(|warning| warning.message).collect();
        let problem = problem(report, code);
        let (error, hint) =
            problem.map_or_else(Default::default, |problem| (problem.message, problem.hint.unwrap_or_default()));
        environment.extend([
            ("CHSNAP_RUN_STATE", state(code).to_owned()),
            ("CHSNAP_RUN_EXIT_CODE", code.to_string()),
            ("CHSNAP_RUN_SNAPSHOT", report.created().map(|created| created.id.to_string()).unwrap_or_default()),
            ("CHSNAP_RUN_REMOVED", words(&report.removed())),
            ("CHSNAP_RUN_SECONDS", format!("{:.0}", report.seconds)),
            ("CHSNAP_RUN_ERROR", error),
            ("CHSNAP_RUN_HINT", hint),
            ("CHSNAP_RUN_WARNINGS", messages.join("\n")),
        ]);
    }
    environment
}

/// The worst problem and what to do about it; `None` after a success.
fn problem(report: &Report, code: u8) -> Option<StepProblem> {
    if matches!(code, DONE | WARNED) {
        return None;
    }
    let interrupted = || StepProblem { message: "the run was interrupted".to_owned(), reason: None, hint: None };
    Some(report.problem(code).unwrap_or_else(interrupted))
}

/// The text that is posted to the ping address after a failure.
pub(super) fn problem_text(report: &Report, code: u8) -> String {
    let mut lines = vec![format!("chsnap run: {}, exit code {code}", state(code))];
    if let Some(StepProblem { message, hint, .. }) = problem(report, code) {
        lines.push(message);
        lines.extend(hint);
    }
    lines.join("\n") + "\n"
}

/// The data for the figures.
pub(super) fn outcome(report: &Report, code: u8) -> RunOutcome {
    let mut steps: BTreeMap<String, f64> = BTreeMap::new();
    for step in report.begun() {
        *steps.entry(step.name.to_string()).or_default() += step.seconds;
    }
    let failed = report.begun().map(|step| (step.name.to_string(), !step.is_done())).collect();
    RunOutcome {
        profile: report.profile.clone(),
        started: report.started,
        finished: report.finished,
        code,
        warnings: report.all_warnings().len() as u64,
        missed: report.missed.map_or(0, |missed| missed.runs),
        steps,
        failed,
        stages: report.created().map(|created| created.seconds.clone()).unwrap_or_default(),
    }
}

/// The document of `--json`.
pub(super) fn document(report: &Report, code: u8) -> Value {
    let problem = problem(report, code);
    let document = RunDocument {
        profile: report.profile.clone(),
        repository: report.repository.as_ref().map(|repo| repo.to_string_lossy().into_owned()),
        state: state(code).to_owned(),
        exit_code: code,
        error: problem.as_ref().map(|problem| problem.message.clone()),
        reason: problem.as_ref().and_then(|problem| problem.reason.clone()),
        hint: problem.and_then(|problem| problem.hint),
        started: rfc3339(report.started),
        finished: rfc3339(report.finished),
        seconds: report.seconds,
        snapshot: report.created().map(|created| created.id),
        removed: report.removed(),
        deleted: report.deleted(),
        steps: report.steps.iter().map(step_row).collect(),
        notes: report.notes.clone(),
        missed: report.missed.map(|missed| MissedRow { since: rfc3339(missed.since), runs: missed.runs }),
        retries: report.retries,
        free_bytes_before: report.free_bytes_before,
        free_bytes_after: report.free_bytes_after,
    };
    documents::value(&document, &report.all_warnings())
}

/// A step as a row: `state` has four values; `outcome` distinguishes refusals and damage from failures.
fn step_row(step: &Step<Value>) -> StepRow {
    let (state, outcome) = match &step.result {
        StepResult::Done => ("done", "done"),
        StepResult::Warned => ("warnings", "warnings"),
        StepResult::Refused { .. } | StepResult::Failed(StepFailure { code: GUARD, .. }) => ("failed", "refused"),
        StepResult::Damaged { .. } => ("failed", "damaged"),
        StepResult::Failed(_) => ("failed", "failed"),
        StepResult::Skipped(_) => ("skipped", "skipped"),
    };
    let (error, hint) = match &step.result {
        StepResult::Done | StepResult::Warned | StepResult::Skipped(_) => (None, None),
        StepResult::Refused { reason, remedy } => {
            (Some(format!("refused, nothing was removed: {reason}")), remedy.clone())
        }
        StepResult::Damaged { message, hint } => (Some(message.clone()), hint.clone()),
        StepResult::Failed(failure) => (Some(failure.message.clone()), failure.hint.clone()),
    };
    StepRow {
        step: step.name.name().to_owned(),
        state: state.to_owned(),
        outcome: outcome.to_owned(),
        exit_code: step.code(),
        seconds: step.seconds,
        error,
        hint,
        reason: step.reason(),
        result: step.document.clone(),
    }
}

/// Prints the summary; a failure is the command's own.
pub(super) fn show(report: &Report, code: u8, output: &Output) -> CommandResult {
    let document = document(report, code);
    if !output.is_json() {
        output.text(&text(report, code, output.width()));
        output.warnings(&report.all_warnings());
    } else if matches!(code, DONE | WARNED | 12 | 13) {
        output.json(&document);
        return Ok(code);
    }
    let Some(StepProblem { message, hint, .. }) = problem(report, code) else { return Ok(code) };
    let failure = CommandFailure::with_code(message, code).with_document("run", document);
    Err(hint.into_iter().fold(failure, CommandFailure::with_hint))
}

/// Columns before the text about a step.
const STEP_INDENT: usize = 11;

/// A line about a step, wrapped between words; the first line names the step.
fn step_line(name: &str, line: &str, width: Width) -> String {
    let wrapped = layout::paragraph(&render::safe(line, 400), width, STEP_INDENT, STEP_INDENT);
    format!("  {name:<8} {}", wrapped.get(STEP_INDENT..).unwrap_or("\n"))
}

fn text(report: &Report, code: u8, width: Width) -> String {
    let mut text = String::new();
    let profile = report.profile.as_deref().map(|name| format!(" of {}", render::safe(name, 100))).unwrap_or_default();
    writeln!(text, "run{profile}: {} in {:.1} s", state(code), report.seconds).expect(WRITABLE);
    for step in &report.steps {
        for (position, line) in lines(report, step).iter().enumerate() {
            text += &step_line(if position == 0 { step.name.name() } else { "" }, line, width);
        }
    }
    if let (Some(before), Some(after)) = (report.free_bytes_before, report.free_bytes_after) {
        text += &step_line("space", &format!("{} free, {} before", render::bytes(after), render::bytes(before)), width);
    }
    for note in missed_text(report).iter().chain(&report.notes) {
        text += &step_line("note", note, width);
    }
    text
}

/// Ids per line.
const IDS_A_LINE: usize = 3;
/// Ids that are shown; `--json` lists all.
const IDS_SHOWN: usize = 30;

fn ids(all: &[SnapshotId]) -> Vec<String> {
    let shown = all.get(..IDS_SHOWN.min(all.len())).unwrap_or_default();
    let mut lines: Vec<String> = shown.chunks(IDS_A_LINE).map(|ids| format!("  {}", words(ids))).collect();
    if all.len() > IDS_SHOWN {
        lines.push(format!("  and {} more, which --json names", all.len() - IDS_SHOWN));
    }
    lines
}

fn lines(report: &Report, step: &Step<Value>) -> Vec<String> {
    let seconds = format!("{:.1} s", step.seconds);
    match &step.result {
        StepResult::Failed(failure) => vec![format!("failed: {}", failure.message)],
        StepResult::Skipped(reason) => vec![format!("left out: {reason}")],
        StepResult::Refused { reason, remedy } => {
            let remedy = remedy.as_ref().map(|command| format!("to apply the plan once: {command}"));
            [format!("REFUSED, nothing was removed: {reason}")].into_iter().chain(remedy).collect()
        }
        StepResult::Damaged { message, hint } => {
            [format!("{}, {seconds}", damaged(step, message))].into_iter().chain(hint.clone()).collect()
        }
        StepResult::Done | StepResult::Warned => done(report, step, &seconds),
    }
}

fn damaged(step: &Step<Value>, message: &str) -> String {
    match &step.found {
        Some(StepFindings::Verified(verified)) => format!(
            "share {}: {} read, {} DAMAGED",
            verified.share,
            render::bytes(verified.read_bytes),
            render::count(verified.damaged.len() as u64, "file"),
        ),
        _ => format!("FAILED: {message}"),
    }
}

fn done(report: &Report, step: &Step<Value>, seconds: &str) -> Vec<String> {
    let is_warned = step.result == StepResult::Warned;
    match &step.found {
        Some(StepFindings::Created(created)) => {
            let again =
                if report.retries > 0 { format!(", after {} attempts", report.retries + 1) } else { String::new() };
            vec![format!(
                "{}: {}, {}, {} new, {seconds}{again}",
                created.id,
                render::count(created.tables, "table"),
                render::count(created.parts, "part"),
                render::bytes(created.written_bytes),
            )]
        }
        Some(StepFindings::Reclaimed(reclaimed)) => {
            let count = render::count(reclaimed.deleted.len() as u64, "snapshot");
            let freed = render::bytes(reclaimed.freed_bytes);
            let first = format!("{count} deleted, {freed} freed, {seconds}");
            [first].into_iter().chain(ids(&reclaimed.deleted)).collect()
        }
        Some(StepFindings::Pruned(pruned)) => {
            let count = render::count(pruned.remove.len() as u64, "snapshot");
            let first = format!("{count} to the trash, {} kept, {seconds}", pruned.kept);
            [first].into_iter().chain(ids(&pruned.remove)).collect()
        }
        Some(StepFindings::Verified(verified)) => {
            let found = match verified.drifted {
                0 => "no damage".to_owned(),
                drift => format!("owners or modes of {} drifted", render::count(drift, "part")),
            };
            vec![format!("share {}: {} read, {found}, {seconds}", verified.share, render::bytes(verified.read_bytes))]
        }
        Some(StepFindings::Drilled(drilled)) if !is_warned => {
            vec![format!(
                "{}: {} restored and proven, {seconds}",
                drilled.snapshot,
                render::count(drilled.tried, "table")
            )]
        }
        Some(StepFindings::Drilled(drilled)) => {
            let tables = render::count(drilled.tried, "table");
            vec![format!("{}: {tables} restored and proven, with warnings, {seconds}", drilled.snapshot)]
        }
        Some(StepFindings::Copied(copied)) => {
            let snapshots = render::count(copied.copied, "snapshot");
            vec![format!("{snapshots} to {}, {seconds}", copied.to)]
        }
        None if is_warned => vec![format!("done with warnings, {seconds}")],
        None => vec![format!("well, {seconds}")],
    }
}
