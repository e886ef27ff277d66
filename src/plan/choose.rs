//! Decides which tables a snapshot takes, and why the others are not in it.

use std::fmt;

use crate::model::{
    DumpKind, PartitionId, PendingBlocks, Table, TableName, WarningKind, count, is_drill_database, is_temporary_table,
    shows_dictionaries,
};

use super::definition::ParsedDefinition;
use super::pattern::TablePattern;

/// The selection of the command line.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TableSelection {
    /// Tables to take; all if empty.
    pub include: Vec<TablePattern>,
    /// Tables to leave out.
    pub exclude: Vec<TablePattern>,
    /// Tables whose data may be left out without a warning.
    pub accept: Vec<TablePattern>,
    /// Partitions to take; all if empty.
    pub partitions: Vec<PartitionId>,
    /// The rows to read that `FREEZE` cannot take.
    pub dumps: DumpOptions,
}

crate::model::setters! { TableSelection {
    with_include => include: Vec<TablePattern>,
    with_exclude => exclude: Vec<TablePattern>,
    with_accept => accept: Vec<TablePattern>,
    with_partitions => partitions: Vec<PartitionId>,
    with_dumps => dumps: DumpOptions,
} }

/// The rows to read that `FREEZE` cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DumpOptions {
    /// The largest dump of one table in bytes before compression; 0 turns dumps off.
    pub limit_bytes: u64,
    /// Whether tables of the engine `Memory` are dumped.
    pub memory: bool,
}

crate::model::setters! { DumpOptions {
    with_limit_bytes => limit_bytes: u64,
    with_memory => memory: bool,
} }

impl DumpOptions {
    /// The limit if the command line gives none.
    pub const DEFAULT_LIMIT_BYTES: u64 = 256 << 20;
}

impl Default for DumpOptions {
    fn default() -> Self {
        Self { limit_bytes: Self::DEFAULT_LIMIT_BYTES, memory: false }
    }
}

impl TableSelection {
    /// The selection as it applies to these tables: an exact name takes precedence over the same text as a pattern.
    #[must_use]
    pub fn resolved<'a>(&self, names: &(impl Iterator<Item = &'a TableName> + Clone)) -> Self {
        let resolve = |patterns: &[TablePattern]| TablePattern::resolve(patterns, names);
        Self {
            include: resolve(&self.include),
            exclude: resolve(&self.exclude),
            accept: resolve(&self.accept),
            partitions: self.partitions.clone(),
            dumps: self.dumps,
        }
    }

    /// Whether the server's own database is selected by name.
    #[must_use]
    pub fn names_system(&self) -> bool {
        self.include.iter().any(TablePattern::names_system)
    }

    /// Whether this table is selected, whatever its kind.
    #[must_use]
    pub fn wants(&self, name: &TableName) -> bool {
        let named = |patterns: &[TablePattern]| patterns.iter().any(|pattern| pattern.matches(name));
        // Databases left by interrupted drills are not the server's data.
        if is_drill_database(&name.database) {
            return false;
        }
        let system = name.database == "system";
        let included = if self.include.is_empty() {
            !system
        } else {
            self.include.iter().any(|pattern| pattern.matches(name) && (!system || pattern.names_system()))
        };
        included && !named(&self.exclude)
    }

    /// Whether this table's data may be left out without a warning.
    #[must_use]
    pub fn accepts(&self, table: &Table) -> bool {
        self.accept.iter().any(|pattern| pattern.matches(table.name()))
    }

    /// Whether this partition is selected.
    #[must_use]
    pub fn wants_partition(&self, partition: &PartitionId) -> bool {
        self.partitions.is_empty() || self.partitions.contains(partition)
    }
}

/// The decision about one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Its parts and its definition are taken.
    Take,
    /// Its definition is taken; it has nothing that `FREEZE` could take.
    DefinitionOnly,
    /// Its definition is taken, and its rows by other means than `FREEZE`.
    Dump(DumpKind),
    /// Its definition is taken; its data cannot be.
    DataStays(DataLeftReason),
    /// A running or killed restore has created or replaced it. Nothing of it is taken.
    Temporary,
    /// It was not selected, or no user has created it.
    LeftOut,
}

