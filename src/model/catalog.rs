//! The tables and parts of a server, as chsnap's decisions need them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::{Fingerprint, PartName, PartitionId, TableKey, TableName, UnlistedDatabase, UnlistedTable};

/// One active part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogPart {
    /// Its name.
    pub name: PartName,
    /// Its partition.
    pub partition: PartitionId,
    /// The directory that contains the part's own, as the server sees it.
    pub parent: Arc<Path>,
    /// The name of its disk.
    pub disk: CompactString,
    /// Rows.
    pub rows: u64,
    /// Bytes on disk, as the server counts them.
    pub bytes: u64,
    /// Files, by the server's count; 0 if it has none.
    pub files: u64,
    /// The server's own fingerprint, if it gives one.
    pub fingerprint: Option<Fingerprint>,
}

impl CatalogPart {
    /// Its directory, as the server sees it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.parent.join(self.name.as_str())
    }
}

/// One mutation that the server still lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogMutation {
    /// The name of its file, or of its node in Keeper for replicated tables.
    pub id: String,
    /// Whether it is applied to every part.
    pub is_done: bool,
    /// Keeper's data about it, for an unfinished mutation of a replicated table.
    pub in_keeper: Option<KeeperMutation>,
}

/// An unfinished mutation of a replicated table, as stored in Keeper. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperMutation {
    /// The commands of the `ALTER TABLE`. They can contain values of any kind.
    pub command: String,
    /// The version that parts have once it is applied, by partition; it does not concern other partitions.
    pub versions: BTreeMap<PartitionId, u64>,
}

impl KeeperMutation {
    /// Selects those of these parts to which it is not applied yet.
    ///
    /// Source: `ReplicatedMergeTreeMutationStatus.parts_to_do`: parts whose data version is less than the block number.
    pub fn lacking<'a>(&self, parts: impl IntoIterator<Item = &'a PartName>) -> Vec<PartName> {
        let lacks = |part: &&PartName| {
            let version = part.partition().and_then(|partition| self.versions.get(&partition));
            !part.is_patch() && version.is_some_and(|version| part.data_version() < *version)
        };
        parts.into_iter().filter(lacks).cloned().collect()
    }
}

/// An unfinished mutation that a snapshot does not carry, because only Keeper has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LackedMutation {
    /// Its id.
    pub id: String,
    /// The command of the `ALTER TABLE`; empty if that is not known. It can contain values of any kind.
    pub command: String,
    /// The parts in the snapshot that lack it.
    pub parts: Vec<PartName>,
}

impl CatalogMutation {
    /// The version that parts have once this mutation is applied, if its id is a file's name.
    ///
    /// Source: `mutation_<version>.txt` in `MergeTreeMutationEntry.cpp`.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        mutation_version(&self.id)
    }
}

/// The version of the mutation in a file of this name; `None` if the name is not one of a mutation.
#[must_use]
pub fn mutation_version(file_name: &str) -> Option<u64> {
    file_name.strip_prefix("mutation_")?.strip_suffix(".txt")?.parse().ok()
}

/// Whether one of these parts still lacks the mutation of this version. A server keeps the files of finished mutations
/// for a while, and reports with a delay that the last of them is done.
pub fn awaits_mutation<'a>(version: u64, parts: impl IntoIterator<Item = &'a PartName>) -> bool {
    parts.into_iter().any(|part| !part.is_patch() && part.data_version() < version)
}

/// One table with its definition and active parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Name and UUID.
    pub key: TableKey,
    /// Engine.
    pub engine: String,
    /// Definition, as the server prints it.
    pub definition: String,
    /// Data directories, one for each disk, as the server sees them.
    pub data_paths: Vec<PathBuf>,
    /// The definition's file: absolute, or relative to the server's path.
    pub metadata_path: PathBuf,
    /// Storage policy; empty if the server has none.
    pub storage_policy: String,
    /// Whether the engine stores data on disk, if the server reports it.
    pub has_own_data: Option<bool>,
    /// Active parts: many, and the same in every copy of the table.
    pub parts: Arc<Vec<CatalogPart>>,
    /// Mutations.
    pub mutations: Vec<CatalogMutation>,
}

impl Table {
    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.key.name
    }

    /// Whether the table is of the MergeTree family, to which `FREEZE` applies.
    #[must_use]
    pub fn is_merge_tree(&self) -> bool {
        self.engine.ends_with("MergeTree")
    }
}

/// A summary of the parts that a server lists for a table: lists with equal summaries are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartListSummary {
    /// Parts.
    pub parts: u64,
    /// The hashes of all parts, added up modulo 2^64.
    pub sum: u64,
}

