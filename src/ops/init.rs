//! Making a repository.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::fs::Verbs;
use crate::repo::Repository;

use super::error::OpError;

/// Directories of a ClickHouse data path in which the server makes and deletes what it likes.
pub(super) const SERVER_DIRECTORIES: [&str; 6] = ["shadow", "store", "data", "metadata", "tmp", "detached"];

/// Makes a repository at `path`.
///
/// # Errors
/// If there is one, the directory holds something else, or it lies inside a ClickHouse data path's own directories.
pub fn init(path: &Path, now: DateTime<Utc>, verbs: &Arc<dyn Verbs>) -> Result<Repository, OpError> {
    let whole = resolved(path);
    if let Some(inside) = inside_clickhouse(&whole) {
        return Err(OpError::RepositoryInside { path: whole, inside });
    }
    Ok(Repository::init(path, now, verbs)?)
}

/// The path with every symbolic link and `..` in it resolved, as far as it is there already.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut above = whole.ancestors();
    let there = above.find_map(|above| Some((above, std::fs::canonicalize(above).ok()?)));
    there.map_or_else(
        || whole.clone(),
        |(above, real)| whole.strip_prefix(above).map_or_else(|_| whole.clone(), |rest| real.join(rest)),
    )
}

/// The server directory that `path` lies in, if one above it looks like a data path of ClickHouse: the server is not
/// asked here, so it is told by two of its directories standing side by side.
fn inside_clickhouse(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .filter(|above| above.file_name().is_some_and(|name| SERVER_DIRECTORIES.iter().any(|own| name == *own)))
        .find(|above| {
            let beside = |name: &str| above.parent().is_some_and(|parent| parent.join(name).is_dir());
            beside("metadata") && (beside("data") || beside("store"))
        })
        .map(Path::to_owned)
}
