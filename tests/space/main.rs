//! What `usage` says, held against walks over every file and against what removals really free.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]

#[path = "../support/chsnap.rs"]
mod chsnap_command;
#[path = "../support/hoard.rs"]
mod hoard;
#[path = "../support/small_disk.rs"]
mod small_disk;

mod commands;
mod figures;
mod pruned;
mod removed;
