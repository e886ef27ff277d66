//! Inserts rows of the snapshot.

use std::io::Read;

use crate::checksums::BlockReader;
use crate::exec::DumpReader;
use crate::model::TableName;
use crate::ops::error::OpError;
use crate::repo::Dump;
use crate::server::{self, StoredColumn};

use super::context::RestoreContext;
use super::dump_files::place_of;
use super::job::TableJob;
use super::place_files::lost;
use super::refused::TableFailure;

/// Why rows were not inserted.
enum InsertStopped {
    Read(std::io::Error),
    Interrupted,
}

/// Inserts the rows of a dump into a table.
pub(super) fn insert(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    to: &TableName,
    dump: &Dump,
) -> Result<(), TableFailure> {
    let columns: Vec<StoredColumn> = dump
        .columns
        .iter()
        .map(|column| StoredColumn { name: column.name.clone(), is_materialized: column.is_materialized })
        .collect();
    for path in &dump.files {
        let Some((dir, name)) = place_of(context.source.dir(), &job.source.name(), path)? else {
            return Err(TableFailure::All(lost(context, job.source, path)));
        };
        send(context, (to, &columns), path, DumpReader::open(&dir, &name)?)?;
    }
    Ok(())
}

/// Inserts the rows in the files of a `Set` table: blocks of the format `Native`, as
/// `SetOrJoinBackup` in ClickHouse's `src/Storages/StorageSet.cpp` writes them.
pub(super) fn insert_files(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    to: &TableName,
    dump: &Dump,
) -> Result<(), TableFailure> {
    for path in &dump.files {
        let Some((dir, name)) = place_of(context.source.dir(), &job.source.name(), path)? else {
            return Err(TableFailure::All(lost(context, job.source, path)));
        };
        send(context, (to, &[]), path, BlockReader::new(dir.file_reader(&name)?))?;
    }
    Ok(())
}

/// Inserts rows with these columns in the format `Native`, which come from the snapshot's file `path`.
fn send(
    context: &RestoreContext<'_>,
    (to, columns): (&TableName, &[StoredColumn]),
    path: &str,
    mut rows: impl Read,
) -> Result<(), TableFailure> {
    let inserted = server::insert_native(context.server, to, columns, |buffer| {
        context.check_interrupted().map_err(|_| InsertStopped::Interrupted)?;
        rows.read(buffer).map_err(InsertStopped::Read)
    });
    match inserted? {
        Ok(()) => Ok(()),
        Err(InsertStopped::Interrupted) => Err(TableFailure::All(OpError::Interrupted)),
        Err(InsertStopped::Read(error)) => Err(TableFailure::this(format!("{path} cannot be read: {error}"))),
    }
}
