//! Finds the files of a new part that an earlier part has already, so that they are linked from there without reading
//! their data.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::path::Path;

use crate::checksums::FileHash;
use crate::fs::{Dir, FsError, Stat};

use super::inspect::{PartFiles, Read, read_checksums};

/// No inode gets more links than this. ext4 allows 65,000, and if live data are on the same filesystem, the server's
/// own FREEZE needs some of them.
pub const LINK_LIMIT: u32 = 60_000;
/// Smaller files are linked only from a part's own ancestor: some small files are the same in every part of a server.
pub(super) const JOINED_BYTES: u64 = 4096;

/// The metadata of their sources that copies preserve, depending on their filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is kept or not, whatever the others are")]
pub struct PreservedMetadata {
    /// Owner and group.
    pub owner: bool,
    /// Permission bits.
    pub mode: bool,
    /// Modification times, to the nanosecond.
    pub time: bool,
    /// Extended attributes and ACLs.
    pub xattrs: bool,
}

impl PreservedMetadata {
    /// Preserves all of it.
    pub const ALL: Self = Self { owner: true, mode: true, time: true, xattrs: true };

    /// Preserves nothing.
    pub const NONE: Self = Self { owner: false, mode: false, time: false, xattrs: false };

    /// Whether a copy of `source` would have the metadata of `held`; only preserved metadata counts.
    pub(super) fn is_same(self, source: &Stat, held: &Stat) -> bool {
        let (a, b) = (source.ownership, held.ownership);
        (!self.owner || (a.uid, a.gid) == (b.uid, b.gid))
            && (!self.mode || a.mode == b.mode)
            && (!self.time || source.modified == held.modified)
    }

    /// The same comparison for the attributes.
    pub(super) fn has_same_xattrs(
        self,
        (source, name): (&Dir, &str),
        (held, held_name): (&Dir, &str),
    ) -> Result<bool, FsError> {
        Ok(!self.xattrs || source.xattrs_of(name)? == held.xattrs_of(held_name)?)
    }
}

/// A part whose files may be linked from.
#[derive(Clone, Debug)]
pub struct LinkablePart {
    /// Its directory.
    pub dir: Dir,
    /// Whether equal size and hash are enough. If not, the bytes are compared, because the hash is not cryptographic.
    pub is_trusted: bool,
    /// Whether small files are linked too.
    pub of_any_size: bool,
}

/// For each file of a new part that need not be copied, the file to link instead.
#[derive(Clone, Debug, Default)]
pub struct LinkSources {
    files: HashMap<String, Join>,
}

/// One file to link from.
#[derive(Clone, Debug)]
pub(super) struct Join {
    pub dir: Dir,
    pub name: String,
    pub stat: Stat,
    candidate: usize,
}

impl LinkSources {
    /// How many files need not be copied.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether all files must be copied.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Whether all files are linked from one candidate.
    #[must_use]
    pub fn is_of_one_candidate(&self) -> bool {
        let mut candidates = self.files.values().map(|join| join.candidate);
        candidates.next().is_some_and(|first| candidates.all(|other| other == first))
    }

    /// The number of the candidate that most files are linked from.
    #[must_use]
    pub fn main_candidate(&self) -> Option<usize> {
        let mut counts: HashMap<usize, usize> = HashMap::new();
        for join in self.files.values() {
            *counts.entry(join.candidate).or_default() += 1;
        }
        // Among equals, the first one wins, so that the answer does not depend on the order of a map.
        counts
            .into_iter()
            .max_by_key(|(candidate, count)| (*count, usize::MAX - candidate))
            .map(|(candidate, _)| candidate)
    }

    /// Sum of the sizes of the files that need not be copied.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, join| sum.saturating_add(join.stat.size_bytes))
    }

    pub(super) fn get(&self, path: &str) -> Option<&Join> {
        self.files.get(path)
    }
}

/// The files of a candidate by their size and hash.
struct CandidateFiles<'a> {
    candidate: &'a LinkablePart,
    by_hash: HashMap<(u64, FileHash), String>,
    recorded: HashMap<String, (u64, FileHash)>,
    directories: HashMap<String, Option<Dir>>,
}

