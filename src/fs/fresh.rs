//! A directory as its server has it now.

use rustix::fs::{AtFlags, StatxFlags};

use super::dir::Dir;
use super::error::FsError;

impl Dir {
    /// The names in the directory, those that are text, as they are now on a network filesystem too.
    ///
    /// An NFS client answers from what it has read before until a time of the directory proves to have changed, which it
    /// asks the server for once a minute or so (`acdirmax` in `nfs(5)`): here it must ask.
    ///
    /// # Errors
    /// As [`Dir::entries`].
    pub fn fresh_names(&self) -> Result<Vec<String>, FsError> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
        // Where the call is not known there is no NFS that caches either, or its names are late: a watcher only waits.
        if let Err(error) = rustix::fs::statx(self.fd(), c"", flags, StatxFlags::BASIC_STATS) {
            tracing::debug!(%error, "a directory is not asked for anew");
        }
        Ok(self.entries()?.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect())
    }
}
