//! `manifest.json`: a snapshot's description of itself.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{
    Detachment, DumpKind, DumpTotals, Label, LackedMutation, Moment, OffMoment, PlacedTotals, RepositoryId, SnapshotId,
    SnapshotTotals, TableName, TableUuid, Warning, WarningKind, count, shows_dictionaries,
};
use crate::plan::ImportKind;

/// The format of repositories and manifests that this chsnap writes.
pub const FORMAT: u32 = 1;

/// A snapshot's description of itself; `parts.jsonl.zst` next to it lists its parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// Format version; see [`FORMAT`].
    pub format: u32,
    /// The chsnap version that made the snapshot.
    pub chsnap: String,
    /// The snapshot.
    pub id: SnapshotId,
    /// Counts the snapshots of the repository in the order in which they were made, whatever the clock showed.
    pub sequence: u64,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// When it was sealed.
    pub sealed: DateTime<Utc>,
    /// The label given to it.
    #[serde(flatten)]
    pub label: Label,
    /// The server from which it was taken.
    pub server: ServerEntry,
    /// How it was made.
    pub settings: CreateSettings,
    /// The tree from which `import` made it, if it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<ImportedFrom>,
    /// The moment of its tables, if one was requested: every table then is of it, or records why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
    /// Where it was copied from; absent if the snapshot was made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied: Option<CopiedFrom>,
    /// The snapshot of which it is a selection; absent unless `pull` was asked for tables or partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extracted: Option<ExtractedFrom>,
    /// The secrets that a push left out; absent unless it was pushed without secrets and had some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets_left_out: Option<SecretsLeftOut>,
    /// The snapshot that `written_bytes` is relative to: the newest of its series or of the main one when it was made.
    pub previous: Option<SnapshotId>,
    /// Its contents.
    pub totals: SnapshotTotals,
    /// How its parts were placed.
    pub placed: PlacedTotals,
    /// Its content of tables without parts; absent if there is none.
    #[serde(default, skip_serializing_if = "DumpTotals::is_empty")]
    pub dumped: DumpTotals,
    /// The databases.
    pub databases: Vec<DatabaseEntry>,
    /// Every selected table, with its outcome.
    pub tables: Vec<TableEntry>,
    /// Files of definitions and of unfinished mutations.
    pub metadata: Vec<MetadataFile>,
    /// The warnings that were printed when it was made.
    pub warnings: Vec<String>,
    /// The same, each with its kind and its table; the first versions did not write them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warning_list: Vec<Warning>,
    /// BLAKE3 of `parts.jsonl.zst`, 64 hex digits.
    pub parts_blake3: String,
}

/// Where a snapshot was copied from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CopiedFrom {
    /// The repository in which it was made, and the digest of its list of parts there.
    pub origin: SnapshotOrigin,
    /// The repository that it was copied from: the origin's, or one that had a copy.
    pub repository: RepositoryId,
    /// Where that was, on the host that copied.
    pub path: String,
    /// The host that copied.
    pub host: String,
    /// The chsnap version that copied.
    pub chsnap: String,
    /// When the copy was begun.
    pub time: DateTime<Utc>,
}

/// The secrets that a push left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SecretsLeftOut {
    /// Definitions that have `[HIDDEN]` in place of each of their secrets, as paths relative to the snapshot.
    pub hidden: Vec<String>,
    /// Files that are not in the snapshot, likewise.
    pub files: Vec<String>,
}

impl SecretsLeftOut {
    /// Whether nothing was left out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hidden.is_empty() && self.files.is_empty()
    }

    /// Whether files of this directory were left out.
    #[must_use]
    pub fn has_files_of(&self, directory: &str) -> bool {
        self.files.iter().any(|path| path.split('/').next() == Some(directory))
    }
}

impl fmt::Display for SecretsLeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut of: BTreeMap<&str, u64> = BTreeMap::new();
        for path in &self.files {
            *of.entry(path.split('/').next().unwrap_or_default()).or_default() += 1;
        }
        let mut texts = Vec::new();
        if !self.hidden.is_empty() {
            texts.push(format!("[HIDDEN] stands for the secrets of {}", count(self.hidden.len() as u64, "definition")));
        }
        texts.extend(of.iter().map(|(place, files)| format!("{} of {place}/ left out", count(*files, "file"))));
        write!(f, "it was pushed without secrets: {}", texts.join(", "))
    }
}

