//! Whether this user has the rights that a snapshot needs, if the server reports that without an attempt.

use serde::Deserialize;

use super::error::ServerError;
use super::sql;
use super::transport::Server;

/// The server's answer about this user's right to freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeRight {
    /// It is granted on everything.
    Granted,
    /// It is not granted, or not on everything.
    NotGranted,
    /// The user has only read access.
    ReadOnly,
    /// The server cannot answer: only a freeze will show it.
    Unknown,
}

#[derive(Deserialize)]
struct SettingValueRow {
    value: String,
}

/// Queries this user's right to freeze any table.
///
/// # Errors
/// If the server does not answer at all; a server that does not know the query gives [`FreezeRight::Unknown`].
pub fn freeze_right(server: &Server) -> Result<FreezeRight, ServerError> {
    let readonly: Vec<SettingValueRow> = server.list(&sql::setting("readonly"))?;
    if readonly.first().is_some_and(|setting| setting.value != "0") {
        return Ok(FreezeRight::ReadOnly);
    }
    // This statement does not accept a format.
    match server.text(sql::CHECK_FREEZE_GRANT) {
        Ok(answer) => Ok(match answer.trim() {
            "1" => FreezeRight::Granted,
            "0" => FreezeRight::NotGranted,
            _ => FreezeRight::Unknown,
        }),
        Err(ServerError::Exception { .. }) => Ok(FreezeRight::Unknown),
        Err(error) => Err(error),
    }
}
