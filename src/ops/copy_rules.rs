//! Options for copies into a repository.

use crate::fs;

/// How to treat metadata of a file that the repository's filesystem cannot keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IdsMode {
    /// Nothing is copied to a filesystem that cannot keep all of it.
    #[default]
    Keep,
    /// The metadata is written into the list of parts.
    Record,
}

impl IdsMode {
    /// The mode's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Record => "record",
        }
    }
}

/// How files are copied into a repository, and linked to files that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(super) struct CopyRules {
    /// How to treat owners, modes, times and attributes that the repository's filesystem cannot keep.
    pub(super) ids: IdsMode,
    /// Whether blocks are shared with the source if the filesystem can.
    pub(super) clones: bool,
    /// Whether copied data is compared with the parts' checksums on the way.
    pub(super) verifies: bool,
    /// Whether equal hashes suffice to link files of two tables, without comparing their bytes.
    pub(super) trusts_hash: bool,
    /// Whether a part that an earlier snapshot holds under other inodes is linked from there.
    pub(super) relinks: bool,
    /// Bytes to leave free while copying.
    pub(super) min_free_bytes: u64,
}

impl CopyRules {
    /// How bytes are copied by these rules.
    pub(super) fn copy_options<'a>(
        &self,
        rate: Option<&'a fs::RateLimit>,
        advanced: &'a fs::Advanced<'a>,
    ) -> fs::CopyOptions<'a> {
        fs::CopyOptions::new(self.clones, rate, advanced)
    }
}
