use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Utc};
use chsnap::ops::OpError;
use chsnap::ops::remote::{
    JudgedRemote, LeavingRemote, PARALLEL, PruneScope, RemotePrunePlan, RemotePruneRequest, carry_out_remote_prune,
    plan_remote_prune,
};
use chsnap::plan::retention::{GuardLimits, Policy};
use chsnap::remote::{RemoteName, RemoteRepository};

use super::confirm::{Answer, confirm};
use super::documents::{RemoteKeptRow, RemotePruneDocument, RemoteRemovedRow};
use super::failure::{self, CommandFailure};
use super::globals::Globals;
use super::layout::{self, TextTable, Width, left, right};
use super::output::Output;
use super::policy::PolicyArgs;
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
    /// Where it is
    #[arg(value_name = "REMOTE")]
    remote: String,
    #[command(flatten)]
    policy: PolicyArgs,
    /// Of the repository whose id begins so [default: this one; without a local repository the only one]
    #[arg(long, value_name = "REPOSITORY", conflicts_with = "every_repository")]
    of: Option<String>,
    /// Of all repositories there, each judged by itself
    #[arg(long)]
    every_repository: bool,
    /// For scripts: only the rules given here are ever used, none of a configuration file
    #[arg(long)]
    only_these: bool,
    /// Refuse to remove more than this share of a series' snapshots, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    max_share: u8,
    /// Show the plan and touch nothing
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

const WRITABLE: &str = "a String takes everything";
const TO_OVERRIDE: &str = "look at the plan; --yes-really carries it out all the same";
const TO_CONFIRM: &str = "--yes carries the plan out";

/// The outcome for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RemotePruneVerdict {
    Nothing,
    DryRun,
    Refused,
    Unconfirmed,
    Pruned,
}

