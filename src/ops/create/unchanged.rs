//! Parts that are as in the last snapshot, and linked from there.

use std::collections::{BTreeSet, HashMap};

use rayon::prelude::*;

use crate::exec::{self, LeftOut, LiveTable};
use crate::fs::{Dir, FsError};
use crate::model::{Part, PartName, Placement};
use crate::monitor::{Stage, Work};
use crate::ops::error::OpError;
use crate::plan::{Narrowed, TableFreeze, narrow};

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
        let unchanged = self.pool.install(|| exec::unchanged_parts(&candidates, &earlier.dir))?;
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
            let inspected = exec::recall_part(&linked, entries, record)?;
            let work = Work { parts: 1, files: inspected.files, bytes: inspected.bytes, ..Work::default() };
            self.stages.monitor().advanced(Stage::Seal, work);
            let (disk, placement, from) = (part.disk.clone(), Placement::Linked, Some(previous.id));
            Ok(Some(TakenPart { name: name.clone(), disk, placement, from, inspected, left_out }))
        };
        narrowed.link.par_iter().filter_map(|name| link(name).transpose()).collect()
    }
}
