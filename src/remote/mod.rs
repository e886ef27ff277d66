//! Remote repositories: their addresses, their objects, and the content of their manifests (`docs/format-remote.md`).
//!
//! Only `opendal.rs`, which is built with the cargo feature `remote`, knows how to talk to a service.

mod address;
mod environment;
mod error;
mod manifest;
mod names;
mod open;
#[cfg(feature = "remote")]
mod opendal;
mod pack;
mod repository;
#[cfg(feature = "remote")]
mod s3_locks;
mod store;

pub use address::{InvalidAddress, RemoteAddress, Service};
pub use environment::StoreEnvironment;
pub use error::{RemoteError, StoreError, StoreErrorKind};
pub use manifest::{
    Bundle, LargeFile, ObjectRef, Pack, REMOTE_FORMAT, RemoteDirectory, RemoteFile, RemoteHead, RemoteManifest,
    RemotePart, mode_problem,
};
pub use names::RemoteName;
pub use open::open_store;
pub use pack::{read_pack, write_pack};
pub use repository::{Condemnation, Leftover, LockedObject, RemoteRepository, SentAs};
pub use store::{ListedObject, ObjectState, Put, Requests, Store, StoreLocks};
