//! The snapshot as a plan reads it.

use crate::model::PartName;
use crate::plan::{
    Amount, Definition, ObjectKind, ObjectStatement, SourceData, SourceDatabase, SourceItem, SourceObject,
};
use crate::repo::TableState;

use super::source::{Source, SourceTable, part_states};

/// The snapshot's tables.
pub(super) fn items(source: &Source) -> Vec<SourceItem> {
    let item = |table: &SourceTable| {
        let entry = &table.entry;
        let definition = match &entry.definition {
            None => Err(format!("it is not in the snapshot: {}", entry.reason.as_deref().unwrap_or("it was skipped"))),
            Some(path) => definition(source, path),
        };
        SourceItem {
            name: table.name(),
            engine: entry.engine.clone(),
            uuid: entry.uuid.clone(),
            definition,
            data: table.has_parts().then(|| data(source, table)),
            data_left: (entry.state == TableState::DataLeft)
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

fn definition(source: &Source, path: &str) -> Result<Definition, String> {
    let bytes = source.metadata(path).map_err(|error| crate::monitor::chain(&error))?;
    Definition::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| error.to_string())
}

fn data(source: &Source, table: &SourceTable) -> SourceData {
    let (name, parts) = (table.name(), part_states(&table.parts));
    let is_damaged = |part: &&PartName| source.damaged.contains(&(name.clone(), (*part).clone()));
    SourceData {
        amount: Amount::of(&parts),
        damaged: table.parts.iter().map(|part| &part.part).filter(is_damaged).cloned().collect(),
        parts,
        mutations: table.entry.mutations.clone(),
        policy: table.entry.storage_policy.clone(),
    }
}

/// The snapshot's databases.
pub(super) fn databases(source: &Source) -> Vec<SourceDatabase> {
    let database = |entry: &crate::repo::DatabaseEntry| SourceDatabase {
        name: entry.database.clone(),
        engine: entry.engine.clone(),
        definition: definition(source, &entry.definition),
    };
    source.manifest.databases.iter().map(database).collect()
}

/// The snapshot's functions, named collections and workloads.
pub(super) fn objects(source: &Source) -> Vec<SourceObject> {
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
