//! The files of a live part that a freeze leaves out, and those that no copy of it has.

use std::ffi::OsStr;

use crate::fs::{Dir, Entry, Stat};

use super::read_file::ReadFile;

/// Files that a freeze leaves out although the part is wrong without them. They are read while the freeze runs, so that
/// a merge before they can be linked loses none. Any other file that a live part has and its frozen copy lacks is
/// linked too.
///
/// Source: `DataPartStorageOnDiskBase::freeze`, which removes the first. The second, made by `ATTACH` and `REPLACE
/// PARTITION … FROM`, was seen on 26.9: without it the part takes another table's block numbers for its own.
pub(super) const LEFT_OUT: [&str; 2] = ["metadata_version.txt", "invalidated_system_columns.txt"];
/// Files that no checksums cover and whose content the list of parts holds. They are also read while the freeze runs,
/// so that reading them takes no time after it.
pub(super) const READ_EARLY: [&str; 3] = ["columns.txt", "columns_substreams.txt", "default_compression_codec.txt"];
/// The files hold a number, or a few names.
pub(super) const SMALL_BYTES: u64 = 1 << 20;

/// Files by their names, as they are now.
pub(super) type StatsByName = Vec<(&'static str, Stat)>;

/// Reads the small files of a part that no checksums cover, skips those that cannot be read, and also returns their
/// inodes.
pub(super) fn read_small(part: &Dir, entries: &[Entry]) -> (Vec<ReadFile>, StatsByName) {
    let is_there = |name: &&str| entries.iter().any(|entry| entry.name == *name);
    read_those(part, LEFT_OUT.into_iter().chain(READ_EARLY).filter(is_there)).unzip()
}

/// Reads the named files of a part. An unusual file is skipped; the check judges it.
pub(super) fn read_those(
    part: &Dir,
    names: impl Iterator<Item = &'static str>,
) -> impl Iterator<Item = (ReadFile, (&'static str, Stat))> {
    names.filter_map(|name| {
        let (stat, bytes) = part.read_with_stat(name, SMALL_BYTES).ok()?;
        Some((ReadFile::new(name, stat, &bytes), (name, stat)))
    })
}

/// Whether a part has one of the files that a freeze leaves out.
#[must_use]
pub fn has_left_out(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| LEFT_OUT.iter().any(|name| entry.name == *name))
}

/// Whether an entry belongs in a copy. Some files of a live part concern only its server: transaction state is
/// rewritten in place, and a part that is marked for deletion would be deleted again.
///
/// Source: `DataPartStorageOnDiskBase::freeze`, which leaves out the same.
#[must_use]
pub fn belongs_in_a_copy(entry: &Entry) -> bool {
    belongs(&entry.name)
}

pub(super) fn belongs(name: &OsStr) -> bool {
    let is_its_own = |name| matches!(name, "txn_version.txt" | "delete-on-destroy.txt");
    name.to_str().is_some_and(|name| !is_temporary(name) && !is_its_own(name))
}

fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|stem| !stem.is_empty())
}
