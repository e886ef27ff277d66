//! Replaces live tables by restored ones.

use crate::model::{TableName, WarningKind};
use crate::ops::error::OpError;
use crate::plan::{DefinitionKind, ParsedDefinition};
use crate::server::{self, ServerError, sql};

use super::context::RestoreContext;
use super::job::TableJob;
use super::not_restored::NotRestored;
use super::refused::TableFailure;
use super::report::{RestoredState, TableReport};
use super::statements::{Statements, drop_refusal};
use super::survey::live_table;

/// Replaces a live table by a restored one that was compared. The replaced table is then dropped, unless it is to be
/// kept, or holds something that the person has not agreed to lose.
pub(super) fn swap(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    job: &TableJob<'_>,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let quote = sql::quote_table;
    let entry = &job.entry;
    let Some(target) = &entry.replaces else { return Err(TableFailure::this("it replaces no table".to_owned())) };
    let gained = |name: &TableName| -> Result<Option<String>, TableFailure> {
        let now = live_table(context.server, &context.survey.local, name)?;
        Ok(now.zip(job.plan.live.as_ref()).and_then(|(now, earlier)| now.gained(earlier, None)))
    };
    if let Some(gained) = gained(target)? {
        return Err(TableFailure::this(format!("it has changed since the plan was made: {gained}")));
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
    // It was writable until the exchange: data that the plan did not show prevents dropping it.
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
    drop_replaced(statements, old, job, report);
    Ok(())
}

/// Drops a replaced table. One that the server does not drop gets a name that says what it is.
pub(super) fn drop_replaced(
    statements: &Statements<'_>,
    old: &TableName,
    job: &TableJob<'_>,
    report: &mut TableReport,
) {
    let old_definition = job.plan.live.as_ref().and_then(|live| live.definition.as_ref());
    if let Err(error) = statements.drop_object(old, kind_of(old_definition), false) {
        let error = drop_refusal(&error);
        let kept = keep(statements, old, &job.kept_name);
        report.replaced_table = Some(kept.clone());
        let message = format!("the table that it replaced is now {kept}, and could not be dropped: {error}");
        report.warn(WarningKind::ReplacedTableKept, message);
    }
}

/// Renames a replaced table to a name that says what it is. If that name is unavailable, it keeps the temporary one.
/// Returns its final name.
fn keep(statements: &Statements<'_>, old: &TableName, kept_name: &TableName) -> TableName {
    let names = (1..10).map(|number| match number {
        1 => kept_name.clone(),
        _ => TableName::new(kept_name.database.clone(), format!("{}_{number}", kept_name.table)),
    });
    let mut kept = names.filter(|name| statements.rename(old, name).is_ok());
    kept.next().unwrap_or_else(|| old.clone())
}

/// Restores the live table's name after a failed exchange or move, and drops the restored table.
///
/// # Errors
/// If the server does not answer, or refuses.
fn give_up(context: &RestoreContext<'_>, statements: &Statements<'_>, job: &TableJob<'_>) -> Result<(), OpError> {
    let entry = &job.entry;
    let find = |name: &TableName| server::survey_table(context.server, name);
    if let (Some(old), Some(target)) = (&entry.old_name, &entry.replaces)
        && find(old)?.is_some()
        && find(target)?.is_none()
    {
        statements.rename(old, target)?;
    }
    if find(&entry.name)?.is_some_and(|table| table.key.uuid == entry.uuid) {
        statements.drop_object(&entry.name, kind_of(job.plan.definition.as_ref()), entry.uuid.is_some())?;
    }
    Ok(())
}

/// How a failed exchange was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// The live table has its name, and the restored one is dropped.
    Cleared,
    /// The server refuses to drop the restored table, or to give the live one its name: the report names it.
    TemporaryLeft,
}

/// As [`give_up`]. A refusal by the server is a warning of the report, so that the note of the restore stays.
///
/// # Errors
/// If the server does not answer.
pub(super) fn abandon(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    job: &TableJob<'_>,
    report: &mut TableReport,
) -> Result<GivenUp, OpError> {
    match give_up(context, statements, job) {
        Err(OpError::Server(error @ ServerError::Exception { .. })) => {
            if !report.warnings.iter().any(|one| one.kind == WarningKind::TemporaryLeft) {
                let error = drop_refusal(&error);
                let message = format!("the temporary table {} could not be dropped: {error}", job.entry.name);
                report.warn(WarningKind::TemporaryLeft, message);
            }
            Ok(GivenUp::TemporaryLeft)
        }
        given_up => given_up.map(|()| GivenUp::Cleared),
    }
}

/// Ends a failed exchange for good: the table is not restored, for this reason.
///
/// # Errors
/// If the server does not answer.
pub(super) fn fail(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    job: &TableJob<'_>,
    reason: NotRestored,
    report: &mut TableReport,
) -> Result<(), OpError> {
    abandon(context, statements, job, report)?;
    report.state = RestoredState::Failed;
    report.reason = Some(reason);
    (report.parts, report.rows) = (0, 0);
    Ok(())
}

/// The kind of object that a definition defines; a table if the definition cannot be read.
fn kind_of(definition: Option<&ParsedDefinition>) -> DefinitionKind {
    definition.map_or(DefinitionKind::Table, |definition| definition.kind)
}
