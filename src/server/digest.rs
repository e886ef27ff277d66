//! A sum over all values of a part: what a restored part must give again.

use serde::Deserialize;

use crate::model::{PartName, TableName};

use super::error::ServerError;
use super::rows::number;
use super::sql;
use super::transport::{Request, Server};

/// The sum of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSum {
    /// The part.
    pub part: PartName,
    /// Its rows, less those that a lightweight deletion hides.
    pub rows: u64,
    /// The sum over its rows, modulo 2^64, of a hash of all values of a row.
    pub sum: String,
}

#[derive(Deserialize)]
struct SumRow {
    part: String,
    #[serde(deserialize_with = "number")]
    rows: u64,
    sum: String,
}

#[derive(Deserialize)]
struct ColumnRow {
    name: String,
    default_kind: String,
}

/// The expression that a table's rows are summed by: the same for a table with the same columns, on every server.
///
/// # Errors
/// If the server does not answer.
pub fn digest_expression(server: &Server, table: &TableName) -> Result<String, ServerError> {
    let columns: Vec<ColumnRow> = server.rows(&sql::columns_of(table))?;
    // These two have no values of their own.
    let stored = columns.iter().filter(|column| !matches!(column.default_kind.as_str(), "ALIAS" | "EPHEMERAL"));
    let names: Vec<&str> = stored.map(|column| column.name.as_str()).collect();
    Ok(sql::digest_expression(&names))
}

/// Reads a table, every value of every active part, and sums it by part; `parts` alone, where there are some.
///
/// # Errors
/// If the server refuses, or cannot read the data.
pub fn part_sums(
    server: &Server,
    table: &TableName,
    expression: &str,
    parts: &[&PartName],
) -> Result<Vec<PartSum>, ServerError> {
    let sql = sql::part_sums(table, expression, parts);
    // A list of thousands of parts is longer than a statement may be by default.
    let settings = [("max_query_size", "268435456".to_owned())];
    let deadline = server.freeze_deadline();
    let request =
        Request { sql: &sql, settings: &settings, query_id: None, deadline, interruptible: true, label: None };
    let rows: Vec<SumRow> = server.rows_of(&request)?;
    let sums = rows
        .into_iter()
        .filter_map(|row| Some(PartSum { part: PartName::try_from(row.part).ok()?, rows: row.rows, sum: row.sum }));
    Ok(sums.collect())
}
