//! Asking a server to freeze, and making sure that it has stopped.

use std::time::Duration;

use serde::Deserialize;

use crate::model::{FreezeName, PartitionId, TableName};

use super::error::ServerError;
use super::sql;
use super::transport::{Request, Server};

/// How long a statement that cleans up may take: it runs after a deadline or a signal.
pub(super) const CLEANING: Duration = Duration::from_secs(15);

/// A statement that the server is still at.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RunningQuery {
    /// Its id.
    pub query_id: String,
    /// Seconds that it has run.
    pub elapsed: f64,
}

/// Freezes a whole table under `name`.
///
/// # Errors
/// If the server refuses, or has not finished within its deadline: then it may still be at it.
pub fn freeze_table(server: &Server, table: &TableName, name: &FreezeName, query_id: &str) -> Result<(), ServerError> {
    run(server, &sql::freeze_table(table, name), query_id)
}

/// Freezes one partition under `name`.
///
/// # Errors
/// As [`freeze_table`].
pub fn freeze_partition(
    server: &Server,
    table: &TableName,
    partition: &PartitionId,
    name: &FreezeName,
    query_id: &str,
) -> Result<(), ServerError> {
    run(server, &sql::freeze_partition(table, partition, name), query_id)
}

fn run(server: &Server, sql: &str, query_id: &str) -> Result<(), ServerError> {
    let deadline = server.freeze_deadline();
    server.execute(&Request { sql, settings: &[], query_id: Some(query_id), deadline, interruptible: true })
}

/// The statements that still freeze under `name`.
///
/// # Errors
/// If the server does not answer.
pub fn running_freezes(server: &Server, name: &FreezeName) -> Result<Vec<RunningQuery>, ServerError> {
    let sql = sql::running_freezes(name);
    server.rows_of(&Request { sql: &sql, settings: &[], query_id: None, deadline: CLEANING, interruptible: false })
}

/// Asks the server to stop every statement that freezes under `name`; it may take its time.
///
/// # Errors
/// If the server does not answer, or this user may not stop queries.
pub fn kill_freezes(server: &Server, name: &FreezeName) -> Result<(), ServerError> {
    let sql = sql::kill_freezes(name);
    server.execute(&Request { sql: &sql, settings: &[], query_id: None, deadline: CLEANING, interruptible: false })
}