impl RemotePruneVerdict {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing_to_remove",
            Self::DryRun => "dry_run",
            Self::Refused | Self::Unconfirmed => "refused",
            Self::Pruned => "pruned",
        }
    }

    fn is_refused(self) -> bool {
        matches!(self, Self::Refused | Self::Unconfirmed)
    }
}

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
    let verdict = verdict(args, &plan, output);
    if verdict == RemotePruneVerdict::Pruned {
        carry_out_remote_prune(&remote, &plan)?;
    }
    if output.is_json() {
        output.document(&document(&plan, verdict, &request.policy, &address), &plan.warnings);
        let code = if plan.warnings.is_empty() { DONE } else { WARNED };
        return Ok(if verdict.is_refused() { failure::GUARD } else { code });
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

fn verdict(args: &Args, plan: &RemotePrunePlan, output: &Output) -> RemotePruneVerdict {
    if args.dry_run {
        RemotePruneVerdict::DryRun
    } else if plan.remove.is_empty() {
        RemotePruneVerdict::Nothing
    } else if !plan.guards.is_empty() && !args.yes_really {
        RemotePruneVerdict::Refused
    } else if args.yes || args.yes_really || is_confirmed(plan, output) {
        RemotePruneVerdict::Pruned
    } else {
        RemotePruneVerdict::Unconfirmed
    }
}

fn is_confirmed(plan: &RemotePrunePlan, output: &Output) -> bool {
    let removed = render::count(plan.remove.len() as u64, "snapshot");
    let question = format!("remove {removed} from the store? this cannot be undone");
    confirm(&question, output, &AtomicBool::new(false)) == Answer::Yes
}

fn conclude(
    plan: &RemotePrunePlan,
    verdict: RemotePruneVerdict,
    (address, given): (&str, &str),
    output: &Output,
) -> CommandResult {
    match verdict {
        RemotePruneVerdict::Nothing => {}
        RemotePruneVerdict::DryRun => {
            if !plan.remove.is_empty() {
                output.text("nothing was touched (--dry-run)\n");
            }
        }
        RemotePruneVerdict::Refused => {
            let message = format!("refused, nothing was removed: {}", guard_texts(plan).join("; "));
            return Err(CommandFailure::guard(message).with_hint(TO_OVERRIDE));
        }
        RemotePruneVerdict::Unconfirmed => {
            return Err(CommandFailure::guard("not confirmed, nothing was removed").with_hint(TO_CONFIRM));
        }
        RemotePruneVerdict::Pruned => {
            let removed = render::count(plan.remove.len() as u64, "snapshot");
            output.text(&format!("removed {removed} from {}\n", render::safe(address, 200)));
            output.note(&gc_hint(given));
        }
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

fn why(leaving: &LeavingRemote, policy: &Policy) -> String {
    if leaving.is_of_ended_series {
        format!("its series has had nothing new within {}", policy.keep_other_within)
    } else {
        "no rule keeps it".to_owned()
    }
}

fn with_notes(text: String, snapshot: &JudgedRemote, plan: &RemotePrunePlan) -> String {
    let is_other = |key: &&_| plan.main_series.get(&snapshot.name.repository) != Some(*key);
    let label = snapshot.series.as_ref().filter(is_other).map(|key| render::safe(&key.to_string(), 60));
    let notes: Vec<String> = label.into_iter().chain(snapshot.is_incomplete.then(|| "incomplete".to_owned())).collect();
    if notes.is_empty() { text } else { format!("{text} [{}]", notes.join("; ")) }
}

fn text(plan: &RemotePrunePlan, policy: &Policy, now: DateTime<Utc>, width: Width) -> String {
    let mut table = TextTable::new([
        left(""),
        left("SNAPSHOT"),
        right("AGE"),
        right("ALONE").dropped(1),
        right("TOGETHER").dropped(2),
    ])
    .with_notes_named("WHY");
    for leaving in &plan.remove {
        let cells = vec![
            "remove".to_owned(),
            leaving.snapshot.name.to_string(),
            render::age(leaving.snapshot.time, now),
            render::bytes(leaving.freed_bytes),
            render::bytes(leaving.freed_with_older_bytes),
        ];
        table.add_with_notes(cells, vec![with_notes(why(leaving, policy), &leaving.snapshot, plan)]);
    }
    for (kept, reasons) in plan.keep.iter().rev() {
        let reasons: Vec<String> = reasons.iter().map(|reason| render::safe(&reason.to_string(), 80)).collect();
        let age = render::age(kept.time, now);
        let cells = vec!["keep".to_owned(), kept.name.to_string(), age, String::new(), String::new()];
        table.add_with_notes(cells, vec![with_notes(reasons.join(", "), kept, plan)]);
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
    let mut text =
        format!("\nkeep {kept}, remove {removed}: frees {freed} once chsnap remote gc has deleted the objects\n");
    for guard in guard_texts(plan) {
        writeln!(text, "looks like a mistake: {guard}").expect(WRITABLE);
    }
    text
}

fn document(
    plan: &RemotePrunePlan,
    verdict: RemotePruneVerdict,
    policy: &Policy,
    address: &str,
) -> RemotePruneDocument {
    let guards = guard_texts(plan);
    let (reason, hint) = match verdict {
        RemotePruneVerdict::Refused => (Some(guards.join("; ")), Some(TO_OVERRIDE)),
        RemotePruneVerdict::Unconfirmed => (Some(format!("not confirmed: {TO_CONFIRM}")), Some(TO_CONFIRM)),
        _ => (None, None),
    };
    let series = |snapshot: &JudgedRemote| snapshot.series.as_ref().map(ToString::to_string);
    let kept = plan.keep.iter().map(|(snapshot, reasons)| RemoteKeptRow {
        remote_name: snapshot.name.to_string(),
        repository: snapshot.name.repository.clone(),
        time: snapshot.time,
        name: snapshot.label.clone(),
        series: series(snapshot),
        incomplete: snapshot.is_incomplete,
        reasons: reasons.iter().map(ToString::to_string).collect(),
    });
    let removed = plan.remove.iter().map(|leaving| RemoteRemovedRow {
        remote_name: leaving.snapshot.name.to_string(),
        repository: leaving.snapshot.name.repository.clone(),
        time: leaving.snapshot.time,
        name: leaving.snapshot.label.clone(),
        series: series(&leaving.snapshot),
        incomplete: leaving.snapshot.is_incomplete,
        reason: if leaving.is_of_ended_series { "series_ended" } else { "no_rule" }.to_owned(),
        freed_bytes: leaving.freed_bytes,
        freed_with_older_bytes: leaving.freed_with_older_bytes,
    });
    RemotePruneDocument {
        state: verdict.name().to_owned(),
        reason,
        hint: hint.map(str::to_owned),
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
