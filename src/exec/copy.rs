//! Copies whole parts to another filesystem and compares them with their own checksums on the way.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::checksums::{Checksums, FileChecksum, is_gin_index};
use crate::fs::{
    ContentDigest, CopiedFile, CopyError, CopyOptions, Dir, EntryKind, FileCopy, FileTarget, FsError, Hashing,
    LostMetadata, Stat,
};
use crate::repo::PartFile;

use super::ExecError;
use super::copied_links::{CopiedLinks, DirectoryNumber, Linking, Remembered, link};
pub(super) use super::copied_part::CopyPartError;
use super::copied_part::{CopiedPart, PartCopy, WantedEntries};
use super::inspect::{CHECKSUMS, Read, read_checksums};
use super::join::{Join, LINK_LIMIT, LinkSources};

/// From this size on, several threads copy one file if nothing is hashed: a hash must be computed in order.
const SPLIT_BYTES: u64 = 256 << 20;
const RANGE_BYTES: u64 = 64 << 20;
/// The name of a link until it replaces a copy. Only one thread works in a directory, so one name suffices.
const BESIDE: &str = ".chsnap-link";

/// Copies the parts of one run from one disk.
#[derive(Debug)]
pub struct PartCopier<'a> {
    /// How bytes are copied.
    pub options: CopyOptions<'a>,
    /// Whether every file is hashed on the way and compared with the part's `checksums.txt`.
    pub verifies: bool,
    /// The inodes that were copied already.
    pub links: &'a CopiedLinks,
}

/// A directory that is being copied.
#[derive(Clone, Copy)]
struct Pair<'a> {
    from: &'a Dir,
    to: &'a Dir,
    /// Path of `to`, relative to the root of the links.
    path: &'a Path,
    /// Path of both, relative to the part.
    inside: &'a str,
}

impl Pair<'_> {
    fn inside(&self, name: &str) -> String {
        if self.inside.is_empty() { name.to_owned() } else { format!("{}/{name}", self.inside) }
    }
}

impl CopiedPart {
    fn add_linked(&mut self, pair: Pair<'_>, name: &str, bytes: u64, unkept: &[LostMetadata]) {
        self.linked_files += 1;
        self.linked_bytes += bytes;
        self.add_lost_metadata(pair, name, unkept);
    }

    fn add_lost_metadata(&mut self, pair: Pair<'_>, name: &str, unkept: &[LostMetadata]) {
        self.unkept.extend(unkept.iter().map(|unkept| (pair.inside(name), unkept.clone())));
    }
}

/// The facts about a directory's files that are known before they are read.
struct CopyExpectations {
    /// `None` if there is no `checksums.txt` to compare them with.
    checksums: Option<Checksums>,
    unverifiable: Option<String>,
}

/// The facts about a file that are known before it is copied.
#[derive(Clone, Copy)]
struct ExpectedCopy<'a> {
    hashing: Hashing,
    recorded: Option<&'a FileChecksum>,
    /// An equal file that has as many links as it may have.
    full: Option<&'a Join>,
}

/// Links a file to an equal one of an earlier part. That file must still be the one that was found.
fn join_file(join: &Join, pair: Pair<'_>, name: &str) -> Result<Linking, FsError> {
    match join.dir.find(&join.name)? {
        Some(stat)
            if (stat.inode, stat.size_bytes, stat.modified)
                != (join.stat.inode, join.stat.size_bytes, join.stat.modified) =>
        {
            Ok(Linking::Impossible)
        }
        Some(stat) if stat.links >= LINK_LIMIT => Ok(Linking::Full),
        Some(_) => link(&join.dir, &join.name, pair.to, name),
        None => Ok(Linking::Impossible),
    }
}

