//! A digest of all values of a part, which a restored part must reproduce.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::{PartName, TableName};

use super::error::ServerError;
use super::rows::number;
use super::sql;
use super::transport::{Request, Server};

/// The digest of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartSum {
    /// The part.
    pub part: PartName,
    /// Its rows, without those that a lightweight deletion hides.
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
struct TableSumRow {
    #[serde(deserialize_with = "number")]
    rows: u64,
}

#[derive(Deserialize)]
struct DigestColumnRow {
    name: String,
    default_kind: String,
}

/// Codes with which a server reports that it cannot read data on its disk, or that the data are not what was written.
///
/// Source: `src/Common/ErrorCodes.cpp` in ClickHouse.
const UNREADABLE_DATA: [i32; 24] = [
    3,   // UNEXPECTED_END_OF_FILE
    30,  // CANNOT_READ_SIZE_OF_COMPRESSED_CHUNK
    31,  // CANNOT_READ_COMPRESSED_CHUNK
    32,  // ATTEMPT_TO_READ_AFTER_EOF
    33,  // CANNOT_READ_ALL_DATA
    39,  // TOO_LARGE_SIZE_COMPRESSED
    40,  // CHECKSUM_DOESNT_MATCH
    74,  // CANNOT_READ_FROM_FILE_DESCRIPTOR
    89,  // UNKNOWN_COMPRESSION_METHOD
    91,  // SIZES_OF_MARKS_FILES_ARE_INCONSISTENT
    107, // FILE_DOESNT_EXIST
    117, // INCORRECT_DATA
    128, // TOO_LARGE_ARRAY_SIZE
    131, // TOO_LARGE_STRING_SIZE
    226, // NO_FILE_IN_DATA_PART
    228, // BAD_SIZE_OF_FILE_IN_DATA_PART
    231, // TOO_MANY_UNEXPECTED_DATA_PARTS
    246, // CORRUPTED_DATA
    247, // INCORRECT_MARK
    271, // CANNOT_DECOMPRESS
    354, // ZLIB_INFLATE_FAILED
    361, // SEEK_POSITION_OUT_OF_BOUND
    432, // UNKNOWN_CODEC
    740, // POTENTIALLY_BROKEN_DATA_PART
];

/// How the rows of one table are summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowSum {
    /// All columns, including those without stored values.
    columns: Vec<String>,
    expression: String,
}

impl RowSum {
    /// The expression by which a table's rows are summed up: it is the same for a table with the same columns, on every
    /// server.
    #[must_use]
    pub fn expression(&self) -> &str {
        &self.expression
    }

    /// Whether the table has a column with the same name as the virtual column that gives the part of a row: then there
    /// are no sums by part.
    #[must_use]
    pub fn hides_parts(&self) -> bool {
        self.columns.iter().any(|column| column == "_part")
    }

    fn columns(&self) -> Vec<&str> {
        self.columns.iter().map(String::as_str).collect()
    }
}

/// Whether the server reported that it cannot read data, or that the data are not what was written; other errors reveal
/// nothing about the data.
#[must_use]
pub fn is_unreadable_data(error: &ServerError) -> bool {
    error.code().is_some_and(is_unreadable_code)
}

/// Works as [`is_unreadable_data`], on an error's code alone.
#[must_use]
pub fn is_unreadable_code(code: i32) -> bool {
    UNREADABLE_DATA.contains(&code)
}

/// Reads the columns of a table.
///
/// # Errors
/// If the server does not answer.
pub fn row_sum(server: &Server, table: &TableName) -> Result<RowSum, ServerError> {
    let columns: Vec<DigestColumnRow> = server.list(&sql::columns_of(table))?;
    // These two kinds of columns have no stored values.
    let stored = columns.iter().filter(|column| !matches!(column.default_kind.as_str(), "ALIAS" | "EPHEMERAL"));
    let names: Vec<&str> = stored.map(|column| column.name.as_str()).collect();
    let expression = sql::digest_expression(&names);
    Ok(RowSum { columns: columns.into_iter().map(|column| column.name).collect(), expression })
}

/// Reads every value of every active part of a table, and sums them up by part; only those in `parts`, unless it is
/// empty.
///
/// # Errors
/// If the server refuses, or cannot read the data.
pub fn part_sums(
    server: &Server,
    table: &TableName,
    row_sum: &RowSum,
    parts: &[&PartName],
) -> Result<Vec<PartSum>, ServerError> {
    let sql = sql::part_sums(table, &row_sum.columns(), &row_sum.expression, parts);
    let rows: Vec<SumRow> = read_all(server, &sql)?;
    let sums = rows
        .into_iter()
        .filter_map(|row| Some(PartSum { part: PartName::try_from(row.part).ok()?, rows: row.rows, sum: row.sum }));
    Ok(sums.collect())
}

/// Reads every value of every active part of a table, and counts its rows.
///
/// # Errors
/// If the server refuses, or cannot read the data.
pub fn read_rows(server: &Server, table: &TableName, row_sum: &RowSum) -> Result<u64, ServerError> {
    let sql = sql::table_sum(table, &row_sum.columns(), &row_sum.expression);
    let rows: Vec<TableSumRow> = read_all(server, &sql)?;
    Ok(rows.iter().fold(0, |sum, row| sum.saturating_add(row.rows)))
}

fn read_all<T: DeserializeOwned>(server: &Server, sql: &str) -> Result<Vec<T>, ServerError> {
    // A list of thousands of parts is longer than a statement may be by default.
    let settings = [("max_query_size", "268435456".to_owned())];
    let deadline = server.freeze_deadline();
    server.rows_of(&Request { sql, settings: &settings, query_id: None, deadline, interruptible: true, label: None })
}
