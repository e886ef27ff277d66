//! Checks a snapshot down to its parts: its directories and its definitions.

use std::path::{Path, PathBuf};

use crate::fs::{ContentDigest, Dir, Entry, EntryKind, ErrorKind, FsError, Hashing, ReadOptions};
use crate::model::{DamageKind, Level};
use crate::plan::{ExpectedEntry, ExpectedTree};
use crate::repo::{self, MetadataFile};

use super::finding::{InodeKey, PartFinding, WantedFile, size};
use super::unread::{UnreadPaths, reason};

/// Compares a snapshot's directories with the expected tree: finds what is missing, of another kind, or unexpected.
#[must_use]
pub fn check_frame(snapshot: &Dir, position: usize, frame: &ExpectedTree, unread: &UnreadPaths) -> Vec<PartFinding> {
    let mut findings = Vec::new();
    Walk { position, frame, unread }.directory(snapshot, Path::new(""), &mut findings);
    findings
}

struct Walk<'a> {
    position: usize,
    frame: &'a ExpectedTree,
    unread: &'a UnreadPaths,
}

impl Walk<'_> {
    fn directory(&self, dir: &Dir, path: &Path, findings: &mut Vec<PartFinding>) {
        let Some(expected) = self.frame.entries(path) else { return };
        let mut entries = match dir.entries_with_kind() {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(path, "a directory", &error, findings),
        };
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut there = std::collections::BTreeMap::new();
        for entry in &entries {
            let known = entry.name.to_str().and_then(|name| Some((name, *expected.get(name)?)));
            if let Some((name, place)) = known {
                there.insert(name, (entry.kind, place));
            } else if self.frame.is_whole(path) && !is_left_behind(dir, path, entry) {
                let path = path.join(&entry.name);
                findings.push(PartFinding::new(self.position, path, DamageKind::Extra, "nothing", entry.kind.name()));
            }
        }
        for (name, place) in expected {
            let wanted = if *place == ExpectedEntry::File { EntryKind::File } else { EntryKind::Directory };
            let path = path.join(name);
            match there.get(name.as_str()) {
                None => {
                    findings.push(PartFinding::new(self.position, path, DamageKind::Missing, wanted.name(), "nothing"));
                }
                Some((kind, _)) if *kind != wanted => {
                    let (expected, found) = (wanted.name(), kind.name());
                    findings.push(PartFinding::new(self.position, path, DamageKind::Type, expected, found));
                }
                Some((_, ExpectedEntry::Directory)) => match dir.open_dir(name) {
                    Ok(below) => self.directory(&below, &path, findings),
                    Err(error) => self.unreadable(&path, "a directory", &error, findings),
                },
                Some((_, ExpectedEntry::File | ExpectedEntry::Part)) => {}
            }
        }
    }

    fn unreadable(&self, path: &Path, expected: &str, error: &FsError, findings: &mut Vec<PartFinding>) {
        if !self.unread.takes(error) {
            let kind = DamageKind::Unreadable;
            findings.push(PartFinding::new(self.position, path, kind, expected, reason(error)));
        }
    }
}

/// Whether this is an empty directory that `create` leaves: a database of which no table could be taken leaves its
/// directory in `data/`, and a snapshot without tables leaves `data/` itself.
fn is_left_behind(dir: &Dir, path: &Path, entry: &Entry) -> bool {
    let is_data = path == Path::new("") && entry.name == repo::DATA;
    if entry.kind != EntryKind::Directory || !(is_data || path == Path::new(repo::DATA)) {
        return false;
    }
    let below = dir.open_dir(&entry.name).and_then(|below| Ok((below.entries_with_kind()?, below)));
    below.is_ok_and(|(entries, below)| {
        entries.iter().all(|entry| is_data && is_left_behind(&below, Path::new(repo::DATA), entry))
    })
}

/// Compares a file outside the parts with what the manifest says about it. [`check_frame`] reports one that is missing
/// or is not a file.
#[must_use]
pub fn check_metadata(
    snapshot: &Dir,
    position: usize,
    file: &MetadataFile,
    level: Level,
    options: ReadOptions<'_>,
    unread: &UnreadPaths,
) -> Vec<PartFinding> {
    let path = PathBuf::from(&file.path);
    let Some(name) = path.file_name() else { return Vec::new() };
    let parent = path.parent().unwrap_or(Path::new(""));
    let Ok(digest) = blake3::Hash::from_hex(&file.blake3) else {
        let found = format!("{:?} as the digest of {}", file.blake3, file.path);
        return vec![PartFinding::new(
            position,
            "manifest.json",
            DamageKind::Manifest,
            "BLAKE3 as 64 hex digits",
            found,
        )];
    };
    let wanted =
        WantedFile { size_bytes: file.bytes, digest: ContentDigest::Blake3(digest), ownership: None, present: None };
    let with = |kind, expected: String, found: String, inode| {
        vec![PartFinding { inode, wanted: Some(wanted), ..PartFinding::new(position, &path, kind, expected, found) }]
    };
    let checked = snapshot.find_beneath(parent).and_then(|dir| {
        let Some(dir) = dir else { return Ok(None) };
        let Some(stat) = dir.find(name)?.filter(|stat| stat.kind == EntryKind::File) else { return Ok(None) };
        let inode = Some(InodeKey::from(&stat));
        if level == Level::Structure {
            return Ok(None);
        }
        if stat.size_bytes != file.bytes {
            return Ok(Some((DamageKind::Size, size(file.bytes), size(stat.size_bytes), inode)));
        }
        if level == Level::Size {
            return Ok(None);
        }
        let (_, found, _) = dir.hash_whole(name, Hashing::Blake3, options)?;
        let found = found.filter(|found| *found != wanted.digest);
        Ok(found.map(|found| (DamageKind::Content, wanted.digest.to_string(), found.to_string(), inode)))
    });
    match checked {
        Ok(None) => Vec::new(),
        Ok(Some((kind, expected, found, inode))) => with(kind, expected, found, inode),
        Err(error) if unread.takes(&error) || error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => with(DamageKind::Unreadable, size(file.bytes), reason(&error), None),
    }
}
