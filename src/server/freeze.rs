//! Asks a server to freeze, and makes sure that it has stopped.

use std::time::Duration;

use serde::Deserialize;

use crate::model::{FreezeName, PartitionId, TableName};

use super::error::ServerError;
use super::sql;
use super::transport::{QueryOptions, Request, Server};

/// The deadline of a statement that cleans up: it runs after a deadline or a signal.
pub(super) const CLEANING: Duration = Duration::from_secs(15);

/// A statement that the server is still executing.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RunningQuery {
    /// Its id.
    pub query_id: String,
    /// Seconds that it has been running.
    pub elapsed: f64,
}

/// How one statement freezes.
#[derive(Clone, Copy, Debug)]
pub struct FreezeQuery<'a> {
    /// The name of the freeze.
    pub name: &'a FreezeName,
    /// The statement's id.
    pub query_id: &'a str,
    /// The server's threads for it; `None` for the server's own setting. Since November 2024, servers freeze the parts
    /// of a table on this many threads (ClickHouse#71743); older ones know the setting but use one thread.
    pub threads: Option<u16>,
}

/// Whether this server supports a number of threads for a statement.
///
/// # Errors
/// If the server does not answer.
pub fn knows_threads(server: &Server) -> Result<bool, ServerError> {
    #[derive(Deserialize)]
    struct SettingExistsRow {
        #[expect(dead_code, reason = "that there is a row is the answer")]
        value: String,
    }
    Ok(!server.list::<SettingExistsRow>(&sql::setting("max_threads"))?.is_empty())
}

/// Freezes a whole table.
///
/// # Errors
/// If the server refuses, or has not finished within its deadline: then it may still be freezing.
pub fn freeze_table(server: &Server, table: &TableName, query: FreezeQuery<'_>) -> Result<(), ServerError> {
    run(server, &sql::freeze_table(table, query.name), query)
}

/// Freezes some partitions of a table, at most [`crate::plan::PARTITIONS_OF_A_STATEMENT`].
///
/// # Errors
/// As [`freeze_table`].
pub fn freeze_partitions(
    server: &Server,
    table: &TableName,
    partitions: &[&PartitionId],
    query: FreezeQuery<'_>,
) -> Result<(), ServerError> {
    run(server, &sql::freeze_partitions(table, partitions, query.name), query)
}

fn run(server: &Server, sql: &str, query: FreezeQuery<'_>) -> Result<(), ServerError> {
    let deadline = server.freeze_deadline();
    let settings: Vec<(&str, String)> =
        query.threads.map(|threads| ("max_threads", threads.to_string())).into_iter().collect();
    let query_id = Some(query.query_id);
    server.execute(&Request { sql, settings: &settings, query_id, deadline, interruptible: true, label: None })
}

/// The statements that are still freezing under `name`.
///
/// # Errors
/// If the server does not answer.
pub fn running_freezes(server: &Server, name: &FreezeName) -> Result<Vec<RunningQuery>, ServerError> {
    server
        .list_by(&sql::running_freezes(name), QueryOptions { settings: &[], deadline: CLEANING, interruptible: false })
}

/// Asks the server to stop every statement that freezes under `name`; the server may take its time.
///
/// # Errors
/// If the server does not answer, or this user may not stop queries.
pub fn kill_freezes(server: &Server, name: &FreezeName) -> Result<(), ServerError> {
    let sql = sql::kill_freezes(name);
    server.execute(&Request {
        sql: &sql,
        settings: &[],
        query_id: None,
        deadline: CLEANING,
        interruptible: false,
        label: None,
    })
}
