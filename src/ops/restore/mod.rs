//! Back from a snapshot: into a plain directory, or into a server.

mod files;
mod report;
mod source;

pub use files::{ToDirectory, restore_to_directory};
pub use report::{Report, RestoredTotals, TableReport, TableState};
pub use source::Wanted;
