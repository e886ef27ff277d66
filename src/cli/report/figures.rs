//! The figures of a repository: the page draws them, `--json` prints them.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use chsnap::ops::usage::{SnapshotUsage, TableUsage};
use chsnap::ops::{Alert, Drill};
use chsnap::plan::retention::RetentionDecision;
use chsnap::repo::{LastCheck, ServerEntry};

use super::super::documents::report::{
    CheckFigures, CostFigures, Coverage, DrillFigures, Figures, Filesystem, ServerFigures, SnapshotFigures,
    TableFigures, Used,
};
use super::super::pin;
use super::super::render::{self, garbles};
use super::Facts;
use super::verdict::verdict;

impl From<&LastCheck> for CheckFigures {
    fn from(check: &LastCheck) -> Self {
        let LastCheck { level, time, data_time, slice, damaged, drifted, .. } = *check;
        Self { level, time, data_time, slice, damaged, drifted }
    }
}

/// Rows of the largest tables and partitions.
const LARGEST: usize = 12;
/// Letters of a name that are shown.
const NAME_LIMIT: usize = 120;

/// Text in a form that a page can contain: a name is any bytes that a server accepts, and letters that control how others
/// are shown are invisible.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if garbles(letter) { '\u{fffd}' } else { letter }).collect()
}

impl Figures {
    /// Computes all figures from the collected facts.
    pub(super) fn new(facts: &Facts, server: Option<&ServerEntry>, alerts: &[Alert]) -> Self {
        let usage = &facts.usage;
        let snapshots: Vec<SnapshotFigures> = usage.snapshots.iter().map(|row| snapshot(facts, row)).collect();
        let history = |table: &TableUsage| {
            let key = (table.table.database.clone(), table.table.table.clone());
            facts.history.get(&key).cloned().unwrap_or_default()
        };
        Self {
            time: facts.now,
            profile: facts.profile.as_deref().map(plain),
            repository: plain(&facts.repository.to_string_lossy()),
            server: server.map(|server| ServerFigures {
                host: plain(&server.host_name),
                version: plain(&server.version),
                data_path: plain(&server.data_path),
            }),
            verdict: verdict(facts, alerts),
            filesystem: Filesystem {
                size_bytes: usage.filesystem.size_bytes,
                free_bytes: usage.filesystem.free_bytes,
                used_bytes_per_day: usage.growth.used_bytes_per_day,
                days_until_full: usage.growth.days_until_full,
            },
            totals: CostFigures {
                cost_bytes: usage.totals.cost_bytes,
                live_shared_bytes: usage.totals.live_shared_bytes,
                trash_bytes: usage.totals.trash_bytes,
                in_trash: usage.removed.len() as u64,
                pinned: snapshots.iter().filter(|row| row.pinned).count() as u64,
            },
            policy: (!facts.fates.is_empty()).then(|| facts.policy.to_string()),
            zone: facts.policy.zone.to_string(),
            coverage: coverage(&snapshots),
            used: facts.used.iter().map(|(time, used)| Used { time: *time, used_bytes: *used }).collect(),
            tables: largest(usage.tables.iter().flatten(), history),
            partitions: largest(facts.partitions.iter(), |_| Vec::new()),
            snapshots,
        }
    }
}

fn snapshot(facts: &Facts, row: &SnapshotUsage) -> SnapshotFigures {
    let summary = &row.summary;
    let held = &row.held;
    let all = held.allocated_bytes + held.metadata_bytes;
    let exclusive = held.exclusive_bytes.min(all);
    let live = held.live_shared_bytes.min(all - exclusive);
    let fate = facts.fates.get(&summary.id);
    let label = summary.label.text.clone().unwrap_or_default();
    let pin = row.pin.as_ref().map(pin::note).unwrap_or_default();
    let incomplete = if summary.incomplete { "lacks a table that it could have had" } else { "" };
    let notes = [label.as_str(), pin.as_str(), incomplete, summary.problem.as_deref().unwrap_or("")];
    SnapshotFigures {
        id: summary.id,
        time: summary.time,
        day: summary.time.with_timezone(&facts.policy.zone).date_naive(),
        notes: notes.into_iter().filter(|note| !note.is_empty()).map(plain).collect(),
        pinned: row.pin.is_some(),
        apparent_bytes: summary.totals.apparent_bytes,
        written_bytes: summary.totals.written_bytes,
        freed_bytes: row.freed_bytes,
        freed_with_older_bytes: row.freed_with_older_bytes,
        exclusive_bytes: exclusive,
        shared_bytes: all - exclusive - live,
        live_shared_bytes: live,
        keeps: fate.is_none_or(RetentionDecision::is_kept),
        why: match fate {
            Some(fate) if fate.is_kept() => {
                plain(&fate.reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }
            Some(_) => "no rule keeps it".to_owned(),
            None if pin.is_empty() => "no policy".to_owned(),
            None => plain(&pin),
        },
        checked: CheckFigures::from(facts.checks.get(&summary.id).unwrap_or(&LastCheck::default())),
        drill: facts.drills.get(&summary.id).map(drill),
    }
}

fn drill(drill: &Drill) -> DrillFigures {
    DrillFigures { time: drill.time, tables: drill.tables, of_tables: drill.of_tables, failed: drill.failed }
}

fn coverage(snapshots: &[SnapshotFigures]) -> Coverage {
    let mut coverage = Coverage::default();
    for row in snapshots {
        match (&row.checked.data_time, &row.checked.time) {
            (Some(_), _) => coverage.data += 1,
            (None, Some(_)) => coverage.size += 1,
            (None, None) => coverage.never += 1,
        }
        coverage.drilled += u64::from(row.drill.is_some());
    }
    coverage
}

fn largest<'a>(
    tables: impl Iterator<Item = &'a TableUsage>,
    history: impl Fn(&TableUsage) -> Vec<u64>,
) -> Vec<TableFigures> {
    let mut tables: Vec<&TableUsage> = tables.collect();
    tables.sort_by_key(|table| std::cmp::Reverse(table.allocated_bytes));
    let row = |table: &&TableUsage| TableFigures {
        name: plain(&render::cut(&table.table.to_string(), NAME_LIMIT)),
        partition: table.partition.as_deref().map(|partition| plain(&render::cut(partition, NAME_LIMIT))),
        allocated_bytes: table.allocated_bytes,
        live_shared_bytes: table.live_shared_bytes,
        history: history(table),
    };
    tables.iter().take(LARGEST).map(row).collect()
}

/// The snapshots of each day that has any.
pub(super) fn by_day(figures: &Figures) -> BTreeMap<NaiveDate, Vec<&SnapshotFigures>> {
    let mut days: BTreeMap<NaiveDate, Vec<&SnapshotFigures>> = BTreeMap::new();
    for row in &figures.snapshots {
        days.entry(row.day).or_default().push(row);
    }
    days
}
