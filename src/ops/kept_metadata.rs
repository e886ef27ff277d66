//! Metadata that the repository's filesystem keeps of the files that are copied to it.

use crate::exec::PreservedMetadata;
use crate::fs::{self, Dir, EntryKind};
use crate::model::Ownership;

use super::copy_rules::IdsMode;
use super::error::OpError;

/// The metadata that copies keep, and whether they share blocks with their sources.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptMetadata {
    pub(super) keeping: PreservedMetadata,
    pub(super) clones: bool,
}

/// The state before any probe.
impl Default for KeptMetadata {
    fn default() -> Self {
        Self { keeping: PreservedMetadata::ALL, clones: false }
    }
}

/// A sample of what will be copied.
#[derive(Clone, Debug)]
pub(super) enum MetadataSample {
    /// The directory of a part, and the ownership of a file in it.
    OfFiles {
        /// The part's directory.
        dir: Dir,
        /// Owner, group and mode of one of its files.
        ownership: Ownership,
    },
    /// A directory above parts that do not exist yet.
    OfDirectory {
        /// The directory.
        dir: Dir,
    },
}

impl KeptMetadata {
    /// Probes the filesystem of `incoming` for one more kind of files, with a scratch file.
    ///
    /// # Errors
    /// If it has no hard links; with [`IdsMode::Keep`], if it cannot keep all that the sample has.
    pub(super) fn ask(&mut self, incoming: &Dir, ids: IdsMode, sample: &MetadataSample) -> Result<(), OpError> {
        let (dir, ownership) = match sample {
            MetadataSample::OfFiles { dir, ownership } => (dir, *ownership),
            MetadataSample::OfDirectory { dir } => (dir, dir.stat_self()?.ownership),
        };
        let can = self.ask_one(incoming, ids, dir.path(), ownership)?;
        if ids == IdsMode::Record {
            return Ok(());
        }
        let cannot = |what: String| Err(OpError::CannotKeep { path: dir.path().to_owned(), what });
        let MetadataSample::OfFiles { dir, .. } = sample else { return Ok(()) };
        for entry in dir.entries_if_there()?.iter().filter(|entry| entry.kind == EntryKind::File) {
            let Ok(xattrs) = dir.xattrs_of(&entry.name) else { continue };
            let is_unkept = |name: &str| {
                (!can.acls && name.starts_with("system.posix_acl")) || (!can.user_xattrs && name.starts_with("user."))
            };
            if let Some((name, _)) = xattrs.iter().find(|(name, _)| is_unkept(name)) {
                return cannot(format!("attribute {name}"));
            }
        }
        Ok(())
    }

    /// Probes the filesystem of `incoming` for files of these owners and modes, which do not exist here yet.
    ///
    /// # Errors
    /// As [`KeptMetadata::ask`].
    pub(super) fn ask_for(&mut self, incoming: &Dir, ids: IdsMode, owners: &[Ownership]) -> Result<(), OpError> {
        for ownership in owners {
            self.ask_one(incoming, ids, incoming.path(), *ownership)?;
        }
        Ok(())
    }

    /// The metadata that the filesystem keeps of files with this owner and mode; `of` is their path for messages.
    fn ask_one(
        &mut self,
        incoming: &Dir,
        ids: IdsMode,
        of: &std::path::Path,
        ownership: Ownership,
    ) -> Result<fs::CanKeep, OpError> {
        let can = fs::can_keep(incoming, (ownership.uid, ownership.gid))?;
        if !can.hard_links {
            let path = incoming.path().ancestors().nth(2).unwrap_or(incoming.path()).to_owned();
            return Err(OpError::NoHardLinks { path });
        }
        self.clones |= can.clones;
        self.keeping.owner &= can.owner;
        self.keeping.mode &= can.mode;
        self.keeping.time &= can.nanoseconds;
        if ids == IdsMode::Record {
            self.keeping.xattrs &= can.user_xattrs && can.acls;
            return Ok(can);
        }
        let cannot = |what: String| Err(OpError::CannotKeep { path: of.to_owned(), what });
        if !can.owner {
            return cannot(format!("owner and group {}:{}", ownership.uid, ownership.gid));
        }
        if !can.mode {
            return cannot("permissions".to_owned());
        }
        if !can.nanoseconds {
            return cannot("modification times to the nanosecond".to_owned());
        }
        Ok(can)
    }
}
