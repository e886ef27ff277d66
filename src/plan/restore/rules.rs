//! The meaning of engines and definitions for a restore.

use crate::plan::{DefinitionKind, ParsedDefinition};

use super::source::SourceItem;

/// Engines of databases whose tables have UUIDs. Source: `DatabaseAtomic` and the classes derived from it; the
/// `default` of an embedded engine is an Overlay over such a database.
pub(super) fn has_uuids(engine: &str) -> bool {
    matches!(engine, "Atomic" | "Replicated" | "Shared" | "Overlay")
}

/// Engines of tables that consume messages from elsewhere: a second consumer takes them away from the first.
const QUEUES: [&str; 8] =
    ["Kafka", "RabbitMQ", "NATS", "S3Queue", "AzureQueue", "FileLog", "MaterializedPostgreSQL", "MaterializedMySQL"];

/// Engines of definitions that a server lists under another name, with that name: it lists the kind of storage, or the
/// engine that this one creates. Source: `getEngineName` of the configurations in ClickHouse's
/// `src/Storages/ObjectStorage`, and 26.9.
const LISTED_AS: [(&str, &str); 10] = [
    ("AzureBlobStorage", "Azure"),
    ("COSN", "S3"),
    ("DeltaLake", "DeltaLakeS3"),
    ("GCS", "S3"),
    ("Hudi", "HudiS3"),
    ("Iceberg", "IcebergS3"),
    ("OSS", "S3"),
    ("Paimon", "PaimonS3"),
    ("Remote", "Distributed"),
    ("RemoteSecure", "Distributed"),
];

/// How a definition contradicts the manifest: it would create an object other than the one that was taken.
pub(super) fn contradiction(source: &SourceItem, definition: &ParsedDefinition) -> Option<String> {
    let is_view = matches!(source.engine.as_str(), "View" | "MaterializedView" | "LiveView" | "WindowView");
    let is_right_kind = match definition.kind {
        // A table of the engine Dictionary, which shows a dictionary, counts as a table.
        DefinitionKind::Table => !is_view,
        DefinitionKind::View => source.engine == "View",
        DefinitionKind::MaterializedView => source.engine == "MaterializedView",
        DefinitionKind::OtherView => is_view,
        DefinitionKind::Dictionary => source.engine == "Dictionary",
        DefinitionKind::Database => false,
    };
    if definition.runs_query() {
        return Some("its definition would run a query, which no server keeps in one".to_owned());
    }
    let engine = definition.engine().filter(|_| definition.kind == DefinitionKind::Table);
    let is_right_engine = match engine {
        Some(engine) => engine == source.engine || LISTED_AS.contains(&(engine.as_str(), source.engine.as_str())),
        None => source.data.is_none(),
    };
    (!is_right_kind || !is_right_engine)
        .then(|| format!("its definition is not that of a table of engine {}, as the manifest lists it", source.engine))
}

/// Whether it consumes messages from a queue, or refreshes itself.
pub(super) fn consumes(source: &SourceItem) -> bool {
    let refreshes = source.definition.as_ref().is_ok_and(ParsedDefinition::is_refreshable);
    QUEUES.contains(&source.engine.as_str()) || refreshes
}

/// Whether CREATE makes a directory for the table's files, while ATTACH expects it to exist.
pub(super) fn makes_own_directory(engine: &str) -> bool {
    matches!(
        engine,
        "Log"
            | "TinyLog"
            | "StripeLog"
            | "Set"
            | "Join"
            | "File"
            | "EmbeddedRocksDB"
            | "Distributed"
            | "KeeperMap"
            | "FileLog"
    )
}

/// Whether the rows of a table whose files are in a snapshot can be inserted into another one.
pub(super) fn passes_rows_on(engine: &str) -> bool {
    matches!(engine, "Join" | "Set")
}

/// The rank of an inner table that its view makes: after the view, before the queues.
pub(super) const RANK_AFTER_VIEWS: u8 = 5;

pub(super) fn rank(source: &SourceItem) -> u8 {
    let kind = source.definition.as_ref().map_or(DefinitionKind::Table, |definition| definition.kind);
    match kind {
        _ if QUEUES.contains(&source.engine.as_str()) => 6,
        _ if source.data.is_some() && source.dump.is_none() => 0,
        DefinitionKind::Table | DefinitionKind::Database => 1,
        DefinitionKind::Dictionary => 2,
        DefinitionKind::View => 3,
        DefinitionKind::MaterializedView if consumes(source) => 5,
        DefinitionKind::MaterializedView | DefinitionKind::OtherView => 4,
    }
}
