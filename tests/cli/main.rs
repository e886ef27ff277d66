//! Whole commands on temporary repositories, with no server in sight.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![expect(clippy::print_stderr, reason = "a check that cannot be made here says so")]
#![allow(clippy::indexing_slicing, reason = "what is not there fails the test")]

#[path = "../support/chsnap.rs"]
mod chsnap_command;
#[path = "../support/freezer.rs"]
mod freezer;
#[path = "../support/tls.rs"]
mod tls;
#[path = "../support/tree.rs"]
mod tree;

mod ahead;
mod configured;
mod damage;
mod detached;
mod diff;
mod garbage;
mod hardened;
mod hostile;
mod hosts;
mod index;
mod init;
mod interrupted;
mod journal;
mod leftovers;
mod lock;
mod nightly;
mod pins;
mod read;
mod removal;
mod report;
mod series;
mod server_state;
mod shell;
mod side_by_side;
mod simulate;
mod support;
mod systemd;
mod terminal;
