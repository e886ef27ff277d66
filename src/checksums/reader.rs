//! `checksums.txt` as a value.

use crate::model::Fingerprint;

use super::blocks;
use super::cityhash::FileHash;
use super::error::ChecksumsError::{
    self, DuplicateName, Encrypted, Malformed, Name, SizeOverflow, TrailingBytes, Truncated, UnsupportedVersion,
};
use super::file_name::FileName;
use super::fingerprint;
use super::input::Input;

/// The first bytes of a file on an encrypted disk (`FileEncryptionCommon.cpp` of `ClickHouse`).
const ENCRYPTED_MAGIC: &[u8] = b"ENC";

/// Room for at most this many entries is allocated at once, whatever the input claims.
const USUAL_ENTRIES: usize = 1024;

/// The record of one entry in `checksums.txt`.
///
/// For a projection the size is the sum of the sizes in the projection's own `checksums.txt`, and
/// the hash is its fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileChecksum {
    /// The size of the file on disk, in bytes.
    pub size: u64,
    /// The hash of the bytes on disk.
    pub hash: FileHash,
    /// For a file of compressed columns, the size in bytes and the hash before compression. For `data.bin` of a compact
    /// part that hash covers the columns in a different order: do not verify by it.
    pub uncompressed: Option<(u64, FileHash)>,
}

/// The entries of one `checksums.txt`.
///
/// Invariant: the names are valid, unique and in bytewise order, and the sizes add up to at most `u64::MAX` bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksums {
    entries: Vec<(FileName, FileChecksum)>,
    total_bytes: u64,
}

impl Checksums {
    /// Reads a `checksums.txt` of format version 2 (text), 3 (binary) or 4 (binary in compressed
    /// blocks, each verified by its own hash).
    ///
    /// Versions 2 and 3 carry no hash of themselves, so damage inside a number goes unnoticed here.
    /// Memory is bounded by the input and by 64 MiB of decompressed entries, not by any size that
    /// the input claims. Never panics.
    ///
    /// # Errors
    /// [`ChecksumsError`]; of these [`Encrypted`](ChecksumsError::Encrypted) and
    /// [`UnsupportedVersion`](ChecksumsError::UnsupportedVersion) do not mean damage.
    pub fn parse(bytes: &[u8]) -> Result<Self, ChecksumsError> {
        if bytes.starts_with(ENCRYPTED_MAGIC) {
            return Err(Encrypted);
        }
        let mut input = Input::new(bytes);
        input.literal(b"checksums format version: ", "the format line")?;
        let version = input.decimal("the format version")?;
        input.literal(b"\n", "the format line")?;
        match version {
            2 => Self::read_text(&mut input),
            3 => Self::read_binary(&mut input),
            4 => {
                let body = blocks::decompress(&mut input)?;
                Self::read_binary(&mut Input::new(&body))
            }
            _ => Err(UnsupportedVersion(version)),
        }
    }

    fn read_text(input: &mut Input<'_>) -> Result<Self, ChecksumsError> {
        let count = input.decimal("the number of entries")?;
        input.literal(b" files:\n", "the number of entries")?;
        Self::read_entries(count, input, |input| {
            let name = input.until(|byte| matches!(byte, b'\t' | b'\n'), "a name")?;
            input.literal(b"\n\tsize: ", "a size")?;
            let size = input.decimal("a size")?;
            input.literal(b"\n\thash: ", "a hash")?;
            let hash = text_hash(input, "a hash")?;
            input.literal(b"\n\tcompressed: ", "a compression flag")?;
            let uncompressed = match input.decimal("a compression flag")? {
                0 => None,
                1 => {
                    input.literal(b"\n\tuncompressed size: ", "an uncompressed size")?;
                    let size = input.decimal("an uncompressed size")?;
                    input.literal(b"\n\tuncompressed hash: ", "an uncompressed hash")?;
                    Some((size, text_hash(input, "an uncompressed hash")?))
                }
                _ => return Err(Malformed("a compression flag")),
            };
            input.literal(b"\n", "the end of an entry")?;
            Ok((name, FileChecksum { size, hash, uncompressed }))
        })
    }

