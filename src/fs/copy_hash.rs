//! Hashes of a file, computed while it is copied.

use std::ffi::OsStr;
use std::fmt;

use crate::checksums::{FileHash, FileHasher};

use super::dir::{Dir, uninterrupted};
use super::error::FsError;
use super::extents::read_at;

/// The size of one read: it stays in the processor's cache between reading, hashing and writing.
pub(super) const BUFFER_BYTES: u64 = 256 << 10;

/// The requested hash of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// None: the bytes need not pass through this process.
    None,
    /// The hash that a part's `checksums.txt` uses.
    ClickHouse,
    /// BLAKE3, for files that no `checksums.txt` covers.
    Blake3,
}

/// The hash of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContentDigest {
    /// See [`Hashing::ClickHouse`].
    ClickHouse(FileHash),
    /// See [`Hashing::Blake3`].
    Blake3(blake3::Hash),
}

/// Prints hex digits.
impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClickHouse(hash) => hash.fmt(f),
            Self::Blake3(hash) => f.write_str(&hash.to_hex()),
        }
    }
}

pub(super) enum Hasher {
    None,
    ClickHouse(FileHasher),
    Blake3(Box<blake3::Hasher>),
}

static ZEROS: [u8; 32 << 10] = [0; 32 << 10];

impl Hasher {
    pub(super) fn new(hashing: Hashing) -> Self {
        match hashing {
            Hashing::None => Self::None,
            Hashing::ClickHouse => Self::ClickHouse(FileHasher::new()),
            Hashing::Blake3 => Self::Blake3(Box::new(blake3::Hasher::new())),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::None => {}
            Self::ClickHouse(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => drop(hasher.update(bytes)),
        }
    }

    /// Hashes this number of zero bytes: a hole, which is not read.
    pub(super) fn update_zeros(&mut self, mut bytes: u64) {
        while bytes > 0 && !self.is_none() {
            let zeros = ZEROS.get(..usize::try_from(bytes).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
            self.update(zeros);
            bytes -= zeros.len() as u64;
        }
    }

    pub(super) fn finish(self) -> Option<ContentDigest> {
        match self {
            Self::None => None,
            Self::ClickHouse(hasher) => Some(ContentDigest::ClickHouse(hasher.finish())),
            Self::Blake3(hasher) => Some(ContentDigest::Blake3(hasher.finalize())),
        }
    }
}

impl Dir {
    /// Hashes a regular file without copying it.
    ///
    /// # Errors
    /// If it is not a regular file, or cannot be read.
    pub fn hash_file(&self, name: impl AsRef<OsStr>, hashing: Hashing) -> Result<Option<ContentDigest>, FsError> {
        let name = name.as_ref();
        let (stat, file) = self.open_regular(name)?;
        let mut hasher = Hasher::new(hashing);
        if hasher.is_none() {
            return Ok(None);
        }
        let room = stat.size_bytes.clamp(1, BUFFER_BYTES);
        let mut buffer = vec![0; usize::try_from(room).unwrap_or(usize::MAX)];
        let mut at = 0;
        loop {
            let taken = uninterrupted(|| read_at(&file, &mut buffer, at)).map_err(self.error("read", name))?;
            if taken == 0 {
                return Ok(hasher.finish());
            }
            hasher.update(buffer.get(..taken).unwrap_or_default());
            at += taken as u64;
        }
    }

    /// Whether two regular files have the same bytes; both are read.
    ///
    /// # Errors
    /// If one of them is not a regular file, or cannot be read.
    pub fn same_bytes(
        &self,
        name: impl AsRef<OsStr>,
        other: &Self,
        other_name: impl AsRef<OsStr>,
    ) -> Result<bool, FsError> {
        let (name, other_name) = (name.as_ref(), other_name.as_ref());
        let (stat, file) = self.open_regular(name)?;
        let (other_stat, other_file) = other.open_regular(other_name)?;
        if stat.size_bytes != other_stat.size_bytes {
            return Ok(false);
        }
        let room = usize::try_from(stat.size_bytes.clamp(1, BUFFER_BYTES)).unwrap_or(usize::MAX);
        let (mut left, mut right) = (vec![0; room], vec![0; room]);
        let mut at = 0;
        loop {
            let taken = fill(&file, &mut left, at).map_err(self.error("read", name))?;
            let other_taken = fill(&other_file, &mut right, at).map_err(other.error("read", other_name))?;
            if left.get(..taken) != right.get(..other_taken) {
                return Ok(false);
            }
            if taken == 0 {
                return Ok(true);
            }
            at += taken as u64;
        }
    }
}

/// Reads until `room` is full, or to the end of the file.
fn fill(file: &std::fs::File, room: &mut [u8], at: u64) -> Result<usize, rustix::io::Errno> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let taken = uninterrupted(|| read_at(file, rest, at + filled as u64))?;
        if taken == 0 {
            break;
        }
        filled += taken;
    }
    Ok(filled)
}
