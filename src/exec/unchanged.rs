//! Finds and links parts that are unchanged since an earlier snapshot.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use rayon::prelude::*;

use crate::fs::{Dir, Entry, EntryKind, ErrorKind, FsError, Stat};
use crate::model::{Links, LivePartState, Ownership, PartName};
use crate::repo::{KnownLivePart, PartRecord};

use super::ExecError;
use super::equal::{ContentProof, EarlierTableDir, EqualPart, equal_part};
use super::inspect::{Inspected, inspect_listed};
use super::inspect_files::{Contents, NamesInPart, PartEntries, list};
use super::join::{LINK_LIMIT, PreservedMetadata};
use super::left_out::belongs_in_a_copy;
use super::listed_live_part::ListedLivePart;
use super::live::LeftOutFiles;
use super::place::{PART_DEPTH, apply_source_metadata, make_like};

/// Selects, from these parts, each with the live directory of its table, those whose every file is the one that the
/// same part of the table has in `earlier`: the same names, the same inodes. A snapshot holds its inodes, so their
/// numbers cannot be reused for other files.
///
/// # Errors
/// If a directory is there and cannot be read.
pub fn unchanged_parts(parts: &[(&PartName, &Dir)], earlier: &Dir) -> Result<BTreeSet<PartName>, FsError> {
    let unchanged = |(name, live): &(&PartName, &Dir)| -> Result<Option<PartName>, FsError> {
        let Some((held, mut held_entries)) = earlier.find_and_list(name.as_str())? else { return Ok(None) };
        let Some((live, mut live_entries)) = live.find_and_list(name.as_str())? else { return Ok(None) };
        let are_same = same_files((&live, &mut live_entries), (&held, &mut held_entries), PART_DEPTH)?;
        Ok(are_same.then(|| (*name).clone()))
    };
    parts.par_iter().map(unchanged).filter_map(Result::transpose).collect()
}

