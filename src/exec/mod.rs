//! Parallel effects on the filesystem; this module decides nothing.
//!
//! Work is handed out by directory, and two threads never work in one directory: on every filesystem, the changes to
//! one directory queue behind each other.

mod copied_links;
mod copied_part;
mod copy;
mod dump;
mod equal;
mod holdings;
mod idle;
mod import;
mod inspect;
mod inspect_files;
mod join;
mod left_out;
mod listed_live_part;
mod live;
mod native_files;
mod packed;
mod place;
mod prefetch;
mod problems;
mod read_file;
mod record_placed;
mod remove;
mod restore;
mod unchanged;
pub mod verify;
mod whole;

pub use copied_links::CopiedLinks;
pub use copied_part::{CopiedPart, CopyPartError, PartCopy};
pub use copy::PartCopier;
pub use dump::{DumpReader, DumpWriter, WrittenDump};
pub use equal::EarlierTableDir;
pub use holdings::{
    PartOnDisk, StatRequest, StatResult, TreeContents, directories_of_parts, list_parts, part_paths, stat_again,
    stat_tree,
};
pub use idle::IdleReading;
pub use import::{ListedImporter, TreeDirs, differs_from_list, is_as_listed, lacks_in_list};
pub use inspect::{FileOnDisk, Inspected, PartFiles, inspect_listed, inspect_part, inspect_to_copy};
pub use join::{LINK_LIMIT, LinkSources, LinkablePart, PreservedMetadata, find_joins};
pub use left_out::{belongs_in_a_copy, has_left_out};
pub use listed_live_part::ListedLivePart;
pub use live::{
    LeftOutFiles, LiveTable, SavedPart, SavedParts, inspect_frozen, is_still_there, link_left_out, link_left_out_files,
    link_live_part, save_left_out,
};
pub use native_files::{HashedFile, HashedPart, hash_part, have_same_bytes};
pub use place::{PlaceMode, PlacedPart, part_name, place_parts, place_table};
pub use read_file::ReadFile;
pub use record_placed::{damage_in, record_placed};
pub use remove::{Removed, remove_tree};
pub use restore::{PartRestorer, RestoreMode, RestorePartError, RestoredPart};
pub use unchanged::{
    Comparison, Relinked, is_known, is_unchanged, link_held, recall_part, relink, relink_known, unchanged_parts,
};
pub use whole::{WholePart, inspect_whole};

use crate::fs::{Dir, FsError};

/// Threads for a network filesystem: each call is a round trip to the server, and a client keeps 16 to 64 in flight.
const NETWORK_JOBS: usize = 24;

/// At most this many threads are added to those that a host has cores for.
const WAITING_JOBS: usize = 16;

/// The number of threads for the filesystem of `dir`, unless the user sets one: twice the number of cores if it is
/// local, because a thread waits there too, for a lock or for the journal.
#[must_use]
pub fn usual_jobs(dir: &Dir) -> usize {
    let cores = cores();
    if crate::fs::is_network_filesystem(dir) { cores.max(NETWORK_JOBS) } else { local_jobs() }
}

/// The number of cores that this process may use; 2 where the system does not say.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}

/// The number of threads that are usual on a local filesystem.
#[must_use]
pub fn local_jobs() -> usize {
    let cores = cores();
    cores + cores.min(WAITING_JOBS)
}

/// The number of tables that are usually frozen at once: they mostly wait for the server.
#[must_use]
pub fn usual_freeze_jobs() -> usize {
    cores().min(4)
}

/// Creates a pool for the work of one command.
///
/// # Errors
/// If the system refuses to create threads.
pub fn pool(jobs: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(jobs).thread_name(|index| format!("chsnap-{index}")).build()
}

/// An error below a directory that may contain only a part's files.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// A system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// An entry that is neither a file nor a directory, or whose name no part can have.
    #[error("{} is {what}, which no part has", .path.display())]
    Foreign {
        /// Its path.
        path: std::path::PathBuf,
        /// Its kind.
        what: &'static str,
    },
}
