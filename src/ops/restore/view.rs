//! Replaces views and dictionaries by those of the snapshot.

use std::collections::BTreeSet;

use crate::model::{TableName, WarningKind};
use crate::ops::error::OpError;
use crate::plan::{Mapping, ParsedDefinition, TablePlan, TargetTable, Verb, ViewReplacement};
use crate::server::{self, sql};

use super::attaching::{Attaching, run_definition, run_definition_with};
use super::exchange::{self, GivenUp};
use super::job::TableJob;
use super::not_restored::NotRestored;
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
        ViewReplacement::RemadeOver => remake_over(attaching, job, (definition, live), report),
    }
}

/// The job of the inner table that a view of the snapshot brings with it. Fails if it was not restored.
fn inner_job<'a>(attaching: &'a Attaching<'_>, view: &TablePlan) -> Result<Option<&'a TableJob<'a>>, TableFailure> {
    let inner = attaching.plan.tables.iter().find(|table| table.comes_with.as_ref() == Some(&view.to));
    let Some(job) = inner.and_then(|inner| attaching.jobs.get(&inner.to)) else { return Ok(None) };
    let found = server::survey_table(attaching.context.server, &job.entry.name)?;
    if found.is_some_and(|table| table.key.uuid == job.entry.uuid) {
        Ok(Some(job))
    } else {
        Err(TableFailure::this("its inner table was not restored"))
    }
}

