//! The shared code of `prune` and `remote prune`: the plan as a table, and its outcome.

use chrono::{DateTime, Utc};
use chsnap::plan::retention::{Policy, Reason};

use super::failure::{self, CommandFailure};
use super::layout::{TextTable, Width, left, right};
use super::render;

const TO_OVERRIDE: &str = "look at the plan; --yes-really carries it out nevertheless";
const TO_CONFIRM: &str = "--yes carries the plan out";

/// The outcome for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PruneVerdict {
    Nothing,
    DryRun,
    Refused,
    Unconfirmed,
    Pruned,
}

/// The options that decide whether a plan is carried out.
#[derive(Clone, Copy, Debug)]
pub(super) struct PruneConsent {
    pub(super) dry_run: bool,
    pub(super) yes: bool,
    pub(super) yes_really: bool,
}

impl PruneConsent {
    /// Judges a plan that removes this number of snapshots; `confirm` asks the user.
    pub(super) fn verdict(self, removed: usize, has_guards: bool, confirm: impl FnOnce() -> bool) -> PruneVerdict {
        if self.dry_run {
            PruneVerdict::DryRun
        } else if removed == 0 {
            PruneVerdict::Nothing
        } else if has_guards && !self.yes_really {
            PruneVerdict::Refused
        } else if self.yes || self.yes_really || confirm() {
            PruneVerdict::Pruned
        } else {
            PruneVerdict::Unconfirmed
        }
    }
}

impl PruneVerdict {
    /// The `state` of the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing_to_remove",
            Self::DryRun => "dry_run",
            Self::Refused | Self::Unconfirmed => "refused",
            Self::Pruned => "pruned",
        }
    }

    /// The `reason` and the `hint` of the document.
    pub(super) fn reason_and_hint(self, guards: &[String]) -> (Option<String>, Option<String>) {
        match self {
            Self::Refused => (Some(guards.join("; ")), Some(TO_OVERRIDE.to_owned())),
            Self::Unconfirmed => (Some(format!("not confirmed: {TO_CONFIRM}")), Some(TO_CONFIRM.to_owned())),
            Self::Nothing | Self::DryRun | Self::Pruned => (None, None),
        }
    }

    /// The exit code of a command that has written its document; `code` if the plan was not refused.
    pub(super) fn exit_code(self, code: u8) -> u8 {
        if matches!(self, Self::Refused | Self::Unconfirmed) { failure::GUARD } else { code }
    }

    /// The error of a plan that is not carried out.
    ///
    /// # Errors
    /// If it looks like a mistake, or was not confirmed.
    pub(super) fn check(self, guards: &[String]) -> Result<(), CommandFailure> {
        match self {
            Self::Refused => {
                let message = format!("refused, nothing was removed: {}", guards.join("; "));
                Err(CommandFailure::guard(message).with_hint(TO_OVERRIDE))
            }
            Self::Unconfirmed => Err(CommandFailure::guard("not confirmed, nothing was removed").with_hint(TO_CONFIRM)),
            Self::Nothing | Self::DryRun | Self::Pruned => Ok(()),
        }
    }
}

/// Why the rules let a snapshot go.
pub(super) fn why_removed(is_of_ended_series: bool, policy: &Policy) -> String {
    if is_of_ended_series {
        format!("its series has had nothing new within {}", policy.keep_other_within)
    } else {
        "no rule keeps it".to_owned()
    }
}

/// The same, for programs.
pub(super) fn removed_reason(is_of_ended_series: bool) -> &'static str {
    if is_of_ended_series { "series_ended" } else { "no_rule" }
}

/// A line for each guard.
pub(super) fn guard_lines(guards: &[String]) -> String {
    let lines: Vec<String> = guards.iter().map(|guard| format!("looks like a mistake: {guard}\n")).collect();
    lines.concat()
}

/// The snapshots of a plan.
pub(super) struct PlanTable {
    table: TextTable,
    now: DateTime<Utc>,
}

impl PlanTable {
    pub(super) fn new(now: DateTime<Utc>) -> Self {
        let columns =
            [left(""), left("SNAPSHOT"), right("AGE"), right("ALONE").dropped(1), right("TOGETHER").dropped(2)];
        Self { table: TextTable::new(columns).with_notes_named("WHY"), now }
    }

    /// Adds a snapshot that goes, with what removing it frees, alone and with those above it.
    pub(super) fn remove(
        &mut self,
        (name, time): (String, DateTime<Utc>),
        (alone, together): (u64, u64),
        why: &str,
        notes: &[String],
    ) {
        let freed = [render::bytes(alone), render::bytes(together)];
        self.add("remove", (name, time), freed, why, notes);
    }

    /// Adds a snapshot that stays.
    pub(super) fn keep(&mut self, (name, time): (String, DateTime<Utc>), reasons: &[Reason], notes: &[String]) {
        let reasons: Vec<String> = reasons.iter().map(|reason| render::safe(&reason.to_string(), 80)).collect();
        self.add("keep", (name, time), [String::new(), String::new()], &reasons.join(", "), notes);
    }

    fn add(
        &mut self,
        verb: &str,
        (name, time): (String, DateTime<Utc>),
        [alone, together]: [String; 2],
        why: &str,
        notes: &[String],
    ) {
        let why = if notes.is_empty() { why.to_owned() } else { format!("{why} [{}]", notes.join("; ")) };
        let cells = vec![verb.to_owned(), name, render::age(time, self.now), alone, together];
        self.table.add_with_notes(cells, vec![why]);
    }

    pub(super) fn render(&self, width: Width) -> String {
        self.table.render(width)
    }
}
