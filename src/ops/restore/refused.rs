//! Why a table was not created.

use crate::fs::FsError;
use crate::ops::error::OpError;
use crate::server::ServerError;

use super::not_restored::NotRestored;
use super::statements::drop_refusal;

/// Why a table was not created.
#[derive(Debug)]
pub(super) enum TableFailure {
    /// The server refused it, or the table is not what it should be. Others may proceed, and this one may be retried.
    This(NotRestored),
    /// Nothing more can be done.
    All(OpError),
}

impl TableFailure {
    /// A table that is not what it should be.
    pub(super) fn this(reason: impl Into<String>) -> Self {
        Self::This(NotRestored::Refused(reason.into()))
    }

    /// A definition that the server does not accept.
    pub(super) fn definition(error: ServerError) -> Self {
        let code = error.code();
        match Self::from(error) {
            Self::This(reason) => Self::This(NotRestored::DefinitionRefused { message: reason.to_string(), code }),
            all @ Self::All(_) => all,
        }
    }
}

impl From<OpError> for TableFailure {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Server(error) if !error.may_still_run() => Self::This(NotRestored::Refused(drop_refusal(&error))),
            error => Self::All(error),
        }
    }
}

impl From<ServerError> for TableFailure {
    fn from(error: ServerError) -> Self {
        OpError::from(error).into()
    }
}

impl From<FsError> for TableFailure {
    fn from(error: FsError) -> Self {
        Self::All(error.into())
    }
}
