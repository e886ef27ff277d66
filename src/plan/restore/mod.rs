//! Plans a restore into a server, before anything changes.

mod attach_script;
mod compare;
mod directory;
mod expiry;
mod hold;
mod loss;
mod missing;
mod native;
mod native_plan;
mod not_run;
mod objects;
mod options;
mod planner;
mod recover;
mod replica;
mod rules;
mod source;
mod storage;
mod table;
mod target;
mod unused;

pub use attach_script::{AttachItem, AttachScript, attach_script};
pub use compare::{
    CopiedPartition, PartDifference, PartState, PartsComparison, WrongPart, compare_copies, compare_parts,
    lacking_rows, replaced_unseen,
};
pub use directory::{
    DirectoryAction, DirectoryItem, DirectoryObstacle, DirectoryOptions, DirectoryPlan, DirectoryTable,
    TargetDirectory, plan_directory,
};
pub use expiry::{Expired, ExpiryTimes};
pub use hold::{HOLD_SETTINGS, HeldSetting, hold, is_held, release_statements, released_text};
pub use loss::{Loss, ReplacedScope, Stored, losses};
pub use native::{create_database_text, create_table_text, for_native};
pub use native_plan::{LeftUpdates, NativePlan, NativeUpdates};
pub use not_run::NotRun;
pub use objects::{DatabasePlan, ObjectAction, ObjectPlan, SourceDatabase, SourceObject};
pub use options::{InvalidStoragePolicy, Replicated, RestoreContent, RestoreOptions, StoragePolicyChange};
pub use planner::{DROP_LIMIT_BYTES, plan_restore};
pub use recover::{
    EntryEvidence, Knowledge, LeftoverContent, MayLose, PlaceEvidence, RecoveryStep, RestoreEntry, StagingLeftover,
    Temporary, apply_recovery, is_kept_name, kept_name, plan_recovery,
};
pub use replica::{
    AttachedReplica, DroppedTable, FoundPath, KeeperPath, KeeperReplica, KeeperState, PathNames, ReplicaObstacle,
    ReplicaPlan, ReplicaSource, expand_macros, keeper_path,
};
pub use source::{DumpContent, DumpFile, SnapshotContent, SourceData, SourceDump, SourceItem};
pub use storage::Disks;
pub use table::{
    Action, DamagedParts, KeptTableState, PartitionScope, RestorePlan, SkipReason, Spread, TablePlan, TableRefusal,
    ViewReplacement,
};
pub use target::{Amount, ClusterHosts, DetachedParts, LiveRows, LooseRows, PartsElsewhere, TargetServer, TargetTable};
