//! Snapshots in object stores: sent, fetched, listed, checked, removed.

mod collect;
mod extract;
mod find;
mod index;
mod linkable;
mod list;
mod locks;
mod prune;
mod pull;
mod pulled_part;
mod push;
mod pushed;
mod secrets;
mod sender;
mod series;
mod snapshot;
mod verify;

pub use collect::{GcReport, RemovedRemote, collect, remove};
pub use find::{RemoteReference, RepositoryChoice};
pub use list::{RemoteListing, RemoteSnapshot, RemoteUsage, list, usage};
pub use locks::LockReport;
pub use prune::{
    JudgedRemote, LeavingRemote, PruneScope, RemotePrunePlan, RemotePruneRequest, carry_out_remote_prune,
    plan_remote_prune,
};
pub use pull::{PullReport, PullRequest, PullTarget, PulledAs, pull};
pub use push::{PARALLEL, PushReport, PushRequest, PushedSnapshot, push};
pub use pushed::{PushOutcome, Pushed};
pub use secrets::SecretScope;
pub use sender::SendScope;
pub use verify::{CheckReport, Depth, WrongObject, verify};

use crate::repo::RepoError;

/// Returns 32 random bits, for names that must only differ.
fn random() -> Result<u32, RepoError> {
    let mut bits = [0; 4];
    getrandom::fill(&mut bits).map_err(|error| RepoError::Random { reason: error.to_string() })?;
    Ok(u32::from_ne_bytes(bits))
}
