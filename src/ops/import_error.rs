//! Why a tree cannot become a snapshot. The repository is then unchanged.

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::plan::BackupListError;

/// Why a tree cannot become a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The tree is not of a known kind.
    #[error("{} is no backup: it has neither .backup nor metadata.json, and a tree of frozen parts needs --metadata", .path.display())]
    Unknown {
        /// The tree.
        path: PathBuf,
    },
    /// It is a file, perhaps an archive.
    #[error("{} is no directory", .path.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
    },
    /// It is inside the repository.
    #[error("{} is inside the repository", .path.display())]
    InRepository {
        /// The tree.
        path: PathBuf,
    },
    /// Its list cannot be read.
    #[error("{} cannot be read as the list of a backup", .path.display())]
    List {
        /// The list.
        path: PathBuf,
        /// The reason.
        #[source]
        source: BackupListError,
    },
    /// A JSON file cannot be read.
    #[error("{} is not what clickhouse-backup writes", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// A name in it leads outside the tree, or occurs twice.
    #[error("{} names {name:?}, which {what}", .path.display())]
    Name {
        /// The file that names it.
        path: PathBuf,
        /// The name, truncated.
        name: String,
        /// The problem with it.
        what: &'static str,
    },
    /// It needs another backup.
    #[error("{} is based on another backup, without which it is not whole", .path.display())]
    Based {
        /// The tree.
        path: PathBuf,
    },
    /// It is of a form that cannot be read.
    #[error("{} {what}", .path.display())]
    Form {
        /// The tree.
        path: PathBuf,
        /// The problem with it.
        what: String,
    },
    /// The time that was given for it is in the future.
    #[error("{} is in the future: no tree was made then", .time.to_rfc3339())]
    Future {
        /// The time.
        time: DateTime<Utc>,
    },
    /// It contains nothing that was requested.
    #[error("the tree has no {}", .names.join(", no "))]
    Unmatched {
        /// The requested names.
        names: Vec<String>,
    },
    /// It contains no table.
    #[error("{} has no table", .path.display())]
    Empty {
        /// The tree.
        path: PathBuf,
    },
    /// Every table in it that could have rows is skipped.
    #[error("{} has no table that can be taken: {}", .path.display(), Self::first_of(.reasons))]
    NothingTaken {
        /// The tree.
        path: PathBuf,
        /// A sentence about each skipped table.
        reasons: Vec<String>,
    },
}

impl ImportError {
    fn first_of(reasons: &[String]) -> String {
        let first = reasons.first().cloned().unwrap_or_default();
        if reasons.len() > 1 { format!("{first}, and {} more", reasons.len() - 1) } else { first }
    }

    /// The problem with a listed file, as text that follows the file's path.
    pub(in crate::ops) const NOT_AS_LISTED: &'static str = "is missing, or is not the file in the list of the backup";
}
