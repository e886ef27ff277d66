//! Tables whose rows are inserted.

use crate::model::{TableName, count};
use crate::plan::{Action, TablePlan, Verb};
use crate::repo::Dump;

use super::attaching::{Attaching, run_definition};
use super::context::RestoreContext;
use super::dump_files::restored_rows;
use super::exchange;
use super::insert::insert;
use super::job::TableJob;
use super::not_restored::NotRestored;
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
        Err(TableFailure::This(reason)) => Ok(exchange::fail(context, attaching.statements, job, reason, report)?),
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
