//! Parts that stand unchanged in an earlier snapshot.

use std::collections::BTreeSet;

use rayon::prelude::*;

use crate::fs::{Dir, Entry, FsError, Kind};
use crate::model::PartName;
use crate::repo::PartRecord;

use super::ExecError;
use super::inspect::{Inspected, inspect_listed};
use super::inspect_files::{Contents, InodeUse, list};
use super::live::belongs_in_a_copy;
use super::place::{PART_DEPTH, link_tree};

/// Of these parts, each with the live directory of its table, those whose every file is the one that the same part of
/// the table has in `earlier`: the same names, the same inodes. A snapshot holds its inodes, so that none of their
/// numbers can be another file's.
///
/// # Errors
/// If a directory is there and cannot be read.
pub fn unchanged_parts(parts: &[(&PartName, &Dir)], earlier: &Dir) -> Result<BTreeSet<PartName>, FsError> {
    let unchanged = |(name, live): &(&PartName, &Dir)| -> Result<Option<PartName>, FsError> {
        let Some((held, held_entries)) = earlier.find_and_list(name.as_str())? else { return Ok(None) };
        let Some((live, live_entries)) = live.find_and_list(name.as_str())? else { return Ok(None) };
        Ok(same_files((&live, live_entries), (&held, held_entries), PART_DEPTH)?.then(|| (*name).clone()))
    };
    parts.par_iter().map(unchanged).filter_map(Result::transpose).collect()
}

fn same_files(
    (live, live_entries): (&Dir, Vec<Entry>),
    (held, held_entries): (&Dir, Vec<Entry>),
    depth: usize,
) -> Result<bool, FsError> {
    let sorted = |entries: Vec<Entry>| {
        let mut entries: Vec<Entry> = entries.into_iter().filter(belongs_in_a_copy).collect();
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        entries
    };
    let (live_entries, held_entries) = (sorted(live_entries), sorted(held_entries));
    if live_entries.len() != held_entries.len() {
        return Ok(false);
    }
    for (a, b) in live_entries.iter().zip(&held_entries) {
        let same = match (a.kind, b.kind) {
            (Kind::Directory, Kind::Directory) if depth > 0 && a.name == b.name => {
                match (live.find_and_list(&a.name)?, held.find_and_list(&b.name)?) {
                    (Some((live, of_live)), Some((held, of_held))) => {
                        same_files((&live, of_live), (&held, of_held), depth - 1)?
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
    Ok(true)
}

/// Links a part of an earlier snapshot into `table`.
///
/// # Errors
/// If it cannot be linked, or something in it is nothing that a part has.
pub fn link_earlier_part(earlier: &Dir, table: &Dir, name: &PartName) -> Result<(), ExecError> {
    link_tree(&earlier.open_dir(name.as_str())?, table, name.as_str(), PART_DEPTH, &|_| true)?;
    Ok(())
}

/// What is known of a part that was linked from an earlier snapshot: what that snapshot says of it, with the inodes as
/// they are now. One that has not as many files and bytes as that says is inspected anew.
///
/// # Errors
/// If something cannot be read.
pub fn recall_part(dir: &Dir, entries: Vec<Entry>, record: &PartRecord) -> Result<Inspected, FsError> {
    let contents = list(dir, entries)?;
    let bytes = contents.bytes();
    let is_known = contents.foreign.is_empty() && contents.files.len() as u64 == record.files && bytes == record.bytes;
    if !is_known {
        return inspect_listed(dir, dir.entries_with_kind()?);
    }
    recalled(dir, &contents, contents.inodes(), record)
}

/// [`recall_part`] of a part whose files have just been looked at where they were linked from, and have these inodes
/// there: they are not looked at again where the listing has the same inodes.
///
/// # Errors
/// As there.
pub fn recall_linked(
    dir: &Dir,
    entries: Vec<Entry>,
    record: &PartRecord,
    held: &[InodeUse],
) -> Result<Inspected, FsError> {
    let mut files: Vec<&Entry> = entries.iter().filter(|entry| entry.kind == Kind::File).collect();
    files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    // Parts with projections, whose files are a level below, are looked at as ever.
    let is_known = files.len() == entries.len()
        && held.len() as u64 == record.files
        && files.iter().map(|entry| entry.inode).eq(held.iter().map(|held| held.inode));
    if is_known {
        recalled(dir, &Contents::default(), held.to_vec(), record)
    } else {
        recall_part(dir, entries, record)
    }
}

fn recalled(dir: &Dir, contents: &Contents, inodes: Vec<InodeUse>, record: &PartRecord) -> Result<Inspected, FsError> {
    let directory = dir.stat_self()?;
    Ok(Inspected {
        fingerprint: record.fingerprint,
        files: record.files,
        bytes: record.bytes,
        directory,
        directories: contents.directories.len() as u64,
        directory_bytes: directory.allocated_bytes + contents.directory_bytes,
        ownership: record.ownership,
        exceptions: record.exceptions.clone(),
        uncovered: record.uncovered.clone(),
        inodes,
        unverifiable: record.unverifiable.clone(),
        problems: Vec::new(),
    })
}
