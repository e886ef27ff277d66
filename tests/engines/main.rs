//! chsnap against real ClickHouse engines, 18.16 and 26.9.

#![expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]
#![expect(clippy::print_stderr, reason = "a test that cannot run here says so")]

use testkit::{chsnap_command, cluster_lab, engine, front, keeper, strace, tls, tree};

mod access;
mod between;
mod cluster;
mod cluster_killed;
mod cluster_kinds;
mod cluster_restore;
mod copied;
mod differing;
mod disks;
mod drifted;
mod drill_definitions;
mod drill_verdicts;
mod drilled;
mod dumps;
mod elsewhere;
mod examined;
mod faithful;
mod imported;
mod killed;
mod listed;
mod moving;
mod mutating;
mod names;
mod native;
mod one_moment;
mod packed;
mod part_directories;
#[cfg(feature = "remote")]
mod pushed;
mod refused;
mod repeated;
mod restore_again;
mod restore_damaged;
mod restore_documented;
mod restore_files;
mod restore_killed;
mod restore_kinds;
mod restore_local;
mod restore_losses;
mod restore_named;
mod restore_orders;
mod restore_queues;
mod restore_server;
mod restore_versions;
mod restore_views;
mod restored;
mod scripted;
mod secured;
mod server_gone;
mod space;
mod support;
mod symlinks;
mod unchanged;
mod unlisted;
mod verified;
#[cfg(feature = "remote")]
mod without_secrets;
