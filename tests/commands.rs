//! Whole commands, most of them without a real server: their work, output and leftovers.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "an index that does not exist fails the test")]
#![allow(clippy::print_stderr, reason = "a check that cannot be made here says so")]

use testkit::{chsnap_command, engine, faulty, folders, freezer, hoard, small_disk, store, tls, tree};

mod cli;
mod copy;
mod earlier;
mod output;
#[cfg(feature = "remote")]
mod remote;
mod space;
mod verify;