impl PartCopier<'_> {
    /// Copies the part in `from`, including the directories in it, into a new directory `name` of `table`, which is at
    /// `table_path` relative to the root of the links.
    ///
    /// Directories are copied concurrently, the files of one directory one after another. Owner, group, mode, times and
    /// attributes are preserved if the target can hold them. Nothing is made durable.
    ///
    /// # Errors
    /// If something cannot be read or written, if it changes meanwhile, if it does not match the part's checksums, or
    /// if the part contains something that no part has.
    pub fn copy_part(
        &self,
        from: &Dir,
        table: &Dir,
        table_path: &Path,
        name: &str,
        wanted: &WantedEntries<'_>,
    ) -> Result<CopiedPart, CopyPartError> {
        let how = PartCopy { wanted, joins: &LinkSources::default(), is_checked: true };
        self.copy_part_with(from, table, table_path, name, how)
    }

    /// Works as [`PartCopier::copy_part`], but links files of which a copy exists already.
    ///
    /// # Errors
    /// As [`PartCopier::copy_part`].
    pub fn copy_part_with(
        &self,
        from: &Dir,
        table: &Dir,
        table_path: &Path,
        name: &str,
        how: PartCopy<'_>,
    ) -> Result<CopiedPart, CopyPartError> {
        let path = table_path.join(name);
        let result = (|| {
            table.create_dir(name, 0o700)?;
            let pair = Pair { from, to: &table.open_dir(name)?, path: &path, inside: "" };
            self.copy_directory(pair, None, how)
        })();
        match result {
            Ok(mut part) => {
                part.uncovered.sort_unstable_by(|a, b| a.path.cmp(&b.path));
                part.unkept.sort_unstable();
                Ok(part)
            }
            Err(error) => {
                self.links.forget(&path);
                Err(error)
            }
        }
    }

    fn copy_directory(
        &self,
        pair: Pair<'_>,
        recorded: Option<&FileChecksum>,
        how: PartCopy<'_>,
    ) -> Result<CopiedPart, CopyPartError> {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for entry in pair.from.entries_with_kind()? {
            let path = || pair.from.path().join(&entry.name);
            let Some(name) = entry.name.to_str() else {
                return Err(ExecError::Foreign { path: path(), what: "not named like a file" }.into());
            };
            match entry.kind {
                _ if !(how.wanted)(&entry) => {}
                EntryKind::File => files.push((entry.inode, name.to_owned())),
                EntryKind::Directory => directories.push(name.to_owned()),
                _ => return Err(ExecError::Foreign { path: path(), what: "neither a file nor a directory" }.into()),
            }
        }
        let expectations = if how.is_checked {
            expectations(pair, recorded)?
        } else {
            CopyExpectations { checksums: None, unverifiable: None }
        };
        if let Some(checksums) = &expectations.checksums {
            find_missing(pair, checksums, &files, &directories)?;
        }
        // Inode numbers tend to follow the place on the disk: a rotating disk reads files faster in this order.
        files.sort_unstable();
        let checksums = expectations.checksums.as_ref();
        let (own, below) = rayon::join(
            || self.copy_files(pair, &files, checksums, how),
            || {
                let copied = directories.par_iter().map(|name| self.copy_below(pair, name, checksums, how));
                copied.collect::<Result<Vec<_>, _>>()
            },
        );
        let mut copied = own?;
        below?.into_iter().for_each(|below| copied += below);
        for unkept in pair.to.keep_metadata_of(pair.from)? {
            copied.unkept.push((pair.inside.to_owned(), unkept));
        }
        copied.fingerprint = expectations.checksums.map(|checksums| checksums.fingerprint());
        copied.unverifiable = expectations.unverifiable;
        Ok(copied)
    }

    fn copy_below(
        &self,
        pair: Pair<'_>,
        name: &str,
        checksums: Option<&Checksums>,
        how: PartCopy<'_>,
    ) -> Result<CopiedPart, CopyPartError> {
        let from = pair.from.open_dir(name)?;
        pair.to.create_dir(name, 0o700)?;
        let to = pair.to.open_dir(name)?;
        let below = Pair { from: &from, to: &to, path: &pair.path.join(name), inside: &pair.inside(name) };
        self.copy_directory(below, checksums.and_then(|checksums| checksums.get(name.as_bytes())), how)
    }

    fn copy_files(
        &self,
        pair: Pair<'_>,
        files: &[(u64, String)],
        checksums: Option<&Checksums>,
        how: PartCopy<'_>,
    ) -> Result<CopiedPart, CopyPartError> {
        let mut copied = CopiedPart::default();
        let mut number = DirectoryNumber::default();
        let target = FileTarget::new(pair.to)?;
        for (_, name) in files {
            let mut full = None;
            if let Some(join) = how.joins.get(&pair.inside(name)) {
                match join_file(join, pair, name)? {
                    Linking::Linked => {
                        copied.files += 1;
                        copied.bytes += join.stat.size_bytes;
                        copied.joined_files += 1;
                        copied.joined_bytes += join.stat.size_bytes;
                        continue;
                    }
                    Linking::Full => full = Some(join),
                    Linking::Impossible => {}
                }
            }
            let recorded = checksums.and_then(|checksums| checksums.get(name.as_bytes()));
            // Neither covered nor uncovered: the file has an entry, but the entry says nothing about it.
            let is_gin_index = recorded.is_some() && is_gin_index(name.as_bytes());
            let recorded = recorded.filter(|_| !is_gin_index);
            let hashing = match recorded {
                _ if !self.verifies || is_gin_index || !how.is_checked => Hashing::None,
                Some(_) => Hashing::ClickHouse,
                None => Hashing::Blake3,
            };
            let expected = ExpectedCopy { hashing, recorded, full };
            let (stat, digest) = self.copy_file((pair, target), name, expected, &mut number, &mut copied)?;
            if let Some(ContentDigest::Blake3(hash)) = digest {
                let (path, blake3) = (pair.inside(name).into(), Some(hash.into()));
                copied.uncovered.push(PartFile { path, bytes: stat.size_bytes, blake3 });
            }
            copied.files += 1;
            copied.bytes += stat.size_bytes;
        }
        Ok(copied)
    }

    /// Copies or links one file, and counts it in `counts`. Returns the source and its hash.
    fn copy_file(
        &self,
        (pair, target): (Pair<'_>, FileTarget<'_>),
        name: &str,
        expected: ExpectedCopy<'_>,
        number: &mut DirectoryNumber,
        counts: &mut CopiedPart,
    ) -> Result<(Stat, Option<ContentDigest>), CopyPartError> {
        let ExpectedCopy { hashing, recorded, full } = expected;
        let stat = pair.from.stat(name)?;
        if let Some(recorded) = recorded.filter(|recorded| recorded.size != stat.size_bytes) {
            let expected = format!("{} bytes", recorded.size);
            let path = pair.from.path().join(name);
            return Err(CopyPartError::Damaged { path, expected, found: format!("{} bytes", stat.size_bytes) });
        }
        let of_source = self.links.concerns(&stat).then_some(&stat);
        // A file that has too many links is looked up as if it were the source: its copy takes the links from now on.
        let of = full.map(|join| &join.stat).or(of_source);
        let mut replaces = false;
        if let Some(of) = of {
            // The copy of this inode was compared with its hash: if the same hash is expected here, the copy is right
            // here too.
            let digest = match recorded {
                Some(recorded) if self.verifies => Some(ContentDigest::ClickHouse(recorded.hash)),
                _ => pair.from.hash_file(name, hashing)?,
            };
            if let Some(place) = self.links.find(of, digest) {
                match self.links.link(&place, &stat, pair.to, name)? {
                    Linking::Linked => {
                        counts.add_linked(pair, name, stat.size_bytes, &place.unkept);
                        return Ok((stat, digest));
                    }
                    Linking::Full => replaces = true,
                    Linking::Impossible => {}
                }
            }
        }
        let copied = self.copy_bytes(pair, target, name, hashing)?;
        if let Some(recorded) = recorded {
            compare(pair, name, recorded, &copied)?;
        }
        if let Some(of) = of {
            let copy = Remembered { of, digest: copied.digest, unkept: &copied.unkept, replaces };
            if let Some(other) = self.links.remember(copy, pair.path, number, name.as_ref())
                && self.links.link(&other, &copied.source, pair.to, BESIDE)? == Linking::Linked
            {
                // Another thread has copied the same inode meanwhile: its copy counts, and this one is replaced.
                pair.to.rename_from(pair.to, BESIDE, name)?;
                counts.add_linked(pair, name, copied.source.size_bytes, &other.unkept);
                return Ok((copied.source, copied.digest));
            }
        }
        counts.recopied_files += u64::from(replaces || full.is_some());
        counts.cloned_files += u64::from(copied.is_clone);
        counts.cloned_bytes += if copied.is_clone { copied.source.size_bytes } else { 0 };
        counts.copied_files += u64::from(!copied.is_clone && copied.source.size_bytes > 0);
        counts.touched_files += u64::from(copied.was_touched);
        counts.add_lost_metadata(pair, name, &copied.unkept);
        Ok((copied.source, copied.digest))
    }

    fn copy_bytes(
        &self,
        pair: Pair<'_>,
        target: FileTarget<'_>,
        name: &str,
        hashing: Hashing,
    ) -> Result<CopiedFile, CopyError> {
        let copy = FileCopy::begin(&self.options, pair.from, name.as_ref(), target, name.as_ref())?;
        if hashing != Hashing::None || copy.is_clone() || copy.size_bytes() < SPLIT_BYTES {
            let digest = copy.copy_all(hashing)?;
            return copy.finish(digest);
        }
        let size_bytes = copy.size_bytes();
        let ranges = (0..size_bytes.div_ceil(RANGE_BYTES)).into_par_iter();
        ranges.try_for_each(|range| copy.copy_range(range * RANGE_BYTES..size_bytes.min((range + 1) * RANGE_BYTES)))?;
        copy.finish(None)
    }
}

