use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use chsnap::ops::OpError;
use chsnap::ops::prune::{PrunePlan, PruneRequest, carry_out, plan_prune};
use chsnap::plan::retention::{Limits, Policy};
use serde_json::{Value, json};

use super::confirm::{Answer, confirm};
use super::failure::Failure;
use super::globals::{Globals, size};
use super::opening;
use super::output::{Output, with_warnings};
use super::policy::{PolicyArgs, with_a_rule};
use super::render;
use super::render::Align::{Left, Right};
use super::{CommandResult, DONE, WARNED};

/// Move the snapshots that no rule keeps to the trash; gc then frees their space
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    #[command(flatten)]
    policy: PolicyArgs,
    /// Remove no more than frees so much: the fewest and oldest snapshots among those that no rule keeps
    #[arg(long, value_name = "SIZE", value_parser = size)]
    free: Option<u64>,
    /// Refuse to remove more than so many percent of all snapshots
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
    "A snapshot stays if any rule keeps it; pinned ones, those dated in the future and the last good one \
    stay in any case. ALONE is what removing that one frees, TOGETHER what it and those above it free. What goes is in \
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
    let mut policy = args.policy.over(Policy::default());
    if args.free.is_none() {
        policy = with_a_rule(policy)?;
    }
    let repository = opening::open(globals)?;
    let request = PruneRequest {
        policy,
        free_bytes: args.free,
        limits: Limits { removed_percent: args.max_share, ..Limits::default() },
        paths: globals.paths(),
        jobs: globals.jobs_for(&repository),
    };
    let now = Utc::now();
    let plan = plan_prune(&repository, &request, now)?;
    if !output.is_json() {
        output.text(&text(&plan, &request.policy, now));
        output.warnings(&plan.warnings);
    }
    let verdict = verdict(args, &plan, output);
    if verdict == Verdict::Pruned {
        // The answer may have taken a while.
        let now = Utc::now();
        let locked = repository.lock("prune", now, globals.lock_wait).map_err(OpError::from)?;
        carry_out(&locked, &plan, now)?;
    }
    if output.is_json() {
        output.json(&document(&plan, verdict, &request.policy, output));
    }
    conclude(&plan, verdict, globals, output)
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

fn text(plan: &PrunePlan, policy: &Policy, now: DateTime<Utc>) -> String {
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
            "no rule keeps it".to_owned(),
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
            reasons.join(", "),
        ]);
    }
    let mut text = format!("{policy}\n\n");
    if rows.is_empty() {
        return text + "no snapshots yet: chsnap create takes one\n";
    }
    text.push_str(&render::table(&columns, rows));
    let (kept, removed) = (plan.keep.len() as u64, plan.remove.len() as u64);
    if removed == 0 {
        return text + &format!("\nkeep {kept}, remove none\n");
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
    text
}

fn document(plan: &PrunePlan, verdict: Verdict, policy: &Policy, output: &Output) -> Value {
    let keep: Vec<Value> = plan
        .keep
        .iter()
        .map(|kept| {
            let reasons: Vec<String> = kept.reasons.iter().map(ToString::to_string).collect();
            let (id, time, name) = (kept.summary.id, kept.summary.time, &kept.summary.label.text);
            json!({"id": id, "time": time, "name": name, "reasons": reasons})
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
                "freed_bytes": leaving.freed_bytes,
                "freed_with_older_bytes": leaving.freed_with_older_bytes,
            })
        })
        .collect();
    let guards: Vec<String> = plan.guards.iter().map(ToString::to_string).collect();
    let reason = match verdict {
        Verdict::Refused => Some(guards.join("; ")),
        Verdict::Unconfirmed => Some("not confirmed: --yes carries the plan out".to_owned()),
        _ => None,
    };
    let document = json!({
        "schema": output.schema(),
        "state": verdict.name(),
        "reason": reason,
        "policy": policy.to_string(),
        "zone": policy.zone.name(),
        "keep": keep,
        "remove": remove,
        "freed_bytes": plan.freed.freed_bytes,
        "exclusive_bytes": plan.freed.file_bytes,
        "directory_bytes": plan.freed.directory_bytes,
        "freed_with_trash_bytes": plan.freed.freed_with_trash_bytes,
        "is_enough": plan.free.map(|free| free.is_enough),
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
