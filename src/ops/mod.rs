//! The use cases. Each reads as the pipeline that `docs/design.md` describes.

mod access;
mod alerts;
mod bound;
pub mod create;
mod diff;
mod disks;
mod doctor;
mod drill;
mod error;
mod gone;
mod init;
mod pin;
pub mod prune;
mod read;
mod recover;
mod remove;
pub mod restore;
mod stages;
mod survey;
mod trash;
mod unlisted;
pub mod usage;
pub mod verify;
mod waiting;

pub use access::{ShownAccess, show_access};
pub use alerts::{Alert, Severity, alerts};
pub use diff::{Compared, diff_live, diff_snapshots};
pub use doctor::{Check, Examination, State, doctor};
pub use drill::{
    Digests, DrillReport, DrillRequest, DrillState, DrillVerdict, DrilledTable, Failure, NoDigest, Obstacle, drill,
};
pub use error::{Copies, Damage, OpError};
pub use gone::Gone;
pub use init::init;
pub use pin::{Pinned, Unpinned, pin, unpin};
pub use read::{Drill, Listing, Shown, drills, list, show};
pub use recover::{Recovery, recover};
pub use remove::{Emptied, Undone, collect_garbage, collect_older_garbage, plan_removal, remove, undo};
pub use stages::Stages;
pub use survey::{Found, SURVEY_DEPTH, Survey, Surveyed, survey};
pub use trash::{Trash, TrashedSnapshot, trash};
