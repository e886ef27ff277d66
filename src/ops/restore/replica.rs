//! Creates replicated tables.

use crate::model::{TableName, WarningKind, count};
use crate::plan::{FoundPath, KeeperPath, PartitionScope, ReplicaPlan, RestoreEntry, TablePlan, Verb};
use crate::server::{self, sql};

use super::attaching::{Attaching, make_on_other_hosts, run_definition};
use super::context::RestoreContext;
use super::dump_files::restored_rows;
use super::insert::insert_files;
use super::job::{TableJob, fitting_entry};
use super::keeper::{earlier_replica, path_now};
use super::not_restored::{NotRestored, PathChange};
use super::partitions;
use super::recover::remove_place;
use super::refused::TableFailure;
use super::report::{RestoredState, TableReport};
use super::sessions::wait_for_begun;

/// Creates a replicated table at its path, without data of the snapshot: it has none there, or fetches that of its
/// peers.
pub(super) fn make(attaching: &Attaching<'_>, plan: &TablePlan, report: &mut TableReport) -> Result<(), TableFailure> {
    let Some(replica) = &plan.replica else { return Err(TableFailure::this("it was not planned")) };
    let found = create(attaching, (plan, &plan.to), replica)?;
    report.state = if found == FoundPath::Peers { RestoredState::Fetched } else { RestoredState::Restored };
    spread(attaching, plan, report)
}

/// Creates it on the other hosts of the cluster, if requested, once it exists here with its data.
fn spread(attaching: &Attaching<'_>, plan: &TablePlan, report: &mut TableReport) -> Result<(), TableFailure> {
    match &plan.definition {
        // Its view made it on all of them.
        _ if plan.made_by.is_some() => Ok(()),
        Some(definition) => make_on_other_hosts(attaching, plan, (plan.uuid.as_ref(), definition), report),
        None => Ok(()),
    }
}

/// Creates a replicated table at its path, moves the partitions of a table that was compared into it, and drops that
/// table.
pub(super) fn fill(
    attaching: &Attaching<'_>,
    job: &TableJob<'_>,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let (context, statements, plan) = (attaching.context, attaching.statements, job.plan);
    let Some(replica) = &plan.replica else { return Err(TableFailure::this("it was not planned")) };
    partitions::prepare(context, statements, job)?;
    let is_hidden = plan.is_filled_before_named();
    let made = made_by_view(attaching, plan)?;
    if let Some(made) = &made {
        attaching.staging.note(vec![RestoreEntry::filled(made.clone(), None)])?;
        report.database.clone_from(&made.database);
        report.table.clone_from(&made.table);
    }
    let name = if is_hidden { &job.fitting } else { made.as_ref().unwrap_or(&plan.to) };
    let filled = create(attaching, (plan, name), replica).and_then(|found| {
        if found == FoundPath::Peers {
            report.state = RestoredState::Fetched;
            (report.parts, report.files, report.bytes) = (0, 0, 0);
        } else if job.source.entry.dump.is_some() {
            insert_rows(attaching, job, name, report)?;
        } else {
            partitions::give(context, statements, job, (name, PartitionScope::Missing), report)?;
        }
        if is_hidden {
            statements.rename(name, &plan.to)?;
        }
        Ok(())
    });
    if let (Err(TableFailure::This(_)), true) = (&filled, is_hidden) {
        clear_place(context, job)?;
    }
    if filled.is_err() && !is_hidden {
        let message = match &job.source.entry.dump {
            None => "it may have been made without all of its partitions: the next restore of it adds them",
            Some(_) => "it may have been made without all of its rows: drop it, and restore it again",
        };
        report.warn(WarningKind::FilledInPart, message);
    }
    if !matches!(filled, Err(TableFailure::All(_))) {
        partitions::drop_helpers(statements, job, report)?;
    }
    filled?;
    spread(attaching, plan, report)
}

/// For an inner table that its view makes: the name that the database gave it. `None` for any other table.
///
/// # Errors
/// If its view is not there yet.
pub(super) fn made_by_view(attaching: &Attaching<'_>, plan: &TablePlan) -> Result<Option<TableName>, TableFailure> {
    let Some(view) = &plan.made_by else { return Ok(None) };
    let server = attaching.context.server;
    let found = server::survey_table(server, view)?;
    let inner = found.map(|found| view.inner_table(found.key.uuid.as_ref()));
    match inner {
        Some(inner) if server::survey_table(server, &inner)?.is_some() => Ok(Some(inner)),
        _ => Err(TableFailure::this(format!("the view {view} has not made it"))),
    }
}

