//! From a restored table that stands beside the one that is there into its place.

use std::time::{Duration, Instant};

use crate::model::TableName;
use crate::ops::error::OpError;
use crate::server::{self, sql};

use super::fit;
use super::report::TableReport;
use super::server::Prepared;
use super::staging::Entry;
use super::tables::{Job, Refused};

/// How often it is asked whether mutations are done.
const POLL: Duration = Duration::from_millis(100);

/// Puts a table that was checked in the place of the one that it replaces. That one is dropped then, unless it is to be
/// kept.
pub(super) fn swap(prepared: &Prepared<'_>, entry: &Entry, report: &mut TableReport) -> Result<(), Refused> {
    let server = prepared.server;
    let quote = sql::quote_table;
    let target = prepared_target(entry)?;
    let old = match &entry.old_name {
        // Databases whose tables have UUIDs exchange two names at one stroke.
        None => {
            let statement = format!("EXCHANGE TABLES {} AND {}", quote(target), quote(&entry.name));
            server::change(server, &statement, &[])?;
            &entry.name
        }
        Some(old) => {
            let (name, target, old_quoted) = (quote(&entry.name), quote(target), quote(old));
            let statement = format!("RENAME TABLE {target} TO {old_quoted}, {name} TO {target}");
            server::change(server, &statement, &[])?;
            old
        }
    };
    if entry.keeps_old {
        report.warnings.push(format!("the table that it replaced is now {old}: DROP TABLE {} removes it", quote(old)));
        return Ok(());
    }
    if let Err(error) = server::drop_table(server, old, false) {
        let error = crate::monitor::chain(&error);
        report.warnings.push(format!("the table that it replaced is now {old}, and could not be dropped: {error}"));
    }
    Ok(())
}

fn prepared_target(entry: &Entry) -> Result<&TableName, Refused> {
    entry.replaces.as_ref().ok_or_else(|| Refused::This("it replaces nothing".to_owned()))
}

/// Gives the partitions of a table that was checked to the one that is there, each at one stroke, and drops it.
///
/// A server moves no mutations and no patches with a partition: they are worked off first.
pub(super) fn move_partitions(
    prepared: &Prepared<'_>,
    job: &Job<'_>,
    others_go: bool,
    report: &mut TableReport,
) -> Result<(), Refused> {
    let (server, from, to) = (prepared.server, &job.entry.name, &job.plan.to);
    let moved = (|| -> Result<(), Refused> {
        if job.source.parts.iter().any(|part| part.part.is_patch()) {
            let statement = format!("ALTER TABLE {} APPLY PATCHES", sql::quote_table(from));
            server::change(server, &statement, &[("mutations_sync", "2".to_owned())])?;
        }
        wait_for_mutations(prepared, from)?;
        let mut partitions: Vec<_> =
            job.source.parts.iter().filter(|part| !part.part.is_patch()).map(|part| &part.partition).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let from = if fit::fit(prepared, job, report)? { &job.fitting } else { from };
        let (quoted, from) = (sql::quote_table(to), sql::quote_table(from));
        for partition in &partitions {
            prepared.check_interrupted()?;
            let id = sql::quote_text(&partition.0);
            let statement = format!("ALTER TABLE {quoted} REPLACE PARTITION ID {id} FROM {from}");
            server::change(server, &statement, &[])?;
        }
        if others_go {
            let there = prepared.surveyed.catalog.tables.iter().find(|table| table.name() == to);
            let mut others: Vec<_> =
                there.iter().flat_map(|table| table.parts.iter()).map(|part| &part.partition).collect();
            others.retain(|partition| !partitions.contains(partition));
            others.sort_unstable();
            others.dedup();
            for partition in others {
                let statement = format!("ALTER TABLE {quoted} DROP PARTITION ID {}", sql::quote_text(&partition.0));
                server::change(server, &statement, &[])?;
            }
        }
        let active = server::parts_of(server, to)?;
        let of_these = active.iter().filter(|part| part.is_active && partitions.contains(&&part.partition));
        report.rows = of_these.fold(0, |sum, part| sum.saturating_add(part.rows));
        Ok(())
    })();
    let helpers = [&job.entry.name, &job.fitting];
    let dropped = helpers.map(|helper| (helper, server::drop_table(server, helper, job.entry.uuid.is_some())));
    moved?;
    for (helper, dropped) in dropped {
        if let Err(error) = dropped {
            let error = crate::monitor::chain(&error);
            report.warnings.push(format!("{helper} was only to help, and could not be dropped: {error}"));
        }
    }
    Ok(())
}

fn wait_for_mutations(prepared: &Prepared<'_>, table: &TableName) -> Result<(), OpError> {
    let begun = Instant::now();
    while server::unfinished_mutations(prepared.server, table)? > 0 {
        prepared.check_interrupted()?;
        let deadline = prepared.server.freeze_deadline();
        if begun.elapsed() > deadline {
            return Err(server::ServerError::Deadline { query: format!("mutations of {table}"), deadline }.into());
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}
