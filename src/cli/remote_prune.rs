use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use chsnap::ops::OpError;
use chsnap::ops::remote::{
    JudgedRemote, PARALLEL, PruneScope, RemotePrunePlan, RemotePruneRequest, carry_out_remote_prune, plan_remote_prune,
};
use chsnap::plan::retention::{GuardLimits, Policy};
use chsnap::remote::{RemoteName, RemoteRepository};

use super::confirm::{Answer, confirm};
use super::documents::{JudgedRow, RemoteKeptRow, RemotePruneDocument, RemoteRemovedRow};
use super::failure::CommandFailure;
use super::globals::Globals;
use super::layout::{self, Width};
use super::output::Output;
use super::policy::PolicyArgs;
use super::prune_plan::{PlanTable, PruneConsent, PruneVerdict, guard_lines, removed_reason, why_removed};
use super::push::store;
use super::remote_choice::{gc_hint, local, which};
use super::render;
use super::rules::with_a_rule;
use super::{CommandResult, DONE, WARNED};

/// Remove the snapshots that no rule keeps; gc then frees their space
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Args {
    /// Address of the object store
    #[arg(value_name = "REMOTE")]
    remote: String,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Only snapshots of this repository, by the beginning of its id [default: this one; without a local repository the only one]
    #[arg(long, value_name = "REPOSITORY", conflicts_with = "every_repository")]
    of: Option<String>,
    /// Snapshots of all repositories in the store, each judged by itself
    #[arg(long)]
    every_repository: bool,
    /// For scripts: only the rules given here are ever used, none of a configuration file
    #[arg(long)]
    only_these: bool,
    /// Refuse to remove more than this share of a series' snapshots, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_share: u8,
    /// Show the plan, and change nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Do not ask; required without a terminal
    #[arg(long, short = 'y')]
    yes: bool,
    /// Carry out a plan that looks like a mistake: one that removes a large share
    #[arg(long)]
    yes_really: bool,
}

const HELP: &str =
    "Each series of each repository is judged by itself, as by chsnap prune: the nights of one host never count for another. The \
     rules are those of the command line alone. The last good snapshot of a series stays, and so do unreadable ones and, \
     with a local repository, those that are pinned there. ALONE are the objects that only that snapshot needs, TOGETHER those that only it \
     and the ones above it need: chsnap remote gc deletes them after their grace period.

Exit codes: 13 if it was not confirmed, or looks like a mistake and --yes-really was not given.

Examples:
  chsnap remote prune s3://backups/clickhouse --keep-daily 30 --keep-monthly 12 --dry-run
  chsnap remote prune s3://backups/clickhouse --keep-last 14 --every-repository --yes && chsnap remote gc s3://backups/clickhouse";

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    // No other rules are ever used; the option is accepted so that a script can pass it to both commands.
    let Args { policy, only_these: _, .. } = args;
    let policy = with_a_rule(policy.over(Policy::default()))?;
    let store = store(&args.remote)?;
    let address = store.address().to_owned();
    let now = Utc::now();
    let scope =
        if args.every_repository { PruneScope::Every } else { PruneScope::One(which(args.of.as_ref(), globals)?) };
    let request = RemotePruneRequest::new(policy, scope)
        .with_pins(pins(globals, now)?)
        .with_limits(GuardLimits::default().with_removed_percent(args.max_share))
        .with_parallel(PARALLEL.into());
    let remote = RemoteRepository::open(store).map_err(OpError::from)?;
    let plan = plan_remote_prune(&remote, &request, now)?;
    if !output.is_json() {
        output.text(&text(&plan, &request.policy, now, output.width()));
        output.warnings(&plan.warnings);
    }
    let Args { dry_run, yes, yes_really, .. } = *args;
    let consent = PruneConsent { dry_run, yes, yes_really };
    let confirm = || is_confirmed(&plan, output);
    let verdict = consent.verdict(plan.remove.len(), !plan.guards.is_empty(), confirm);
    if verdict == PruneVerdict::Pruned {
        carry_out_remote_prune(&remote, &plan)?;
    }
    if output.is_json() {
        output.document(&document(&plan, verdict, &request.policy, &address), &plan.warnings);
        let code = if plan.warnings.is_empty() { DONE } else { WARNED };
        return Ok(verdict.exit_code(code));
    }
    conclude(&plan, verdict, (&address, &args.remote), output)
}

/// The pins of the local repository, if there is one, by the names that its snapshots have in a store.
fn pins(globals: &Globals, now: DateTime<Utc>) -> Result<BTreeMap<RemoteName, String>, CommandFailure> {
    let mut pins = BTreeMap::new();
    let Some(repository) = local(globals)? else { return Ok(pins) };
    let (ids, _) = repository.snapshot_ids().map_err(OpError::from)?;
    for id in ids {
        let Some(pin) = repository.pin(id).map_err(OpError::from)?.filter(|pin| pin.holds(now)) else { continue };
        let origin = repository.snapshot_origin(id).map_err(OpError::from)?;
        let made_in = origin.map_or_else(|| repository.id().clone(), |origin| origin.repository);
        pins.insert(RemoteName::new(id, &made_in), pin.reason);
    }
    Ok(pins)
}

