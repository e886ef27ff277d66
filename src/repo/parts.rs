//! `parts.jsonl.zst`: a line for each part of a snapshot.

use std::io::{BufRead as _, BufReader, Read as _};

use compact_str::CompactString;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::fs::Dir;
use crate::model::{Fingerprint, Ownership, PartName, PartitionId, Placement, SnapshotId, TableName, TableUuid};

use super::error::RepoError;
use super::uncovered::UncoveredFiles;

pub(super) const FILE: &str = "parts.jsonl.zst";

/// One part of a snapshot.
///
/// There can be hundreds of thousands of them, so that each takes few bytes: what is rare is kept elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Its table's database.
    pub database: CompactString,
    /// Its table.
    pub table: CompactString,
    /// Its table's UUID, in Atomic databases.
    pub uuid: Option<TableUuid>,
    /// The disk that it was on.
    pub disk: CompactString,
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
    /// The snapshot that its files were linked from, if it was one: of a part that was linked, where it is the same part
    /// of the same table under the same inodes; of one that was copied, where its unchanged files are.
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
    pub uncovered: UncoveredFiles,
    /// Why its files cannot be checked against its `checksums.txt`, where they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<String>,
    /// A sum over its rows, where one was asked for and could be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Box<PartDigest>>,
    /// What was wrong with it on the server already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
    /// The files that were linked from other parts, where not all are from the same part of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Box<Joined>>,
    /// What the inodes in the snapshot do not hold, though their sources did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unkept: Vec<UnkeptOf>,
}

impl PartRecord {
    /// The name of its table.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        TableName::new(self.database.clone(), self.table.clone())
    }
}

/// Files of a part that were linked from other parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The part that most of them are from, as a path below the repository; none for what an interrupted run had copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How many.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// What the inode of a file, or of a directory, in the snapshot does not hold. Owners, groups and modes the list of parts
/// has anyway, and always the source's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnkeptOf {
    /// Its path, relative to the part, whose own is empty.
    pub path: String,
    /// Its modification time: seconds since 1970, and nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<(i64, u32)>,
    /// Its extended attributes, ACLs among them, by name; the values in base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(String, String)>,
}

/// A sum over the rows of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDigest {
    /// Rows, less those that a lightweight deletion hides.
    pub rows: u64,
    /// The sum modulo 2^64, in decimal.
    pub sum: String,
    /// What it is the sum of: 16 hex digits over the server's version and the expression.
    pub of: String,
}

/// Compression level: the listing is small, and level 3 costs less than the system calls around it.
const LEVEL: i32 = 3;

/// Writes the list of parts into the snapshot in `dir`, and gives its BLAKE3 in hex digits. To be made durable by whoever
/// syncs the filesystem.
pub(super) fn write(dir: &Dir, records: &[PartRecord]) -> Result<String, RepoError> {
    let unwritable =
        |error: std::io::Error| RepoError::Damaged { path: dir.path().to_owned(), reason: error.to_string() };
    // For pieces of a known size: what a compressor of streams needs is several megabytes.
    let frame = |records: &[PartRecord]| {
        let mut frame = zstd::bulk::compress(&to_lines(records)?, LEVEL)?;
        frame.shrink_to_fit();
        Ok(frame)
    };
    // A list of nothing is a frame all the same.
    let batches = if records.is_empty() { vec![records] } else { records.chunks(LINES_OF_A_BATCH).collect() };
    let mut hasher = blake3::Hasher::new();
    let mut file = dir.begin_file(FILE, 0o640)?;
    for batch in batches {
        let frames =
            if batch.is_empty() { vec![frame(batch)] } else { batch.par_chunks(LINES_OF_A_FRAME).map(frame).collect() };
        for frame in frames {
            let frame = frame.map_err(unwritable)?;
            hasher.update(&frame);
            file.write(&frame)?;
        }
    }
    file.close()?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Frames that follow each other are one stream to whoever reads it; each is made by a thread of its own.
const LINES_OF_A_FRAME: usize = 512;
/// So many lines are in memory at once.
const LINES_OF_A_BATCH: usize = 64 * LINES_OF_A_FRAME;

/// What a line usually takes.
const USUAL_LINE_BYTES: usize = 1024;

fn to_lines(records: &[PartRecord]) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(records.len() * USUAL_LINE_BYTES);
    for record in records {
        let before = lines.len();
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
        // What nobody could read back must not be sealed.
        if (lines.len() - before) as u64 > LINE_LIMIT_BYTES {
            return Err(std::io::Error::other(format!("there is too much to say of the part {}", record.part)));
        }
    }
    Ok(lines)
}

/// Longest line taken for a part: a name of 255 bytes, and a few hundred files that checksums do not cover.
const LINE_LIMIT_BYTES: u64 = 16 << 20;
/// Ten million parts.
const FILE_LIMIT_BYTES: u64 = 1 << 30;
/// What a file may always expand to, and how often its own size. The name, the times and the fingerprint of each part
/// are its own: a list of parts shrinks to a twentieth, and never to a thousandth.
const EXPANDED_BYTES: u64 = 64 << 20;
const EXPANSION: u64 = 1000;