/// The snapshot of which another one is a selection of tables and partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExtractedFrom {
    /// Its id.
    pub id: SnapshotId,
    /// The repository that it was made in, and what its list of parts was there.
    pub origin: SnapshotOrigin,
    /// Where it was, on the host that extracted.
    pub path: String,
    /// The host that extracted.
    pub host: String,
    /// The chsnap version that extracted.
    pub chsnap: String,
    /// When that was begun.
    pub time: DateTime<Utc>,
}

/// The original snapshot: equal for all copies with the same content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotOrigin {
    /// The repository that it was made in.
    pub repository: RepositoryId,
    /// BLAKE3 of its `parts.jsonl.zst` there, 64 hex digits.
    pub parts_blake3: String,
}

/// The server of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ServerEntry {
    /// Its version.
    pub version: String,
    /// Its UUID, if it has one that is not zero.
    pub uuid: Option<String>,
    /// Its data path.
    pub data_path: String,
    /// Its host's name.
    pub host_name: String,
    /// Its time zone.
    pub timezone: String,
    /// The server's macros, if it has replicated tables; else absent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub macros: BTreeMap<String, String>,
}

/// A tree that others made, of which a snapshot was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ImportedFrom {
    /// Its creator.
    pub kind: ImportKind,
    /// The name that it had for who made it.
    pub name: String,
    /// Where it was.
    pub path: String,
}

/// How a snapshot was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreateSettings {
    /// `all`: everything was frozen.
    pub freeze: String,
    /// `auto`, `rename`, `link` or `copy`.
    pub place: String,
    /// `keep`, or `record`: the list of parts has the metadata that the filesystem cannot keep.
    #[serde(default)]
    pub ids: String,
    /// Patterns of the tables taken; empty for all.
    pub include: Vec<String>,
    /// Patterns of the tables left out.
    pub exclude: Vec<String>,
    /// Patterns of the tables whose missing data is no warning.
    pub accept: Vec<String>,
    /// Partitions taken; empty for all.
    pub partitions: Vec<String>,
}

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

/// The outcome for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableState {
    /// The snapshot has its parts and its definition.
    Taken,
    /// The snapshot has its definition; there were no data to take.
    Definition,
    /// The snapshot has its definition; its data could not be taken.
    DataLeft,
    /// The snapshot does not have it: see its reason.
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
    /// The outcome for it.
    pub state: TableState,
    /// The reason, if it is not `taken` or not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its definition's file, relative to the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<String>,
    /// Whether the definition is the server's own file, with UUIDs and secrets in clear text, rather than the server's
    /// printed statement.
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
    /// Parts on disks that are not local, which are not taken: the table is then not complete.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub remote_parts: u64,
    /// Whether the server had it but did not list it, for example because it was detached.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_detached: bool,
    /// How permanently it was detached, if the server reported that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detachment: Option<Detachment>,
    /// Parts among `parts` whose files cannot be compared with checksums; the list of parts gives the reasons.
    #[serde(default)]
    pub unverifiable_parts: u64,
    /// The reason for the first of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<String>,
    /// Files of unfinished mutations that were taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mutations: Vec<String>,
    /// Its unfinished mutations that only Keeper has: the snapshot does not have them, and a restore does not run them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keeper_mutations: Vec<LackedMutation>,
    /// Where Keeper has it, for a replicated table; the first versions did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replica: Option<ReplicaEntry>,
    /// How its rows are stored, for a table without parts: its state is then `data_left`, which earlier versions know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<Dump>,
    /// Why it is not of the snapshot's moment, if the snapshot has one and the table is not of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_moment: Option<OffMoment>,
}

impl TableState {
    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Definition => "definition",
            Self::DataLeft => "data_left",
            Self::Skipped => "skipped",
        }
    }
}

