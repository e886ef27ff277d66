//! What a restore into a server does, decided before anything changes.

mod compare;
mod loss;
mod options;
mod planner;
mod recover;
mod source;
mod table;
mod target;

pub use compare::{Comparison, PartState, compare_parts};
pub use loss::{Loss, ReplacedScope, Stored, losses};
pub use options::{RestoreOptions, What};
pub use planner::plan_restore;
pub use recover::{
    EntryEvidence, Knowledge, Leftover, LeftoverContent, PlaceEvidence, RecoveryStep, RestoreEntry, Temporary,
    apply_recovery, plan_recovery,
};
pub use source::{SourceData, SourceItem};
pub use table::{Action, Kept, Refusal, RestorePlan, TablePlan};
pub use target::{Amount, DetachedParts, Target, TargetTable};
