//! `manifest.json`: what a snapshot says of itself.

use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{
    DumpKind, DumpTotals, Label, Placed, SnapshotId, TableName, TableUuid, Totals, Warning, WarningKind,
    shows_dictionaries,
};

/// The format of repositories and manifests that this chsnap writes.
pub const FORMAT: u32 = 1;

/// What a snapshot says of itself; `parts.jsonl.zst` beside it lists its parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version; see [`FORMAT`].
    pub format: u32,
    /// The chsnap version that made the snapshot.
    pub chsnap: String,
    /// The snapshot.
    pub id: SnapshotId,
    /// Counts the snapshots of the repository in the order in which they were made, whatever the clock said.
    pub sequence: u64,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// When it was sealed.
    pub sealed: DateTime<Utc>,
    /// The label given to it.
    #[serde(flatten)]
    pub label: Label,
    /// The server that it is of.
    pub server: ServerEntry,
    /// How it was made.
    pub settings: Settings,
    /// The newest snapshot when it was made: `written_bytes` compares with that one.
    pub previous: Option<SnapshotId>,
    /// What it holds.
    pub totals: Totals,
    /// How its parts came there.
    pub placed: Placed,
    /// What it holds of tables without parts; absent where that is nothing.
    #[serde(default, skip_serializing_if = "DumpTotals::is_empty")]
    pub dumped: DumpTotals,
    /// The databases.
    pub databases: Vec<DatabaseEntry>,
    /// Every table that was asked for, with what became of it.
    pub tables: Vec<TableEntry>,
    /// Files of definitions and of unfinished mutations.
    pub metadata: Vec<MetadataFile>,
    /// What the person was told when it was made.
    pub warnings: Vec<String>,
    /// The same, each with its kind and its table; the first versions wrote none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warning_list: Vec<Warning>,
    /// BLAKE3 of `parts.jsonl.zst`, 64 hex digits.
    pub parts_blake3: String,
}

/// The server of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerEntry {
    /// Its version.
    pub version: String,
    /// Its UUID, where it has one that is not zero.
    pub uuid: Option<String>,
    /// Its data path.
    pub data_path: String,
    /// Its host's name.
    pub host_name: String,
    /// Its time zone.
    pub timezone: String,
}

/// How a snapshot was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `all`: everything was frozen.
    pub freeze: String,
    /// `auto`, `rename`, `link` or `copy`.
    pub place: String,
    /// `keep`, or `record`: what the filesystem cannot keep of a file is in the list of parts.
    #[serde(default)]
    pub ids: String,
    /// Patterns of the tables taken; empty for all.
    pub include: Vec<String>,
    /// Patterns of the tables left out.
    pub exclude: Vec<String>,
    /// Patterns of the tables whose data may stay behind.
    pub accept: Vec<String>,
    /// Partitions taken; empty for all.
    pub partitions: Vec<String>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// Its name.
    pub database: String,
    /// Its engine.
    pub engine: String,
    /// Its UUID, where it has one.
    pub uuid: Option<TableUuid>,
    /// Its definition's file, relative to the snapshot.
    pub definition: String,
}

/// What became of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// Its parts and its definition are here.
    Taken,
    /// Its definition is here; it has nothing that could be taken.
    Definition,
    /// Its definition is here; its data could not be taken.
    DataLeft,
    /// It is not here: see its reason.
    Skipped,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableEntry {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Its UUID, in Atomic databases.
    pub uuid: Option<TableUuid>,
    /// Its engine.
    pub engine: String,
    /// What became of it.
    pub state: TableState,
    /// Why, where it is not `taken` or not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its definition's file, relative to the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Whether the definition is the server's own file, with UUIDs and secrets in clear, rather than what it prints.
    pub definition_is_file: bool,
    /// Its storage policy.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub storage_policy: String,
    /// Its parts in the snapshot.
    pub parts: u64,
    /// Files in them.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Sum of the files' sizes.
    pub apparent_bytes: u64,
    /// How often it had to be frozen.
    pub freezes: u32,
    /// Patch parts among `parts`.
    pub patch_parts: u64,
    /// Parts in `detached/`, which are not taken.
    pub detached_parts: u64,
    /// Parts on disks that are not local, which are not taken: the table is not whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remote_parts: u64,
    /// Whether the server had it and did not list it: it was detached, say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_detached: bool,
    /// Parts among `parts` whose files cannot be held against checksums: their list says why.
    #[serde(default)]
    pub unverifiable_parts: u64,
    /// Why the first of those cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<String>,
    /// Files of unfinished mutations that were taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mutations: Vec<String>,
    /// How its rows are kept, of a table without parts: its state is then `data_left`, which earlier versions know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<Dump>,
}

impl TableEntry {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> TableName {
        TableName::new(self.database.clone(), self.table.clone())
    }
}

/// The rows of a table that `FREEZE` cannot take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dump {
    /// How they are kept.
    pub kind: DumpKind,
    /// Its files, relative to the snapshot; `metadata` has the size and the digest of each.
    pub files: Vec<String>,
    /// Rows, where they could be counted.
    pub rows: Option<u64>,
    /// Bytes, before they were compressed.
    pub bytes: u64,
    /// Bytes of the files.
    pub stored_bytes: u64,
    /// BLAKE3 of what was compressed, 64 hex digits; none of files that were linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_blake3: Option<String>,
    /// The columns that were read; none of files that were linked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<DumpColumn>,
}

/// A column of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpColumn {
    /// Its name.
    pub name: String,
    /// Whether a plain INSERT refuses it, because its value follows from others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_materialized: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference on")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A file that is no part's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetadataFile {
    /// Its path, relative to the snapshot.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of it, 64 hex digits.
    pub blake3: String,
}

impl Manifest {
    /// The warnings with their kinds; those of earlier versions have none.
    #[must_use]
    pub fn all_warnings(&self) -> Vec<Warning> {
        if self.warning_list.is_empty() {
            let unclassified = |message: &String| Warning::new(WarningKind::Unclassified, message.clone());
            return self.warnings.iter().map(unclassified).collect();
        }
        self.warning_list.clone()
    }

    /// Whether the tables of a database are dictionaries that have their definitions elsewhere. Snapshots of earlier
    /// versions list such tables.
    #[must_use]
    pub fn shows_dictionaries(&self, database: &str) -> bool {
        let mut databases = self.databases.iter();
        databases.any(|entry| entry.database == database && shows_dictionaries(&entry.engine))
    }
}

impl MetadataFile {
    /// The entry of the file at `relative`, a path in the snapshot, that holds `bytes`.
    #[must_use]
    pub fn of(relative: &Path, bytes: &[u8]) -> Self {
        Self {
            path: relative.to_string_lossy().into_owned(),
            bytes: bytes.len() as u64,
            blake3: blake3::hash(bytes).to_hex().to_string(),
        }
    }
}
