//! Errors of a server, or of the connection to it.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::{span, thousands};

/// ClickHouse's own error codes on which chsnap decides.
///
/// Source: `src/Common/ErrorCodes.cpp` in ClickHouse.
pub mod code {
    /// A file ended before it should (`ATTEMPT_TO_READ_AFTER_EOF`).
    pub const EMPTY_FILE: i32 = 32;
    /// A table of this name exists.
    pub const TABLE_ALREADY_EXISTS: i32 = 57;
    /// No such function.
    pub const UNKNOWN_FUNCTION: i32 = 46;
    /// No such table.
    pub const UNKNOWN_TABLE: i32 = 60;
    /// No such database.
    pub const UNKNOWN_DATABASE: i32 = 81;
    /// A file, here that of a definition, was removed.
    pub const FILE_DOESNT_EXIST: i32 = 107;
    /// An operation took longer than a setting allows.
    pub const TIMEOUT_EXCEEDED: i32 = 159;
    /// A table or partition is larger than the server's configuration permits a statement to drop.
    pub const TABLE_SIZE_EXCEEDS_MAX_DROP_SIZE_LIMIT: i32 = 359;
    /// A dictionary or a definition of another object needs the object.
    pub const HAVE_DEPENDENT_OBJECTS: i32 = 630;
    /// The user has only read access.
    pub const READONLY: i32 = 164;
    /// A setting is unknown, may not be changed, or not to that value: `UNKNOWN_SETTING`, `READONLY`,
    /// `SETTING_CONSTRAINT_VIOLATION`.
    pub const SETTING_REFUSED: [i32; 3] = [115, 164, 452];
    /// The table was dropped while the query waited.
    pub const TABLE_IS_DROPPED: i32 = 218;
    /// A right is missing.
    pub const ACCESS_DENIED: i32 = 497;
    /// No such user, a wrong password, or a missing one.
    pub const AUTHENTICATION: [i32; 4] = [192, 193, 194, 516];
}

/// A query that gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is no answer at the address, or the connection broke.
    #[error("cannot reach ClickHouse at {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// The connection's error.
        #[source]
        source: Box<clickhouse::error::Error>,
    },
    /// The service at the address is not ClickHouse's HTTP interface.
    #[error("what answers at {url} is not ClickHouse's HTTP interface: {answer}")]
    NotClickHouse {
        /// The address.
        url: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// The server does not accept this user and password.
    #[error("ClickHouse at {url} does not accept user {user:?} with this password: {message}")]
    Authentication {
        /// The address.
        url: String,
        /// The user given.
        user: String,
        /// Whether a password was given.
        has_password: bool,
        /// The server's message.
        message: String,
    },
    /// The server answered with an exception.
    #[error("ClickHouse refused `{query}`: {message}")]
    Exception {
        /// ClickHouse's error code.
        code: i32,
        /// The beginning of the statement.
        query: String,
        /// The server's message.
        message: String,
    },
    /// No answer within the deadline.
    #[error("ClickHouse did not answer `{query}` within {}", span(*.deadline))]
    Deadline {
        /// The beginning of the statement.
        query: String,
        /// The time allowed.
        deadline: Duration,
    },
    /// The program was told to stop while it waited.
    #[error("interrupted while waiting for ClickHouse")]
    Interrupted,
    /// A row of an answer cannot be parsed as expected.
    #[error("cannot read the answer to `{query}`: {row}")]
    Answer {
        /// The beginning of the statement.
        query: String,
        /// The beginning of the row.
        row: String,
        /// The parser's error.
        #[source]
        source: serde_json::Error,
    },
    /// Settings of the user's profile may cut an answer short without an error, and cannot be changed.
    #[error("{list} may be cut short: this user's settings have {}, and the server does not let them be changed", .settings.join(", "))]
    Cut {
        /// The list that was requested.
        list: String,
        /// The settings, as `name = value`.
        settings: Vec<String>,
    },
    /// Fewer rows were listed than the server counts.
    #[error("system.{list} was cut short: {} listed, and the server counts {}", crate::model::count(*.rows, "row"), thousands(*.count))]
    Short {
        /// The system table.
        list: String,
        /// Rows that were listed.
        rows: u64,
        /// Rows that exist, according to the server's count.
        count: u64,
    },
    /// Row policies may hide rows of a list from this user.
    #[error("{list} may be cut short: the row policies {} hide rows from this user", .policies.join(", "))]
    Hidden {
        /// The list that was requested.
        list: String,
        /// The policies.
        policies: Vec<String>,
    },
    /// The URL cannot be used. It is not shown, because it may contain a secret.
    #[error("the URL of the server {0}")]
    Url(UrlProblem),
    /// The certificates to trust cannot be read.
    #[error("cannot use the certificates in {}: {reason}", .path.display())]
    Certificates {
        /// The file given.
        path: PathBuf,
        /// The problem with it.
        reason: String,
    },
    /// The client itself could not be set up.
    #[error("cannot set up the connection to ClickHouse: {reason}")]
    Setup {
        /// The problem.
        reason: String,
    },
}