fn expectations(pair: Pair<'_>, recorded: Option<&FileChecksum>) -> Result<CopyExpectations, CopyPartError> {
    let damaged = |path: PathBuf, expected: String, found| CopyPartError::Damaged { path, expected, found };
    match read_checksums(pair.from)? {
        Read::Found(checksums) => {
            let own = checksums.as_projection();
            if let Some(recorded) = recorded.filter(|recorded| **recorded != own) {
                let path = pair.from.path().to_owned();
                return Err(damaged(path, described(recorded.size, &recorded.hash), described(own.size, &own.hash)));
            }
            Ok(CopyExpectations { checksums: Some(checksums), unverifiable: None })
        }
        // For an archive, the list of parts has a hash, or the archive is checked later.
        Read::Packed(_) => Ok(CopyExpectations { checksums: None, unverifiable: None }),
        Read::Unusable(reason) => match recorded {
            None => Ok(CopyExpectations { checksums: None, unverifiable: Some(reason) }),
            Some(recorded) => {
                Err(damaged(pair.from.path().to_owned(), described(recorded.size, &recorded.hash), reason))
            }
        },
        Read::Damaged(problem) => {
            Err(damaged(pair.from.path().join(CHECKSUMS), "what the part has".to_owned(), problem))
        }
    }
}

