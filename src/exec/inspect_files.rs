//! The files of one part with their inodes.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::sync::Arc;

use crate::fs::{Dir, Entry, EntryKind, FsError, Stat};
use crate::model::{Link, Links, Ownership};
use crate::repo::PartRecord;

use super::problems::Problems;

/// The names of a part's files, by directories with their paths below the part: itself first, with an empty path.
pub(super) type NamesInPart<'a> = Vec<(&'a str, Vec<&'a OsStr>)>;

/// One file of a part.
#[derive(Clone, Debug)]
pub(super) struct InspectedFile {
    /// The directory that it is in.
    pub dir: Arc<Dir>,
    /// The path of that directory below the part; empty for the part itself.
    pub directory: String,
    /// Its name.
    pub name: String,
    /// Its inode.
    pub stat: Stat,
}

impl InspectedFile {
    pub(super) fn path(&self) -> String {
        if self.directory.is_empty() { self.name.clone() } else { format!("{}/{}", self.directory, self.name) }
    }
}

/// Everything in a part's directory.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// Files, directory by directory, those of each sorted by name.
    pub files: Vec<InspectedFile>,
    /// The positions of each directory's files in `files`; the part itself has the empty name.
    ranges: BTreeMap<String, Range<usize>>,
    /// Directories below the part.
    pub directories: Vec<String>,
    /// Allocated bytes of those.
    pub directory_bytes: u64,
    /// Entries that no part has.
    pub foreign: Problems,
}

impl Contents {
    /// The files of one directory in the order of their names, with the position of the first.
    pub(super) fn below(&self, directory: &str) -> (usize, &[InspectedFile]) {
        let range = self.ranges.get(directory).cloned().unwrap_or_default();
        (range.start, self.files.get(range).unwrap_or_default())
    }

    /// Sum of the files' sizes, saturating: sparse files can have any size.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.stat.size_bytes))
    }

    /// Whether it has as many files and bytes as the list of parts says, and nothing that no part has.
    pub(super) fn is_as_recorded(&self, record: &PartRecord) -> bool {
        self.foreign.is_empty() && self.files.len() as u64 == record.files && self.bytes() == record.bytes
    }

    /// The highest number of links that one of the files has.
    pub(super) fn highest_links(&self) -> u32 {
        self.files.iter().map(|file| file.stat.links).max().unwrap_or(0)
    }

    /// The names of its files.
    pub(super) fn names(&self) -> NamesInPart<'_> {
        let of = |directory| self.below(directory).1.iter().map(|file| OsStr::new(&file.name)).collect();
        std::iter::once("").chain(self.directories.iter().map(String::as_str)).map(|path| (path, of(path))).collect()
    }

    /// Every file's inode. Other links to them were not looked for.
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

    /// The files that have another ownership than `common`, by their paths.
    pub(super) fn exceptions(&self, common: Ownership) -> Vec<(String, Ownership)> {
        let others = self.files.iter().filter(|file| file.stat.ownership != common);
        others.map(|file| (file.path(), file.stat.ownership)).collect()
    }
}

/// Lists a part. Projections are directories one level below; parts have nothing deeper. Files directly in the part
/// whose inodes are in `stats`, because they were just opened, are not stat'ed again.
pub(super) fn list(part: &Dir, entries: Vec<Entry>, stats: &[(&str, Stat)]) -> Result<Contents, FsError> {
    let (names, dirs) = PartEntries::read(part, entries, |_| true)?;
    Ok(names.ask(&dirs, stats, |_, _| true)?.unwrap_or_default())
}

/// The names in a part, before any inode was requested.
#[derive(Clone, Debug)]
pub(super) struct PartEntries {
    /// Its directories, itself first, by their paths below it, each with its files in the order of their names.
    directories: Vec<(String, Vec<Entry>)>,
    foreign: Problems,
}

impl PartEntries {
    /// Reads the `wanted` names in a part and in its projections, and the directories that they are in.
    pub(super) fn read(
        part: &Dir,
        entries: Vec<Entry>,
        wanted: impl Fn(&Entry) -> bool,
    ) -> Result<(Self, Vec<Dir>), FsError> {
        Self::read_with(part, entries, wanted, |part, name| part.open_and_list(name))
    }

