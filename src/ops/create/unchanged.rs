//! Parts that are as in the last snapshot, and linked from there.

use std::collections::{BTreeSet, HashMap};

use rayon::prelude::*;

use crate::exec::{self, HeldTable, LeftOut, LiveTable};
use crate::fs::{Dir, FsError};
use crate::model::{Part, PartName, Placement};
use crate::monitor::{Stage, Work};
use crate::ops::error::OpError;
use crate::plan::{Narrowed, TableFreeze, narrow};

use super::copying::Extra;
use super::previous::EarlierTable;
use super::table::{TakenPart, Taker, live_parts};

impl Taker<'_> {
    /// What must be frozen of a table, and the table in the last snapshot that the rest is linked from.
    pub(super) fn decide(
        &self,
        freeze: &TableFreeze,
        live: &[LiveTable],
    ) -> Result<(Narrowed, Option<EarlierTable<'_>>), FsError> {
        let whole = || Narrowed { ask: freeze.scope.clone(), link: BTreeSet::new() };
        let Some(previous) = self.previous else { return Ok((whole(), None)) };
        let Some(earlier) = previous.table(&freeze.table)? else { return Ok((whole(), None)) };
        let mut candidates = live_parts(freeze, live);
        candidates.retain(|(name, _)| earlier.parts.contains_key(name));
        let disks: HashMap<&PartName, &str> = freeze.parts().map(|part| (&part.name, part.disk.as_str())).collect();
        let is_copied = |name: &PartName| disks.get(name).is_some_and(|disk| self.copying.copies(disk));
        let (copied, here): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|(name, _)| is_copied(name));
        let held = HeldTable { dir: &earlier.dir, records: earlier.parts, since: previous.time };
        let unchanged = self.pool.install(|| -> Result<_, FsError> {
            let mut unchanged = exec::unchanged_parts(&here, &earlier.dir)?;
            unchanged.extend(exec::equal_parts(&copied, held, self.copying.keeping)?);
            Ok(unchanged)
        })?;
        Ok((narrow(freeze, &unchanged), Some(earlier)))
    }

    /// Links the parts that are as in the last snapshot from there.
    pub(super) fn link_unchanged(
        &self,
        freeze: &TableFreeze,
        narrowed: &Narrowed,
        earlier: Option<&EarlierTable<'_>>,
        dir: &Dir,
    ) -> Result<Vec<TakenPart>, OpError> {
        let (Some(earlier), Some(previous)) = (earlier, self.previous) else { return Ok(Vec::new()) };
        let parts: HashMap<&PartName, &Part> = freeze.parts().map(|part| (&part.name, part)).collect();
        let link = |name: &PartName| -> Result<Option<TakenPart>, OpError> {
            let (Some(record), Some(part)) = (earlier.parts.get(name), parts.get(name)) else { return Ok(None) };
            exec::link_earlier_part(&earlier.dir, dir, name)?;
            let (linked, entries) = dir.open_and_list(name.as_str())?;
            let left_out = if exec::has_left_out(&entries) { LeftOut::Taken } else { LeftOut::None };
            let mut inspected = exec::recall_part(&linked, entries, record)?;
            if self.copying.records() {
                inspected.directory.ownership = record.directory;
            }
            let work = Work { parts: 1, files: inspected.files, bytes: inspected.bytes, ..Work::default() };
            self.stages.monitor().advanced(Stage::Seal, work);
            let (disk, placement, from) = (part.disk.clone(), Placement::Linked, Some(previous.id));
            // What the inodes do not hold was written down when they were made.
            let extra = Extra { unkept: record.unkept.clone(), ..Extra::default() };
            Ok(Some(TakenPart { name: name.clone(), disk, placement, from, inspected, left_out, extra }))
        };
        narrowed.link.par_iter().filter_map(|name| link(name).transpose()).collect()
    }
}
