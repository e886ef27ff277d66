//! Why a table was not made.

use crate::fs::FsError;
use crate::ops::error::OpError;
use crate::server::ServerError;

/// Why a table was not made.
#[derive(Debug)]
pub(super) enum Refused {
    /// The server said so, or the table is not what it should be: others may go on, and this one may be tried again.
    This(String),
    /// Nothing more can be done.
    All(OpError),
}

impl From<OpError> for Refused {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Server(error) if !error.may_still_run() => Self::This(crate::monitor::chain(&error)),
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
