//! Parts that are the same as in the last snapshot, and are linked from there.
//!
//! Parts whose name the last snapshot does not have are new: their partitions are frozen without further comparison.
//! All others are compared with the last snapshot one by one while the server freezes, and linked at once if they are
//! the same. If one differs, its partition is frozen after all, and its links are removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::exec::{
    self, Comparison, CopiedPart, EarlierTableDir, Inspected, LeftOutFiles, ListedLivePart, LiveTable,
    PreservedMetadata, Relinked,
};
use crate::fs::{self, Dir, FsError};
use crate::model::{CatalogPart, LivePartState, PartName, Placement};
use crate::monitor::{Stage, StageWork};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{CreatePlan, Extension, TableFreeze, extend_freeze};
use crate::repo::{KnownLivePart, PartRecord, Repository};

use super::placement_context::PlacementContext;
use super::previous::{EarlierTable, Previous};
use super::request::{CompareMode, Request};
use super::snapshot_part::{SnapshotPart, take_all};
use super::table_dir::live_parts;
use crate::ops::copying::{Destination, Extra};

/// The linked parts of a table, and the partitions to freeze in addition because they proved to have changed.
#[derive(Default)]
pub(super) struct Linked {
    pub(super) parts: Vec<SnapshotPart>,
    /// The additional freeze; `None` if all parts were as expected.
    pub(super) extension: Option<Extension>,
}

/// Compares the parts that a plan links with the last snapshot, and extends the plan where they differ, as `create`
/// does while it links them.
///
/// # Errors
/// If something exists and cannot be read.
pub(super) fn compare_all(
    plan: &mut CreatePlan,
    previous: &Previous,
    local: &LocalDisks,
    (repository, by_directory): (&Repository, Option<DirectoryComparison>),
) -> Result<(), OpError> {
    for freeze in &mut plan.freeze {
        if freeze.linked_parts().next().is_none() {
            continue;
        }
        let live = local.live(&freeze.table)?;
        let earlier = previous.table(&freeze.table)?;
        let mut candidates = live_parts(freeze, &live);
        candidates.retain(|(part, _)| freeze.is_linked(part));
        let mut comparisons = BTreeMap::new();
        for table in &live {
            let links = fs::are_on_one_mount(&table.dir, repository.dir())?;
            let own = if links { Comparison::SameInodes } else { Comparison::SameContent(PreservedMetadata::NONE) };
            comparisons.insert(table.disk.as_str(), own);
        }
        let lasting = LastingDisks::of(&live, by_directory);
        let is_same = |(part, table): &(&CatalogPart, &Dir)| -> Result<Option<PartName>, OpError> {
            let Some(earlier) = &earlier else { return Ok(None) };
            let Some(record) = earlier.parts.get(&part.name) else { return Ok(None) };
            let held = EarlierTableDir { dir: &earlier.dir, since: earlier.time };
            let Some(comparison) = comparisons.get(part.disk.as_str()).copied() else { return Ok(None) };
            let by_directory = lasting.comparison(&part.disk);
            let Some(live) = list(table, &part.name, by_directory)? else { return Ok(None) };
            let is_same = match known(earlier, record, by_directory) {
                Some(known) if exec::is_known(&live, &earlier.dir, (record, &known.state))? => true,
                _ => exec::is_unchanged(&live, held, record, comparison)?,
            };
            Ok(is_same.then(|| part.name.clone()))
        };
        let same: BTreeSet<PartName> =
            candidates.par_iter().map(is_same).filter_map(Result::transpose).collect::<Result<_, OpError>>()?;
        // In a table that is never frozen, parts that have changed are linked from their live directories.
        let is_frozen = freeze.remote.is_none();
        if let Some(extension) = extend_freeze(freeze, |name| same.contains(name)).filter(|_| is_frozen) {
            freeze.freeze = extension.freeze;
        }
    }
    Ok(())
}

/// The outcome for one part.
struct Relink {
    inspected: Inspected,
    left_out: LeftOutFiles,
    /// The state of the live part, if its files were compared and it is to be known by its directories next time.
    live: Option<Box<LivePartState>>,
    /// The copy, if some of its files were copied because they have reached their link limit.
    copied: Option<CopiedPart>,
}

/// With this many links, a file may soon have as many as it may have.
const MANY_LINKS: u32 = 50_000;

