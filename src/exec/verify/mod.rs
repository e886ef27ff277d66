//! Snapshots held against what they say of themselves, and damaged entries replaced by intact ones.
//!
//! Reading changes nothing and needs no lock. What is found is told as it is: what it means for other snapshots, and
//! what is to be done about it, is decided elsewhere.

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

pub use finding::{Drift, Finding, InodeKey, Wanted};
pub use frame::{check_frame, check_metadata};
pub use group::{Instance, PartGroup, PartOutcome, Tally};
pub use part::Verifier;
pub use repair::{RepairError, relink};
pub use search::{Copy, IntactSearch, Sharer, find_sharers};
pub use unread::Unread;
