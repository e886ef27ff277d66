//! Takes parts out of a snapshot: linked where that is safe, else copied.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::fs::{CopyOptions, Dir, EntryKind, ErrorKind, FsError, Hashing, LostMetadata, Stat};
use crate::model::{PartTally, PlacedTotals, Placement};

use super::ExecError;
use super::copied_links::CopiedLinks;
use super::copied_part::CopyPartError;
use super::copy::PartCopier;
use super::place::PART_DEPTH;

/// The methods that a restore may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreMode {
    /// Link, else share blocks, else copy.
    Auto,
    /// Link only, except for single files that a server would change.
    Link,
    /// A copy of every file, which may share blocks with the snapshot's.
    Copy,
}

impl RestoreMode {
    /// The mode's name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Link => "link",
            Self::Copy => "copy",
        }
    }
}

/// Why a part was not restored. Whatever was created of it stays; the caller removes it.
#[derive(Debug, thiserror::Error)]
pub enum RestorePartError {
    /// A copy failed.
    #[error(transparent)]
    Copy(#[from] CopyPartError),
    /// Links were required, and a link does not work.
    #[error("{} can only be copied: {why}", .path.display())]
    NotLinked {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        why: &'static str,
    },
}

impl From<FsError> for RestorePartError {
    fn from(error: FsError) -> Self {
        Self::Copy(error.into())
    }
}

impl From<ExecError> for RestorePartError {
    fn from(error: ExecError) -> Self {
        Self::Copy(error.into())
    }
}

/// A part that was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredPart {
    /// Its files, projections included.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Of the files, those that are the snapshot's own inodes.
    pub linked_files: u64,
    /// Of the files, those that share blocks with the snapshot's.
    pub cloned_files: u64,
    /// Metadata of the snapshot's files that the copies do not have.
    pub unkept: Vec<(String, LostMetadata)>,
}

impl RestoredPart {
    /// How it was placed, judged by most of its files.
    #[must_use]
    pub fn placement(&self) -> Placement {
        if self.linked_files * 2 >= self.files {
            Placement::Linked
        } else if self.cloned_files * 2 >= self.files - self.linked_files {
            Placement::Reflinked
        } else {
            Placement::Copied
        }
    }

    /// Adds it to the totals.
    pub fn count(&self, placed: &mut PlacedTotals) {
        placed.add(self.placement(), PartTally { parts: 1, files: self.files, bytes: self.bytes });
    }
}

/// Puts parts of a snapshot where they are to be used.
#[derive(Debug)]
pub struct PartRestorer<'a> {
    /// How files may be placed there.
    pub mode: RestoreMode,
    /// User and group of the server that will use them; `None` for a tree that no server uses.
    pub owner: Option<(u32, u32)>,
    /// How bytes are copied.
    pub options: CopyOptions<'a>,
    /// Whether links to this filesystem failed: found out once, and not tried again.
    links_refused: AtomicBool,
}

/// Any write bit. FREEZE and `DETACH PARTITION` clear these on every file of a part, by `chmod`
/// (`IDataPartStorage::freeze`, `localBackup.cpp`). On a file that has a write bit, they would change the snapshot's
/// inode.
const WRITABLE: u32 = 0o222;

impl<'a> PartRestorer<'a> {
    /// Creates a restorer that has not yet learned whether links work.
    #[must_use]
    pub fn new(mode: RestoreMode, owner: Option<(u32, u32)>, options: CopyOptions<'a>) -> Self {
        Self { mode, owner, options, links_refused: AtomicBool::new(false) }
    }

    /// Restores the part in `from` into a new directory `name` of `table`. Nothing is made durable, and nothing is ever
    /// set on a linked file.
    ///
    /// # Errors
    /// If something cannot be read or written, or does not match the part's own checksums, or if links are required and
    /// do not work.
    pub fn restore_part(&self, from: &Dir, table: &Dir, name: &str) -> Result<RestoredPart, RestorePartError> {
        if self.mode == RestoreMode::Copy || self.links_refused.load(Ordering::Relaxed) {
            return self.copy_part(from, table, name);
        }
        let mut restored = RestoredPart::default();
        match self.link_directory(from, table, name, (PART_DEPTH, ""), &mut restored) {
            Ok(()) => Ok(restored),
            Err(NotLinked::Links) => {
                // The same holds for every file of this disk: the part is started again as a copy.
                self.links_refused.store(true, Ordering::Relaxed);
                super::remove_tree(table, name, &|_| ())?;
                self.copy_part(from, table, name)
            }
            Err(NotLinked::Failed(error)) => Err(error),
        }
    }

    fn copy_part(&self, from: &Dir, table: &Dir, name: &str) -> Result<RestoredPart, RestorePartError> {
        // Two links to one inode become two files: a server's change to one must not touch the other.
        let links = CopiedLinks::new(table.clone(), u32::MAX, 0);
        let options = self.options.again();
        let copier = PartCopier { options, verifies: true, links: &links };
        let mut part = copier.copy_part(from, table, Path::new(""), name, &|_| true)?;
        if let Some(owner) = self.owner {
            give(&table.open_dir(name)?, owner)?;
            part.unkept.retain(|(_, unkept)| *unkept != LostMetadata::Owner);
        }
        Ok(RestoredPart {
            files: part.files,
            bytes: part.bytes,
            linked_files: 0,
            cloned_files: part.cloned_files,
            unkept: part.unkept,
        })
    }