/// How parts are known by their directories: see decisions/0043.
#[derive(Clone, Copy, Debug)]
pub(super) struct DirectoryComparison {
    /// When the run began. What changed after that, or shortly before, is not settled.
    pub(super) begun: DateTime<Utc>,
    /// How many snapshots the repository has: each may have added a link to a file since its links were counted.
    pub(super) snapshots: usize,
}

impl DirectoryComparison {
    /// How a request compares the parts of a run that began then; `None` if it compares the files of every part.
    pub(super) fn of(request: &Request, begun: DateTime<Utc>, snapshots: usize) -> Option<Self> {
        (request.compare == CompareMode::Directories).then_some(Self { begun, snapshots })
    }

    /// Whether the files of a part have so few links that another one needs no look at them.
    fn has_few_links(self, known: &LivePartState) -> bool {
        self.snapshots.saturating_add(known.links as usize) < MANY_LINKS as usize
    }
}

/// The disks on which the state of a directory says that its part is unchanged.
struct LastingDisks<'a> {
    disks: BTreeSet<&'a str>,
    by_directory: Option<DirectoryComparison>,
}

impl<'a> LastingDisks<'a> {
    fn of(live: &'a [LiveTable], by_directory: Option<DirectoryComparison>) -> Self {
        let lasting = live.iter().filter(|table| by_directory.is_some() && fs::has_lasting_inodes(&table.dir));
        Self { disks: lasting.map(|table| table.disk.as_str()).collect(), by_directory }
    }

    /// How parts on a disk are known by their directories; `None` if their files are to be compared.
    fn comparison(&self, disk: &str) -> Option<DirectoryComparison> {
        self.by_directory.filter(|_| self.disks.contains(disk))
    }
}

/// The state in which a live part would be unchanged without a look at its files.
fn known(
    earlier: &EarlierTable<'_>,
    record: &PartRecord,
    by_directory: Option<DirectoryComparison>,
) -> Option<KnownLivePart> {
    let (by, known) = by_directory.zip(earlier.known)?;
    known.live_part(record).filter(|known| by.has_few_links(&known.state))
}

fn list(
    table: &Dir,
    name: &PartName,
    by_directory: Option<DirectoryComparison>,
) -> Result<Option<ListedLivePart>, FsError> {
    if by_directory.is_some() {
        ListedLivePart::list_with_state(table, name)
    } else {
        ListedLivePart::list(table, name)
    }
}

/// Links parts from the last snapshot.
#[derive(Clone, Copy)]
pub(super) struct UnchangedParts<'a> {
    pub(super) context: PlacementContext<'a>,
    /// `None` if the files of every part are to be compared.
    pub(super) by_directory: Option<DirectoryComparison>,
}

