//! Searches after damage was found: which other entries have the same inode, and where a copy is intact.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::checksums::Checksums;
use crate::exec::inspect::CHECKSUMS;
use crate::fs::{ContentDigest, Dir, Entry, EntryKind, FsError, Hashing, ReadOptions};
use crate::model::ContentHash;
use crate::repo::{self, MetadataFile, PartRecord};

use super::finding::{InodeKey, WantedFile};
use super::listing::joined;

/// An entry that has one of the requested inodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sharer {
    /// Where, relative to the directory that was searched.
    pub path: PathBuf,
    /// The inode.
    pub inode: InodeKey,
    /// The number of entries that the inode has in all.
    pub links: u32,
}

/// Databases, tables, parts, projections, and what a newer server may nest in them. Nothing that chsnap creates is
/// deeper.
const DEPTH: usize = 9;

/// Finds the entries beneath a directory that have one of these inodes. Directories that cannot be read are skipped.
#[must_use]
#[expect(clippy::implicit_hasher, reason = "callers have the usual one")]
pub fn find_sharers(root: &Dir, inodes: &HashSet<InodeKey>) -> Vec<Sharer> {
    let numbers = inodes.iter().map(|key| key.inode).collect();
    let mut found = InodeSearch { inodes, numbers }.below(root, Path::new(""), DEPTH);
    found.sort_unstable();
    found
}

struct InodeSearch<'a> {
    inodes: &'a HashSet<InodeKey>,
    numbers: HashSet<u64>,
}

impl InodeSearch<'_> {
    fn below(&self, dir: &Dir, path: &Path, depth: usize) -> Vec<Sharer> {
        let Ok(entries) = dir.entries_with_kind() else { return Vec::new() };
        let (directories, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|e| e.kind == EntryKind::Directory);
        let deeper = |entry: &Entry| match (depth.checked_sub(1), dir.open_dir(&entry.name)) {
            (Some(depth), Ok(below)) => self.below(&below, &path.join(&entry.name), depth),
            _ => Vec::new(),
        };
        let mut found: Vec<Sharer> = directories.par_iter().flat_map_iter(deeper).collect();
        for entry in files.iter().filter(|entry| self.numbers.contains(&entry.inode)) {
            let Ok(stat) = dir.stat(&entry.name) else { continue };
            let inode = InodeKey::from(&stat);
            if self.inodes.contains(&inode) {
                found.push(Sharer { path: path.join(&entry.name), inode, links: stat.links });
            }
        }
        found
    }
}

/// A copy that was read and is sound.
#[derive(Clone, Debug)]
pub struct IntactFile {
    /// The snapshot, as its position among those that were searched.
    pub snapshot: usize,
    /// Where, relative to it.
    pub path: PathBuf,
    /// The directory that it is in.
    pub dir: Dir,
    /// Its inode.
    pub inode: InodeKey,
}

/// A search for intact copies of damaged files, through one snapshot after the other.
#[derive(Debug)]
pub struct IntactSearch<'a> {
    options: ReadOptions<'a>,
    /// The inodes that are searched for, each with the copy if one was found.
    wanted: Vec<(WantedFile, Option<IntactFile>)>,
    by_digest: HashMap<ContentDigest, Vec<usize>>,
    /// Inodes that do not qualify: the damaged ones, and those that were tried.
    tried: HashSet<(InodeKey, ContentDigest)>,
    damaged: &'a HashSet<InodeKey>,
    /// The paths of a part that have a wanted hash, by the digest of the part's `checksums.txt`.
    lists: HashMap<ContentHash, Vec<(String, ContentDigest)>>,
}

/// The same limit as in the inspection of parts.
const LIST_LIMIT_BYTES: u64 = 64 << 20;

impl<'a> IntactSearch<'a> {
    /// Creates a search for these files, under inodes other than the damaged ones.
    #[must_use]
    pub fn new(wanted: Vec<WantedFile>, damaged: &'a HashSet<InodeKey>, options: ReadOptions<'a>) -> Self {
        let mut by_digest: HashMap<ContentDigest, Vec<usize>> = HashMap::new();
        for (position, wanted) in wanted.iter().enumerate() {
            by_digest.entry(wanted.digest).or_default().push(position);
        }
        Self {
            options,
            wanted: wanted.into_iter().map(|wanted| (wanted, None)).collect(),
            by_digest,
            tried: HashSet::new(),
            damaged,
            lists: HashMap::new(),
        }
    }