fn described(size_bytes: u64, hash: &dyn std::fmt::Display) -> String {
    format!("{size_bytes} bytes with the hash {hash}")
}

/// Checks that every file and projection that the checksums list is there.
fn find_missing(
    pair: Pair<'_>,
    checksums: &Checksums,
    files: &[(u64, String)],
    directories: &[String],
) -> Result<(), CopyPartError> {
    let files: std::collections::HashSet<&[u8]> = files.iter().map(|(_, name)| name.as_bytes()).collect();
    let is_there = |name: &[u8], is_projection: bool| {
        if is_projection {
            directories.iter().any(|directory| directory.as_bytes() == name)
        } else {
            files.contains(name)
        }
    };
    match checksums.iter().find(|(name, _)| !is_there(name.as_bytes(), name.is_projection())) {
        None => Ok(()),
        Some((name, recorded)) => Err(CopyPartError::Damaged {
            path: pair.from.path().join(name.as_path()),
            expected: described(recorded.size, &recorded.hash),
            found: "nothing".to_owned(),
        }),
    }
}

fn compare(pair: Pair<'_>, name: &str, recorded: &FileChecksum, copied: &CopiedFile) -> Result<(), CopyPartError> {
    let found_bytes = copied.source.size_bytes;
    let is_right = match copied.digest {
        Some(ContentDigest::ClickHouse(found)) => found == recorded.hash,
        _ => true,
    };
    if found_bytes == recorded.size && is_right {
        return Ok(());
    }
    let found = copied.digest.map_or_else(|| format!("{found_bytes} bytes"), |found| described(found_bytes, &found));
    let (path, expected) = (pair.from.path().join(name), described(recorded.size, &recorded.hash));
    Err(CopyPartError::Damaged { path, expected, found })
}
