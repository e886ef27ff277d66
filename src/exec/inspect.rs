//! Compares a part in the snapshot with its own checksums.

use std::collections::HashMap;

use crate::checksums::{Checksums, ChecksumsError, FileHash};
use crate::fs::{Dir, Entry, FsError, Stat};
use crate::model::{ContentHash, Fingerprint, Links, Ownership};
use crate::repo::{PartFile, UncoveredFiles};

use super::inspect_files::{Contents, InspectedFile, list};
use super::left_out::read_small;
use super::packed::{Archive, PACKED, UnreadableArchive, read_archive};
use super::problems::Problems;
use super::read_file::ReadFile;

/// A part on disk.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The fingerprint derived from its checksums; `None` if they cannot be read.
    pub fingerprint: Option<Fingerprint>,
    /// Its files, projections included.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Owner, group and mode of its directory.
    pub directory: Ownership,
    /// Modification time of its directory: seconds since 1970, and nanoseconds.
    pub directory_modified: (i64, u32),
    /// Directories in it.
    pub directories: u64,
    /// Allocated bytes of its directory and of those in it.
    pub directory_bytes: u64,
    /// Owner, group and mode that most of its files have.
    pub ownership: Ownership,
    /// The files that have others.
    pub exceptions: Vec<(String, Ownership)>,
    /// The files that its checksums do not cover.
    pub uncovered: UncoveredFiles,
    /// Every file's inode.
    pub links: Links,
    /// Why its files cannot be compared with its checksums, if they cannot.
    pub unverifiable: Option<String>,
    /// The files that are missing, unexpected or of the wrong size. Empty for a sound part.
    pub problems: Vec<String>,
}

pub(super) const CHECKSUMS: &str = "checksums.txt";
pub(super) const CHECKSUMS_LIMIT_BYTES: u64 = 64 << 20;
/// Of the files that checksums do not cover, only packed data can be larger; packed data is not read here.
const UNCOVERED_LIMIT_BYTES: u64 = 16 << 20;

/// Inspects the part in `dir`: checks that every entry of its checksums is there with its size, projections too, and
/// that nothing is there that no part has. Files that the checksums do not cover are read and hashed.
///
/// # Errors
/// If something cannot be read; whatever is wrong with the part itself is in the answer.
pub fn inspect_part(dir: &Dir) -> Result<Inspected, FsError> {
    inspect_listed(dir, dir.entries_with_kind()?)
}

/// Works as [`inspect_part`], for a directory that is listed already.
///
/// # Errors
/// As [`inspect_part`].
pub fn inspect_listed(dir: &Dir, entries: Vec<Entry>) -> Result<Inspected, FsError> {
    let (read, stats) = read_small(dir, &entries);
    inspect_known(dir, entries, read_checksums_file(dir)?, AlreadyRead { read: &read, stats: &stats })
}

/// The facts about a part that are known before it is inspected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AlreadyRead<'a> {
    /// The content of some of its files when they were read.
    pub read: &'a [ReadFile],
    /// Inodes of files directly in it, as they are now.
    pub stats: &'a [(&'static str, Stat)],
}

/// Works as [`inspect_listed`], for a part about which something is known, and with `checksums`, the present content of
/// its `checksums.txt`.
pub(super) fn inspect_known(
    dir: &Dir,
    entries: Vec<Entry>,
    checksums: Option<(Stat, Vec<u8>)>,
    AlreadyRead { read, stats }: AlreadyRead<'_>,
) -> Result<Inspected, FsError> {
    let (mut contents, text) = list_with(dir, entries, checksums, stats)?;
    inspect_contents(dir, &mut contents, text.as_deref(), read, None)
}

/// Lists a part without another `stat` of the files that were read, and returns the text of its checksums.
fn list_with(
    dir: &Dir,
    entries: Vec<Entry>,
    checksums: Option<(Stat, Vec<u8>)>,
    stats: &[(&'static str, Stat)],
) -> Result<(Contents, Option<Vec<u8>>), FsError> {
    let (stat, text) = checksums.unzip();
    let stats: Vec<_> = stats.iter().copied().chain(stat.map(|stat| (CHECKSUMS, stat))).collect();
    Ok((list(dir, entries, &stats)?, text))
}

/// The `checksums.txt` of a part, and its inode; `None` if there is none.
pub(super) fn read_checksums_file(dir: &Dir) -> Result<Option<(Stat, Vec<u8>)>, FsError> {
    dir.find_with_stat(CHECKSUMS, CHECKSUMS_LIMIT_BYTES)
}

/// The files of a part that is to be copied, with what its checksums say about them.
#[derive(Debug)]
pub struct PartFiles {
    pub(super) contents: Contents,
    /// Size and hash of the files that are covered, by their paths.
    pub(super) recorded: Recorded,
}

type Recorded = HashMap<String, (u64, FileHash)>;

/// A file of a part on disk, with the entry of its checksums.
#[derive(Clone, Debug)]
pub struct FileOnDisk<'a> {
    /// The directory that it is in.
    pub dir: &'a Dir,
    /// Its name there.
    pub name: &'a str,
    /// Its path, relative to the part.
    pub path: String,
    /// Its inode.
    pub stat: Stat,
    /// Its size and hash by `checksums.txt`, if that covers the file.
    pub recorded: Option<(u64, FileHash)>,
}

impl PartFiles {
    /// The files, in the order of directories and names.
    #[must_use]
    pub fn on_disk(&self) -> Vec<FileOnDisk<'_>> {
        let files = self.contents.files.iter();
        files
            .map(|listed| {
                let path = listed.path();
                let recorded = self.recorded.get(&path).copied();
                FileOnDisk { dir: &listed.dir, name: &listed.name, path, stat: listed.stat, recorded }
            })
            .collect()
    }

    /// Directories below the part, by their paths.
    #[must_use]
    pub fn directories(&self) -> &[String] {
        &self.contents.directories
    }

    /// Size and hash of the covered files of at least `least_bytes` bytes.
    pub fn recorded_from(&self, least_bytes: u64) -> impl Iterator<Item = (u64, FileHash)> {
        self.recorded.values().copied().filter(move |(bytes, _)| *bytes >= least_bytes)
    }
}

