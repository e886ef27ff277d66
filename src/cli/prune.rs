use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use chsnap::ops::OpError;
use chsnap::ops::prune::{
    PlannedRemoval, PrunePlan, PruneRequest, RetainedSnapshot, Stale, carry_out, plan_prune, record_refusal,
};
use chsnap::plan::retention::{GuardLimits, Policy};
use chsnap::repo::{Repository, Summary};

use super::confirm::{Answer, confirm};
use super::documents::{CostRow, CostSeconds, JudgedRow, KeptRow, PruneDocument, RemovedRow, StaleRow};
use super::failure::CommandFailure;
use super::globals::{Globals, size};
use super::layout::{self, Width};
use super::opening;
use super::output::Output;
use super::policy::{PolicyArgs, RulesInForce};
use super::prune_plan::{PlanTable, PruneConsent, PruneVerdict, guard_lines, removed_reason, why_removed};
use super::render;
use super::rules::with_a_rule;
use super::{CommandResult, DONE, WARNED, series};

/// Move the snapshots that no rule keeps to the trash; gc then frees their space
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) policy: PolicyArgs,
    /// Remove only as many snapshots as free this much: without rules, the oldest first; with rules, those that no rule
    /// keeps, freeing as little as possible beyond SIZE
    #[arg(long, value_name = "SIZE", value_parser = size)]
    free: Option<u64>,
    /// Use only the rules given here; by default, they are added to those of the configuration files
    #[arg(long)]
    only_these: bool,
    /// Also remove snapshots whose manifest cannot be read, except those made by a newer chsnap
    #[arg(long)]
    forget_unreadable: bool,
    /// Refuse to remove more than this share of a series' snapshots, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_share: u8,
    /// Show the plan, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Do not ask; required without a terminal
    #[arg(long, short = 'y')]
    yes: bool,
    /// Carry out a plan that looks like a mistake: one that removes a large share, or follows a jump of the clock
    #[arg(long)]
    yes_really: bool,
}

const HELP: &str =
    "Each series, the snapshots of one selection, is judged separately. A snapshot stays if any rule keeps it; pinned ones, \
    those dated in the future and the last good one of a series always stay. An incomplete snapshot, which lacks a table \
    that it could have had, never replaces a complete one. ALONE is what removing only that snapshot frees, TOGETHER what \
    removing it and those above it frees. Removed snapshots go to the trash: chsnap undo brings them back, chsnap gc frees \
    their space. --free without a rule removes the oldest.

Exit codes: 13 if the plan was not confirmed, or if it looks like a mistake and --yes-really was not given.

Examples:
  chsnap prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  chsnap prune --free 200GiB --yes";

const WRITABLE: &str = "a String takes everything";
impl Args {
    /// The rules in force, with the source of each.
    ///
    /// # Errors
    /// If no rule says what to keep.
    pub(super) fn rules(&self, globals: &Globals) -> Result<RulesInForce, CommandFailure> {
        let mut rules = globals.rules.added(&self.policy, self.only_these);
        if self.free.is_none() {
            rules.policy = with_a_rule(rules.policy)?;
        }
        Ok(rules)
    }

    /// The request that these rules make.
    pub(super) fn request(&self, rules: &RulesInForce, globals: &Globals, repository: &Repository) -> PruneRequest {
        PruneRequest::new(rules.policy.clone())
            .with_free_bytes(self.free)
            .with_forgets_unreadable(self.forget_unreadable)
            .with_limits(GuardLimits::default().with_removed_percent(self.max_share))
            .with_paths(globals.paths())
            .with_jobs(globals.jobs_for(repository))
    }
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let rules = args.rules(globals)?;
    let repository = opening::open(globals)?;
    let request = args.request(&rules, globals, &repository);
    let now = Utc::now();
    let plan = plan_prune(&repository, &request, now)?;
    if !output.is_json() {
        output.text(&text(&plan, &rules, now, output.width()));
        output.warnings(&plan.warnings);
    }
    let Args { dry_run, yes, yes_really, .. } = *args;
    let consent = PruneConsent { dry_run, yes, yes_really };
    let confirm = || is_confirmed(&plan, output);
    let verdict = consent.verdict(plan.remove.len(), !plan.guards.is_empty(), confirm);
    if verdict == PruneVerdict::Refused && args.yes {
        record_refused(&repository, &plan, globals);
    }
    if verdict == PruneVerdict::Pruned {
        // The answer may have taken a while.
        let now = Utc::now();
        let locked = repository.lock("prune", now, globals.lock_wait).map_err(OpError::from)?;
        carry_out(&locked, &plan, now)?;
    }
    if output.is_json() {
        output.document(&document(&plan, verdict, &rules), &plan.warnings);
    }
    conclude(&plan, verdict, globals, output)
}

/// Records the refusal. Only monitor reads it, so a failure to write it is ignored.
fn record_refused(repository: &Repository, plan: &PrunePlan, globals: &Globals) {
    let now = Utc::now();
    let locked = repository.lock("prune", now, globals.lock_wait).map_err(OpError::from);
    if let Err(error) = locked.and_then(|locked| record_refusal(&locked, plan, now)) {
        tracing::debug!(error = chsnap::monitor::chain(&error), "the journal does not have the refusal");
    }
}

fn is_confirmed(plan: &PrunePlan, output: &Output) -> bool {
    let removed = render::count(plan.remove.len() as u64, "snapshot");
    // prune watches for no signal: a signal ends it at once.
    confirm(&format!("move {removed} to the trash?"), output, &AtomicBool::new(false)) == Answer::Yes
}

