//! Files of a live part that a freeze leaves out, and those that no copy of it has.

use std::ffi::OsStr;

use crate::fs::{Dir, Entry, Stat};

use super::read_file::ReadFile;

/// Files that a freeze leaves out although the part is wrong without them: read beside the freeze, so that a merge
/// before they can be linked loses none. Whatever else a live part has and its frozen copy has not is linked too.
///
/// Source: `DataPartStorageOnDiskBase::freeze`, which removes the first; of the second, made by `ATTACH` and
/// `REPLACE PARTITION … FROM`, it was seen on 26.9: without it the part takes another table's block numbers for its own.
pub(super) const LEFT_OUT: [&str; 2] = ["metadata_version.txt", "invalidated_system_columns.txt"];
/// Files that no checksums cover and whose content the list of parts holds: read beside the freeze too, while the server
/// works, so that nobody need wait for them after it.
pub(super) const READ_EARLY: [&str; 3] = ["columns.txt", "columns_substreams.txt", "default_compression_codec.txt"];
/// They hold a number, or a few names.
pub(super) const SMALL_BYTES: u64 = 1 << 20;

/// Files by their names, as they are now.
pub(super) type Asked = Vec<(&'static str, Stat)>;

/// Reads the small files of a part that no checksums cover, as far as they can be read, and gives their inodes beside that.
pub(super) fn read_small(part: &Dir, entries: &[Entry]) -> (Vec<ReadFile>, Asked) {
    let is_there = |name: &&str| entries.iter().any(|entry| entry.name == *name);
    read_those(part, LEFT_OUT.into_iter().chain(READ_EARLY).filter(is_there)).unzip()
}

/// Reads these files of a part. One that is not as usual is passed over, for the check to judge.
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

/// Files of a live part that are its server's own affair: transaction state is rewritten in place, and a part that
/// is marked for deletion would be deleted again.
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
