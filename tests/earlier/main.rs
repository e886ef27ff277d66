//! Repositories that earlier versions made, from `tests/fixtures`: today's version reads, verifies, prunes and restores
//! them.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]
#![expect(clippy::print_stderr, reason = "a check that cannot be made here says so")]

#[path = "../support/chsnap.rs"]
mod chsnap_command;
#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/tree.rs"]
mod tree;

mod fixture;
mod reading;
mod removing;
mod restoring;