/// Why the data of a table is not in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataLeftReason {
    /// Its engine keeps it in object storage.
    ObjectStorage {
        /// The engine.
        engine: String,
    },
    /// One of its disks is not a plain local one.
    ForeignDisk {
        /// The disk.
        disk: String,
        /// Its type.
        kind: String,
    },
    /// Its engine stores data and does not support `FREEZE`.
    Engine {
        /// The engine.
        engine: String,
    },
    /// A database of the engine `Backup` shows it, whose tables cannot be frozen (774).
    InBackup,
    /// It has a `UNIQUE KEY`, and `FREEZE` refuses such tables (344).
    UniqueKey,
    /// Its rows are in memory only. Their number, if the server reports it.
    InMemory {
        /// Rows.
        rows: Option<u64>,
    },
    /// Its rows are in Keeper.
    InKeeper,
    /// Its dump would exceed the limit.
    OverDumpLimit {
        /// The limit.
        limit_bytes: u64,
    },
    /// Its engine cannot be frozen, and its rows could not be read.
    NotReadable {
        /// The engine.
        engine: String,
        /// The error of the server or the filesystem.
        reason: String,
    },
    /// It has accepted blocks that it has not sent to their destination yet.
    Pending(PendingBlocks),
}

impl DataLeftReason {
    /// The kind of its warning.
    #[must_use]
    pub fn kind(&self) -> WarningKind {
        match self {
            Self::Pending(_) => WarningKind::DistributedPending,
            Self::InKeeper => WarningKind::InKeeper,
            _ => WarningKind::DataLeftBehind,
        }
    }
}

impl fmt::Display for DataLeftReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ObjectStorage { engine } => write!(f, "its engine {engine} keeps its data in object storage"),
            Self::ForeignDisk { disk, kind } => {
                write!(f, "its disk {disk:?} is of type {kind}, and only local disks can be linked from")
            }
            Self::Engine { engine } => write!(f, "its engine {engine} cannot be frozen"),
            Self::InMemory { rows: Some(rows) } => write!(f, "its data is in memory only ({})", count(*rows, "row")),
            Self::InMemory { rows: None } => write!(f, "its data is in memory only"),
            Self::InKeeper => write!(f, "its rows are kept in Keeper"),
            Self::OverDumpLimit { limit_bytes } => {
                let limit = humansize::format_size(*limit_bytes, humansize::BINARY);
                write!(f, "its dump would be larger than {limit} (--dump-limit)")
            }
            Self::NotReadable { engine, reason } => {
                write!(f, "its engine {engine} cannot be frozen, and its rows could not be read: {reason}")
            }
            Self::InBackup => write!(f, "its database shows a backup, whose tables cannot be frozen"),
            Self::UniqueKey => write!(f, "it has a UNIQUE KEY, and such tables cannot be frozen"),
            Self::Pending(PendingBlocks { files, bytes }) => {
                let (files, bytes) = (count(*files, "file"), humansize::format_size(*bytes, humansize::BINARY));
                write!(f, "{files} ({bytes}) of it wait to be sent to other servers")
            }
        }
    }
}

/// A disk that is not a plain local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForeignDisk<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its type.
    pub kind: &'a str,
}

/// The facts besides the table itself that a choice depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableContext<'a> {
    /// The table's disks that are not plain local ones.
    pub foreign_disks: &'a [ForeignDisk<'a>],
    /// The engine of the table's database; empty if unknown.
    pub database_engine: &'a str,
    /// The blocks that the table has not sent yet.
    pub pending: Option<PendingBlocks>,
    /// For a table whose rows are in memory only: their number, if the server reports it.
    pub in_memory: Option<Option<u64>>,
}

/// Engines outside the MergeTree family that store data on the server's own disks (`storesDataOnDisk` in ClickHouse's
/// storages). Used only for servers that do not report it themselves (`system.tables.has_own_data`).
const OTHERS_WITH_DATA: [&str; 9] =
    ["Log", "TinyLog", "StripeLog", "Set", "Join", "File", "EmbeddedRocksDB", "SQLite", "FileLog"];

/// Engines outside the MergeTree family whose rows are dumped.
const DUMPED: [&str; 4] = ["Log", "TinyLog", "StripeLog", "EmbeddedRocksDB"];

/// Engines that keep their rows in files that are replaced and never written into. Measured on 18.16 and 26.9: an
/// INSERT adds `N.bin` by a rename, and a mutation or TRUNCATE makes new files (`SetOrJoinSink`,
/// `StorageJoin::mutate`).
const FILES: [&str; 2] = ["Set", "Join"];

