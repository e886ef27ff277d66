//! The tables of a plan for which parts are placed.

use std::collections::BTreeMap;

use crate::model::{TableName, TableUuid, TemporaryRole, temporary_table};
use crate::ops::disks::LocalDisks;
use crate::plan::{
    Action, Disks, PartitionScope, RestoreEntry, RestorePlan, TablePlan, TargetTable, ViewReplacement, kept_name,
};

use super::context::RestoreContext;
use super::described::DescribedDisks;
use super::source::SourceTable;
use super::survey::place;

/// A table for which parts are placed, or rows inserted.
#[derive(Debug)]
pub(super) struct TableJob<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) source: &'a SourceTable,
    /// The disks that its parts may go to.
    pub(super) disks: Vec<String>,
    /// Its entry in the intent.
    pub(super) entry: RestoreEntry,
    /// The name of an intermediate table for its partitions, in case the live table has other columns. For a replicated
    /// table, the name under which it is filled.
    pub(super) fitting: TableName,
    /// For a view: the name of the existing inner table until the view is replaced.
    pub(super) set_aside: TableName,
    /// The new name of the replaced table, if that is kept.
    pub(super) kept_name: TableName,
    /// Its name in the staging directories.
    pub(super) stage_name: String,
}

/// The disk for a part: the one that it was on, else the first of the table's policy.
pub(super) fn disk_of(recorded: &str, disks: &[String]) -> Option<String> {
    disks.iter().find(|disk| *disk == recorded).or_else(|| disks.first()).cloned()
}

/// The engine of a table's database, existing or planned.
fn database_engine<'a>(context: &'a RestoreContext<'_>, table: &TablePlan) -> Option<&'a str> {
    let stored = || {
        let databases = &context.source.manifest.databases;
        databases.iter().find(|stored| stored.database == table.from.database).map(|stored| &stored.engine)
    };
    context.survey.databases.get(&table.to.database).or_else(stored).map(String::as_str)
}

/// The jobs of a plan, by the new names of their tables. A table whose disk is unavailable has no job. `word` is the
/// name of the restore.
pub(super) fn jobs<'a>(
    context: &'a RestoreContext<'_>,
    plan: &'a RestorePlan,
    word: &str,
    described: &DescribedDisks,
) -> BTreeMap<TableName, TableJob<'a>> {
    let mut jobs = BTreeMap::new();
    for (number, table) in plan.tables.iter().enumerate() {
        let is_temporary = match table.action {
            Action::Place => false,
            Action::Swap | Action::Partitions(_) | Action::FillReplica | Action::ReplaceView(_) => true,
            // A database in memory cannot rename a table.
            Action::Fill { .. } => database_engine(context, table) != Some("Memory"),
            _ => continue,
        };
        let Some(source) = context.source.tables.iter().find(|source| source.name() == table.from) else { continue };
        // A database of the engine Replicated would create it on all its replicas.
        let has_own_database = table.action.needs_helper() && database_engine(context, table) == Some("Replicated");
        let database = if has_own_database { word } else { &table.to.database };
        let temporary = |role| TableName::new(database.to_owned(), temporary_table(word, role, number));
        let name = if is_temporary { temporary(TemporaryRole::New) } else { table.to.clone() };
        let swaps = matches!(
            table.action,
            Action::Swap | Action::Fill { replaces: true } | Action::ReplaceView(ViewReplacement::Exchanged)
        );
        // The server creates its directory, or it has none.
        let is_made = matches!(table.action, Action::Fill { .. } | Action::ReplaceView(_));
        // A view that only tests whether the server accepts its query gets a UUID from there.
        let is_trial =
            matches!(table.action, Action::ReplaceView(ViewReplacement::Remade | ViewReplacement::RemadeOver));
        let uuid = table.helper_uuid.as_ref().filter(|_| is_temporary).or(table.uuid.as_ref());
        let uuid = uuid.filter(|_| !is_trial).cloned();
        let path = place(&name, uuid.as_ref());
        let disks = match &table.disks {
            Disks::Of(disks) => disks.clone(),
            Disks::Described(_) => match described.of(table) {
                Ok(disk) => disk.map(str::to_owned).into_iter().collect(),
                Err(_) => continue,
            },
        };
        let mut used: Vec<String> = source.parts.iter().filter_map(|part| disk_of(&part.disk, &disks)).collect();
        // For an empty table as well: its mutations go to the first disk.
        used.extend(disks.first().cloned());
        used.sort_unstable();
        used.dedup();
        let entry = RestoreEntry {
            name,
            places: used.into_iter().filter(|_| !is_made).map(|disk| (disk, path.clone())).collect(),
            is_temporary,
            replaces: swaps.then(|| table.to.clone()),
            replaces_uuid: if swaps { table.live_uuid.clone() } else { None },
            old_name: (swaps && table.uuid.is_none()).then(|| temporary(TemporaryRole::Old)),
            keeps_old: swaps && context.request.options.keep_replaced,
            agreed_state: (table.live.as_ref())
                .filter(|_| swaps && context.request.options.replace)
                .map(TargetTable::state),
            held: table.held.clone(),
            is_filled: false,
            of_view: view_of(plan, table),
            uuid,
        };
        let job = TableJob {
            plan: table,
            source,
            disks,
            entry,
            fitting: temporary(TemporaryRole::Fit),
            set_aside: temporary(TemporaryRole::Old),
            kept_name: kept_name(&table.to, word),
            stage_name: number.to_string(),
        };
        jobs.insert(table.to.clone(), job);
    }
    jobs
}

