//! Information that a server gives about itself: why parts are in `detached/`, its last errors, the statements of its
//! objects.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::TableName;

use super::error::ServerError;
use super::features::Features;
use super::list::List;
use super::rows::FunctionRow;
use super::sql::{column, is_table};
use super::transport::Server;

#[derive(Deserialize)]
struct DetachedPartRow {
    name: String,
    reason: String,
}

/// Parts of a table in `detached/`: the reasons that the server gives, by the names of their directories. Empty if the
/// server does not list them.
///
/// # Errors
/// If the server does not answer.
pub fn detached_parts(server: &Server, table: &TableName) -> Result<BTreeMap<String, String>, ServerError> {
    if !server.features().has_column("detached_parts", "reason") {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<DetachedPartRow> = server.list(&detached_parts_list(table))?;
    Ok(rows.into_iter().map(|row| (row.name, row.reason)).collect())
}

/// The last error of one kind that occurred on the server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LoggedError {
    /// Its kind: `FILE_DOESNT_EXIST`.
    pub name: String,
    /// Its message. Any statement may have caused it, and it may contain secrets.
    pub message: String,
}

/// Errors that occurred within the last `seconds`, newest first. Empty if the server does not list them.
///
/// # Errors
/// If the server does not answer.
pub fn errors_of_last(server: &Server, seconds: u64) -> Result<Vec<LoggedError>, ServerError> {
    if !server.features().has_column("errors", "last_error_message") {
        return Ok(Vec::new());
    }
    server.listed(&errors_list(seconds), server.asking(&[]))
}

/// Names that a system table lists, each with the statement that creates the object; the statement is empty if the
/// server does not give it. The list is empty if the server lacks the table, or does not let this user read named
/// collections.
///
/// # Errors
/// If the server does not answer.
pub fn statements_in(server: &Server, system_table: &str) -> Result<Vec<(String, String)>, ServerError> {
    if !server.features().has_table(system_table) {
        return Ok(Vec::new());
    }
    let rows = match server.list::<FunctionRow>(&statements_list(server.features(), system_table)) {
        Err(_) if system_table == "named_collections" => Vec::new(),
        rows => rows?,
    };
    Ok(rows.into_iter().map(|row| (row.name, row.create_query)).collect())
}

/// Parts of a table in `detached/`, with the reason that their names give.
fn detached_parts_list(table: &TableName) -> List {
    List::of("detached_parts", "name, ifNull(reason, '') AS reason").only(is_table(table))
}

/// Errors that occurred within the last `seconds`.
fn errors_list(seconds: u64) -> List {
    List::of("errors", "name, last_error_message AS message")
        .only(format!("last_error_time >= now() - {seconds}"))
        .ending("ORDER BY last_error_time DESC")
}

/// Names that a system table lists, with the statements that create the objects.
fn statements_list(features: &Features, system_table: &str) -> List {
    let statement = column(features, system_table, "create_query", "''");
    List::of(system_table, format!("name, {statement}"))
}