    fn link_directory(
        &self,
        from: &Dir,
        to: &Dir,
        name: &str,
        (depth, inside): (usize, &str),
        restored: &mut RestoredPart,
    ) -> Result<(), NotLinked> {
        to.create_dir(name, 0o700)?;
        let target = to.open_dir(name)?;
        for entry in from.entries_with_kind()? {
            let path = || from.path().join(&entry.name);
            let Some(entry_name) = entry.name.to_str() else {
                return Err(ExecError::Foreign { path: path(), what: "not named like a file" }.into());
            };
            let below = if inside.is_empty() { entry_name.to_owned() } else { format!("{inside}/{entry_name}") };
            match entry.kind {
                EntryKind::File => self.restore_file(from, &target, entry_name, &below, restored)?,
                EntryKind::Directory if depth > 0 => {
                    let dir = from.open_dir(entry_name)?;
                    self.link_directory(&dir, &target, entry_name, (depth - 1, &below), restored)?;
                }
                EntryKind::Directory => {
                    return Err(ExecError::Foreign { path: path(), what: "a directory too deep" }.into());
                }
                _ => return Err(ExecError::Foreign { path: path(), what: "neither a file nor a directory" }.into()),
            }
        }
        let unkept = target.keep_metadata_of(from)?.into_iter();
        let unkept = unkept.filter(|unkept| self.owner.is_none() || *unkept != LostMetadata::Owner);
        restored.unkept.extend(unkept.map(|unkept| (inside.to_owned(), unkept)));
        if let Some(owner) = self.owner {
            give_directory(&target, owner)?;
        }
        Ok(())
    }

    fn restore_file(
        &self,
        from: &Dir,
        to: &Dir,
        name: &str,
        path: &str,
        restored: &mut RestoredPart,
    ) -> Result<(), NotLinked> {
        let stat = from.stat(name)?;
        restored.files += 1;
        restored.bytes += stat.size_bytes;
        if let Some(why) = self.forbids_link(&stat) {
            if self.mode == RestoreMode::Link && why.is_hard() {
                return Err(NotLinked::Failed(RestorePartError::NotLinked {
                    path: from.path().join(name),
                    why: why.text(),
                }));
            }
        } else {
            match to.link_from(from, name, name) {
                Ok(()) => {
                    restored.linked_files += 1;
                    return Ok(());
                }
                Err(error) if self.mode == RestoreMode::Auto => match error.kind() {
                    ErrorKind::CrossDevice | ErrorKind::NoPermission => return Err(NotLinked::Links),
                    ErrorKind::TooManyLinks => {}
                    _ => return Err(error.into()),
                },
                Err(error) => return Err(error.into()),
            }
        }
        let copied = to.copy_from(&self.options, from, name, name, Hashing::None).map_err(CopyPartError::from)?;
        if let Some(owner) = self.owner {
            to.give_file(name, owner)?;
        }
        restored.cloned_files += u64::from(copied.is_clone);
        let unkept = copied.unkept.into_iter().filter(|unkept| self.owner.is_none() || *unkept != LostMetadata::Owner);
        restored.unkept.extend(unkept.map(|unkept| (path.to_owned(), unkept)));
        Ok(())
    }

    fn forbids_link(&self, stat: &Stat) -> Option<Forbidden> {
        let (uid, _) = self.owner?;
        if stat.ownership.uid != uid {
            return Some(Forbidden::Owner);
        }
        (stat.ownership.mode & WRITABLE != 0).then_some(Forbidden::Writable)
    }
}

#[derive(Clone, Copy)]
enum Forbidden {
    Owner,
    Writable,
}

impl Forbidden {
    fn is_hard(self) -> bool {
        matches!(self, Self::Owner)
    }

    fn text(self) -> &'static str {
        match self {
            Self::Owner => "it belongs to another user than the server's data, and a linked file is never given away",
            Self::Writable => "the server would change its mode",
        }
    }
}

/// Why a part is not linked.
enum NotLinked {
    /// Links do not work here at all.
    Links,
    Failed(RestorePartError),
}

impl<E: Into<RestorePartError>> From<E> for NotLinked {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Gives a copy, with all its files and directories, to the user of the server. The server may write to the
/// directories.
fn give(dir: &Dir, owner: (u32, u32)) -> Result<(), FsError> {
    for entry in dir.entries_with_kind()? {
        match entry.kind {
            EntryKind::Directory => give(&dir.open_dir(&entry.name)?, owner)?,
            _ => dir.give_file(OsStr::new(&entry.name), owner)?,
        }
    }
    give_directory(dir, owner)
}

fn give_directory(dir: &Dir, owner: (u32, u32)) -> Result<(), FsError> {
    let stat = dir.stat_self()?;
    let mut wanted = stat.ownership;
    (wanted.uid, wanted.gid) = owner;
    wanted.mode |= 0o700;
    if wanted != stat.ownership {
        dir.set_ownership(wanted)?;
        dir.set_modified(stat.modified)?;
    }
    Ok(())
}
