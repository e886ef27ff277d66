//! Whole commands on temporary repositories, with no server in sight.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]

#[path = "../support/chsnap.rs"]
mod chsnap_command;
#[path = "../support/freezer.rs"]
mod freezer;
#[path = "../support/tree.rs"]
mod tree;

mod damage;
mod garbage;
mod hardened;
mod hostile;
mod index;
mod init;
mod interrupted;
mod leftovers;
mod lock;
mod read;
mod removal;
mod simulate;
mod support;
mod terminal;
