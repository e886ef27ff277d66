//! The tables that a snapshot was to hold, and the series that a command uses.

use serde::{Deserialize, Serialize};

use crate::model::TableName;
use crate::plan::{SeriesKey, TablePattern};

use super::manifest::{Manifest, TableState};

/// The scope that was requested of a snapshot, and what it lacks of that.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotScope {
    /// Its series.
    pub key: SeriesKey,
    /// How many tables were skipped.
    pub skipped: u64,
    /// Tables whose data was left behind, except those for which that was accepted.
    pub left: Vec<TableName>,
}

impl From<&Manifest> for SnapshotScope {
    fn from(manifest: &Manifest) -> Self {
        let settings = &manifest.settings;
        let texts = |texts: &[String]| texts.to_vec();
        let key = SeriesKey::new(texts(&settings.include), texts(&settings.exclude), texts(&settings.partitions));
        // A pattern that cannot be parsed here accepts nothing.
        let accepted: Vec<TablePattern> = settings.accept.iter().filter_map(|text| text.parse().ok()).collect();
        let tables = |state: TableState| manifest.tables.iter().filter(move |entry| entry.state == state);
        let names = tables(TableState::DataLeft).map(|entry| TableName::new(&entry.database, &entry.table));
        let left = names.filter(|name| !accepted.iter().any(|pattern| pattern.matches(name))).collect();
        Self { key, skipped: tables(TableState::Skipped).count() as u64, left }
    }
}

/// The series that a command uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesChoice {
    /// The selection that is configured for `create`, if any: its series is the main one.
    pub configured: Option<SeriesKey>,
    /// The series that the user has named instead of the main one: by its name, or by a snapshot of it.
    pub named: Option<String>,
}

/// The series of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesOf {
    /// The main one.
    pub main: SeriesKey,
    /// The one that `latest` and the reports use: the main one, unless another one was named.
    pub chosen: SeriesKey,
}
