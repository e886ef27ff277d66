//! Tables whose rows are inserted.

use std::io::Read;

use crate::checksums::BlockReader;
use crate::exec::DumpReader;
use crate::model::{TableName, count};
use crate::ops::error::OpError;
use crate::plan::{Action, TablePlan, Verb};
use crate::repo::Dump;
use crate::server::{self, StoredColumn};

use super::attaching::{Attaching, run_definition};
use super::context::RestoreContext;
use super::dump_files::{place_of, restored_rows};
use super::exchange;
use super::job::TableJob;
use super::not_restored::NotRestored;
use super::place_files::lost;
use super::refused::TableFailure;
use super::replica::made_by_view;
use super::report::{RestoredState, TableReport};

/// Creates a table under another name, inserts its rows, counts them, and gives it its own name. So no view sees the
/// inserted rows, and no half-filled table is visible under its name.
pub(super) fn fill(attaching: &Attaching<'_>, plan: &TablePlan, report: &mut TableReport) -> Result<(), TableFailure> {
    let context = attaching.context;
    let (Some(job), Some(definition)) = (attaching.jobs.get(&plan.to), &plan.definition) else {
        return Err(TableFailure::this("it was not planned"));
    };
    let Some(dump) = &job.source.entry.dump else { return Err(TableFailure::this("the snapshot has no dump of it")) };
    if let Some(made) = made_by_view(attaching, plan)? {
        return insert_into_made(context, job, (&made, dump), report);
    }
    let name = &job.entry.name;
    run_definition(attaching, plan, name, (Verb::Create, definition))?;
    let drop_it = || attaching.statements.drop_table(name, job.entry.uuid.is_some());
    let rows =
        match insert(context, job, name, dump).and_then(|()| Ok(restored_rows(context.server, &plan.engine, name)?)) {
            Ok(rows) => rows.unwrap_or(0),
            Err(refused) => {
                drop_it()?;
                return Err(refused);
            }
        };
    let expected = dump.rows.unwrap_or(rows);
    (report.rows, report.expected_rows) = (rows, expected);
    if rows != expected {
        drop_it()?;
        report.state = RestoredState::Failed;
        report.reason = Some(NotRestored::DumpRows { expected, found: rows });
        report.rows = 0;
        return Ok(());
    }
    let named = match plan.action {
        Action::Fill { replaces: true } => exchange::swap(context, attaching.statements, job, report),
        _ if *name != plan.to => attaching.statements.rename(name, &plan.to).map_err(TableFailure::from),
        _ => Ok(()),
    };
    match named {
        Ok(()) => {
            let replaces = plan.action == Action::Fill { replaces: true };
            report.state = if replaces { RestoredState::Replaced } else { RestoredState::Restored };
            (report.files, report.bytes) = (dump.files.len() as u64, dump.stored_bytes);
            Ok(())
        }
        Err(TableFailure::This(reason)) => {
            exchange::give_up(context, attaching.statements, job)?;
            report.state = RestoredState::Failed;
            report.reason = Some(reason);
            report.rows = 0;
            Ok(())
        }
        all => all,
    }
}

/// Inserts the rows into the table that a view has made.
fn insert_into_made(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    (made, dump): (&TableName, &Dump),
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let rows = || Ok::<_, TableFailure>(restored_rows(context.server, &job.plan.engine, made)?.unwrap_or(0));
    report.database.clone_from(&made.database);
    report.table.clone_from(&made.table);
    if rows()? > 0 {
        return Err(TableFailure::this("it has got rows since the plan was made"));
    }
    insert(context, job, made, dump)?;
    report.rows = rows()?;
    report.expected_rows = dump.rows.unwrap_or(report.rows);
    if report.rows != report.expected_rows {
        let (found, expected) = (count(report.rows, "row"), count(report.expected_rows, "row"));
        return Err(TableFailure::this(format!("it has {found} after the {expected} of the snapshot were inserted")));
    }
    report.state = RestoredState::Restored;
    (report.files, report.bytes) = (dump.files.len() as u64, dump.stored_bytes);
    Ok(())
}

/// Why rows were not inserted.
enum InsertStopped {
    Read(std::io::Error),
    Interrupted,
}

/// Inserts the rows of a dump into a table.
fn insert(context: &RestoreContext<'_>, job: &TableJob<'_>, to: &TableName, dump: &Dump) -> Result<(), TableFailure> {
    let columns: Vec<StoredColumn> = dump
        .columns
        .iter()
        .map(|column| StoredColumn { name: column.name.clone(), is_materialized: column.is_materialized })
        .collect();
    for path in &dump.files {
        let Some((dir, name)) = place_of(context.source.dir(), &job.source.name(), path)? else {
            return Err(TableFailure::All(lost(context, job.source, path)));
        };
        send(context, (to, &columns), path, DumpReader::open(&dir, &name)?)?;
    }
    Ok(())
}

/// Inserts the rows in the files of a `Set` table: blocks of the format `Native`, as
/// `SetOrJoinBackup` in ClickHouse's `src/Storages/StorageSet.cpp` writes them.
pub(super) fn insert_files(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    to: &TableName,
    dump: &Dump,
) -> Result<(), TableFailure> {
    for path in &dump.files {
        let Some((dir, name)) = place_of(context.source.dir(), &job.source.name(), path)? else {
            return Err(TableFailure::All(lost(context, job.source, path)));
        };
        send(context, (to, &[]), path, BlockReader::new(dir.file_reader(&name)?))?;
    }
    Ok(())
}

/// Inserts rows with these columns in the format `Native`, which come from the snapshot's file `path`.
fn send(
    context: &RestoreContext<'_>,
    (to, columns): (&TableName, &[StoredColumn]),
    path: &str,
    mut rows: impl Read,
) -> Result<(), TableFailure> {
    let inserted = server::insert_native(context.server, to, columns, |buffer| {
        context.check_interrupted().map_err(|_| InsertStopped::Interrupted)?;
        rows.read(buffer).map_err(InsertStopped::Read)
    });
    match inserted? {
        Ok(()) => Ok(()),
        Err(InsertStopped::Interrupted) => Err(TableFailure::All(OpError::Interrupted)),
        Err(InsertStopped::Read(error)) => Err(TableFailure::this(format!("{path} cannot be read: {error}"))),
    }
}
