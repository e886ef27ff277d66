//! Checks one part in all the snapshots that have it: names, kinds, owners, modes, sizes, bytes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use crate::exec::inspect::CHECKSUMS;
use crate::exec::packed::{PACKED, damage_in_archive};
use crate::fs::{ContentDigest, Dir, EntryKind, ErrorKind, FsError, Hashing, ReadOptions, Stat};
use crate::model::{DamageKind, Level, Ownership};
use crate::repo::{self, PartRecord};

use super::expectations::{ExpectedFile, Lists, PartExpectations, directory_of};
use super::finding::{DriftedInode, InodeKey, PartFinding, WantedFile, add_drift, is_mode, size};
use super::group::{CheckTally, PartGroup, PartInSnapshot, PartVerification};
use super::inodes::Inodes;
use super::listing::{PartListing, joined};
use super::unread::{UnreadPaths, reason};

/// Checks parts, each together with all the snapshots that have it.
#[derive(Debug)]
pub struct Verifier<'a> {
    /// The snapshots of the run.
    snapshots: &'a [Dir],
    level: Level,
    options: ReadOptions<'a>,
    unread: &'a UnreadPaths,
    seen: Inodes,
}

/// The end of the path of a projection's archive.
const PACKED_BELOW: &str = "/data.packed";

/// From this size on, the files of one part are read concurrently.
const SPLIT_BYTES: u64 = 32 << 20;

/// One inode of the part, with everything that is expected of it.
struct InodeExpectations {
    stat: Stat,
    dir: Dir,
    name: String,
    /// The number of entries of the part that link it.
    entries: u64,
    expected: Vec<ExpectedAtPath>,
}

/// The expectations of an inode at a path in the part, in the snapshots that have it there.
struct ExpectedAtPath {
    path: String,
    expected: ExpectedFile,
    ownership: Option<Ownership>,
    snapshots: Vec<usize>,
    noted: bool,
}

/// The findings about one inode.
#[derive(Default)]
struct CheckedInode {
    findings: Vec<PartFinding>,
    drift: Vec<DriftedInode>,
    tally: CheckTally,
}

impl<'a> Verifier<'a> {
    /// Creates a verifier for parts of these snapshots.
    #[must_use]
    pub fn new(snapshots: &'a [Dir], level: Level, options: ReadOptions<'a>, unread: &'a UnreadPaths) -> Self {
        Self { snapshots, level, options, unread, seen: Inodes::new() }
    }

    /// Checks one part.
    #[must_use]
    pub fn check(&self, group: &PartGroup) -> PartVerification {
        PartCheck { verifier: self, group, outcome: PartVerification::default() }.run()
    }
}

struct PartCheck<'a> {
    verifier: &'a Verifier<'a>,
    group: &'a PartGroup,
    outcome: PartVerification,
}