    fn read_binary(input: &mut Input<'_>) -> Result<Self, ChecksumsError> {
        let count = input.varint("the number of entries")?;
        Self::read_entries(count, input, |input| {
            let name_bytes = input.varint("the length of a name")?;
            let name_bytes = usize::try_from(name_bytes).map_err(|_| Truncated("a name"))?;
            let name = input.take(name_bytes, "a name")?;
            let size = input.varint("a size")?;
            let hash = input.hash("a hash")?;
            let uncompressed = match input.byte("a compression flag")? {
                0 => None,
                1 => {
                    let size = input.varint("an uncompressed size")?;
                    Some((size, input.hash("an uncompressed hash")?))
                }
                _ => return Err(Malformed("a compression flag")),
            };
            Ok((name, FileChecksum { size, hash, uncompressed }))
        })
    }

    /// Reads `count` entries with `read_entry`; the input must end after them.
    fn read_entries<'a>(
        count: u64,
        input: &mut Input<'a>,
        read_entry: impl Fn(&mut Input<'a>) -> Result<(&'a [u8], FileChecksum), ChecksumsError>,
    ) -> Result<Self, ChecksumsError> {
        let mut entries = Vec::with_capacity(usize::try_from(count).unwrap_or(usize::MAX).min(USUAL_ENTRIES));
        let mut total_bytes = 0_u64;
        for _ in 0..count {
            let (name, checksum) = read_entry(input)?;
            total_bytes = total_bytes.checked_add(checksum.size).ok_or(SizeOverflow)?;
            entries.push((FileName::new(name).map_err(Name)?, checksum));
        }
        // A server writes the entries in order, so there is usually nothing to sort.
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        let twice = entries.windows(2).find_map(|two| match two {
            [(a, _), (b, _)] if a == b => Some(a.clone()),
            _ => None,
        });
        if let Some(name) = twice {
            return Err(DuplicateName(name));
        }
        match input.rest().len() {
            0 => Ok(Self { entries, total_bytes }),
            bytes => Err(TrailingBytes { bytes }),
        }
    }

    /// All entries, in bytewise order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&FileName, &FileChecksum)> {
        self.entries.iter().map(|(name, checksum)| (name, checksum))
    }

    /// The entries that are plain files, in bytewise order of their names. Those for which
    /// [`FileName::is_gin_index`] holds carry no valid size and hash.
    pub fn files(&self) -> impl Iterator<Item = (&FileName, &FileChecksum)> {
        self.iter().filter(|(name, _)| !name.is_projection())
    }

    /// The entries that are projection directories, in bytewise order of their names. To verify
    /// one, compare it with [`Checksums::as_projection`] of the `checksums.txt` inside it.
    pub fn projections(&self) -> impl Iterator<Item = (&FileName, &FileChecksum)> {
        self.iter().filter(|(name, _)| name.is_projection())
    }

    /// The entry with this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&FileChecksum> {
        let position = self.entries.binary_search_by(|(entry, _)| entry.as_bytes().cmp(name)).ok()?;
        self.entries.get(position).map(|(_, checksum)| checksum)
    }

    /// The number of entries; a projection counts as one.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sum of the sizes of all entries, projections included, in bytes.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// The hash of the whole part, the server's `system.parts.hash_of_all_files`.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        fingerprint::of_entries(self.iter().map(|(name, checksum)| (name, checksum.hash)))
    }

    /// The entry that a part records for a projection with this `checksums.txt`.
    #[must_use]
    pub fn as_projection(&self) -> FileChecksum {
        FileChecksum { size: self.total_bytes, hash: self.fingerprint().into(), uncompressed: None }
    }
}

/// The text form of a hash: its low and its high half in decimal.
fn text_hash(input: &mut Input<'_>, field: &'static str) -> Result<FileHash, ChecksumsError> {
    let low = input.decimal(field)?;
    input.literal(b" ", field)?;
    let high = input.decimal(field)?;
    Ok(FileHash::from_halves(low, high))
}
