//! Finds problems before tonight's run: what `create` and the other steps of a night would refuse or warn of.
//!
//! Each check examines one thing and reports what it found; no finding ends the other checks. The probes create a
//! directory in the trash, under a name that the next `gc` removes, and a shadow with a name of our own, and remove
//! both.

mod create;
mod disks;
mod host;
mod lifetime;
mod network;
mod night;
mod replicas;
mod repository;
mod server;
mod ttl;

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::exec;
use crate::model::{PathMap, size};
use crate::repo::Repository;
use crate::server::{Server, ServerError};

use super::create::{MAX_REPLICA_DELAY, Request};
use super::error::OpError;
use super::prune::PruneRequest;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// All is well.
    Ok,
    /// A snapshot can be made; a person should look at something.
    Warning,
    /// The next snapshot fails, or will be incomplete.
    Fail,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct DoctorCheck {
    /// The subject of the check: one or two lower-case words.
    pub name: &'static str,
    /// Its severity.
    pub state: CheckState,
    /// The finding.
    pub message: String,
    /// The remedy.
    pub remedy: Option<String>,
}

/// The request of a `doctor`: what to examine, and how.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Examination {
    /// How the server's paths map to paths on this host.
    pub paths: PathMap,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
    /// How far a replicated table may be behind its peers.
    pub max_delay: Duration,
    /// The request of the snapshot that would be made.
    pub create: Request,
    /// The other steps of a night.
    pub night: Tonight,
    /// The host to which the password would go in the clear, if it would.
    pub clear_text_host: Option<String>,
}

/// The steps of a night other than its snapshot.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tonight {
    /// The retention policy, if one is configured.
    pub prune: Option<PruneRequest>,
    /// The command that applies the prune plan once if a guard refuses it.
    pub prune_remedy: String,
    /// The run makes room first if less than this is free.
    pub min_free_bytes: u64,
    /// Programs of hooks that are given by a path.
    pub programs: Vec<PathBuf>,
    /// Keys of ping addresses that accept no connection, each with the reason.
    pub unreachable_pings: Vec<(String, String)>,
    /// The file that metrics are written to, if there is one.
    pub metrics_file: Option<PathBuf>,
    /// Other repositories, to which missing snapshots are copied.
    pub copy_to: Vec<PathBuf>,
    /// Threads that plan those copies.
    pub jobs: usize,
}

impl Examination {
    /// An examination of everything that this `create` needs, with the defaults of `chsnap doctor`.
    #[must_use]
    pub fn new(create: Request) -> Self {
        Self {
            paths: PathMap::default(),
            jobs: exec::cores(),
            lock_wait: Duration::ZERO,
            max_delay: MAX_REPLICA_DELAY,
            create,
            night: Tonight::default(),
            clear_text_host: None,
        }
    }
}

crate::model::setters! { Examination {
    with_paths => paths: PathMap,
    with_jobs => jobs: usize,
    with_lock_wait => lock_wait: Duration,
    with_max_delay => max_delay: Duration,
    with_night => night: Tonight,
    with_clear_text_host => clear_text_host: Option<String>,
} }

crate::model::setters! { Tonight {
    with_prune => prune: Option<PruneRequest>,
    with_prune_remedy => prune_remedy: String,
    with_min_free_bytes => min_free_bytes: u64,
    with_programs => programs: Vec<PathBuf>,
    with_unreachable_pings => unreachable_pings: Vec<(String, String)>,
    with_metrics_file => metrics_file: Option<PathBuf>,
    with_copy_to => copy_to: Vec<PathBuf>,
    with_jobs => jobs: usize,
} }

/// Findings, in the order in which they were made.
#[derive(Debug, Default)]
struct Findings(Vec<DoctorCheck>);

impl Findings {
    fn ok(&mut self, name: &'static str, message: impl Into<String>) {
        self.0.push(DoctorCheck { name, state: CheckState::Ok, message: message.into(), remedy: None });
    }

    fn add(&mut self, name: &'static str, state: CheckState, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(DoctorCheck { name, state, message: message.into(), remedy: Some(remedy.into()) });
    }

    fn warn(&mut self, name: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(name, CheckState::Warning, message, remedy);
    }

    fn fail(&mut self, name: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(name, CheckState::Fail, message, remedy);
    }
}

/// Examines everything that a `create` needs. `connect` opens the connection to the server.
#[must_use]
pub fn doctor(
    repository: &Repository,
    connect: impl FnOnce() -> Result<Server, OpError>,
    examination: &Examination,
    now: DateTime<Utc>,
) -> Vec<DoctorCheck> {
    let mut findings = Findings::default();
    host::examine(repository, now, &mut findings);
    let locked = repository::examine(repository, examination.lock_wait, now, &mut findings);
    if let Some(host) = &examination.clear_text_host {
        server::password_in_the_clear(host, &mut findings);
    }
    if let Some(server) = server::examine(connect, &mut findings) {
        disks::examine(repository, locked, &server, examination, now, &mut findings);
        replicas::examine(&server, examination.max_delay, &mut findings);
        lifetime::examine(repository, &server, &mut findings);
        ttl::examine(repository, &server, &mut findings);
    }
    night::examine(repository, &examination.night, now, &mut findings);
    findings.0
}

/// The remedy if a server refuses its lists.
fn lists_remedy(error: &ServerError) -> &'static str {
    match error {
        ServerError::Cut { .. } => "give this user a settings profile without these, or name another one with --user",
        ServerError::Short { .. } => {
            "a setting of the user's profile, or a proxy in between, cuts the server's answers"
        }
        ServerError::Hidden { .. } => "take this user out of these policies, or name another one with --user",
        _ => "the user needs SELECT ON system.*",
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    crate::monitor::chain(error)
}