/// Whether tables of this engine have rows, and no parts, that a snapshot can have.
#[must_use]
pub fn has_rows_without_parts(engine: &str) -> bool {
    engine == "Memory" || DUMPED.contains(&engine) || FILES.contains(&engine)
}

/// How to take the rows of a table whose engine does not support `FREEZE`, if that is possible.
fn dump_kind(selection: &TableSelection, table: &Table, around: TableContext<'_>) -> Option<DumpKind> {
    let engine = table.engine.as_str();
    let is_dumped = DUMPED.contains(&engine) || engine == "Memory" && selection.dumps.memory;
    if FILES.contains(&engine) && around.foreign_disks.is_empty() {
        Some(DumpKind::Files)
    } else {
        (is_dumped && selection.dumps.limit_bytes > 0).then_some(DumpKind::Native)
    }
}

/// Whether the definition makes a `Set` or `Join` keep its rows only in memory.
fn is_not_persistent(definition: &str) -> bool {
    let may_say = definition.contains("persistent");
    let setting =
        |definition: ParsedDefinition| definition.setting("persistent").is_some_and(|value| value.trim() == "0");
    may_say && ParsedDefinition::parse(definition).is_ok_and(setting)
}

/// Whether the server creates this table of its own database at each start: then it contains no data and no definition
/// of a user's.
fn is_virtual(table: &Table) -> bool {
    table.name().database == "system"
        && !table.is_merge_tree()
        && (table.engine.starts_with("System") || table.metadata_path.as_os_str().is_empty())
}

/// Decides about `table`.
#[must_use]
pub fn choose(selection: &TableSelection, table: &Table, around: TableContext<'_>) -> Choice {
    if !selection.wants(table.name()) || is_virtual(table) || shows_dictionaries(around.database_engine) {
        return Choice::LeftOut;
    }
    if is_temporary_table(&table.name().table) {
        return Choice::Temporary;
    }
    let engine = || table.engine.clone();
    if table.is_merge_tree() {
        return if around.database_engine == "Backup" {
            Choice::DataStays(DataLeftReason::InBackup)
        } else if table.engine.starts_with("Shared") {
            Choice::DataStays(DataLeftReason::ObjectStorage { engine: engine() })
        } else if let Some(disk) = only_foreign_disk(table, around.foreign_disks) {
            Choice::DataStays(DataLeftReason::ForeignDisk { disk: disk.name.to_owned(), kind: disk.kind.to_owned() })
        } else if has_unique_key(&table.definition) {
            Choice::DataStays(DataLeftReason::UniqueKey)
        } else {
            Choice::Take
        };
    }
    if table.engine == "KeeperMap" {
        return Choice::DataStays(DataLeftReason::InKeeper);
    }
    if table.engine == "Distributed" {
        // It stores only blocks that wait to be sent, and nevertheless reports that it stores data.
        let pending = around.pending.filter(|pending| pending.files > 0);
        return pending.map_or(Choice::DefinitionOnly, |pending| Choice::DataStays(DataLeftReason::Pending(pending)));
    }
    if let Some(rows) = around.in_memory {
        return match dump_kind(selection, table, around) {
            _ if rows == Some(0) => Choice::DefinitionOnly,
            Some(kind) => Choice::Dump(kind),
            None => Choice::DataStays(DataLeftReason::InMemory { rows }),
        };
    }
    if let Some(kind) = dump_kind(selection, table, around) {
        return if kind == DumpKind::Files && is_not_persistent(&table.definition) {
            Choice::DataStays(DataLeftReason::InMemory { rows: None })
        } else {
            Choice::Dump(kind)
        };
    }
    if let Some(disk) = around.foreign_disks.first().filter(|_| FILES.contains(&table.engine.as_str())) {
        return Choice::DataStays(DataLeftReason::ForeignDisk {
            disk: disk.name.to_owned(),
            kind: disk.kind.to_owned(),
        });
    }
    let stores_data = table.has_own_data.unwrap_or_else(|| OTHERS_WITH_DATA.contains(&table.engine.as_str()));
    // A view's own data is in its inner table, which is a table of its own.
    if stores_data && !table.engine.ends_with("View") {
        Choice::DataStays(DataLeftReason::Engine { engine: engine() })
    } else {
        Choice::DefinitionOnly
    }
}

