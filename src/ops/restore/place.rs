//! Assembles tables in the staging directories, and moves them to their places and back.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use crate::exec::{PartRestorer, RestoredPart};
use crate::fs::{CopyOptions, Dir, RateLimit};
use crate::model::{Ownership, PlacedTotals, TableName};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::disks::LocalDisk;
use crate::ops::error::OpError;
use crate::plan::RestoreContent;
use crate::repo::PartRecord;

use super::context::RestoreContext;
use super::job::{TableJob, disk_of};
use super::place_files::place_files;
use super::refused::TableFailure;
use super::staging::Staging;

const DIRECTORY_MODE: u32 = 0o750;

/// A table in the staging directories.
#[derive(Debug, Default)]
pub(super) struct PlacedTable {
    pub(super) placed: PlacedTotals,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Metadata of the snapshot's files that the copies lack.
    pub(super) lost_metadata: Vec<String>,
}

/// Assembles every table. The server does not know them yet.
pub(super) fn place_all(
    context: &RestoreContext<'_>,
    jobs: &BTreeMap<TableName, TableJob<'_>>,
    staging: &mut Staging,
    monitor: &dyn Monitor,
) -> Result<BTreeMap<TableName, PlacedTable>, OpError> {
    let interrupted = &context.request.interrupted;
    let stop = |_| if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let rate = context.request.copy_rate.map(RateLimit::new);
    let options = CopyOptions::new(true, rate.as_ref(), &stop);
    let restorer = PartRestorer::new(context.request.mode, Some(context.survey.owner), options);
    let mut placed = BTreeMap::new();
    for (name, job) in jobs {
        context.check_interrupted()?;
        placed.insert(name.clone(), place_table(context, job, staging, &restorer, monitor)?);
    }
    Ok(placed)
}

fn place_table(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    staging: &mut Staging,
    restorer: &PartRestorer<'_>,
    monitor: &dyn Monitor,
) -> Result<PlacedTable, OpError> {
    let mut table = PlacedTable::default();
    let local = &context.survey.local;
    let disks = &job.disks;
    let mut dirs: BTreeMap<String, Dir> = BTreeMap::new();
    for (disk, _) in &job.entry.places {
        dirs.insert(disk.clone(), staging.dir(local, disk)?.ensure_dir(&job.stage_name, 0o700)?);
    }
    if context.request.options.what != RestoreContent::Schema {
        let place_part = |part: &PartRecord| -> Result<RestoredPart, OpError> {
            context.check_interrupted()?;
            let dir = disk_of(&part.disk, disks).and_then(|disk| dirs.get(&disk));
            let dir = dir.ok_or_else(|| OpError::NoDisk { disk: part.disk.to_string() })?;
            let from = context.source.part_dir(job.source, &part.part)?;
            let from = from.ok_or_else(|| context.source.has_lost(job.source, &part.part))?;
            let placed = restorer.restore_part(&from, dir, part.part.as_str())?;
            let work = StageWork { parts: 1, files: placed.files, bytes: placed.bytes, ..StageWork::default() };
            monitor.advanced(Stage::Place, work);
            Ok(placed)
        };
        let placed: Vec<RestoredPart> = job.source.parts.par_iter().map(place_part).collect::<Result<_, _>>()?;
        for part in &placed {
            table.files += part.files;
            table.bytes = table.bytes.saturating_add(part.bytes);
            part.count(&mut table.placed);
            table.lost_metadata.extend(part.unkept.iter().map(|(_, unkept)| unkept.to_string()));
        }
        table.lost_metadata.sort_unstable();
        table.lost_metadata.dedup();
        let mutations = context.source.mutations(job.source)?;
        if let Some(dir) = disks.first().and_then(|disk| dirs.get(disk)) {
            for (mutation, bytes) in mutations {
                dir.write_unsynced(&mutation, 0o640, &bytes)?;
                dir.give_file(&mutation, context.survey.owner)?;
            }
        }
    }
    let is_dumped = job.source.entry.dump.is_some();
    if let Some(dir) = job.entry.places.first().and_then(|(disk, _)| dirs.get(disk)).filter(|_| is_dumped) {
        let with_rows = context.request.options.what != RestoreContent::Schema;
        (table.files, table.bytes) = place_files(context, job.source, dir, &restorer.options, with_rows)?;
    }
    let (uid, gid) = context.survey.owner;
    for dir in dirs.values() {
        dir.set_ownership(Ownership { uid, gid, mode: DIRECTORY_MODE })?;
    }
    Ok(table)
}

/// Moves a table to its place, which must be empty.
pub(super) fn move_in(context: &RestoreContext<'_>, job: &TableJob<'_>, staging: &Staging) -> Result<(), TableFailure> {
    for (disk, path) in &job.entry.places {
        let (Some(local), Some(from)) = (context.survey.local.named(disk), staging.find(disk)) else {
            return Err(TableFailure::All(OpError::NoDisk { disk: disk.clone() }));
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let dir = ensure_parents(local, parent, context.survey.owner)?;
        if dir.find(name)?.is_some() {
            let whole = dir.path().join(name);
            return Err(TableFailure::this(format!("{} exists already and belongs to no table", whole.display())));
        }
        dir.rename_from(from, &job.stage_name, name)?;
    }
    Ok(())
}

fn ensure_parents(local: &LocalDisk, parent: &Path, (uid, gid): (u32, u32)) -> Result<Dir, TableFailure> {
    let mut dir = local.dir.clone();
    for component in parent.components() {
        let name = component.as_os_str();
        let is_new = dir.find(name)?.is_none();
        dir = dir.ensure_dir(name, DIRECTORY_MODE)?;
        if is_new {
            dir.set_ownership(Ownership { uid, gid, mode: DIRECTORY_MODE })?;
        }
    }
    Ok(dir)
}

/// Moves a table that the server has refused back, so that no table unknown to the server remains there.
pub(super) fn move_out(
    context: &RestoreContext<'_>,
    job: &TableJob<'_>,
    staging: &Staging,
) -> Result<(), TableFailure> {
    for (disk, path) in &job.entry.places {
        let (Some(local), Some(to)) = (context.survey.local.named(disk), staging.find(disk)) else { continue };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let Some(dir) = local.dir.find_beneath(parent)? else { continue };
        if dir.find(name)?.is_some() {
            to.rename_from(&dir, name, &job.stage_name)?;
        }
    }
    Ok(())
}