/// Works as [`inspect_listed`], for a part that is to be copied.
///
/// # Errors
/// As [`inspect_listed`].
pub fn inspect_to_copy(dir: &Dir, entries: Vec<Entry>) -> Result<(Inspected, PartFiles), FsError> {
    let (mut contents, text) = list_with(dir, entries, read_checksums_file(dir)?, &[])?;
    let mut recorded = Recorded::new();
    let inspected = inspect_contents(dir, &mut contents, text.as_deref(), &[], Some(&mut recorded))?;
    Ok((inspected, PartFiles { contents, recorded }))
}

fn inspect_contents(
    dir: &Dir,
    contents: &mut Contents,
    text: Option<&[u8]>,
    known: &[ReadFile],
    recorded: Option<&mut Recorded>,
) -> Result<Inspected, FsError> {
    let mut problems = std::mem::take(&mut contents.foreign);
    let directory = dir.stat_self()?;
    let mut inspected = Inspected {
        fingerprint: None,
        files: contents.files.len() as u64,
        bytes: contents.bytes(),
        directory: directory.ownership,
        directory_modified: directory.modified,
        directories: contents.directories.len() as u64,
        directory_bytes: directory.allocated_bytes + contents.directory_bytes,
        ownership: contents.common_ownership(),
        exceptions: Vec::new(),
        uncovered: UncoveredFiles::default(),
        links: contents.links(),
        unverifiable: None,
        problems: Vec::new(),
    };
    inspected.exceptions = contents.exceptions(inspected.ownership);
    let archive = match contents.below("").1.iter().find(|file| file.name == PACKED) {
        Some(_) if text.is_none() => Some(read_archive(dir, PACKED)?),
        _ => None,
    };
    let covered = match archive.map_or_else(|| parse(text), |archive| open_archive(dir, archive, &mut problems)) {
        Read::Packed(fingerprint) => {
            inspected.fingerprint = Some(fingerprint);
            vec![false; contents.files.len()]
        }
        Read::Found(checksums) => {
            inspected.fingerprint = Some(checksums.fingerprint());
            cover(dir, contents, &checksums, recorded, &mut problems)?
        }
        Read::Unusable(reason) => {
            inspected.unverifiable = Some(reason);
            vec![false; contents.files.len()]
        }
        Read::Damaged(problem) => {
            problems.push(|| problem);
            vec![false; contents.files.len()]
        }
    };
    let mut uncovered = Vec::new();
    for (file, _) in contents.files.iter().zip(covered).filter(|(_, covered)| !covered) {
        let hash = match text {
            Some(text) if file.directory.is_empty() && file.name == CHECKSUMS => Some(blake3::hash(text).into()),
            _ => match known.iter().find(|known| known.is(file)) {
                Some(known) => Some(known.blake3),
                None => hash(file)?,
            },
        };
        let path = file.path().into();
        uncovered.push(PartFile { path, bytes: file.stat.size_bytes, blake3: hash });
    }
    inspected.uncovered = uncovered.into_iter().collect();
    inspected.problems = problems.into_list();
    Ok(inspected)
}

pub(super) enum Read {
    Found(Checksums),
    /// The covered files are in an archive.
    Packed(Fingerprint),
    Unusable(String),
    Damaged(String),
}

