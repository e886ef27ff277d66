//! The snapshot's tables as a plan reads them.

use crate::plan::{Amount, Definition, SourceData, SourceItem};
use crate::repo::TableState;

use super::source::{Source, SourceTable, inner_tables, part_states};

/// The snapshot's tables as a plan reads them.
pub(super) fn items(source: &Source) -> Vec<SourceItem> {
    let inner = inner_tables(&source.manifest);
    let item = |table: &SourceTable| {
        let entry = &table.entry;
        let definition = match &entry.definition {
            None => Err(format!("it is not in the snapshot: {}", entry.reason.as_deref().unwrap_or("it was skipped"))),
            Some(path) => source.metadata(path).map_err(|error| crate::monitor::chain(&error)).and_then(|bytes| {
                Definition::parse(&String::from_utf8_lossy(&bytes)).map_err(|error| error.to_string())
            }),
        };
        SourceItem {
            name: table.name(),
            engine: entry.engine.clone(),
            uuid: entry.uuid.clone(),
            definition,
            data: table.has_parts().then(|| data(table)),
            data_left: (entry.state == TableState::DataLeft)
                .then(|| entry.reason.clone().unwrap_or_else(|| "it could not be taken".to_owned())),
            inner_of: inner
                .get(&table.name())
                .filter(|view| source.tables.iter().any(|other| other.name() == **view))
                .cloned(),
        }
    };
    source.tables.iter().map(item).collect()
}

fn data(table: &SourceTable) -> SourceData {
    let parts = part_states(&table.parts);
    SourceData {
        amount: Amount::of(&parts),
        parts,
        mutations: table.entry.mutations.clone(),
        policy: table.entry.storage_policy.clone(),
    }
}
