//! Pure decisions: no I/O, no clock, no threads.

mod access;
mod backup_list;
mod changed;
mod choose;
mod copy;
mod create;
mod definition;
pub mod diff;
mod expected_tree;
mod extract;
mod freeze;
mod growth;
mod holders;
mod import;
mod judge;
mod moment;
mod nearest;
mod night;
mod off_moment;
mod pattern;
mod reference;
mod remote;
mod rename;
mod replicas;
mod restore;
pub mod retention;
mod retry;
mod room;
#[cfg(test)]
mod samples;
mod schedule;
mod series;
mod server_config;
mod server_state;
mod slice;
mod space;
mod successor;
mod walked;
mod without_secrets;

pub use access::{
    AccessAction, AccessEntity, AccessFileError, AccessKept, AccessNames, AccessOptions, AccessPlan, AccessStep,
    BegunAccess, EntityPlan, LiveEntity, LiveList, SourceAccess, TargetAccess, UnreadableAccess, plan_access, sequence,
};
pub use backup_list::{BACKUP_LIST, BACKUP_VERSION, BackupChecksum, BackupFile, BackupList, BackupListError};
pub use changed::{Extension, PARTITIONS_OF_A_STATEMENT, Placing, extend_freeze};
pub use choose::{
    Choice, DataLeftReason, DumpOptions, ForeignDisk, TableContext, TableSelection, choose, has_rows_without_parts,
};
pub use copy::{CopyDecision, CopyPlan, CopyRefusal, CopyScope, CopyTarget, SameId, pin_travels, plan_copy};
pub use create::{CreatePlan, TableDump, data_left_warning, plan_create};
pub use definition::{
    AccessReference, DefinitionError, DefinitionKind, DefinitionScope, Existing, Mapping, ObjectKind, ObjectStatement,
    ParsedDefinition, ReferenceTo, ReplicaArguments, StorageChoice, Verb, cleanse, has_secret_values,
};
pub use expected_tree::{ExpectedEntry, ExpectedTree, OutsidePath};
pub use extract::{NamedTables, RecordedSelection, extract_selection};
pub use freeze::{FreezeScope, PlannedSource, RemoteParts, TableFreeze, WantedState};
pub use growth::{Growth, Sample, growth};
pub use holders::{HolderSets, Holders, SetId};
pub use import::{
    ImportKind, ImportPlan, ImportSource, ImportedDatabase, ImportedTable, PartFilesSource, PathInTree, Refusal,
    SourceDefinition, SourceFile, SourcePart, place_in_tree, plan_import, relative_path,
};
pub use judge::{
    BrokenPart, Caveat, DefinitionRead, Evidence, FreezeRefusal, ROUNDS, TableSkipReason, Taken, Verdict, judge,
};
pub use moment::{ListedSources, is_one_moment, listed_sources};
pub use nearest::nearest;
pub use night::{GUARD_REFUSED, Missed, missed, next_wait, worst_code};
pub use off_moment::{ListedDirectories, ListedEvidence, OffMomentReason};
pub use pattern::{InvalidTablePattern, TablePattern};
pub use reference::{NamedSnapshot as KnownSnapshot, ReferenceError, SnapshotReference, is_reserved_name};
pub use remote::{
    FileGroups, GC_GRACE, GcEvidence, GcPlan, OBJECT_BYTES, PresenceQuery, SMALL_FILE_BYTES, StoredObject,
    extended_lock, group_files, object_ranges, plan_gc, presence_query,
};
pub use rename::{DatabaseRename, InvalidRename, Renames, TableRename};
pub use replicas::{ReplicaEvidence, judge_replicas, stale_entries};
pub use restore::{
    Action, Amount, AttachItem, AttachScript, AttachedReplica, ClusterHosts, CopiedPartition, DROP_LIMIT_BYTES,
    DamagedParts, DatabasePlan, DetachedParts, DirectoryAction, DirectoryItem, DirectoryObstacle, DirectoryOptions,
    DirectoryPlan, DirectoryTable, Disks, DroppedTable, DumpContent, DumpFile, EntryEvidence, Expired, ExpiryTimes,
    FoundPath, HOLD_SETTINGS, HeldSetting, InvalidStoragePolicy, KeeperPath, KeeperReplica, KeeperState,
    KeptTableState, Knowledge, LeftUpdates, LeftoverContent, LiveRows, LooseRows, Loss, MayLose, NativePlan,
    NativeUpdates, NotRun, ObjectAction, ObjectPlan, PartDifference, PartState, PartitionScope, PartsComparison,
    PartsElsewhere, PathNames, PlaceEvidence, RecoveryStep, ReplacedScope, ReplicaObstacle, ReplicaPlan, ReplicaSource,
    Replicated, RestoreContent, RestoreEntry, RestoreOptions, RestorePlan, SkipReason, SnapshotContent, SourceData,
    SourceDatabase, SourceDump, SourceItem, SourceObject, Spread, StagingLeftover, StoragePolicyChange, Stored,
    TablePlan, TableRefusal, TargetDirectory, TargetServer, TargetTable, Temporary, ViewReplacement, WrongPart,
    apply_recovery, attach_script, compare_copies, compare_parts, create_database_text, create_table_text,
    expand_macros, for_native, hold, is_held, is_kept_name, keeper_path, kept_name, lacking_rows, losses,
    plan_directory, plan_recovery, plan_restore, release_statements, released_text, replaced_unseen,
};
pub use retry::RetryReason;
pub use room::low_room_warning;
pub use schedule::{CronError, InvalidSchedule, Schedule, ScheduleZone};
pub use series::{LinkCandidate, Member, SeriesKey, incomplete, link_order, main_series};
pub use server_config::ServerConfig;
pub use server_state::{InKeeper, StatePlaces, StateSources, UserDirectory, state_places};
pub use slice::{InvalidSlice, Slice, SliceChoice};
pub use space::{Class, HolderBytes, Piece, Space, Summed, sum_up};
pub use successor::successor;
pub use walked::{Walked, WalkedFile};
pub use without_secrets::{SecretVerdict, without_secrets};
