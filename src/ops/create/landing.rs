//! A table on its way into a snapshot: where its parts come from, and where it comes to stand.

use std::path::Path;

use crate::exec::LiveTable;
use crate::fs::Dir;
use crate::model::{Part, Table};
use crate::plan::TableFreeze;

/// A table, and where it comes to stand.
#[derive(Clone, Copy)]
pub(super) struct Landing<'a> {
    pub(super) table: &'a Table,
    /// Its directory in the snapshot.
    pub(super) dir: &'a Dir,
    /// The path of that, relative to the snapshot.
    pub(super) path: &'a Path,
}

/// The parts to be taken, patch parts left out, each with its table's live directory on its disk.
pub(super) fn live_parts<'a>(freeze: &'a TableFreeze, live: &'a [LiveTable]) -> Vec<(&'a Part, &'a Dir)> {
    let dir_of = |part: &Part| live.iter().find(|table| table.disk == part.disk).map(|table| &table.dir);
    freeze.parts().filter(|part| !part.name.is_patch()).filter_map(|part| Some((part, dir_of(part)?))).collect()
}
