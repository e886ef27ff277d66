//! The rows of one table: read in the format `Native`, counted, and inserted again.

use std::ops::ControlFlow;

use serde::Deserialize;

use crate::model::TableName;

use super::error::{ServerError, code};
use super::restore::has_settings;
use super::rows::{flag, number};
use super::sql;
use super::transport::{Request, Server};

#[derive(Deserialize)]
struct DumpColumnRow {
    name: String,
    default_kind: String,
}

#[derive(Deserialize)]
struct NumberRow {
    #[serde(deserialize_with = "number")]
    count: u64,
}

#[derive(Deserialize)]
struct TotalRow {
    #[serde(deserialize_with = "number")]
    count: u64,
    #[serde(deserialize_with = "flag")]
    is_known: bool,
}

/// A column whose values are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredColumn {
    /// Its name.
    pub name: String,
    /// Whether a plain INSERT refuses it.
    pub is_materialized: bool,
}

/// How the reading of a table ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpStream {
    /// Everything was passed on.
    Whole,
    /// The caller stopped it.
    BrokenOff,
    /// The data that were passed on may end with the error message of a server that failed: the table must be read
    /// again, buffered.
    Doubtful,
}

/// The columns of a table whose values are stored, in their order.
///
/// # Errors
/// If the server does not answer.
pub fn stored_columns(server: &Server, table: &TableName) -> Result<Vec<StoredColumn>, ServerError> {
    let rows: Vec<DumpColumnRow> = server.list(&sql::columns_of(table))?;
    let stored = rows.into_iter().filter(|row| !matches!(row.default_kind.as_str(), "ALIAS" | "EPHEMERAL"));
    let column =
        |row: DumpColumnRow| StoredColumn { name: row.name, is_materialized: row.default_kind == "MATERIALIZED" };
    Ok(stored.map(column).collect())
}

/// Checks that no row policy hides rows of a table from this user, if the server lists the policies: otherwise no query
/// would return all rows.
///
/// # Errors
/// If a row policy hides rows.
pub fn check_rows_are_visible(server: &Server, table: &TableName) -> Result<(), ServerError> {
    let policies = server.hidden_by(table);
    if policies.is_empty() { Ok(()) } else { Err(ServerError::Hidden { list: table.to_string(), policies }) }
}

/// Counts the rows of a table.
///
/// # Errors
/// If the server refuses, or does not answer.
pub fn count_rows(server: &Server, table: &TableName) -> Result<u64, ServerError> {
    let (sql, deadline) = (sql::count_rows(table), server.freeze_deadline());
    let label = format!("the count of {table}");
    let request =
        Request { sql: &sql, settings: &[], query_id: None, deadline, interruptible: true, label: Some(&label) };
    let rows: Vec<NumberRow> = server.rows_of(&request)?;
    rows.first().map(|row| row.count).ok_or_else(|| missing(table))
}

fn missing(table: &TableName) -> ServerError {
    ServerError::Short { list: format!("tables ({table})"), rows: 0, count: 1 }
}

/// The server's own count of rows for a table that cannot be read, such as a `Set`; `None` if it has no count.
///
/// # Errors
/// If the server does not answer.
pub fn total_rows(server: &Server, table: &TableName) -> Result<Option<u64>, ServerError> {
    let Some(list) = sql::total_rows(server.features(), table) else { return Ok(None) };
    let rows: Vec<TotalRow> = server.list(&list)?;
    Ok(rows.first().filter(|row| row.is_known).map(|row| row.count))
}

/// Rows in all tables of the engine `Buffer`, if the server counts them.
pub(super) fn buffered_rows(server: &Server) -> Result<Option<u64>, ServerError> {
    let rows: Vec<NumberRow> = server.rows(sql::BUFFERED_ROWS)?;
    Ok(rows.first().map(|row| row.count))
}