    /// Works as [`PartEntries::read`]; `open` opens and lists a projection.
    pub(super) fn read_with(
        part: &Dir,
        entries: Vec<Entry>,
        wanted: impl Fn(&Entry) -> bool,
        mut open: impl FnMut(&Dir, &str) -> Result<(Dir, Vec<Entry>), FsError>,
    ) -> Result<(Self, Vec<Dir>), FsError> {
        let mut names = Self { directories: Vec::new(), foreign: Problems::default() };
        let mut dirs = vec![part.clone()];
        for name in names.add(String::new(), entries, &wanted) {
            let (projection, entries) = open(part, &name)?;
            names.add(name, entries, &wanted);
            dirs.push(projection);
        }
        Ok((names, dirs))
    }

    /// Adds a directory, and returns the names of its subdirectories.
    fn add(&mut self, path: String, mut entries: Vec<Entry>, wanted: &impl Fn(&Entry) -> bool) -> Vec<String> {
        let mut below = Vec::new();
        entries.retain(|entry| match (entry.kind, entry.name.to_str()) {
            _ if !wanted(entry) => false,
            (EntryKind::File, Some(_)) => true,
            (EntryKind::Directory, Some(name)) if path.is_empty() => {
                below.push(name.to_owned());
                false
            }
            _ => {
                self.foreign.push(|| format!("{:?} in it is nothing that a part has", entry.name.to_string_lossy()));
                false
            }
        });
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        below.sort_unstable();
        self.directories.push((path, entries));
        below
    }

    /// Whether it has entries that no part has.
    pub(super) fn has_foreign(&self) -> bool {
        !self.foreign.is_empty()
    }

    /// The names of the files.
    pub(super) fn names(&self) -> NamesInPart<'_> {
        let mut names = NamesInPart::with_capacity(self.directories.len());
        for (path, entries) in &self.directories {
            names.push((path, entries.iter().map(|entry| entry.name.as_os_str()).collect()));
        }
        names
    }

    /// Requests the inode of each name in another part; returns `None` if `is_it` rejects one of them. A name that is
    /// missing there is an error of the kind `NotFound`. Other entries there are not looked at.
    pub(super) fn ask_in(self, part: &Dir, is_it: impl Fn(&Entry, &Stat) -> bool) -> Result<Option<Contents>, FsError> {
        let mut dirs = vec![part.clone()];
        for (path, _) in self.directories.iter().skip(1) {
            dirs.push(part.open_for_all_entries(path)?);
        }
        self.ask(&dirs, &[], is_it)
    }

    /// Requests the inode of each name in these directories, in the order in which the names were read; serves [`list`]
    /// and [`PartEntries::ask_in`].
    pub(super) fn ask(
        self,
        dirs: &[Dir],
        stats: &[(&str, Stat)],
        is_it: impl Fn(&Entry, &Stat) -> bool,
    ) -> Result<Option<Contents>, FsError> {
        let mut contents = Contents { foreign: self.foreign, ..Contents::default() };
        for ((path, entries), dir) in self.directories.into_iter().zip(dirs) {
            let shared = Arc::new(dir.clone());
            let stats = if path.is_empty() { stats } else { &[] };
            let first = contents.files.len();
            contents.files.reserve(entries.len());
            for entry in entries {
                let known = stats.iter().find(|(name, stat)| entry.name == *name && entry.inode == stat.inode);
                let stat = known.map_or_else(|| dir.stat(&entry.name), |(_, stat)| Ok(*stat))?;
                // All listed names are UTF-8.
                let Some(name) = is_it(&entry, &stat).then(|| entry.name.into_string().ok()).flatten() else {
                    return Ok(None);
                };
                let (dir, directory) = (Arc::clone(&shared), path.clone());
                contents.files.push(InspectedFile { dir, directory, name, stat });
            }
            contents.ranges.insert(path.clone(), first..contents.files.len());
            if !path.is_empty() {
                contents.directory_bytes += dir.stat_self()?.allocated_bytes;
                contents.directories.push(path);
            }
        }
        Ok(Some(contents))
    }
}
