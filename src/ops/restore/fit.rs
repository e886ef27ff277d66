//! Partitions for a table whose columns have changed since the snapshot. The parts go through `detached/` and `ATTACH
//! PART` into an empty table with the definition of the live one, so that they are moved in one step and checked, like
//! all others.
//!
//! Without any error, the server attaches a part whose columns have other types, or that is sorted differently. So this
//! serves only tables that differ in columns which the parts do not have.

use std::collections::BTreeMap;

use crate::exec::{PartRestorer, RestoreMode};
use crate::fs::{CopyOptions, Dir};
use crate::model::{CatalogPart, PartitionId, Table, TableName, WarningKind};
use crate::ops::error::OpError;
use crate::server::{self, TableShape, sql};

use super::context::RestoreContext;
use super::job::TableJob;
use super::refused::TableFailure;
use super::report::TableReport;
use super::statements::Statements;

/// The columns that a part of a table with the shape `ours` lacks in one with the shape `theirs`, or why it does not
/// fit.
fn lacking(ours: &TableShape, theirs: &TableShape) -> Result<Vec<String>, String> {
    if ours.keys != theirs.keys {
        return Err("one of its keys is another than in the snapshot".to_owned());
    }
    for (name, kind) in &ours.columns {
        match theirs.columns.get(name) {
            None => return Err(format!("it has no column {name} any more, and the snapshot has")),
            Some(now) if now != kind => {
                return Err(format!("its column {name} is {now}, and {kind} in the snapshot"));
            }
            Some(_) => {}
        }
    }
    Ok(theirs.columns.keys().filter(|name| !ours.columns.contains_key(*name)).cloned().collect())
}

/// If the restored table lacks columns of the live one, creates `job.fitting`, defined as the live table, and gives it
/// the parts of the restored one. Otherwise does nothing, and returns false.
pub(super) fn fit(
    context: &RestoreContext<'_>,
    statements: &Statements<'_>,
    job: &TableJob<'_>,
    report: &mut TableReport,
) -> Result<bool, TableFailure> {
    let (server, from, to) = (context.server, &job.entry.name, &job.plan.to);
    let (Some(ours), Some(theirs)) = (server::shape_of(server, from)?, server::shape_of(server, to)?) else {
        return Ok(false);
    };
    let other_way = "--rename restores it beside, and INSERT … SELECT brings its rows over";
    let lacking = lacking(&ours, &theirs).map_err(|reason| TableFailure::this(format!("{reason}; {other_way}")))?;
    if lacking.is_empty() {
        return Ok(false);
    }
    if theirs.engine.starts_with("Replicated") {
        return Err(TableFailure::this(format!(
            "it is replicated, and has columns that the snapshot has not; {other_way}"
        )));
    }
    make(context, statements, job)?;
    let (expected, found) = (rows(context, from)?, rows(context, &job.fitting)?);
    if expected != found {
        return Err(TableFailure::this(format!(
            "the server did not take all of it: {expected:?} rows became {found:?}"
        )));
    }
    let names = lacking.join(", ");
    let message = format!("the snapshot has no column {names}: what came back has the default there");
    report.warn(WarningKind::ColumnsMissing, message);
    Ok(true)
}

fn make(context: &RestoreContext<'_>, statements: &Statements<'_>, job: &TableJob<'_>) -> Result<(), TableFailure> {
    let (server, fitting) = (context.server, sql::quote_table(&job.fitting));
    // No part may be removed, even because of its age, while its files are linked.
    statements.run(&format!("SYSTEM STOP MERGES {}", sql::quote_table(&job.entry.name)))?;
    statements.run(&format!("CREATE TABLE {fitting} AS {}", sql::quote_table(&job.plan.to)))?;
    statements.run(&format!("SYSTEM STOP MERGES {fitting}"))?;
    let catalog = server::survey(server, false)?;
    let find = |name: &TableName| -> Result<&Table, TableFailure> {
        let found = catalog.tables.iter().find(|table| table.name() == name);
        found.ok_or_else(|| TableFailure::this(format!("{name} no longer exists")))
    };
    let (from, to) = (find(&job.entry.name)?, find(&job.fitting)?);
    let stop = |_| std::ops::ControlFlow::Continue(());
    let owner = Some(context.survey.owner);
    let restorer = PartRestorer::new(RestoreMode::Auto, owner, CopyOptions::new(true, None, &stop));
    for part in from.parts.iter().filter(|part| !part.name.is_patch()) {
        context.check_interrupted()?;
        let Some(held) = context.survey.local.open_live(&part.path())? else {
            return Err(TableFailure::this(format!("part {} no longer exists", part.name)));
        };
        let detached = detached_for(context, part, to)?;
        restorer.restore_part(&held, &detached, part.name.as_str()).map_err(OpError::from)?;
        let name = sql::quote_text(part.name.as_str());
        statements.run(&format!("ALTER TABLE {fitting} ATTACH PART {name}"))?;
    }
    Ok(())
}

/// The `detached/` of a table on the disk of a part, else on the table's first disk.
fn detached_for(context: &RestoreContext<'_>, part: &CatalogPart, table: &Table) -> Result<Dir, TableFailure> {
    let local = &context.survey.local;
    let is_its = |path: &&std::path::PathBuf| local.locate(path).is_some_and(|(disk, _)| disk.disk.name == part.disk);
    let path = table.data_paths.iter().find(is_its).or_else(|| table.data_paths.first());
    let dir = path.map(|path| local.open_live(&path.join("detached"))).transpose()?.flatten();
    dir.ok_or_else(|| TableFailure::this(format!("{} has no directory of detached parts", table.name())))
}

fn rows(context: &RestoreContext<'_>, table: &TableName) -> Result<BTreeMap<PartitionId, u64>, TableFailure> {
    let mut rows = BTreeMap::new();
    for part in server::parts_of(context.server, table)? {
        if part.is_active && !part.name.is_patch() {
            let count: &mut u64 = rows.entry(part.partition).or_default();
            *count = count.saturating_add(part.rows);
        }
    }
    Ok(rows)
}