impl PartListSummary {
    /// Counts one more part, by its hash.
    pub fn add(&mut self, hash: u64) {
        self.parts += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

impl std::ops::AddAssign for PartListSummary {
    fn add_assign(&mut self, other: Self) {
        self.parts += other.parts;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// A summary of all parts of a table that a server has on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartStates {
    /// Those that are active.
    pub active: PartListSummary,
    /// Those that were replaced or dropped, and are not removed yet.
    pub inactive: PartListSummary,
}

/// When lists of parts were read: those of all tables after `begun` and before `ended`.
#[derive(Clone, Copy, Debug)]
pub struct ReadingTime {
    /// Before the first request.
    pub begun: Instant,
    /// After the last answer.
    pub ended: Instant,
}

/// Blocks that a `Distributed` table has accepted but not sent yet: files on the server's own disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingBlocks {
    /// Files, including broken ones.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Database engines whose tables are on other servers, or in catalogs that another service keeps. Engines that keep
/// copies of such tables here (`MaterializedPostgreSQL`, `MaterializedMySQL`) are not among them.
const REMOTE_DATABASE_ENGINES: [&str; 14] = [
    "PostgreSQL",
    "MySQL",
    "MongoDB",
    "SQLite",
    "Remote",
    "RemoteSecure",
    "RemoteOnly",
    "DataLakeCatalog",
    "Iceberg",
    "DeltaLake",
    "Glue",
    "Unity",
    "Hive",
    "Paimon",
];

/// Whether the tables of a database of this engine are elsewhere: to list them, a server asks other servers, which may
/// not answer, and none of the tables has data here.
#[must_use]
pub fn is_remote_database_engine(engine: &str) -> bool {
    REMOTE_DATABASE_ENGINES.contains(&engine)
}

/// Whether the tables of a database of this engine are the server's dictionaries, which are defined elsewhere: none of
/// them can be created in this database.
#[must_use]
pub fn shows_dictionaries(engine: &str) -> bool {
    engine == "Dictionary"
}

/// All tables of a server at one moment, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The tables, sorted by name. Those of remote databases are not listed.
    pub tables: Vec<Table>,
    /// The engine of each database, without the server's own.
    pub engines: BTreeMap<String, String>,
    /// The blocks that `Distributed` tables have not sent yet; only tables that have any, and only if the server lists
    /// them.
    pub pending: BTreeMap<TableName, PendingBlocks>,
    /// Tables whose rows are in memory only, with the number of rows; `None` if the server does not give it.
    pub in_memory: BTreeMap<TableName, Option<u64>>,
    /// Tables that chsnap cannot handle, with the reason.
    pub unusable: Vec<(TableName, String)>,
    /// Tables that the server has but does not list.
    pub unlisted: Vec<UnlistedTable>,
    /// Databases that the server has but does not list.
    pub unlisted_databases: Vec<UnlistedDatabase>,
    /// Summaries of the lists of parts that the server gave, by the table that it named with them.
    pub listings: BTreeMap<TableName, PartListSummary>,
    /// When these lists were read.
    pub parts_read: Option<ReadingTime>,
}

/// The data of one look at a server that the next one needs: so that only what has changed is listed then, and no part
/// is in memory twice.
#[derive(Clone, Debug, Default)]
pub struct CatalogFingerprint {
    /// The parts of each table.
    pub parts: BTreeMap<TableKey, Arc<Vec<CatalogPart>>>,
    /// See [`Catalog::listings`].
    pub listings: BTreeMap<TableName, PartListSummary>,
}

impl Catalog {
    /// The names of all known tables of the server, listed or not.
    pub fn names(&self) -> impl Iterator<Item = &TableName> + Clone {
        let unlisted = self.unlisted.iter().map(|unlisted| unlisted.table.name());
        let unusable = self.unusable.iter().map(|(name, _)| name);
        self.tables.iter().map(Table::name).chain(unlisted).chain(unusable)
    }

    /// Extracts the data that the next look needs.
    #[must_use]
    pub fn look(&self) -> CatalogFingerprint {
        let parts = self.tables.iter().map(|table| (table.key.clone(), Arc::clone(&table.parts)));
        CatalogFingerprint { parts: parts.collect(), listings: self.listings.clone() }
    }

    /// Finds the table with this key: same name and same UUID.
    #[must_use]
    pub fn find(&self, key: &TableKey) -> Option<&Table> {
        let index = self.tables.binary_search_by(|table| table.key.name.cmp(&key.name)).ok()?;
        self.tables.get(index).filter(|table| table.key.uuid == key.uuid)
    }
}

#[cfg(test)]
mod tests {
    use super::is_remote_database_engine;

    #[test]
    fn only_engines_that_are_known_to_be_remote_are_so() {
        for engine in ["PostgreSQL", "MySQL", "SQLite", "Remote", "DataLakeCatalog", "Iceberg"] {
            assert!(is_remote_database_engine(engine), "{engine}");
        }
        let here =
            ["Atomic", "Ordinary", "Memory", "Lazy", "Replicated", "Shared", "Backup", "Filesystem", "Dictionary"];
        for engine in here.into_iter().chain(["MaterializedPostgreSQL", "MaterializedMySQL", "Overlay", "", "Newest"]) {
            assert!(!is_remote_database_engine(engine), "{engine}");
        }
    }
}
