//! The snapshot in the form that a plan reads.

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::model::{DumpKind, PartName};
use crate::plan::{
    Amount, Expired, ExpiryTimes, ObjectKind, ObjectStatement, ParsedDefinition, SourceData, SourceDatabase,
    SourceItem, SourceObject,
};
use crate::repo::{PartRecord, TableState};

use super::dump_files::source_dump;
use super::source::{SnapshotSource, SourceTable, part_states};

/// The snapshot's tables.
pub(super) fn items(source: &SnapshotSource, now: DateTime<Utc>) -> Vec<SourceItem> {
    let item = |table: &SourceTable| {
        let entry = &table.entry;
        let definition = match &entry.definition {
            None => Err(format!("it is not in the snapshot: {}", entry.reason.as_deref().unwrap_or("it was skipped"))),
            Some(path) => definition(source, path),
        };
        let has_ttl = definition.as_ref().is_ok_and(ParsedDefinition::has_ttl);
        SourceItem {
            name: table.name(),
            engine: entry.engine.clone(),
            uuid: entry.uuid.clone(),
            definition,
            data: holds_files(table).then(|| {
                let expired = if has_ttl { expired(source, table, now) } else { Expired::default() };
                SourceData { expired, ..data(source, table) }
            }),
            is_detached: entry.is_detached,
            detachment: entry.detachment,
            skipped: (entry.state == TableState::Skipped)
                .then(|| entry.reason.clone().unwrap_or_else(|| "no reason given".to_owned())),
            dump: entry.dump.as_ref().map(|dump| source_dump(&source.manifest, dump)),
            data_left: (entry.state == TableState::DataLeft && entry.dump.is_none())
                .then(|| entry.reason.clone().unwrap_or_else(|| "it could not be taken".to_owned())),
            inner_of: source
                .inner
                .get(&table.name())
                .filter(|view| source.tables.iter().any(|other| other.name() == **view))
                .cloned(),
        }
    };
    source.tables.iter().map(item).collect()
}

/// Whether files of it are placed before the server knows the table: parts, or those of a `Set` or `Join`.
fn holds_files(table: &SourceTable) -> bool {
    table.has_parts() || table.entry.dump.as_ref().is_some_and(|dump| dump.kind == DumpKind::Files)
}

fn definition(source: &SnapshotSource, path: &str) -> Result<ParsedDefinition, String> {
    let bytes = source.metadata(path).map_err(|error| crate::monitor::chain(&error))?;
    ParsedDefinition::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| error.to_string())
}

fn data(source: &SnapshotSource, table: &SourceTable) -> SourceData {
    let (name, parts) = (table.name(), part_states(&table.parts));
    let is_damaged = |part: &&PartName| source.damaged.contains(&(name.clone(), (*part).clone()));
    let copy = |part: &PartName| source.intact.get(&(name.clone(), part.clone())).map(|copy| copy.snapshot);
    let (mut damaged, mut from_copies) = (Vec::new(), Vec::new());
    for part in table.parts.iter().map(|part| &part.part).filter(is_damaged) {
        match copy(part) {
            Some(snapshot) => from_copies.push((part.clone(), snapshot)),
            None => damaged.push(part.clone()),
        }
    }
    SourceData {
        amount: Amount::of(&parts),
        files: table.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.files)),
        damaged,
        from_copies,
        parts,
        mutations: table.entry.mutations.clone(),
        keeper_mutations: table.entry.keeper_mutations.clone(),
        policy: table.entry.storage_policy.clone(),
        expired: Expired::default(),
    }
}

const TTL_FILE_LIMIT_BYTES: u64 = 1 << 20;

/// The parts and rows of a table that are past its TTL. A part without a readable `ttl.txt` counts as not past: the TTL
/// may be newer than the part.
fn expired(source: &SnapshotSource, table: &SourceTable, now: DateTime<Utc>) -> Expired {
    let times = |part: &PartRecord| {
        let part_dir = source.part_dir(table, &part.part).ok()??;
        let text = part_dir.find_and_read("ttl.txt", TTL_FILE_LIMIT_BYTES).ok()??;
        Some((ExpiryTimes::parse(&String::from_utf8_lossy(&text))?, part.rows.unwrap_or(0)))
    };
    let all: Vec<(ExpiryTimes, u64)> = table.parts.par_iter().filter_map(times).collect();
    let mut expired = Expired::default();
    for (times, rows) in all {
        expired.count(times, rows, now.timestamp());
    }
    expired
}

/// The snapshot's databases.
pub(super) fn databases(source: &SnapshotSource) -> Vec<SourceDatabase> {
    let database = |entry: &crate::repo::DatabaseEntry| SourceDatabase {
        name: entry.database.clone(),
        engine: entry.engine.clone(),
        definition: definition(source, &entry.definition),
    };
    source.manifest.databases.iter().map(database).collect()
}

/// The snapshot's functions, named collections and workloads.
pub(super) fn objects(source: &SnapshotSource) -> Vec<SourceObject> {
    let object = |file: &crate::repo::MetadataFile| {
        let (directory, name) = file.path.split_once('/')?;
        let stem = name.strip_suffix(".sql")?;
        let (kind, escaped_name) = match directory {
            "user_defined" => (ObjectKind::Function, stem.strip_prefix("function_").unwrap_or(stem)),
            "named_collections" => (ObjectKind::NamedCollection, stem),
            "workload" => match stem.split_once('_')? {
                ("workload", name) => (ObjectKind::Workload, name),
                ("resource", name) => (ObjectKind::Resource, name),
                _ => return None,
            },
            _ => return None,
        };
        let statement = source.metadata(&file.path).map_err(|error| crate::monitor::chain(&error)).and_then(|bytes| {
            ObjectStatement::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| error.to_string())
        });
        Some(SourceObject { kind, escaped_name: escaped_name.to_owned(), statement })
    };
    source.manifest.metadata.iter().filter_map(object).collect()
}
