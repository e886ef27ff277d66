//! Creation of a repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::fs::Mutations;
use crate::repo::Repository;

use super::error::OpError;

/// Directories of a ClickHouse data path in which the server creates and deletes as it likes.
pub(super) const SERVER_DIRECTORIES: [&str; 6] = ["shadow", "store", "data", "metadata", "tmp", "detached"];

/// Creates a repository at `path`.
///
/// # Errors
/// If a repository exists there, the directory has other contents, or it lies inside one of ClickHouse's own
/// directories.
pub fn init(path: &Path, now: DateTime<Utc>, verbs: &Arc<dyn Mutations>) -> Result<Repository, OpError> {
    let whole = resolved(path);
    if let Some(inside) = inside_clickhouse(&whole) {
        return Err(OpError::RepositoryInside { path: whole, inside });
    }
    Ok(Repository::init(path, now, verbs)?)
}

/// The path with all symbolic links and `..` resolved, up to the last component that exists.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut above = whole.ancestors();
    let there = above.find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
    there.map_or_else(
        || whole.clone(),
        |(above, real)| whole.strip_prefix(above).map_or_else(|_| whole.clone(), |rest| real.join(rest)),
    )
}

/// The server directory that contains `path`, if a directory above it looks like a data path of ClickHouse. The server
/// is not asked here; two of its directories next to each other are the sign.
fn inside_clickhouse(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .filter(|above| above.file_name().is_some_and(|name| SERVER_DIRECTORIES.iter().any(|own| name == *own)))
        .find(|above| {
            let has_sibling = |name: &str| above.parent().is_some_and(|parent| parent.join(name).is_dir());
            has_sibling("metadata") && (has_sibling("data") || has_sibling("store"))
        })
        .map(Path::to_owned)
}
