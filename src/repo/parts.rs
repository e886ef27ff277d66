//! `parts.jsonl.zst`: a line for each part of a snapshot.

use std::io::{BufRead as _, BufReader, Read as _};
use std::sync::Arc;

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
/// There can be hundreds of thousands of them, so each must take few bytes: rare values are stored separately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRecord {
    /// Its table; all parts of a table may share one name.
    #[serde(flatten, with = "shared_name")]
    pub table: Arc<TableName>,
    /// Its table's UUID, in Atomic databases.
    pub uuid: Option<TableUuid>,
    /// The disk that it was on.
    pub disk: CompactString,
    /// Its partition.
    pub partition: PartitionId,
    /// Its name.
    pub part: PartName,
    /// Its fingerprint; `None` if its checksums cannot be read.
    pub fingerprint: Option<Fingerprint>,
    /// Its rows, if the server listed the part.
    pub rows: Option<u64>,
    /// Sum of its files' sizes.
    pub bytes: u64,
    /// Its files, projections included.
    pub files: u64,
    /// How it was placed.
    pub placed: Placement,
    /// The snapshot from which its files were linked, if there is one. For a linked part, this snapshot has the same
    /// part of the same table under the same inodes; for a copied part, it has the unchanged files.
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
    /// Why its files cannot be checked against its `checksums.txt`, if they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unverifiable: Option<String>,
    /// A digest of its rows, if one was requested and could be computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Box<PartDigest>>,
    /// The problems that it had on the server already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
    /// The files that were linked from other parts, if not all come from the same part of `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<Box<Joined>>,
    /// Metadata that the inodes in the snapshot do not hold, though their sources did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unkept: Vec<LostMetadataOf>,
}

impl PartRecord {
    /// The name of its table.
    #[must_use]
    pub fn table_name(&self) -> TableName {
        self.table.as_ref().clone()
    }
}

/// A table's name in a line of the list: the fields `database` and `table`.
mod shared_name {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::model::TableName;

    pub(super) fn serialize<S: Serializer>(name: &TableName, serializer: S) -> Result<S::Ok, S::Error> {
        name.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<TableName>, D::Error> {
        TableName::deserialize(deserializer).map(Arc::new)
    }
}

/// The fields that decide whether two parts, of any snapshots, have the same content.
type PartContent<'a> = (&'a PartName, Option<Fingerprint>, u64, u64, &'a UncoveredFiles, &'a [String]);

impl PartRecord {
    fn content(&self) -> PartContent<'_> {
        (&self.part, self.fingerprint, self.bytes, self.files, &self.uncovered, &self.damage)
    }

    /// Whether both lists record the same content for this part of this table, including owners and modes.
    #[must_use]
    pub fn is_recorded_alike(&self, other: &Self) -> bool {
        let names = |record: &Self| (Arc::clone(&record.table), record.uuid.clone());
        let metadata = |record: &Self| (record.directory, record.ownership, record.exceptions.clone());
        names(self) == names(other) && self.content() == other.content() && metadata(self) == metadata(other)
    }

    /// Whether the two records prove that both parts have the same bytes: by a fingerprint, and by the BLAKE3 of every
    /// file that the fingerprint does not cover, including `checksums.txt`. A part that is damaged, or cannot be
    /// compared with its checksums, proves nothing.
    #[must_use]
    pub fn proves_content_of(&self, other: &Self) -> bool {
        self.fingerprint.is_some()
            && self.unverifiable.is_none()
            && self.damage.is_empty()
            && self.content() == other.content()
            && self.uncovered.iter().all(|file| file.blake3.is_some())
            && self.uncovered.find("checksums.txt").is_some()
    }
}

/// Files of a part that were linked from other parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The part from which most of them come, as a path below the repository; `None` for files that an interrupted run
    /// had copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// How many.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// Metadata that the inode of a file or directory in the snapshot does not hold. Owners, groups and modes are not among
/// them: the list of parts has them anyway, and always those of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostMetadataOf {
    /// Its path, relative to the part; the part's own path is empty.
    pub path: String,
    /// Its modification time: seconds since 1970, and nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<(i64, u32)>,
    /// Its extended attributes, ACLs among them, by name; the values in base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(String, String)>,
}

/// A digest of the rows of a part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartDigest {
    /// Rows, less those that a lightweight deletion hides.
    pub rows: u64,
    /// The sum modulo 2^64, in decimal.
    pub sum: String,
    /// The scope of the sum: 16 hex digits over the server's version and the expression.
    pub of: String,
}

