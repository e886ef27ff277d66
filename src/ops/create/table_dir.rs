//! A table being placed in a snapshot: where its parts come from, and where they go.

use std::path::Path;

use crate::exec::LiveTable;
use crate::fs::Dir;
use crate::model::{CatalogPart, Table};
use crate::plan::TableFreeze;

/// A table, and its place in the snapshot.
#[derive(Clone, Copy)]
pub(super) struct TableDir<'a> {
    pub(super) table: &'a Table,
    /// Its directory in the snapshot.
    pub(super) dir: &'a Dir,
    /// The path of that directory, relative to the snapshot.
    pub(super) path: &'a Path,
}

/// The parts to take, without patch parts, each with its table's live directory on its disk.
pub(super) fn live_parts<'a>(freeze: &'a TableFreeze, live: &'a [LiveTable]) -> Vec<(&'a CatalogPart, &'a Dir)> {
    let dir_of = |part: &CatalogPart| live.iter().find(|table| table.disk == part.disk).map(|table| &table.dir);
    freeze.parts().filter(|part| !part.name.is_patch()).filter_map(|part| Some((part, dir_of(part)?))).collect()
}
