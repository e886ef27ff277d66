//! What a run did, in one answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, SecondsFormat, Utc};
use chsnap::model::Warning;
use chsnap::plan::Missed;
use serde_json::{Value, json};

use super::super::failure::Failure;
use super::super::metrics::Outcome;
use super::super::output::{Output, with_warnings};
use super::super::{CommandResult, DONE, WARNED, render};
use super::step::{State, Step};

/// A run, as far as it has come.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) profile: Option<String>,
    pub(super) repo: Option<PathBuf>,
    pub(super) started: DateTime<Utc>,
    pub(super) finished: DateTime<Utc>,
    pub(super) seconds: f64,
    pub(super) snapshot: Option<String>,
    pub(super) steps: Vec<Step>,
    /// Of the run itself; those of a step stand in its document.
    pub(super) warnings: Vec<Warning>,
    pub(super) notes: Vec<String>,
    pub(super) missed: Option<Missed>,
    pub(super) retries: u32,
    pub(super) free_before: Option<u64>,
    /// Tables of the last complete snapshot of the main series before this run.
    pub(super) tables_before: u64,
    pub(super) free_after: Option<u64>,
}

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

impl Summary {
    pub(super) fn begin(profile: Option<String>, repo: Option<PathBuf>, now: DateTime<Utc>) -> Self {
        Self {
            profile,
            repo,
            started: now,
            finished: now,
            seconds: 0.0,
            snapshot: None,
            steps: Vec::new(),
            warnings: Vec::new(),
            notes: Vec::new(),
            missed: None,
            retries: 0,
            free_before: None,
            tables_before: 0,
            free_after: None,
        }
    }

    /// The worst failure in a line, where there was one.
    fn error(&self, code: u8) -> Option<(String, Option<String>)> {
        let failed = |step: &&Step| !matches!(step.code(), DONE | WARNED);
        let worst = self.steps.iter().filter(failed).find(|step| step.code() == code);
        let step = worst.or_else(|| self.steps.iter().find(failed))?;
        Some(match &step.state {
            State::Failed { message, hint, .. } => (format!("{}: {message}", step.name), hint.clone()),
            _ => (format!("{} ended with {}", step.name, step.code()), None),
        })
    }

    fn missed_text(&self) -> Option<String> {
        let missed = self.missed?;
        let runs = if missed.runs == 1 { "one run was".to_owned() } else { format!("{} runs were", missed.runs) };
        Some(format!("{runs} missed: there was no snapshot since {}", rfc3339(missed.since)))
    }

    /// What a hook finds in its environment.
    pub(super) fn environment(&self, phase: &str, code: u8) -> Vec<(&'static str, String)> {
        let mut environment = vec![
            ("CHSNAP_RUN_PHASE", phase.to_owned()),
            ("CHSNAP_RUN_PROFILE", self.profile.clone().unwrap_or_default()),
            ("CHSNAP_RUN_STARTED", rfc3339(self.started)),
        ];
        if let Some(repo) = &self.repo {
            environment.push(("CHSNAP_REPO", repo.to_string_lossy().into_owned()));
        }
        if phase == "after" {
            let messages: Vec<String> = self.all_warnings().into_iter().map(|warning| warning.message).collect();
            environment.extend([
                ("CHSNAP_RUN_STATE", state(code).to_owned()),
                ("CHSNAP_RUN_EXIT_CODE", code.to_string()),
                ("CHSNAP_RUN_SNAPSHOT", self.snapshot.clone().unwrap_or_default()),
                ("CHSNAP_RUN_SECONDS", format!("{:.0}", self.seconds)),
                ("CHSNAP_RUN_ERROR", self.error(code).map(|(error, _)| error).unwrap_or_default()),
                ("CHSNAP_RUN_WARNINGS", messages.join("\n")),
            ]);
        }
        environment
    }

    fn all_warnings(&self) -> Vec<Warning> {
        let of_steps = self
            .steps
            .iter()
            .flat_map(|step| step.warnings().into_iter().map(move |warning| warning.from_origin(&step.name)));
        self.warnings.iter().cloned().chain(of_steps).collect()
    }

    /// What the figures are made of.
    pub(super) fn outcome(&self, code: u8) -> Outcome {
        let create = self.steps.iter().rev().find(|step| step.name == "create");
        let stages = create.and_then(|step| step.document.as_ref()?.get("seconds")?.as_object().cloned());
        let stages: BTreeMap<String, f64> =
            stages.into_iter().flatten().filter_map(|(stage, seconds)| Some((stage, seconds.as_f64()?))).collect();
        let mut steps: BTreeMap<String, f64> = BTreeMap::new();
        for step in self.steps.iter().filter(|step| !matches!(step.state, State::Skipped(_))) {
            *steps.entry(step.name.clone()).or_default() += step.seconds;
        }
        Outcome {
            profile: self.profile.clone(),
            started: self.started,
            finished: self.finished,
            code,
            warnings: self.all_warnings().len() as u64,
            missed: self.missed.map_or(0, |missed| missed.runs),
            steps,
            stages,
        }
    }

