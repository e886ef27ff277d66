//! What a freeze leaves out, from the live directories of a table: patch parts and `metadata_version.txt`.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::fs::{Dir, ErrorKind, FsError, Stat};
use crate::model::PartName;

use super::ExecError;
use super::place::link_tree;

const METADATA_VERSION: &str = "metadata_version.txt";
/// The file holds one number.
const METADATA_VERSION_LIMIT_BYTES: u64 = 4096;

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
    stat: Stat,
    bytes: Vec<u8>,
}

/// The metadata versions of parts that were there when they were read; `None` for a part that has none.
pub type SavedVersions = HashMap<PartName, Option<SavedFile>>;

/// What came of a part's metadata version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionTaken {
    /// The part in the snapshot has it.
    Taken,
    /// The part never had one: it is of an old server.
    NeverHad,
    /// The part had gone before it could be asked.
    Unknown,
}

/// Reads the metadata version of each part that has one, so that a merge before they can be linked loses none.
///
/// Parts are given with the live directory that they are in. One that has gone meanwhile is passed over.
///
/// # Errors
/// If a file is there and cannot be read.
pub fn read_metadata_versions(parts: &[(&PartName, &Dir)]) -> Result<SavedVersions, FsError> {
    parts
        .par_iter()
        .filter_map(|(name, table)| match table.open_dir(name.as_str()) {
            Ok(part) => Some(saved_metadata_version(&part).map(|saved| ((*name).clone(), saved))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => Some(Err(error)),
        })
        .collect()
}

fn saved_metadata_version(part: &Dir) -> Result<Option<SavedFile>, FsError> {
    let Some(stat) = part.find(METADATA_VERSION)? else { return Ok(None) };
    let bytes = part.find_and_read(METADATA_VERSION, METADATA_VERSION_LIMIT_BYTES)?;
    Ok(bytes.map(|bytes| SavedFile { stat, bytes }))
}

/// Gives a frozen part the metadata version that its freeze left out: linked from the live part while it is there,
/// else written from what was saved of it.
///
/// # Errors
/// If the file can be neither linked nor written.
pub fn take_metadata_version(
    live: &[LiveTable],
    part: &Dir,
    name: &PartName,
    saved: &SavedVersions,
) -> Result<VersionTaken, FsError> {
    if part.find(METADATA_VERSION)?.is_some() {
        return Ok(VersionTaken::Taken);
    }
    let mut was_there = saved.contains_key(name);
    for table in live {
        let live_part = match table.dir.open_dir(name.as_str()) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            result => result?,
        };
        match part.link_from(&live_part, METADATA_VERSION, METADATA_VERSION) {
            Ok(()) => return Ok(VersionTaken::Taken),
            // The part that never had one, unless it is just being taken away.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                was_there |= live_part.find("checksums.txt")?.is_some();
            }
            Err(error) => return Err(error),
        }
    }
    match saved.get(name) {
        Some(Some(saved)) => {
            part.write_copy(METADATA_VERSION, &saved.stat, &saved.bytes)?;
            Ok(VersionTaken::Taken)
        }
        _ if was_there => Ok(VersionTaken::NeverHad),
        _ => Ok(VersionTaken::Unknown),
    }
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
    let source = match live.dir.open_dir(name.as_str()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    match link_tree(&source, table, name.as_str(), &belongs_in_a_copy) {
        Ok(dir) => Ok(Some(dir)),
        Err(ExecError::Fs(error)) if error.kind() == ErrorKind::NotFound => {
            super::remove_tree(table, name.as_str(), &|_| ())?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