/// Reads these columns of a table by one query and passes on its answer, in `Native` and not compressed, as it arrives.
///
/// With `is_buffered` the server sends nothing before it has read everything, so that its status shows whether it
/// failed.
///
/// # Errors
/// If the server refuses or does not answer.
pub fn read_native(
    server: &Server,
    table: &TableName,
    columns: &[&str],
    is_buffered: bool,
    mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<DumpStream, ServerError> {
    let sql = sql::select_columns(table, columns);
    // One thread reads in a fixed order: equal rows make equal dumps.
    let mut settings = vec![("max_threads", "1".to_owned())];
    if is_buffered {
        settings.push(("wait_end_of_query", "1".to_owned()));
    }
    let (mut tail, label) = (Tail::default(), format!("the rows of {table}"));
    let mut read = |settings: &[(&str, String)]| {
        let deadline = server.freeze_deadline();
        let request =
            Request { sql: &sql, settings, query_id: None, deadline, interruptible: true, label: Some(&label) };
        server.stream(&request, "Native", |piece| {
            tail.add(piece);
            take(piece)
        })
    };
    let ended = match read(&settings) {
        // This user may not change settings. Nothing was passed on yet.
        Err(error) if error.code().is_some_and(|code| code::SETTING_REFUSED.contains(&code)) => {
            read(settings.get(1..).unwrap_or_default())?
        }
        ended => ended?,
    };
    Ok(match ended {
        ControlFlow::Break(()) => DumpStream::BrokenOff,
        ControlFlow::Continue(()) if !is_buffered && tail.may_be_an_error() => DumpStream::Doubtful,
        ControlFlow::Continue(()) => DumpStream::Whole,
    })
}

/// The end of an answer.
#[derive(Debug, Default)]
struct Tail(Vec<u8>);

/// Longer than a server's error message.
const TAIL_BYTES: usize = 16 << 10;

impl Tail {
    fn add(&mut self, piece: &[u8]) {
        let piece = piece.get(piece.len().saturating_sub(TAIL_BYTES)..).unwrap_or_default();
        self.0.extend_from_slice(piece);
        let surplus = self.0.len().saturating_sub(TAIL_BYTES);
        self.0.drain(..surplus);
    }

    /// Whether this may be the message of a server that failed while it answered. Rows may contain the same words.
    fn may_be_an_error(&self) -> bool {
        let has = |words: &[u8]| self.0.windows(words.len()).any(|window| window == words);
        has(b"DB::Exception") || has(b"Code: ")
    }
}

/// Adds rows to a table: `next` reads them, in the format `Native`, into a buffer until there are none left. The inner
/// result is that of `next`.
///
/// # Errors
/// If the server refuses, or does not answer in time.
pub fn insert_native<E>(
    server: &Server,
    table: &TableName,
    columns: &[StoredColumn],
    next: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<Result<(), E>, ServerError> {
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let sql = sql::insert_columns(table, &names);
    let mut settings = Vec::new();
    if columns.iter().any(|column| column.is_materialized) {
        settings.push(("insert_allow_materialized_columns", "1".to_owned()));
    }
    // The inserted rows are counted right away.
    for (name, value) in [("async_insert", "0"), ("insert_deduplicate", "0")] {
        if has_settings(server, &[name])? {
            settings.push((name, value.to_owned()));
        }
    }
    let deadline = server.freeze_deadline();
    let label = format!("the rows for {table}");
    let request =
        Request { sql: &sql, settings: &settings, query_id: None, deadline, interruptible: true, label: Some(&label) };
    server.insert(&request, next)
}

#[cfg(test)]
mod tests {
    use super::Tail;

    #[test]
    fn the_words_of_a_server_that_fails_are_seen_at_the_end_of_an_answer() {
        let mut tail = Tail::default();
        tail.add(&vec![7; 100_000]);
        assert!(!tail.may_be_an_error());
        tail.add(b"Code: 241, e.displayText() = DB::");
        tail.add(b"Exception: Memory limit exceeded");
        assert!(tail.may_be_an_error());
        tail.add(&vec![7; 20_000]);
        assert!(!tail.may_be_an_error(), "it was in the midst of the rows");
    }
}
