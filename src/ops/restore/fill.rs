//! Tables whose rows are inserted.

use std::io::Read as _;

use crate::exec::DumpReader;
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
use super::report::{RestoredState, TableReport};

/// Creates a table under another name, inserts its rows, counts them, and gives it its own name. So no view sees the
/// inserted rows, and no half-filled table is visible under its name.
pub(super) fn fill(attaching: &Attaching<'_>, plan: &TablePlan, report: &mut TableReport) -> Result<(), TableFailure> {
    let context = attaching.context;
    let (Some(job), Some(definition)) = (attaching.jobs.get(&plan.to), &plan.definition) else {
        return Err(TableFailure::this("it was not planned"));
    };
    let Some(dump) = &job.source.entry.dump else { return Err(TableFailure::this("the snapshot has no dump of it")) };
    let name = &job.entry.name;
    run_definition(attaching, plan, name, (Verb::Create, definition))?;
    let drop_it = || attaching.statements.drop_table(name, job.entry.uuid.is_some());
    let rows = match insert(context, job, dump).and_then(|()| Ok(restored_rows(context.server, &plan.engine, name)?)) {
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

/// Why rows were not inserted.
enum InsertStopped {
    Read(std::io::Error),
    Interrupted,
}

fn insert(context: &RestoreContext<'_>, job: &TableJob<'_>, dump: &Dump) -> Result<(), TableFailure> {
    let columns: Vec<StoredColumn> = dump
        .columns
        .iter()
        .map(|column| StoredColumn { name: column.name.clone(), is_materialized: column.is_materialized })
        .collect();
    for path in &dump.files {
        let Some((dir, name)) = place_of(context.source.dir(), &job.source.name(), path)? else {
            return Err(TableFailure::All(lost(context, job.source, path)));
        };
        let mut reader = DumpReader::open(&dir, &name)?;
        let inserted = server::insert_native(context.server, &job.entry.name, &columns, |buffer| {
            context.check_interrupted().map_err(|_| InsertStopped::Interrupted)?;
            reader.read(buffer).map_err(InsertStopped::Read)
        });
        match inserted? {
            Ok(()) => {}
            Err(InsertStopped::Interrupted) => return Err(TableFailure::All(OpError::Interrupted)),
            Err(InsertStopped::Read(error)) => {
                return Err(TableFailure::this(format!("{path} cannot be read: {error}")));
            }
        }
    }
    Ok(())
}
