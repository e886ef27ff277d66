//! State that all stages of a restore read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};

use crate::exec::{self, RestoreMode};
use crate::model::{PathMap, TableName};
use crate::ops::error::OpError;
use crate::plan::{AccessOptions, RestoreOptions, SourceItem};
use crate::server::Server;

use super::source::{SnapshotSource, WantedTables};
use super::survey::TargetSurvey;

/// A request to restore into a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToServer {
    /// The wanted tables and partitions of the snapshot.
    pub wanted: WantedTables,
    /// Options of the plan.
    pub options: RestoreOptions,
    /// How to treat users, roles, quotas, policies and settings profiles.
    pub access: AccessOptions,
    /// Whether tables stay held after they are attached: nothing in them merges or expires until they are dropped.
    pub stays_held: bool,
    /// How files may be placed on the server.
    pub mode: RestoreMode,
    /// The maximum number of bytes copied per second; `None` for no limit.
    pub copy_rate: Option<u64>,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How the server's paths map to paths on this host.
    pub paths: PathMap,
    /// The time at which the plan is made.
    pub now: DateTime<Utc>,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

impl ToServer {
    /// The request for all that the server lacks, with the defaults of `chsnap restore`.
    #[must_use]
    pub fn new(now: DateTime<Utc>) -> Self {
        Self {
            wanted: WantedTables::default(),
            options: RestoreOptions::default(),
            access: AccessOptions::Names,
            stays_held: false,
            mode: RestoreMode::Auto,
            copy_rate: None,
            jobs: exec::local_jobs(),
            paths: PathMap::default(),
            now,
            interrupted: Arc::default(),
        }
    }
}

crate::model::setters! { ToServer {
    with_wanted => wanted: WantedTables,
    with_options => options: RestoreOptions,
    with_access => access: AccessOptions,
    with_stays_held => stays_held: bool,
    with_mode => mode: RestoreMode,
    with_copy_rate => copy_rate: Option<u64>,
    with_jobs => jobs: usize,
    with_paths => paths: PathMap,
    with_interrupted => interrupted: Arc<AtomicBool>,
} }

/// The request, the snapshot and the server, as they were read before anything was planned.
#[derive(Debug)]
pub(in crate::ops) struct RestoreContext<'a> {
    pub(in crate::ops) server: &'a Server,
    pub(in crate::ops) request: &'a ToServer,
    pub(in crate::ops) source: SnapshotSource,
    pub(in crate::ops) survey: TargetSurvey,
    pub(in crate::ops) items: Vec<SourceItem>,
    /// Settings under which the server accepts any definition that another server accepted.
    pub(super) settings: Vec<(String, String)>,
}

impl RestoreContext<'_> {
    /// Fails if the program was asked to stop.
    ///
    /// # Errors
    /// If the program was asked to stop.
    pub(super) fn check_interrupted(&self) -> Result<(), OpError> {
        if self.request.interrupted.load(Ordering::Relaxed) { Err(OpError::Interrupted) } else { Ok(()) }
    }

    /// The item of a table in the snapshot.
    pub(super) fn item(&self, from: &TableName) -> Option<&SourceItem> {
        self.items.iter().find(|item| item.name == *from)
    }
}
