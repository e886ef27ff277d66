//! The nouns of chsnap: identifiers, names and quantities, without any I/O.

mod catalog;
mod check;
mod content_hash;
mod count;
mod dump;
mod escape;
mod fingerprint;
mod freeze_name;
mod inode_set;
mod inode_stat;
mod label;
mod leb128;
mod links;
mod live_state;
mod moment;
mod object_lock;
mod part;
mod path_map;
mod quantities;
mod replica;
mod room;
mod run_name;
mod setters;
mod snapshot_id;
mod table;
mod unlisted;
mod warning;

pub use catalog::{
    Catalog, CatalogFingerprint, CatalogMutation, CatalogPart, KeeperMutation, LackedMutation, PartListSummary,
    PartStates, PendingBlocks, ReadingTime, Table, awaits_mutation, is_remote_database_engine, mutation_version,
    shows_dictionaries,
};
pub use check::{DamageKind, DriftKind, Level};
pub use content_hash::{ContentHash, InvalidContentHash};
pub use count::{count, size, span, thousands};
pub use dump::{DumpKind, DumpTotals};
pub use escape::{escape_for_file_name, unescape_file_name};
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use freeze_name::{FreezeName, ParseFreezeNameError, ParseRepositoryIdError, RepositoryId};
pub use inode_set::InodeSet;
pub use inode_stat::{InodeStat, InodeStats, most_links_of_each};
pub use label::Label;
pub use leb128::{read_number, write_number};
pub use links::{Link, Links, MAX_BLOCKS};
pub use live_state::{DirectoryState, LivePartState};
pub use moment::{Moment, OffMoment, OffMomentKind};
pub use object_lock::{DefaultLock, LockMode, ObjectLock};
pub use part::{Blocks, InvalidPartName, PartName, PartitionId};
pub use path_map::{PathMap, PathRule, PathRuleError};
pub use quantities::{Ownership, PartTally, PlacedTotals, Placement, SnapshotTotals};
pub use replica::{QueueEntry, Replica};
pub use room::{Room, RoomLack, RoomNeed};
pub use run_name::{
    DRILL_PREFIX, RESTORE_PREFIX, TemporaryRole, is_drill_database, is_own_database, is_run_name, is_temporary_table,
    run_name, temporary_table,
};
pub(crate) use setters::setters;
pub use snapshot_id::{ParseSnapshotIdError, SnapshotId};
pub use table::{InvalidTableUuid, TableKey, TableName, TableUuid};
pub use unlisted::{Detachment, Unlisted, UnlistedDatabase, UnlistedTable, active_by_name};
pub use warning::{Warning, WarningKind};