/// The disk that is not local, for a table entirely on such disks, judged by its parts or, without parts, by its
/// directories.
fn only_foreign_disk<'a>(table: &Table, foreign: &'a [ForeignDisk<'a>]) -> Option<&'a ForeignDisk<'a>> {
    let is_abroad = |disk: &str| foreign.iter().any(|other| other.name == disk);
    let has_none_here = if table.parts.is_empty() {
        foreign.len() == table.data_paths.len()
    } else {
        table.parts.iter().all(|part| is_abroad(&part.disk))
    };
    foreign.first().filter(|_| has_none_here)
}

/// Whether a definition, as the server prints it, has the clause `UNIQUE KEY`. A definition that cannot be parsed
/// counts as one without: `FREEZE` then reports the problem itself.
fn has_unique_key(definition: &str) -> bool {
    // Most definitions need not be parsed for that.
    let may_have = definition.as_bytes().windows(6).any(|word| word.eq_ignore_ascii_case(b"UNIQUE"));
    may_have && ParsedDefinition::parse(definition).is_ok_and(|definition| definition.has_unique_key())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{
        Choice, DataLeftReason, DumpOptions, ForeignDisk, PendingBlocks, TableContext, TableSelection, WarningKind,
        choose,
    };
    use crate::model::{DumpKind, Table, TableKey, TableName};

    fn table(name: (&str, &str), engine: &str) -> Table {
        Table {
            key: TableKey { name: TableName::new(name.0, name.1), uuid: None },
            engine: engine.to_owned(),
            definition: format!("CREATE TABLE x (`k` UInt8) ENGINE = {engine} ORDER BY k"),
            data_paths: Vec::new(),
            metadata_path: PathBuf::from("store/x.sql"),
            storage_policy: String::new(),
            has_own_data: Some(engine != "View"),
            parts: std::sync::Arc::default(),
            mutations: Vec::new(),
        }
    }

    fn choice(table: &Table, around: TableContext<'_>) -> Choice {
        let include = ["system.*", "a.*"].map(|pattern| pattern.parse().expect("a pattern")).to_vec();
        choose(&TableSelection { include, ..TableSelection::default() }, table, around)
    }

    #[test]
    fn virtual_tables_of_the_system_database_are_left_out() {
        let none = TableContext::default();
        assert_eq!(choice(&table(("system", "query_log"), "MergeTree"), none), Choice::Take);
        assert_eq!(choice(&table(("system", "one"), "SystemOne"), none), Choice::LeftOut);
        let without_file = Table { metadata_path: PathBuf::new(), ..table(("system", "series"), "GenerateSeries") };
        assert_eq!(choice(&without_file, none), Choice::LeftOut);
        // A table that a user has created there has a definition.
        assert_eq!(choice(&table(("system", "mine"), "View"), none), Choice::DefinitionOnly);
        let in_keeper = choice(&Table { has_own_data: Some(false), ..table(("a", "k"), "KeeperMap") }, none);
        assert_eq!(in_keeper, Choice::DataStays(DataLeftReason::InKeeper));
        assert_eq!(
            choice(&table(("a", "t"), "SystemOne"), none),
            Choice::DataStays(DataLeftReason::Engine { engine: "SystemOne".to_owned() })
        );
    }

    #[test]
    fn rows_that_cannot_be_frozen_are_dumped_as_far_as_that_is_allowed() {
        let all = |engine: &str, dumps: DumpOptions, around: TableContext<'_>| {
            choose(&TableSelection { dumps, ..TableSelection::default() }, &table(("a", "t"), engine), around)
        };
        let (usual, none) = (DumpOptions::default(), TableContext::default());
        let off = DumpOptions { limit_bytes: 0, memory: true };
        let stays = |engine: &str| Choice::DataStays(DataLeftReason::Engine { engine: engine.to_owned() });
        for engine in ["Log", "TinyLog", "StripeLog", "EmbeddedRocksDB"] {
            assert_eq!(all(engine, usual, none), Choice::Dump(DumpKind::Native), "{engine}");
            assert_eq!(all(engine, off, none), stays(engine), "{engine}");
        }
        for engine in ["Set", "Join"] {
            assert_eq!(all(engine, usual, none), Choice::Dump(DumpKind::Files), "{engine}");
            assert_eq!(all(engine, off, none), Choice::Dump(DumpKind::Files), "{engine}");
            let disks = [ForeignDisk { name: "s3", kind: "s3" }];
            let foreign = TableContext { foreign_disks: &disks, ..none };
            assert!(matches!(all(engine, usual, foreign), Choice::DataStays(DataLeftReason::ForeignDisk { .. })));
        }
        assert_eq!(all("File", usual, none), stays("File"));
        assert_eq!(all("KeeperMap", usual, none), Choice::DataStays(DataLeftReason::InKeeper));
        let in_memory = |rows| TableContext { in_memory: Some(rows), ..none };
        let with_memory = DumpOptions { memory: true, ..usual };
        for (engine, dumps, rows, wanted) in [
            ("Memory", usual, Some(3), Choice::DataStays(DataLeftReason::InMemory { rows: Some(3) })),
            ("Memory", with_memory, Some(3), Choice::Dump(DumpKind::Native)),
            ("Memory", with_memory, None, Choice::Dump(DumpKind::Native)),
            ("Memory", with_memory, Some(0), Choice::DefinitionOnly),
            ("Memory", off, Some(3), Choice::DataStays(DataLeftReason::InMemory { rows: Some(3) })),
            ("Buffer", with_memory, None, Choice::DataStays(DataLeftReason::InMemory { rows: None })),
        ] {
            assert_eq!(all(engine, dumps, in_memory(rows)), wanted, "{engine} {dumps:?} {rows:?}");
        }
        let definition = "CREATE TABLE a.t (`k` UInt64) ENGINE = Join(ANY, LEFT, k) SETTINGS persistent = 0";
        let in_memory = Table { definition: definition.to_owned(), ..table(("a", "t"), "Join") };
        let stays = Choice::DataStays(DataLeftReason::InMemory { rows: None });
        assert_eq!(choose(&TableSelection::default(), &in_memory, none), stays);
    }

    #[test]
    fn a_distributed_table_has_data_only_while_blocks_wait() {
        let table = table(("a", "d"), "Distributed");
        assert_eq!(choice(&table, TableContext::default()), Choice::DefinitionOnly);
        let pending = PendingBlocks { files: 2, bytes: 3000 };
        let Choice::DataStays(reason) =
            choice(&table, TableContext { pending: Some(pending), ..TableContext::default() })
        else {
            panic!("its blocks stay");
        };
        assert_eq!(reason.kind(), WarningKind::DistributedPending);
        assert_eq!(reason.to_string(), "2 files (2.93 KiB) of it wait to be sent to other servers");
        let none = TableContext { pending: Some(PendingBlocks::default()), ..TableContext::default() };
        assert_eq!(choice(&table, none), Choice::DefinitionOnly);
    }

    #[test]
    fn tables_that_refuse_freeze_are_not_frozen() {
        let plain = table(("a", "t"), "ReplacingMergeTree");
        let backup = TableContext { database_engine: "Backup", ..TableContext::default() };
        assert_eq!(choice(&plain, backup), Choice::DataStays(DataLeftReason::InBackup));
        assert_eq!(choice(&plain, TableContext { database_engine: "Atomic", ..TableContext::default() }), Choice::Take);
        for (definition, is_unique) in [
            (
                "CREATE TABLE a.t (`k` UInt64) ENGINE = MergeTree ORDER BY k UNIQUE KEY k SETTINGS index_granularity = 8192",
                true,
            ),
            (
                "CREATE TABLE a.t (`k` UInt64) ENGINE = MergeTree PARTITION BY k ORDER BY k UNIQUE KEY (k, lower(s))",
                true,
            ),
            (
                "CREATE TABLE a.t (`unique` UInt64, `key` UInt8) ENGINE = MergeTree ORDER BY unique COMMENT 'UNIQUE KEY k'",
                false,
            ),
            ("CREATE TABLE a.t (`unique key` UInt64) ENGINE = MergeTree ORDER BY `unique key`", false),
        ] {
            let table = Table { definition: definition.to_owned(), ..table(("a", "t"), "MergeTree") };
            let wanted = if is_unique { Choice::DataStays(DataLeftReason::UniqueKey) } else { Choice::Take };
            assert_eq!(choice(&table, TableContext::default()), wanted, "{definition}");
        }
    }
}
