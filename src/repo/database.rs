//! The database of the index, opened at most once per command, however many queries follow.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

/// An open database and the file that holds it.
struct OpenDatabase {
    path: PathBuf,
    device: u64,
    inode: u64,
    connection: Connection,
}

impl OpenDatabase {
    /// Whether the open file is still at this path: another process may have deleted it.
    fn is_at(&self, path: &Path) -> bool {
        let exists = |stat: std::fs::Metadata| stat.dev() == self.device && stat.ino() == self.inode;
        self.path == path && std::fs::symlink_metadata(path).is_ok_and(exists)
    }
}

/// At most one open database.
#[derive(Default)]
pub(super) struct DatabaseSlot(Mutex<Option<OpenDatabase>>);

impl DatabaseSlot {
    /// Runs `work` with the database at `path`, which is opened if it is not open yet. Returns `None` if it cannot be
    /// opened.
    pub(super) fn with<T>(
        &self,
        path: &Path,
        open: impl FnOnce() -> Option<Connection>,
        work: impl FnOnce(&mut Connection) -> T,
    ) -> Option<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = kept.as_mut().filter(|kept| kept.is_at(path)) {
            return Some(work(&mut open.connection));
        }
        let mut connection = open()?;
        let done = work(&mut connection);
        // A database whose file is gone is not kept.
        *kept = std::fs::symlink_metadata(path).ok().map(|stat| OpenDatabase {
            path: path.to_owned(),
            device: stat.dev(),
            inode: stat.ino(),
            connection,
        });
        Some(done)
    }

    /// Closes it.
    pub(super) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for DatabaseSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database")
    }
}
