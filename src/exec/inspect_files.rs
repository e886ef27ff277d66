//! The files of one part with their inodes.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::fs::{Dir, Entry, FsError, Kind, Stat};
use crate::model::{Link, Links, Ownership};
use crate::repo::PartRecord;

use super::problems::Problems;

/// One file of a part.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    /// The directory that it is in.
    pub dir: Arc<Dir>,
    /// That directory's path below the part; empty for the part itself.
    pub directory: String,
    /// Its name.
    pub name: String,
    /// Its inode.
    pub stat: Stat,
    /// When that last changed: seconds since 1970, and nanoseconds.
    pub changed: (i64, u32),
}

impl Listed {
    pub(super) fn path(&self) -> String {
        if self.directory.is_empty() { self.name.clone() } else { format!("{}/{}", self.directory, self.name) }
    }
}

/// Everything in a part's directory.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Files, directory by directory, those of each sorted by name.
    pub files: Vec<Listed>,
    /// Where the files of each directory stand among `files`; the part itself is the empty name.
    ranges: BTreeMap<String, Range<usize>>,
    /// Directories below the part.
    pub directories: Vec<String>,
    /// Allocated bytes of those.
    pub directory_bytes: u64,
    /// What no part has.
    pub foreign: Problems,
}

impl Contents {
    /// The files of one directory in the order of their names, with the position of the first.
    pub(super) fn below(&self, directory: &str) -> (usize, &[Listed]) {
        let range = self.ranges.get(directory).cloned().unwrap_or_default();
        (range.start, self.files.get(range).unwrap_or_default())
    }

    /// Sum of the files' sizes. Sizes of sparse files can be anything: they add up to the largest number and not beyond.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.stat.size_bytes))
    }

    /// Whether it has as many files and bytes as the list of parts says, and nothing that no part has.
    pub(super) fn is_as_recorded(&self, record: &PartRecord) -> bool {
        self.foreign.is_empty() && self.files.len() as u64 == record.files && self.bytes() == record.bytes
    }

    /// Every file's inode. Who else links them was not asked.
    pub(super) fn links(&self) -> Links {
        let link = |stat: &Stat| Link::of(stat.inode, stat.allocated_bytes);
        Links::new(self.files.iter().map(|file| link(&file.stat)).collect())
    }

    /// The ownership that most files have.
    pub(super) fn common_ownership(&self) -> Ownership {
        let mut counts: BTreeMap<Ownership, usize> = BTreeMap::new();
        for file in &self.files {
            *counts.entry(file.stat.ownership).or_default() += 1;
        }
        counts
            .into_iter()
            .max_by_key(|(_, count)| *count)
            .map_or(Ownership { uid: 0, gid: 0, mode: 0 }, |(ownership, _)| ownership)
    }
}

/// Lists a part. Projections are directories one level below; parts have nothing deeper.
pub(super) fn list(part: &Dir, entries: Vec<Entry>) -> Result<Contents, FsError> {
    let mut contents = Contents::default();
    list_directory(part, entries, "", &mut contents)?;
    Ok(contents)
}

fn list_directory(dir: &Dir, mut entries: Vec<Entry>, path: &str, contents: &mut Contents) -> Result<(), FsError> {
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let shared = Arc::new(dir.clone());
    let first = contents.files.len();
    contents.files.reserve(entries.len());
    let mut directories = Vec::new();
    for entry in entries {
        match (entry.kind, entry.name.into_string()) {
            (Kind::File, Ok(name)) => {
                let (stat, changed) = dir.stat_with_change(&name)?;
                contents.files.push(Listed {
                    dir: Arc::clone(&shared),
                    directory: path.to_owned(),
                    name,
                    stat,
                    changed,
                });
            }
            (Kind::Directory, Ok(name)) if path.is_empty() => directories.push(name),
            (_, name) => {
                let name = name.unwrap_or_else(|name| name.to_string_lossy().into_owned());
                contents.foreign.push(|| format!("{name:?} in it is nothing that a part has"));
            }
        }
    }
    contents.ranges.insert(path.to_owned(), first..contents.files.len());
    for name in directories {
        let (projection, entries) = dir.open_and_list(&name)?;
        contents.directory_bytes += projection.stat_self()?.allocated_bytes;
        list_directory(&projection, entries, &name, contents)?;
        contents.directories.push(name);
    }
    Ok(())
}
