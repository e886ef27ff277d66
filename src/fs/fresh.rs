//! A directory as its server has it now.

use rustix::fs::{AtFlags, StatxFlags};

use super::dir::Dir;
use super::error::FsError;

impl Dir {
    /// The names in the directory that are valid text, up to date on a network filesystem too.
    ///
    /// An NFS client answers from its cache until a time of the directory turns out to have changed, which it asks the
    /// server about once a minute or so (`acdirmax` in `nfs(5)`). This method makes it ask.
    ///
    /// # Errors
    /// As [`Dir::entries`].
    pub fn fresh_names(&self) -> Result<Vec<String>, FsError> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        // If this call is unknown, either the NFS client does not cache, or its names are late: a watcher then only
        // waits longer.
        if let Err(error) = rustix::fs::statx(self.fd(), c"", flags, StatxFlags::BASIC_STATS) {
            tracing::debug!(%error, "a directory is not read again");
        }
        Ok(self.entries()?.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect())
    }
}
