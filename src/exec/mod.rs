//! Parallel effects on the filesystem, which decide nothing.
//!
//! Work is handed out by directory, and never are two threads at work in one directory: on every filesystem the
//! changes of one directory queue behind each other.

mod copied_links;
mod copy;
mod holdings;
mod inspect;
mod inspect_files;
mod live;
mod place;
mod problems;
mod remove;
mod restore;
mod unchanged;
pub mod verify;

pub use copied_links::CopiedLinks;
pub use copy::{CopiedPart, CopyPartError, PartCopier};
pub use holdings::{
    Answers, Found, ListedPart, Question, ask_again, directories_of_parts, list_parts, look_at_tree, part_paths,
    table_path,
};
pub use inspect::{Inspected, inspect_listed, inspect_part};
pub use inspect_files::InodeUse;
pub use live::{
    LeftOut, LiveTable, SavedParts, has_left_out, link_left_out, link_live_part, save_left_out, take_left_out,
};
pub use place::{PlaceMode, PlacedPart, place_parts, place_table};
pub use remove::{Removed, remove_tree};
pub use restore::{PartRestorer, RestoreMode, RestorePartError, RestoredPart};
pub use unchanged::{link_earlier_part, recall_part, unchanged_parts};

use crate::fs::FsError;

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
