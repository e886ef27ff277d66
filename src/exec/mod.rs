//! Parallel effects on the filesystem, which decide nothing.
//!
//! Work is handed out by directory, and never are two threads at work in one directory: on every filesystem the
//! changes of one directory queue behind each other.

mod copied_links;
mod copied_part;
mod copy;
mod dump;
mod equal;
mod foreseen;
mod holdings;
mod idle;
mod inspect;
mod inspect_files;
mod join;
mod left_out;
mod live;
mod packed;
mod place;
mod problems;
mod read_file;
mod remove;
mod restore;
mod settle;
mod unchanged;
pub mod verify;

pub use copied_links::CopiedLinks;
pub use copied_part::{CopiedPart, CopyPartError, PartCopy};
pub use copy::PartCopier;
pub use dump::{DumpReader, DumpWriter, WrittenDump};
pub use equal::HeldTable;
pub use holdings::{
    Answers, Found, ListedPart, Question, ask_again, directories_of_parts, list_parts, look_at_tree, part_paths,
    table_path,
};
pub use idle::IdleReading;
pub use inspect::{Inspected, PartFiles, inspect_listed, inspect_part, inspect_to_copy};
pub use join::{Candidate, Joins, Keeping, LINK_LIMIT, find_joins};
pub use left_out::{belongs_in_a_copy, has_left_out};
pub use live::{
    LeftOut, LiveTable, SavedPart, SavedParts, inspect_frozen, link_left_out, link_live_part, save_left_out,
    take_left_out,
};
pub use place::{PlaceMode, PlacedPart, part_name, place_parts, place_table};
pub use read_file::ReadFile;
pub use remove::{Removed, remove_tree};
pub use restore::{PartRestorer, RestoreMode, RestorePartError, RestoredPart};
pub use settle::{damage_in, settle};
pub use unchanged::{Likeness, Relinked, is_unchanged, recall_part, relink, unchanged_parts};

use crate::fs::{Dir, FsError};

/// Threads for a network filesystem: each call is a journey to the server, and a client has 16 to 64 under way at once.
const NETWORK_JOBS: usize = 24;

/// More threads than this are never added to those that a host has cores for.
const WAITING_JOBS: usize = 16;

/// How many threads work on the filesystem of `dir`, unless a person says so: twice as many as there are cores where it is
/// local, for a thread waits there too, for a lock or for the journal.
#[must_use]
pub fn usual_jobs(dir: &Dir) -> usize {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    if crate::fs::is_network_filesystem(dir) { cores.max(NETWORK_JOBS) } else { cores + cores.min(WAITING_JOBS) }
}

/// A pool for the work of one command.
///
/// # Errors
/// If the system gives no threads.
pub fn pool(jobs: usize) -> Result<rayon::ThreadPool, rayon::ThreadPoolBuildError> {
    rayon::ThreadPoolBuilder::new().num_threads(jobs).thread_name(|index| format!("chsnap-{index}")).build()
}

/// What stands in a place where only a part's files can stand.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// A system call failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Something that is neither a file nor a directory, or whose name is no part's.
    #[error("{} is {what}, which no part has", .path.display())]
    Foreign {
        /// Where it is.
        path: std::path::PathBuf,
        /// What it is.
        what: &'static str,
    },
}
