//! What the server froze of a table: moved from its shadow into the snapshot, and checked.

use std::path::{Path, PathBuf};

use compact_str::CompactString;
use rayon::ThreadPool;

use crate::exec::{self, LiveTable, PlaceMode, PlacedPart, SavedPart, SavedParts};
use crate::fs::{Dir, FsError};
use crate::model::FreezeName;
use crate::monitor::{Stage, Work};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::ops::stages::Stages;

use super::attempt::{Attempt, Target};
use super::copying::{Copying, Extra};
use super::early::EarlySync;
use super::taken::{TakenPart, take_all};

/// Moves frozen tables into the snapshot.
#[derive(Clone, Copy)]
pub(super) struct Shadow<'a> {
    pub(super) stages: &'a Stages<'a>,
    pub(super) pool: &'a ThreadPool,
    pub(super) local: &'a LocalDisks,
    pub(super) copying: &'a Copying<'a>,
    pub(super) early: &'a EarlySync,
    pub(super) mode: PlaceMode,
}

impl Shadow<'_> {
    /// Moves what the server froze of a table into `dir`, which may be another directory then; each part with its disk.
    pub(super) fn place_all(
        &self,
        attempt: &Attempt,
        mut dir: Dir,
        name: &FreezeName,
    ) -> Result<(Dir, Vec<(PlacedPart, CompactString)>), OpError> {
        let _inside = self.stages.enter(Stage::Place);
        let mut placed = Vec::new();
        for path in &attempt.freeze.table.data_paths {
            let Some((local, relative)) = self.local.locate(path) else { continue };
            if self.copying.copies(&local.disk.name) {
                continue;
            }
            let shadow = PathBuf::from("shadow").join(name.as_str()).join(relative);
            let parts = self.pool.install(|| self.place(&local.dir, &shadow, &attempt.target, &mut dir))?;
            placed.extend(parts.into_iter().map(|part| (part, CompactString::from(local.disk.name.as_str()))));
        }
        let work = Work { tables: 1, parts: placed.len() as u64, ..Work::default() };
        self.stages.monitor().advanced(Stage::Place, work);
        Ok((dir, placed))
    }

    /// Gives parts what their freeze left out, and checks them. What was saved of each goes as soon as it is checked: of
    /// hundreds of thousands it takes as much memory as what is known of them afterwards.
    pub(super) fn check(
        &self,
        live: &[LiveTable],
        dir: &Dir,
        frozen: Vec<FrozenPart>,
    ) -> Result<Vec<TakenPart>, FsError> {
        let _inside = self.stages.enter(Stage::Check);
        // The disk writes what FREEZE has left unwritten while the cores check.
        self.early.begin(dir, frozen.len())?;
        let check_part = |part: FrozenPart| -> Result<Option<TakenPart>, FsError> {
            let FrozenPart { placed: PlacedPart { name, placement }, disk, saved } = part;
            let (part_dir, mut entries) = dir.open_and_list(name.as_str())?;
            let left_out = exec::take_left_out(live, &part_dir, &mut entries, &name, saved.as_ref())?;
            let inspected = exec::inspect_frozen(&part_dir, entries, saved)?;
            let work = Work { parts: 1, files: inspected.files, bytes: inspected.bytes, ..Work::default() };
            self.stages.monitor().advanced(Stage::Check, work);
            let extra = Extra::default();
            Ok(Some(TakenPart { name, disk, placement, from: None, is_unchanged: false, inspected, left_out, extra }))
        };
        take_all(frozen, check_part)
    }

    /// Places what was frozen of a table on one disk, whose shadow of it is at the path `shadow`.
    fn place(&self, disk: &Dir, shadow: &Path, target: &Target, dir: &mut Dir) -> Result<Vec<PlacedPart>, OpError> {
        let (Some(parent), Some(shadow_name)) = (shadow.parent(), shadow.file_name()) else { return Ok(Vec::new()) };
        let Some(parent) = disk.find_beneath(parent)? else { return Ok(Vec::new()) };
        if parent.find(shadow_name)?.is_none() {
            return Ok(Vec::new());
        }
        if self.mode != PlaceMode::Link {
            let database = target.data.open_dir(&target.database)?;
            if let Some((moved, parts)) = exec::place_table(&parent, shadow_name, &database, &target.table)? {
                *dir = moved;
                return Ok(parts);
            }
        }
        Ok(exec::place_parts(&parent.open_dir(shadow_name)?, dir, self.mode)?)
    }
}

/// A part that was frozen and placed, and is to be checked.
pub(super) struct FrozenPart {
    placed: PlacedPart,
    disk: CompactString,
    saved: Option<SavedPart>,
}

pub(super) fn beside_saved(placed: Vec<(PlacedPart, CompactString)>, mut saved: SavedParts) -> Vec<FrozenPart> {
    let frozen = |(placed, disk): (PlacedPart, _)| FrozenPart { saved: saved.remove(&placed.name), placed, disk };
    placed.into_iter().map(frozen).collect()
}
