//! chsnap: dated, full, hardlinked snapshots of a ClickHouse server's MergeTree tables.
//!
//! The layers, each of which may use only those below it (`tests/layers.rs` keeps it so):
//!
//! | layer | holds |
//! |---|---|
//! | [`ops`] | the use cases: create, list, show, remove, undo, collect garbage |
//! | [`exec`] | parallel effects that decide nothing: place, inspect, remove |
//! | [`repo`] | the only code that knows the on-disk format of a repository |
//! | [`server`] | the ClickHouse adapter |
//! | [`fs`] | system calls by directory descriptor, with context |
//! | [`checksums`] | ClickHouse's `checksums.txt` and its hashes |
//! | [`plan`] | pure decisions: no I/O, no clock, no threads |
//! | [`monitor`] | the trait through which the engine reports; the engine never prints |
//! | [`model`] | the nouns |

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod checksums;
pub mod exec;
pub mod fs;
pub mod model;
pub mod monitor;
pub mod ops;
pub mod plan;
pub mod repo;
pub mod server;