impl PartCheck<'_> {
    fn run(mut self) -> PartVerification {
        let mut listings = Vec::new();
        for instance in &self.group.instances {
            self.outcome.tally.parts += 1;
            if let Some(listing) = self.list(instance) {
                listings.push((instance, listing));
            }
        }
        let mut lists = Lists::default();
        for (_, listing) in &listings {
            lists.read(listing);
        }
        // Equal records are shared: their expectations are computed once.
        let mut expectations: HashMap<*const PartRecord, PartExpectations> = HashMap::new();
        let mut inodes: HashMap<InodeKey, InodeExpectations> = HashMap::new();
        for (instance, listing) in &listings {
            let expected = expectations
                .entry(Arc::as_ptr(&instance.record))
                .or_insert_with(|| PartExpectations::of(&instance.record, &lists));
            self.compare_names(instance, listing, expected);
            self.collect(instance, listing, expected, &mut inodes);
        }
        let mut inodes: Vec<InodeExpectations> = inodes.into_values().collect();
        // Inode numbers tend to follow the place on the disk.
        inodes.sort_unstable_by_key(|checked| (checked.stat.device, checked.stat.inode));
        self.outcome.spared = self.verifier.level == Level::Data && is_covered(&listings, &inodes);
        if self.outcome.spared {
            self.outcome.tally.spared_parts += listings.len() as u64;
        }
        let bytes = inodes.iter().fold(0_u64, |sum, checked| sum.saturating_add(checked.stat.size_bytes));
        let check = |checked: &InodeExpectations| self.check_inode(checked, &lists);
        let results: Vec<CheckedInode> = if bytes >= SPLIT_BYTES && self.verifier.level == Level::Data {
            inodes.par_iter().map(check).collect()
        } else {
            inodes.iter().map(check).collect()
        };
        for result in results {
            self.outcome.findings.extend(result.findings);
            self.outcome.tally += result.tally;
            self.add_drift(result.drift);
        }
        self.outcome
    }

    fn table_path(&self) -> PathBuf {
        let table = &self.group.table;
        repo::table_path(table)
    }

    fn part_path(&self) -> PathBuf {
        self.table_path().join(self.group.part.as_str())
    }

    /// Creates a finding about a path in the part; the empty path is the part's own directory.
    fn finding(
        &self,
        instance: &PartInSnapshot,
        path: &str,
        kind: DamageKind,
        expected: String,
        found: String,
    ) -> PartFinding {
        let own = self.part_path();
        let path = if path.is_empty() { own } else { own.join(path) };
        PartFinding {
            table: Some(self.group.table.clone()),
            part: Some(self.group.part.clone()),
            noted: !instance.record.damage.is_empty(),
            ..PartFinding::new(instance.snapshot, path, kind, expected, found)
        }
    }

    fn add(&mut self, instance: &PartInSnapshot, path: &str, kind: DamageKind, expected: &str, found: &str) {
        let finding = self.finding(instance, path, kind, expected.to_owned(), found.to_owned());
        self.outcome.findings.push(finding);
    }

    fn add_drift(&mut self, drift: Vec<DriftedInode>) {
        let at = self.part_path();
        for inode in drift {
            add_drift(&mut self.outcome.drift, (&self.group.table, &self.group.part), &at, inode);
        }
    }

    /// Opens and lists the part in one snapshot, and checks its directory; returns `None` if that is impossible.
    fn list(&mut self, instance: &PartInSnapshot) -> Option<PartListing> {
        let snapshot = self.verifier.snapshots.get(instance.snapshot)?;
        let table = match snapshot.find_beneath(&self.table_path()) {
            Ok(Some(table)) => table,
            Ok(None) => {
                self.missing_table(instance, DamageKind::Missing, "nothing");
                return None;
            }
            Err(error) if self.verifier.unread.takes(&error) => return None,
            Err(error) if error.kind() == ErrorKind::WrongKind => {
                // `check_frame` reports which of the directories above it is at fault.
                return None;
            }
            Err(error) => {
                self.missing_table(instance, DamageKind::Unreadable, &reason(&error));
                return None;
            }
        };
        let opened = table.open_and_list(self.group.part.as_str());
        let (dir, entries) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.no_part(instance, &table, &error);
                return None;
            }
        };
        match dir.stat_self() {
            Ok(stat) if instance.keeps_ids => self.check_directory(instance, stat.ownership),
            Ok(_) => {}
            Err(error) => self.add(instance, "", DamageKind::Unreadable, "a directory", &reason(&error)),
        }
        let listing = PartListing::of(&dir, entries, self.verifier.unread);
        for (path, kind, why) in &listing.troubles {
            self.add(instance, path, *kind, "what the part has", why);
        }
        if instance.record.unverifiable.is_some() {
            self.outcome.tally.unverifiable_parts += 1;
        }
        Some(listing)
    }

    /// Adds one finding for a whole table that is gone, instead of one for each part.
    fn missing_table(&mut self, instance: &PartInSnapshot, kind: DamageKind, found: &str) {
        let mut finding = self.finding(instance, "", kind, "a directory".to_owned(), found.to_owned());
        (finding.path, finding.part) = (self.table_path(), None);
        self.outcome.findings.push(finding);
    }

    fn no_part(&mut self, instance: &PartInSnapshot, table: &Dir, error: &FsError) {
        let (kind, found) = match error.kind() {
            ErrorKind::NotFound => (DamageKind::Missing, "nothing".to_owned()),
            ErrorKind::WrongKind => {
                let stat = table.stat(self.group.part.as_str());
                (DamageKind::Type, stat.map_or("no directory", |stat| stat.kind.name()).to_owned())
            }
            _ if self.verifier.unread.takes(error) => return,
            _ => (DamageKind::Unreadable, reason(error)),
        };
        self.add(instance, "", kind, EntryKind::Directory.name(), &found);
    }

    /// Checks the directory, which is the snapshot's own: nothing else changes its mode.
    fn check_directory(&mut self, instance: &PartInSnapshot, found: Ownership) {
        let recorded = instance.record.directory;
        let is_mode = |recorded: u32, found: u32| recorded == found;
        self.add_drift(DriftedInode::compare(recorded, found, is_mode, ("", &[instance.snapshot])));
    }

    /// Finds what is missing, of another kind, or unexpected.
    fn compare_names(&mut self, instance: &PartInSnapshot, listing: &PartListing, expected: &PartExpectations) {
        for (should, is) in &expected.contradictions {
            let mut finding = self.finding(instance, "", DamageKind::Manifest, should.clone(), is.clone());
            finding.path = PathBuf::from("parts.jsonl.zst");
            self.outcome.findings.push(finding);
        }
        let others: HashMap<&str, EntryKind> =
            listing.others.iter().map(|(path, kind)| (path.as_str(), *kind)).collect();
        let is_trouble = |path: &str| listing.troubles.iter().any(|(trouble, ..)| trouble == path);
        for directory in &expected.directories {
            if listing.directories.contains_key(directory) || is_trouble(directory) {
                continue;
            }
            let found = match others.get(directory.as_str()) {
                Some(kind) => Some(kind.name()),
                None => listing.find("", directory).map(|_| EntryKind::File.name()),
            };
            let kind = if found.is_some() { DamageKind::Type } else { DamageKind::Missing };
            self.add(instance, directory, kind, EntryKind::Directory.name(), found.unwrap_or("nothing"));
        }
        for (path, file) in &expected.files {
            let directory = directory_of(path);
            let name = path.rsplit('/').next().unwrap_or(path);
            // If a directory is missing, the directory itself is the finding, not its files.
            if !listing.directories.contains_key(directory)
                || listing.find(directory, name).is_some()
                || is_trouble(path)
            {
                continue;
            }
            let found = match others.get(path.as_str()) {
                Some(kind) => Some(kind.name()),
                None => listing.directories.contains_key(path).then(|| EntryKind::Directory.name()),
            };
            let kind = if found.is_some() { DamageKind::Type } else { DamageKind::Missing };
            let found = found.unwrap_or("nothing").to_owned();
            let mut finding = self.finding(instance, path, kind, EntryKind::File.name().to_owned(), found);
            let present = listing.files().next().map(|(_, _, first)| first.stat.ownership);
            finding.wanted = wanted(file, expected.ownership(path).filter(|_| instance.keeps_ids), present);
            self.outcome.findings.push(finding);
        }
        for directory in listing.directories.keys().filter(|directory| !directory.is_empty()) {
            let is_known = expected.directories.contains(directory) || expected.files.contains_key(directory);
            if !is_known && expected.knows("") {
                self.add(instance, directory, DamageKind::Extra, "nothing", EntryKind::Directory.name());
            }
        }
        for (path, kind) in &listing.others {
            let is_known = expected.directories.contains(path) || expected.files.contains_key(path);
            if !is_known {
                self.add(instance, path, DamageKind::Extra, "nothing", kind.name());
            }
        }
    }

    /// Counts the files of one listing and gathers them by their inodes.
    fn collect(
        &mut self,
        instance: &PartInSnapshot,
        listing: &PartListing,
        expected: &PartExpectations,
        inodes: &mut HashMap<InodeKey, InodeExpectations>,
    ) {
        for (directory, dir, file) in listing.files() {
            self.outcome.tally.files += 1;
            self.outcome.tally.bytes = self.outcome.tally.bytes.saturating_add(file.stat.size_bytes);
            let path = joined(directory, &file.name);
            let known = match expected.files.get(&path) {
                Some(known) => *known,
                None if !expected.knows(directory) => ExpectedFile { size_bytes: None, digest: None },
                None => {
                    let is_elsewhere = expected.directories.contains(&path)
                        || !(directory.is_empty() || expected.directories.contains(directory));
                    if !is_elsewhere {
                        self.add(instance, &path, DamageKind::Extra, "nothing", EntryKind::File.name());
                    }
                    continue;
                }
            };
            let is_archive = file.name == PACKED && instance.record.unverifiable.is_none();
            if known.digest.is_none() && !is_archive {
                self.outcome.tally.unverifiable_files += 1;
                self.outcome.tally.unverifiable_bytes =
                    self.outcome.tally.unverifiable_bytes.saturating_add(file.stat.size_bytes);
            }
            let ownership = expected.ownership(&path).filter(|_| instance.keeps_ids);
            let checked = inodes.entry(InodeKey::from(&file.stat)).or_insert_with(|| InodeExpectations {
                stat: file.stat,
                dir: dir.clone(),
                name: file.name.clone(),
                entries: 0,
                expected: Vec::new(),
            });
            checked.entries += 1;
            let is_same =
                |other: &ExpectedAtPath| other.path == path && other.expected == known && other.ownership == ownership;
            if let Some(other) = checked.expected.iter_mut().find(|other| is_same(other)) {
                other.snapshots.push(instance.snapshot);
            } else {
                let (snapshots, noted) = (vec![instance.snapshot], !instance.record.damage.is_empty());
                checked.expected.push(ExpectedAtPath { path, expected: known, ownership, snapshots, noted });
            }
        }
    }

    fn check_inode(&self, checked: &InodeExpectations, lists: &Lists) -> CheckedInode {
        let CheckedInode { mut findings, mut drift, mut tally } = CheckedInode::default();
        let found = checked.stat.ownership;
        // The expectations of one inode at several paths are nearly always the same, so it is read once for them.
        let mut read: Vec<(ContentDigest, Result<Option<ContentDigest>, FsError>)> = Vec::new();
        for at_path in &checked.expected {
            let mut add = |kind, should: String, is: String| {
                findings.push(PartFinding {
                    snapshots: at_path.snapshots.clone(),
                    path: self.part_path().join(&at_path.path),
                    table: Some(self.group.table.clone()),
                    part: Some(self.group.part.clone()),
                    kind,
                    expected: should,
                    found: is,
                    inode: Some(InodeKey::from(&checked.stat)),
                    wanted: wanted(&at_path.expected, at_path.ownership, Some(found)),
                    noted: at_path.noted,
                });
            };
            if let Some(recorded) = at_path.ownership {
                drift.extend(DriftedInode::compare(recorded, found, is_mode, (&at_path.path, &at_path.snapshots)));
            }
            let has_size = at_path.expected.size_bytes.is_none_or(|bytes| bytes == checked.stat.size_bytes);
            // A list of checksums is read at every level, so a wrong size of it is reported, too.
            if !has_size && (self.verifier.level >= Level::Size || at_path.path.ends_with(CHECKSUMS)) {
                let bytes = at_path.expected.size_bytes.unwrap_or_default();
                add(DamageKind::Size, size(bytes), size(checked.stat.size_bytes));
            }
            let is_archive = at_path.path == PACKED || at_path.path.ends_with(PACKED_BELOW);
            if is_archive && has_size && at_path.expected.digest.is_none() {
                match self.read_archive(checked, &mut tally) {
                    Ok(damage) => damage.into_iter().for_each(|(should, is)| add(DamageKind::Content, should, is)),
                    Err(error) if self.verifier.unread.takes(&error) => {}
                    Err(error) => add(DamageKind::Unreadable, "an archive of files".to_owned(), reason(&error)),
                }
            }
            let Some(digest) = at_path.expected.digest.filter(|_| has_size) else { continue };
            if !read.iter().any(|(known, _)| *known == digest) {
                read.push((digest, self.read(checked, digest, lists, &mut tally)));
            }
            match read.iter().find_map(|(known, result)| (*known == digest).then_some(result)) {
                None | Some(Ok(None)) => {}
                Some(Ok(Some(found))) => add(DamageKind::Content, digest.to_string(), found.to_string()),
                Some(Err(error)) if self.verifier.unread.takes(error) => {}
                Some(Err(error)) if error.kind() == ErrorKind::NotFound => {
                    add(DamageKind::Missing, EntryKind::File.name().to_owned(), "nothing".to_owned());
                }
                Some(Err(error)) => add(DamageKind::Unreadable, digest.to_string(), reason(error)),
            }
        }
        CheckedInode { findings, drift, tally }
    }

    /// The difference between an archive and its own checksums: expected and found. For larger archives, the list of
    /// parts has no hash.
    fn read_archive(
        &self,
        checked: &InodeExpectations,
        tally: &mut CheckTally,
    ) -> Result<Vec<(String, String)>, FsError> {
        if self.verifier.level < Level::Data || self.outcome.spared {
            return Ok(Vec::new());
        }
        let (damage, bytes) = damage_in_archive(&checked.dir, &checked.name, self.verifier.options)?;
        tally.read_files += 1;
        tally.read_bytes += bytes;
        Ok(damage)
    }

    /// Reads a file and returns its hash, if it differs from the expected one.
    fn read(
        &self,
        checked: &InodeExpectations,
        digest: ContentDigest,
        lists: &Lists,
        tally: &mut CheckTally,
    ) -> Result<Option<ContentDigest>, FsError> {
        let key = InodeKey::from(&checked.stat);
        if let (ContentDigest::Blake3(expected), Some(read)) = (digest, lists.by_inode.get(&key)) {
            // Already read, at every level, because it is a list of checksums.
            return match read {
                Ok((found, bytes)) => {
                    tally.read_files += 1;
                    tally.read_bytes += bytes;
                    Ok((*found != expected).then_some(ContentDigest::Blake3(*found)))
                }
                Err(error) => Err(error.clone()),
            };
        }
        if self.verifier.level < Level::Data || self.outcome.spared || self.verifier.seen.has(key, digest) {
            return Ok(None);
        }
        let hashing = match digest {
            ContentDigest::ClickHouse(_) => Hashing::ClickHouse,
            ContentDigest::Blake3(_) => Hashing::Blake3,
        };
        let (_, found, bytes) = checked.dir.hash_whole(&checked.name, hashing, self.verifier.options)?;
        tally.read_files += 1;
        tally.read_bytes += bytes;
        if found == Some(digest) {
            // An inode that has no other links can be met only here.
            if u64::from(checked.stat.links) > checked.entries {
                self.verifier.seen.add(key, digest);
            }
            return Ok(None);
        }
        Ok(found)
    }
}

fn wanted(expected: &ExpectedFile, ownership: Option<Ownership>, present: Option<Ownership>) -> Option<WantedFile> {
    Some(WantedFile { size_bytes: expected.size_bytes?, digest: expected.digest?, ownership, present })
}

/// Whether an earlier check has read every inode of the part.
fn is_covered(listings: &[(&PartInSnapshot, PartListing)], inodes: &[InodeExpectations]) -> bool {
    let covered: std::collections::HashSet<InodeKey> = listings
        .iter()
        .filter(|(instance, _)| instance.covered)
        .flat_map(|(_, listing)| listing.files().map(|(_, _, file)| InodeKey::from(&file.stat)))
        .collect();
    !covered.is_empty() && inodes.iter().all(|checked| covered.contains(&InodeKey::from(&checked.stat)))
}
