//! Back from a snapshot: into a plain directory, or into a server.

mod attach;
mod context;
mod described;
mod exchange;
mod fit;
mod intact;
mod into_directory;
mod into_server;
mod items;
mod job;
mod known;
mod leftovers;
mod locked_dir;
mod objects;
mod partitions;
mod place;
mod recover;
mod refused;
mod report;
mod source;
mod staging;
mod statements;
mod survey;

pub use context::ToServer;
pub use into_directory::{ToDirectory, restore_to_directory};
pub(super) use into_server::prepare_recovering;
pub use into_server::{Prepared, prepare};
pub(super) use leftovers::{Recovers, interrupted, names as leftover_names};
pub(super) use locked_dir::{LockedDir, abandoned, random};
pub(super) use recover::recover_leftovers;
pub use report::{Outcome, Report, RestoredTotals, TableReport, TableState};
pub use source::Wanted;
pub(super) use source::{Source, SourceTable};
pub(super) use statements::Statements;
pub(super) use survey::TargetSurvey;
