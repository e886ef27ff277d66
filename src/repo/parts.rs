//! `parts.jsonl.zst`: a line for each part of a snapshot.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::fs::Dir;
use crate::model::{Fingerprint, Ownership, PartName, PartitionId, Placement, SnapshotId, TableUuid};

use super::error::RepoError;

pub(super) const FILE: &str = "parts.jsonl.zst";

/// One part of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Its table's database.
    pub database: String,
    /// Its table.
    pub table: String,
    /// Its table's UUID, in Atomic databases.
    pub uuid: Option<TableUuid>,
    /// The disk that it was on.
    pub disk: String,
    /// Its partition.
    pub partition: PartitionId,
    /// Its name.
    pub part: PartName,
    /// Its fingerprint; none where its checksums cannot be read.
    pub fingerprint: Option<Fingerprint>,
    /// Rows, where the server listed the part.
    pub rows: Option<u64>,
    /// Sum of its files' sizes.
    pub bytes: u64,
    /// Its files, projections included.
    pub files: u64,
    /// How it was placed.
    pub placed: Placement,
    /// The snapshot that its files were linked from, if it was one.
    pub from: Option<SnapshotId>,
    /// Owner, group and mode of its directory.
    pub directory: Ownership,
    /// Modification time of its directory: seconds since 1970, and nanoseconds.
    pub directory_modified: (i64, u32),
    /// Owner, group and mode that most of its files have.
    pub ownership: Ownership,
    /// The files that have others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exceptions: Vec<(String, Ownership)>,
    /// The files that its `checksums.txt` does not cover.
    pub uncovered: Vec<PartFile>,
    /// Why its files cannot be checked against its `checksums.txt`, where they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<String>,
    /// What was wrong with it on the server already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
}

/// A file of a part that ClickHouse's checksums do not cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartFile {
    /// Its path, relative to the part.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of it, 64 hex digits; none for a file of data that is too large to be read while the snapshot is made.
    pub blake3: Option<String>,
}

/// Compression level: the listing is small, and level 3 costs less than the system calls around it.
const LEVEL: i32 = 3;

pub(super) fn encode(records: &[PartRecord]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL)?;
    let lines: Vec<Vec<u8>> = records.par_chunks(LINES_AT_ONCE).map(to_lines).collect::<Result<_, _>>()?;
    for lines in lines {
        encoder.write_all(&lines)?;
    }
    encoder.finish()
}

const LINES_AT_ONCE: usize = 256;

fn to_lines(records: &[PartRecord]) -> serde_json::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for record in records {
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// Longest line taken for a part: a name of 255 bytes, and a few hundred files that checksums do not cover.
const LINE_LIMIT_BYTES: u64 = 16 << 20;
const FILE_LIMIT_BYTES: u64 = 4 << 30;

/// Reads the parts of the snapshot in `snapshot`, whose `parts.jsonl.zst` must have this BLAKE3.
///
/// # Errors
/// If the file is missing, is not the one that the manifest speaks of, or does not read as a list of parts.
pub fn read_parts(snapshot: &Dir, blake3: &str) -> Result<Vec<PartRecord>, RepoError> {
    let damaged = |reason: String| RepoError::Damaged { path: snapshot.path().join(FILE), reason };
    let bytes = snapshot.read(FILE, FILE_LIMIT_BYTES)?;
    if blake3::hash(&bytes).to_hex().as_str() != blake3 {
        return Err(damaged("it is not the file that manifest.json speaks of (its digest differs)".to_owned()));
    }
    let decoder = zstd::Decoder::new(bytes.as_slice()).map_err(|error| damaged(error.to_string()))?;
    let mut reader = BufReader::new(decoder);
    let mut records = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_LIMIT_BYTES);
        limited.read_until(b'\n', &mut line).map_err(|error| damaged(error.to_string()))?;
        if line.is_empty() {
            return Ok(records);
        }
        let record =
            serde_json::from_slice(&line).map_err(|error| damaged(format!("line {}: {error}", records.len() + 1)))?;
        records.push(record);
    }
}
