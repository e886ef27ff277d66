//! Rows of system tables, as chsnap reads them.

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::model::TableName;

/// A table of `system.tables`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct TableRow {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its engine.
    pub engine: String,
    /// Its UUID; empty or zero if it has none.
    pub uuid: String,
    /// Its data directories, one for each disk; absolute, as the server sees them.
    pub data_paths: Vec<String>,
    /// Its definition's file: absolute on old servers, relative to the server's path on new ones.
    pub metadata_path: String,
    /// Its definition.
    pub create_table_query: String,
    /// The name of its storage policy, if the server has storage policies.
    pub storage_policy: String,
    /// Whether its engine stores data on disk, if the server reports it.
    #[serde(deserialize_with = "optional_flag")]
    pub has_own_data: Option<bool>,
}

/// An active part of `system.parts`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct PartRow {
    /// Its table's database.
    pub database: String,
    /// Its table.
    pub table: String,
    /// Its partition.
    pub partition_id: String,
    /// Its name.
    pub name: String,
    /// Its directory; absolute, as the server sees it.
    pub path: String,
    /// Its disk.
    pub disk_name: String,
    /// Rows.
    #[serde(deserialize_with = "number")]
    pub rows: u64,
    /// Sum of its files' sizes.
    #[serde(deserialize_with = "number")]
    pub bytes_on_disk: u64,
    /// When it was created: seconds since 1970.
    #[serde(deserialize_with = "number")]
    pub modified: u64,
    /// Files, by the server's count; 0 if it has none.
    #[serde(deserialize_with = "number")]
    pub files: u64,
    /// The server's own fingerprint of it; empty if it gives none.
    pub hash_of_all_files: String,
}

impl PartRow {
    /// The table that the server gives for it.
    pub(super) fn table_name(&self) -> TableName {
        TableName::new(self.database.as_str(), self.table.as_str())
    }
}

/// A summary of one table's rows in `system.parts`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ListingRow {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Active parts.
    #[serde(deserialize_with = "number")]
    pub parts: u64,
    /// See [`super::sql::listings`].
    #[serde(deserialize_with = "number")]
    pub sum: u64,
}

/// A summary of one table's rows in `system.parts`, including parts that are not active.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct StatesRow {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Active parts.
    #[serde(deserialize_with = "number")]
    pub active_parts: u64,
    /// See [`super::sql::states_of_parts`].
    #[serde(deserialize_with = "number")]
    pub active_sum: u64,
    /// The others.
    #[serde(deserialize_with = "number")]
    pub inactive_parts: u64,
    /// The same sum over them.
    #[serde(deserialize_with = "number")]
    pub inactive_sum: u64,
}

/// A mutation of `system.mutations`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct MutationRow {
    /// Its table's database.
    pub database: String,
    /// Its table.
    pub table: String,
    /// Its id: the name of its file, or of its node in Keeper for replicated tables.
    pub mutation_id: String,
    /// Whether it is applied to every part.
    #[serde(deserialize_with = "flag")]
    pub is_done: bool,
    /// The command, for an unfinished mutation of a replicated table.
    pub command: String,
    /// The partitions that it concerns.
    pub partitions: Vec<String>,
    /// The version that parts of each of these partitions have once the mutation is applied.
    pub versions: Vec<String>,
}

/// A replicated table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ReplicaRow {
    pub database: String,
    pub table: String,
    pub zookeeper_path: String,
    pub replica_name: String,
    #[serde(deserialize_with = "flag")]
    pub is_readonly: bool,
    #[serde(deserialize_with = "flag")]
    pub is_session_expired: bool,
    #[serde(deserialize_with = "number")]
    pub delay: u64,
}

/// An entry of the queue of a replicated table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct QueueRow {
    pub database: String,
    pub table: String,
    pub node_name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub new_part_name: String,
    pub last_exception: String,
}

/// A macro.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct MacroRow {
    pub name: String,
    pub substitution: String,
}

/// A number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct CountRow {
    #[serde(alias = "chsnap_count", deserialize_with = "number")]
    pub(super) count: u64,
}

/// The data that a `Distributed` table has not yet sent to one destination.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct PendingRow {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Files.
    #[serde(deserialize_with = "number")]
    pub files: u64,
    /// Bytes in them.
    #[serde(deserialize_with = "number")]
    pub bytes: u64,
}

/// A table whose rows are in memory only.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct MemoryRow {
    /// Its database.
    pub database: String,
    /// Its name.
    pub table: String,
    /// Its engine.
    pub engine: String,
    /// Its rows; for a `Buffer`, including those of the table that it writes to.
    #[serde(deserialize_with = "number")]
    pub rows: u64,
    /// Bytes in memory.
    #[serde(deserialize_with = "number")]
    pub bytes: u64,
}

/// A function that the server has.
#[derive(Deserialize)]
pub(super) struct FunctionName {
    pub(super) name: String,
}

/// A function created by `CREATE FUNCTION`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FunctionRow {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub create_query: String,
}

/// A number as servers write it.
struct Number(u64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a number that is not negative, in quotes or not")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Number, E> {
        Ok(Number(u64::from(value)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
        text.parse().map(Number).map_err(|_| E::custom(format!("{text:?} is not a number")))
    }
}

/// 64-bit integers are quoted or not, depending on the version and its settings.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Number::deserialize(deserializer).map(|Number(value)| value)
}

pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    number(deserializer).map(|value| value != 0)
}

fn optional_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value: Option<Number> = Option::deserialize(deserializer)?;
    Ok(value.map(|Number(value)| value != 0))
}

#[cfg(test)]
mod tests {
    use super::{Number, PartRow};

    #[test]
    fn integers_are_read_with_and_without_quotes() {
        let row: PartRow = serde_json::from_str(
            r#"{"database":"d","table":"t","partition_id":"all","name":"all_1_1_0","path":"\/x\/","disk_name":"default",
                "rows":"18446744073709551615","bytes_on_disk":7,"modified":5,"files":0,"hash_of_all_files":""}"#,
        )
        .expect("a valid row");
        assert_eq!((row.rows, row.bytes_on_disk, row.path.as_str()), (u64::MAX, 7, "/x/"));
        let number = |text: &str| serde_json::from_str::<Number>(text).map(|Number(value)| value);
        assert_eq!((number("true").ok(), number("\"0\"").ok()), (Some(1), Some(0)));
        for text in ["-1", "1.5", "\"-1\"", "\"\"", "null", "[1]"] {
            assert!(number(text).is_err(), "{text}");
        }
    }
}
