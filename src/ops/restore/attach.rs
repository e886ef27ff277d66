//! Attaches and creates the tables of a plan, and compares each with the manifest at once.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::model::{Detachment, Table, TableName, WarningKind};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::error::OpError;
use crate::plan::{
    Action, KeptTableState, Mapping, ParsedDefinition, PartsComparison, RestoreContent, TablePlan, Verb, compare_parts,
    hold, release_statements,
};
use crate::server::{self, sql};

use super::attaching::{Attaching, make_by_definition, make_on_other_hosts, run_definition_with};
use super::await_replicas::await_replicas;
use super::context::RestoreContext;
use super::dump_files::restored_rows;
use super::exchange;
use super::fill;
use super::job::TableJob;
use super::not_restored::{NotRestored, TableFate, WrongParts};
use super::partitions;
use super::place::{move_in, move_out};
use super::refused::TableFailure;
use super::replica;
use super::report::{RestoredState, TableReport};
use super::set_aside;
use super::source::part_states;
use super::survey::listed_parts;
use super::view;

/// Attaches and creates everything in the order of the plan. Failed ones are retried as long as others succeed.
///
/// # Errors
/// If nothing more can be done. Refusals that concern single tables are in their reports.
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
                    monitor.advanced(Stage::Attach, StageWork { tables: 1, ..StageWork::default() });
                    reports.insert(number, report);
                }
                Err(TableFailure::This(reason)) => {
                    first_reasons.entry(number).or_insert_with(|| reason.clone());
                    failed.push(((number, plan), reason));
                }
                Err(TableFailure::All(error)) => return Err(error),
            }
        }
        if failed.is_empty() || failed.len() == before {
            for ((number, plan), reason) in failed {
                let mut report = TableReport::new(&plan.from, &plan.to, &plan.engine, RestoredState::Failed);
                // A statement that failed halfway can have left a table: the first error gives the reason.
                let is_half_made = matches!(
                    reason,
                    NotRestored::DefinitionRefused { code: Some(server::code::TABLE_ALREADY_EXISTS), .. }
                );
                let first = first_reasons.remove(&number).filter(|_| is_half_made);
                report.reason = Some(first.unwrap_or(reason));
                reports.insert(number, report);
            }
            let mut reports: Vec<TableReport> = reports.into_values().collect();
            view::finish_inner_tables(attaching, &mut reports)?;
            await_replicas(attaching, &mut reports)?;
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

/// Compares the definitions of created tables with the intended ones. A server of another version prints them
/// differently.
fn check_definitions(attaching: &Attaching<'_>, reports: &mut [TableReport]) -> Result<(), OpError> {
    let context = attaching.context;
    let is_made = |state: RestoredState| match state {
        RestoredState::Created | RestoredState::Fetched => true,
        state => state != RestoredState::Attached && state.has_data(),
    };
    let has_made = reports.iter().any(|report| is_made(report.state));
    if !has_made || context.source.manifest.server.version != context.survey.identity.version {
        return Ok(());
    }
    let with_system = reports.iter().any(|report| report.database == "system");
    let catalog = server::survey(context.server, with_system)?;
    for report in reports.iter_mut().filter(|report| is_made(report.state)) {
        let name = report.name();
        let planned = attaching.plan.tables.iter().find(|table| table.to == name);
        // Not another table under its name: another restore may have replaced it.
        let is_it = |live: &&Table| {
            // A table in a database of the engine Replicated has a UUID that the server gave it.
            let uuid = live.key.uuid.as_ref().map(ToString::to_string);
            *live.name() == name && (uuid == report.uuid || report.uuid.is_none())
        };
        let live = catalog.tables.iter().find(is_it);
        let live = live.and_then(|live| ParsedDefinition::parse(&live.definition).ok());
        if let (Some(planned), Some(live)) = (planned.and_then(|planned| planned.definition.as_ref()), live)
            && !is_as_planned(&attaching.plan.mapping, planned, &live)
        {
            let message = "the server has made its definition into another one than the snapshot's";
            report.warn(WarningKind::DefinitionChanged, message);
        }
    }
    Ok(())
}

/// Whether a table is defined as planned; a database of the engine Replicated gives it a path of its own.
fn is_as_planned(mapping: &Mapping, planned: &ParsedDefinition, live: &ParsedDefinition) -> bool {
    // The path of a table, or of a view's inner table, that was planned without one.
    if planned.is_replicated() && planned.replica().is_none() {
        return planned.as_plain().is_like(&live.as_plain(), mapping);
    }
    planned.is_like(live, mapping)
}

/// Whether a table came with its database: a database of the engine Replicated that this restore created contains what
/// its other replicas have in Keeper.
fn came_with_database(attaching: &Attaching<'_>, plan: &TablePlan) -> Result<bool, TableFailure> {
    let is_replicated = |engine: &String| engine.contains("Replicated");
    let mut made = attaching.plan.databases.iter();
    let is_made = made.any(|made| made.name == plan.to.database && made.engine.as_ref().is_ok_and(is_replicated));
    Ok(is_made && server::survey_table(attaching.context.server, &plan.to)?.is_some())
}

/// The report of a table as planned.
pub(super) fn planned(context: &RestoreContext<'_>, plan: &TablePlan) -> TableReport {
    let mut report = TableReport::new(&plan.from, &plan.to, &plan.engine, RestoredState::Created);
    report.uuid = plan.uuid.as_ref().map(ToString::to_string);
    report.uuid_changed = plan.uuid_changed;
    report.warnings.clone_from(&plan.warnings);
    report.ttl_statements.clone_from(&plan.ttl_statements);
    match &plan.action {
        Action::Damaged(damaged) => {
            report.state = RestoredState::Failed;
            report.reason = Some(NotRestored::Damaged(damaged.clone()));
        }
        Action::Impossible(reason) => {
            report.state = RestoredState::Failed;
            report.reason = Some(NotRestored::Impossible(reason.clone()));
        }
        Action::Skip(reason) => {
            report.state = RestoredState::Skipped;
            report.reason = Some(NotRestored::Skipped(reason.to_string()));
        }
        Action::Keep(kept) => keep(context, plan, *kept, &mut report),
        Action::Blocked(obstacle) => {
            report.state = if obstacle.passes() { RestoredState::Waiting } else { RestoredState::Skipped };
            report.reason = Some(NotRestored::Blocked(obstacle.clone()));
        }
        Action::Make(_)
        | Action::ReplaceView(_)
        | Action::MakeReplica
        | Action::FillReplica
        | Action::Place
        | Action::Fill { .. }
        | Action::Swap
        | Action::Partitions(_) => {}
    }
    report
}

fn attach(attaching: &Attaching<'_>, plan: &TablePlan) -> Result<TableReport, TableFailure> {
    let missing = attaching.missing_databases.get(&plan.to.database);
    if let Some(reason) = missing.filter(|_| plan.action.makes_table()) {
        return Err(TableFailure::this(reason.clone()));
    }
    let mut report = planned(attaching.context, plan);
    // A plain table that came this way has only its definition.
    let is_plain = plan.action == Action::FillReplica
        && plan.definition.as_ref().is_some_and(|definition| !definition.is_replicated());
    if plan.action.makes_table() && !is_plain && came_with_database(attaching, plan)? {
        has_come_with_database(&mut report);
        return Ok(report);
    }
    let result = carry_out(attaching, plan, &mut report);
    // It may appear while the others are created.
    let is_there_already = |reason: &NotRestored| {
        matches!(reason, NotRestored::DefinitionRefused { code: Some(server::code::TABLE_ALREADY_EXISTS), .. })
    };
    let exists = match (&result, &report.reason) {
        (Err(TableFailure::This(reason)), _) | (Ok(()), Some(reason)) => is_there_already(reason),
        _ => false,
    };
    if exists && plan.action.makes_table() && !is_plain && came_with_database(attaching, plan)? {
        report.reason = None;
        has_come_with_database(&mut report);
        return Ok(report);
    }
    result.map(|()| report)
}

/// Reports that a table came with its database.
fn has_come_with_database(report: &mut TableReport) {
    let message =
        "its database has it in Keeper: it is as the database's other replicas have it, and not the snapshot's";
    report.warn(WarningKind::ReplicaFetched, message);
    report.state = RestoredState::Fetched;
}

fn carry_out(attaching: &Attaching<'_>, plan: &TablePlan, report: &mut TableReport) -> Result<(), TableFailure> {
    match &plan.action {
        Action::Make(verb) => make(attaching, plan, *verb, report),
        Action::ReplaceView(replacement) => view::replace(attaching, plan, *replacement, report),
        Action::Fill { .. } => fill::fill(attaching, plan, report),
        Action::Place | Action::Swap | Action::Partitions(_) => attach_data(attaching, plan, report),
        Action::FillReplica => {
            // Its view may be made later.
            replica::made_by_view(attaching, plan)?;
            attach_data(attaching, plan, report)
        }
        Action::MakeReplica => replica::make(attaching, plan, report),
        Action::Keep(_) => spread(attaching, plan, report),
        Action::Damaged(_) | Action::Blocked(_) | Action::Impossible(_) | Action::Skip(_) => Ok(()),
    }
}

/// Creates an existing table on the hosts of the cluster that lack it.
fn spread(attaching: &Attaching<'_>, plan: &TablePlan, report: &mut TableReport) -> Result<(), TableFailure> {
    let Some(spread) = &plan.spread else { return Ok(()) };
    make_on_other_hosts(attaching, plan, (plan.live_uuid.as_ref(), &spread.definition), report)?;
    report.made_on_hosts.clone_from(&spread.hosts);
    Ok(())
}

fn keep(context: &RestoreContext<'_>, plan: &TablePlan, kept: KeptTableState, report: &mut TableReport) {
    let item = context.item(&plan.from);
    let dumped = item.and_then(|item| item.dump.as_ref()).map(|dump| dump.rows.unwrap_or(0));
    let of_parts = || item.and_then(|item| item.data.as_ref()).map_or(0, |data| data.amount.rows);
    let stored = dumped.unwrap_or_else(of_parts);
    report.state = RestoredState::Present;
    (report.rows, report.expected_rows) = (stored, stored);
    match kept {
        KeptTableState::OtherData { rows, .. } => report.rows = rows,
        KeptTableState::Expired { rows, expired_rows } => (report.rows, report.expired_rows) = (rows, expired_rows),
        KeptTableState::Same | KeptTableState::OtherDefinition | KeptTableState::NotCompared => {}
    }
    report.warnings.extend(kept.warning());
}

/// Creates an object without parts. ATTACH accepts the definition as it is; if the server refuses that, CREATE may
/// work.
fn make(attaching: &Attaching<'_>, plan: &TablePlan, verb: Verb, report: &mut TableReport) -> Result<(), TableFailure> {
    let Some(definition) = &plan.definition else {
        return Err(TableFailure::this("its definition cannot be read"));
    };
    let refreshes = definition.is_refreshable();
    if refreshes {
        // It keeps its target's rows until its scheduled refresh.
        if make_by_definition(attaching, plan, (verb, &definition.starting_empty()), report).is_ok() {
            return Ok(());
        }
        let message = "it refreshes as soon as it is there, and overwrites what its target has";
        report.warn(WarningKind::ViewRefreshes, message);
    }
    match make_by_definition(attaching, plan, (verb, definition), report) {
        Err(TableFailure::This(reason)) if verb == Verb::Attach && plan.inner_uuid.is_none() => {
            match make_by_definition(attaching, plan, (Verb::Create, definition), report) {
                Err(TableFailure::This(_)) => Err(TableFailure::This(reason)),
                result => result,
            }
        }
        result => result,
    }
}

fn attach_data(attaching: &Attaching<'_>, plan: &TablePlan, report: &mut TableReport) -> Result<(), TableFailure> {
    let context = attaching.context;
    attaching.described.of(plan).map_err(TableFailure::this)?;
    let (Some(job), Some(placed)) = (attaching.jobs.get(&plan.to), attaching.placed.get(&plan.to)) else {
        return Err(TableFailure::this("it was not placed"));
    };
    let staging = attaching.staging;
    let name = &job.entry.name;
    move_in(context, job, staging)?;
    let Some(definition) = &plan.definition else {
        return Err(TableFailure::this("its definition cannot be read"));
    };
    let held = if plan.held.is_empty() { definition.clone() } else { hold(definition) };
    // A table that only passes its parts on to a replicated table must not touch Keeper.
    let held = if plan.action.needs_helper() { held.as_plain() } else { held };
    let attached_at = Instant::now();
    if let Err(refused) = run_definition_with(attaching, plan, (name, job.entry.uuid.as_ref()), (Verb::Attach, &held)) {
        // A statement that failed halfway can have attached the table: then its directory belongs to the server.
        if matches!(refused, TableFailure::This(_)) && !is_attached(context, job)? {
            move_out(context, job, staging)?;
        }
        return Err(refused);
    }
    let comparison = compare(context, job, name, report)?;
    if let (Some(_), true) = (&job.source.entry.dump, report.rows < report.expected_rows) {
        let (expected, found) = (report.expected_rows, report.rows);
        attaching.statements.drop_table(name, job.entry.uuid.is_some())?;
        report.state = RestoredState::Failed;
        report.reason = Some(NotRestored::DumpRows { expected, found });
        report.rows = 0;
        return Ok(());
    }
    if let Some(first) = comparison.wrong.first() {
        // Before the table is dropped: its `detached/` is removed with it.
        let set_aside = set_aside::find(context, job, &comparison.wrong, attached_at);
        report.state = RestoredState::Failed;
        // An incomplete table must not look complete: a table that differs from the snapshot is dropped, unless someone
        // has written to it.
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
    if context.request.options.what == RestoreContent::Schema {
        report.parts = 0;
    }
    report.placed = placed.placed;
    for lost in &placed.lost_metadata {
        report.warn(WarningKind::AttributesLost, format!("copies lack the {lost} of the snapshot's files"));
    }
    hand_over(attaching, plan, job, report)
}

/// Brings an attached and compared table, or its partitions, to where the plan wants them.
fn hand_over(
    attaching: &Attaching<'_>,
    plan: &TablePlan,
    job: &TableJob<'_>,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let context = attaching.context;
    let (moved, state) = match &plan.action {
        // Its view takes it over.
        Action::Swap if plan.comes_with.is_some() => (Ok(()), RestoredState::Restored),
        Action::Swap => (exchange::swap(context, attaching.statements, job, report), RestoredState::Replaced),
        Action::Partitions(scope) => {
            (report.uuid, report.uuid_changed) = (plan.live_uuid.as_ref().map(ToString::to_string), false);
            let moved = partitions::move_partitions(context, attaching.statements, job, *scope, report);
            (moved, RestoredState::Attached)
        }
        Action::FillReplica => (replica::fill(attaching, job, report), RestoredState::Restored),
        _ => (Ok(()), RestoredState::Restored),
    };
    // Another replica may have been first.
    report.state = if report.state == RestoredState::Fetched { RestoredState::Fetched } else { state };
    if moved.is_ok() && matches!(report.reason, Some(NotRestored::PartitionsLeft(_))) {
        report.state = RestoredState::Incomplete;
    } else if moved.is_ok()
        && report.state != RestoredState::Fetched
        && report.rows < report.expected_rows
        && keeps_its_rows(job)
    {
        report.state = RestoredState::Incomplete;
        report.reason = Some(NotRestored::Rows);
    }
    match moved {
        // Not retried: no table that is created later makes it fit.
        Err(TableFailure::This(reason)) => Ok(exchange::fail(context, attaching.statements, job, reason, report)?),
        result => result,
    }
}

/// Whether fewer rows than in the manifest are a loss: not if a mutation or patches that came with the parts delete
/// some.
fn keeps_its_rows(job: &TableJob<'_>) -> bool {
    let has_patches = job.source.parts.iter().any(|part| part.part.is_patch());
    !has_patches && job.source.entry.mutations.is_empty()
}

/// Gives held tables that were compared their own settings back. This is the last step, when everything that a
/// definition needs exists: the server checks the definition once more.
fn release(attaching: &Attaching<'_>, reports: &mut [TableReport]) {
    let settings = attaching.settings();
    let has_table = |report: &&mut TableReport| report.state.has_data() && report.state != RestoredState::Attached;
    for report in reports.iter_mut().filter(has_table) {
        let name = report.name();
        let Some(plan) = attaching.plan.tables.iter().find(|table| table.to == name) else { continue };
        if plan.action.needs_helper() {
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

/// Detaches again the tables that were detached when the snapshot was made, in the same way, permanently or not. A
/// server without permanent detachment attaches them when it starts.
fn detach(attaching: &Attaching<'_>, reports: &mut [TableReport]) {
    let is_new = |state: RestoredState| matches!(state, RestoredState::Restored | RestoredState::Created);
    for report in reports.iter_mut().filter(|report| is_new(report.state)) {
        let name = report.name();
        let planned = attaching.plan.tables.iter().find(|table| table.to == name);
        let Some(detachment) = planned.and_then(|table| table.detaches) else { continue };
        let statement = format!("DETACH TABLE {}", sql::quote_table(&name));
        let detached = match detachment {
            Detachment::UntilStart => attaching.statements.run(&statement),
            Detachment::Permanent => attaching
                .statements
                .run(&format!("{statement} PERMANENTLY"))
                .or_else(|_| attaching.statements.run(&statement)),
        };
        match detached {
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

/// Whether the server lists the table of a job as the job's own.
fn is_attached(context: &RestoreContext<'_>, job: &TableJob<'_>) -> Result<bool, OpError> {
    let found = server::survey_table(context.server, &job.entry.name)?;
    Ok(found.is_some_and(|table| table.key.uuid == job.entry.uuid))
}

fn compare(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    name: &TableName,
    report: &mut TableReport,
) -> Result<PartsComparison, TableFailure> {
    let found = listed_parts(context.server, name)?;
    let rows = found.iter().filter(|part| part.is_active && !part.name.is_patch());
    report.rows = rows.fold(0, |sum: u64, part| sum.saturating_add(part.rows.unwrap_or(0)));
    report.expected_rows = job.source.rows();
    if context.request.options.what == RestoreContent::Schema {
        report.expected_rows = 0;
        return Ok(PartsComparison::default());
    }
    if let Some(dump) = &job.source.entry.dump {
        let rows = restored_rows(context.server, &job.plan.engine, name)?;
        report.rows = rows.or(dump.rows).unwrap_or(0);
        report.expected_rows = dump.rows.unwrap_or(report.rows);
        return Ok(PartsComparison::default());
    }
    Ok(compare_parts(&part_states(&job.source.parts), &found))
}
