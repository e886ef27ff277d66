//! The use cases. Each reads as the pipeline that `docs/design.md` describes.

mod access;
mod alerts;
mod bound;
pub mod copy;
mod copy_rules;
mod copying;
pub mod create;
mod diff;
mod disks;
mod doctor;
mod drill;
mod error;
mod gone;
pub mod import;
mod import_error;
mod init;
mod inodes;
mod intact;
mod journal;
mod kept_metadata;
pub mod nightly;
mod pin;
pub mod prune;
mod read;
mod recover;
pub mod remote;
mod remove;
pub mod restore;
mod room;
mod stages;
mod survey;
mod trash;
mod unlisted;
pub mod usage;
pub mod verify;
mod waiting;
mod written;

pub use access::{ShownAccess, show_access};
pub use alerts::{Alert, Severity, alerts};
pub use diff::{Compared, diff_live, diff_snapshots};
pub use doctor::{CheckState, DoctorCheck, Examination, Tonight, doctor};
pub use drill::{
    Digests, DrillFailure, DrillObstacle, DrillReport, DrillRequest, DrillState, DrillVerdict, DrilledTable, NoDigest,
    drill,
};
pub use error::{Copies, FoundDamage, OpError};
pub use gone::DeletedSnapshot;
pub use import_error::ImportError;
pub use init::init;
pub use pin::{Pinned, Unpinned, pin, unpin};
pub use read::{Drill, SnapshotDetails, SnapshotList, drills, list, show, snapshots_with};
pub use recover::{Recovery, recover};
pub use remove::{EmptiedTrash, Undone, collect_garbage, collect_older_garbage, plan_removal, remove, undo};
pub use stages::Stages;
pub use survey::{OpenedRepository, RepositorySurvey, SURVEY_DEPTH, Surveyed, survey};
pub use trash::{Trash, TrashedSnapshot, trash};
