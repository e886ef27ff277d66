//! The databases of a server, and those whose tables are on other servers.

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
    /// Its engine with arguments, if the server gives them.
    pub engine_full: String,
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
