//! Parts that are as in the last snapshot, and linked from there.
//!
//! Parts of which the last snapshot has none of that name are new: their partitions are frozen without a further look.
//! All others are held against it one by one, while the server freezes, and linked at once where they are the same. Where
//! one is not, its partition is frozen after all, and what was linked of it taken away.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::exec::{self, CopiedPart, HeldTable, Inspected, LeftOut, Likeness, LiveTable, Relinked};
use crate::fs::{Dir, FsError};
use crate::model::{Part, PartName, Placement};
use crate::monitor::{Stage, Work};
use crate::ops::error::OpError;
use crate::plan::{Narrowed, Scope, TableFreeze, narrow, widen};
use crate::repo::PartRecord;

use super::copying::{Destination, Extra};
use super::previous::{EarlierTable, Previous};
use super::table::{Taker, live_parts};
use super::taken::{TakenPart, take_all};

/// What was linked of a table, and what must be frozen besides because it proved to have changed.
#[derive(Default)]
pub(super) struct Linked {
    pub(super) parts: Vec<TakenPart>,
    /// Nothing where all was as it seemed.
    pub(super) ask: Option<Scope>,
}

/// What came of one part.
struct Relink {
    inspected: Inspected,
    left_out: LeftOut,
    /// Where some of its files were copied, because they have as many links as they may have.
    copied: Option<CopiedPart>,
}

impl Taker<'_> {
    /// What must be frozen of a table by the names of its parts, and the table in the last snapshot that the rest may be
    /// linked from.
    pub(super) fn decide(
        &self,
        freeze: &TableFreeze,
        live: &[LiveTable],
    ) -> Result<(Narrowed, Option<EarlierTable<'_>>), FsError> {
        let whole = || Narrowed { ask: freeze.scope.clone(), link: BTreeSet::new() };
        let Some(previous) = self.previous else { return Ok((whole(), None)) };
        let Some(earlier) = previous.table(&freeze.table)? else { return Ok((whole(), None)) };
        let names = live_parts(freeze, live).into_iter().map(|(part, _)| &part.name);
        let known = names.filter(|name| earlier.parts.get(name).is_some()).cloned().collect();
        Ok((narrow(freeze, &known), Some(earlier)))
    }

    /// Links the parts that are as in the last snapshot from there into `dir`.
    pub(super) fn link_unchanged(
        &self,
        freeze: &TableFreeze,
        narrowed: &mut Narrowed,
        earlier: Option<&EarlierTable<'_>>,
        (live, dir): (&[LiveTable], &Dir),
    ) -> Result<Linked, OpError> {
        let (Some(earlier), Some(previous)) = (earlier, self.previous) else { return Ok(Linked::default()) };
        let mut candidates = live_parts(freeze, live);
        candidates.retain(|(part, _)| narrowed.link.contains(&part.name));
        let path = super::table::path_in_snapshot(freeze.table.name());
        let to = Destination { table: dir, path: &path };
        let (count, begun) = (candidates.len(), AtomicUsize::new(0));
        let link = |(part, table): (&Part, &Dir)| -> Result<Option<TakenPart>, OpError> {
            if begun.fetch_add(1, Ordering::Relaxed) == count / 2 {
                self.early.begin(dir, count)?;
            }
            let Some(record) = earlier.parts.get(&part.name) else { return Ok(None) };
            let Some(relinked) = self.relink(previous, earlier, (part, table, record), to)? else { return Ok(None) };
            let Relink { mut inspected, left_out, copied } = relinked;
            if self.copying.records() {
                inspected.directory = record.directory;
            }
            let work = Work { parts: 1, files: inspected.files, bytes: inspected.bytes, ..Work::default() };
            self.stages.monitor().advanced(Stage::Seal, work);
            let (disk, from) = (part.disk.clone(), Some(previous.id));
            // What the inodes do not hold was written down when they were made.
            let extra = Extra { unkept: record.unkept.clone(), ..copied.as_ref().map(Extra::of).unwrap_or_default() };
            let (name, is_unchanged) = (part.name.clone(), copied.is_none());
            let placement = copied.map_or(Placement::Linked, |copied| copied.placement());
            Ok(Some(TakenPart { name, disk, placement, from, is_unchanged, inspected, left_out, extra }))
        };
        let mut parts = take_all(candidates, link)?;
        // Beside the next look at the server.
        self.early.begin(dir, count)?;
        let same: BTreeSet<&PartName> = parts.iter().map(|part| &part.name).collect();
        let Some((wider, ask)) = widen(freeze, narrowed, |name| same.contains(name)) else {
            return Ok(Linked { parts, ask: None });
        };
        let (kept, torn): (Vec<_>, Vec<_>) = parts.into_iter().partition(|part| wider.link.contains(&part.name));
        parts = kept;
        torn.par_iter().try_for_each(|part| self.take_away(to, &part.name))?;
        *narrowed = wider;
        Ok(Linked { parts, ask: Some(ask) })
    }

    /// Takes away what was linked of a part.
    fn take_away(&self, from: Destination<'_>, name: &PartName) -> Result<(), OpError> {
        self.copying.links.forget(&from.path.join(name.as_str()));
        exec::remove_tree(from.table, name.as_str(), &|_| ())?;
        Ok(())
    }

    /// Links one part, if it is as in the last snapshot.
    fn relink(
        &self,
        previous: &Previous,
        earlier: &EarlierTable<'_>,
        (part, live, record): (&Part, &Dir, &PartRecord),
        to: Destination<'_>,
    ) -> Result<Option<Relink>, OpError> {
        let name = &part.name;
        let held = HeldTable { dir: &earlier.dir, since: previous.time };
        let likeness = if self.copying.copies(&part.disk) {
            Likeness::SameContent(self.copying.keeping)
        } else {
            Likeness::SameInodes
        };
        match exec::relink(live, held, record, likeness, to.table)? {
            Relinked::Changed => Ok(None),
            Relinked::Linked(inspected, left_out) => Ok(Some(Relink { inspected: *inspected, left_out, copied: None })),
            Relinked::Full => {
                let Some(copied) = self.copying.link_or_copy(&earlier.dir.open_dir(name.as_str())?, name, to)? else {
                    self.take_away(to, name)?;
                    return Ok(None);
                };
                let (made, entries) = to.table.open_and_list(name.as_str())?;
                let left_out = if exec::has_left_out(&entries) { LeftOut::Taken } else { LeftOut::None };
                let inspected = exec::recall_part(&made, entries, record, likeness)?;
                Ok(Some(Relink { inspected, left_out, copied: Some(copied) }))
            }
        }
    }
}
