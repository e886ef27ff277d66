//! Whether this user may do what a snapshot needs, as far as the server says so without being asked to do it.

use serde::Deserialize;

use super::error::ServerError;
use super::sql;
use super::transport::Server;

/// What the server says of this user's right to freeze.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FreezeRight {
    /// It is granted on everything.
    Granted,
    /// It is not, or not on everything.
    NotGranted,
    /// The user may only read.
    ReadOnly,
    /// The server cannot be asked: only a freeze will tell.
    Unknown,
}

#[derive(Deserialize)]
struct Setting {
    value: String,
}

/// Asks for this user's right to freeze any table.
///
/// # Errors
/// If the server does not answer at all; one that does not know the question is [`FreezeRight::Unknown`].
pub fn freeze_right(server: &Server) -> Result<FreezeRight, ServerError> {
    let readonly: Vec<Setting> = server.list(&sql::setting("readonly"))?;
    if readonly.first().is_some_and(|setting| setting.value != "0") {
        return Ok(FreezeRight::ReadOnly);
    }
    // This statement takes no format of its own.
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
