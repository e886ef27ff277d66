//! Rows of system tables, as chsnap reads them.

use serde::{Deserialize, Deserializer};

/// A table of `system.tables`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct TableRow {
    /// Its database.
    pub database: String,
    /// Its name.
    pub name: String,
    /// Its engine.
    pub engine: String,
    /// Its UUID; empty or zero where it has none.
    pub uuid: String,
    /// Its data directories, one a disk; absolute, as the server sees them.
    pub data_paths: Vec<String>,
    /// Its definition's file: absolute on old servers, relative to the server's path on new ones.
    pub metadata_path: String,
    /// Its definition.
    pub create_table_query: String,
    /// The name of its storage policy, where the server has such.
    pub storage_policy: String,
    /// Whether its engine stores data on disk, where the server says so.
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
    /// Files, as the server counts them; 0 where it does not.
    #[serde(deserialize_with = "number")]
    pub files: u64,
    /// The server's own fingerprint of it; empty where it gives none.
    pub hash_of_all_files: String,
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
    /// Whether every part has it.
    #[serde(deserialize_with = "flag")]
    pub is_done: bool,
}

/// A function made by `CREATE FUNCTION`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct FunctionRow {
    /// Its name.
    pub name: String,
    /// Its definition.
    pub create_query: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Quoted(String),
    Flag(bool),
}

impl Number {
    fn value<E: serde::de::Error>(self) -> Result<u64, E> {
        match self {
            Self::Plain(value) => Ok(value),
            Self::Quoted(text) => text.parse().map_err(|_| E::custom(format!("{text:?} is not a number"))),
            Self::Flag(value) => Ok(u64::from(value)),
        }
    }
}

/// 64-bit integers stand in quotes or not, depending on the version and its settings.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Number::deserialize(deserializer)?.value()
}

pub(super) fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    number(deserializer).map(|value| value != 0)
}

fn optional_flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    let value: Option<Number> = Option::deserialize(deserializer)?;
    value.map(|number| number.value().map(|value| value != 0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::PartRow;

    #[test]
    fn integers_are_read_with_and_without_quotes() {
        let row: PartRow = serde_json::from_str(
            r#"{"database":"d","table":"t","partition_id":"all","name":"all_1_1_0","path":"\/x\/","disk_name":"default",
                "rows":"18446744073709551615","bytes_on_disk":7,"files":0,"hash_of_all_files":""}"#,
        )
        .expect("a valid row");
        assert_eq!((row.rows, row.bytes_on_disk, row.path.as_str()), (u64::MAX, 7, "/x/"));
    }
}
