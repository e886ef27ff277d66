//! Whole parts to another filesystem, held against their own checksums on the way.

use std::ops::AddAssign;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::checksums::{Checksums, FileChecksum};
use crate::fs::{CopiedFile, CopyError, CopyMeans, Digest, Dir, Entry, FileCopy, FsError, Hashing, Kind, Stat, Unkept};
use crate::model::{Fingerprint, Placement};
use crate::repo::PartFile;

use super::ExecError;
use super::copied_links::{CopiedLinks, DirectoryNumber};
use super::inspect::{CHECKSUMS, Read, read_checksums};

/// From this size on several threads copy one file, where nothing is hashed: a hash is taken in order.
const SPLIT_BYTES: u64 = 256 << 20;
const RANGE_BYTES: u64 = 64 << 20;
/// What a link is called until it takes the place of a copy. One thread is at work in a directory: one name will do.
const BESIDE: &str = ".chsnap-link";

/// Why a part was not copied. What was made of it stays, and is the caller's to remove.
#[derive(Debug, thiserror::Error)]
pub enum CopyPartError {
    /// A file could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A system call failed, or something in it is nothing that a part has.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// What was read is not what the part's own `checksums.txt` says: it is damaged on its disk, or on the way from
    /// there.
    #[error("{} is damaged: its checksums.txt says {expected}, read was {found}", .path.display())]
    Damaged {
        /// The file, or the directory of a projection.
        path: PathBuf,
        /// Size and hash by the `checksums.txt` beside it.
        expected: String,
        /// What it has.
        found: String,
    },
}

impl From<FsError> for CopyPartError {
    fn from(error: FsError) -> Self {
        ExecError::from(error).into()
    }
}

/// A part that was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopiedPart {
    /// Its files, projections included.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Of the files, those that share their blocks with their sources.
    pub cloned_files: u64,
    /// Of the files, those that are links to copies of the same inode.
    pub linked_files: u64,
    /// Of the files, those whose bytes were copied; empty ones are none.
    pub copied_files: u64,
    /// Files whose inode changed while they were read, but neither size nor modification time.
    pub touched_files: u64,
    /// The fingerprint derived from its checksums, where they can be read.
    pub fingerprint: Option<Fingerprint>,
    /// Why its files could not be held against its checksums, where they could not.
    pub unverifiable: Option<String>,
    /// The files that its checksums do not cover, in the order of their paths; none unless the copier verifies.
    pub uncovered: Vec<PartFile>,
    /// What could not be kept, by paths relative to the part; its own is empty.
    pub unkept: Vec<(String, Unkept)>,
}

impl CopiedPart {
    /// How it was placed: one file that was copied makes it a copy.
    #[must_use]
    pub fn placement(&self) -> Placement {
        if self.cloned_files > 0 && self.copied_files == 0 { Placement::Reflinked } else { Placement::Copied }
    }

    fn add_unkept(&mut self, pair: Pair<'_>, name: &str, unkept: &[Unkept]) {
        self.unkept.extend(unkept.iter().map(|unkept| (pair.inside(name), unkept.clone())));
    }
}

impl AddAssign for CopiedPart {
    /// Adds what is below; what is said of the part as a whole stays.
    fn add_assign(&mut self, other: Self) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.cloned_files += other.cloned_files;
        self.linked_files += other.linked_files;
        self.copied_files += other.copied_files;
        self.touched_files += other.touched_files;
        self.uncovered.extend(other.uncovered);
        self.unkept.extend(other.unkept);
    }
}

/// Copies the parts of one run from one disk.
#[derive(Debug)]
pub struct PartCopier<'a> {
    /// How bytes are copied.
    pub means: CopyMeans<'a>,
    /// Whether every file is hashed on the way, and held against the part's `checksums.txt`.
    pub verifies: bool,
    /// What was copied already.
    pub links: &'a CopiedLinks,
}

/// A directory that is being copied.
#[derive(Clone, Copy)]
struct Pair<'a> {
    from: &'a Dir,
    to: &'a Dir,
    /// Of `to`, relative to the root of the links.
    path: &'a Path,
    /// Of both, relative to the part.
    inside: &'a str,
}