impl UnchangedParts<'_> {
    /// Links the parts that are the same as in the last snapshot from there into `dir`.
    pub(super) fn link(
        &self,
        freeze: &TableFreeze,
        earlier: Option<&EarlierTable<'_>>,
        (live, dir): (&[LiveTable], &Dir),
    ) -> Result<Linked, OpError> {
        let mut candidates = live_parts(freeze, live);
        candidates.retain(|(part, _)| freeze.is_linked(part));
        let Some(earlier) = earlier else {
            // The plan was made with a snapshot that is gone by now, or lacks the table's directory.
            return Ok(Linked { parts: Vec::new(), extension: extend_freeze(freeze, |_| false) });
        };
        // Nearly all parts of the snapshot are linked from.
        if !candidates.is_empty() {
            earlier.dir.learn_entries()?;
        }
        let path = crate::repo::table_path(freeze.table.name());
        let to = Destination { table: dir, path: &path };
        let (count, begun) = (candidates.len(), AtomicUsize::new(0));
        let lasting = LastingDisks::of(live, self.by_directory);
        let link_part = |(part, table): (&CatalogPart, &Dir)| -> Result<Option<SnapshotPart>, OpError> {
            if begun.fetch_add(1, Ordering::Relaxed) == count / 2 {
                self.context.sync.begin(dir, count)?;
            }
            let Some(record) = earlier.parts.get(&part.name) else { return Ok(None) };
            let by_directory = lasting.comparison(&part.disk);
            let Some(relinked) = self.relink(earlier, (part, table, record), by_directory, to)? else {
                return Ok(None);
            };
            let Relink { mut inspected, left_out, live, copied } = relinked;
            if self.context.copying.records() {
                inspected.directory = record.directory;
            }
            let work = StageWork { parts: 1, files: inspected.files, bytes: inspected.bytes, ..StageWork::default() };
            self.context.stages.monitor().advanced(Stage::Check, work);
            let (disk, from) = (part.disk.clone(), Some(earlier.id));
            // Metadata that the inodes lack was recorded when they were created.
            let extra = Extra { unkept: record.unkept.clone(), ..copied.as_ref().map(Extra::of).unwrap_or_default() };
            let (name, is_unchanged) = (part.name.clone(), copied.is_none());
            let placement = copied.map_or(Placement::Linked, |copied| copied.placement());
            Ok(Some(SnapshotPart { name, disk, placement, from, is_unchanged, inspected, left_out, live, extra }))
        };
        let mut parts = take_all(candidates, link_part)?;
        // Concurrently with the next look at the server.
        self.context.sync.begin(dir, count)?;
        let same: BTreeSet<&PartName> = parts.iter().map(|part| &part.name).collect();
        let Some(extension) = extend_freeze(freeze, |name| same.contains(name)) else {
            return Ok(Linked { parts, extension: None });
        };
        let wider = TableFreeze { freeze: extension.freeze.clone(), ..freeze.clone() };
        let linked: BTreeSet<&PartName> = wider.linked_parts().map(|part| &part.name).collect();
        let (kept, torn): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| linked.contains(&part.name));
        parts = kept;
        torn.par_iter().try_for_each(|part| self.remove_links(to, &part.name))?;
        Ok(Linked { parts, extension: Some(extension) })
    }

    /// Removes the links of a part.
    fn remove_links(&self, from: Destination<'_>, name: &PartName) -> Result<(), OpError> {
        self.context.copying.links.forget(&from.path.join(name.as_str()));
        exec::remove_tree(from.table, name.as_str(), &|_| ())?;
        Ok(())
    }

    /// Links one part if it is the same as in the last snapshot.
    fn relink(
        &self,
        earlier: &EarlierTable<'_>,
        (part, live, record): (&CatalogPart, &Dir, &PartRecord),
        by_directory: Option<DirectoryComparison>,
        to: Destination<'_>,
    ) -> Result<Option<Relink>, OpError> {
        let name = &part.name;
        let Some(listed) = list(live, name, by_directory)? else { return Ok(None) };
        if let Some(known) = &known(earlier, record, by_directory)
            && let Some(Relinked::Linked { inspected, left_out, .. }) =
                exec::relink_known(&listed, &earlier.dir, (record, known), to.table)?
        {
            return Ok(Some(Relink { inspected: *inspected, left_out, live: None, copied: None }));
        }
        let held = EarlierTableDir { dir: &earlier.dir, since: earlier.time };
        let comparison = if self.context.copying.copies(&part.disk) {
            Comparison::SameContent(self.context.copying.keeping)
        } else {
            Comparison::SameInodes
        };
        match exec::relink(&listed, held, record, comparison, to.table)? {
            Relinked::Changed => Ok(None),
            Relinked::Linked { inspected, left_out, links } => {
                let begun = by_directory.filter(|_| earlier.known.is_some()).map(|by| by.begun.timestamp());
                let state = begun.map_or(Ok(None), |_| listed.lasting_state())?;
                let settled = state.filter(|state| begun.is_some_and(|begun| state.is_settled_at(begun)));
                let live = settled.map(|state| Box::new(LivePartState { links, ..state }));
                Ok(Some(Relink { inspected: *inspected, left_out, live, copied: None }))
            }
            Relinked::Full => {
                let Some(copied) =
                    self.context.copying.link_or_copy(&earlier.dir.open_dir(name.as_str())?, name, to)?
                else {
                    self.remove_links(to, name)?;
                    return Ok(None);
                };
                let (made, entries) = to.table.open_and_list(name.as_str())?;
                let left_out = if exec::has_left_out(&entries) { LeftOutFiles::Taken } else { LeftOutFiles::None };
                let inspected = exec::recall_part(&made, entries, record, comparison)?;
                Ok(Some(Relink { inspected, left_out, live: None, copied: Some(copied) }))
            }
        }
    }
}
