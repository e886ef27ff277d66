//! The files of a part as ClickHouse's own `BACKUP` lists them: path, size, and the hash of `checksums.txt`.

use crate::checksums::{Checksums, ChecksumsError, FileHash};
use crate::fs::{ContentDigest, Dir, FsError, Hashing, ReadOptions};

use super::inspect::{inspect_to_copy, read_checksums_file};
use super::packed::PACKED;

/// A file of a part with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedFile {
    /// Its path, relative to the part.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The hash of its bytes; zero for an empty file.
    pub hash: FileHash,
    /// Its device and inode: files with equal ones hold the same bytes.
    pub inode: (u64, u64),
    /// Whether the hash comes from reading its bytes, rather than from `checksums.txt`.
    pub was_read: bool,
}

/// The files of a part, or the reason why they have no meaningful hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashedPart {
    /// The files.
    Files(Vec<HashedFile>),
    /// The files are ciphertext: the part is on an encrypted disk.
    Encrypted,
}

/// The first bytes of a file on an encrypted disk (`FileEncryptionCommon.cpp` of ClickHouse).
const ENCRYPTED_MAGIC: &[u8] = b"ENC";

/// Lists a part. The hash of a file comes from its `checksums.txt` if the part `is_trusted`, is whole and can be
/// compared with that file. Everything else is read: files that `checksums.txt` does not cover, inverted indices of the
/// old kind, and every file of a part that has a problem.
///
/// # Errors
/// If something cannot be read.
pub fn hash_part(dir: &Dir, is_trusted: bool, options: ReadOptions<'_>) -> Result<HashedPart, FsError> {
    let is_encrypted = match read_checksums_file(dir)? {
        Some((_, text)) => matches!(Checksums::parse(&text), Err(ChecksumsError::Encrypted)),
        None => match dir.find(PACKED)? {
            Some(_) => dir.read_range(PACKED, 0..ENCRYPTED_MAGIC.len() as u64)? == ENCRYPTED_MAGIC,
            None => false,
        },
    };
    if is_encrypted {
        return Ok(HashedPart::Encrypted);
    }
    let (inspected, files) = inspect_to_copy(dir, dir.entries_with_kind()?)?;
    let is_whole = is_trusted && inspected.problems.is_empty() && inspected.unverifiable.is_none();
    let mut hashed = Vec::with_capacity(files.contents.files.len());
    for file in &files.contents.files {
        let path = file.path();
        let recorded = files.recorded.get(&path).filter(|(bytes, _)| is_whole && *bytes == file.stat.size_bytes);
        let hash = match recorded {
            Some((_, hash)) => Some(*hash),
            None => match file.dir.hash_whole(&file.name, Hashing::ClickHouse, options)?.1 {
                Some(ContentDigest::ClickHouse(hash)) => Some(hash),
                _ => None,
            },
        };
        hashed.push(HashedFile {
            path,
            bytes: file.stat.size_bytes,
            hash: hash.unwrap_or_default(),
            inode: (file.stat.device, file.stat.inode),
            was_read: recorded.is_none(),
        });
    }
    Ok(HashedPart::Files(hashed))
}

/// Bytes that are compared in one step.
const PIECE_BYTES: u64 = 1 << 20;

/// Whether two files of the same size hold the same bytes.
///
/// # Errors
/// If one cannot be read.
pub fn have_same_bytes((one, one_name): (&Dir, &str), (other, other_name): (&Dir, &str)) -> Result<bool, FsError> {
    let mut at = 0;
    loop {
        let piece = one.read_range(one_name, at..at + PIECE_BYTES)?;
        if piece != other.read_range(other_name, at..at + PIECE_BYTES)? {
            return Ok(false);
        }
        if (piece.len() as u64) < PIECE_BYTES {
            return Ok(true);
        }
        at += PIECE_BYTES;
    }
}