/// Compression level: the listing is small, and level 3 costs less than the system calls for writing it.
const LEVEL: i32 = 3;

/// Writes the list of parts into the snapshot in `dir`, and also into `copy` if there is one. Returns its BLAKE3 in hex
/// digits. The caller's sync of the filesystem makes it durable.
pub(super) fn write(dir: &Dir, records: &[PartRecord], mut copy: Option<&mut Vec<u8>>) -> Result<String, RepoError> {
    let unwritable =
        |error: std::io::Error| RepoError::Damaged { path: dir.path().to_owned(), reason: error.to_string() };
    // Compresses pieces of a known size, because a stream compressor needs several megabytes.
    let frame = |records: &[PartRecord]| {
        let mut frame = zstd::bulk::compress(&to_lines(records)?, LEVEL)?;
        frame.shrink_to_fit();
        Ok(frame)
    };
    // An empty list is a frame nevertheless.
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
            if let Some(copy) = &mut copy {
                copy.extend_from_slice(&frame);
            }
        }
    }
    file.close()?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Consecutive frames are one stream to a reader; each frame is compressed by its own thread.
const LINES_OF_A_FRAME: usize = 512;
/// How many lines are in memory at once.
const LINES_OF_A_BATCH: usize = 64 * LINES_OF_A_FRAME;

/// The usual size of a line.
const USUAL_LINE_BYTES: usize = 1024;

fn to_lines(records: &[PartRecord]) -> std::io::Result<Vec<u8>> {
    let mut lines = Vec::with_capacity(records.len() * USUAL_LINE_BYTES);
    for record in records {
        let before = lines.len();
        serde_json::to_writer(&mut lines, record)?;
        lines.push(b'\n');
        // A line that cannot be read back must not be sealed.
        if (lines.len() - before) as u64 > LINE_LIMIT_BYTES {
            return Err(std::io::Error::other(format!("there is too much to say of the part {}", record.part)));
        }
    }
    Ok(lines)
}

/// Longest accepted line of a part: a name of 255 bytes, and a few hundred files that checksums do not cover.
const LINE_LIMIT_BYTES: u64 = 16 << 20;
/// Enough for ten million parts.
const FILE_LIMIT_BYTES: u64 = 1 << 30;
/// The size to which a file may always expand, and the factor of its own size. The name, the times and the fingerprint
/// of each part are unique: a list of parts shrinks to a twentieth, and never to a thousandth.
const EXPANDED_BYTES: u64 = 64 << 20;
const EXPANSION: u64 = 1000;

/// Reads the parts of the snapshot in `snapshot`, whose `parts.jsonl.zst` must have this BLAKE3.
///
/// # Errors
/// If the file is missing, is not the one that the manifest names, cannot be parsed as a list of parts, or expands to
/// more than any list of parts does.
pub fn read_parts(snapshot: &Dir, blake3: &str) -> Result<Vec<PartRecord>, RepoError> {
    parse(&snapshot.read(FILE, FILE_LIMIT_BYTES)?, blake3, snapshot)
}

/// Reads the parts of the snapshot in `snapshot` from the bytes of its `parts.jsonl.zst`.
pub(super) fn parse(bytes: &[u8], blake3: &str, snapshot: &Dir) -> Result<Vec<PartRecord>, RepoError> {
    let damaged = |reason: String| RepoError::Damaged { path: snapshot.path().join(FILE), reason };
    if blake3::hash(bytes).to_hex().as_str() != blake3 {
        return Err(damaged("it is not the file that manifest.json speaks of (its digest differs)".to_owned()));
    }
    let mut left = EXPANDED_BYTES.max(EXPANSION.saturating_mul(bytes.len() as u64));
    let decoder = zstd::Decoder::new(bytes).map_err(|error| damaged(error.to_string()))?;
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
        if let Some(last) = records.last().filter(|last| last.uuid == record.uuid && last.table == record.table) {
            // All parts of a table share these texts.
            record.uuid.clone_from(&last.uuid);
            record.table = Arc::clone(&last.table);
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
            let mut copy = Vec::new();
            let digest = write(&dir, &records, Some(&mut copy)).expect("it is written");
            let bytes = std::fs::read(folder.path().join(FILE)).expect("it is there");
            assert_eq!(digest, blake3::hash(&bytes).to_hex().as_str());
            assert!(copy == bytes, "{count} records");
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
        // The memory of the test itself is free again: reading needs less than that, so the peak stays.
        assert!(peak_bytes() - made < 300 << 20, "{before} {made} {}", peak_bytes());
    }
}
