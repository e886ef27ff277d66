//! Recognizes, on another filesystem, parts that are equal to those of an earlier snapshot, by their content.

use std::collections::HashMap;

use chrono::{DateTime, Utc};

use crate::fs::{Dir, EntryKind, FsError, Stat};
use crate::model::Ownership;
use crate::repo::{PartFile, PartRecord};

use super::inspect::hash;
use super::inspect_files::{Contents, InspectedFile};
use super::join::PreservedMetadata;
use super::listed_live_part::ListedLivePart;

/// A table in an earlier snapshot.
#[derive(Clone, Copy, Debug)]
pub struct EarlierTableDir<'a> {
    /// Its directory.
    pub dir: &'a Dir,
    /// When that snapshot was begun.
    pub since: DateTime<Utc>,
}

/// How it is proven that the files which checksums do not cover are those of the earlier snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentProof {
    /// The files are read and compared with the BLAKE3 that was recorded.
    Read,
    /// Two records have the same BLAKE3.
    Recorded,
}

/// A part of an earlier snapshot that is the same as a live one.
pub(super) struct EqualPart {
    pub dir: Dir,
    pub contents: Contents,
}

/// Returns the part of `held` that `record` describes, if the live part is equal to it.
///
/// Equal means: the names are the same, projections included; every file that checksums do not cover, `checksums.txt`
/// itself first of all, has the BLAKE3 that the snapshot recorded; and every file has the size, owner, group, mode,
/// modification time and attributes of the file there, if copies preserve them, or else those that were recorded. No
/// file of data is read.
///
/// # Errors
/// If something is there and cannot be read.
pub(super) fn equal_part(
    listed: &ListedLivePart,
    held: EarlierTableDir<'_>,
    record: &PartRecord,
    (keeping, proof): (PreservedMetadata, ContentProof),
) -> Result<Option<EqualPart>, FsError> {
    let earlier = held.dir.open_for_all_entries(record.part.as_str())?;
    let names = &listed.names;
    let Some(live) = names.clone().ask(&listed.dirs, &[], |_, _| true)? else { return Ok(None) };
    if !live.is_as_recorded(record) {
        return Ok(None);
    }
    let Some(contents) = names.clone().ask_in(&earlier, |_, held| held.kind == EntryKind::File)? else {
        return Ok(None);
    };
    let is_equal = has_same_metadata(&live, &contents, held.since, record, keeping)?
        && (proof == ContentProof::Recorded
            || record.uncovered.iter().all(|file| is_recorded(&live, &file).unwrap_or(false)));
    Ok(is_equal.then_some(EqualPart { dir: earlier, contents }))
}

fn has_same_metadata(
    live: &Contents,
    earlier: &Contents,
    since: DateTime<Utc>,
    record: &PartRecord,
    keeping: PreservedMetadata,
) -> Result<bool, FsError> {
    let exceptions: HashMap<&str, Ownership> =
        record.exceptions.iter().map(|(path, ownership)| (path.as_str(), *ownership)).collect();
    let times: HashMap<&str, (i64, u32)> =
        record.unkept.iter().filter_map(|file| Some((file.path.as_str(), file.modified?))).collect();
    let has_recorded_xattrs = record.unkept.iter().any(|file| !file.xattrs.is_empty());
    if has_recorded_xattrs {
        // Rare enough that copying again is fine.
        return Ok(false);
    }
    for (file, held) in live.files.iter().zip(&earlier.files) {
        let stat = file.stat;
        let recorded = of_file(&exceptions, file).unwrap_or(record.ownership);
        let modified = of_file(&times, file).unwrap_or(held.stat.modified);
        let is_same = (&file.directory, &file.name) == (&held.directory, &held.name)
            && stat.size_bytes == held.stat.size_bytes
            && stat.ownership == recorded
            && stat.modified == modified
            && keeping.is_same(&stat, &Stat { modified, ..held.stat });
        if !is_same {
            return Ok(false);
        }
        // A file that has not changed since before that snapshot was begun has the attributes that it had then, so it
        // need not be opened. One second allows for the coarser clock by which inodes are stamped.
        if file.stat.changed.0 >= since.timestamp() - 1
            && !keeping.has_same_xattrs((&file.dir, &file.name), (&held.dir, &held.name))?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Looks up the value for a file by its path; most files have none.
fn of_file<T: Copy>(said: &HashMap<&str, T>, file: &InspectedFile) -> Option<T> {
    if said.is_empty() { None } else { said.get(file.path().as_str()).copied() }
}

/// Whether a live file has the recorded size and BLAKE3.
fn is_recorded(live: &Contents, recorded: &PartFile) -> Result<bool, FsError> {
    let (directory, name) = recorded.path.rsplit_once('/').unwrap_or(("", &recorded.path));
    let (_, files) = live.below(directory);
    let Some(file) = files.iter().find(|file| file.name == name) else { return Ok(false) };
    let Some(blake3) = recorded.blake3.filter(|_| file.stat.size_bytes == recorded.bytes) else {
        return Ok(false);
    };
    Ok(hash(file)? == Some(blake3))
}
