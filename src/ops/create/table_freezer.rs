//! State that the workers of a run share.

use crate::server::Server;

use super::copy_or_link::{FrozenParts, LiveParts};
use super::freezer::Freezer;
use super::moment::ListedTables;
use super::placement_context::PlacementContext;
use super::previous::Previous;
use super::request::Request;
use super::shadow::Shadow;
use super::unchanged::{DirectoryComparison, UnchangedParts};

/// Freezes tables and puts their parts into the snapshot.
pub(super) struct TableFreezer<'a> {
    pub(super) server: &'a Server,
    pub(super) request: &'a Request,
    pub(super) context: PlacementContext<'a>,
    /// Sends freezes.
    pub(super) freezer: Freezer<'a>,
    /// The last snapshot.
    pub(super) previous: Option<&'a Previous>,
    /// How parts are known by their directories; `None` if the files of every part are to be compared.
    pub(super) by_directory: Option<DirectoryComparison>,
    /// The tables at their moment, if they share one.
    pub(super) listed: Option<&'a ListedTables>,
    /// The server's version.
    pub(super) version: &'a str,
}

impl<'a> TableFreezer<'a> {
    pub(super) fn live_parts(&self) -> LiveParts<'a> {
        LiveParts { copying: self.context.copying }
    }

    pub(super) fn frozen_parts(&self) -> FrozenParts<'a> {
        FrozenParts { context: self.context }
    }

    pub(super) fn unchanged_parts(&self) -> UnchangedParts<'a> {
        UnchangedParts { context: self.context, by_directory: self.by_directory }
    }

    pub(super) fn shadow(&self) -> Shadow<'a> {
        Shadow { context: self.context, mode: self.request.place }
    }
}