impl Pair<'_> {
    fn inside(&self, name: &str) -> String {
        if self.inside.is_empty() { name.to_owned() } else { format!("{}/{name}", self.inside) }
    }
}

/// What is known of a directory's files before they are read.
struct Expectations {
    /// None where there is no `checksums.txt` to hold them against.
    checksums: Option<Checksums>,
    unverifiable: Option<String>,
}

/// Which entries of a directory belong in a copy of it.
type Wanted<'a> = dyn Fn(&Entry) -> bool + Sync + 'a;

impl PartCopier<'_> {
    /// Copies the part in `from`, the directories in it too, into a new directory `name` of `table`, which stands at
    /// `table_path` relative to the root of the links.
    ///
    /// Directories are copied side by side, the files of one in turn. Whatever can be kept of owner, group, mode, times
    /// and attributes is. Nothing is made durable.
    ///
    /// # Errors
    /// If something cannot be read or written, if it changes meanwhile, if it is not what the part's checksums say, or
    /// if something in it is nothing that a part has.
    pub fn copy_part(
        &self,
        from: &Dir,
        table: &Dir,
        table_path: &Path,
        name: &str,
        wanted: &Wanted<'_>,
    ) -> Result<CopiedPart, CopyPartError> {
        let path = table_path.join(name);
        let result = (|| {
            table.create_dir(name, 0o700)?;
            let pair = Pair { from, to: &table.open_dir(name)?, path: &path, inside: "" };
            self.copy_directory(pair, None, wanted)
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
        wanted: &Wanted<'_>,
    ) -> Result<CopiedPart, CopyPartError> {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for entry in pair.from.entries_with_kind()? {
            let path = || pair.from.path().join(&entry.name);
            let Some(name) = entry.name.to_str() else {
                return Err(ExecError::Foreign { path: path(), what: "not named like a file" }.into());
            };
            match entry.kind {
                _ if !wanted(&entry) => {}
                Kind::File => files.push((entry.inode, name.to_owned())),
                Kind::Directory => directories.push(name.to_owned()),
                _ => return Err(ExecError::Foreign { path: path(), what: "neither a file nor a directory" }.into()),
            }
        }
        let expectations = expectations(pair, recorded)?;
        if let Some(checksums) = &expectations.checksums {
            find_missing(pair, checksums, &files, &directories)?;
        }
        // Inode numbers tend to follow the place on the disk: a disk that turns reads them in this order faster.
        files.sort_unstable();
        let checksums = expectations.checksums.as_ref();
        let (own, below) = rayon::join(
            || self.copy_files(pair, &files, checksums),
            || {
                let copied = directories.par_iter().map(|name| self.copy_below(pair, name, checksums, wanted));
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
        wanted: &Wanted<'_>,
    ) -> Result<CopiedPart, CopyPartError> {
        let from = pair.from.open_dir(name)?;
        pair.to.create_dir(name, 0o700)?;
        let to = pair.to.open_dir(name)?;
        let below = Pair { from: &from, to: &to, path: &pair.path.join(name), inside: &pair.inside(name) };
        self.copy_directory(below, checksums.and_then(|checksums| checksums.get(name.as_bytes())), wanted)
    }

    fn copy_files(
        &self,
        pair: Pair<'_>,
        files: &[(u64, String)],
        checksums: Option<&Checksums>,
    ) -> Result<CopiedPart, CopyPartError> {
        let mut copied = CopiedPart::default();
        let mut number = DirectoryNumber::default();
        for (_, name) in files {
            let recorded = checksums.and_then(|checksums| checksums.get(name.as_bytes()));
            // Neither covered nor uncovered: its entry is there and says nothing.
            let is_gin_index = recorded.is_some() && name.contains(".gin_");
            let recorded = recorded.filter(|_| !is_gin_index);
            let hashing = match recorded {
                _ if !self.verifies || is_gin_index => Hashing::None,
                Some(_) => Hashing::ClickHouse,
                None => Hashing::Blake3,
            };
            let (stat, digest) = self.copy_file(pair, name, (hashing, recorded), &mut number, &mut copied)?;
            if let Some(Digest::Blake3(hash)) = digest {
                let blake3 = Some(hash.to_hex().to_string());
                copied.uncovered.push(PartFile { path: pair.inside(name), bytes: stat.size_bytes, blake3 });
            }
            copied.files += 1;
            copied.bytes += stat.size_bytes;
        }
        Ok(copied)
    }

    /// Copies or links one file, and counts it in `counts`. Gives the source and its hash.
    fn copy_file(
        &self,
        pair: Pair<'_>,
        name: &str,
        (hashing, recorded): (Hashing, Option<&FileChecksum>),
        number: &mut DirectoryNumber,
        counts: &mut CopiedPart,
    ) -> Result<(Stat, Option<Digest>), CopyPartError> {
        let stat = pair.from.stat(name)?;
        if let Some(recorded) = recorded.filter(|recorded| recorded.size != stat.size_bytes) {
            let expected = format!("{} bytes", recorded.size);
            let path = pair.from.path().join(name);
            return Err(CopyPartError::Damaged { path, expected, found: format!("{} bytes", stat.size_bytes) });
        }
        let is_concerned = self.links.concerns(&stat);
        if is_concerned {
            // The copy of this inode was held against its hash: where the same hash is expected here, it is right here.
            let digest = match recorded {
                Some(recorded) if self.verifies => Some(Digest::ClickHouse(recorded.hash)),
                _ => pair.from.hash_file(name, hashing)?,
            };
            if let Some(place) = self.links.find(&stat, digest)
                && self.links.link(&place, &stat, pair.to, name)?
            {
                counts.linked_files += 1;
                counts.add_unkept(pair, name, &place.unkept);
                return Ok((stat, digest));
            }
        }
        let copied = self.copy_bytes(pair, name, hashing)?;
        if let Some(recorded) = recorded {
            compare(pair, name, recorded, &copied)?;
        }
        if is_concerned
            && let Some(other) = self.links.remember(&copied, pair.path, number, name.as_ref())
            && self.links.link(&other, &copied.source, pair.to, BESIDE)?
        {
            // Another thread has copied the same inode meanwhile: its copy counts, and this one goes.
            pair.to.rename_from(pair.to, BESIDE, name)?;
            counts.linked_files += 1;
            counts.add_unkept(pair, name, &other.unkept);
            return Ok((copied.source, copied.digest));
        }
        counts.cloned_files += u64::from(copied.is_clone);
        counts.copied_files += u64::from(!copied.is_clone && copied.source.size_bytes > 0);
        counts.touched_files += u64::from(copied.was_touched);
        counts.add_unkept(pair, name, &copied.unkept);
        Ok((copied.source, copied.digest))
    }

    fn copy_bytes(&self, pair: Pair<'_>, name: &str, hashing: Hashing) -> Result<CopiedFile, CopyError> {
        let copy = FileCopy::begin(&self.means, pair.from, name.as_ref(), pair.to, name.as_ref())?;
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

fn expectations(pair: Pair<'_>, recorded: Option<&FileChecksum>) -> Result<Expectations, CopyPartError> {
    let damaged = |path: PathBuf, expected: String, found| CopyPartError::Damaged { path, expected, found };
    match read_checksums(pair.from)? {
        Read::Found(checksums) => {
            let own = checksums.as_projection();
            if let Some(recorded) = recorded.filter(|recorded| **recorded != own) {
                let path = pair.from.path().to_owned();
                return Err(damaged(path, described(recorded.size, &recorded.hash), described(own.size, &own.hash)));
            }
            Ok(Expectations { checksums: Some(checksums), unverifiable: None })
        }
        Read::Unusable(reason) => match recorded {
            None => Ok(Expectations { checksums: None, unverifiable: Some(reason) }),
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

/// Every file and projection that the checksums list must be there.
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
        Some(Digest::ClickHouse(found)) => found == recorded.hash,
        _ => true,
    };
    if found_bytes == recorded.size && is_right {
        return Ok(());
    }
    let found = copied.digest.map_or_else(|| format!("{found_bytes} bytes"), |found| described(found_bytes, &found));
    let (path, expected) = (pair.from.path().join(name), described(recorded.size, &recorded.hash));
    Err(CopyPartError::Damaged { path, expected, found })
}
