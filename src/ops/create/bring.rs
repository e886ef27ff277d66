//! What does not come by one rename: patch parts out of the live directories, and frozen parts of other filesystems.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::exec::{self, LeftOut, LiveTable, SavedParts};
use crate::fs::{Dir, ErrorKind, FsError, Kind};
use crate::model::{FreezeName, PartName, Placement};
use crate::monitor::{Stage, Work};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::ops::stages::Stages;

use super::attempt::Attempt;
use super::copying::{Brought, Copying, Destination, Extra, Original};
use super::early::EarlySync;
use super::landing::Landing;
use super::taken::TakenPart;

/// Links or copies parts of live directories into a snapshot.
#[derive(Clone, Copy)]
pub(super) struct LiveParts<'a> {
    pub(super) copying: &'a Copying<'a>,
}

impl LiveParts<'_> {
    /// Links or copies parts of the live directories that are not in the snapshot yet, which no freeze takes: patch parts, and
    /// those of a table that the server does not list.
    pub(super) fn take<'b>(
        self,
        names: impl Iterator<Item = &'b PartName>,
        live: &[LiveTable],
        landing: Landing<'_>,
    ) -> Result<Vec<TakenPart>, OpError> {
        let mut taken = Vec::new();
        for name in names {
            if landing.dir.find(name.as_str())?.is_some() {
                continue;
            }
            for table in live {
                let linked = if self.copying.copies(&table.disk) {
                    None
                } else {
                    Some(link_live_part(table, landing.dir, name))
                };
                let part = match linked {
                    None => self.copy_live_part(table, landing, name)?,
                    // The table's directory is a link to another filesystem than its disk's.
                    Some(Err(error)) if is_cross_device(&error) => {
                        self.copying.links.forget(&landing.path.join(name.as_str()));
                        exec::remove_tree(landing.dir, name.as_str(), &|_| ())?;
                        self.copy_live_part(table, landing, name)?
                    }
                    Some(linked) => linked?,
                };
                if let Some(part) = part {
                    taken.push(part);
                    break;
                }
            }
        }
        Ok(taken)
    }

    /// Copies a live part into the snapshot. `None` where it has gone meanwhile; then nothing of it stays.
    fn copy_live_part(
        self,
        live: &LiveTable,
        landing: Landing<'_>,
        name: &PartName,
    ) -> Result<Option<TakenPart>, OpError> {
        let result = (|| {
            let Some((dir, mut entries)) = live.dir.find_and_list(name.as_str())? else { return Ok(None) };
            entries.retain(exec::belongs_in_a_copy);
            let original = Original { table: landing.table, name, dir: &dir, entries };
            let to = Destination { table: landing.dir, path: landing.path };
            self.copying.bring_by(Some(self.copying.copier_of(&live.disk)), original, to)
        })();
        match result {
            Ok(brought) => Ok(brought.map(|brought| taken(name.clone(), &live.disk, LeftOut::Taken, brought))),
            Err(OpError::Fs(error) | OpError::Exec(exec::ExecError::Fs(error)))
                if error.kind() == ErrorKind::NotFound =>
            {
                self.copying.links.forget(&landing.path.join(name.as_str()));
                exec::remove_tree(landing.dir, name.as_str(), &|_| ())?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Brings frozen parts into a snapshot one by one.
#[derive(Clone, Copy)]
pub(super) struct FrozenParts<'a> {
    pub(super) stages: &'a Stages<'a>,
    pub(super) pool: &'a ThreadPool,
    pub(super) local: &'a LocalDisks,
    pub(super) copying: &'a Copying<'a>,
    pub(super) early: &'a EarlySync,
}

impl FrozenParts<'_> {
    /// Brings what the server froze of a table on the chosen disks into the snapshot, part by part. What is not to be had
    /// in an earlier snapshot stays in the shadow where the disk is not one that is copied.
    pub(super) fn bring(
        &self,
        attempt: &Attempt,
        dir: &Dir,
        name: &FreezeName,
        (live, saved): (&[LiveTable], &SavedParts),
        is_chosen: impl Fn(&str) -> bool,
    ) -> Result<Vec<TakenPart>, OpError> {
        let _inside = self.stages.enter(Stage::Place);
        let table = &attempt.freeze.table;
        let path = attempt.target.path();
        let mut brought = Vec::new();
        for data_path in &table.data_paths {
            let Some((local, relative)) = self.local.locate(data_path) else { continue };
            let disk = local.disk.name.as_str();
            if !self.copying.joins(disk) || !is_chosen(disk) {
                continue;
            }
            let shadow = PathBuf::from("shadow").join(name.as_str()).join(relative);
            let Some(shadow) = local.dir.find_beneath(&shadow)? else { continue };
            let landing = Landing { table, dir, path: &path };
            brought.extend(self.pool.install(|| self.bring_shadow(disk, &shadow, landing, (live, saved)))?);
        }
        self.early.begin(dir, brought.len())?;
        Ok(brought)
    }

    fn bring_shadow(
        &self,
        disk: &str,
        shadow: &Dir,
        landing: Landing<'_>,
        (live, saved): (&[LiveTable], &SavedParts),
    ) -> Result<Vec<TakenPart>, OpError> {
        let entries = shadow.entries_with_kind()?;
        let names = entries.iter().filter(|entry| entry.kind == Kind::Directory);
        let names: Vec<PartName> =
            names.map(|entry| exec::part_name(shadow, entry)).collect::<Result<_, exec::ExecError>>()?;
        // Of all parts before the first is copied: a live part can be merged away at any time. The shadow is ours, and on
        // the live part's own filesystem.
        names.par_iter().try_for_each(|name| exec::link_left_out(live, shadow, name, saved.get(name)))?;
        let bring_part = |name: PartName| -> Result<Option<TakenPart>, OpError> {
            let (part, mut entries) = shadow.open_and_list(name.as_str())?;
            let left_out = exec::take_left_out(live, &part, &mut entries, &name, saved.get(&name))?;
            let original = Original { table: landing.table, name: &name, dir: &part, entries };
            let to = Destination { table: landing.dir, path: landing.path };
            let Some(brought) = self.copying.bring(disk, original, to)? else { return Ok(None) };
            if !self.copying.copies(disk) {
                exec::remove_tree(shadow, name.as_str(), &|_| ())?;
            }
            let (files, bytes) = (brought.inspected.files, brought.inspected.bytes);
            self.stages.monitor().advanced(Stage::Place, Work { parts: 1, ..Work::default() });
            self.stages.monitor().advanced(Stage::Check, Work { parts: 1, files, bytes, ..Work::default() });
            Ok(Some(taken(name, disk, left_out, brought)))
        };
        names.into_par_iter().filter_map(|name| bring_part(name).transpose()).collect()
    }
}

fn is_cross_device(error: &OpError) -> bool {
    let (OpError::Fs(cause) | OpError::Exec(exec::ExecError::Fs(cause))) = error else { return false };
    cause.kind() == ErrorKind::CrossDevice
}

fn taken(name: PartName, disk: &str, left_out: LeftOut, brought: Brought) -> TakenPart {
    let Brought { placement, from, inspected, extra } = brought;
    let disk = disk.into();
    TakenPart { name, disk, placement, from, is_unchanged: false, inspected, left_out, extra }
}

fn link_live_part(live: &LiveTable, table: &Dir, name: &PartName) -> Result<Option<TakenPart>, OpError> {
    let Some(dir) = exec::link_live_part(live, table, name)? else { return Ok(None) };
    let inspected = exec::inspect_part(&dir)?;
    let (name, disk, left_out) = (name.clone(), live.disk.as_str().into(), LeftOut::Taken);
    let placement = Placement::Linked;
    let extra = Extra::default();
    Ok(Some(TakenPart { name, disk, placement, from: None, is_unchanged: false, inspected, left_out, extra }))
}

/// The patch parts that lie in the live directories, active or not.
pub(super) fn patches_in(live: &[LiveTable]) -> Result<BTreeSet<PartName>, FsError> {
    let mut patches = BTreeSet::new();
    for table in live {
        let entries = table.dir.entries_if_there()?;
        let names = entries.iter().filter_map(|entry| PartName::try_from(entry.name.to_str()?.to_owned()).ok());
        patches.extend(names.filter(PartName::is_patch));
    }
    Ok(patches)
}