/// The problem with a server's URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// It does not begin with `http://` or `https://`, or contains white space.
    #[error("is not an http:// or https:// address")]
    NotHttp,
    /// It contains a user or a password.
    #[error("has a user or a password in it")]
    UserInfo,
    /// It contains a query or a fragment: `?…` or `#…`.
    #[error("has a part behind a ? or #")]
    Query,
}

impl UrlProblem {
    /// The form that an address must have.
    #[must_use]
    pub fn remedy(self) -> &'static str {
        match self {
            Self::NotHttp => "for example http://127.0.0.1:8123",
            Self::UserInfo => {
                "give the address alone; the user with --user, and the password in CHSNAP_PASSWORD or --password-file"
            }
            Self::Query => {
                "give the address alone; the user with --user, the password in CHSNAP_PASSWORD or --password-file; \
                 settings belong in the user's profile on the server, and cannot be given here"
            }
        }
    }
}

impl ServerError {
    /// How to resolve an address that cannot be used, or a user that the server does not accept; `None` for other errors.
    #[must_use]
    pub fn access_remedy(&self) -> Option<&'static str> {
        match self {
            Self::Url(problem) => Some(problem.remedy()),
            Self::Authentication { has_password: false, .. } => Some(
                "no password was given: set CHSNAP_PASSWORD, or name a file with --password-file; --user names another user",
            ),
            Self::Authentication { has_password: true, .. } => Some(
                "the password is not this user's, or there is no such user: check --user, --password-file and \
                 CHSNAP_PASSWORD, which is stronger than a configured password_file",
            ),
            _ => None,
        }
    }

    /// Whether a list would be, or was, incomplete.
    #[must_use]
    pub fn is_cut_list(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Short { .. } | Self::Hidden { .. })
    }

    /// ClickHouse's error code, if the server gave one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Exception { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the server reported that the table, or its database, no longer exists.
    #[must_use]
    pub fn is_table_gone(&self) -> bool {
        matches!(self.code(), Some(code::UNKNOWN_TABLE | code::UNKNOWN_DATABASE | code::TABLE_IS_DROPPED))
    }

    /// Whether a list of tables failed because a table was dropped or renamed while the list was read.
    #[must_use]
    pub fn is_moving_table(&self) -> bool {
        self.is_table_gone() || self.code() == Some(code::FILE_DOESNT_EXIST)
    }

    /// Whether two freezes collided while the server created its counter `shadow/increment.txt`, so that one of them
    /// found it empty (ClickHouse issue 105719): a retry succeeds.
    #[must_use]
    pub fn is_counter_race(&self) -> bool {
        matches!(self, Self::Exception { code: code::EMPTY_FILE, message, .. } if message.contains("increment.txt"))
    }

    /// Whether the server itself found no blocks, no inodes or no quota left. Its error code differs by version and by
    /// system call; the message is the system's.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        let Self::Exception { message, .. } = self else { return false };
        let message = message.to_lowercase();
        message.contains("no space left on device") || message.contains("disk quota exceeded")
    }

    /// Whether the statement may still run on the server.
    #[must_use]
    pub fn may_still_run(&self) -> bool {
        matches!(self, Self::Deadline { .. } | Self::Interrupted | Self::Unreachable { .. })
    }
}
