//! Moves the partitions of a restored table to another one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::model::{PartitionId, TableName, WarningKind, count};
use crate::ops::error::OpError;
use crate::plan::{
    PartState, PartitionScope, PartsElsewhere, ReplicaPlan, compare_copies, compare_parts, replaced_unseen,
};
use crate::server::{self, ServerError, sql};

use super::context::RestoreContext;
use super::fit;
use super::job::TableJob;
use super::keeper::parts_elsewhere;
use super::not_restored::{NotRestored, PartitionsLeft};
use super::recover::drop_obstacle;
use super::refused::TableFailure;
use super::report::TableReport;
use super::statements::{Statements, drop_refusal};
use super::survey::{listed_parts, live_table};

/// The interval at which mutations are checked for completion.
const POLL: Duration = Duration::from_millis(100);

/// Moves the partitions of a table that was compared to another one, each in one step, and drops the first.
///
/// A server moves no mutations and no patches with a partition: they are carried out first.
pub(super) fn move_partitions(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    job: &TableJob<'_>,
    scope: PartitionScope,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let moved =
        prepare(context, statements, job).and_then(|()| give(context, statements, job, (&job.plan.to, scope), report));
    let dropped = drop_helpers(statements, job, report);
    moved?;
    dropped
}

/// Drops the temporary tables of a job. A refusal by the server is a warning.
pub(super) fn drop_helpers(
    statements: &Statements<'_>,
    job: &TableJob<'_>,
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    for helper in [&job.entry.name, &job.fitting] {
        let reason = match drop_obstacle(statements.server, helper)? {
            Some(reason) => reason.to_owned(),
            None => match statements.drop_table(helper, job.entry.uuid.is_some()) {
                Err(error @ ServerError::Exception { .. }) => drop_refusal(&error),
                dropped => {
                    dropped?;
                    continue;
                }
            },
        };
        let message = format!("the temporary table {helper} could not be dropped: {reason}");
        report.warn(WarningKind::TemporaryLeft, message);
    }
    Ok(())
}

/// Carries out the mutations and patches of a table whose partitions are about to move.
pub(super) fn prepare(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    job: &TableJob<'_>,
) -> Result<(), TableFailure> {
    let from = &job.entry.name;
    if job.source.parts.iter().any(|part| part.part.is_patch()) {
        let statement = format!("ALTER TABLE {} APPLY PATCHES", sql::quote_table(from));
        statements.run_with(&statement, &[("mutations_sync", "2".to_owned())])?;
    }
    Ok(wait_for_mutations(context, from)?)
}

/// Moves the partitions of a table that is ready to another one, and compares the result.
pub(super) fn give(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    job: &TableJob<'_>,
    (to, scope): (&TableName, PartitionScope),
    report: &mut TableReport,
) -> Result<(), TableFailure> {
    let from = &job.entry.name;
    let from = if fit::fit(context, statements, job, report)? { &job.fitting } else { from };
    let filled = |parts: Vec<PartState>| by_partition(parts.into_iter().filter(PartState::counts));
    let given = filled(listed_parts(context.server, from)?);
    let partitions: BTreeSet<PartitionId> = given.keys().cloned().collect();
    let there = match scope {
        PartitionScope::Missing => filled(listed_parts(context.server, to)?),
        PartitionScope::Selected | PartitionScope::All => {
            check_gains(context, job, &partitions, scope)?;
            BTreeMap::new()
        }
    };
    let (quoted, from) = (sql::quote_table(to), sql::quote_table(from));
    let to_move = given.iter().filter(|(partition, _)| !there.contains_key(*partition));
    for (replaced, (partition, parts)) in to_move.enumerate() {
        context.check_interrupted()?;
        check_elsewhere(context, job, to, partition)?;
        let before = in_partition(listed_parts(context.server, to)?, partition);
        if scope != PartitionScope::Missing {
            check_partition(job, partition, &before, replaced)?;
        }
        let id = sql::quote_text(&partition.0);
        statements.run_unlimited(&format!("ALTER TABLE {quoted} REPLACE PARTITION ID {id} FROM {from}"))?;
        let after = in_partition(listed_parts(context.server, to)?, partition);
        for lost in replaced_unseen(&before, parts, &after) {
            report.warn(WarningKind::InsertReplaced, insert_replaced(lost));
        }
    }
    if scope == PartitionScope::All {
        let live = job.plan.live.iter().flat_map(|live| live.parts.iter()).map(|part| part.partition.of_data());
        let others: BTreeSet<PartitionId> = live.filter(|partition| !partitions.contains(partition)).collect();
        for partition in others {
            statements
                .run_unlimited(&format!("ALTER TABLE {quoted} DROP PARTITION ID {}", sql::quote_text(&partition.0)))?;
        }
    }
    let found = by_partition(listed_parts(context.server, to)?.into_iter());
    (report.rows, report.verified_parts, report.merged_parts) = (0, 0, 0);
    let mut left = PartitionsLeft::default();
    for (partition, parts) in &given {
        let copied = compare_copies(parts, found.get(partition).map_or(&[], Vec::as_slice));
        // A partition that existed before is the same one only if all its parts match.
        if copied.merged > 0 && there.contains_key(partition) {
            left.partitions.push(partition.clone());
            left.rows = parts.iter().fold(left.rows, |sum, part| sum.saturating_add(part.rows.unwrap_or(0)));
            continue;
        }
        report.rows = report.rows.saturating_add(copied.rows);
        report.verified_parts += copied.verified;
        report.merged_parts += copied.merged;
    }
    if !left.partitions.is_empty() {
        report.reason = Some(NotRestored::PartitionsLeft(left));
    }
    Ok(())
}

