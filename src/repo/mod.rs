//! A repository on disk: the only code that knows its format, which `docs/format.md` states.
//!
//! Reading needs no lock. Whatever changes a repository is a method of [`Locked`], so that it cannot be called
//! without the lock; a snapshot comes to be by [`Incoming::seal`], whose rename is the only commit point.

mod beside;
mod claim;
mod content;
mod durable;
mod error;
mod event;
mod holder;
mod holdings;
mod holdings_added;
mod holdings_rows;
mod identity;
mod incoming;
mod index;
mod intent;
mod journal;
mod latest;
mod layout;
mod lease;
mod lock;
mod manifest;
mod manifest_digest;
mod mark;
mod parts;
mod pins;
mod repository;
mod series;
mod sources;
mod sources_file;
mod summary;
mod trash;
mod uncovered;
mod verified;

pub use beside::Beside;
pub use content::{Content, SeriesChoice, SeriesOf};
pub use error::RepoError;
pub use event::{DamagedPart, Event, Removal, TableParts, Verified};
pub use holder::{Holder, HolderState};
pub use holdings::{HeldPart, Holding, Holdings, Instance, InstanceId, Origin, PartKey, PartRun, Rest};
pub use holdings_added::HeldParts;
pub use incoming::Incoming;
pub use index::{Index, IndexPlace};
pub use intent::{Intent, Leftover, ShadowPlace};
pub use journal::JournalGap;
pub use layout::{
    DATA, database_definition_path, definition_path, dump_directory, dump_path, is_data_file, part_path,
    table_below_data, table_path,
};
pub use lease::Lease;
pub use lock::Locked;
pub use manifest::{
    DatabaseEntry, Dump, DumpColumn, FORMAT, Manifest, MetadataFile, ServerEntry, Settings, TableEntry, TableState,
};
pub use manifest_digest::{ManifestDigest, check_manifest};
pub use parts::{Joined, PartDigest, PartRecord, UnkeptOf, read_parts};
pub use pins::Pin;
pub use repository::{BoundServer, Repository, SnapshotState};
pub use series::line;
pub use sources::{FileKey, NewPart, Source, Sources};
pub use summary::Summary;
pub use trash::{Condemned, Scratch};
pub use uncovered::{PartFile, UncoveredFiles};
pub use verified::{Checks, Covered, LastCheck, Note};
