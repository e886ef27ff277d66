//! The files that a part must have, by its record in the list of parts and by its own checksums.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::checksums::{Checksums, FileName};
use crate::exec::inspect::CHECKSUMS;
use crate::fs::{ContentDigest, FsError};
use crate::model::Ownership;
use crate::repo::{PartFile, PartRecord};

use super::finding::InodeKey;
use super::listing::{PartListing, joined};

/// The facts that are known about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExpectedFile {
    pub size_bytes: Option<u64>,
    pub digest: Option<ContentDigest>,
}

/// The files that a part must have.
#[derive(Debug, Default)]
pub(super) struct PartExpectations {
    pub files: BTreeMap<String, ExpectedFile>,
    /// Directories in the part.
    pub directories: BTreeSet<String>,
    /// Directories in which some files are unknown, because their `checksums.txt` is damaged; the empty name is the
    /// part itself.
    pub unknown: BTreeSet<String>,
    /// Files with another owner or mode than most.
    exceptions: HashMap<String, Ownership>,
    ownership: Option<Ownership>,
    /// Statements of the list of parts about it that cannot be true: the expected value, and the actual one.
    pub contradictions: Vec<(String, String)>,
}

/// The `checksums.txt` files of one part in all snapshots; each inode is read once.
#[derive(Debug, Default)]
pub(super) struct Lists {
    by_digest: HashMap<blake3::Hash, Option<Arc<Checksums>>>,
    /// The result of reading each inode.
    pub by_inode: HashMap<InodeKey, Result<(blake3::Hash, u64), FsError>>,
}

/// Larger than the `checksums.txt` of a part with a hundred thousand files.
const LIST_LIMIT_BYTES: u64 = 64 << 20;

impl Lists {
    /// Reads the files of one listing that no other listing had.
    pub(super) fn read(&mut self, listing: &PartListing) {
        for directory in listing.directories.keys() {
            let Some((dir, file)) = listing.find(directory, CHECKSUMS) else { continue };
            let by_digest = &mut self.by_digest;
            self.by_inode.entry(InodeKey::from(&file.stat)).or_insert_with(|| {
                let bytes = dir.read(CHECKSUMS, LIST_LIMIT_BYTES)?;
                let digest = blake3::hash(&bytes);
                by_digest.entry(digest).or_insert_with(|| Checksums::parse(&bytes).ok().map(Arc::new));
                Ok((digest, bytes.len() as u64))
            });
        }
    }

    /// The list with this digest; `None` if no copy has it, or if it is not a usable list.
    fn get(&self, digest: Option<ContentDigest>) -> Option<&Option<Arc<Checksums>>> {
        match digest {
            Some(ContentDigest::Blake3(digest)) => self.by_digest.get(&digest),
            _ => None,
        }
    }
}

impl PartExpectations {
    pub(super) fn of(record: &PartRecord, lists: &Lists) -> Self {
        let mut expectations = Self {
            ownership: Some(record.ownership),
            exceptions: record.exceptions.iter().cloned().collect(),
            ..Self::default()
        };
        for file in record.uncovered.iter() {
            expectations.add_uncovered(&file);
        }
        let own = expectations.files.get(CHECKSUMS).and_then(|own| own.digest);
        if record.unverifiable.is_some() || own.is_none() {
            return expectations;
        }
        match lists.get(own) {
            None => drop(expectations.unknown.insert(String::new())),
            // It could not be read when the snapshot was made either: all files are uncovered then.
            Some(None) => {}
            Some(Some(checksums)) => {
                let fingerprint = checksums.fingerprint();
                if let Some(recorded) = record.fingerprint.filter(|recorded| *recorded != fingerprint) {
                    expectations.contradict(format!("the fingerprint {recorded}"), format!("{fingerprint}"));
                }
                expectations.add_covered("", checksums);
                expectations.add_projections(checksums, lists);
            }
        }
        expectations
    }

    fn contradict(&mut self, expected: String, found: String) {
        self.contradictions.push((expected, found));
    }

    fn add_uncovered(&mut self, file: &PartFile) {
        let mut names = file.path.split('/');
        let (first, second, more) = (names.next().unwrap_or_default(), names.next(), names.next());
        let is_name = |name: &str| FileName::new(name.as_bytes()).is_ok();
        if !is_name(first) || !second.is_none_or(is_name) || more.is_some() {
            return self.contradict("paths of files in it".to_owned(), format!("{:?}", file.path));
        }
        let digest = file.blake3.map(|hash| ContentDigest::Blake3(hash.into()));
        if second.is_some() {
            self.directories.insert(first.to_owned());
        }
        self.files.insert(file.path.to_string(), ExpectedFile { size_bytes: Some(file.bytes), digest });
    }

    fn add_covered(&mut self, directory: &str, checksums: &Checksums) {
        for (name, entry) in checksums.files() {
            // ClickHouse records no valid size or hash for these.
            let expected = if name.is_gin_index() {
                ExpectedFile { size_bytes: None, digest: None }
            } else {
                ExpectedFile { size_bytes: Some(entry.size), digest: Some(ContentDigest::ClickHouse(entry.hash)) }
            };
            let name = String::from_utf8_lossy(name.as_bytes());
            self.files.insert(joined(directory, &name), expected);
        }
    }

    fn add_projections(&mut self, checksums: &Checksums, lists: &Lists) {
        for (name, entry) in checksums.projections() {
            let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
            self.directories.insert(name.clone());
            let Some(list) = self.files.get(&joined(&name, CHECKSUMS)) else { continue };
            match lists.get(list.digest) {
                None => drop(self.unknown.insert(name)),
                Some(None) => {}
                Some(Some(nested)) => {
                    let found = nested.as_projection();
                    if found != *entry {
                        let expected = format!("{name} with the hash {}", entry.hash);
                        self.contradict(expected, format!("{}", found.hash));
                    }
                    self.add_covered(&name, nested);
                }
            }
        }
    }

    /// Whether expected and unexpected files of a directory, or of the part itself, can be told apart.
    pub(super) fn knows(&self, directory: &str) -> bool {
        !self.unknown.contains("") && !self.unknown.contains(directory)
    }

    /// Expected owner, group and mode of a file.
    pub(super) fn ownership(&self, path: &str) -> Option<Ownership> {
        self.exceptions.get(path).copied().or(self.ownership)
    }
}

/// The directory of a path in a part: the empty one for the part itself.
pub(super) fn directory_of(path: &str) -> &str {
    Path::new(path).parent().and_then(Path::to_str).unwrap_or_default()
}
