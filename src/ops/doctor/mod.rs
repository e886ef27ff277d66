//! What would go wrong tonight.
//!
//! Each check looks at one thing and says what it found: nothing that a check finds ends the others. The probes make a
//! directory in the trash, under a name that the next `gc` removes, and a shadow of our own name, and take both away.

mod disks;
mod host;
mod network;
mod repository;
mod server;
mod ttl;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::model::{PathMap, size};
use crate::repo::Repository;
use crate::server::{Server, ServerError};

use super::error::OpError;

/// How good a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// A snapshot can be made; something should be looked at.
    Warning,
    /// The next snapshot fails, or lacks something.
    Fail,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: one or two lower-case words.
    pub name: &'static str,
    /// How good it is.
    pub state: State,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// What is examined, and how.
#[derive(Clone, Debug)]
pub struct Examination {
    /// How the server's paths are to be read here.
    pub paths: PathMap,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
}

/// Findings, in the order in which they were made.
#[derive(Debug, Default)]
struct Findings(Vec<Check>);

impl Findings {
    fn ok(&mut self, name: &'static str, message: impl Into<String>) {
        self.0.push(Check { name, state: State::Ok, message: message.into(), remedy: None });
    }

    fn add(&mut self, name: &'static str, state: State, message: impl Into<String>, remedy: impl Into<String>) {
        self.0.push(Check { name, state, message: message.into(), remedy: Some(remedy.into()) });
    }

    fn warn(&mut self, name: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(name, State::Warning, message, remedy);
    }

    fn fail(&mut self, name: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(name, State::Fail, message, remedy);
    }
}

/// Looks at everything that a `create` needs. `connect` is asked for the server.
#[must_use]
pub fn doctor(
    repository: &Repository,
    connect: impl FnOnce() -> Result<Server, OpError>,
    examination: &Examination,
    now: DateTime<Utc>,
) -> Vec<Check> {
    let mut findings = Findings::default();
    host::examine(repository, now, &mut findings);
    let locked = repository::examine(repository, examination.lock_wait, now, &mut findings);
    if let Some(server) = server::examine(connect, &mut findings) {
        disks::examine(repository, locked, &server, examination, now, &mut findings);
        ttl::examine(repository, &server, &mut findings);
    }
    findings.0
}

/// What to do where a server cannot be asked for its lists.
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
