//! The nouns of chsnap: identifiers, names and quantities, without any I/O.

mod catalog;
mod escape;
mod fingerprint;
mod freeze_name;
mod label;
mod part;
mod quantities;
mod snapshot_id;
mod table;

pub use catalog::{Catalog, Mutation, Part, Table};
pub use escape::escape_for_file_name;
pub use fingerprint::{Fingerprint, ParseFingerprintError};
pub use freeze_name::{FreezeName, ParseFreezeNameError, ParseRepositoryIdError, RepositoryId};
pub use label::Label;
pub use part::{InvalidPartName, PartName, PartitionId};
pub use quantities::{Ownership, Placed, Placement, Tally, Totals};
pub use snapshot_id::{ParseSnapshotIdError, SnapshotId};
pub use table::{InvalidTableUuid, TableKey, TableName, TableUuid};
