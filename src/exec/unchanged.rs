//! Parts that stand unchanged in an earlier snapshot.

use std::collections::BTreeSet;

use rayon::prelude::*;

use crate::fs::{Dir, Entry, ErrorKind, FsError, Kind, Stat};
use crate::model::{Ownership, PartName};
use crate::repo::PartRecord;

use super::ExecError;
use super::equal::{HeldPart, HeldTable, equal_part};
use super::inspect::{Inspected, inspect_listed};
use super::inspect_files::{Contents, Names, list};
use super::join::{Keeping, LINK_LIMIT};
use super::left_out::{belongs_in_a_copy, has_left_out};
use super::live::LeftOut;
use super::place::{PART_DEPTH, dress, make_like};

/// Of these parts, each with the live directory of its table, those whose every file is the one that the same part of
/// the table has in `earlier`: the same names, the same inodes. A snapshot holds its inodes, so that none of their
/// numbers can be another file's.
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
            (Kind::Directory, Kind::Directory) if depth > 0 && a.name == b.name => {
                match (live.find_and_list(&a.name)?, held.find_and_list(&b.name)?) {
                    (Some((live, mut of_live)), Some((held, mut of_held))) => {
                        same_files((&live, &mut of_live), (&held, &mut of_held), depth - 1)?
                    }
                    _ => false,
                }
            }
            (Kind::File, Kind::File) => a.name == b.name && a.inode == b.inode,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
}

/// How a live part is held against the one of an earlier snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// On one filesystem: every file is the same inode.
    SameInodes,
    /// Elsewhere: by what is in it, with all that copies keep; see [`super::equal`].
    SameContent(Keeping),
}

impl Likeness {
    /// Owner and mode that most files have, and the files that have others.
    ///
    /// Copies were compared with the record, which has also what their inodes could not keep. Inodes that are shared with
    /// the live part have the owner and mode of now, whatever the record says.
    fn file_ownership(self, contents: &Contents, record: &PartRecord) -> FileOwnership {
        match self {
            Self::SameInodes => {
                let common = contents.common_ownership();
                (common, contents.exceptions(common))
            }
            Self::SameContent(_) => (record.ownership, record.exceptions.clone()),
        }
    }
}

/// What came of a part that may stand unchanged in an earlier snapshot.
#[derive(Debug)]
pub enum Relinked {
    /// It does, and is linked from there.
    Linked(Box<Inspected>, LeftOut),
    /// It does, but one of its files has as many links as it may have. Nothing is linked.
    Full,
    /// It does not, or has gone. Nothing is linked.
    Changed,
}