    fn document(&self, code: u8, output: &Output) -> Value {
        let document = json!({
            "schema": output.schema(),
            "profile": self.profile,
            "repository": self.repo.as_ref().map(|repo| repo.to_string_lossy().into_owned()),
            "state": state(code),
            "exit_code": code,
            "started": rfc3339(self.started),
            "finished": rfc3339(self.finished),
            "seconds": self.seconds,
            "snapshot": self.snapshot,
            "steps": self.steps.iter().map(Step::json).collect::<Vec<_>>(),
            "notes": self.notes,
            "missed": self.missed.map(|missed| json!({"since": rfc3339(missed.since), "runs": missed.runs})),
            "retries": self.retries,
            "free_bytes_before": self.free_before,
            "free_bytes_after": self.free_after,
        });
        with_warnings(document, &self.all_warnings())
    }

    /// Prints the summary; a failure is the command's own.
    pub(super) fn tell(self, code: u8, output: &Output) -> CommandResult {
        let is_failure = !matches!(code, DONE | WARNED);
        let document = self.document(code, output);
        if !output.is_json() {
            output.text(&self.text(code));
            output.warnings(&self.all_warnings());
        } else if matches!(code, DONE | WARNED | 12 | 13) {
            output.json(&document);
            return Ok(code);
        }
        if !is_failure {
            return Ok(code);
        }
        let (message, hint) = self.error(code).unwrap_or_else(|| ("the run was interrupted".to_owned(), None));
        let failure = Failure::with_code(message, code).with_document("run", document);
        Err(hint.into_iter().fold(failure, Failure::with_hint))
    }

    fn text(&self, code: u8) -> String {
        let mut text = String::new();
        let profile =
            self.profile.as_deref().map(|name| format!(" of {}", render::safe(name, 100))).unwrap_or_default();
        writeln!(text, "run{profile}: {} in {:.1} s", state(code), self.seconds).expect(WRITABLE);
        for step in &self.steps {
            let told = match &step.state {
                State::Ended(_) => self.told(step),
                State::Failed { message, .. } => format!("failed: {message}"),
                State::Skipped(reason) => format!("left out: {reason}"),
            };
            writeln!(text, "  {:<8} {}", step.name, render::safe(&told, 400)).expect(WRITABLE);
        }
        if let (Some(before), Some(after)) = (self.free_before, self.free_after) {
            writeln!(text, "  {:<8} {} free, {} before", "space", render::bytes(after), render::bytes(before))
                .expect(WRITABLE);
        }
        for note in self.missed_text().iter().chain(&self.notes) {
            writeln!(text, "  {:<8} {}", "note", render::safe(note, 400)).expect(WRITABLE);
        }
        text
    }

    fn told(&self, step: &Step) -> String {
        let seconds = format!("{:.1} s", step.seconds);
        let count = |field: &str, noun: &str| render::count(step.number_of(field).unwrap_or(0), noun);
        let bytes = |field: &str| step.number_of(field).map(render::bytes).unwrap_or_default();
        let listed = |field: &str| {
            let list = step.document.as_ref().and_then(|document| document.get(field)?.as_array());
            list.map_or(0, Vec::len) as u64
        };
        match step.name.as_str() {
            "create" => format!(
                "{}: {}, {}, {} new, {seconds}{}",
                self.snapshot.as_deref().unwrap_or("?"),
                count("tables", "table"),
                count("parts", "part"),
                bytes("written_bytes"),
                if self.retries > 0 { format!(", after {} attempts", self.retries + 1) } else { String::new() },
            ),
            "gc" => format!(
                "{} for good, {} freed, {seconds}",
                render::count(listed("removed"), "snapshot"),
                bytes("freed_bytes")
            ),
            "prune" => format!(
                "{} to the trash, {} kept, {seconds}",
                render::count(listed("remove"), "snapshot"),
                listed("keep"),
            ),
            "verify" => {
                let checked = step.document.as_ref().and_then(|document| document.get("checked"));
                let read = checked.and_then(|checked| checked.get("read_bytes")?.as_u64()).unwrap_or(0);
                let slice = step.text_of("slice").unwrap_or_default();
                let found = match (listed("damage"), listed("drift")) {
                    (0, 0) => "no damage".to_owned(),
                    (0, drift) => format!("owners or modes of {} drifted", render::count(drift, "part")),
                    (damage, _) => format!("{} DAMAGED", render::count(damage, "file")),
                };
                format!("share {slice}: {} read, {found}, {seconds}", render::bytes(read))
            }
            _ if step.code() == DONE => format!("well, {seconds}"),
            _ => format!("ended with {}, {seconds}", step.code()),
        }
    }
}
