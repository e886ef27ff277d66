//! Errors of a remote repository.

use super::address::InvalidAddress;

/// Why a request failed, in the detail that callers and users distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// There is no such object, bucket or directory.
    NotFound,
    /// The credentials are missing, wrong, expired, or insufficient.
    Denied,
    /// The service refuses because the clock of this host differs from its own.
    ClockSkewed,
    /// The service still refuses because of too many requests, after all retries.
    Throttled,
    /// The server's certificate is not trusted.
    Untrusted,
    /// The service cannot do it, or the address or its options are wrong.
    Unsupported,
    /// The service takes the request for wrong. Another attempt would be refused as well.
    Invalid,
    /// Anything else: no answer, a cut connection, an error of the service.
    Other,
}

/// A request to an object store that failed, after its retries.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {name} in {address}")]
pub struct StoreError {
    /// The verb of the attempted request.
    pub verb: &'static str,
    /// The object.
    pub name: String,
    /// The store, without any secret.
    pub address: String,
    /// The kind of cause.
    pub kind: StoreErrorKind,
    /// The message of the service or the network.
    #[source]
    pub cause: StoreCause,
}

/// The message of a service or the network, without the query of a URL, which may contain a signature.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreCause(pub String);

/// A remote repository that cannot be used, or contains something invalid.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The address is invalid.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// A request failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This program was built without support for object stores.
    #[error("this chsnap was built without object stores")]
    NotBuilt,
    /// There is no remote repository.
    #[error("{address} is no remote repository: it has no chsnap-remote.json")]
    NotARepository {
        /// The store.
        address: String,
    },
    /// A local repository is there.
    #[error("{address} is a chsnap repository, and takes no pushed snapshots")]
    LocalRepository {
        /// The store.
        address: String,
    },
    /// A newer chsnap has written it.
    #[error("{name} in {address} has format {format}, and this chsnap knows formats up to {known}")]
    NewerFormat {
        /// The object.
        name: String,
        /// The store.
        address: String,
        /// Its format.
        format: u32,
        /// The newest format known here.
        known: u32,
    },
    /// An object is missing, or its bytes do not match its name.
    #[error("{name} in {address} is damaged: {reason}")]
    Damaged {
        /// The object.
        name: String,
        /// The store.
        address: String,
        /// The problem.
        reason: String,
    },
    /// Another snapshot with this name exists.
    #[error("{address} has another snapshot {name}")]
    OtherContent {
        /// The snapshot.
        name: String,
        /// The store.
        address: String,
    },
    /// The snapshot is there with its secrets, and was to be sent without them.
    #[error("{address} has the snapshot {name} with its secrets")]
    HasSecrets {
        /// The snapshot.
        name: String,
        /// The store.
        address: String,
    },
    /// The store has snapshots of several repositories.
    #[error("{address} has snapshots of {} repositories: {}", .repositories.len(), .repositories.join(", "))]
    SeveralRepositories {
        /// The store.
        address: String,
        /// The first digits of each.
        repositories: Vec<String>,
    },
    /// The store has no snapshot of this repository.
    #[error("{address} has no snapshot of the repository {repository}")]
    NoSuchRepository {
        /// The store.
        address: String,
        /// The requested repository.
        repository: String,
    },
    /// The store acknowledged objects that it then did not have, again and again.
    #[error("{address} takes {name} and does not keep it; nothing was committed")]
    NotKept {
        /// One of the objects.
        name: String,
        /// The store.
        address: String,
    },
    /// Keys were condemned again and again while a push used them.
    #[error("a garbage collection in {address} condemns what this push sends; nothing was committed")]
    Condemned {
        /// The store.
        address: String,
    },
}

/// The text without anything that follows a question mark within a word.
#[cfg(feature = "remote")]
pub(super) fn without_queries(text: &str) -> String {
    let words = text.split(' ').map(|word| word.split_once('?').map_or(word, |(head, _)| head));
    words.collect::<Vec<_>>().join(" ")
}