/// Creates it under another name, and exchanges the two. If the server refuses the definition, the old one stays.
fn exchange(
    attaching: &Attaching<'_>,
    job: &TableJob<'_>,
    definition: &ParsedDefinition,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    inner_job(attaching, job.plan)?;
    // CREATE would create another inner table.
    let verb = if job.plan.inner_uuid.is_some() { Verb::Attach } else { Verb::Create };
    let made = run_definition(attaching, job.plan, &job.entry.name, (verb, &definition.starting_empty()));
    let exchanged = made.and_then(|()| exchange::swap(attaching.context, attaching.statements, job, report));
    match exchanged {
        Ok(()) => {
            report.state = RestoredState::Replaced;
            Ok(())
        }
        Err(TableFailure::This(reason)) => {
            match exchange::abandon(attaching.context, attaching.statements, job, report)? {
                // It is retried once others are there.
                GivenUp::Cleared => Err(TableFailure::This(reason)),
                GivenUp::TemporaryLeft => {
                    report.state = RestoredState::Failed;
                    report.reason = Some(reason);
                    Ok(())
                }
            }
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
    check_unchanged(attaching, job, live)?;
    try_query(attaching, job, definition)?;
    if context.request.options.keep_replaced {
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

/// Checks that the existing view is as it was when the plan was made.
fn check_unchanged(attaching: &Attaching<'_>, job: &TableJob<'_>, live: &TargetTable) -> Result<(), TableFailure> {
    let context = attaching.context;
    let Some(now) = live_table(context.server, &context.survey.local, &job.plan.to)? else {
        return Err(TableFailure::this("it is gone since the plan was made"));
    };
    match now.gained(live, None) {
        _ if now.uuid != live.uuid => Err(TableFailure::this("it has changed since the plan was made")),
        Some(gained) => Err(TableFailure::this(format!("it has changed since the plan was made: {gained}"))),
        None => Ok(()),
    }
}

/// Creates a plain view with the query of a materialized one, which writes nowhere, and drops it again.
fn try_query(attaching: &Attaching<'_>, job: &TableJob<'_>, definition: &ParsedDefinition) -> Result<(), TableFailure> {
    let Some(trial) = definition.as_plain_view() else { return Err(TableFailure::this("its definition has no query")) };
    run_definition_with(attaching, job.plan, (&job.entry.name, None), (Verb::Create, &trial))?;
    Ok(attaching.statements.drop_table(&job.entry.name, false)?)
}

/// As [`remake`], for views with inner tables in a database without UUIDs, where the two inner tables have one name.
///
/// The existing inner table is set aside first: from then on nothing writes to it, it is not dropped with its view, and
/// a kill lets the next restore give it its name back. It is dropped last.
fn remake_over(
    attaching: &Attaching<'_>,
    job: &TableJob<'_>,
    (definition, live): (&ParsedDefinition, &TargetTable),
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let (context, statements, plan) = (attaching.context, attaching.statements, job.plan);
    let inner = inner_job(attaching, plan)?;
    let Some(name) = &live.inner else { return Err(TableFailure::this("it has no inner table")) };
    let old = inner.and_then(|inner| inner.entry.old_name.as_ref()).unwrap_or(&job.set_aside);
    let new = inner.map_or(old, |inner| &inner.entry.name);
    check_unchanged(attaching, job, live)?;
    try_query(attaching, job, definition)?;
    statements.rename(name, old)?;
    let gained = live_table(context.server, &context.survey.local, old)?
        .zip(inner.and_then(|inner| inner.plan.live.as_ref()))
        .and_then(|(now, earlier)| now.gained(earlier, None));
    if let Some(gained) = gained {
        statements.rename(old, name)?;
        return Err(TableFailure::this(format!("it has changed since the plan was made: {gained}")));
    }
    statements.drop_table(&plan.to, false)?;
    statements.rename(new, name)?;
    match run_definition(attaching, plan, &plan.to, (Verb::Attach, definition)) {
        Ok(()) => {
            report.state = RestoredState::Replaced;
            if let Some(inner) = inner {
                exchange::drop_replaced(statements, old, inner, report);
            }
            Ok(())
        }
        Err(TableFailure::This(reason)) => {
            report.state = RestoredState::Failed;
            report.reason = Some(reason);
            if new != old {
                statements.rename(name, new)?;
                statements.rename(old, name)?;
            }
            make_again(attaching, job, live, Verb::Attach, report);
            Ok(())
        }
        all => all,
    }
}

/// Ends the restore of inner tables that came with a view: one whose view was not replaced is a copy that nothing refers
/// to, and is dropped.
pub(super) fn finish_inner_tables(attaching: &Attaching<'_>, reports: &mut [TableReport]) -> Result<(), OpError> {
    let is_replaced = |report: &&TableReport| report.state == RestoredState::Replaced;
    let replaced: BTreeSet<TableName> = reports.iter().filter(is_replaced).map(TableReport::name).collect();
    for plan in &attaching.plan.tables {
        let (Some(view), Some(job)) = (&plan.comes_with, attaching.jobs.get(&plan.to)) else { continue };
        let found = reports.iter_mut().find(|report| report.name() == plan.to && report.state.has_data());
        let Some(report) = found else { continue };
        if replaced.contains(view) {
            report.state = RestoredState::Replaced;
            continue;
        }
        let reason = NotRestored::Refused("its view was not replaced".to_owned());
        exchange::fail(attaching.context, attaching.statements, job, reason, report)?;
    }
    Ok(())
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
    let statements = attaching.statements;
    let Some(kept) = report.replaced_table.take() else {
        return make_again(attaching, job, live, Verb::Create, report);
    };
    let attached = statements.run(&format!("ATTACH TABLE {}", sql::quote_table(&kept))).map_err(OpError::from);
    if let Err(error) = attached.and_then(|()| statements.rename(&kept, &job.plan.to)) {
        cannot_give_back(&error, report);
    }
}

/// Creates the old view again by the definition that it had, or attaches it to its inner table.
fn make_again(attaching: &Attaching<'_>, job: &TableJob<'_>, live: &TargetTable, verb: Verb, report: &mut TableReport) {
    let Some(old) = &live.definition else { return };
    let statement = old.statement(verb, &sql::quote_table(&job.plan.to), (None, None), &Mapping::default());
    let label = format!("the definition that {} had", job.plan.to);
    let made = attaching.statements.run_definition(&label, &statement, &attaching.settings(), &old.secrets());
    if let Err(error) = made {
        cannot_give_back(&error.into(), report);
    }
}

fn cannot_give_back(error: &OpError, report: &mut TableReport) {
    let message = format!("the view that was there could not be made again: {}", crate::monitor::chain(error));
    report.warn(WarningKind::ReplacedTableKept, message);
}
