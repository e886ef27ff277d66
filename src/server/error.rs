//! What a server, or the way to it, answered instead of a result.

use std::path::PathBuf;
use std::time::Duration;

/// ClickHouse's own error codes that chsnap decides on.
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
    /// A file, here that of a definition, was taken away.
    pub const FILE_DOESNT_EXIST: i32 = 107;
    /// The user may only read.
    pub const READONLY: i32 = 164;
    /// A setting is not known, may not be changed, or not to that value: `UNKNOWN_SETTING`, `READONLY`,
    /// `SETTING_CONSTRAINT_VIOLATION`.
    pub const SETTING_REFUSED: [i32; 3] = [115, 164, 452];
    /// The table was dropped while the query waited.
    pub const TABLE_IS_DROPPED: i32 = 218;
    /// A right is missing.
    pub const ACCESS_DENIED: i32 = 497;
    /// No such user, a wrong password, none where one is needed.
    pub const AUTHENTICATION: [i32; 4] = [192, 193, 194, 516];
}

/// A query that gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Nothing answers there, or the connection broke.
    #[error("cannot reach ClickHouse at {url}")]
    Unreachable {
        /// The address asked.
        url: String,
        /// What the connection said.
        #[source]
        source: Box<clickhouse::error::Error>,
    },
    /// Something answers there that is not ClickHouse's HTTP interface.
    #[error("what answers at {url} is not ClickHouse's HTTP interface: {answer}")]
    NotClickHouse {
        /// The address asked.
        url: String,
        /// The beginning of the answer.
        answer: String,
    },
    /// The server does not know this user and password.
    #[error("ClickHouse at {url} does not accept user {user:?} with this password: {message}")]
    Authentication {
        /// The address asked.
        url: String,
        /// The user given.
        user: String,
        /// The server's words.
        message: String,
    },
    /// The server answered with an exception.
    #[error("ClickHouse refused `{query}`: {message}")]
    Exception {
        /// ClickHouse's error code.
        code: i32,
        /// The beginning of the statement.
        query: String,
        /// The server's words.
        message: String,
    },
    /// No answer within the deadline.
    #[error("ClickHouse did not answer `{query}` within {}", humantime::format_duration(*.deadline))]
    Deadline {
        /// The beginning of the statement.
        query: String,
        /// The time allowed.
        deadline: Duration,
    },
    /// The program was asked to stop while it waited.
    #[error("interrupted while waiting for ClickHouse")]
    Interrupted,
    /// A row of an answer does not read as expected.
    #[error("cannot read the answer to `{query}`: {row}")]
    Answer {
        /// The beginning of the statement.
        query: String,
        /// The beginning of the row.
        row: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Settings of the user's profile may cut an answer short without an error, and cannot be changed.
    #[error("{list} may be cut short: this user's settings have {}, and the server does not let them be changed", .settings.join(", "))]
    Cut {
        /// What was to be listed.
        list: String,
        /// The settings, as `name = value`.
        settings: Vec<String>,
    },
    /// Fewer rows were listed than the server counts.
    #[error("system.{list} was cut short: {rows} rows were listed, and the server counts {count}")]
    Short {
        /// The system table.
        list: String,
        /// Rows that were listed.
        rows: u64,
        /// Rows that there are, as far as the server counts them.
        count: u64,
    },
    /// Row policies may hide rows of a list from this user.
    #[error("{list} may be cut short: the row policies {} hide rows from this user", .policies.join(", "))]
    Hidden {
        /// What was to be listed.
        list: String,
        /// The policies.
        policies: Vec<String>,
    },
    /// The URL cannot be used. It is not shown: there may be a secret in it.
    #[error("the URL of the server {0}")]
    Url(UrlProblem),
    /// The certificates to trust cannot be read.
    #[error("cannot use the certificates in {}: {reason}", .path.display())]
    Certificates {
        /// The file given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The client itself could not be set up.
    #[error("cannot set up the connection to ClickHouse: {reason}")]
    Setup {
        /// What is wrong.
        reason: String,
    },
}

/// What is wrong with the URL of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlProblem {
    /// It does not begin with `http://` or `https://`, or has white space in it.
    #[error("is not an http:// or https:// address")]
    NotHttp,
    /// It has a user or a password in it.
    #[error("has a user or a password in it")]
    UserInfo,
    /// It has a query or a fragment: `?…` or `#…`.
    #[error("has a part behind a ? or #")]
    Query,
}

impl ServerError {
    /// Whether a list would not be whole, or was not.
    #[must_use]
    pub fn is_cut_list(&self) -> bool {
        matches!(self, Self::Cut { .. } | Self::Short { .. } | Self::Hidden { .. })
    }

    /// ClickHouse's error code, where the server gave one.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Exception { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the server said that the table, or its database, is not there any more.
    #[must_use]
    pub fn is_table_gone(&self) -> bool {
        matches!(self.code(), Some(code::UNKNOWN_TABLE | code::UNKNOWN_DATABASE | code::TABLE_IS_DROPPED))
    }

    /// Whether a list of tables failed over one that was dropped or renamed while it was read.
    #[must_use]
    pub fn is_moving_table(&self) -> bool {
        self.is_table_gone() || self.code() == Some(code::FILE_DOESNT_EXIST)
    }

    /// Whether two freezes met while the server made its counter `shadow/increment.txt`, so that one of them found it
    /// empty (ClickHouse issue 105719): asked again, it goes through.
    #[must_use]
    pub fn is_counter_race(&self) -> bool {
        matches!(self, Self::Exception { code: code::EMPTY_FILE, message, .. } if message.contains("increment.txt"))
    }

    /// Whether the server itself found no blocks, no inodes or no quota left. Its code for that differs by version and
    /// by system call; the words are the system's.
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
