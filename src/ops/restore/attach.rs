//! Attaches and makes the tables of a plan, each compared with the manifest as soon as it stands.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::model::{Table, TableName, WarningKind};
use crate::monitor::{Monitor, Stage, Work};
use crate::ops::error::OpError;
use crate::plan::{
    Action, Comparison, Definition, Kept, TablePlan, Verb, What, compare_parts, hold, release_statements,
};
use crate::server::{self, sql};

use super::attaching::{Attaching, run_definition};
use super::context::Context;
use super::dump_files::restored_rows;
use super::exchange;
use super::fill;
use super::job::Job;
use super::not_restored::{NotRestored, TableFate, WrongParts};
use super::partitions;
use super::place::{move_in, move_out};
use super::refused::Refused;
use super::report::{TableReport, TableState};
use super::set_aside;
use super::source::part_states;
use super::survey::listed_parts;

/// Attaches and makes everything in the order of the plan; what fails is tried again as long as something else comes to
/// stand.
///
/// # Errors
/// If nothing more can be done. What the server refused of single tables is in their reports.
pub(super) fn attach_all(attaching: &Attaching<'_>, monitor: &dyn Monitor) -> Result<Vec<TableReport>, OpError> {
    let mut reports: BTreeMap<usize, TableReport> = BTreeMap::new();
    let mut pending: Vec<(usize, &TablePlan)> = attaching.plan.tables.iter().enumerate().collect();
    let mut first_reasons: BTreeMap<usize, NotRestored> = BTreeMap::new();
    loop {
        let before = pending.len();
        let mut failed = Vec::new();
        for (number, plan) in std::mem::take(&mut pending) {
            attaching.context.check_interrupted()?;
            match attach(attaching, plan) {
                Ok(report) => {
                    monitor.advanced(Stage::Attach, Work { tables: 1, ..Work::default() });
                    reports.insert(number, report);
                }
                Err(Refused::This(reason)) => {
                    first_reasons.entry(number).or_insert_with(|| reason.clone());
                    failed.push(((number, plan), reason));
                }
                Err(Refused::All(error)) => return Err(error),
            }
        }
        if failed.is_empty() || failed.len() == before {
            for ((number, plan), reason) in failed {
                let mut report = TableReport::new(&plan.from, &plan.to, &plan.engine, TableState::Failed);
                // A statement that failed half-way can have left a table: why it failed is what was said first.
                let is_half_made = matches!(
                    reason,
                    NotRestored::DefinitionRefused { code: Some(server::code::TABLE_ALREADY_EXISTS), .. }
                );
                let first = first_reasons.remove(&number).filter(|_| is_half_made);
                report.reason = Some(first.unwrap_or(reason));
                reports.insert(number, report);
            }
            let mut reports: Vec<TableReport> = reports.into_values().collect();
            if !attaching.context.request.stays_held {
                release(attaching, &mut reports);
                check_definitions(attaching, &mut reports)?;
                detach(attaching, &mut reports);
            }
            return Ok(reports);
        }
        pending = failed.into_iter().map(|(table, _)| table).collect();
    }
}

/// Compares the definitions of what was made with those that were meant. A server of another version prints them in other
/// words.
fn check_definitions(attaching: &Attaching<'_>, reports: &mut [TableReport]) -> Result<(), OpError> {
    let context = attaching.context;
    let is_made = |state: TableState| state == TableState::Created || state != TableState::Attached && state.has_data();
    let has_made = reports.iter().any(|report| is_made(report.state));
    if !has_made || context.source.manifest.server.version != context.survey.identity.version {
        return Ok(());
    }
    let with_system = reports.iter().any(|report| report.database == "system");
    let catalog = server::survey(context.server, with_system)?;
    for report in reports.iter_mut().filter(|report| is_made(report.state)) {
        let name = report.name();
        let planned = attaching.plan.tables.iter().find(|table| table.to == name);
        // Not one that has taken its place since: another restore may have replaced it.
        let is_it =
            |live: &&Table| *live.name() == name && live.key.uuid.as_ref().map(ToString::to_string) == report.uuid;
        let live = catalog.tables.iter().find(is_it);
        let live = live.and_then(|live| Definition::parse(&live.definition).ok());
        if let (Some(planned), Some(live)) = (planned.and_then(|planned| planned.definition.as_ref()), live)
            && !planned.is_like(&live, &attaching.plan.mapping)
        {
            let message = "the server has made its definition into another one than the snapshot's";
            report.warn(WarningKind::DefinitionChanged, message);
        }
    }
    Ok(())
}

