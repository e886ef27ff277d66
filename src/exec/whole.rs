//! Checks whether a directory holds a whole part, for commands that take parts which others have put there.

use crate::checksums::{Checksums, hash_bytes};
use crate::fs::{Dir, FsError};
use crate::model::escape_for_file_name;

use super::inspect::{CHECKSUMS, Inspected, PartFiles, inspect_to_copy};
use super::packed::PACKED;

/// A part on disk, and the number of rows that it claims.
#[derive(Clone, Debug)]
pub struct WholePart {
    /// The inspection; everything that a whole part has and this one lacks is among its problems.
    pub inspected: Inspected,
    /// Its rows by `count.txt`, or, for the oldest kind of parts, by the size of a column; `None` if neither gives
    /// them.
    pub rows: Option<u64>,
}

pub(super) const COLUMNS: &str = "columns.txt";
/// The number of rows of a part as the server wrote it: one number.
const COUNT: &str = "count.txt";
const COUNT_LIMIT_BYTES: u64 = 64;
const LIST_LIMIT_BYTES: u64 = 64 << 20;

/// Inspects a part about which nothing is known. Every part of the MergeTree family has `checksums.txt` and
/// `columns.txt`, as files or in its archive: without one of them it is not whole, and neither is one whose `count.txt`
/// is not the one that `checksums.txt` lists.
///
/// # Errors
/// If something cannot be read; whatever is wrong with the part itself is in the answer.
pub fn inspect_whole(dir: &Dir) -> Result<WholePart, FsError> {
    let (mut inspected, files) = inspect_to_copy(dir, dir.entries_with_kind()?)?;
    inspected.problems.extend(missing(&files));
    let rows = match rows(&files)? {
        Ok(None) => rows_by_columns(dir)?,
        Ok(rows) => rows,
        Err(problem) => {
            inspected.problems.push(problem);
            None
        }
    };
    Ok(WholePart { inspected, rows })
}

/// The files that a whole part has and this one lacks, in itself and in its projections.
fn missing(files: &PartFiles) -> Vec<String> {
    let has = |directory: &str, name: &str| files.contents.below(directory).1.iter().any(|file| file.name == name);
    let mut problems = Vec::new();
    if !has("", PACKED) {
        let lacked = [CHECKSUMS, COLUMNS].into_iter().filter(|name| !has("", name));
        problems.extend(lacked.map(|name| format!("its file {name} is missing")));
    }
    let projections = files.contents.directories.iter().filter(|name| name.strip_suffix(".proj").is_some());
    let lacking = projections.filter(|name| !has(name, PACKED) && !has(name, COLUMNS));
    problems.extend(lacking.map(|name| format!("its file {name}/{COLUMNS} is missing")));
    problems
}

/// The number of rows of a part of the oldest kind, which has no `count.txt`: the bytes of a column before compression,
/// divided by the size of a value (`IMergeTreeDataPart::loadRowsCount` does the same).
fn rows_by_columns(dir: &Dir) -> Result<Option<u64>, FsError> {
    let text = |name: &str| dir.find_and_read(name, LIST_LIMIT_BYTES);
    let (Some(checksums), Some(columns)) = (text(CHECKSUMS)?, text(COLUMNS)?) else { return Ok(None) };
    let Ok(checksums) = Checksums::parse(&checksums) else { return Ok(None) };
    let bytes_of = |column: &str| {
        let file = format!("{}.bin", escape_for_file_name(column));
        let mut files = checksums.files();
        let (_, found) = files.find(|(name, _)| name.as_bytes() == file.as_bytes())?;
        found.uncompressed.map(|(bytes, _)| bytes)
    };
    let columns = String::from_utf8_lossy(&columns);
    Ok(fixed_columns(&columns).find_map(|(column, value_bytes)| {
        let bytes = bytes_of(&column)?;
        (bytes % value_bytes == 0).then(|| bytes / value_bytes)
    }))
}

/// The columns whose values all have the same size, and that size in bytes, by the lines of a `columns.txt`: `` `name`
/// Type ``.
fn fixed_columns(text: &str) -> impl Iterator<Item = (String, u64)> {
    text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix('`')?.rsplit_once("` ")?;
        // A name with a backslash or a backquote would have to be parsed by ClickHouse's rules; another column serves
        // as well.
        let is_plain = !name.contains(['\\', '`']);
        is_plain.then_some(())?;
        Some((name.to_owned(), value_bytes(kind)?))
    })
}

/// The size of each value of a type, in bytes.
fn value_bytes(kind: &str) -> Option<u64> {
    let name = kind.split('(').next().unwrap_or_default();
    match name {
        "Int8" | "UInt8" | "Enum8" => Some(1),
        "Int16" | "UInt16" | "Enum16" | "Date" => Some(2),
        "Int32" | "UInt32" | "Float32" | "DateTime" => Some(4),
        "Int64" | "UInt64" | "Float64" => Some(8),
        "UUID" => Some(16),
        "FixedString" => kind.strip_prefix("FixedString(")?.strip_suffix(')')?.parse().ok().filter(|bytes| *bytes > 0),
        _ => None,
    }
}

/// The number in `count.txt`, or the problem with that file.
fn rows(files: &PartFiles) -> Result<Result<Option<u64>, String>, FsError> {
    let Some(file) = files.contents.below("").1.iter().find(|file| file.name == COUNT) else { return Ok(Ok(None)) };
    if file.stat.size_bytes > COUNT_LIMIT_BYTES {
        return Ok(Err(format!("its file {COUNT} is no number")));
    }
    let bytes = file.dir.read(COUNT, COUNT_LIMIT_BYTES)?;
    if files.recorded.get(COUNT).is_some_and(|(_, hash)| *hash != hash_bytes(&bytes)) {
        return Ok(Err(format!("its file {COUNT} is another one than its {CHECKSUMS} says")));
    }
    let number = String::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok());
    Ok(number.map(Some).ok_or_else(|| format!("its file {COUNT} is no number")))
}

#[cfg(test)]
mod tests {
    use super::fixed_columns;

    #[test]
    fn columns_of_one_size_tell_the_rows_of_a_part_without_a_count() {
        let text = "columns format version: 1\n7 columns:\n`s` String\n`d` Date\n`n` Nullable(UInt8)\n`f` FixedString(3)\n\
            `t` DateTime('UTC')\n`odd\\`name` UInt8\n`zero` FixedString(0)\n`a b` Enum16('x' = 1)\n";
        let found: Vec<(String, u64)> = fixed_columns(text).collect();
        let named = |name: &str, bytes| (name.to_owned(), bytes);
        assert_eq!(found, [named("d", 2), named("f", 3), named("t", 4), named("a b", 2)]);
    }
}
