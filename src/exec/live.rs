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

/// Reads the metadata version of each part that has one, so that a merge before they can be linked loses none.
///
/// Parts are given with the live directory that they are in. One that has gone meanwhile is passed over.
///
/// # Errors
/// If a file is there and cannot be read.
pub fn read_metadata_versions(parts: &[(&PartName, &Dir)]) -> Result<HashMap<PartName, SavedFile>, FsError> {
    parts
        .par_iter()
        .filter_map(|(name, table)| match saved_metadata_version(table, name) {
            Ok(Some(saved)) => Some(Ok(((*name).clone(), saved))),
            Ok(None) => None,
            Err(error) => Some(Err(error)),
        })
        .collect()
}

fn saved_metadata_version(table: &Dir, part: &PartName) -> Result<Option<SavedFile>, FsError> {
    let part = match table.open_dir(part.as_str()) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result?,
    };
    let Some(stat) = part.find(METADATA_VERSION)? else { return Ok(None) };
    let bytes = part.find_and_read(METADATA_VERSION, METADATA_VERSION_LIMIT_BYTES)?;
    Ok(bytes.map(|bytes| SavedFile { stat, bytes }))
}

/// Gives a frozen part the metadata version that its freeze left out: linked from the live part while it is there,
/// else written from what was saved of it. Whether the part has one now; parts of old servers never had.
///
/// # Errors
/// If the file can be neither linked nor written.
pub fn take_metadata_version(
    live: &[LiveTable],
    part: &Dir,
    name: &PartName,
    saved: Option<&SavedFile>,
) -> Result<bool, FsError> {
    if part.find(METADATA_VERSION)?.is_some() {
        return Ok(true);
    }
    for table in live {
        let live_part = match table.dir.open_dir(name.as_str()) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            result => result?,
        };
        match part.link_from(&live_part, METADATA_VERSION, METADATA_VERSION) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    saved.map_or(Ok(false), |saved| part.write_copy(METADATA_VERSION, &saved.stat, &saved.bytes).map(|()| true))
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
