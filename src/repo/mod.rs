//! A repository on disk: the only code that knows its format, which `docs/format.md` specifies.
//!
//! Reading needs no lock. Every change to a repository is a method of [`Locked`], so that it cannot be called without
//! the lock. Only [`Incoming::seal`] creates a snapshot; its rename is the only commit point.

mod claim;
mod content;
mod database;
mod durable;
mod error;
mod event;
mod holder;
mod holdings;
mod holdings_added;
mod holdings_rows;
mod host;
mod identity;
mod incoming;
mod index;
mod intent;
mod journal;
mod journal_content;
mod kept_lists;
mod known_parts;
mod latest;
mod layout;
mod lease;
mod lock;
mod manifest;
mod manifest_digest;
mod mark;
mod other_trees;
mod part_ranges;
mod parts;
mod pins;
mod remembered;
mod repository;
mod series;
mod sources;
mod sources_file;
mod summary;
mod taken_damage;
mod trash;
mod uncovered;
mod verified;

pub use content::{SeriesChoice, SeriesOf, SnapshotScope};
pub use error::RepoError;
pub use event::{DamagedPart, Event, Removal, TableParts, VerifiedEvent};
pub use holder::{HolderState, LockHolder};
pub use holdings::{
    FilesOutsideParts, Holding, Holdings, InstanceId, InstanceOrigin, PartInstance, PartKey, PartRun, RetainedPart,
};
pub use holdings_added::HeldParts;
pub use host::HostSettings;
pub use incoming::Incoming;
pub use index::{Index, IndexPlace};
pub use intent::{CreateIntent, CreateLeftover, ShadowPlace};
pub use journal::JournalGap;
pub use kept_lists::SnapshotLists;
pub use known_parts::{KnownLivePart, KnownParts};
pub use layout::{
    DATA, TableDirNames, database_definition_path, definition_path, dump_directory, dump_path, is_data_file, part_path,
    table_below_data, table_path,
};
pub use lease::Lease;
pub use lock::Locked;
pub use manifest::{
    CopiedFrom, CreateSettings, DatabaseEntry, Dump, DumpColumn, ExtractedFrom, FORMAT, ImportedFrom, Manifest,
    MetadataFile, ReplicaEntry, SecretsLeftOut, ServerEntry, SnapshotOrigin, TableEntry, TableState,
};
pub use manifest_digest::{ManifestDigest, check_manifest};
pub use other_trees::OtherTrees;
pub use part_ranges::{PartRange, TableRanges};
pub use parts::{Joined, LostMetadataOf, PartDigest, PartRecord, read_parts};
pub use pins::Pin;
pub use repository::{BoundServer, Repository, SnapshotState};
pub use series::line;
pub use sources::{FileKey, NewPart, PartSource, Sources};
pub use summary::Summary;
pub use trash::{ScratchDir, ToRemove};
pub use uncovered::{PartFile, UncoveredFiles};
pub use verified::{Checks, DamageNote, LastCheck, PartCoverage};
