//! Reads what snapshots hold off their directories: names and inodes by listing them, and a `stat` only where
//! requested.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::fs::{Dir, Entry, EntryKind, ErrorKind, FsError};
use crate::model::{InodeStat, InodeStats, Link, Links, PartName, TableName};
use crate::repo::{self, FilesOutsideParts, InstanceId, InstanceOrigin, PartInstance, PartRecord};

/// The contents of a tree.
#[derive(Clone, Debug, Default)]
pub struct TreeContents {
    /// Its files as `stat` returned them; a file with two names in the tree occurs twice.
    pub files: Vec<InodeStat>,
    /// Allocated bytes of its directories.
    pub directory_bytes: u64,
    /// The entries that could not be read.
    pub problems: Vec<String>,
}

impl TreeContents {
    /// Adds what was found in another tree.
    pub fn add(&mut self, other: Self) {
        self.files.extend(other.files);
        self.directory_bytes += other.directory_bytes;
        self.problems.extend(other.problems);
    }

    /// Its files as links.
    #[must_use]
    pub fn links(&self) -> Links {
        let link = |file: &InodeStat| Link { inode: file.inode, blocks: file.blocks, is_outside: file.links > 1 };
        Links::new(self.files.iter().map(link).collect())
    }

    /// The files of a snapshot outside its parts, as the index keeps them.
    #[must_use]
    pub fn rest(&self) -> FilesOutsideParts {
        FilesOutsideParts { directory_bytes: self.directory_bytes, links: self.links() }
    }

    fn note(&mut self, error: &FsError) {
        // The entry vanished between two calls: the caller that counts finds out afterwards that something changed
        // meanwhile.
        if error.kind() != ErrorKind::NotFound {
            self.problems.push(crate::monitor::chain(error));
        }
    }

    fn add_file(&mut self, dir: &Dir, name: &OsStr) {
        match stat_file(dir, name) {
            Ok(file) => self.files.push(file),
            Err(error) => self.note(&error),
        }
    }
}

/// Directories deeper than this are reported as unreadable: nothing that chsnap creates is half as deep.
const DEPTH: usize = 32;

/// Stats everything in a tree of the repository except the entries that are not `wanted`, by their paths below the
/// tree.
#[must_use]
pub fn stat_tree(dir: &Dir, wanted: &(dyn Fn(&Path) -> bool + Sync)) -> TreeContents {
    look(dir, Path::new(""), wanted, DEPTH)
}

fn look(dir: &Dir, path: &Path, wanted: &(dyn Fn(&Path) -> bool + Sync), depth: usize) -> TreeContents {
    let mut found = TreeContents::default();
    let (stat, entries) = match dir.stat_self().and_then(|stat| Ok((stat, dir.entries_with_kind()?))) {
        Ok(read) => read,
        Err(error) => {
            found.note(&error);
            return found;
        }
    };
    found.directory_bytes = stat.allocated_bytes;
    let mut below = Vec::new();
    for entry in entries {
        let path = path.join(&entry.name);
        match entry.kind {
            _ if !wanted(&path) => {}
            EntryKind::Directory if depth == 0 => found.problems.push(format!("{} is too deep", path.display())),
            EntryKind::Directory => below.push((entry.name, path)),
            _ => found.add_file(dir, &entry.name),
        }
    }
    let below: Vec<TreeContents> = below
        .par_iter()
        .map(|(name, path)| match dir.open_dir(name) {
            Ok(dir) => look(&dir, path, wanted, depth - 1),
            Err(error) => {
                let mut found = TreeContents::default();
                found.note(&error);
                found
            }
        })
        .collect();
    for more in below {
        found.add(more);
    }
    found
}

/// The parts of a snapshot, by their paths below its directory.
#[must_use]
pub fn part_paths<'a>(origins: impl IntoIterator<Item = (&'a str, &'a str, &'a PartName)>) -> HashSet<PathBuf> {
    let mut tables: HashMap<(&str, &str), PathBuf> = HashMap::new();
    let paths = origins.into_iter().map(|(database, table, part)| {
        tables.entry((database, table)).or_insert_with(|| table_path(database, table)).join(part.as_str())
    });
    paths.collect()
}

/// The path of a table below the directory of a snapshot.
fn table_path(database: &str, table: &str) -> PathBuf {
    repo::table_path(&TableName::new(database, table))
}

/// A part of a snapshot as its directory has it.
#[derive(Clone, Debug)]
pub struct PartOnDisk {
    /// Its files; for each, allocated size and link count are still to be requested.
    pub instance: PartInstance,
    /// Allocated bytes of its directories.
    pub directory_bytes: u64,
}

/// Lists the parts of a snapshot without a `stat` of any of their files. The second list holds what could not be read.
#[must_use]
pub fn list_parts(snapshot: &Dir, records: &[&PartRecord]) -> (Vec<PartOnDisk>, Vec<String>) {
    let mut listed = (Vec::new(), Vec::new());
    for found in by_table(
        snapshot,
        records,
        |record| (&record.table.database, &record.table.table),
        |table, record| list_part(table, record),
    ) {
        match found {
            Ok(part) => listed.0.push(part),
            Err(error) => listed.1.push(crate::monitor::chain(&error)),
        }
    }
    listed
}

