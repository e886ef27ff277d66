//! A restored table takes the place of the live one.

use crate::model::{TableName, WarningKind, count};
use crate::ops::error::OpError;
use crate::plan::LiveRows;
use crate::server::{self, sql};

use super::context::Context;
use super::dump_files::{live_rows, source_dump};
use super::job::Job;
use super::refused::Refused;
use super::report::TableReport;
use super::statements::Statements;
use super::survey::live_table;

/// Puts a table that was compared in the place of the one that it replaces. That one is dropped then, unless it is to
/// be kept, or holds something that the person has not agreed to lose.
pub(super) fn swap(
    context: &Context<'_>,
    statements: &Statements<'_>,
    job: &Job<'_>,
    report: &mut TableReport,
) -> Result<(), Refused> {
    let quote = sql::quote_table;
    let entry = &job.entry;
    let Some(target) = &entry.replaces else { return Err(Refused::this("it replaces no table".to_owned())) };
    let gained = |name: &TableName| -> Result<Option<String>, Refused> {
        if let Some(rows) = has_gained(context, job, name)? {
            return Ok(Some(rows));
        }
        let now = live_table(context.server, &context.survey.local, name)?;
        Ok(now.zip(job.plan.live.as_ref()).and_then(|(now, earlier)| now.gained(earlier, None)))
    };
    if let Some(gained) = gained(target)? {
        return Err(Refused::this(format!("it has changed since the plan was made: {gained}")));
    }
    let old = match &entry.old_name {
        // Databases whose tables have UUIDs exchange two names in one step.
        None => {
            statements.run(&format!("EXCHANGE TABLES {} AND {}", quote(target), quote(&entry.name)))?;
            &entry.name
        }
        Some(old) => {
            let (name, target, old_quoted) = (quote(&entry.name), quote(target), quote(old));
            statements.run(&format!("RENAME TABLE {target} TO {old_quoted}, {name} TO {target}"))?;
            old
        }
    };
    if entry.keeps_old {
        report.replaced_table = Some(keep(statements, old, &job.kept_name));
        return Ok(());
    }
    // It was written to until the exchange: what the plan has not shown keeps it.
    if let Some(gained) = gained(old)? {
        let kept = keep(statements, old, &job.kept_name);
        report.replaced_table = Some(kept.clone());
        let message = format!(
            "the table that it replaced is now {kept} and was not dropped, because it has changed since the plan was \
             made: {gained}"
        );
        report.warn(WarningKind::ReplacedTableKept, message);
        return Ok(());
    }
    if let Err(error) = statements.drop_table(old, false) {
        let error = crate::monitor::chain(&error);
        let kept = keep(statements, old, &job.kept_name);
        report.replaced_table = Some(kept.clone());
        let message = format!("the table that it replaced is now {kept}, and could not be dropped: {error}");
        report.warn(WarningKind::ReplacedTableKept, message);
    }
    Ok(())
}

/// Gives a replaced table a name that says what it is. Where that cannot be had, the temporary one stays. The answer is the
/// name that it has.
fn keep(statements: &Statements<'_>, old: &TableName, kept_name: &TableName) -> TableName {
    let names = (1..10).map(|number| match number {
        1 => kept_name.clone(),
        _ => TableName::new(kept_name.database.clone(), format!("{}_{number}", kept_name.table)),
    });
    let mut kept = names.filter(|name| statements.rename(old, name).is_ok());
    kept.next().unwrap_or_else(|| old.clone())
}

/// The rows that have come to a table without parts, which was empty when the plan was made.
///
/// # Errors
/// If the server does not answer.
fn has_gained(context: &Context<'_>, job: &Job<'_>, old: &TableName) -> Result<Option<String>, OpError> {
    let Some(dump) = &job.source.entry.dump else { return Ok(None) };
    let dump = source_dump(&context.source.manifest, dump);
    let Some(table) = server::survey_table(context.server, old)? else { return Ok(None) };
    Ok(match live_rows(context.server, &context.survey.local, &table, &dump)? {
        LiveRows::Empty => None,
        LiveRows::Rows(rows) => Some(count(rows, "row")),
        LiveRows::SameFiles => Some("rows".to_owned()),
        LiveRows::Unknown(reason) => Some(format!("its rows cannot be counted: {reason}")),
    })
}

/// After a failed exchange or move: gives the live table its name back, and drops the restored one.
///
/// # Errors
/// If the server does not answer, or refuses.
pub(super) fn give_up(context: &Context<'_>, statements: &Statements<'_>, job: &Job<'_>) -> Result<(), OpError> {
    let entry = &job.entry;
    let find = |name: &TableName| server::survey_table(context.server, name);
    if let (Some(old), Some(target)) = (&entry.old_name, &entry.replaces)
        && find(old)?.is_some()
        && find(target)?.is_none()
    {
        statements.rename(old, target)?;
    }
    if find(&entry.name)?.is_some_and(|table| table.key.uuid == entry.uuid) {
        statements.drop_table(&entry.name, entry.uuid.is_some())?;
    }
    Ok(())
}
