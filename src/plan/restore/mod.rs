//! What a restore into a server does, decided before anything changes.

mod attach_script;
mod compare;
mod directory;
mod expiry;
mod hold;
mod loss;
mod objects;
mod options;
mod planner;
mod recover;
mod rules;
mod source;
mod storage;
mod table;
mod target;

pub use attach_script::{AttachItem, AttachScript, attach_script};
pub use compare::{Comparison, PartDifference, PartState, WrongPart, compare_parts};
pub use directory::{
    DirectoryAction, DirectoryItem, DirectoryOptions, DirectoryPlan, DirectoryTable, Obstacle, TargetDirectory,
    plan_directory,
};
pub use expiry::{Expired, ExpiryTimes};
pub use hold::{HOLD_SETTINGS, HeldSetting, hold, is_held, release_statements, released_text};
pub use loss::{Loss, ReplacedScope, Stored, losses};
pub use objects::{DatabasePlan, ObjectAction, ObjectPlan, SourceDatabase, SourceObject};
pub use options::{InvalidStoragePolicy, RestoreOptions, StoragePolicyChange, What};
pub use planner::{DROP_LIMIT_BYTES, plan_restore};
pub use recover::{
    EntryEvidence, Knowledge, Leftover, LeftoverContent, MayLose, PlaceEvidence, RecoveryStep, RestoreEntry, Temporary,
    apply_recovery, is_kept_name, kept_name, plan_recovery,
};
pub use source::{DumpFile, SnapshotContent, SourceData, SourceDump, SourceItem};
pub use storage::Disks;
pub use table::{Action, DamagedParts, Kept, Refusal, RestorePlan, SkipReason, TablePlan};
pub use target::{Amount, DetachedParts, LiveRows, Target, TargetTable};
