//! Parts that one rename cannot place: patch parts from the live directories, and frozen parts of other filesystems.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rayon::prelude::*;

use crate::exec::{self, LeftOutFiles, LiveTable, SavedParts};
use crate::fs::{Dir, Entry, EntryKind, ErrorKind, FsError};
use crate::model::{FreezeName, PartName, Placement};
use crate::monitor::{Stage, StageWork};
use crate::ops::copying::{CopiedOrLinked, Copying, Destination, OriginalPart, TableKeyRef};
use crate::ops::error::OpError;

use super::attempt::TableAttempt;
use super::placement_context::PlacementContext;
use super::snapshot_part::SnapshotPart;
use super::table_dir::TableDir;

/// Links or copies parts of live directories into a snapshot.
#[derive(Clone, Copy)]
pub(super) struct LiveParts<'a> {
    pub(super) copying: &'a Copying<'a>,
}

impl LiveParts<'_> {
    /// Links or copies parts of the live directories that no freeze takes and that are not in the snapshot yet: patch
    /// parts, and parts of a table that the server does not list.
    pub(super) fn take<'b>(
        self,
        names: impl Iterator<Item = &'b PartName>,
        live: &[LiveTable],
        table_dir: TableDir<'_>,
    ) -> Result<Vec<SnapshotPart>, OpError> {
        let mut taken = Vec::new();
        for name in names {
            if table_dir.dir.find(name.as_str())?.is_some() {
                continue;
            }
            for table in live {
                let linked = if self.copying.copies(&table.disk) {
                    None
                } else {
                    Some(link_live_part(table, table_dir.dir, name))
                };
                let part = match linked {
                    None => self.copy_live_part(table, table_dir, name)?,
                    // The table's directory is a link to another filesystem than its disk's.
                    Some(Err(error)) if is_cross_device(&error) => {
                        self.copying.links.forget(&table_dir.path.join(name.as_str()));
                        exec::remove_tree(table_dir.dir, name.as_str(), &|_| ())?;
                        self.copy_live_part(table, table_dir, name)?
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

    /// Copies a live part into the snapshot. Returns `None`, and leaves nothing behind, if the part has gone meanwhile.
    fn copy_live_part(
        self,
        live: &LiveTable,
        table_dir: TableDir<'_>,
        name: &PartName,
    ) -> Result<Option<SnapshotPart>, OpError> {
        let result = (|| {
            let Some((dir, mut entries)) = live.dir.find_and_list(name.as_str())? else { return Ok(None) };
            entries.retain(exec::belongs_in_a_copy);
            let left_out = left_out_of(&entries);
            let original = OriginalPart { table: TableKeyRef::of(table_dir.table), name, dir: &dir, entries };
            let to = Destination { table: table_dir.dir, path: table_dir.path };
            let placed = self.copying.place_with(Some(self.copying.copier_of(&live.disk)), original, to)?;
            let is_whole = exec::is_still_there(live, &dir, name)?;
            Ok(placed.filter(|_| is_whole).map(|placed| taken(name.clone(), &live.disk, left_out, placed)))
        })();
        match result {
            Ok(Some(part)) => return Ok(Some(part)),
            Ok(None) => {}
            Err(OpError::Fs(error) | OpError::Exec(exec::ExecError::Fs(error)))
                if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.copying.links.forget(&table_dir.path.join(name.as_str()));
        exec::remove_tree(table_dir.dir, name.as_str(), &|_| ())?;
        Ok(None)
    }
}

/// Places frozen parts in a snapshot one by one.
#[derive(Clone, Copy)]
pub(super) struct FrozenParts<'a> {
    pub(super) context: PlacementContext<'a>,
}

impl FrozenParts<'_> {
    /// Places what the server froze of a table on the chosen disks in the snapshot, part by part. On a disk that is not
    /// copied, parts that no earlier snapshot has stay in the shadow.
    pub(super) fn copy_or_link(
        &self,
        attempt: &TableAttempt,
        dir: &Dir,
        name: &FreezeName,
        (live, saved): (&[LiveTable], &SavedParts),
        is_chosen: impl Fn(&str) -> bool,
    ) -> Result<Vec<SnapshotPart>, OpError> {
        let _inside = self.context.stages.enter(Stage::Place);
        let table = &attempt.freeze.table;
        let path = attempt.target.path();
        let mut placed = Vec::new();
        for data_path in &table.data_paths {
            let Some((local, relative)) = self.context.local.locate(data_path) else { continue };
            let disk = local.disk.name.as_str();
            if !self.context.copying.joins(disk) || !is_chosen(disk) {
                continue;
            }
            let shadow = PathBuf::from("shadow").join(name.as_str()).join(relative);
            let Some(shadow) = local.dir.find_beneath(&shadow)? else { continue };
            let table_dir = TableDir { table, dir, path: &path };
            placed.extend(
                self.context.pool.install(|| self.copy_or_link_shadow(disk, &shadow, table_dir, (live, saved)))?,
            );
        }
        self.context.sync.begin(dir, placed.len())?;
        Ok(placed)
    }

    fn copy_or_link_shadow(
        &self,
        disk: &str,
        shadow: &Dir,
        table_dir: TableDir<'_>,
        (live, saved): (&[LiveTable], &SavedParts),
    ) -> Result<Vec<SnapshotPart>, OpError> {
        let entries = shadow.entries_with_kind()?;
        let names = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        let names: Vec<PartName> =
            names.map(|entry| exec::part_name(shadow, entry)).collect::<Result<_, exec::ExecError>>()?;
        // For all parts before the first is copied: a live part can be merged away at any time. The shadow is ours, and
        // on the live part's own filesystem.
        names.par_iter().try_for_each(|name| exec::link_left_out(live, shadow, name, saved.get(name)))?;
        let bring_part = |name: PartName| -> Result<Option<SnapshotPart>, OpError> {
            let (part, mut entries) = shadow.open_and_list(name.as_str())?;
            let left_out = exec::link_left_out_files(live, &part, &mut entries, &name, saved.get(&name))?;
            let original = OriginalPart { table: TableKeyRef::of(table_dir.table), name: &name, dir: &part, entries };
            let to = Destination { table: table_dir.dir, path: table_dir.path };
            let Some(placed) = self.context.copying.copy_or_link(disk, original, to)? else { return Ok(None) };
            if !self.context.copying.copies(disk) {
                exec::remove_tree(shadow, name.as_str(), &|_| ())?;
            }
            let (files, bytes) = (placed.inspected.files, placed.inspected.bytes);
            self.context.stages.monitor().advanced(Stage::Place, StageWork { parts: 1, ..StageWork::default() });
            self.context
                .stages
                .monitor()
                .advanced(Stage::Check, StageWork { parts: 1, files, bytes, ..StageWork::default() });
            Ok(Some(taken(name, disk, left_out, placed)))
        };
        names.into_par_iter().filter_map(|name| bring_part(name).transpose()).collect()
    }
}

fn is_cross_device(error: &OpError) -> bool {
    let (OpError::Fs(cause) | OpError::Exec(exec::ExecError::Fs(cause))) = error else { return false };
    cause.kind() == ErrorKind::CrossDevice
}

/// The files of a live part with these entries that a freeze leaves out.
fn left_out_of(entries: &[Entry]) -> LeftOutFiles {
    if exec::has_left_out(entries) { LeftOutFiles::Taken } else { LeftOutFiles::None }
}

fn taken(name: PartName, disk: &str, left_out: LeftOutFiles, placed: CopiedOrLinked) -> SnapshotPart {
    let CopiedOrLinked { placement, from, inspected, extra } = placed;
    SnapshotPart { from, extra, ..SnapshotPart::of_now(name, disk.into(), placement, (inspected, left_out)) }
}

fn link_live_part(live: &LiveTable, table: &Dir, name: &PartName) -> Result<Option<SnapshotPart>, OpError> {
    let Some(dir) = exec::link_live_part(live, table, name)? else { return Ok(None) };
    let entries = dir.entries_with_kind()?;
    let left_out = left_out_of(&entries);
    let inspected = exec::inspect_listed(&dir, entries)?;
    let disk = live.disk.as_str().into();
    Ok(Some(SnapshotPart::of_now(name.clone(), disk, Placement::Linked, (inspected, left_out))))
}

/// The patch parts in the live directories, active or not.
pub(super) fn patches_in(live: &[LiveTable]) -> Result<BTreeSet<PartName>, FsError> {
    let mut patches = BTreeSet::new();
    for table in live {
        let entries = table.dir.entries_if_there()?;
        let names = entries.iter().filter_map(|entry| PartName::try_from(entry.name.to_str()?.to_owned()).ok());
        patches.extend(names.filter(PartName::is_patch));
    }
    Ok(patches)
}
