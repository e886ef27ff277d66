//! One page that shows a repository to whoever never saw one.

mod calendar;
mod chart;
mod html;
mod page;
mod pictures;
mod tables;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::fs;
use chsnap::model::SnapshotId;
use chsnap::ops::prune::candidate;
use chsnap::ops::usage::{By, TableUsage, Usage, UsageRequest, usage};
use chsnap::ops::{self, Drill, OpError};
use chsnap::plan::retention::{Candidate, Fate, Policy, decide};
use chsnap::repo::{Event, LastCheck, Repository, SnapshotState};
use serde_json::json;

use super::failure::Failure;
use super::globals::{Globals, duration};
use super::opening;
use super::output::{Output, with_warnings};
use super::policy::PolicyArgs;
use super::render;
use super::{CommandResult, DONE, WARNED};

/// Write a page about the repository: what is there, what it costs, what stays, what was checked
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where the page goes: one file that needs no other, and no network
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
    /// The newest good snapshot should not be older
    #[arg(long, value_name = "DURATION", default_value = "26h", value_parser = duration)]
    warn: Duration,
    /// It must not be older
    #[arg(long, value_name = "DURATION", default_value = "50h", value_parser = duration)]
    crit: Duration,
    #[command(flatten)]
    policy: PolicyArgs,
}

const EXAMPLES: &str = "Examples:
  chsnap report --html /var/www/html/chsnap.html
  chsnap report --html ./chsnap.html --keep-daily 7 --keep-weekly 4 --keep-monthly 12";

/// Snapshots of which the history of tables is read.
const HISTORY: usize = 60;

/// What the page is made of.
struct Facts {
    repository: PathBuf,
    profile: Option<String>,
    now: DateTime<Utc>,
    warn: Duration,
    crit: Duration,
    /// By table.
    usage: Usage,
    partitions: Vec<TableUsage>,
    /// What was taken on the filesystem, by whomever, when snapshots were made.
    used: Vec<(DateTime<Utc>, u64)>,
    policy: Policy,
    /// What the policy says of each snapshot; nothing where there is no rule.
    fates: BTreeMap<SnapshotId, Fate>,
    checks: BTreeMap<SnapshotId, LastCheck>,
    /// The last trial of each snapshot that is there and had one.
    drills: BTreeMap<SnapshotId, Drill>,
    /// Bytes that each table took to restore, the oldest first.
    history: BTreeMap<(String, String), Vec<f64>>,
}

impl Facts {
    /// How long ago something was, if it ever was.
    fn ago(&self, time: Option<DateTime<Utc>>) -> String {
        time.map_or_else(|| "never".to_owned(), |time| format!("{} ago", render::age(time, self.now)))
    }
}

pub(super) fn run(args: &Args, globals: &Globals, output: &Output) -> CommandResult {
    let repository = opening::open(globals)?;
    let facts = gather(args, globals, &repository, Utc::now())?;
    let page = page::page(&facts);
    write(&args.html, page.as_bytes())?;
    let (count, warnings) = (facts.usage.snapshots.len(), &facts.usage.warnings);
    if output.is_json() {
        let document = json!({"schema": output.schema(), "file": args.html, "bytes": page.len(), "snapshots": count});
        output.json(&with_warnings(document, warnings));
    } else {
        output.text(&format!("wrote {}\n", args.html.display()));
    }
    output.warnings(warnings);
    Ok(if warnings.is_empty() { DONE } else { WARNED })
}

fn write(path: &Path, page: &[u8]) -> Result<(), Failure> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::usage(format!("{} is no name for a file", path.display())))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = fs::Dir::open(parent, fs::real()).and_then(|dir| dir.publish(name, 0o640, page));
    Ok(written.map_err(OpError::from)?)
}

fn gather(args: &Args, globals: &Globals, repository: &Repository, now: DateTime<Utc>) -> Result<Facts, Failure> {
    let request = |by| UsageRequest {
        snapshots: Vec::new(),
        by,
        freed: Vec::new(),
        exact: false,
        paths: globals.paths(),
        jobs: globals.jobs_for(repository),
    };
    let found = usage(repository, &request(By::Table), now)?;
    let partitions = usage(repository, &request(By::Partition), now)?.tables.unwrap_or_default();
    let events = repository.events().map_err(OpError::from)?;
    let used = events.iter().filter_map(|(time, event)| match event {
        Event::Created { used_bytes: Some(used), .. } => Some((*time, *used)),
        _ => None,
    });
    let ids: Vec<SnapshotId> = found.snapshots.iter().map(|row| row.summary.id).collect();
    let known = repository.last_checks(&ids).map_err(OpError::from)?;
    let checks: BTreeMap<_, _> = ids.into_iter().zip(known).collect();
    let mut drills = ops::drills(&events);
    drills.retain(|id, _| checks.contains_key(id));
    let policy = args.policy.over(Policy::default());
    Ok(Facts {
        repository: repository.path().to_owned(),
        profile: globals.profile.clone(),
        now,
        warn: args.warn,
        crit: args.crit,
        used: used.collect(),
        fates: fates(&found, &checks, &policy, now),
        history: history(repository, &found),
        partitions,
        policy,
        checks,
        drills,
        usage: found,
    })
}

fn fates(
    found: &Usage,
    checks: &BTreeMap<SnapshotId, LastCheck>,
    policy: &Policy,
    now: DateTime<Utc>,
) -> BTreeMap<SnapshotId, Fate> {
    if policy.is_empty() {
        return BTreeMap::new();
    }
    let of = |row: &chsnap::ops::usage::SnapshotUsage| {
        let is_damaged = checks.get(&row.summary.id).is_some_and(|check| check.damaged);
        candidate(&row.summary, is_damaged, row.pin.as_ref(), &found.series.main)
    };
    let candidates: Vec<Candidate> = found.snapshots.iter().map(of).collect();
    let fates = decide(&candidates, policy, now).into_iter();
    fates.filter_map(|fate| Some((found.snapshots.get(fate.index)?.summary.id, fate))).collect()
}

/// How large each table was in the last snapshots; one that cannot be read is passed over.
fn history(repository: &Repository, found: &Usage) -> BTreeMap<(String, String), Vec<f64>> {
    let of_series = |row: &&chsnap::ops::usage::SnapshotUsage| row.summary.is_of(&found.series.chosen);
    let complete = found.snapshots.iter().filter(|row| row.summary.is_complete()).filter(of_series);
    let ids: Vec<SnapshotId> = complete.map(|row| row.summary.id).collect();
    let mut history: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    let manifests =
        ids.iter().skip(ids.len().saturating_sub(HISTORY)).filter_map(|id| match repository.snapshot(*id) {
            Ok(SnapshotState::Complete(manifest)) => Some(manifest),
            _ => None,
        });
    for (number, manifest) in manifests.enumerate() {
        for table in &manifest.tables {
            let figures = history.entry((table.database.clone(), table.table.clone())).or_default();
            figures.resize(number, 0.0);
            #[expect(clippy::cast_precision_loss, reason = "a point of a picture")]
            figures.push(table.apparent_bytes as f64);
        }
    }
    history
}
