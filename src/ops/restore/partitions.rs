//! A restored table gives its partitions to the live one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::model::{PartitionId, TableName, WarningKind};
use crate::ops::error::OpError;
use crate::server::{self, sql};

use super::context::Context;
use super::fit;
use super::job::Job;
use super::refused::Refused;
use super::report::TableReport;
use super::statements::Statements;
use super::survey::live_table;

/// How often it is asked whether mutations are done.
const POLL: Duration = Duration::from_millis(100);

/// Gives the partitions of a table that was compared to the live one, each in one step, and drops it.
///
/// A server moves no mutations and no patches with a partition: they are worked off first.
pub(super) fn move_partitions(
    context: &Context<'_>,
    statements: &Statements<'_>,
    job: &Job<'_>,
    others_go: bool,
    report: &mut TableReport,
) -> Result<(), Refused> {
    let moved = give(context, statements, job, others_go, report);
    let helpers = [&job.entry.name, &job.fitting];
    let dropped = helpers.map(|helper| (helper, statements.drop_table(helper, job.entry.uuid.is_some())));
    moved?;
    for (helper, dropped) in dropped {
        if let Err(error) = dropped {
            let error = crate::monitor::chain(&error);
            let message = format!("the temporary table {helper} could not be dropped: {error}");
            report.warn(WarningKind::TemporaryLeft, message);
        }
    }
    Ok(())
}

fn give(
    context: &Context<'_>,
    statements: &Statements<'_>,
    job: &Job<'_>,
    others_go: bool,
    report: &mut TableReport,
) -> Result<(), Refused> {
    let (from, to) = (&job.entry.name, &job.plan.to);
    if job.source.parts.iter().any(|part| part.part.is_patch()) {
        let statement = format!("ALTER TABLE {} APPLY PATCHES", sql::quote_table(from));
        statements.run_with(&statement, &[("mutations_sync", "2".to_owned())])?;
    }
    wait_for_mutations(context, from)?;
    let partitions: BTreeSet<PartitionId> = job
        .source
        .parts
        .iter()
        .filter(|part| !part.part.is_patch() && part.rows != Some(0))
        .map(|part| part.partition.clone())
        .collect();
    let from = if fit::fit(context, statements, job, report)? { &job.fitting } else { from };
    check_gains(context, job, &partitions, others_go)?;
    let (quoted, from) = (sql::quote_table(to), sql::quote_table(from));
    for partition in &partitions {
        context.check_interrupted()?;
        let id = sql::quote_text(&partition.0);
        statements.run_unlimited(&format!("ALTER TABLE {quoted} REPLACE PARTITION ID {id} FROM {from}"))?;
    }
    if others_go {
        let there = context.survey.catalog.tables.iter().find(|table| table.name() == to);
        let others = there.iter().flat_map(|table| table.parts.iter()).map(|part| part.partition.of_data());
        let others: BTreeSet<PartitionId> = others.filter(|partition| !partitions.contains(partition)).collect();
        for partition in others {
            statements
                .run_unlimited(&format!("ALTER TABLE {quoted} DROP PARTITION ID {}", sql::quote_text(&partition.0)))?;
        }
    }
    let active = server::parts_of(context.server, to)?;
    let of_these = active.iter().filter(|part| part.is_active && partitions.contains(&part.partition));
    report.rows = of_these.fold(0, |sum, part| sum.saturating_add(part.rows));
    Ok(())
}

/// The live table right before its partitions are replaced: what was written to them since the plan was made was not in
/// it. What comes between this look and the statement is lost.
fn check_gains(
    context: &Context<'_>,
    job: &Job<'_>,
    partitions: &BTreeSet<PartitionId>,
    others_go: bool,
) -> Result<(), Refused> {
    let Some(live) = live_table(context.server, &context.survey.local, &job.plan.to)? else {
        return Err(Refused::this("the table does not exist any more".to_owned()));
    };
    let only = (!others_go).then_some(partitions);
    match job.plan.live.as_ref().and_then(|earlier| live.gained(earlier, only)) {
        None => Ok(()),
        Some(gained) => Err(Refused::this(format!("it has changed since the plan was made: {gained}"))),
    }
}

fn wait_for_mutations(context: &Context<'_>, table: &TableName) -> Result<(), OpError> {
    let begun = Instant::now();
    while server::unfinished_mutations(context.server, table)? > 0 {
        context.check_interrupted()?;
        let deadline = context.server.freeze_deadline();
        if begun.elapsed() > deadline {
            return Err(server::ServerError::Deadline { query: format!("mutations of {table}"), deadline }.into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