fn is_confirmed(plan: &RemotePrunePlan, output: &Output) -> bool {
    let removed = render::count(plan.remove.len() as u64, "snapshot");
    let question = format!("remove {removed} from the store? this cannot be undone");
    confirm(&question, output, &AtomicBool::new(false)) == Answer::Yes
}

fn conclude(
    plan: &RemotePrunePlan,
    verdict: PruneVerdict,
    (address, given): (&str, &str),
    output: &Output,
) -> CommandResult {
    verdict.check(&guard_texts(plan))?;
    if verdict == PruneVerdict::DryRun && !plan.remove.is_empty() {
        output.prose("nothing was touched (--dry-run)\n");
    }
    if verdict == PruneVerdict::Pruned {
        let removed = render::count(plan.remove.len() as u64, "snapshot");
        output.prose(&format!("removed {removed} from {}\n", render::safe(address, 200)));
        output.note(&gc_hint(given));
    }
    Ok(if plan.warnings.is_empty() { DONE } else { WARNED })
}

fn guard_texts(plan: &RemotePrunePlan) -> Vec<String> {
    let is_only = plan.main_series.len() < 2;
    let text = |(repository, guard): &(String, _)| {
        let of = if is_only { String::new() } else { format!("{repository}: ") };
        format!("{of}{guard}")
    };
    plan.guards.iter().map(text).collect()
}

fn notes(snapshot: &JudgedRemote, plan: &RemotePrunePlan) -> Vec<String> {
    let is_other = |key: &&_| plan.main_series.get(&snapshot.name.repository) != Some(*key);
    let label = snapshot.series.as_ref().filter(is_other).map(|key| render::safe(&key.to_string(), 60));
    label.into_iter().chain(snapshot.is_incomplete.then(|| "incomplete".to_owned())).collect()
}

fn text(plan: &RemotePrunePlan, policy: &Policy, now: DateTime<Utc>, width: Width) -> String {
    let mut table = PlanTable::new(now);
    let name = |snapshot: &JudgedRemote| (snapshot.name.to_string(), snapshot.time);
    for leaving in &plan.remove {
        let (freed, snapshot) = ((leaving.freed_bytes, leaving.freed_with_older_bytes), &leaving.snapshot);
        let why = why_removed(leaving.is_of_ended_series, policy);
        table.remove(name(snapshot), freed, &why, &notes(snapshot, plan));
    }
    for (kept, reasons) in plan.keep.iter().rev() {
        table.keep(name(kept), reasons, &notes(kept, plan));
    }
    let head = layout::prose(&format!("{policy}\n"), width);
    if plan.keep.is_empty() && plan.remove.is_empty() {
        return head + "no snapshots there\n";
    }
    head + &table.render(width) + &layout::prose(&sums(plan), width)
}

fn sums(plan: &RemotePrunePlan) -> String {
    let (kept, removed) = (render::thousands(plan.keep.len() as u64), render::thousands(plan.remove.len() as u64));
    if plan.remove.is_empty() {
        return format!("\nkeep {kept}, remove none\n");
    }
    let freed = render::bytes(plan.freed_bytes());
    format!("\nkeep {kept}, remove {removed}: frees {freed} once chsnap remote gc has deleted the objects\n")
        + &guard_lines(&guard_texts(plan))
}

fn document(plan: &RemotePrunePlan, verdict: PruneVerdict, policy: &Policy, address: &str) -> RemotePruneDocument {
    let guards = guard_texts(plan);
    let (reason, hint) = verdict.reason_and_hint(&guards);
    let row = |snapshot: &JudgedRemote| JudgedRow {
        time: snapshot.time,
        name: snapshot.label.clone(),
        series: snapshot.series.as_ref().map(ToString::to_string),
        incomplete: snapshot.is_incomplete,
    };
    let kept = plan.keep.iter().map(|(snapshot, reasons)| RemoteKeptRow {
        remote_name: snapshot.name.to_string(),
        repository: snapshot.name.repository.clone(),
        snapshot: row(snapshot),
        reasons: reasons.iter().map(ToString::to_string).collect(),
    });
    let removed = plan.remove.iter().map(|leaving| RemoteRemovedRow {
        remote_name: leaving.snapshot.name.to_string(),
        repository: leaving.snapshot.name.repository.clone(),
        snapshot: row(&leaving.snapshot),
        reason: removed_reason(leaving.is_of_ended_series).to_owned(),
        freed_bytes: leaving.freed_bytes,
        freed_with_older_bytes: leaving.freed_with_older_bytes,
    });
    RemotePruneDocument {
        state: verdict.name().to_owned(),
        reason,
        hint,
        remote: address.to_owned(),
        policy: policy.to_string(),
        zone: policy.zone.name().to_owned(),
        main_series: plan.main_series.iter().map(|(name, key)| (name.clone(), key.to_string())).collect(),
        keep: kept.collect(),
        remove: removed.collect(),
        freed_bytes: plan.freed_bytes(),
        guards,
        requests: plan.requests.into(),
    }
}
