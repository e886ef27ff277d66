//! Why a table was not made.

use crate::fs::FsError;
use crate::ops::error::OpError;
use crate::server::ServerError;

use super::not_restored::NotRestored;

/// Why a table was not made.
#[derive(Debug)]
pub(super) enum Refused {
    /// The server said so, or the table is not what it should be: others may go on, and this one may be tried again.
    This(NotRestored),
    /// Nothing more can be done.
    All(OpError),
}

impl Refused {
    /// A table that is not what it should be.
    pub(super) fn this(reason: impl Into<String>) -> Self {
        Self::This(NotRestored::Refused(reason.into()))
    }

    /// A definition that the server does not take.
    pub(super) fn definition(error: ServerError) -> Self {
        let code = error.code();
        match Self::from(error) {
            Self::This(reason) => Self::This(NotRestored::DefinitionRefused { message: reason.to_string(), code }),
            all @ Self::All(_) => all,
        }
    }
}

impl From<OpError> for Refused {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Server(error) if !error.may_still_run() => {
                Self::This(NotRestored::Refused(crate::monitor::chain(&error)))
            }
            error => Self::All(error),
        }
    }
}

impl From<ServerError> for Refused {
    fn from(error: ServerError) -> Self {
        OpError::from(error).into()
    }
}

impl From<FsError> for Refused {
    fn from(error: FsError) -> Self {
        Self::All(error.into())
    }
}