/// Applies a function to each part, and handles the parts of one table together so that their directory is opened once.
fn by_table<T: Sync, R: Send>(
    snapshot: &Dir,
    parts: &[T],
    table_of: impl Fn(&T) -> (&str, &str) + Sync,
    work: impl Fn(&Dir, &T) -> Result<R, FsError> + Sync,
) -> Vec<Result<R, FsError>> {
    let mut tables: HashMap<(&str, &str), Vec<&T>> = HashMap::new();
    for part in parts {
        tables.entry(table_of(part)).or_default().push(part);
    }
    let tables: Vec<_> = tables.into_iter().collect();
    let results = tables.into_par_iter().map(|((database, table), parts)| {
        match snapshot.open_beneath(&table_path(database, table)) {
            Ok(dir) => parts.par_iter().map(|part| work(&dir, part)).collect(),
            Err(error) => vec![Err(error)],
        }
    });
    results.collect::<Vec<Vec<_>>>().into_iter().flatten().collect()
}

fn list_part(table: &Dir, record: &PartRecord) -> Result<PartOnDisk, FsError> {
    let (mut links, mut directories, mut directory_bytes) = (Vec::new(), 0, 0);
    each_directory(table, OsStr::new(record.part.as_str()), DEPTH, &mut |dir, entries| {
        directories += 1;
        directory_bytes += dir.stat_self()?.allocated_bytes;
        let files = entries.iter().filter(|entry| entry.kind != EntryKind::Directory);
        links.extend(files.map(|file| Link { inode: file.inode, blocks: 0, is_outside: true }));
        Ok(())
    })?;
    let instance = PartInstance::new(&InstanceOrigin::of(record, directories - 1), Links::new(links));
    Ok(PartOnDisk { instance, directory_bytes })
}

type DirectoryVisitor<'a> = dyn FnMut(&Dir, &[Entry]) -> Result<(), FsError> + 'a;

fn each_directory(parent: &Dir, name: &OsStr, depth: usize, on: &mut DirectoryVisitor<'_>) -> Result<(), FsError> {
    let (dir, entries) = parent.open_and_list(name)?;
    on(&dir, &entries)?;
    for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Directory && depth > 0) {
        each_directory(&dir, &entry.name, depth - 1, on)?;
    }
    Ok(())
}

/// Allocated bytes of the directories of parts whose files are known already, in the order of the parts. A part without
/// subdirectories takes one `stat`.
///
/// # Errors
/// The first part that cannot be read.
pub fn directories_of_parts(snapshot: &Dir, parts: &[(&PartRecord, u64)]) -> Result<Vec<u64>, FsError> {
    let numbered: Vec<(usize, &PartRecord, u64)> =
        parts.iter().enumerate().map(|(number, (record, directories))| (number, *record, *directories)).collect();
    let found = by_table(
        snapshot,
        &numbered,
        |(_, record, _)| (&record.table.database, &record.table.table),
        |table, (number, record, directories)| {
            let name = OsStr::new(record.part.as_str());
            if *directories == 0 {
                return Ok((*number, table.stat(name)?.allocated_bytes));
            }
            let mut bytes = 0;
            each_directory(table, name, DEPTH, &mut |dir, _| {
                bytes += dir.stat_self()?.allocated_bytes;
                Ok(())
            })?;
            Ok((*number, bytes))
        },
    );
    let mut found = found.into_iter().collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, bytes)| bytes).collect())
}

/// A part of which some inodes are to be stat'ed again.
#[derive(Clone, Debug)]
pub struct StatRequest<'a> {
    /// The number of the instance.
    pub instance: InstanceId,
    /// The owner of the files.
    pub origin: InstanceOrigin,
    /// Its links; those marked as outside are stat'ed.
    pub links: &'a Links,
}

/// The outcome of a request.
#[derive(Debug, Default)]
pub struct StatResult {
    /// The files that were stat'ed, by the numbers of their instances.
    pub stats: Vec<(InstanceId, InodeStats)>,
    /// The paths, below the snapshot, of parts that do not have the files that they should have.
    pub others: Vec<PathBuf>,
    /// The entries that could not be read, with the reasons.
    pub problems: Vec<FsError>,
}

impl StatResult {
    /// Adds the outcome of another request.
    pub fn add(&mut self, other: Self) {
        self.stats.extend(other.stats);
        self.others.extend(other.others);
        self.problems.extend(other.problems);
    }
}

/// Stats again, in one snapshot, the inodes that were last seen with links outside the repository.
#[must_use]
pub fn stat_again(snapshot: &Dir, requests: &[StatRequest<'_>]) -> StatResult {
    let found = by_table(
        snapshot,
        requests,
        |request| (&request.origin.database, &request.origin.table),
        |table, request| {
            let mut rest: Vec<Link> = request.links.iter().collect();
            let (mut stats, mut is_other) = (Vec::new(), false);
            each_directory(table, OsStr::new(request.origin.part.as_str()), DEPTH, &mut |dir, entries| {
                for entry in entries.iter().filter(|entry| entry.kind != EntryKind::Directory) {
                    let Ok(at) = rest.binary_search_by_key(&entry.inode, |link| link.inode) else {
                        is_other = true;
                        continue;
                    };
                    if rest.remove(at).is_outside {
                        stats.push(stat_file(dir, &entry.name)?);
                    }
                }
                Ok(())
            })?;
            let path = (is_other || !rest.is_empty()).then(|| {
                table_path(&request.origin.database, &request.origin.table).join(request.origin.part.as_str())
            });
            Ok((request.instance, InodeStats::new(stats), path))
        },
    );
    let mut results = StatResult::default();
    for result in found {
        match result {
            Ok((instance, stats, other)) => {
                results.stats.push((instance, stats));
                results.others.extend(other);
            }
            Err(error) => results.problems.push(error),
        }
    }
    results
}

fn stat_file(dir: &Dir, name: &OsStr) -> Result<InodeStat, FsError> {
    let stat = dir.stat(name)?;
    Ok(InodeStat { inode: stat.inode, links: u64::from(stat.links), blocks: stat.allocated_bytes / 512 })
}
