//! What a server holds, as chsnap decides on it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compact_str::CompactString;

use super::{Fingerprint, PartName, PartitionId, TableKey, TableName, UnlistedDatabase, UnlistedTable};

/// One active part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub name: PartName,
    /// Its partition.
    pub partition: PartitionId,
    /// The directory that its own stands in, as the server sees it.
    pub parent: Arc<Path>,
    /// The name of its disk.
    pub disk: CompactString,
    /// Rows.
    pub rows: u64,
    /// Bytes on disk, as the server counts them.
    pub bytes: u64,
    /// Files, as the server counts them; 0 where it does not.
    pub files: u64,
    /// The server's own fingerprint, where it gives one.
    pub fingerprint: Option<Fingerprint>,
}

impl Part {
    /// Its directory, as the server sees it.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.parent.join(self.name.as_str())
    }
}

/// One mutation that the server still lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    /// The name of its file, or of its node in Keeper for replicated tables.
    pub id: String,
    /// Whether every part has it.
    pub is_done: bool,
}

impl Mutation {
    /// The version that parts carry once they have this mutation, if its id is a file's name.
    ///
    /// Source: `mutation_<version>.txt` in `MergeTreeMutationEntry.cpp`.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        mutation_version(&self.id)
    }
}

/// The version of the mutation in a file of this name; none if the name is not one of a mutation.
#[must_use]
pub fn mutation_version(file_name: &str) -> Option<u64> {
    file_name.strip_prefix("mutation_")?.strip_suffix(".txt")?.parse().ok()
}

/// Whether one of these parts still lacks the mutation of this version. A server keeps the files of mutations that are done
/// for a while, and says late that the last of them is.
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
    /// Data directories, one a disk, as the server sees them.
    pub data_paths: Vec<PathBuf>,
    /// The definition's file: absolute, or relative to the server's path.
    pub metadata_path: PathBuf,
    /// Storage policy; empty where the server has none.
    pub storage_policy: String,
    /// Whether the engine stores data on disk, where the server says so.
    pub has_own_data: Option<bool>,
    /// Active parts: many, and the same in every copy of the table.
    pub parts: Arc<Vec<Part>>,
    /// Mutations.
    pub mutations: Vec<Mutation>,
}

impl Table {
    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.key.name
    }

    /// Whether the table is of the MergeTree family, which `FREEZE` takes.
    #[must_use]
    pub fn is_merge_tree(&self) -> bool {
        self.engine.ends_with("MergeTree")
    }
}

/// What a server lists of the parts of a table, in short: lists that have equal ones are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Parts.
    pub parts: u64,
    /// A hash of each, added up modulo 2^64.
    pub sum: u64,
}

impl Listing {
    /// Counts one more part, by its hash.
    pub fn add(&mut self, hash: u64) {
        self.parts += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

impl std::ops::AddAssign for Listing {
    fn add_assign(&mut self, other: Self) {
        self.parts += other.parts;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Blocks that a `Distributed` table has accepted and not sent yet: files on the server's own disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingBlocks {
    /// Files, broken ones among them.
    pub files: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Database engines whose tables are on other servers, or in catalogs that another service keeps. Not among them:
/// engines that keep copies of such tables here (`MaterializedPostgreSQL`, `MaterializedMySQL`).
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

/// Whether the tables of a database of this engine are elsewhere: to list them a server asks others, which may not
/// answer, and none of them has data here.
#[must_use]
pub fn is_remote_database_engine(engine: &str) -> bool {
    REMOTE_DATABASE_ENGINES.contains(&engine)
}

/// Whether the tables of a database of this engine are the server's dictionaries, which have definitions of their own:
/// none of them can be made there.
#[must_use]
pub fn shows_dictionaries(engine: &str) -> bool {
    engine == "Dictionary"
}

/// All tables of a server at one moment, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The tables, sorted by name. Those of remote databases are not listed.
    pub tables: Vec<Table>,
    /// The engine of each database, the server's own left out.
    pub engines: BTreeMap<String, String>,
    /// What `Distributed` tables have not sent yet, where the server lists it and there is something.
    pub pending: BTreeMap<TableName, PendingBlocks>,
    /// Tables whose rows are in memory only, with the number of rows; none where the server does not tell.
    pub in_memory: BTreeMap<TableName, Option<u64>>,
    /// Tables that chsnap cannot handle at all, with the reason.
    pub unusable: Vec<(TableName, String)>,
    /// Tables that the server has and does not list.
    pub unlisted: Vec<UnlistedTable>,
    /// Databases that the server has and does not list.
    pub unlisted_databases: Vec<UnlistedDatabase>,
    /// The lists of parts that the server gave, by the table that it named with them.
    pub listings: BTreeMap<TableName, Listing>,
}

/// What is kept of one look at a server for the next: so that only what has changed is listed then, and no part is in
/// memory twice.
#[derive(Clone, Debug, Default)]
pub struct Look {
    /// The parts of each table.
    pub parts: BTreeMap<TableKey, Arc<Vec<Part>>>,
    /// See [`Catalog::listings`].
    pub listings: BTreeMap<TableName, Listing>,
}

impl Catalog {
    /// The names of everything that the server has, as far as it is known.
    pub fn names(&self) -> impl Iterator<Item = &TableName> + Clone {
        let unlisted = self.unlisted.iter().map(|unlisted| unlisted.table.name());
        let unusable = self.unusable.iter().map(|(name, _)| name);
        self.tables.iter().map(Table::name).chain(unlisted).chain(unusable)
    }

    /// What the next look wants to know of this one.
    #[must_use]
    pub fn look(&self) -> Look {
        let parts = self.tables.iter().map(|table| (table.key.clone(), Arc::clone(&table.parts)));
        Look { parts: parts.collect(), listings: self.listings.clone() }
    }

    /// The table that is the same one as `key` says: same name and same UUID.
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