/// The parts of a partition, and the patches of them.
fn in_partition(mut parts: Vec<PartState>, partition: &PartitionId) -> Vec<PartState> {
    parts.retain(|part| part.partition.of_data() == *partition);
    parts
}

/// Checks a partition right before it is replaced: the others before it took their time.
fn check_partition(
    job: &TableJob<'_>,
    partition: &PartitionId,
    now: &[PartState],
    replaced: usize,
) -> Result<(), TableFailure> {
    let Some(live) = &job.plan.live else { return Ok(()) };
    let planned = in_partition(live.parts.clone(), partition);
    let Some(new) = compare_parts(&planned, now).foreign.into_iter().next() else { return Ok(()) };
    let others = match replaced {
        0 => String::new(),
        replaced => format!("; {} before this one came from the snapshot", count(replaced as u64, "partition")),
    };
    Err(TableFailure::this(format!("it has changed since the plan was made: its part {new} is new{others}")))
}

fn insert_replaced(part: &PartState) -> String {
    let rows = part.rows.unwrap_or(0);
    let (were, are) = if rows == 1 { ("was", "is") } else { ("were", "are") };
    let rows = count(rows, "row");
    format!(
        "{rows} {were} inserted at the moment at which partition {} was replaced, and {are} gone with it: insert them again, or \
         take them from the table's directory {} before the server removes that (old_parts_lifetime)",
        part.partition.0, part.name
    )
}

/// Checks a partition of a replicated table right before it is replaced: data that other replicas have and this one has
/// yet to fetch would be lost with it. Only what the plan showed was agreed to.
fn check_elsewhere(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    to: &TableName,
    partition: &PartitionId,
) -> Result<(), TableFailure> {
    let live = job.plan.live.as_ref();
    let made = || job.plan.replica.as_ref().map(ReplicaPlan::attached);
    let Some(mut replica) = live.and_then(|live| live.replica.clone()).or_else(made) else { return Ok(()) };
    if replica.path.is_empty() {
        // Its database has given it one.
        let live = server::replicas(context.server)?.into_iter().find(|live| live.table == *to);
        let Some(live) = live else { return Ok(()) };
        (replica.path, replica.name) = (live.keeper_path, live.name);
    }
    let agreed: &[PartState] = match live.map(|live| &live.elsewhere) {
        Some(PartsElsewhere::Listed(parts)) => parts,
        _ => &[],
    };
    let listed = listed_parts(context.server, to)?;
    let elsewhere = parts_elsewhere(context.server, &replica, &listed)?;
    let is_new = |part: &&PartState| {
        part.partition.of_data() == *partition && !agreed.iter().any(|agreed| agreed.name == part.name)
    };
    match elsewhere.iter().find(is_new) {
        None => Ok(()),
        Some(part) => {
            let name = &part.name;
            Err(TableFailure::this(format!(
                "another replica has got the part {name} since the plan was made, which would be lost: the same restore \
                 again plans with it"
            )))
        }
    }
}

fn by_partition(parts: impl Iterator<Item = PartState>) -> BTreeMap<PartitionId, Vec<PartState>> {
    let mut partitions: BTreeMap<PartitionId, Vec<PartState>> = BTreeMap::new();
    for part in parts {
        partitions.entry(part.partition.clone()).or_default().push(part);
    }
    partitions
}

/// Checks the live table right before its partitions are replaced: rows written to them since the plan was made were
/// not part of it.
fn check_gains(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    partitions: &BTreeSet<PartitionId>,
    scope: PartitionScope,
) -> Result<(), TableFailure> {
    let Some(live) = live_table(context.server, &context.survey.local, &job.plan.to)? else {
        return Err(TableFailure::this("the table does not exist any more".to_owned()));
    };
    let only = (scope != PartitionScope::All).then_some(partitions);
    match job.plan.live.as_ref().and_then(|earlier| live.gained(earlier, only)) {
        None => Ok(()),
        Some(gained) => Err(TableFailure::this(format!("it has changed since the plan was made: {gained}"))),
    }
}

fn wait_for_mutations(context: &RestoreContext<'_>, table: &TableName) -> Result<(), OpError> {
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
