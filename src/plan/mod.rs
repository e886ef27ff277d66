//! Pure decisions: no I/O, no clock, no threads.

mod access;
mod changed;
mod choose;
mod create;
mod definition;
pub mod diff;
mod frame;
mod freeze;
mod growth;
mod heir;
mod holders;
mod judge;
mod nearest;
mod night;
mod pattern;
mod reference;
mod rename;
mod restore;
pub mod retention;
mod series;
mod server_config;
mod server_state;
mod slice;
mod space;
mod walked;

pub use access::{
    AccessAction, AccessEntity, AccessFileError, AccessKept, AccessNames, AccessOptions, AccessPlan, AccessStep,
    EntityPlan, LiveEntity, LiveList, SourceAccess, TargetAccess, UnreadableAccess, plan_access, sequence,
};
pub use changed::{Extension, extend_freeze};
pub use choose::{Around, Choice, DumpOptions, ForeignDisk, Selection, StayReason, choose};
pub use create::{CreatePlan, TableDump, data_left_warning, plan_create};
pub use definition::{
    AccessReference, Definition, DefinitionError, DefinitionKind, Existing, Mapping, ObjectKind, ObjectStatement,
    ReferenceTo, Replicated, StorageChoice, Surroundings, Verb, cleanse,
};
pub use frame::{Frame, OutsidePath, Place};
pub use freeze::{RemoteParts, Scope, TableFreeze};
pub use growth::{Growth, Sample, growth};
pub use heir::heir;
pub use holders::{HolderSets, Holders, SetId};
pub use judge::{
    BrokenPart, Caveat, DefinitionRead, Evidence, ROUNDS, Refused, RetryReason, TableSkipReason, Taken, Verdict, judge,
};
pub use nearest::nearest;
pub use night::{Missed, missed, next_wait, worst_code};
pub use pattern::{InvalidTablePattern, TablePattern};
pub use reference::{Known as KnownSnapshot, ReferenceError, SnapshotReference, is_reserved_name};
pub use rename::{DatabaseRename, InvalidRename, Renames, TableRename};
pub use restore::{
    Action, Amount, AttachItem, AttachScript, Comparison, DROP_LIMIT_BYTES, DamagedParts, DatabasePlan, DetachedParts,
    DirectoryAction, DirectoryItem, DirectoryOptions, DirectoryPlan, DirectoryTable, Disks, DumpFile, EntryEvidence,
    Expired, ExpiryTimes, HOLD_SETTINGS, HeldSetting, InvalidStoragePolicy, Kept, Knowledge, Leftover, LeftoverContent,
    LiveRows, Loss, MayLose, ObjectAction, ObjectPlan, Obstacle, PartDifference, PartState, PlaceEvidence,
    RecoveryStep, Refusal, ReplacedScope, RestoreEntry, RestoreOptions, RestorePlan, SkipReason, SnapshotContent,
    SourceData, SourceDatabase, SourceDump, SourceItem, SourceObject, StoragePolicyChange, Stored, TablePlan, Target,
    TargetDirectory, TargetTable, Temporary, What, WrongPart, apply_recovery, attach_script, compare_parts, hold,
    is_held, is_kept_name, kept_name, losses, plan_directory, plan_recovery, plan_restore, release_statements,
    released_text,
};
pub use series::{LinkCandidate, Member, SeriesKey, incomplete, link_order, main_series};
pub use server_config::ServerConfig;
pub use server_state::{InKeeper, StatePlaces, StateSources, UserDirectory, state_places};
pub use slice::{InvalidSlice, Slice, SliceChoice};
pub use space::{Asked, Class, Held, Piece, Space, Summed, sum_up};
pub use walked::{Walked, WalkedFile};
