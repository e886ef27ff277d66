//! Replaces views and dictionaries by those of the snapshot.

use crate::model::WarningKind;
use crate::ops::error::OpError;
use crate::plan::{Mapping, ParsedDefinition, TablePlan, TargetTable, Verb, ViewReplacement};
use crate::server::sql;

use super::attaching::{Attaching, run_definition, run_definition_with};
use super::exchange;
use super::job::TableJob;
use super::refused::TableFailure;
use super::report::{RestoredState, TableReport};
use super::survey::live_table;

/// Replaces an existing view or dictionary by the snapshot's.
pub(super) fn replace(
    attaching: &Attaching<'_>,
    plan: &TablePlan,
    replacement: ViewReplacement,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let (Some(job), Some(definition), Some(live)) = (attaching.jobs.get(&plan.to), &plan.definition, &plan.live) else {
        return Err(TableFailure::this("it was not planned"));
    };
    match replacement {
        ViewReplacement::Exchanged => exchange(attaching, job, definition, report),
        ViewReplacement::Remade => remake(attaching, job, (definition, live), report),
    }
}

/// Creates it under another name, and exchanges the two. If the server refuses the definition, the old one stays.
fn exchange(
    attaching: &Attaching<'_>,
    job: &TableJob<'_>,
    definition: &ParsedDefinition,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let made = run_definition(attaching, job.plan, &job.entry.name, (Verb::Create, definition));
    let exchanged = made.and_then(|()| exchange::swap(attaching.context, attaching.statements, job, report));
    match exchanged {
        Ok(()) => {
            report.state = RestoredState::Replaced;
            Ok(())
        }
        Err(TableFailure::This(reason)) => {
            exchange::give_up(attaching.context, attaching.statements, job)?;
            Err(TableFailure::This(reason))
        }
        all => all,
    }
}

/// Creates a view that feeds a table, after the old one has stopped feeding it. Before that, the server has accepted
/// the new view's query. If it refuses the view all the same, the old one is created again.
fn remake(
    attaching: &Attaching<'_>,
    job: &TableJob<'_>,
    (definition, live): (&ParsedDefinition, &TargetTable),
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let (context, statements, plan) = (attaching.context, attaching.statements, job.plan);
    let Some(now) = live_table(context.server, &context.survey.local, &plan.to)? else {
        return Err(TableFailure::this("it is gone since the plan was made"));
    };
    if now.uuid != live.uuid || now.gained(live, None).is_some() {
        return Err(TableFailure::this("it has changed since the plan was made"));
    }
    let Some(trial) = definition.as_plain_view() else { return Err(TableFailure::this("its definition has no query")) };
    run_definition_with(attaching, plan, (&job.entry.name, None), (Verb::Create, &trial))?;
    statements.drop_table(&job.entry.name, false)?;
    if context.request.keep_replaced {
        set_aside(attaching, job)?;
        report.replaced_table = Some(job.kept_name.clone());
    } else {
        statements.drop_table(&plan.to, false)?;
    }
    match run_definition(attaching, plan, &plan.to, (Verb::Create, &definition.starting_empty())) {
        Ok(()) => {
            report.state = RestoredState::Replaced;
            Ok(())
        }
        Err(TableFailure::This(reason)) => {
            // Not retried: the old one has another UUID by now.
            report.state = RestoredState::Failed;
            report.reason = Some(reason);
            give_back(attaching, job, live, report);
            Ok(())
        }
        all => all,
    }
}

/// Renames the old view and detaches it: attached, it would continue to feed its target.
fn set_aside(attaching: &Attaching<'_>, job: &TableJob<'_>) -> Result<(), TableFailure> {
    let (statements, kept) = (attaching.statements, sql::quote_table(&job.kept_name));
    statements.rename(&job.plan.to, &job.kept_name)?;
    let detach = format!("DETACH TABLE {kept}");
    let detached = statements
        .run(&format!("{detach} PERMANENTLY"))
        .or_else(|_| statements.run(&detach))
        .map_err(TableFailure::from);
    if detached.is_err() {
        statements.rename(&job.kept_name, &job.plan.to)?;
    }
    detached
}

/// Creates the old view again, or attaches the one that was set aside.
fn give_back(attaching: &Attaching<'_>, job: &TableJob<'_>, live: &TargetTable, report: &mut TableReport) {
    let (statements, name) = (attaching.statements, sql::quote_table(&job.plan.to));
    let given_back: Result<(), OpError> = match (&live.definition, report.replaced_table.take()) {
        (_, Some(kept)) => statements
            .run(&format!("ATTACH TABLE {}", sql::quote_table(&kept)))
            .map_err(OpError::from)
            .and_then(|()| statements.rename(&kept, &job.plan.to)),
        (Some(old), None) => {
            let statement = old.statement(Verb::Create, &name, (None, None), &Mapping::default());
            let label = format!("the definition that {} had", job.plan.to);
            let settings = attaching.settings();
            statements.run_definition(&label, &statement, &settings, &old.secrets()).map_err(Into::into)
        }
        (None, None) => Ok(()),
    };
    if let Err(error) = given_back {
        let message = format!("the view that was there could not be made again: {}", crate::monitor::chain(&error));
        report.warn(WarningKind::ReplacedTableKept, message);
    }
}
