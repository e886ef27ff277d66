//! What the workers of a run share.

use rayon::ThreadPool;

use crate::ops::disks::LocalDisks;
use crate::ops::stages::Stages;
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
