//! The use cases. Each reads as the pipeline that `docs/design.md` describes.

pub mod create;
mod disks;
mod doctor;
mod error;
mod init;
pub mod prune;
mod read;
mod recover;
mod remove;
pub mod restore;
mod stages;
mod survey;
pub mod usage;
pub mod verify;
mod waiting;

pub use doctor::{Check, Examination, State, doctor};
pub use error::{Damage, OpError};
pub use init::init;
pub use read::{Listing, Shown, list, show};
pub use recover::{Recovery, recover};
pub use remove::{Emptied, Undone, collect_garbage, remove, undo};
pub use stages::Stages;
pub use survey::{SURVEY_DEPTH, Survey, Surveyed, survey};
