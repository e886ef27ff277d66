//! The tables of a plan that parts are placed for.

use std::collections::BTreeMap;

use crate::model::{TableName, TemporaryRole, temporary_table};
use crate::plan::{Action, Disks, RestoreEntry, RestorePlan, TablePlan, TargetTable, kept_name};

use super::context::Context;
use super::described::DescribedDisks;
use super::source::SourceTable;
use super::survey::place;

/// A table that parts are placed for, or rows inserted.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) source: &'a SourceTable,
    /// The disks that its parts may go to.
    pub(super) disks: Vec<String>,
    /// What the intent says of it.
    pub(super) entry: RestoreEntry,
    /// The name of a table that its partitions go through, should the live one have other columns.
    pub(super) fitting: TableName,
    /// The name that the replaced table gets, where it is to be kept.
    pub(super) kept_name: TableName,
    /// Its name in the staging directories.
    pub(super) stage_name: String,
}

/// The disk that a part goes to: the one that it was on, else the first of the table's policy.
pub(super) fn disk_of(recorded: &str, disks: &[String]) -> Option<String> {
    disks.iter().find(|disk| *disk == recorded).or_else(|| disks.first()).cloned()
}

/// The engine of a table's database, as it is or as it will be made.
fn database_engine<'a>(context: &'a Context<'_>, table: &TablePlan) -> Option<&'a str> {
    let stored = || {
        let databases = &context.source.manifest.databases;
        databases.iter().find(|stored| stored.database == table.from.database).map(|stored| &stored.engine)
    };
    context.survey.databases.get(&table.to.database).or_else(stored).map(String::as_str)
}

/// The jobs of a plan, by the names that their tables get; none for a table whose disk cannot be had. `word` is the name
/// of the restore.
pub(super) fn jobs<'a>(
    context: &'a Context<'_>,
    plan: &'a RestorePlan,
    word: &str,
    described: &DescribedDisks,
) -> BTreeMap<TableName, Job<'a>> {
    let mut jobs = BTreeMap::new();
    for (number, table) in plan.tables.iter().enumerate() {
        let is_temporary = match table.action {
            Action::Place => false,
            Action::Swap | Action::Partitions { .. } => true,
            // A database in memory gives no table another name.
            Action::Fill { .. } => database_engine(context, table) != Some("Memory"),
            _ => continue,
        };
        let Some(source) = context.source.tables.iter().find(|source| source.name() == table.from) else { continue };
        let temporary = |role| TableName::new(table.to.database.clone(), temporary_table(word, role, number));
        let name = if is_temporary { temporary(TemporaryRole::New) } else { table.to.clone() };
        let swaps = matches!(table.action, Action::Swap | Action::Fill { replaces: true });
        // The server makes its directory.
        let is_made = matches!(table.action, Action::Fill { .. });
        let path = place(&name, table.uuid.as_ref());
        let disks = match &table.disks {
            Disks::Of(disks) => disks.clone(),
            Disks::Described(_) => match described.of(table) {
                Ok(disk) => disk.map(str::to_owned).into_iter().collect(),
                Err(_) => continue,
            },
        };
        let mut used: Vec<String> = source.parts.iter().filter_map(|part| disk_of(&part.disk, &disks)).collect();
        // Also of an empty table: its mutations stand on the first.
        used.extend(disks.first().cloned());
        used.sort_unstable();
        used.dedup();
        let entry = RestoreEntry {
            name,
            uuid: table.uuid.clone(),
            places: used.into_iter().filter(|_| !is_made).map(|disk| (disk, path.clone())).collect(),
            is_temporary,
            replaces: swaps.then(|| table.to.clone()),
            replaces_uuid: if swaps { table.live_uuid.clone() } else { None },
            old_name: (swaps && table.uuid.is_none()).then(|| temporary(TemporaryRole::Old)),
            keeps_old: swaps && context.request.keep_replaced,
            agreed_state: (table.live.as_ref())
                .filter(|_| swaps && context.request.options.replace)
                .map(TargetTable::state),
            held: table.held.clone(),
        };
        let job = Job {
            plan: table,
            source,
            disks,
            entry,
            fitting: temporary(TemporaryRole::Fit),
            kept_name: kept_name(&table.to, word),
            stage_name: number.to_string(),
        };
        jobs.insert(table.to.clone(), job);
    }
    jobs
}

/// What the intent of these jobs says.
pub(super) fn entries(jobs: &BTreeMap<TableName, Job<'_>>) -> Vec<RestoreEntry> {
    let fitting = |job: &Job<'_>| {
        let goes_through = matches!(job.plan.action, Action::Partitions { .. });
        goes_through.then(|| RestoreEntry::helper(job.fitting.clone()))
    };
    jobs.values().flat_map(|job| std::iter::once(job.entry.clone()).chain(fitting(job))).collect()
}
