//! Remembers which inodes were copied already, so that several links to one inode remain links to one inode.

use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::ffi::OsStr;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fs::{ContentDigest, Dir, ErrorKind, FsError, LostMetadata, Stat};

use super::join::LINK_LIMIT;

/// The copies of one run, by the inodes of their sources.
///
/// An entry takes about 50 bytes: directories and names are few, so each is stored once and numbered.
#[derive(Debug)]
pub struct CopiedLinks {
    root: Dir,
    usual_links: u32,
    limit: usize,
    known: Mutex<DirectoryNames>,
}

#[derive(Debug, Default)]
struct DirectoryNames {
    devices: Vec<u64>,
    /// Relative to the root; `None` for a directory whose copies no longer count.
    directories: Vec<Option<Box<Path>>>,
    names: Vec<Arc<OsStr>>,
    name_numbers: HashMap<Arc<OsStr>, u32>,
    /// Metadata that copies lack, compared with their sources.
    lacks: Vec<Arc<[LostMetadata]>>,
    copies: HashMap<(u32, u64), CopiedLink>,
    passed_over: u64,
}

#[derive(Clone, Copy, Debug)]
struct CopiedLink {
    directory: u32,
    name: u32,
    lacks: u32,
    stamp: u64,
}

/// The path of a copy, relative to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CopyPlace {
    directory: PathBuf,
    name: Arc<OsStr>,
    /// Metadata that the copy lacks, compared with its source.
    pub unkept: Arc<[LostMetadata]>,
}

/// The outcome of linking to a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Linking {
    /// The copy has one more link.
    Linked,
    /// The copy has as many links as it may have: the file must be copied, and its new copy linked to from now on.
    Full,
    /// The file must be copied.
    Impossible,
}

/// A file that was copied, as it is remembered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Remembered<'a> {
    /// The file to look up: the source, or a file that has too many links already.
    pub of: &'a Stat,
    pub digest: Option<ContentDigest>,
    pub unkept: &'a [LostMetadata],
    /// Whether it replaces another copy.
    pub replaces: bool,
}

/// The number of a directory, assigned once something in it is remembered.
#[derive(Debug, Default)]
pub(super) struct DirectoryNumber(Option<u32>);

/// Identifies a file beyond its inode number, because that number can be reused for another file during the run.
fn stamp(stat: &Stat, digest: Option<ContentDigest>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (stat.size_bytes, stat.modified).hash(&mut hasher);
    match digest {
        None => {}
        Some(ContentDigest::ClickHouse(hash)) => hash.hash(&mut hasher),
        Some(ContentDigest::Blake3(hash)) => hash.as_bytes().hash(&mut hasher),
    }
    hasher.finish()
}

impl CopiedLinks {
    /// Creates an empty record of copies below `root`.
    ///
    /// Every file that a freeze left has a link in the shadow, and one in the live part until that part is merged away.
    /// Files with no more than `usual_links` (2 for them) are therefore assumed to have no other link in the snapshot
    /// and are not remembered. If the live parts of two such links have both gone, the file is copied twice, which
    /// costs only space. At most `limit` inodes are remembered; files beyond the limit are likewise copied again.
    #[must_use]
    pub fn new(root: Dir, usual_links: u32, limit: usize) -> Self {
        Self { root, usual_links, limit, known: Mutex::default() }
    }

    /// The number of files with unusually many links that were not remembered, because the limit was reached.
    #[must_use]
    pub fn passed_over(&self) -> u64 {
        self.lock().passed_over
    }

