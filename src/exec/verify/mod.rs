//! Compares snapshots with their own records, and replaces damaged entries by intact ones.
//!
//! Reading changes nothing and needs no lock. Findings are reported as they are: other modules decide what they mean
//! for other snapshots and what to do about them.

mod expectations;
mod finding;
mod frame;
mod group;
mod inodes;
mod listing;
mod part;
mod repair;
mod search;
mod unread;

pub use finding::{InodeKey, PartDrift, PartFinding, WantedFile, is_as_recorded};
pub use frame::{check_frame, check_metadata};
pub use group::{CheckTally, PartGroup, PartInSnapshot, PartVerification};
pub use part::Verifier;
pub use repair::{RepairError, relink};
pub use search::{IntactFile, IntactSearch, Sharer, find_sharers};
pub use unread::UnreadPaths;