/// Compares the files of an archive with its checksums, and the part's projections with what these checksums say about
/// them.
fn open_archive(dir: &Dir, archive: Result<Archive, UnreadableArchive>, problems: &mut Problems) -> Read {
    let archive = match archive {
        Ok(archive) => archive,
        Err(UnreadableArchive::Unusable(reason)) => return Read::Unusable(reason),
        Err(UnreadableArchive::Damaged(problem)) => return Read::Damaged(problem),
    };
    archive.compare_sizes(problems);
    for (name, entry) in archive.checksums.projections() {
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        let nested = dir.open_dir(&name).and_then(|dir| read_archive(&dir, PACKED));
        match nested {
            Ok(Ok(nested)) if nested.checksums.as_projection() == *entry => nested.compare_sizes(problems),
            Ok(Ok(_)) => problems.push(|| format!("its projection {name} is not the one that its checksums list")),
            Ok(Err(UnreadableArchive::Unusable(_))) => {}
            Ok(Err(UnreadableArchive::Damaged(reason))) => problems.push(|| format!("its projection {name}: {reason}")),
            // Not packed, although the part is: the projection has its own list.
            Err(_) => match dir.open_dir(&name).and_then(|dir| read_checksums(&dir)) {
                Ok(Read::Found(nested)) if nested.as_projection() == *entry => {}
                _ => problems.push(|| format!("its projection {name} is missing")),
            },
        }
    }
    Read::Packed(archive.checksums.fingerprint())
}

pub(super) fn read_checksums(dir: &Dir) -> Result<Read, FsError> {
    Ok(parse(dir.find_and_read(CHECKSUMS, CHECKSUMS_LIMIT_BYTES)?.as_deref()))
}

fn parse(text: Option<&[u8]>) -> Read {
    let Some(text) = text else { return Read::Unusable("it has no checksums.txt of its own".to_owned()) };
    match Checksums::parse(text) {
        Ok(checksums) => Read::Found(checksums),
        Err(error @ (ChecksumsError::Encrypted | ChecksumsError::UnsupportedVersion(_))) => {
            Read::Unusable(format!("its checksums.txt cannot be used: {error}"))
        }
        Err(error) => Read::Damaged(format!("its checksums.txt cannot be read: {error}")),
    }
}

/// Determines which of the files are covered, for each of `contents.files` in turn.
fn cover(
    dir: &Dir,
    contents: &Contents,
    checksums: &Checksums,
    mut recorded: Option<&mut Recorded>,
    problems: &mut Problems,
) -> Result<Vec<bool>, FsError> {
    let mut covered = vec![false; contents.files.len()];
    cover_directory("", contents, checksums, (&mut covered, recorded.as_deref_mut()), problems);
    for (name, entry) in checksums.projections() {
        let name = String::from_utf8_lossy(name.as_bytes()).into_owned();
        if !contents.directories.contains(&name) {
            problems.push(|| format!("its projection {name} is missing"));
            continue;
        }
        match read_checksums(&dir.open_dir(&name)?)? {
            Read::Found(nested) => {
                cover_directory(&name, contents, &nested, (&mut covered, recorded.as_deref_mut()), problems);
                if nested.as_projection() != *entry {
                    problems.push(|| format!("its projection {name} is not the one that its checksums.txt lists"));
                }
            }
            // No list names an archive as missing: it is looked for elsewhere.
            Read::Packed(_) => {}
            Read::Unusable(reason) | Read::Damaged(reason) => {
                problems.push(|| format!("its projection {name}: {reason}"));
            }
        }
    }
    Ok(covered)
}

fn cover_directory(
    directory: &str,
    contents: &Contents,
    checksums: &Checksums,
    (covered, mut recorded): (&mut [bool], Option<&mut Recorded>),
    problems: &mut Problems,
) {
    // Both are in the order of their names, so one pass suffices, without a search for each file.
    let (start, files) = contents.below(directory);
    let mut files = files.iter().enumerate().peekable();
    for (name, entry) in checksums.files() {
        let is_gin_index = name.is_gin_index();
        let name = String::from_utf8_lossy(name.as_bytes());
        while files.next_if(|(_, file)| file.name.as_str() < name.as_ref()).is_some() {}
        let Some((position, file)) = files.next_if(|(_, file)| file.name == name) else {
            problems.push(|| format!("its file {} is missing", joined(directory, &name)));
            continue;
        };
        if let Some(covered) = covered.get_mut(start + position) {
            *covered = true;
        }
        if let Some(recorded) = recorded.as_mut().filter(|_| !is_gin_index) {
            recorded.insert(file.path(), (entry.size, entry.hash));
        }
        let is_right = file.stat.size_bytes == entry.size || is_gin_index;
        if !is_right {
            problems.push(|| {
                format!(
                    "its file {} has {} bytes, and its checksums.txt says {}",
                    file.path(),
                    file.stat.size_bytes,
                    entry.size
                )
            });
        }
    }
}

fn joined(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The BLAKE3 of a file that checksums do not cover; `None` if it is too large to be read.
pub(super) fn hash(file: &InspectedFile) -> Result<Option<ContentHash>, FsError> {
    if file.stat.size_bytes > UNCOVERED_LIMIT_BYTES {
        return Ok(None);
    }
    Ok(Some(blake3::hash(&file.dir.read(&file.name, UNCOVERED_LIMIT_BYTES)?).into()))
}
