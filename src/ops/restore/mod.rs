//! Back from a snapshot: into a plain directory, or into a server.

mod exchange;
mod files;
mod fit;
mod objects;
mod report;
mod server;
mod source;
mod staging;
mod tables;
mod target;

pub use files::{ToDirectory, restore_to_directory};
pub use report::{Report, RestoredTotals, TableReport, TableState};
pub use server::{Prepared, ToServer};
pub use source::Wanted;
pub(super) use source::{Source, SourceTable};
pub(super) use target::Surveyed;