/// Inserts the rows of the intermediate table into the empty one. Those of a `Set` cannot be read: they come from its
/// files in the snapshot.
fn insert_rows(
    attaching: &Attaching<'_>,
    job: &TableJob<'_>,
    name: &TableName,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let (server, engine) = (attaching.context.server, &job.plan.engine);
    if restored_rows(server, engine, name)?.unwrap_or(0) > 0 {
        return Err(TableFailure::this("it has got rows since the plan was made"));
    }
    match &job.source.entry.dump {
        Some(dump) if engine == "Set" => insert_files(attaching.context, job, name, dump)?,
        _ => {
            let (to, from) = (sql::quote_table(name), sql::quote_table(&job.entry.name));
            attaching.statements.run(&format!("INSERT INTO {to} SELECT * FROM {from}"))?;
        }
    }
    let expected = restored_rows(server, engine, &job.entry.name)?;
    let rows = restored_rows(server, engine, name)?;
    report.rows = rows.unwrap_or(0);
    if rows == expected {
        return Ok(());
    }
    let (rows, expected) = (count(report.rows, "row"), count(expected.unwrap_or(0), "row"));
    Err(TableFailure::this(format!("it has {rows} after the {expected} of the snapshot were inserted")))
}

/// Removes the directory that a server leaves behind for a table that it refused, once the server does not know that
/// table.
fn clear_place(context: &RestoreContext<'_>, job: &TableJob<'_>) -> Result<(), TableFailure> {
    let local = &context.survey.local;
    let entry = fitting_entry(job, local);
    for (disk, path) in &entry.places {
        // If this cannot be determined the directory stays, and its name shows that it belongs to the restore.
        let _kept = remove_place(context.server, local, &entry, (disk, path))?;
    }
    Ok(())
}

/// Creates or attaches it if Keeper's data at its path is what the plan showed. Returns the data there afterwards, if
/// it can be determined.
fn create(
    attaching: &Attaching<'_>,
    (plan, name): (&TablePlan, &TableName),
    replica: &ReplicaPlan,
) -> Result<FoundPath, TableFailure> {
    let context = attaching.context;
    let Some(definition) = &plan.definition else {
        return Err(TableFailure::this("its definition cannot be read"));
    };
    for forgotten in &replica.forgets {
        attaching.statements.run(&sql::drop_replica(forgotten, &replica.path))?;
    }
    if replica.found == FoundPath::Chosen {
        // It may have come with its database.
        if server::survey_table(context.server, name)?.is_some() {
            return Ok(FoundPath::Absent);
        }
        run_definition(attaching, plan, name, (replica.verb, definition))?;
        return Ok(FoundPath::Absent);
    }
    let now = wait_for_begun(&|| path_now(context.server, &replica.path), &replica.attached());
    if let KeeperPath::Unreachable(reason) = &now {
        return Err(TableFailure::this(format!("Keeper cannot be queried for its path: {reason}")));
    }
    if is_made_elsewhere(replica, &now) {
        run_definition(attaching, plan, name, (replica.verb, definition))?;
        return Ok(FoundPath::Peers);
    }
    if !is_as_planned(replica, &now) {
        let replicas = if let KeeperPath::Table(replicas) = now { replicas } else { Vec::new() };
        let change = PathChange { path: replica.path.clone(), name: replica.name.clone(), replicas };
        return Err(TableFailure::This(NotRestored::PathChanged(Box::new(change))));
    }
    run_definition(attaching, plan, name, (replica.verb, definition))?;
    // Of two that found nothing there at the same time, the one that is first in Keeper is filled, and the other one
    // fetches.
    if replica.found == FoundPath::Absent && earlier_replica(context.server, replica)?.is_some() {
        return Ok(FoundPath::Peers);
    }
    if replica.found == FoundPath::Untold {
        // It may have joined other replicas.
        let status = server::replica_status(context.server, name)?;
        if status.is_some_and(|status| status.total_replicas > 1) {
            return Ok(FoundPath::Peers);
        }
    }
    Ok(replica.found)
}

/// Whether another restore has made the table on another replica since the plan found nothing: then this one fetches, as it
/// does if both are made at the same moment.
fn is_made_elsewhere(replica: &ReplicaPlan, now: &KeeperPath) -> bool {
    let KeeperPath::Table(there) = now else { return false };
    replica.found == FoundPath::Absent
        && replica.forgets.is_empty()
        && there.iter().any(|one| one.is_active)
        && there.iter().all(|one| one.name != replica.name)
}

fn is_as_planned(replica: &ReplicaPlan, now: &KeeperPath) -> bool {
    match (replica.found, now) {
        // The path of a new UUID is known to be empty without asking.
        (FoundPath::Absent, KeeperPath::Absent) | (FoundPath::Absent | FoundPath::Untold, KeeperPath::Untold) => true,
        (FoundPath::Empty, KeeperPath::Table(there)) => {
            let has_own = there.iter().any(|one| one.name == replica.name);
            there.iter().all(|one| one.name == replica.name && one.parts == 0 && !one.is_active)
                && has_own == (replica.verb == Verb::Attach)
        }
        (FoundPath::Peers, KeeperPath::Table(there)) => {
            let own = there.iter().find(|one| one.name == replica.name);
            there.iter().any(|one| one.is_active && one.name != replica.name)
                && own.is_some() == (replica.verb == Verb::Attach)
        }
        _ => false,
    }
}
