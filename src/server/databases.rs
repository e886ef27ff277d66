//! The databases of a server, and those whose tables are on other servers.

use std::collections::HashMap;

use serde::Deserialize;

use crate::model::is_remote_database_engine;

use super::error::ServerError;
use super::sql;
use super::transport::Server;

/// A database.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct DatabaseRow {
    /// Its name.
    pub name: String,
    /// Its engine.
    pub engine: String,
    /// Its data directory.
    pub data_path: String,
    /// Its metadata directory.
    pub metadata_path: String,
    /// Its UUID; empty or zero if it has none.
    pub uuid: String,
}

/// Reads the databases, without the server's own.
///
/// # Errors
/// If the server does not answer.
pub fn databases(server: &Server) -> Result<Vec<DatabaseRow>, ServerError> {
    server.list(&sql::databases(server.features()))
}

#[derive(Deserialize)]
struct EngineRow {
    name: String,
    engine_full: String,
}

/// Reads the engines of these databases with their arguments, if the server gives them.
///
/// This is a query of its own because the server locks a database to print its arguments. A database on another server
/// can be locked for as long as that server does not answer: by default for four seconds, at times that the server
/// chooses. Source: `removeOutdatedTables` and `getCreateDatabaseQuery` in ClickHouse's
/// `src/Databases/PostgreSQL/DatabasePostgreSQL.cpp`.
///
/// # Errors
/// If the server does not answer.
pub fn database_engines(server: &Server, names: &[&str]) -> Result<HashMap<String, String>, ServerError> {
    if names.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<EngineRow> = server.list(&sql::database_engines(server.features(), names))?;
    Ok(rows.into_iter().map(|row| (row.name, row.engine_full)).collect())
}

/// The names of databases whose tables are on other servers. If a server is asked for those tables, it asks the other
/// servers, and waits if they do not answer.
pub(super) fn remote(databases: &[DatabaseRow]) -> Vec<&str> {
    let remote = databases.iter().filter(|database| is_remote_database_engine(&database.engine));
    remote.map(|database| database.name.as_str()).collect()
}

/// The server's own database.
///
/// # Errors
/// If the server does not answer.
pub fn own_database(server: &Server) -> Result<Vec<DatabaseRow>, ServerError> {
    server.list(&sql::system_database())
}
