//! The context that is shared by the code that puts parts into a snapshot.

use rayon::ThreadPool;

use crate::ops::copying::Copying;
use crate::ops::disks::LocalDisks;
use crate::ops::stages::Stages;

use super::background_sync::BackgroundSync;

/// The context that is shared by the code that puts parts into a snapshot.
#[derive(Clone, Copy)]
pub(super) struct PlacementContext<'a> {
    pub(super) stages: &'a Stages<'a>,
    pub(super) pool: &'a ThreadPool,
    pub(super) local: &'a LocalDisks,
    /// Places parts of other filesystems in the snapshot.
    pub(super) copying: &'a Copying<'a>,
    /// Syncs before the seal.
    pub(super) sync: &'a BackgroundSync,
}
