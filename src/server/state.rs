//! Where a server keeps its state, and what that contains.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::plan::UserDirectory;

use super::error::ServerError;
use super::list::List;
use super::restore::TextRow;
use super::sql;
use super::transport::Server;

#[derive(Deserialize)]
struct ServerSettingRow {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct UserDirectoryRow {
    name: String,
    kind: String,
    params: String,
}

/// The settings of the server that define where it keeps its state; empty if it does not list them.
///
/// # Errors
/// If the server does not answer.
pub fn state_settings(server: &Server) -> Result<BTreeMap<String, String>, ServerError> {
    if !server.features().has_column("server_settings", "value") {
        return Ok(BTreeMap::new());
    }
    let rows: Vec<ServerSettingRow> = server.list(&sql::state_settings())?;
    Ok(rows.into_iter().map(|row| (row.name, row.value)).collect())
}

/// The places where the server keeps its users; empty if it does not list them.
///
/// # Errors
/// If the server does not answer.
pub fn user_directories(server: &Server) -> Result<Vec<UserDirectory>, ServerError> {
    if !server.features().has_column("user_directories", "params") {
        return Ok(Vec::new());
    }
    let rows: Vec<UserDirectoryRow> = server.list(&sql::user_directories())?;
    let place = |row: UserDirectoryRow| {
        let params: serde_json::Value = serde_json::from_str(&row.params).unwrap_or_default();
        let path = ["path", "zookeeper_path"].iter().find_map(|key| params.get(key)?.as_str().map(str::to_owned));
        UserDirectory { name: row.name, kind: row.kind, path }
    };
    Ok(rows.into_iter().map(place).collect())
}

/// System tables of users and what belongs to them.
const ACCESS_TABLES: [&str; 6] = ["users", "roles", "quotas", "row_policies", "settings_profiles", "masking_policies"];

/// The names of users, roles and so on that are kept in this place.
///
/// # Errors
/// If the user may not read them, or the server does not answer.
pub fn access_names(server: &Server, storage: &str) -> Result<Vec<String>, ServerError> {
    let mut names = Vec::new();
    for table in ACCESS_TABLES.into_iter().filter(|table| server.features().has_column(table, "storage")) {
        names.extend(texts(server, &sql::access_names(table, storage))?);
    }
    Ok(names)
}

/// The names of functions that run a program; empty if the server does not list them.
///
/// # Errors
/// If the server does not answer.
pub fn executable_functions(server: &Server) -> Result<Vec<String>, ServerError> {
    if server.features().has_column("user_defined_functions", "command") {
        return texts(server, &sql::names("user_defined_functions"));
    }
    sql::executable_functions(server.features()).map_or_else(|| Ok(Vec::new()), |list| texts(server, &list))
}

fn texts(server: &Server, list: &List) -> Result<Vec<String>, ServerError> {
    let rows: Vec<TextRow> = server.list(list)?;
    Ok(rows.into_iter().map(|row| row.text).collect())
}
