//! Parts that are as in the last snapshot, and linked from there.

use std::collections::{BTreeSet, HashMap};

use rayon::prelude::*;

use crate::exec::{self, CopiedPart, HeldTable, LeftOut, LiveTable};
use crate::fs::{Dir, ErrorKind, FsError};
use crate::model::{Part, PartName, Placement};
use crate::monitor::{Stage, Work};
use crate::ops::error::OpError;
use crate::plan::{Narrowed, TableFreeze, narrow};

use super::copying::{Destination, Extra};
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
        let Some(mut earlier) = previous.table(&freeze.table)? else { return Ok((whole(), None)) };
        let mut candidates = live_parts(freeze, live);
        candidates.retain(|(name, _)| earlier.parts.contains_key(name));
        let disks: HashMap<&PartName, &str> = freeze.parts().map(|part| (&part.name, part.disk.as_str())).collect();
        let is_copied = |name: &PartName| disks.get(name).is_some_and(|disk| self.copying.copies(disk));
        let (copied, here): (Vec<_>, Vec<_>) = candidates.into_iter().partition(|(name, _)| is_copied(name));
        let held = HeldTable { dir: &earlier.dir, records: earlier.parts, since: previous.time };
        let (mut unchanged, equal) = self.pool.install(|| -> Result<_, FsError> {
            let equal = exec::equal_parts(&copied, held, self.copying.keeping)?;
            Ok((exec::unchanged_parts(&here, &earlier.dir)?, equal))
        })?;
        unchanged.extend(equal.keys().cloned());
        earlier.inodes = equal;
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
        let path = super::table::path_in_snapshot(freeze.table.name());
        let link = |name: &PartName| -> Result<Option<TakenPart>, OpError> {
            let (Some(record), Some(part)) = (earlier.parts.get(name), parts.get(name)) else { return Ok(None) };
            let copied = self.link_from(&earlier.dir, Destination { table: dir, path: &path }, name)?;
            let (linked, entries) = dir.open_and_list(name.as_str())?;
            let left_out = if exec::has_left_out(&entries) { LeftOut::Taken } else { LeftOut::None };
            let mut inspected = match earlier.inodes.get(name) {
                Some(held) => exec::recall_linked(&linked, entries, record, held)?,
                None => exec::recall_part(&linked, entries, record)?,
            };
            if self.copying.records() {
                inspected.directory.ownership = record.directory;
            }
            let work = Work { parts: 1, files: inspected.files, bytes: inspected.bytes, ..Work::default() };
            self.stages.monitor().advanced(Stage::Seal, work);
            let (disk, from) = (part.disk.clone(), Some(previous.id));
            // What the inodes do not hold was written down when they were made.
            let extra = Extra { unkept: record.unkept.clone(), ..copied.as_ref().map(Extra::of).unwrap_or_default() };
            let (name, is_unchanged) = (name.clone(), copied.is_none());
            let placement = copied.map_or(Placement::Linked, |copied| copied.placement());
            Ok(Some(TakenPart { name, disk, placement, from, is_unchanged, inspected, left_out, extra }))
        };
        narrowed.link.par_iter().filter_map(|name| link(name).transpose()).collect()
    }

    /// Links a part from an earlier snapshot. Where one of its files has as many links as it may have, what came of
    /// copying such files is the answer.
    fn link_from(&self, earlier: &Dir, to: Destination<'_>, name: &PartName) -> Result<Option<CopiedPart>, OpError> {
        match exec::link_earlier_part(earlier, to.table, name) {
            Err(exec::ExecError::Fs(error)) if error.kind() == ErrorKind::TooManyLinks => {
                exec::remove_tree(to.table, name.as_str(), &|_| ())?;
                Ok(Some(self.copying.link_or_copy(&earlier.open_dir(name.as_str())?, name, to)?))
            }
            result => Ok(result.map(|()| None)?),
        }
    }
}
