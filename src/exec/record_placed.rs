//! Records the result of a copy: the inodes that a part has now, the metadata that they do not hold, and damage at its
//! source.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rayon::prelude::*;

use crate::fs::{ContentDigest, Dir, FsError, Hashing, Xattrs};
use crate::repo::LostMetadataOf;

use super::ExecError;
use super::inspect::{Inspected, PartFiles};
use super::inspect_files::{InspectedFile, list};
use super::join::PreservedMetadata;
use super::problems::Problems;

/// Builds the record of a part that was copied or joined to `part`, from what was `inspected` at its source: it has the
/// inodes of now, and lists what they do not hold of their sources.
///
/// # Errors
/// If something cannot be read, or not every file of the source is there with its size.
pub fn record_placed(
    part: &Dir,
    source: &Dir,
    files: &PartFiles,
    mut inspected: Inspected,
    keeping: PreservedMetadata,
) -> Result<(Inspected, Vec<LostMetadataOf>), ExecError> {
    let placed = list(part, part.entries_with_kind()?, &[])?;
    let sources = &files.contents.files;
    let is_same = |(placed, source): (&InspectedFile, &InspectedFile)| {
        placed.path() == source.path() && placed.stat.size_bytes == source.stat.size_bytes
    };
    if placed.files.len() != sources.len() || !placed.files.iter().zip(sources).all(is_same) {
        let path = part.path().to_owned();
        return Err(ExecError::Foreign { path, what: "not what was copied to it" });
    }
    let mut unkept = Vec::new();
    let mut lacks = |path: String, modified: Option<(i64, u32)>, xattrs: Xattrs| {
        let xattrs: Vec<(String, String)> =
            xattrs.into_iter().filter_map(|(name, value)| Some((name, STANDARD.encode(value?)))).collect();
        if modified.is_some() || !xattrs.is_empty() {
            unkept.push(LostMetadataOf { path, modified, xattrs });
        }
    };
    if !keeping.xattrs {
        lacks(String::new(), None, source.own_xattrs()?);
    }
    for (placed, source) in placed.files.iter().zip(sources) {
        let modified = (placed.stat.modified != source.stat.modified).then_some(source.stat.modified);
        let xattrs = if keeping.xattrs { Xattrs::new() } else { source.dir.xattrs_of(&source.name)? };
        lacks(source.path(), modified, xattrs);
    }
    let directory = part.stat_self()?;
    // Owner, group and mode are always those of the source; if the copy has them too, they are the same.
    inspected.directory_modified = directory.modified;
    inspected.directory_bytes = directory.allocated_bytes + placed.directory_bytes;
    inspected.links = placed.links();
    Ok((inspected, unkept))
}

/// Reads all files that a part's checksums cover, and names those that do not match.
///
/// # Errors
/// If something cannot be read.
pub fn damage_in(files: &PartFiles) -> Result<Vec<String>, FsError> {
    let wrong = |file: &InspectedFile| -> Result<Option<String>, FsError> {
        let path = file.path();
        let Some((bytes, hash)) = files.recorded.get(&path).copied() else { return Ok(None) };
        let found = file.dir.hash_file(&file.name, Hashing::ClickHouse)?;
        let (size, found) = (
            file.stat.size_bytes,
            found.filter(|found| *found != ContentDigest::ClickHouse(hash) || file.stat.size_bytes != bytes),
        );
        Ok(found.map(|found| {
            format!("its file {path} has {size} bytes with the hash {found}, and its checksums.txt says {bytes} bytes with the hash {hash}")
        }))
    };
    let found: Vec<Option<String>> = files.contents.files.par_iter().map(wrong).collect::<Result<_, _>>()?;
    let mut problems = Problems::default();
    found.into_iter().flatten().for_each(|problem| problems.push(|| problem));
    Ok(problems.into_list())
}
