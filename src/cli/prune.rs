use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use chsnap::ops::OpError;
use chsnap::ops::prune::{Leaving, PrunePlan, PruneRequest, Stale, carry_out, plan_prune, record_refusal};
use chsnap::plan::retention::{Limits, Policy};
use chsnap::repo::{Repository, Summary};
use serde_json::{Value, json};

use super::confirm::{Answer, confirm};
use super::failure::Failure;
use super::globals::{Globals, size};
use super::opening;
use super::output::{Output, with_warnings};
use super::policy::{PolicyArgs, RulesInForce};
use super::render;
use super::render::Align::{Left, Right};
use super::rules::with_a_rule;
use super::{CommandResult, DONE, WARNED, series};

/// Move the snapshots that no rule keeps to the trash; gc then frees their space
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    /// Remove no more than frees so much: without a rule the oldest snapshots; with rules, of those that none keeps, the
    /// least bytes that suffice
    #[arg(long, value_name = "SIZE", value_parser = size)]
    free: Option<u64>,
    /// Use the rules given here without those of the configuration files, to which they are added otherwise
    #[arg(long)]
    only_these: bool,
    /// Also remove snapshots whose manifest cannot be read; never those that a newer chsnap has made
    #[arg(long)]
    forget_unreadable: bool,
    /// Refuse to remove more than so many percent of the snapshots of a series
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_share: u8,
    /// Show the plan and touch nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Do not ask; needed where nobody can be asked
    #[arg(long, short = 'y')]
    yes: bool,
    /// Also what looks like a mistake: a large share of all snapshots, or a clock that jumped
    #[arg(long)]
    yes_really: bool,
}

const HELP: &str =
    "Each series, the snapshots of one selection, is judged by itself. A snapshot stays if any rule keeps it; pinned ones, \
    those dated in the future and the last good one of a series stay in any case. An incomplete snapshot, which lacks a \
    table that it could have had, never takes the place of a complete one. ALONE is what removing that one frees, TOGETHER what it and those above it free. What goes is in \
    the trash: chsnap undo brings it back, chsnap gc frees its space. --free alone, without a rule, removes the oldest.

Exit codes: 13 if it was not confirmed, or looks like a mistake and --yes-really was not given.

Examples:
  chsnap prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  chsnap prune --free 200GiB --yes";

const WRITABLE: &str = "a String takes everything";

/// What became of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Nothing,
    DryRun,
    Refused,
    Unconfirmed,
    Pruned,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing_to_remove",
            Self::DryRun => "dry_run",
            Self::Refused | Self::Unconfirmed => "refused",
            Self::Pruned => "pruned",
        }
    }
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let mut rules = globals.rules.added(&args.policy, args.only_these);
    if args.free.is_none() {
        rules.policy = with_a_rule(rules.policy)?;
    }
    let repository = opening::open(globals)?;
    let request = PruneRequest {
        policy: rules.policy.clone(),
        free_bytes: args.free,
        forgets_unreadable: args.forget_unreadable,
        limits: Limits { removed_percent: args.max_share, ..Limits::default() },
        paths: globals.paths(),
        jobs: globals.jobs_for(&repository),
    };
    let now = Utc::now();
    let plan = plan_prune(&repository, &request, now)?;
    if !output.is_json() {
        output.text(&text(&plan, &rules, now));
        output.warnings(&plan.warnings);
    }
    let verdict = verdict(args, &plan, output);
    if verdict == Verdict::Refused && args.yes {
        record_refused(&repository, &plan, globals);
    }
    if verdict == Verdict::Pruned {
        // The answer may have taken a while.
        let now = Utc::now();
        let locked = repository.lock("prune", now, globals.lock_wait).map_err(OpError::from)?;
        carry_out(&locked, &plan, now)?;
    }
    if output.is_json() {
        output.json(&document(&plan, verdict, &rules, output));
    }
    conclude(&plan, verdict, globals, output)
}

/// Only monitor asks for it: what cannot be written down is no failure.
fn record_refused(repository: &Repository, plan: &PrunePlan, globals: &Globals) {
    let now = Utc::now();
    let locked = repository.lock("prune", now, globals.lock_wait).map_err(OpError::from);
    if let Err(error) = locked.and_then(|locked| record_refusal(&locked, plan, now)) {
        tracing::debug!(error = chsnap::monitor::chain(&error), "the journal does not have the refusal");
    }
}