fn conclude(plan: &PrunePlan, verdict: PruneVerdict, globals: &Globals, output: &Output) -> CommandResult {
    let removed = render::count(plan.remove.len() as u64, "snapshot");
    let code = if plan.warnings.is_empty() { DONE } else { WARNED };
    if output.is_json() {
        return Ok(verdict.exit_code(code));
    }
    verdict.check(&guard_texts(plan))?;
    if verdict == PruneVerdict::DryRun && !globals.quiet && !plan.remove.is_empty() {
        output.prose("nothing was touched (--dry-run)\n");
    }
    if verdict == PruneVerdict::Pruned {
        output.prose(&format!("moved {removed} to the trash\n"));
        if !globals.quiet {
            output.prose("chsnap undo brings them back; chsnap gc frees their space\n");
        }
    }
    Ok(code)
}

fn why(leaving: &PlannedRemoval, policy: &Policy) -> String {
    if leaving.summary.problem.is_some() {
        "it cannot be read".to_owned()
    } else {
        why_removed(leaving.is_of_ended_series, policy)
    }
}

/// Why it is removed, for programs.
fn reason(leaving: &PlannedRemoval) -> &'static str {
    if leaving.summary.problem.is_some() { "unreadable" } else { removed_reason(leaving.is_of_ended_series) }
}

fn guard_texts(plan: &PrunePlan) -> Vec<String> {
    plan.guards.iter().map(ToString::to_string).collect()
}

fn text(plan: &PrunePlan, rules: &RulesInForce, now: DateTime<Utc>, width: Width) -> String {
    let policy = &rules.policy;
    let mut table = PlanTable::new(now);
    let name = |summary: &Summary| (summary.id.to_string(), summary.time);
    let notes = |summary: &Summary| series::notes(summary, &plan.main_series);
    for leaving in &plan.remove {
        let (freed, summary) = ((leaving.freed_bytes, leaving.freed_with_older_bytes), &leaving.summary);
        table.remove(name(summary), freed, &why(leaving, policy), &notes(summary));
    }
    for kept in plan.keep.iter().rev() {
        table.keep(name(&kept.summary), &kept.reasons, &notes(&kept.summary));
    }
    let head = layout::prose(&format!("{policy}\n{}\n", rules.text()), width);
    if plan.keep.is_empty() && plan.remove.is_empty() {
        return head + "no snapshots yet: chsnap create takes one\n";
    }
    head + &table.render(width) + &layout::prose(&verdict_text(plan, now), width)
}

fn verdict_text(plan: &PrunePlan, now: DateTime<Utc>) -> String {
    let mut text = String::new();
    let (kept, removed) = (render::thousands(plan.keep.len() as u64), render::thousands(plan.remove.len() as u64));
    if plan.remove.is_empty() {
        return format!("\nkeep {kept}, remove none\n") + &stale_text(plan, now);
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
    text + &guard_lines(&guard_texts(plan)) + &stale_text(plan, now)
}

/// How many snapshots of a series are named in the command that removes them.
const NAMED: usize = 20;

/// Series that get no new snapshots any more, each with its bytes and the command that removes it.
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

fn judged_row(summary: &Summary) -> JudgedRow {
    JudgedRow {
        time: summary.time,
        name: summary.label.text.clone(),
        series: summary.series.as_ref().map(ToString::to_string),
        incomplete: summary.incomplete,
    }
}

fn kept_row(kept: &RetainedSnapshot) -> KeptRow {
    KeptRow {
        id: kept.summary.id,
        snapshot: judged_row(&kept.summary),
        reasons: kept.reasons.iter().map(ToString::to_string).collect(),
    }
}

fn removed_row(leaving: &PlannedRemoval) -> RemovedRow {
    RemovedRow {
        id: leaving.summary.id,
        snapshot: judged_row(&leaving.summary),
        reason: reason(leaving).to_owned(),
        freed_bytes: leaving.freed_bytes,
        freed_with_older_bytes: leaving.freed_with_older_bytes,
    }
}

fn document(plan: &PrunePlan, verdict: PruneVerdict, rules: &RulesInForce) -> PruneDocument {
    let (policy, cost) = (&rules.policy, &plan.cost);
    let guards = guard_texts(plan);
    let (reason, hint) = verdict.reason_and_hint(&guards);
    let stale_row = |stale: &Stale| StaleRow {
        series: stale.series.clone(),
        newest: stale.newest,
        snapshots: stale.snapshots.clone(),
        freed_bytes: stale.freed_bytes,
    };
    PruneDocument {
        state: verdict.name().to_owned(),
        reason,
        hint,
        policy: policy.to_string(),
        rules: rules.rows(),
        main_series: plan.main_series.to_string(),
        zone: policy.zone.name().to_owned(),
        keep: plan.keep.iter().map(kept_row).collect(),
        remove: plan.remove.iter().map(removed_row).collect(),
        freed_bytes: plan.freed.freed_bytes,
        exclusive_bytes: plan.freed.file_bytes,
        directory_bytes: plan.freed.directory_bytes,
        freed_with_trash_bytes: plan.freed.freed_with_trash_bytes,
        is_enough: plan.free.map(|free| free.is_enough),
        stale_series: plan.stale.iter().map(stale_row).collect(),
        guards,
        cost: CostRow {
            asked_files: cost.asked_files,
            listed_snapshots: None,
            seconds: CostSeconds {
                index: cost.index.as_secs_f64(),
                list: cost.list.as_secs_f64(),
                stat: cost.stat.as_secs_f64(),
                sum: cost.sum.as_secs_f64(),
            },
        },
    }
}
