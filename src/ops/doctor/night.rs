//! Finds what the other steps of a night would refuse, or could not do.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::fs;
use crate::model::count;
use crate::ops::copy;
use crate::ops::error::OpError;
use crate::ops::prune::plan_prune;
use crate::repo::Repository;

use super::{Findings, Tonight, chain, size};

pub(super) fn examine(repository: &Repository, night: &Tonight, now: DateTime<Utc>, findings: &mut Findings) {
    retention(repository, night, now, findings);
    for (key, reason) in &night.unreachable_pings {
        let text = format!("{key} would not be notified of a run: {reason}");
        findings.warn("ping", text, "correct it in [run], or look at the watcher that it names");
    }
    for program in &night.programs {
        hook(program, findings);
    }
    if let Some(directory) = night.metrics_file.as_deref().and_then(Path::parent)
        && !directory.as_os_str().is_empty()
        && !directory.is_dir()
    {
        let text =
            format!("{} does not exist, so the figures for Prometheus could not be written", directory.display());
        findings.warn("metrics", text, "make that directory, or correct metrics_file in [run]");
    }
    for to in &night.copy_to {
        second_place(repository, to, (night.jobs, now), findings);
    }
    if let Ok(space) = fs::space(repository.dir())
        && space.free_bytes < night.min_free_bytes
    {
        let [free, wanted] = [space.free_bytes, night.min_free_bytes].map(size);
        let text = format!("{free} are free, less than the {wanted} of min_free in [run]");
        findings.warn("space", text, "the night empties the trash and prunes first; chsnap gc does now");
    }
}

/// Reports what prune would do with the present snapshots.
fn retention(repository: &Repository, night: &Tonight, now: DateTime<Utc>, findings: &mut Findings) {
    let Some(request) = &night.prune else {
        return findings.ok("retention", "no [prune]: nothing is ever removed");
    };
    match plan_prune(repository, request, now) {
        Err(error) => findings.fail("retention", chain(&error), "look at the repository with chsnap list"),
        Ok(plan) => {
            let (removed, kept) = (plan.remove.len() as u64, plan.keep.len());
            let text = format!("the policy would remove {} and keep {kept}", count(removed, "snapshot"));
            if plan.guards.is_empty() {
                return findings.ok("retention", text);
            }
            let guards: Vec<String> = plan.guards.iter().map(ToString::to_string).collect();
            let remedy = format!("look at chsnap prune --dry-run; {} applies the plan once", night.prune_remedy);
            findings.warn("retention", format!("prune would be refused: {}; {text}", guards.join("; ")), remedy);
        }
    }
}

/// Reports what the copies to another repository would do with the present snapshots.
fn second_place(repository: &Repository, to: &Path, (jobs, now): (usize, DateTime<Utc>), findings: &mut Findings) {
    let request = copy::Request::new(copy::WantedSnapshots::New).with_jobs(jobs);
    let name = to.display();
    let target = copy::TargetRepository::find(repository, to, &repository.dir().verbs());
    let plan = target.and_then(|target| copy::dry_run(repository, &target, &request, now));
    let plan = match plan {
        Ok(plan) => plan,
        Err(error @ (OpError::LowSpace { .. } | OpError::LowInodes { .. })) => {
            return findings.fail("copy", chain(&error), NO_ROOM);
        }
        Err(error) => return findings.fail("copy", format!("{name}: {}", chain(&error)), "correct copy_to in [run]"),
    };
    let (mut snapshots, mut bytes, mut refused) = (0_u64, 0_u64, 0_u64);
    for snapshot in &plan.snapshots {
        match &snapshot.plan {
            copy::Estimate::Copy { copied, .. } => {
                snapshots += 1;
                bytes = bytes.saturating_add(copied.bytes);
            }
            copy::Estimate::Refused(_) => refused += 1,
            copy::Estimate::Present | copy::Estimate::Pin(_) => {}
        }
    }
    let text = format!("{name} lacks {} with at most {}", count(snapshots, "snapshot"), size(bytes));
    if refused > 0 {
        findings.warn(
            "copy",
            format!("{text}; {} would not be copied", count(refused, "snapshot")),
            format!("chsnap copy --new --dry-run --to {name} says why"),
        );
    } else {
        findings.ok("copy", text);
    }
}

const NO_ROOM: &str = "make room there, or name a larger filesystem in copy_to in [run]";

fn hook(program: &Path, findings: &mut Findings) {
    let name = program.display();
    match fs::other_writer(program) {
        Err(error) => {
            findings.fail("hook", format!("{name}: {error}"), "correct before and after in [run]");
        }
        Ok(Some(other)) => {
            findings.fail("hook", format!("{name} is not run: someone else may change it ({other})"), other.remedy());
        }
        Ok(None) => findings.ok("hook", format!("{name} is there, and only root and this user may write it")),
    }
}
