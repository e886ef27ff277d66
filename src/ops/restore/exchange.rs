//! A restored table takes the place of the live one.

use crate::model::TableName;
use crate::ops::error::OpError;
use crate::plan::{Loss, ReplacedScope, Stored, losses};
use crate::server::{self, sql};

use super::context::Context;
use super::job::Job;
use super::refused::Refused;
use super::report::TableReport;
use super::source::part_states;
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
    let Some(target) = &entry.replaces else { return Err(Refused::This("it replaces no table".to_owned())) };
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
        // Under a name that tells what it is. Where that cannot be had, the temporary one does.
        let named = statements.rename(old, &job.kept_name);
        report.replaced_table = Some(if named.is_ok() { job.kept_name.clone() } else { old.clone() });
        return Ok(());
    }
    let unexpected = if context.request.options.replace { Vec::new() } else { losses_of(context, job, old)? };
    if !unexpected.is_empty() {
        let losses: Vec<String> = unexpected.iter().map(ToString::to_string).collect();
        report.replaced_table = Some(old.clone());
        report.warnings.push(format!(
            "the table that it replaced is now {old} and was not dropped, because it has {} by now",
            losses.join(", ")
        ));
        return Ok(());
    }
    if let Err(error) = statements.drop_table(old, false) {
        let error = crate::monitor::chain(&error);
        report.replaced_table = Some(old.clone());
        report.warnings.push(format!("the table that it replaced is now {old}, and could not be dropped: {error}"));
    }
    Ok(())
}

/// What of a table that was replaced the snapshot does not have: it was written to until the exchange.
fn losses_of(context: &Context<'_>, job: &Job<'_>, old: &TableName) -> Result<Vec<Loss>, Refused> {
    let Some(live) = live_table(context.server, &context.survey.local, old)? else { return Ok(Vec::new()) };
    let stored = Stored {
        uuid: job.source.entry.uuid.as_ref(),
        parts: &part_states(&job.source.parts),
        mutations: &job.source.entry.mutations,
        // The plan has compared it.
        has_same_definition: true,
    };
    Ok(losses(&live, stored, ReplacedScope::Table))
}

/// After a failed exchange or move: gives the live table its name back, and drops the restored one.
///
/// # Errors
/// If the server does not answer, or refuses.
pub(super) fn give_up(context: &Context<'_>, statements: &Statements<'_>, job: &Job<'_>) -> Result<(), OpError> {
    let entry = &job.entry;
    let catalog = server::survey(context.server, false)?;
    let find = |name: &TableName| catalog.tables.iter().find(|table| table.name() == name);
    if let (Some(old), Some(target)) = (&entry.old_name, &entry.replaces)
        && find(old).is_some()
        && find(target).is_none()
    {
        statements.rename(old, target)?;
    }
    if find(&entry.name).is_some_and(|table| table.key.uuid == entry.uuid) {
        statements.drop_table(&entry.name, entry.uuid.is_some())?;
    }
    Ok(())
}
