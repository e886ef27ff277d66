//! What a drill is asked for.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::exec::RestoreMode;
use crate::model::PathMap;
use crate::plan::TablePattern;

/// What a drill is asked for.
#[derive(Clone, Debug)]
pub struct DrillRequest {
    /// Tables to try; all where empty.
    pub tables: Vec<TablePattern>,
    /// The number of tables with parts to choose at random from them; everything is tried where there is none.
    pub sample: Option<usize>,
    /// How files may come to the server.
    pub mode: RestoreMode,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How the server's paths are to be read here.
    pub paths: PathMap,
    /// How long to wait for the lock when the outcome is written into the journal.
    pub lock_wait: Duration,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}
