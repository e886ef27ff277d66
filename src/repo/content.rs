//! What a snapshot was asked to hold, and the series that a command goes by.

use serde::{Deserialize, Serialize};

use crate::model::TableName;
use crate::plan::{SeriesKey, TablePattern};

use super::manifest::{Manifest, TableState};

/// What a snapshot was asked to hold, and what of that it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its series.
    pub key: SeriesKey,
    /// How many tables were skipped.
    pub skipped: u64,
    /// Tables whose data was left behind, but for those that were accepted so.
    pub left: Vec<TableName>,
}

impl From<&Manifest> for Content {
    fn from(manifest: &Manifest) -> Self {
        let settings = &manifest.settings;
        let texts = |texts: &[String]| texts.to_vec();
        let key = SeriesKey::new(texts(&settings.include), texts(&settings.exclude), texts(&settings.partitions));
        // A pattern that does not read here accepts nothing.
        let accepted: Vec<TablePattern> = settings.accept.iter().filter_map(|text| text.parse().ok()).collect();
        let tables = |state: TableState| manifest.tables.iter().filter(move |entry| entry.state == state);
        let names = tables(TableState::DataLeft).map(|entry| TableName::new(&entry.database, &entry.table));
        let left = names.filter(|name| !accepted.iter().any(|pattern| pattern.matches(name))).collect();
        Self { key, skipped: tables(TableState::Skipped).count() as u64, left }
    }
}

/// The series that a command goes by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesChoice {
    /// The selection that is configured for `create`, if one is: its series is the main one.
    pub configured: Option<SeriesKey>,
    /// The series that a person has named instead of the main one: by its name, or by a snapshot of it.
    pub named: Option<String>,
}

/// Which series there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesOf {
    /// The main one.
    pub main: SeriesKey,
    /// The one that `latest` and the reports speak of: the main one, unless another one was named.
    pub chosen: SeriesKey,
}