fn verdict(args: &Args, plan: &PrunePlan, output: &Output) -> Verdict {
    if args.dry_run {
        Verdict::DryRun
    } else if plan.remove.is_empty() {
        Verdict::Nothing
    } else if !plan.guards.is_empty() && !args.yes_really {
        Verdict::Refused
    } else if args.yes || args.yes_really || is_confirmed(plan, output) {
        Verdict::Pruned
    } else {
        Verdict::Unconfirmed
    }
}

fn is_confirmed(plan: &PrunePlan, output: &Output) -> bool {
    let removed = render::count(plan.remove.len() as u64, "snapshot");
    // prune watches for no signal: one ends it at once.
    confirm(&format!("move {removed} to the trash?"), output, &AtomicBool::new(false)) == Answer::Yes
}

fn conclude(plan: &PrunePlan, verdict: Verdict, globals: &Globals, output: &Output) -> CommandResult {
    let removed = render::count(plan.remove.len() as u64, "snapshot");
    let code = if plan.warnings.is_empty() { DONE } else { WARNED };
    if output.is_json() {
        return Ok(if matches!(verdict, Verdict::Refused | Verdict::Unconfirmed) {
            super::failure::GUARD
        } else {
            code
        });
    }
    match verdict {
        Verdict::Nothing => {}
        Verdict::DryRun => {
            if !globals.quiet && !plan.remove.is_empty() {
                output.text("nothing was touched (--dry-run)\n");
            }
        }
        Verdict::Refused => {
            let guards: Vec<String> = plan.guards.iter().map(ToString::to_string).collect();
            return Err(Failure::guard(format!("refused, nothing was removed: {}", guards.join("; ")))
                .with_hint("look at the plan; --yes-really carries it out all the same"));
        }
        Verdict::Unconfirmed => {
            return Err(Failure::guard("not confirmed, nothing was removed").with_hint("--yes carries the plan out"));
        }
        Verdict::Pruned => {
            output.text(&format!("moved {removed} to the trash\n"));
            if !globals.quiet {
                output.text("chsnap undo brings them back; chsnap gc frees their space\n");
            }
        }
    }
    Ok(code)
}

fn why(leaving: &Leaving, policy: &Policy) -> String {
    if leaving.summary.problem.is_some() {
        "it cannot be read".to_owned()
    } else if leaving.is_of_ended_series {
        format!("its series has had nothing new within {}", policy.keep_other_within)
    } else {
        "no rule keeps it".to_owned()
    }
}

/// Why it goes, for programs.
fn reason(leaving: &Leaving) -> &'static str {
    if leaving.summary.problem.is_some() {
        "unreadable"
    } else if leaving.is_of_ended_series {
        "series_ended"
    } else {
        "no_rule"
    }
}

fn with_notes(text: String, summary: &Summary, plan: &PrunePlan) -> String {
    let notes = series::notes(summary, &plan.main_series);
    if notes.is_empty() { text } else { format!("{text} [{}]", notes.join("; ")) }
}

fn text(plan: &PrunePlan, rules: &RulesInForce, now: DateTime<Utc>) -> String {
    let policy = &rules.policy;
    let columns =
        [("", Left), ("SNAPSHOT", Left), ("AGE", Right), ("ALONE", Right), ("TOGETHER", Right), ("WHY", Left)];
    let mut rows: Vec<Vec<String>> = Vec::new();
    for leaving in &plan.remove {
        rows.push(vec![
            "remove".to_owned(),
            leaving.summary.id.to_string(),
            render::age(leaving.summary.time, now),
            render::bytes(leaving.freed_bytes),
            render::bytes(leaving.freed_with_older_bytes),
            with_notes(why(leaving, policy), &leaving.summary, plan),
        ]);
    }
    for kept in plan.keep.iter().rev() {
        let reasons: Vec<String> = kept.reasons.iter().map(|reason| render::safe(&reason.to_string(), 80)).collect();
        rows.push(vec![
            "keep".to_owned(),
            kept.summary.id.to_string(),
            render::age(kept.summary.time, now),
            String::new(),
            String::new(),
            with_notes(reasons.join(", "), &kept.summary, plan),
        ]);
    }
    let mut text = format!("{policy}\n{}\n", rules.text());
    if rows.is_empty() {
        return text + "no snapshots yet: chsnap create takes one\n";
    }
    text.push_str(&render::table(&columns, rows));
    let (kept, removed) = (plan.keep.len() as u64, plan.remove.len() as u64);
    if removed == 0 {
        return text + &format!("\nkeep {kept}, remove none\n") + &stale_text(plan, now);
    }
    let freed = &plan.freed;
    writeln!(
        text,
        "\nkeep {kept}, remove {removed}: frees {} (files {}, directories {}) once chsnap gc has emptied the trash",
        render::bytes(freed.freed_bytes),
        render::bytes(freed.file_bytes),
        render::bytes(freed.directory_bytes),
    )
    .expect(WRITABLE);
    if freed.freed_with_trash_bytes > freed.freed_bytes {
        writeln!(text, "with what is in the trash already: {}", render::bytes(freed.freed_with_trash_bytes))
            .expect(WRITABLE);
    }
    for guard in &plan.guards {
        writeln!(text, "looks like a mistake: {guard}").expect(WRITABLE);
    }
    text + &stale_text(plan, now)
}