/// Whether these directories list the same files. Both lists are sorted on the way.
fn same_files(
    (live, live_entries): (&Dir, &mut [Entry]),
    (held, held_entries): (&Dir, &mut [Entry]),
    depth: usize,
) -> Result<bool, FsError> {
    for entries in [&mut *live_entries, &mut *held_entries] {
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    }
    let mut live_entries = live_entries.iter().filter(|entry| belongs_in_a_copy(entry));
    let mut held_entries = held_entries.iter().filter(|entry| belongs_in_a_copy(entry));
    loop {
        let (a, b) = match (live_entries.next(), held_entries.next()) {
            (Some(a), Some(b)) => (a, b),
            (None, None) => return Ok(true),
            _ => return Ok(false),
        };
        let same = match (a.kind, b.kind) {
            (EntryKind::Directory, EntryKind::Directory) if depth > 0 && a.name == b.name => {
                match (live.find_and_list(&a.name)?, held.find_and_list(&b.name)?) {
                    (Some((live, mut of_live)), Some((held, mut of_held))) => {
                        same_files((&live, &mut of_live), (&held, &mut of_held), depth - 1)?
                    }
                    _ => false,
                }
            }
            (EntryKind::File, EntryKind::File) => a.name == b.name && a.inode == b.inode,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
}

/// How a live part is compared with the one of an earlier snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// On one filesystem: every file is the same inode.
    SameInodes,
    /// Elsewhere: by content, and by all metadata that copies preserve; see [`super::equal`].
    SameContent(PreservedMetadata),
    /// The same, for a part whose record proves that it has the content of the earlier one: only its inodes are
    /// requested.
    SameRecord(PreservedMetadata),
}

impl Comparison {
    /// Owner and mode that most files have, and the files that have others.
    ///
    /// Copies were compared with the record, which also has what their inodes could not hold. Inodes that are shared
    /// with the live part have their present owner and mode, whatever the record says.
    fn file_ownership(self, contents: &Contents, record: &PartRecord) -> FileOwnership {
        match self {
            Self::SameInodes => {
                let common = contents.common_ownership();
                (common, contents.exceptions(common))
            }
            Self::SameContent(_) | Self::SameRecord(_) => (record.ownership, record.exceptions.clone()),
        }
    }
}

/// The outcome for a part that may be unchanged since an earlier snapshot.
#[derive(Debug)]
pub enum Relinked {
    /// It is unchanged, and is linked from there.
    Linked {
        /// The part in the new snapshot.
        inspected: Box<Inspected>,
        /// Whether it has the files that a freeze leaves out.
        left_out: LeftOutFiles,
        /// The highest number of links that one of its files had before; 0 if none was asked.
        links: u32,
    },
    /// It is unchanged, but one of its files has as many links as it may have. Nothing is linked.
    Full,
    /// It has changed or vanished. Nothing is linked.
    Changed,
}

/// Compares a live part with the same part of an earlier snapshot, whose record there is `record`, and links it from
/// there into `table` if it is the same: exactly what was compared is linked.
///
/// The result combines what that snapshot says about the part with the inodes as they are now: a chown or chmod of live
/// files since then has changed the snapshot's files too, so owners and modes are taken from the inodes.
///
/// # Errors
/// If something is there and can be neither read nor linked.
pub fn relink(
    live: &ListedLivePart,
    held: EarlierTableDir<'_>,
    record: &PartRecord,
    comparison: Comparison,
    table: &Dir,
) -> Result<Relinked, ExecError> {
    let name = &record.part;
    let Some(found) = unchanged_part(live, held, record, comparison)? else { return Ok(Relinked::Changed) };
    let EqualPart { dir: part, contents } = found;
    if contents.files.iter().any(|file| file.stat.links >= LINK_LIMIT) {
        return Ok(Relinked::Full);
    }
    // Directories are the snapshot's own: a chown of the live ones has not reached those of the earlier snapshot.
    let ownership = comparison.file_ownership(&contents, record);
    let is_chowned = comparison == Comparison::SameInodes && ids(ownership.0) != ids(record.ownership);
    let owner = match live.dirs.first().filter(|_| is_chowned) {
        Some(live) => match live.stat_self() {
            Ok(stat) => Some(ids(stat.ownership)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Relinked::Changed),
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    match link_names(&part, &contents.names(), table, name, owner) {
        Ok(made) => {
            let inspected = Box::new(recalled(&made, contents.links(), ownership, record));
            let left_out = live.left_out();
            Ok(Relinked::Linked { inspected, left_out, links: contents.highest_links() })
        }
        Err(error) if error.kind() == ErrorKind::TooManyLinks => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(Relinked::Full)
        }
        Err(error) => Err(error.into()),
    }
}

/// Links a part in the directory `held` of a table, whose record in its snapshot is `record`, into `table`, if each of
/// its files `is_wanted` by its path and inode.
///
/// # Errors
/// If something is there and can be neither read nor linked.
pub fn link_held(
    held: &Dir,
    record: &PartRecord,
    is_wanted: &dyn Fn(&str, &Stat) -> bool,
    table: &Dir,
) -> Result<Relinked, ExecError> {
    let name = &record.part;
    let Some((part, entries)) = held.find_and_list(name.as_str())? else { return Ok(Relinked::Changed) };
    let contents = list(&part, entries, &[])?;
    if !contents.is_as_recorded(record) || !contents.files.iter().all(|file| is_wanted(&file.path(), &file.stat)) {
        return Ok(Relinked::Changed);
    }
    if contents.files.iter().any(|file| file.stat.links >= LINK_LIMIT) {
        return Ok(Relinked::Full);
    }
    match link_names(&part, &contents.names(), table, name, None) {
        Ok(made) => {
            let ownership = (record.ownership, record.exceptions.clone());
            let inspected = Box::new(recalled(&made, contents.links(), ownership, record));
            Ok(Relinked::Linked { inspected, left_out: LeftOutFiles::None, links: contents.highest_links() })
        }
        Err(error) if error.kind() == ErrorKind::TooManyLinks => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(Relinked::Full)
        }
        Err(error) => Err(error.into()),
    }
}

/// Links a part of an earlier snapshot, whose record there is `record`, into `table`, if the same live part has the state
/// of `known`, in which it had the content of the earlier one. No file is asked for anything. Returns `None` if it has
/// another state, or the snapshot lacks one of its names: then the files must be compared.
///
/// # Errors
/// If something is there and can be neither read nor linked.
pub fn relink_known(
    live: &ListedLivePart,
    held: &Dir,
    (record, known): (&PartRecord, &KnownLivePart),
    table: &Dir,
) -> Result<Option<Relinked>, ExecError> {
    let name = &record.part;
    if !has_known_state(live, record, &known.state) {
        return Ok(None);
    }
    let names = live.names.names();
    let made = held.open_for_all_entries(name.as_str()).and_then(|part| link_names(&part, &names, table, name, None));
    match made {
        Ok(made) => {
            let left_out = live.left_out();
            let ownership = (record.ownership, record.exceptions.clone());
            let inspected = Box::new(recalled(&made, known.links.clone(), ownership, record));
            Ok(Some(Relinked::Linked { inspected, left_out, links: 0 }))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(None)
        }
        Err(error) if error.kind() == ErrorKind::TooManyLinks => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(Some(Relinked::Full))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a live part has the state `known`, and as many files as its record says.
fn has_known_state(live: &ListedLivePart, record: &PartRecord, known: &LivePartState) -> bool {
    let files = |(_, files): &(&str, Vec<&OsStr>)| files.len() as u64;
    live.has_state(known) && live.names.names().iter().map(files).sum::<u64>() == record.files
}

/// Whether [`relink_known`] would link a live part.
///
/// # Errors
/// If something is there and cannot be read.
pub fn is_known(
    live: &ListedLivePart,
    held: &Dir,
    (record, known): (&PartRecord, &LivePartState),
) -> Result<bool, FsError> {
    if !has_known_state(live, record, known) {
        return Ok(false);
    }
    let Some(held) = ListedLivePart::list(held, &record.part)? else { return Ok(false) };
    let names: Vec<(&str, BTreeSet<&OsStr>)> = by_directory(&held.names);
    let has_names = |(path, files): (&str, BTreeSet<&OsStr>)| {
        names.iter().any(|(held, names)| *held == path && files.is_subset(names))
    };
    Ok(by_directory(&live.names).into_iter().all(has_names))
}

fn by_directory(names: &PartEntries) -> Vec<(&str, BTreeSet<&OsStr>)> {
    names.names().into_iter().map(|(path, files)| (path, files.into_iter().collect())).collect()
}

/// Whether [`relink`] would link a live part.
///
/// # Errors
/// If something is there and cannot be read.
pub fn is_unchanged(
    live: &ListedLivePart,
    held: EarlierTableDir<'_>,
    record: &PartRecord,
    comparison: Comparison,
) -> Result<bool, FsError> {
    Ok(unchanged_part(live, held, record, comparison)?.is_some())
}

fn unchanged_part(
    live: &ListedLivePart,
    held: EarlierTableDir<'_>,
    record: &PartRecord,
    comparison: Comparison,
) -> Result<Option<EqualPart>, FsError> {
    let found = match comparison {
        Comparison::SameInodes => same_part(live, held.dir, &record.part),
        Comparison::SameContent(keeping) => equal_part(live, held, record, (keeping, ContentProof::Read)),
        Comparison::SameRecord(keeping) => equal_part(live, held, record, (keeping, ContentProof::Recorded)),
    };
    match found {
        // The server removes parts at any time.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => Ok(result?.filter(|found| found.contents.is_as_recorded(record))),
    }
}

fn same_part(live: &ListedLivePart, held: &Dir, name: &PartName) -> Result<Option<EqualPart>, FsError> {
    let held = held.open_dir(name.as_str())?;
    let is_same = |live: &Entry, held: &Stat| held.kind == EntryKind::File && live.inode == held.inode;
    let contents = live.names.clone().ask_in(&held, is_same)?;
    Ok(contents.map(|contents| EqualPart { dir: held, contents }))
}

/// Directories that were created for a part.
struct MadePart {
    directory: Stat,
    directories: u64,
    /// Allocated bytes of all of them.
    bytes: u64,
}

/// Links these files of a part of an earlier snapshot into a new directory `name` of `table`. Its directories get owner,
/// group, mode and modification time of their sources, or the given owner and group; nothing is set on a file.
fn link_names(
    part: &Dir,
    names: &NamesInPart<'_>,
    table: &Dir,
    name: &PartName,
    owner: Option<(u32, u32)>,
) -> Result<MadePart, FsError> {
    let link = |from: &Dir, files: &[&OsStr], to: &Dir, name: &str| -> Result<(Stat, Dir), FsError> {
        let mut source = from.stat_self()?;
        (source.ownership.uid, source.ownership.gid) = owner.unwrap_or(ids(source.ownership));
        let made = make_like(&source, to, name)?;
        for file in files {
            made.link_from(from, file, file)?;
        }
        Ok((source, made))
    };
    let (own, projections) = match names.as_slice() {
        [(_, own), projections @ ..] => (own.as_slice(), projections),
        [] => (&[][..], &[][..]),
    };
    let (source, made) = link(part, own, table, name.as_str())?;
    let mut bytes = 0;
    for (directory, files) in projections {
        let (source, below) = link(&part.open_for_all_entries(directory)?, files, &made, directory)?;
        apply_source_metadata(&source, &below)?;
        bytes += below.stat_self()?.allocated_bytes;
    }
    apply_source_metadata(&source, &made)?;
    let directory = made.stat_self()?;
    Ok(MadePart { directory, directories: projections.len() as u64, bytes: bytes + directory.allocated_bytes })
}

fn ids(ownership: Ownership) -> (u32, u32) {
    (ownership.uid, ownership.gid)
}

/// Owner and mode that most files of a part have, and the files that have others.
type FileOwnership = (Ownership, Vec<(String, Ownership)>);

fn recalled(made: &MadePart, links: Links, ownership: FileOwnership, record: &PartRecord) -> Inspected {
    let (ownership, exceptions) = ownership;
    Inspected {
        fingerprint: record.fingerprint,
        files: record.files,
        bytes: record.bytes,
        directory: made.directory.ownership,
        directory_modified: made.directory.modified,
        directories: made.directories,
        directory_bytes: made.bytes,
        ownership,
        exceptions,
        uncovered: record.uncovered.clone(),
        links,
        unverifiable: record.unverifiable.clone(),
        problems: Vec::new(),
    }
}

/// Describes a part that was partly linked and partly copied from an earlier snapshot, because some of its files have
/// as many links as they may have: the result is what [`relink`] would give. A part that does not have as many files
/// and bytes as the record says is inspected from scratch.
///
/// # Errors
/// If something cannot be read.
pub fn recall_part(
    dir: &Dir,
    entries: Vec<Entry>,
    record: &PartRecord,
    comparison: Comparison,
) -> Result<Inspected, FsError> {
    let contents = list(dir, entries, &[])?;
    if !contents.is_as_recorded(record) {
        return inspect_listed(dir, dir.entries_with_kind()?);
    }
    let directory = dir.stat_self()?;
    let bytes = directory.allocated_bytes + contents.directory_bytes;
    let made = MadePart { directory, directories: contents.directories.len() as u64, bytes };
    Ok(recalled(&made, contents.links(), comparison.file_ownership(&contents, record), record))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::{EqualPart, ListedLivePart, same_part};
    use crate::fs::{Dir, RealVerbs};
    use crate::model::PartName;

    const NAME: &str = "all_1_1_0";

    struct ComparisonLab {
        folder: tempfile::TempDir,
    }

    impl ComparisonLab {
        /// Creates a live part with a projection, and the same files in a snapshot.
        fn new() -> Self {
            let lab = Self { folder: tempfile::tempdir().expect("a folder") };
            for path in ["checksums.txt", "data.bin", "metadata_version.txt", "p.proj/checksums.txt", "p.proj/data.bin"]
            {
                for side in [lab.live(), lab.held()] {
                    fs::create_dir_all(side.join(path).parent().expect("a parent")).expect("made");
                }
                fs::write(lab.live().join(path), path).expect("written");
                fs::hard_link(lab.live().join(path), lab.held().join(path)).expect("linked");
            }
            lab
        }

        fn live(&self) -> PathBuf {
            self.folder.path().join("live").join(NAME)
        }

        fn held(&self) -> PathBuf {
            self.folder.path().join("held").join(NAME)
        }

        fn compare(&self) -> Option<EqualPart> {
            let open = |side: PathBuf| {
                Dir::open(side.parent().unwrap_or(Path::new("")), Arc::new(RealVerbs)).expect("a directory")
            };
            let name = PartName::try_from(NAME.to_owned()).expect("a name");
            let live = ListedLivePart::list(&open(self.live()), &name).expect("it is readable").expect("it is there");
            // A file that is missing in a snapshot is reported as an error that names it: see `relink`.
            same_part(&live, &open(self.held()), &name).unwrap_or_default()
        }

        /// The files by which they are the same, if they are.
        fn files(&self) -> Option<Vec<String>> {
            self.compare()
                .map(|part| part.contents.files.iter().map(super::super::inspect_files::InspectedFile::path).collect())
        }
    }

    #[test]
    fn a_part_is_the_same_by_every_name_and_inode_of_the_live_one() {
        let lab = ComparisonLab::new();
        fs::write(lab.live().join("txn_version.txt"), "the server's own affair").expect("written");
        let all = ["checksums.txt", "data.bin", "metadata_version.txt", "p.proj/checksums.txt", "p.proj/data.bin"];
        assert_eq!(lab.files().expect("the same"), all);
        // A file that nothing recorded belongs to no part, and is not linked on.
        fs::write(lab.held().join("put there"), "by somebody").expect("written");
        assert_eq!(lab.files().expect("the same"), all);
    }

    #[test]
    fn a_name_more_or_another_inode_is_another_part() {
        for path in ["data.bin", "p.proj/data.bin"] {
            let lab = ComparisonLab::new();
            fs::copy(lab.live().join(path), lab.held().join("copy")).expect("copied");
            fs::rename(lab.held().join("copy"), lab.held().join(path)).expect("replaced");
            assert_eq!(lab.files(), None, "{path} has another inode");
            fs::remove_file(lab.held().join(path)).expect("removed");
            assert_eq!(lab.files(), None, "{path} is missing");
        }
        for path in ["more.bin", "p.proj/more.bin"] {
            let lab = ComparisonLab::new();
            fs::write(lab.live().join(path), "new").expect("written");
            assert_eq!(lab.files(), None, "{path} is new");
        }
        let lab = ComparisonLab::new();
        fs::remove_dir_all(lab.held().join("p.proj")).expect("removed");
        assert_eq!(lab.files(), None, "the projection is missing");
        let lab = ComparisonLab::new();
        fs::remove_dir_all(lab.held()).expect("removed");
        assert_eq!(lab.files(), None, "the part is missing");
    }
}
