//! Dated, full, hardlinked snapshots of a ClickHouse server's MergeTree tables.
//!
//! The program `chsnap` is a thin layer over this library. What it offers to others is:
//!
//! | module | holds |
//! |---|---|
//! | [`ops`] | the use cases, each a function of a request: create, list, verify, restore, prune, copy and more |
//! | [`repo`] | a repository on disk: its snapshots, manifests, pins, journal and index |
//! | [`model`] | the nouns: tables, parts, ids of snapshots, warnings |
//! | [`monitor`] | the trait through which a use case reports what it does; it never prints |
//!
//! A use case takes the repository, what it is asked, the time, and a [`monitor::Monitor`]. It reads no environment and no clock of its
//! own. Everything that changes a repository is done under its lock, and a snapshot comes to be by one rename: whatever ends a
//! process, each snapshot is whole or not there.
//!
//! ```
//! use chsnap::model::Level;
//! use chsnap::monitor::Silent;
//! use chsnap::ops::{self, verify};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("snapshots-of-ch1");
//! let repository = ops::init(&path, chrono::Utc::now(), &chsnap::real())?;
//!
//! let listed = ops::list(&repository)?;
//! assert!(listed.snapshots.is_empty());
//! assert_eq!(repository.path(), path);
//!
//! let request = verify::Request::new().with_level(Level::Data).with_jobs(2);
//! let report = verify::verify(&repository, &request, &chrono::Utc::now, &Silent)?;
//! assert!(report.damage.is_empty());
//! assert_eq!(report.tally.parts, 0);
//! # Ok(())
//! # }
//! ```
//!
//! A request begins with its `new`, which takes what has no default; a method `with_…` for each other field replaces a default,
//! and the defaults are those of the command line. `with_jobs` alone differs: the command line takes more threads where a
//! repository is on a network filesystem. Requests and reports may get further fields in every version.
//!
//! The other modules are public for the program, the tests and the benchmarks only, and may change in every version.
//! `docs/architecture.md` is the map of all of them.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

#[doc(hidden)]
pub mod checksums;
#[doc(hidden)]
pub mod exec;
#[doc(hidden)]
pub mod fs;
pub mod model;
pub mod monitor;
pub mod ops;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod remote;
pub mod repo;
#[doc(hidden)]
pub mod server;

pub use fs::{Mutations, real};
