//! Users, roles, quotas, policies and settings profiles of a server.

use serde::Deserialize;

use super::error::ServerError;
use super::sql;
use super::transport::Server;

/// A user, role, quota, policy or settings profile.
#[derive(Clone, Debug, Deserialize)]
pub struct AccessRow {
    /// Its UUID.
    pub id: String,
    /// Its name; for a policy, `name ON database.table`.
    pub name: String,
}

/// All rows of a system table such as `users`; `None` if the server has no such table.
///
/// # Errors
/// If the user may not read it, or the server does not answer.
pub fn access_entities(server: &Server, system_table: &str) -> Result<Option<Vec<AccessRow>>, ServerError> {
    if !server.features().has_column(system_table, "id") {
        return Ok(None);
    }
    let is_policy = server.features().has_column(system_table, "short_name");
    server.list(&sql::access_entities(system_table, is_policy)).map(Some)
}