/// What is said of a table as its plan has it.
pub(super) fn planned(context: &Context<'_>, plan: &TablePlan) -> TableReport {
    let mut report = TableReport::new(&plan.from, &plan.to, &plan.engine, TableState::Created);
    report.uuid = plan.uuid.as_ref().map(ToString::to_string);
    report.uuid_changed = plan.uuid_changed;
    report.warnings.clone_from(&plan.warnings);
    report.ttl_statements.clone_from(&plan.ttl_statements);
    match &plan.action {
        Action::Damaged(damaged) => {
            report.state = TableState::Failed;
            report.reason = Some(NotRestored::Damaged(damaged.clone()));
        }
        Action::Impossible(reason) => {
            report.state = TableState::Failed;
            report.reason = Some(NotRestored::Impossible(reason.clone()));
        }
        Action::Skip(reason) => {
            report.state = TableState::Skipped;
            report.reason = Some(NotRestored::Skipped(reason.to_string()));
        }
        Action::Keep(kept) => keep(context, plan, *kept, &mut report),
        Action::Make(_) | Action::Place | Action::Fill { .. } | Action::Swap | Action::Partitions { .. } => {}
    }
    report
}

fn attach(attaching: &Attaching<'_>, plan: &TablePlan) -> Result<TableReport, Refused> {
    let missing = attaching.missing_databases.get(&plan.to.database);
    if let Some(reason) =
        missing.filter(|_| matches!(plan.action, Action::Place | Action::Fill { .. } | Action::Make(_)))
    {
        return Err(Refused::this(reason.clone()));
    }
    let mut report = planned(attaching.context, plan);
    match &plan.action {
        Action::Make(verb) => make(attaching, plan, *verb, &mut report)?,
        Action::Fill { .. } => fill::fill(attaching, plan, &mut report)?,
        Action::Place | Action::Swap | Action::Partitions { .. } => attach_data(attaching, plan, &mut report)?,
        Action::Damaged(_) | Action::Impossible(_) | Action::Skip(_) | Action::Keep(_) => {}
    }
    Ok(report)
}

fn keep(context: &Context<'_>, plan: &TablePlan, kept: Kept, report: &mut TableReport) {
    let item = context.item(&plan.from);
    let dumped = item.and_then(|item| item.dump.as_ref()).map(|dump| dump.rows.unwrap_or(0));
    let of_parts = || item.and_then(|item| item.data.as_ref()).map_or(0, |data| data.amount.rows);
    let stored = dumped.unwrap_or_else(of_parts);
    report.state = TableState::Present;
    (report.rows, report.expected_rows) = (stored, stored);
    if let Kept::OtherData { rows, .. } = kept {
        report.rows = rows;
    }
    report.warnings.extend(kept.warning());
}

/// Makes an object without parts. ATTACH takes the definition as it is; where the server refuses it so, CREATE may do.
fn make(attaching: &Attaching<'_>, plan: &TablePlan, verb: Verb, report: &mut TableReport) -> Result<(), Refused> {
    let Some(definition) = &plan.definition else {
        return Err(Refused::this("its definition cannot be read"));
    };
    let refreshes = definition.is_refreshable();
    if refreshes {
        // It keeps what its target has until its schedule.
        if run_definition(attaching, plan, &plan.to, (verb, &definition.starting_empty())).is_ok() {
            return Ok(());
        }
        let message = "it refreshes as soon as it is there, and overwrites what its target has";
        report.warn(WarningKind::ViewRefreshes, message);
    }
    match run_definition(attaching, plan, &plan.to, (verb, definition)) {
        Err(Refused::This(reason)) if verb == Verb::Attach && plan.inner_uuid.is_none() => {
            match run_definition(attaching, plan, &plan.to, (Verb::Create, definition)) {
                Err(Refused::This(_)) => Err(Refused::This(reason)),
                result => result,
            }
        }
        result => result,
    }
}