    /// Stops linking to copies at or beneath `path`, relative to the root. Call this before `path` is removed or copied
    /// again.
    pub fn forget(&self, path: &Path) {
        for directory in &mut self.lock().directories {
            if directory.as_ref().is_some_and(|directory| directory.starts_with(path)) {
                *directory = None;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, DirectoryNames> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a file is worth remembering or looking up.
    pub(super) fn concerns(&self, source: &Stat) -> bool {
        source.links > self.usual_links.max(1)
    }

    /// Returns the copy of the same inode, if there is one.
    pub(super) fn find(&self, source: &Stat, digest: Option<ContentDigest>) -> Option<CopyPlace> {
        self.lock().find(source, stamp(source, digest))
    }

    /// Remembers a copy, unless there is already one of the same inode; that one is then returned.
    pub(super) fn remember(
        &self,
        copy: Remembered<'_>,
        directory: &Path,
        number: &mut DirectoryNumber,
        name: &OsStr,
    ) -> Option<CopyPlace> {
        let mut known = self.lock();
        let there = known.find(copy.of, stamp(copy.of, copy.digest)).filter(|_| !copy.replaces);
        if there.is_none() {
            if known.copies.len() >= self.limit {
                known.passed_over += 1;
            } else {
                known.add(copy, directory, number, name);
            }
        }
        there
    }

    /// Links `name` in `target` to the copy at `place`.
    ///
    /// # Errors
    /// If the filesystem fails.
    pub(super) fn link(
        &self,
        place: &CopyPlace,
        source: &Stat,
        target: &Dir,
        name: impl AsRef<OsStr>,
    ) -> Result<Linking, FsError> {
        let Some(directory) = self.root.find_beneath(&place.directory)? else { return Ok(Linking::Impossible) };
        let is_it = |copy: &Stat| (copy.size_bytes, copy.modified) == (source.size_bytes, source.modified);
        match directory.find(&place.name)?.filter(is_it) {
            None => return Ok(Linking::Impossible),
            Some(copy) if copy.links >= LINK_LIMIT => return Ok(Linking::Full),
            Some(_) => {}
        }
        link(&directory, &place.name, target, name)
    }
}

/// Links `name` in `target` to `from_name` in `from`, if that works.
///
/// # Errors
/// If the filesystem fails.
pub(super) fn link(
    from: &Dir,
    from_name: impl AsRef<OsStr>,
    target: &Dir,
    name: impl AsRef<OsStr>,
) -> Result<Linking, FsError> {
    match target.link_from(from, from_name, name) {
        Ok(()) => Ok(Linking::Linked),
        Err(error) => match error.kind() {
            ErrorKind::TooManyLinks => Ok(Linking::Full),
            ErrorKind::NotFound | ErrorKind::NoPermission | ErrorKind::CrossDevice => Ok(Linking::Impossible),
            _ => Err(error),
        },
    }
}

impl DirectoryNames {
    fn find(&self, source: &Stat, stamp: u64) -> Option<CopyPlace> {
        let device = number(self.devices.iter().position(|device| *device == source.device)?)?;
        let copy = self.copies.get(&(device, source.inode)).filter(|copy| copy.stamp == stamp)?;
        let directory = at(&self.directories, copy.directory)?.as_ref()?.to_path_buf();
        let (name, unkept) = (Arc::clone(at(&self.names, copy.name)?), Arc::clone(at(&self.lacks, copy.lacks)?));
        Some(CopyPlace { directory, name, unkept })
    }

    fn add(&mut self, copy: Remembered<'_>, directory: &Path, known: &mut DirectoryNumber, name: &OsStr) {
        let (Some(device), Some(name)) = (self.device(copy.of.device), self.name(name)) else { return };
        let (Some(directory), Some(lacks)) = (self.directory(directory, known), self.lack(copy.unkept)) else {
            return;
        };
        let stamp = stamp(copy.of, copy.digest);
        self.copies.insert((device, copy.of.inode), CopiedLink { directory, name, lacks, stamp });
    }

    /// Gives the number of this list of losses. One filesystem produces only few different lists.
    fn lack(&mut self, unkept: &[LostMetadata]) -> Option<u32> {
        let position = self.lacks.iter().position(|known| **known == *unkept);
        number(position.unwrap_or_else(|| {
            self.lacks.push(unkept.into());
            self.lacks.len() - 1
        }))
    }

    fn device(&mut self, device: u64) -> Option<u32> {
        let position = self.devices.iter().position(|known| *known == device);
        number(position.unwrap_or_else(|| {
            self.devices.push(device);
            self.devices.len() - 1
        }))
    }

    fn name(&mut self, name: &OsStr) -> Option<u32> {
        if let Some(number) = self.name_numbers.get(name) {
            return Some(*number);
        }
        let (name, new) = (Arc::<OsStr>::from(name), number(self.names.len())?);
        self.names.push(Arc::clone(&name));
        match self.name_numbers.entry(name) {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(entry) => Some(*entry.insert(new)),
        }
    }

    fn directory(&mut self, path: &Path, known: &mut DirectoryNumber) -> Option<u32> {
        if known.0.is_none() {
            known.0 = number(self.directories.len());
            self.directories.push(Some(path.into()));
        }
        known.0
    }
}

fn number(position: usize) -> Option<u32> {
    u32::try_from(position).ok()
}

fn at<T>(values: &[T], number: u32) -> Option<&T> {
    values.get(usize::try_from(number).ok()?)
}
