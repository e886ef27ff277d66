//! A file of a part as it was when it was read.

use crate::fs::Stat;
use crate::model::ContentHash;

use super::inspect_files::InspectedFile;

/// A file of a part, and its content when it was read.
#[derive(Clone, Debug)]
pub struct ReadFile {
    pub(super) name: &'static str,
    inode: u64,
    size_bytes: u64,
    modified: (i64, u32),
    pub(super) blake3: ContentHash,
}

impl ReadFile {
    /// Describes a file directly in its part.
    #[must_use]
    pub fn new(name: &'static str, stat: Stat, bytes: &[u8]) -> Self {
        let Stat { inode, size_bytes, modified, .. } = stat;
        Self { name, inode, size_bytes, modified, blake3: blake3::hash(bytes).into() }
    }

    /// Whether this is that file. ClickHouse never rewrites a file of a part; it replaces the file by a new one.
    pub(super) fn is(&self, file: &InspectedFile) -> bool {
        let Stat { inode, size_bytes, modified, .. } = file.stat;
        let is_same = (inode, size_bytes, modified) == (self.inode, self.size_bytes, self.modified);
        is_same && file.directory.is_empty() && file.name == self.name
    }
}