fn attach_data(attaching: &Attaching<'_>, plan: &TablePlan, report: &mut TableReport) -> Result<(), Refused> {
    let context = attaching.context;
    attaching.described.of(plan).map_err(Refused::this)?;
    let (Some(job), Some(placed)) = (attaching.jobs.get(&plan.to), attaching.placed.get(&plan.to)) else {
        return Err(Refused::this("it was not placed"));
    };
    let staging = attaching.staging;
    let name = &job.entry.name;
    move_in(context, job, staging)?;
    let Some(definition) = &plan.definition else {
        return Err(Refused::this("its definition cannot be read"));
    };
    let held = if plan.held.is_empty() { definition.clone() } else { hold(definition) };
    let attached_at = Instant::now();
    if let Err(refused) = run_definition(attaching, plan, name, (Verb::Attach, &held)) {
        // A statement that failed half-way can have attached the table: then its directory is the server's.
        if matches!(refused, Refused::This(_)) && !is_attached(context, job)? {
            move_out(context, job, staging)?;
        }
        return Err(refused);
    }
    let comparison = compare(context, job, name, report)?;
    if let (Some(_), true) = (&job.source.entry.dump, report.rows < report.expected_rows) {
        let (expected, found) = (report.expected_rows, report.rows);
        attaching.statements.drop_table(name, job.entry.uuid.is_some())?;
        report.state = TableState::Failed;
        report.reason = Some(NotRestored::DumpRows { expected, found });
        report.rows = 0;
        return Ok(());
    }
    if let Some(first) = comparison.wrong.first() {
        // Before the table goes: its `detached/` goes with it.
        let set_aside = set_aside::find(context, job, &comparison.wrong, attached_at);
        report.state = TableState::Failed;
        // It never looks whole: a table that is not as in the snapshot goes again, unless somebody has written to it.
        let fate = match comparison.foreign.first() {
            None => {
                attaching.statements.drop_table(name, job.entry.uuid.is_some())?;
                TableFate::Dropped
            }
            Some(part) => TableFate::Stays(part.clone()),
        };
        let more = comparison.wrong.len() - 1;
        report.reason = Some(NotRestored::Parts(Box::new(WrongParts { first: first.clone(), more, set_aside, fate })));
        return Ok(());
    }
    (report.verified_parts, report.merged_parts, report.empty_parts) =
        (comparison.verified, comparison.merged, comparison.empty);
    (report.parts, report.files, report.bytes) = (job.source.parts.len() as u64, placed.files, placed.bytes);
    if context.request.options.what == What::Schema {
        report.parts = 0;
    }
    report.placed = placed.placed;
    for lost in &placed.lost_metadata {
        report.warn(WarningKind::AttributesLost, format!("copies lack the {lost} of the snapshot's files"));
    }
    if plan.engine.starts_with("Replicated") && attaching.plan.mapping.replicated == crate::plan::Replicated::Keep {
        report.warn(
            WarningKind::ReplicaReadOnly,
            "it is replicated: if system.replicas lists it as read-only, its path in Keeper is not there",
        );
    }
    let (moved, state) = match &plan.action {
        Action::Swap => (exchange::swap(context, attaching.statements, job, report), TableState::Replaced),
        Action::Partitions { others_go } => {
            (report.uuid, report.uuid_changed) = (plan.live_uuid.as_ref().map(ToString::to_string), false);
            let moved = partitions::move_partitions(context, attaching.statements, job, *others_go, report);
            (moved, TableState::Attached)
        }
        _ => (Ok(()), TableState::Restored),
    };
    report.state = state;
    if moved.is_ok() && report.rows < report.expected_rows && keeps_its_rows(job) {
        report.state = TableState::Incomplete;
        report.reason = Some(NotRestored::Rows);
    }
    match moved {
        // Not to be tried again: nothing that comes to stand later makes it fit.
        Err(Refused::This(reason)) => {
            match exchange::give_up(context, attaching.statements, job) {
                Err(OpError::Server(error @ server::ServerError::Exception { .. })) => {
                    let error = crate::monitor::chain(&error);
                    let message = format!("the temporary table {} could not be dropped: {error}", job.entry.name);
                    report.warn(WarningKind::TemporaryLeft, message);
                }
                given_up => given_up?,
            }
            report.state = TableState::Failed;
            report.reason = Some(reason);
            (report.parts, report.rows) = (0, 0);
            Ok(())
        }
        result => result,
    }
}

