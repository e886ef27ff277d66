//! Errors of a repository.

use std::path::PathBuf;

use crate::fs::FsError;
use crate::model::SnapshotId;

use super::holder::LockHolder;

fn taken_by(taker: Option<&LockHolder>) -> String {
    taker.map(|holder| format!(" by {holder}")).unwrap_or_default()
}

fn known_series(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(": there are {}", known.join("; ")) }
}

/// An operation on a repository that failed; the repository is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum RepoError {
    /// There is no repository there.
    #[error("there is no repository at {}", .path.display())]
    NotARepository {
        /// The directory named.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{} is a repository already", .path.display())]
    AlreadyARepository {
        /// The directory named.
        path: PathBuf,
    },
    /// The directory holds something else.
    #[error("cannot make a repository in {}: it holds {entry:?} and more that is not chsnap's", .path.display())]
    NotEmpty {
        /// The directory named.
        path: PathBuf,
        /// One of its entries.
        entry: String,
    },
    /// A newer chsnap has written it.
    #[error("{} has format {format}, and this chsnap writes format {known}", .path.display())]
    NewerFormat {
        /// The file with the format number.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The newest format known here.
        known: u32,
    },
    /// A file of the repository cannot be parsed.
    #[error("cannot read {}: {reason}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        reason: String,
    },
    /// No snapshot belongs to a series of this name.
    #[error("no snapshot is of the series {text:?}{}", known_series(.known))]
    NoSeries {
        /// The name that was given.
        text: String,
        /// The existing series.
        known: Vec<String>,
    },
    /// Another process is writing.
    #[error("the repository {} is locked by {holder}", .path.display())]
    Locked {
        /// The repository.
        path: PathBuf,
        /// The holder of the lock.
        holder: Box<LockHolder>,
    },
    /// This process was taken for dead, and another one has the lock.
    #[error("the lock of {} was taken over{}", .path.display(), taken_by(.taker.as_deref()))]
    LockLost {
        /// The repository.
        path: PathBuf,
        /// The process that has it now.
        taker: Option<Box<LockHolder>>,
    },
    /// The snapshot is not there.
    #[error("there is no snapshot {id} in {place}")]
    NoSnapshot {
        /// The snapshot.
        id: SnapshotId,
        /// Where the snapshot was looked for.
        place: &'static str,
    },
    /// The snapshot is there already.
    #[error("there is a snapshot {id} already")]
    SnapshotExists {
        /// The snapshot.
        id: SnapshotId,
    },
    /// A system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// No random number could be obtained.
    #[error("the system gives no random numbers: {reason}")]
    Random {
        /// The system's reason.
        reason: String,
    },
}
