//! The request of a drill.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::exec::{self, RestoreMode};
use crate::model::PathMap;
use crate::plan::TablePattern;

/// The request of a drill.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DrillRequest {
    /// Tables to try; all if empty.
    pub tables: Vec<TablePattern>,
    /// The number of tables with parts to choose from them at random; `None` to try all.
    pub sample: Option<usize>,
    /// How files may be placed on the server.
    pub mode: RestoreMode,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How the server's paths map to paths on this host.
    pub paths: PathMap,
    /// How long to wait for the lock when the outcome is written into the journal.
    pub lock_wait: Duration,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

impl Default for DrillRequest {
    fn default() -> Self {
        Self::new()
    }
}

impl DrillRequest {
    /// All tables, with the defaults of `chsnap drill`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            tables: Vec::new(),
            sample: None,
            mode: RestoreMode::Auto,
            jobs: exec::local_jobs(),
            paths: PathMap::default(),
            lock_wait: Duration::ZERO,
            interrupted: Arc::default(),
        }
    }
}

crate::model::setters! { DrillRequest {
    with_tables => tables: Vec<TablePattern>,
    with_sample => sample: Option<usize>,
    with_mode => mode: RestoreMode,
    with_jobs => jobs: usize,
    with_paths => paths: PathMap,
    with_lock_wait => lock_wait: Duration,
    with_interrupted => interrupted: Arc<AtomicBool>,
} }