    /// Whether everything was found.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.wanted.iter().all(|(_, copy)| copy.is_some())
    }

    /// The copies that were found, in the order of the requests.
    #[must_use]
    pub fn into_copies(self) -> Vec<Option<IntactFile>> {
        self.wanted.into_iter().map(|(_, copy)| copy).collect()
    }

    /// Searches one part of a snapshot. A file that cannot be read is not a copy.
    pub fn look_at_part(&mut self, snapshot: &Dir, position: usize, record: &PartRecord) {
        let mut hits: Vec<(String, ContentDigest)> = Vec::new();
        for file in record.uncovered.iter() {
            let digest = file.blake3.map(|hash| ContentDigest::Blake3(hash.into()));
            if let Some(digest) = digest.filter(|digest| self.by_digest.contains_key(digest)) {
                hits.push((file.path.to_string(), digest));
            }
        }
        let path = repo::part_path(&record.table, &record.part);
        let wants_covered = self.by_digest.keys().any(|digest| matches!(digest, ContentDigest::ClickHouse(_)));
        if hits.is_empty() && !wants_covered {
            return;
        }
        let Ok(Some(part)) = snapshot.find_beneath(&path) else { return };
        if wants_covered && record.unverifiable.is_none() {
            hits.extend(self.covered_hits(&part, record));
        }
        for (inside, digest) in hits {
            let (directory, name) = inside.rsplit_once('/').unwrap_or(("", &inside));
            let Ok(Some(dir)) = part.find_beneath(Path::new(directory)) else { continue };
            self.try_copy(&dir, name, digest, position, &path.join(&inside));
        }
    }

    /// Searches a definition or a mutation's file.
    pub fn look_at_metadata(&mut self, snapshot: &Dir, position: usize, file: &MetadataFile) {
        let Ok(digest) = blake3::Hash::from_hex(&file.blake3).map(ContentDigest::Blake3) else { return };
        if !self.by_digest.contains_key(&digest) {
            return;
        }
        let path = Path::new(&file.path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
            return;
        };
        if let Ok(Some(dir)) = snapshot.find_beneath(parent) {
            self.try_copy(&dir, name, digest, position, path);
        }
    }

    /// The files of a part that its checksums cover and that have a wanted hash.
    fn covered_hits(&mut self, part: &Dir, record: &PartRecord) -> Vec<(String, ContentDigest)> {
        let own = record.uncovered.find(CHECKSUMS).and_then(|file| file.blake3);
        let Some(own) = own else { return Vec::new() };
        if let Some(known) = self.lists.get(&own) {
            return known.clone();
        }
        // Uses a copy of the list that is as recorded; if this one is not, another one may be sound.
        let sound = |dir: &Dir, digest: ContentHash| {
            let bytes = dir.read(CHECKSUMS, LIST_LIMIT_BYTES).ok()?;
            (ContentHash::from(blake3::hash(&bytes)) == digest).then(|| Checksums::parse(&bytes).ok()).flatten()
        };
        let Some(checksums) = sound(part, own) else { return Vec::new() };
        let mut hits = self.hits_in("", &checksums);
        for (name, _) in checksums.projections() {
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            let list = joined(&name, CHECKSUMS);
            let digest = record.uncovered.find(&list).and_then(|file| file.blake3);
            if let (Some(digest), Ok(dir)) = (digest, part.open_dir(&name))
                && let Some(nested) = sound(&dir, digest)
            {
                hits.extend(self.hits_in(&name, &nested));
            }
        }
        self.lists.insert(own, hits.clone());
        hits
    }

    fn hits_in(&self, directory: &str, checksums: &Checksums) -> Vec<(String, ContentDigest)> {
        let hit = |(name, entry): (&crate::checksums::FileName, &crate::checksums::FileChecksum)| {
            let digest = ContentDigest::ClickHouse(entry.hash);
            let is_wanted = self.by_digest.contains_key(&digest);
            is_wanted.then(|| (joined(directory, &String::from_utf8_lossy(name.as_bytes())), digest))
        };
        checksums.files().filter_map(hit).collect()
    }

    fn try_copy(&mut self, dir: &Dir, name: &str, digest: ContentDigest, snapshot: usize, path: &Path) {
        let Ok(Some(stat)) = dir.find(name) else { return };
        let inode = InodeKey::from(&stat);
        if stat.kind != EntryKind::File || self.damaged.contains(&inode) || !self.tried.insert((inode, digest)) {
            return;
        }
        let positions = self.by_digest.get(&digest).cloned().unwrap_or_default();
        let suits = |wanted: &WantedFile| wanted.size_bytes == stat.size_bytes && wanted.accepts(stat.ownership);
        let mut is_intact: Option<bool> = None;
        for position in positions {
            let Some((wanted, copy)) = self.wanted.get_mut(position) else { continue };
            if copy.is_some() || !suits(wanted) {
                continue;
            }
            let options = self.options;
            if *is_intact.get_or_insert_with(|| read(dir, name, digest, options).unwrap_or(false)) {
                *copy = Some(IntactFile { snapshot, path: path.to_owned(), dir: dir.clone(), inode });
            }
        }
    }
}

fn read(dir: &Dir, name: &str, digest: ContentDigest, options: ReadOptions<'_>) -> Result<bool, FsError> {
    let hashing = match digest {
        ContentDigest::ClickHouse(_) => Hashing::ClickHouse,
        ContentDigest::Blake3(_) => Hashing::Blake3,
    };
    dir.hash_whole(name, hashing, options).map(|(_, found, _)| found == Some(digest))
}