/// For an inner table that comes with a view: the UUID that the view gets.
fn view_of(plan: &RestorePlan, table: &TablePlan) -> Option<TableUuid> {
    let view = plan.tables.iter().find(|view| table.comes_with.as_ref() == Some(&view.to))?;
    view.uuid.clone()
}

/// The second temporary table of a job. The server creates its directory, and leaves it behind if it refuses the table.
pub(super) fn fitting_entry(job: &TableJob<'_>, local: &LocalDisks) -> RestoreEntry {
    let helper = RestoreEntry::helper(job.fitting.clone());
    // In databases whose tables have UUIDs, only the server knows which UUID this one gets.
    let own = local.own().filter(|_| job.entry.uuid.is_none());
    let places = own.map(|own| (own.disk.name.clone(), place(&job.fitting, None))).into_iter().collect();
    RestoreEntry { places, ..helper }
}

/// The entries of these jobs in the intent.
pub(super) fn entries(jobs: &BTreeMap<TableName, TableJob<'_>>, local: &LocalDisks) -> Vec<RestoreEntry> {
    let others = |job: &TableJob<'_>| -> Vec<RestoreEntry> {
        let fitting = fitting_entry(job, local);
        let (target, plan) = (job.plan.to.clone(), job.plan);
        match plan.action {
            Action::FillReplica if plan.is_filled_before_named() => vec![fitting],
            // Noted once its name is known.
            Action::FillReplica if plan.made_by.is_some() => Vec::new(),
            Action::FillReplica => vec![RestoreEntry::filled(target, plan.uuid.clone())],
            Action::Partitions(PartitionScope::Missing) => {
                vec![fitting, RestoreEntry::filled(target, plan.live_uuid.clone())]
            }
            Action::Partitions(_) => vec![fitting],
            Action::ReplaceView(ViewReplacement::RemadeOver) => {
                let inner = plan.live.as_ref().and_then(|live| live.inner.clone());
                let moved = RestoreEntry { replaces: inner, old_name: Some(job.set_aside.clone()), ..fitting };
                vec![RestoreEntry { places: Vec::new(), ..moved }]
            }
            _ => Vec::new(),
        }
    };
    jobs.values().flat_map(|job| std::iter::once(job.entry.clone()).chain(others(job))).collect()
}
