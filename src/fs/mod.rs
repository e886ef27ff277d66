//! System calls relative to a directory descriptor; each error names the verb and the paths that it concerns.
//!
//! Nothing outside this module uses nix, rustix or jwalk. Every mutating call goes through [`Mutations`], so that a
//! test can make the n-th one fail, or stop the program there.

#![allow(clippy::disallowed_methods, reason = "this is the layer that changes the filesystem")]

mod change;
mod copy;
mod copy_hash;
mod copy_options;
mod dir;
mod entries;
mod error;
mod extents;
mod fresh;
mod keep;
mod lock;
mod mounts;
mod mutations;
mod network;
mod probe;
mod process;
mod rate;
mod read_hash;
mod reader;
mod scan;
mod silence;
mod space;
mod stat;
mod trust;

pub use change::{NewFile, create_path};
pub use copy::FileCopy;
pub use copy_hash::{ContentDigest, Hashing};
pub use copy_options::{Advanced, CopiedFile, CopyError, CopyOptions};
pub use dir::{Dir, DirectoryListing};
pub use entries::{Entry, EntryKind};
pub use error::{ErrorKind, FsError, if_found};
pub use keep::{FileTarget, LostMetadata, Xattrs};
pub use lock::FileLock;
pub use mounts::{Mount, are_on_one_mount, foresee_link, may_share_blocks, mount_of};
pub use mutations::{Mutations, RealVerbs, VerbResult};
pub use network::network_verbs;
pub use probe::{CanKeep, can_keep};
pub use process::{
    StopSignal, boot_id, end_process_group, forbid_core_dumps, host_name, is_signal_ignored, kernel_release,
    machine_id, own_ids, process_is_gone, process_namespace, process_start, raise_descriptor_limit, restrict_new_files,
    run_in_idle_time, user_id,
};
pub use rate::RateLimit;
pub use read_hash::ReadOptions;
pub use reader::FileReader;
pub use scan::{ScannedEntry, TreeScan, Unread, scan, walk};
pub use silence::watch_silence;
pub use space::{
    FilesystemSpace, has_lasting_inodes, is_fuse, is_network_filesystem, keeps_inode_numbers, link_limit, space,
};
pub use stat::{DirectoryId, Stat};
pub use trust::{OtherWriter, other_writer};

use std::sync::Arc;

/// The mutations of the running system.
#[must_use]
pub fn real() -> Arc<dyn Mutations> {
    Arc::new(RealVerbs)
}
