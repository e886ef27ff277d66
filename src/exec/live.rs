//! What a freeze leaves out, from the live directories of a table: patch parts, and files of parts that are not
//! covered by their checksums.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::Path;

use rayon::prelude::*;

use crate::fs::{Dir, ErrorKind, FsError, Kind, Stat};
use crate::model::PartName;

use super::ExecError;
use super::place::link_tree;

/// Files that a freeze leaves out although the part is wrong without them: read before the freeze, so that a merge
/// before they can be linked loses none. Whatever else a live part has and its frozen copy has not is linked too.
///
/// Source: `DataPartStorageOnDiskBase::freeze`, which removes the first; of the second, made by `ATTACH` and
/// `REPLACE PARTITION … FROM`, it was seen on 26.9: without it the part takes another table's block numbers for its own.
const LEFT_OUT: [&str; 2] = ["metadata_version.txt", "invalidated_system_columns.txt"];
/// They hold a number, and a few names.
const LEFT_OUT_LIMIT_BYTES: u64 = 1 << 20;

/// The live directory of one table on one disk.
#[derive(Clone, Debug)]
pub struct LiveTable {
    /// The disk's name.
    pub disk: String,
    /// The directory.
    pub dir: Dir,
}

/// A small file as it was read before it could go away.
#[derive(Clone, Debug)]
pub struct SavedFile {
    name: &'static str,
    stat: Stat,
    bytes: Vec<u8>,
}

/// What a freeze would leave out of parts, as far as they were there when it was read.
pub type SavedFiles = HashMap<PartName, Vec<SavedFile>>;

/// What came of the files that a freeze leaves out of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// The part in the snapshot has them.
    Taken,
    /// There are none: the part is of an old server.
    None,
    /// The part had gone before it could be asked.
    Unknown,
}

/// Reads what a freeze would leave out of each part.
///
/// Parts are given with the live directory that they are in. One that has gone meanwhile is passed over.
///
/// # Errors
/// If a file is there and cannot be read.
pub fn save_left_out(parts: &[(&PartName, &Dir)]) -> Result<SavedFiles, FsError> {
    parts
        .par_iter()
        .filter_map(|(name, table)| match find_part(table, name) {
            Ok(part) => Some(save(&part?).map(|saved| ((*name).clone(), saved))),
            Err(error) => Some(Err(error)),
        })
        .collect()
}

/// A part of a live table; `None` where the server has taken it away.
fn find_part(table: &Dir, name: &PartName) -> Result<Option<Dir>, FsError> {
    table.find_beneath(Path::new(name.as_str()))
}

fn save(part: &Dir) -> Result<Vec<SavedFile>, FsError> {
    let mut saved = Vec::new();
    for name in LEFT_OUT {
        if let Some((stat, bytes)) = part.find_with_stat(name, LEFT_OUT_LIMIT_BYTES)? {
            saved.push(SavedFile { name, stat, bytes });
        }
    }
    Ok(saved)
}

/// Gives a frozen part what its freeze left out: linked from the live part while it is there, else written from what
/// was saved of it.
///
/// # Errors
/// If a file can be neither linked nor written.
pub fn take_left_out(live: &[LiveTable], part: &Dir, name: &PartName, saved: &SavedFiles) -> Result<LeftOut, FsError> {
    let mut have: HashSet<OsString> = part.entries()?.into_iter().map(|entry| entry.name).collect();
    let frozen_files = have.len();
    let mut was_there = saved.contains_key(name);
    for table in live {
        let Some(live_part) = find_part(&table.dir, name)? else { continue };
        for entry in live_part.entries_if_there()? {
            let wanted = entry.kind == Kind::File && entry.name.to_str().is_some_and(belongs_in_a_copy);
            if entry.name == "checksums.txt" {
                was_there = true;
            }
            if !wanted || have.contains(&entry.name) {
                continue;
            }
            match part.link_from(&live_part, &entry.name, &entry.name) {
                Ok(()) => drop(have.insert(entry.name)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    for file in saved.get(name).into_iter().flatten() {
        if have.insert(OsString::from(file.name)) {
            part.write_copy(file.name, &file.stat, &file.bytes)?;
        }
    }
    Ok(match (have.len() > frozen_files, was_there) {
        (true, _) => LeftOut::Taken,
        (false, true) => LeftOut::None,
        (false, false) => LeftOut::Unknown,
    })
}

/// Files of a live part that are its server's own affair: transaction state is rewritten in place, and a part that
/// is marked for deletion would be deleted again.
///
/// Source: `DataPartStorageOnDiskBase::freeze`, which leaves out the same.
fn belongs_in_a_copy(name: &str) -> bool {
    let temporary = std::path::Path::new(name).extension().is_some_and(|extension| extension == "tmp");
    !temporary && !matches!(name, "txn_version.txt" | "delete-on-destroy.txt")
}

/// Links a live part into the snapshot. `None` where it has gone meanwhile; then nothing of it stays.
///
/// # Errors
/// If it is there and cannot be linked.
pub fn link_live_part(live: &LiveTable, table: &Dir, name: &PartName) -> Result<Option<Dir>, ExecError> {
    let Some(source) = find_part(&live.dir, name)? else { return Ok(None) };
    match link_tree(&source, table, name.as_str(), &belongs_in_a_copy) {
        Ok(dir) => Ok(Some(dir)),
        Err(ExecError::Fs(error)) if error.kind() == ErrorKind::NotFound => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
