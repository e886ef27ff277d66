//! `verify`: all damage is found and named, none is invented, and a repair takes nothing away.

#![expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

#[path = "../support/chsnap.rs"]
mod chsnap_command;
#[path = "../support/faulty.rs"]
mod faulty;
#[path = "../support/tree.rs"]
mod tree;

mod command;
mod damaged;
mod drift;
mod nights;
mod repair;
mod store;
