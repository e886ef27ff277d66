//! One page that presents a repository to a reader who never saw one, and the same figures as a document.

mod calendar;
mod chart;
mod checked;
mod figures;
mod page;
mod pictures;
mod pieces;
mod tables;
mod verdict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::fs;
use chsnap::model::SnapshotId;
use chsnap::ops::prune::candidate;
use chsnap::ops::usage::{Grouping, TableUsage, Usage, UsageRequest, usage};
use chsnap::ops::{self, Drill, OpError};
use chsnap::plan::retention::{Candidate, Policy, RetentionDecision, decide};
use chsnap::repo::{Event, LastCheck, Manifest, Repository, SnapshotState};

use super::documents::ReportDocument;
use super::documents::report::Figures;
use super::failure::CommandFailure;
use super::globals::{Globals, duration};
use super::invocation::Invocation;
use super::opening;
use super::output::{Output, path_base64};
use super::policy::PolicyArgs;
use super::{CommandResult, DONE, WARNED};

/// Write a report on the repository: snapshots, space, retention, checks
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Write the page to this file, which needs no other file and no network. Without it, --json prints the same
    /// figures
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Warn if the newest good snapshot is older
    #[arg(long, value_name = "DURATION", default_value = "26h", value_parser = duration)]
    warn: Duration,
    /// Report critical if the newest good snapshot is older
    #[arg(long, value_name = "DURATION", default_value = "50h", value_parser = duration)]
    crit: Duration,
    #[command(flatten)]
    policy: PolicyArgs,
}

const EXAMPLES: &str = "Examples:
  chsnap report --html /var/www/html/chsnap.html
  chsnap report --html ./chsnap.html --keep-daily 7 --keep-weekly 4 --keep-monthly 12
  chsnap report --json | jq -r .figures.verdict.text";

/// How many snapshots are read for the history of tables.
const HISTORY: usize = 60;

/// The facts from which the page is made.
struct Facts {
    repository: PathBuf,
    /// How a command on this repository begins.
    commands: String,
    profile: Option<String>,
    now: DateTime<Utc>,
    warn: Duration,
    crit: Duration,
    /// By table.
    usage: Usage,
    partitions: Vec<TableUsage>,
    /// Bytes in use on the filesystem, by any user, when snapshots were made.
    used: Vec<(DateTime<Utc>, u64)>,
    policy: Policy,
    /// The policy's decision on each snapshot; empty if there is no rule.
    fates: BTreeMap<SnapshotId, RetentionDecision>,
    checks: BTreeMap<SnapshotId, LastCheck>,
    /// The last drill of each existing snapshot that had one.
    drills: BTreeMap<SnapshotId, Drill>,
    /// The bytes that a restore of each table took, the oldest first.
    history: BTreeMap<(String, String), Vec<u64>>,
}

pub(super) fn run(args: &Args, globals: &Globals, invocation: &Invocation, output: &Output) -> CommandResult {
    if args.html.is_none() && !output.is_json() {
        return Err(CommandFailure::usage("neither --html nor --json says where the figures go".to_owned())
            .with_hint("chsnap report --html FILE"));
    }
    let repository = opening::open(globals)?;
    let now = Utc::now();
    let facts = gather(args, globals, invocation, &repository, now)?;
    let listing = ops::list(&repository)?;
    let alerts = ops::alerts(&repository, &listing, None, now)?;
    let newest = newest_manifest(&repository, &facts.usage);
    let figures = Figures::new(&facts, newest.as_ref().map(|manifest| &manifest.server), &alerts);
    let page = args.html.as_ref().map(|path| (path, page::page(&figures)));
    if let Some((path, page)) = &page {
        write(path, page.as_bytes())?;
    }
    let (count, warnings) = (facts.usage.snapshots.len(), &facts.usage.warnings);
    if output.is_json() {
        let document = ReportDocument {
            file: page.as_ref().map(|(path, _)| path.to_string_lossy().into_owned()),
            file_base64: page.as_ref().and_then(|(path, _)| path_base64(path)),
            bytes: page.as_ref().map(|(_, page)| page.len() as u64),
            snapshots: count as u64,
            figures,
        };
        output.document(&document, warnings);
    } else if let Some((path, _)) = &page {
        output.text(&format!("wrote {}\n", path.display()));
    }
    output.warnings(warnings);
    Ok(if warnings.is_empty() { DONE } else { WARNED })
}

/// The manifest of the newest snapshot that can be read.
fn newest_manifest(repository: &Repository, found: &Usage) -> Option<Manifest> {
    found.snapshots.iter().rev().find_map(|row| match repository.snapshot(row.summary.id) {
        Ok(SnapshotState::Complete(manifest)) => Some(*manifest),
        _ => None,
    })
}

fn write(path: &Path, page: &[u8]) -> Result<(), CommandFailure> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| CommandFailure::usage(format!("{} is no name for a file", path.display())))?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = fs::Dir::open(parent, fs::real()).and_then(|dir| dir.publish(name, 0o640, page));
    Ok(written.map_err(OpError::from)?)
}

fn gather(
    args: &Args,
    globals: &Globals,
    invocation: &Invocation,
    repository: &Repository,
    now: DateTime<Utc>,
) -> Result<Facts, CommandFailure> {
    let request =
        |by| UsageRequest::new().with_by(by).with_paths(globals.paths()).with_jobs(globals.jobs_for(repository));
    let found = usage(repository, &request(Grouping::Table), now)?;
    let partitions = usage(repository, &request(Grouping::Partition), now)?.tables.unwrap_or_default();
    let events = repository.events();
    let used = events.iter().filter_map(|(time, event)| match event {
        Event::Created { used_bytes: Some(used), .. } => Some((*time, *used)),
        _ => None,
    });
    let ids: Vec<SnapshotId> = found.snapshots.iter().map(|row| row.summary.id).collect();
    let known = repository.last_checks(&ids);
    let checks: BTreeMap<_, _> = ids.into_iter().zip(known).collect();
    let mut drills = ops::drills(&events);
    drills.retain(|id, _| checks.contains_key(id));
    let policy = args.policy.over(Policy::default());
    Ok(Facts {
        repository: repository.path().to_owned(),
        commands: invocation.command_words(globals),
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
) -> BTreeMap<SnapshotId, RetentionDecision> {
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

/// The size of each table in the last snapshots; a snapshot that cannot be read is skipped.
fn history(repository: &Repository, found: &Usage) -> BTreeMap<(String, String), Vec<u64>> {
    let of_series = |row: &&chsnap::ops::usage::SnapshotUsage| row.summary.is_of(&found.series.chosen);
    let complete = found.snapshots.iter().filter(|row| row.summary.is_complete()).filter(of_series);
    let ids: Vec<SnapshotId> = complete.map(|row| row.summary.id).collect();
    let mut history: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    let manifests =
        ids.iter().skip(ids.len().saturating_sub(HISTORY)).filter_map(|id| match repository.snapshot(*id) {
            Ok(SnapshotState::Complete(manifest)) => Some(manifest),
            _ => None,
        });
    for (number, manifest) in manifests.enumerate() {
        for table in &manifest.tables {
            let figures = history.entry((table.database.clone(), table.table.clone())).or_default();
            figures.resize(number, 0);
            figures.push(table.apparent_bytes);
        }
    }
    history
}