/// So many snapshots of a series are named in the command that removes them.
const NAMED: usize = 20;

/// Series that nothing is added to any more, each with its bytes and the command that removes it.
fn stale_text(plan: &PrunePlan, now: DateTime<Utc>) -> String {
    let line = |stale: &Stale| {
        let (count, age) = (stale.snapshots.len(), render::age(stale.newest, now));
        let ids: Vec<String> = stale.snapshots.iter().take(NAMED).map(ToString::to_string).collect();
        let rest = count.saturating_sub(NAMED);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        format!(
            "the series [{}] has had nothing new for {age}: {}, {} to free; chsnap rm {}{more} removes them, \
             --keep-other-within 30d lets them go by rule\n",
            render::safe(&stale.series, 100),
            render::count(count as u64, "snapshot"),
            render::bytes(stale.freed_bytes),
            ids.join(" "),
        )
    };
    plan.stale.iter().map(line).collect()
}

fn document(plan: &PrunePlan, verdict: Verdict, rules: &RulesInForce, output: &Output) -> Value {
    let policy = &rules.policy;
    let series = |summary: &Summary| summary.series.as_ref().map(ToString::to_string);
    let keep: Vec<Value> = plan
        .keep
        .iter()
        .map(|kept| {
            let reasons: Vec<String> = kept.reasons.iter().map(ToString::to_string).collect();
            let (id, time, name) = (kept.summary.id, kept.summary.time, &kept.summary.label.text);
            json!({
                "id": id, "time": time, "name": name, "series": series(&kept.summary),
                "incomplete": kept.summary.incomplete, "reasons": reasons,
            })
        })
        .collect();
    let remove: Vec<Value> = plan
        .remove
        .iter()
        .map(|leaving| {
            json!({
                "id": leaving.summary.id,
                "time": leaving.summary.time,
                "name": leaving.summary.label.text,
                "series": series(&leaving.summary),
                "incomplete": leaving.summary.incomplete,
                "reason": reason(leaving),
                "freed_bytes": leaving.freed_bytes,
                "freed_with_older_bytes": leaving.freed_with_older_bytes,
            })
        })
        .collect();
    let guards: Vec<String> = plan.guards.iter().map(ToString::to_string).collect();
    let stale: Vec<Value> = (plan.stale.iter())
        .map(|stale| {
            json!({
                "series": stale.series, "newest": stale.newest, "snapshots": stale.snapshots,
                "freed_bytes": stale.freed_bytes,
            })
        })
        .collect();
    let refused_because = match verdict {
        Verdict::Refused => Some(guards.join("; ")),
        Verdict::Unconfirmed => Some("not confirmed: --yes carries the plan out".to_owned()),
        _ => None,
    };
    let document = json!({
        "schema": output.schema(),
        "state": verdict.name(),
        "reason": refused_because,
        "policy": policy.to_string(),
        "rules": rules.json(),
        "main_series": plan.main_series.to_string(),
        "zone": policy.zone.name(),
        "keep": keep,
        "remove": remove,
        "freed_bytes": plan.freed.freed_bytes,
        "exclusive_bytes": plan.freed.file_bytes,
        "directory_bytes": plan.freed.directory_bytes,
        "freed_with_trash_bytes": plan.freed.freed_with_trash_bytes,
        "is_enough": plan.free.map(|free| free.is_enough),
        "stale_series": stale,
        "guards": guards,
        "cost": {
            "asked_files": plan.cost.asked_files,
            "seconds": {
                "index": plan.cost.index.as_secs_f64(), "list": plan.cost.list.as_secs_f64(),
                "stat": plan.cost.stat.as_secs_f64(), "sum": plan.cost.sum.as_secs_f64(),
            },
        },
    });
    with_warnings(document, &plan.warnings)
}
