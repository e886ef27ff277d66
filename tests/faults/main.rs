//! Kills, power cuts, full disks, filesystems that fail, and NFS: the contract holds at every call.

#![allow(clippy::disallowed_methods, reason = "tests make and break files as they like")]
#![allow(clippy::indexing_slicing, reason = "an index that does not exist fails the test")]
#![allow(clippy::print_stderr, reason = "a check that cannot be made here says so")]

mod crash;
mod full_disk;
mod fuse;
mod lost_replies;
mod nfs;
mod placing;
mod power_cut;