/// Holds a part of the live directory `live` against the same part of an earlier snapshot, of which that says `record`,
/// and links it from there into `table` where it is the same: what is linked is what was compared.
///
/// What is known of it then is what that snapshot says of it, with the inodes as they are now: a chown or chmod of live
/// files since then has changed the snapshot's files too, so their owners and modes are taken from the inodes.
///
/// # Errors
/// If something is there and can be neither read nor linked.
pub fn relink(
    live: &Dir,
    held: HeldTable<'_>,
    record: &PartRecord,
    likeness: Likeness,
    table: &Dir,
) -> Result<Relinked, ExecError> {
    let name = &record.part;
    let Some(found) = unchanged_part(live, held, record, likeness)? else { return Ok(Relinked::Changed) };
    let HeldPart { dir: part, contents, live, has_left_out } = found;
    if contents.files.iter().any(|file| file.stat.links >= LINK_LIMIT) {
        return Ok(Relinked::Full);
    }
    // Directories are the snapshot's own: a chown of the live ones has not reached the earlier snapshot's.
    let ownership = likeness.file_ownership(&contents, record);
    let owner = match live.filter(|_| ids(ownership.0) != ids(record.ownership)) {
        Some(live) => match live.stat_self() {
            Ok(stat) => Some(ids(stat.ownership)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Relinked::Changed),
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    match link_contents(&part, &contents, table, name, owner) {
        Ok(made) => {
            let left_out = if has_left_out { LeftOut::Taken } else { LeftOut::None };
            Ok(Relinked::Linked(Box::new(recalled(&made, &contents, ownership, record)), left_out))
        }
        Err(error) if error.kind() == ErrorKind::TooManyLinks => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(Relinked::Full)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether [`relink`] would link a part of the live directory `live`.
///
/// # Errors
/// If something is there and cannot be read.
pub fn is_unchanged(live: &Dir, held: HeldTable<'_>, record: &PartRecord, likeness: Likeness) -> Result<bool, FsError> {
    Ok(unchanged_part(live, held, record, likeness)?.is_some())
}

fn unchanged_part(
    live: &Dir,
    held: HeldTable<'_>,
    record: &PartRecord,
    likeness: Likeness,
) -> Result<Option<HeldPart>, FsError> {
    let found = match likeness {
        Likeness::SameInodes => same_part(live, held.dir, &record.part),
        Likeness::SameContent(keeping) => equal_part(live, held, record, keeping),
    };
    match found {
        // The server takes parts away.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => Ok(result?.filter(|found| found.contents.is_as_recorded(record))),
    }
}

fn same_part(live: &Dir, held: &Dir, name: &PartName) -> Result<Option<HeldPart>, FsError> {
    let Some((live, entries)) = live.find_and_list(name.as_str())? else { return Ok(None) };
    let held = held.open_dir(name.as_str())?;
    let has_left_out = has_left_out(&entries);
    let (names, _) = Names::read(&live, entries, belongs_in_a_copy)?;
    let contents = names.ask_in(&held, |live, held| held.kind == Kind::File && live.inode == held.inode)?;
    Ok(contents.map(|contents| HeldPart { dir: held, contents, live: Some(live), has_left_out }))
}

/// Directories that were made for a part.
struct Made {
    directory: Stat,
    directories: u64,
    /// Allocated bytes of all of them.
    bytes: u64,
}

/// Links the files of a part of an earlier snapshot into a new directory `name` of `table`. Its directories get owner,
/// group, mode and modification time of theirs, or this owner and group; nothing is set on a file.
fn link_contents(
    part: &Dir,
    contents: &Contents,
    table: &Dir,
    name: &PartName,
    owner: Option<(u32, u32)>,
) -> Result<Made, FsError> {
    let link = |from: &Dir, directory: &str, to: &Dir, name: &str| -> Result<(Stat, Dir), FsError> {
        let mut source = from.stat_self()?;
        (source.ownership.uid, source.ownership.gid) = owner.unwrap_or(ids(source.ownership));
        let made = make_like(&source, to, name)?;
        for file in contents.below(directory).1 {
            made.link_from(from, &file.name, &file.name)?;
        }
        Ok((source, made))
    };
    let (source, made) = link(part, "", table, name.as_str())?;
    let mut bytes = 0;
    for directory in &contents.directories {
        let (source, below) = link(&part.open_dir(directory)?, directory, &made, directory)?;
        dress(&source, &below)?;
        bytes += below.stat_self()?.allocated_bytes;
    }
    dress(&source, &made)?;
    let directory = made.stat_self()?;
    Ok(Made { directory, directories: contents.directories.len() as u64, bytes: bytes + directory.allocated_bytes })
}

fn ids(ownership: Ownership) -> (u32, u32) {
    (ownership.uid, ownership.gid)
}

/// Owner and mode that most files of a part have, and the files that have others.
type FileOwnership = (Ownership, Vec<(String, Ownership)>);

fn recalled(made: &Made, contents: &Contents, ownership: FileOwnership, record: &PartRecord) -> Inspected {
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
        links: contents.links(),
        unverifiable: record.unverifiable.clone(),
        problems: Vec::new(),
    }
}

/// What is known of a part that was linked and copied from an earlier snapshot, because some of its files have as many
/// links as they may have: what [`relink`] would know of it. One that has not as many files
/// and bytes as that says is inspected anew.
///
/// # Errors
/// If something cannot be read.
pub fn recall_part(
    dir: &Dir,
    entries: Vec<Entry>,
    record: &PartRecord,
    likeness: Likeness,
) -> Result<Inspected, FsError> {
    let contents = list(dir, entries, &[])?;
    if !contents.is_as_recorded(record) {
        return inspect_listed(dir, dir.entries_with_kind()?);
    }
    let directory = dir.stat_self()?;
    let bytes = directory.allocated_bytes + contents.directory_bytes;
    let made = Made { directory, directories: contents.directories.len() as u64, bytes };
    Ok(recalled(&made, &contents, likeness.file_ownership(&contents, record), record))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::{HeldPart, same_part};
    use crate::fs::{Dir, RealVerbs};
    use crate::model::PartName;

    const NAME: &str = "all_1_1_0";

    struct Lab {
        folder: tempfile::TempDir,
    }

    impl Lab {
        /// A live part with a projection, and the same files in a snapshot.
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

        fn compare(&self) -> Option<HeldPart> {
            let open = |side: PathBuf| {
                Dir::open(side.parent().unwrap_or(Path::new("")), Arc::new(RealVerbs)).expect("a directory")
            };
            let name = PartName::try_from(NAME.to_owned()).expect("a name");
            // What is missing in a snapshot is told as an error that says so: see `relink`.
            same_part(&open(self.live()), &open(self.held()), &name).unwrap_or_default()
        }

        /// The files by which they are the same, if they are.
        fn files(&self) -> Option<Vec<String>> {
            self.compare()
                .map(|part| part.contents.files.iter().map(super::super::inspect_files::Listed::path).collect())
        }
    }

    #[test]
    fn a_part_is_the_same_by_every_name_and_inode_of_the_live_one() {
        let lab = Lab::new();
        fs::write(lab.live().join("txn_version.txt"), "the server's own affair").expect("written");
        let all = ["checksums.txt", "data.bin", "metadata_version.txt", "p.proj/checksums.txt", "p.proj/data.bin"];
        assert_eq!(lab.files().expect("the same"), all);
        assert!(lab.compare().expect("the same").has_left_out);
        // What nobody recorded is nobody's, and is not linked on.
        fs::write(lab.held().join("put there"), "by somebody").expect("written");
        assert_eq!(lab.files().expect("the same"), all);
    }

    #[test]
    fn a_name_more_or_another_inode_is_another_part() {
        for path in ["data.bin", "p.proj/data.bin"] {
            let lab = Lab::new();
            fs::copy(lab.live().join(path), lab.held().join("copy")).expect("copied");
            fs::rename(lab.held().join("copy"), lab.held().join(path)).expect("replaced");
            assert_eq!(lab.files(), None, "{path} has another inode");
            fs::remove_file(lab.held().join(path)).expect("removed");
            assert_eq!(lab.files(), None, "{path} is missing");
        }
        for path in ["more.bin", "p.proj/more.bin"] {
            let lab = Lab::new();
            fs::write(lab.live().join(path), "new").expect("written");
            assert_eq!(lab.files(), None, "{path} is new");
        }
        let lab = Lab::new();
        fs::remove_dir_all(lab.held().join("p.proj")).expect("removed");
        assert_eq!(lab.files(), None, "the projection is missing");
        let lab = Lab::new();
        fs::remove_dir_all(lab.held()).expect("removed");
        assert_eq!(lab.files(), None, "the part is missing");
    }
}