impl TableEntry {
    /// Creates the entry of a table that has no part and no definition yet.
    #[must_use]
    pub fn without_parts(name: &TableName, engine: &str, state: TableState) -> Self {
        Self {
            database: name.database.clone(),
            table: name.table.clone(),
            uuid: None,
            engine: engine.to_owned(),
            state,
            reason: None,
            definition: None,
            definition_is_file: false,
            storage_policy: String::new(),
            parts: 0,
            files: 0,
            rows: 0,
            apparent_bytes: 0,
            freezes: 0,
            patch_parts: 0,
            detached_parts: 0,
            remote_parts: 0,
            is_detached: false,
            detachment: None,
            unverifiable_parts: 0,
            unverifiable: None,
            mutations: Vec::new(),
            keeper_mutations: Vec::new(),
            replica: None,
            dump: None,
            off_moment: None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> TableName {
        TableName::new(self.database.clone(), self.table.clone())
    }
}

/// Where Keeper has a replicated table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReplicaEntry {
    /// Its path as in its definition, with macros; null if the definition leaves it to the server.
    pub path: Option<String>,
    /// The replica's name, likewise.
    pub name: Option<String>,
    /// Its path as the server expanded it; null if the server did not list it.
    pub zookeeper_path: Option<String>,
    /// The replica's name, likewise.
    pub replica_name: Option<String>,
    /// The value of `{shard}` in the path, if the path contains it.
    pub shard: Option<String>,
}

/// The rows of a table that `FREEZE` cannot take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Dump {
    /// How they are kept.
    pub kind: DumpKind,
    /// Its files, relative to the snapshot; `metadata` has the size and the digest of each.
    pub files: Vec<String>,
    /// Rows, if they could be counted.
    pub rows: Option<u64>,
    /// Bytes, before they were compressed.
    pub bytes: u64,
    /// Bytes of the files.
    pub stored_bytes: u64,
    /// BLAKE3 of the uncompressed rows, 64 hex digits; absent for files that were linked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_blake3: Option<String>,
    /// The columns that were read; absent for files that were linked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<DumpColumn>,
}

/// A column of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct MetadataFile {
    /// Its path, relative to the snapshot.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of it, 64 hex digits.
    pub blake3: String,
}

impl Manifest {
    /// The warnings with their kinds; warnings of earlier versions have no kind.
    #[must_use]
    pub fn all_warnings(&self) -> Vec<Warning> {
        if self.warning_list.is_empty() {
            let unclassified = |message: &String| Warning::new(WarningKind::Unclassified, message.clone());
            return self.warnings.iter().map(unclassified).collect();
        }
        self.warning_list.clone()
    }

    /// The original of this snapshot, which is in `repository`.
    #[must_use]
    pub fn origin(&self, repository: &RepositoryId) -> SnapshotOrigin {
        let own = || SnapshotOrigin { repository: repository.clone(), parts_blake3: self.parts_blake3.clone() };
        self.copied.as_ref().map_or_else(own, |copied| copied.origin.clone())
    }

    /// When its files were written here, or when writing them began.
    #[must_use]
    pub fn written_since(&self) -> DateTime<Utc> {
        let copied = self.copied.as_ref().map(|copied| copied.time);
        copied.or(self.extracted.as_ref().map(|extracted| extracted.time)).unwrap_or(self.time)
    }

    /// Whether both describe the same server and tables, whatever their repositories and the placement of their files.
    #[must_use]
    pub fn has_content_of(&self, other: &Self) -> bool {
        let whole = |manifest: &Self| {
            let Self { format, id, time, server, databases, tables, metadata, .. } = manifest.clone();
            (format, id, time, server, databases, tables, metadata)
        };
        whole(self) == whole(other)
    }

    /// How many tables are not of the moment of the snapshot, if it has one.
    #[must_use]
    pub fn off_moment_tables(&self) -> u64 {
        self.tables.iter().filter(|table| table.off_moment.is_some()).count() as u64
    }

    /// Whether the tables of a database are dictionaries that are defined elsewhere. Snapshots of earlier versions list
    /// such tables.
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
