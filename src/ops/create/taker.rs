//! What the workers of a run share.

use std::path::Path;

use rayon::ThreadPool;

use crate::exec::LiveTable;
use crate::fs::Dir;
use crate::model::{Part, Table};
use crate::ops::disks::LocalDisks;
use crate::ops::stages::Stages;
use crate::plan::TableFreeze;
use crate::server::Server;

use super::bring::{FrozenParts, LiveParts};
use super::copying::Copying;
use super::early::EarlySync;
use super::freezer::Freezer;
use super::previous::Previous;
use super::request::Request;
use super::shadow::Shadow;
use super::unchanged::UnchangedParts;

/// Everything that taking a table needs.
pub(super) struct Taker<'a> {
    pub(super) server: &'a Server,
    pub(super) stages: &'a Stages<'a>,
    pub(super) pool: &'a ThreadPool,
    pub(super) local: &'a LocalDisks,
    pub(super) request: &'a Request,
    /// The server's threads for one freeze, where it can be told.
    pub(super) freeze_threads: Option<u16>,
    /// The last snapshot.
    pub(super) previous: Option<&'a Previous>,
    /// How parts of other filesystems come into the snapshot.
    pub(super) copying: &'a Copying<'a>,
    /// The server's version.
    pub(super) version: &'a str,
    /// Syncs before the seal.
    pub(super) early: &'a EarlySync,
}

impl<'a> Taker<'a> {
    pub(super) fn live_parts(&self) -> LiveParts<'a> {
        LiveParts { copying: self.copying }
    }

    pub(super) fn frozen_parts(&self) -> FrozenParts<'a> {
        let Self { stages, pool, local, copying, early, .. } = *self;
        FrozenParts { stages, pool, local, copying, early }
    }

    pub(super) fn unchanged_parts(&self) -> UnchangedParts<'a> {
        let Self { stages, copying, early, .. } = *self;
        UnchangedParts { stages, copying, early }
    }

    pub(super) fn freezer(&self) -> Freezer<'a> {
        let Self { server, stages, pool, freeze_threads: threads, request, .. } = *self;
        Freezer { server, stages, pool, threads, patience: request.patience }
    }

    pub(super) fn shadow(&self) -> Shadow<'a> {
        let Self { stages, pool, local, copying, early, request, .. } = *self;
        Shadow { stages, pool, local, copying, early, mode: request.place }
    }
}

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