/// Reads the parts of the snapshot in `snapshot`, whose `parts.jsonl.zst` must have this BLAKE3.
///
/// # Errors
/// If the file is missing, is not the one that the manifest speaks of, does not read as a list of parts, or expands to
/// more than any list of parts does.
pub fn read_parts(snapshot: &Dir, blake3: &str) -> Result<Vec<PartRecord>, RepoError> {
    let damaged = |reason: String| RepoError::Damaged { path: snapshot.path().join(FILE), reason };
    let bytes = snapshot.read(FILE, FILE_LIMIT_BYTES)?;
    if blake3::hash(&bytes).to_hex().as_str() != blake3 {
        return Err(damaged("it is not the file that manifest.json speaks of (its digest differs)".to_owned()));
    }
    let mut left = EXPANDED_BYTES.max(EXPANSION.saturating_mul(bytes.len() as u64));
    let decoder = zstd::Decoder::new(bytes.as_slice()).map_err(|error| damaged(error.to_string()))?;
    let mut reader = BufReader::new(decoder);
    let mut records: Vec<PartRecord> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE_LIMIT_BYTES);
        limited.read_until(b'\n', &mut line).map_err(|error| damaged(error.to_string()))?;
        if line.is_empty() {
            return Ok(records);
        }
        left = left
            .checked_sub(line.len() as u64)
            .ok_or_else(|| damaged(format!("its {} bytes expand to more than any list of parts", bytes.len())))?;
        let mut record: PartRecord =
            serde_json::from_slice(&line).map_err(|error| damaged(format!("line {}: {error}", records.len() + 1)))?;
        if let Some(last) = records.last().filter(|last| last.uuid == record.uuid) {
            // One text for all parts of a table.
            record.uuid.clone_from(&last.uuid);
        }
        records.push(record);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::{FILE, LINES_OF_A_BATCH, LINES_OF_A_FRAME, PartRecord, read_parts, write};
    use crate::fs::{Dir, real};

    const LINE: &str = r#"{"database":"d","table":"t","uuid":null,"disk":"default","partition":"all","part":"all_1_1_0","fingerprint":null,"rows":null,"bytes":0,"files":0,"placed":"renamed","from":null,"directory":{"uid":0,"gid":0,"mode":0},"directory_modified":[0,0],"ownership":{"uid":0,"gid":0,"mode":0},"uncovered":[]}"#;

    /// Highest resident memory of this process so far.
    fn peak_bytes() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }

    fn refused(bytes: &[u8]) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(FILE), bytes).expect("written");
        let dir = Dir::open(folder.path(), real()).expect("it opens");
        read_parts(&dir, blake3::hash(bytes).to_hex().as_str()).expect_err("no list of parts").to_string()
    }

    #[test]
    fn lists_of_none_one_and_several_frames_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Dir::open(folder.path(), real()).expect("it opens");
        let record: PartRecord = serde_json::from_str(LINE).expect("a line");
        for count in [0, 1, LINES_OF_A_FRAME, 2 * LINES_OF_A_FRAME + 1, LINES_OF_A_BATCH + 1] {
            let numbered = |bytes| PartRecord { bytes: bytes as u64, ..record.clone() };
            let records: Vec<PartRecord> = (0..count).map(numbered).collect();
            let digest = write(&dir, &records).expect("it is written");
            let bytes = std::fs::read(folder.path().join(FILE)).expect("it is there");
            assert_eq!(digest, blake3::hash(&bytes).to_hex().as_str());
            let read = read_parts(&dir, &digest).expect("it is read");
            std::fs::remove_file(folder.path().join(FILE)).expect("removed");
            assert!(read == records, "{count} records, {} of them read", read.len());
            let whole = zstd::decode_all(bytes.as_slice()).expect("one stream");
            assert_eq!(whole.split(|byte| *byte == b'\n').count(), count + 1);
        }
    }

    #[test]
    fn a_file_that_expands_to_gigabytes_is_refused_in_little_memory() {
        let before = peak_bytes();
        let lines = [LINE.as_bytes(), b"\n"].concat().repeat(3_000_000);
        let bomb = zstd::encode_all(lines.as_slice(), 1).expect("it shrinks");
        let made = peak_bytes();
        drop(lines);
        assert!(refused(&bomb).contains("expand to more than any list of parts"));
        let one_line = zstd::encode_all(std::io::repeat(b'x').take(1 << 30), 1).expect("it shrinks");
        assert!(one_line.len() < 200_000 && refused(&one_line).contains("line 1"));
        // What the test itself took is free again: reading needs less than that, so the peak stays.
        assert!(peak_bytes() - made < 300 << 20, "{before} {made} {}", peak_bytes());
    }
}
