//! The frozen parts of a table: moved from its shadow into the snapshot, and checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use compact_str::CompactString;
use rayon::prelude::*;

use crate::exec::{self, LiveTable, PlaceMode, PlacedPart, SavedPart, SavedParts};
use crate::fs::{Dir, EntryKind, FsError};
use crate::model::{FreezeName, PartName};
use crate::monitor::{Stage, StageWork};
use crate::ops::error::OpError;
use crate::plan::{ListedSources, TableFreeze, listed_sources};

use super::attempt::{SnapshotTableDir, TableAttempt};
use super::placement_context::PlacementContext;
use super::snapshot_part::{SnapshotPart, take_all};

/// Moves frozen tables into the snapshot.
#[derive(Clone, Copy)]
pub(super) struct Shadow<'a> {
    pub(super) context: PlacementContext<'a>,
    pub(super) mode: PlaceMode,
}

impl Shadow<'_> {
    /// Moves everything that the server froze of a table into `dir`, which may then be another directory. Each part
    /// comes with its disk.
    pub(super) fn place_all(
        &self,
        attempt: &TableAttempt,
        mut dir: Dir,
        name: &FreezeName,
    ) -> Result<(Dir, Vec<(PlacedPart, CompactString)>), OpError> {
        let _inside = self.context.stages.enter(Stage::Place);
        let mut placed = Vec::new();
        for path in &attempt.freeze.table.data_paths {
            let Some((local, relative)) = self.context.local.locate(path) else { continue };
            if self.context.copying.copies(&local.disk.name) {
                continue;
            }
            let shadow = PathBuf::from("shadow").join(name.as_str()).join(relative);
            let parts = self.context.pool.install(|| self.place(&local.dir, &shadow, &attempt.target, &mut dir))?;
            placed.extend(parts.into_iter().map(|part| (part, CompactString::from(local.disk.name.as_str()))));
        }
        let work = StageWork { tables: 1, parts: placed.len() as u64, ..StageWork::default() };
        self.context.stages.monitor().advanced(Stage::Place, work);
        Ok((dir, placed))
    }

    /// Decides where the listed parts of a frozen table come from, and removes other parts that were frozen. `present`
    /// are the parts already in the snapshot.
    pub(super) fn keep_listed(
        &self,
        freeze: &TableFreeze,
        name: &FreezeName,
        present: &BTreeSet<&PartName>,
    ) -> Result<ListedSources, OpError> {
        let mut shadows = Vec::new();
        for path in &freeze.table.data_paths {
            let Some((local, relative)) = self.context.local.locate(path) else { continue };
            let shadow = PathBuf::from("shadow").join(name.as_str()).join(relative);
            let Some(dir) = local.dir.find_beneath(&shadow)? else { continue };
            let entries = dir.entries_with_kind()?;
            let directories = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
            let parts = directories.map(|entry| exec::part_name(&dir, entry)).collect::<Result<Vec<_>, _>>()?;
            shadows.push((dir, parts));
        }
        let frozen = shadows.iter().flat_map(|(_, parts)| parts.iter()).collect();
        let sources = listed_sources(freeze, present, &frozen);
        for (dir, parts) in &shadows {
            let surplus = parts.iter().filter(|part| sources.surplus.contains(part));
            let surplus: Vec<&PartName> = surplus.collect();
            let remove = |part: &&PartName| exec::remove_tree(dir, part.as_str(), &|_| ()).map(drop);
            self.context.pool.install(|| surplus.par_iter().try_for_each(remove))?;
        }
        Ok(sources)
    }

    /// Adds the files that the freeze left out of the parts, and checks the parts. The saved files of each are dropped
    /// once it is checked: for hundreds of thousands of parts they take as much memory as the facts kept afterwards.
    pub(super) fn check(
        &self,
        live: &[LiveTable],
        dir: &Dir,
        frozen: Vec<FrozenPart>,
    ) -> Result<Vec<SnapshotPart>, FsError> {
        let _inside = self.context.stages.enter(Stage::Check);
        // The disk writes out what FREEZE left unwritten while the cores check.
        self.context.sync.begin(dir, frozen.len())?;
        let check_part = |part: FrozenPart| -> Result<Option<SnapshotPart>, FsError> {
            let FrozenPart { placed: PlacedPart { name, placement }, disk, saved } = part;
            let (part_dir, mut entries) = dir.open_and_list(name.as_str())?;
            let left_out = exec::link_left_out_files(live, &part_dir, &mut entries, &name, saved.as_ref())?;
            let inspected = exec::inspect_frozen(&part_dir, entries, saved)?;
            let work = StageWork { parts: 1, files: inspected.files, bytes: inspected.bytes, ..StageWork::default() };
            self.context.stages.monitor().advanced(Stage::Check, work);
            Ok(Some(SnapshotPart::of_now(name, disk, placement, (inspected, left_out))))
        };
        take_all(frozen, check_part)
    }

    /// Places the frozen parts of a table on one disk, whose shadow of it is at the path `shadow`.
    fn place(
        &self,
        disk: &Dir,
        shadow: &Path,
        target: &SnapshotTableDir,
        dir: &mut Dir,
    ) -> Result<Vec<PlacedPart>, OpError> {
        let (Some(parent), Some(shadow_name)) = (shadow.parent(), shadow.file_name()) else { return Ok(Vec::new()) };
        let Some(parent) = disk.find_beneath(parent)? else { return Ok(Vec::new()) };
        if parent.find(shadow_name)?.is_none() {
            return Ok(Vec::new());
        }
        if self.mode != PlaceMode::Link {
            let database = target.data.open_dir(&target.names.database)?;
            if let Some((moved, parts)) = exec::place_table(&parent, shadow_name, &database, &target.names.table)? {
                *dir = moved;
                return Ok(parts);
            }
        }
        Ok(exec::place_parts(&parent.open_dir(shadow_name)?, dir, self.mode)?)
    }
}

/// A part that was frozen and placed, and is still to be checked.
pub(super) struct FrozenPart {
    placed: PlacedPart,
    disk: CompactString,
    saved: Option<SavedPart>,
}

pub(super) fn with_saved_files(placed: Vec<(PlacedPart, CompactString)>, mut saved: SavedParts) -> Vec<FrozenPart> {
    let frozen = |(placed, disk): (PlacedPart, _)| FrozenPart { saved: saved.remove(&placed.name), placed, disk };
    placed.into_iter().map(frozen).collect()
}