/// Finds equal files for those files of a new part that have none in `joins` yet; `first` is the number of the first of
/// these candidates.
///
/// A file is equal if it has the same size and hash in its part's checksums, and the same owner, group, mode,
/// modification time and attributes. A file that checksums do not cover must also have the same name, and is compared.
///
/// # Errors
/// If something of the new part cannot be read. A candidate that cannot be read is skipped.
pub fn find_joins(
    part: &PartFiles,
    candidates: &[LinkablePart],
    first: usize,
    keeping: PreservedMetadata,
    joins: &mut LinkSources,
) -> Result<(), FsError> {
    for (number, candidate) in candidates.iter().enumerate() {
        if joins.len() == part.contents.files.len() {
            break;
        }
        // Removed meanwhile, or damaged: nothing is linked from there.
        let Ok(mut held) = CandidateFiles::read(candidate) else { continue };
        for file in &part.contents.files {
            let path = file.path();
            if joins.files.contains_key(&path) || (file.stat.size_bytes < JOINED_BYTES && !candidate.of_any_size) {
                continue;
            }
            let recorded = part.recorded.get(&path).copied();
            let Some((dir, name, stat)) = held.find(&path, recorded) else { continue };
            if stat.size_bytes != file.stat.size_bytes || !keeping.is_same(&file.stat, &stat) {
                continue;
            }
            let must_compare = recorded.is_none() || !candidate.is_trusted;
            let is_equal = keeping.has_same_xattrs((&file.dir, &file.name), (&dir, &name)).unwrap_or(false)
                && (!must_compare || file.dir.same_bytes(&file.name, &dir, &name).unwrap_or(false));
            if is_equal {
                joins.files.insert(path, Join { dir, name, stat, candidate: first + number });
            }
        }
    }
    Ok(())
}

impl<'a> CandidateFiles<'a> {
    fn read(candidate: &'a LinkablePart) -> Result<Self, FsError> {
        let mut held =
            Self { candidate, by_hash: HashMap::new(), recorded: HashMap::new(), directories: HashMap::new() };
        held.directories.insert(String::new(), Some(candidate.dir.clone()));
        if let Read::Found(checksums) = read_checksums(&candidate.dir)? {
            for (name, _) in checksums.projections() {
                let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
                if let Some(dir) = held.directory(&name)
                    && let Read::Found(nested) = read_checksums(&dir)?
                {
                    held.add(&format!("{name}/"), &nested);
                }
            }
            held.add("", &checksums);
        }
        Ok(held)
    }

    fn add(&mut self, prefix: &str, checksums: &crate::checksums::Checksums) {
        for (name, entry) in checksums.files().filter(|(name, _)| !name.is_gin_index()) {
            let path = format!("{prefix}{}", String::from_utf8_lossy(name.as_bytes()));
            let key = (entry.size, entry.hash);
            self.by_hash.insert(key, path.clone());
            self.recorded.insert(path, key);
        }
    }

    fn directory(&mut self, path: &str) -> Option<Dir> {
        match self.directories.entry(path.to_owned()) {
            MapEntry::Occupied(entry) => entry.get().clone(),
            MapEntry::Vacant(entry) => {
                entry.insert(self.candidate.dir.find_beneath(Path::new(path)).ok().flatten()).clone()
            }
        }
    }

    /// The file that may be equal: the one of the same name if it has this hash, else another one that has it.
    fn find(&mut self, path: &str, recorded: Option<(u64, FileHash)>) -> Option<(Dir, String, Stat)> {
        let own = self.recorded.get(path).copied();
        let found = match recorded {
            Some(_) if own == recorded => path.to_owned(),
            Some(key) => self.by_hash.get(&key)?.clone(),
            None if own.is_none() => path.to_owned(),
            None => return None,
        };
        let (directory, name) = found.rsplit_once('/').unwrap_or(("", &found));
        let dir = self.directory(directory)?;
        let stat = dir.find(name).ok().flatten()?;
        (stat.kind == crate::fs::EntryKind::File).then(|| (dir, name.to_owned(), stat))
    }
}