/// Whether fewer rows than the manifest's are a loss: not where a mutation or patches that came with the parts delete
/// some.
fn keeps_its_rows(job: &Job<'_>) -> bool {
    let has_patches = job.source.parts.iter().any(|part| part.part.is_patch());
    !has_patches && job.source.entry.mutations.is_empty()
}

/// Gives held tables, which were compared, their own settings back. At the end, when everything stands that a definition
/// needs: the server checks it once more.
fn release(attaching: &Attaching<'_>, reports: &mut [TableReport]) {
    let settings = attaching.settings();
    let has_table = |report: &&mut TableReport| report.state.has_data() && report.state != TableState::Attached;
    for report in reports.iter_mut().filter(has_table) {
        let name = report.name();
        let Some(plan) = attaching.plan.tables.iter().find(|table| table.to == name) else { continue };
        if matches!(plan.action, Action::Partitions { .. }) {
            continue;
        }
        for statement in release_statements(&sql::quote_table(&name), &plan.held) {
            if let Err(error) = attaching.statements.run_with(&statement, &settings) {
                let error = crate::monitor::chain(&error);
                let message = format!("its merges are still held, run {statement}: {error}");
                report.warn(WarningKind::MergesHeld, message);
            }
        }
    }
}

/// Detaches the tables again that were detached when the snapshot was made. A server that knows no permanent detachment
/// attaches them when it starts.
fn detach(attaching: &Attaching<'_>, reports: &mut [TableReport]) {
    let is_new = |state: TableState| matches!(state, TableState::Restored | TableState::Created);
    for report in reports.iter_mut().filter(|report| is_new(report.state)) {
        let name = report.name();
        if !attaching.plan.tables.iter().any(|table| table.to == name && table.detaches) {
            continue;
        }
        let statement = format!("DETACH TABLE {}", sql::quote_table(&name));
        let detached = attaching.statements.run(&format!("{statement} PERMANENTLY"));
        match detached.or_else(|_| attaching.statements.run(&statement)) {
            Ok(()) => report.is_detached = true,
            Err(error) => {
                let error = crate::monitor::chain(&error);
                report.warn(
                    WarningKind::ExistingDiffers,
                    format!("it was detached, and cannot be detached again: {error}"),
                );
            }
        }
    }
}

/// Whether the server lists the table of a job, as the job's own.
fn is_attached(context: &Context<'_>, job: &Job<'_>) -> Result<bool, OpError> {
    let found = server::survey_table(context.server, &job.entry.name)?;
    Ok(found.is_some_and(|table| table.key.uuid == job.entry.uuid))
}

fn compare(
    context: &Context<'_>,
    job: &Job<'_>,
    name: &TableName,
    report: &mut TableReport,
) -> Result<Comparison, Refused> {
    let found = listed_parts(context.server, name)?;
    let rows = found.iter().filter(|part| part.is_active && !part.name.is_patch());
    report.rows = rows.fold(0, |sum: u64, part| sum.saturating_add(part.rows.unwrap_or(0)));
    report.expected_rows = job.source.rows();
    if context.request.options.what == What::Schema {
        report.expected_rows = 0;
        return Ok(Comparison::default());
    }
    if let Some(dump) = &job.source.entry.dump {
        let rows = restored_rows(context.server, &job.plan.engine, name)?;
        report.rows = rows.or(dump.rows).unwrap_or(0);
        report.expected_rows = dump.rows.unwrap_or(report.rows);
        return Ok(Comparison::default());
    }
    Ok(compare_parts(&part_states(&job.source.parts), &found))
}
