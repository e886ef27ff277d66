//! What all stages of a restore read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};

use crate::exec::RestoreMode;
use crate::model::{PathMap, TableName};
use crate::ops::error::OpError;
use crate::plan::{AccessOptions, RestoreOptions, SourceItem};
use crate::server::Server;

use super::source::{Source, Wanted};
use super::survey::TargetSurvey;

/// A request to restore into a server.
#[derive(Clone, Debug)]
pub struct ToServer {
    /// What of the snapshot.
    pub wanted: Wanted,
    /// How.
    pub options: RestoreOptions,
    /// What is done with users, roles, quotas, policies and settings profiles.
    pub access: AccessOptions,
    /// Whether a table that was replaced stays, under another name.
    pub keep_replaced: bool,
    /// Whether tables stay as they were attached: they merge nothing, and nothing expires, until they are dropped.
    pub stays_held: bool,
    /// How files may come to the server.
    pub mode: RestoreMode,
    /// Bytes a second at most that are copied; no limit if not given.
    pub copy_rate: Option<u64>,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How the server's paths are to be read here.
    pub paths: PathMap,
    /// The time at which the plan is made.
    pub now: DateTime<Utc>,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

/// The request, the snapshot and the server, as they were read before anything was planned.
#[derive(Debug)]
pub(in crate::ops) struct Context<'a> {
    pub(in crate::ops) server: &'a Server,
    pub(in crate::ops) request: &'a ToServer,
    pub(in crate::ops) source: Source,
    pub(in crate::ops) survey: TargetSurvey,
    pub(in crate::ops) items: Vec<SourceItem>,
    /// Settings under which the server takes any definition that another one took.
    pub(super) settings: Vec<(String, String)>,
}

impl Context<'_> {
    /// Fails if the program was asked to stop.
    ///
    /// # Errors
    /// Then.
    pub(super) fn check_interrupted(&self) -> Result<(), OpError> {
        if self.request.interrupted.load(Ordering::Relaxed) { Err(OpError::Interrupted) } else { Ok(()) }
    }

    /// The item of a table in the snapshot.
    pub(super) fn item(&self, from: &TableName) -> Option<&SourceItem> {
        self.items.iter().find(|item| item.name == *from)
    }
}
