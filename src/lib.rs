//! Dated, full, hardlinked snapshots of a ClickHouse server's MergeTree tables.
//!
//! The program `chsnap` is a thin layer over this library. Its public modules are:
//!
//! | module | holds |
//! |---|---|
//! | [`ops`] | the use cases, each a function of a request: create, list, verify, restore, prune, copy and more |
//! | [`repo`] | a repository on disk: its snapshots, manifests, pins, journal and index |
//! | [`model`] | the nouns: tables, parts, ids of snapshots, warnings |
//! | [`monitor`] | the trait through which a use case reports its progress; it never prints |
//!
//! A use case takes the repository, a request, the time, and a [`monitor::Monitor`]. It reads neither the environment
//! nor a clock. Every change of a repository is made under its lock, and one rename commits a snapshot: however a
//! process ends, each snapshot is complete or absent.
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
//! `new` of a request takes the fields without a default; a method `with_…` for each other field replaces its default.
//! The defaults are those of the command line, except for `with_jobs`: the command line uses more threads for a
//! repository on a network filesystem. Requests and reports may get further fields in every version.
//!
//! The other modules are public only for the program, the tests and the benchmarks, and may change in every version.
//! `docs/architecture.md` describes all modules.

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
