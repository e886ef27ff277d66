//! The hash of a file in a part.

use std::fmt;

use naive_cityhash::{U128, cityhash128_with_seed};

/// `DBMS_DEFAULT_HASHING_BLOCK_SIZE` of `ClickHouse`, in bytes.
const BLOCK_BYTES: usize = 2048;

/// The 128-bit hash of a file, as `checksums.txt` records it.
///
/// Not cryptographic: it finds damage, not forgery. Prints as 32 lower-case hex digits, the high
/// half first, as `ClickHouse` prints it (`getHexUIntLowercase` of a `CityHash_v1_0_2::uint128`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileHash([u8; 16]);

impl FileHash {
    /// From the form in `checksums.txt`: the low half, then the high half, each little-endian.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The form in `checksums.txt`, the inverse of [`FileHash::from_bytes`].
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(super) fn from_halves(low: u64, high: u64) -> Self {
        Self((u128::from(high) << 64 | u128::from(low)).to_le_bytes())
    }

    pub(super) fn from_city_hash(hash: U128) -> Self {
        Self::from_halves(hash.lo, hash.hi)
    }
}

impl fmt::Display for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_le_bytes(self.0))
    }
}

impl fmt::Debug for FileHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileHash({self})")
    }
}

/// Computes the [`FileHash`] of a file from its bytes, in pieces of any size.
///
/// The file is cut into blocks of 2048 bytes, the last one shorter. Each is hashed with
/// `CityHash128WithSeed` (v1.0.2), the seed being the hash so far and zero at first. A file of
/// zero bytes therefore has the hash zero. See `HashingWriteBuffer.h` of `ClickHouse`.
#[derive(Clone)]
pub struct FileHasher {
    hash: U128,
    /// The start of a block: fewer than `BLOCK_BYTES` bytes.
    pending: Vec<u8>,
}

impl FileHasher {
    /// A hasher that has seen no bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self { hash: U128::new(0, 0), pending: Vec::new() }
    }

    /// Appends the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        if !self.pending.is_empty() {
            let missing = BLOCK_BYTES.saturating_sub(self.pending.len());
            let (head, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.pending.extend_from_slice(head);
            bytes = rest;
            if self.pending.len() < BLOCK_BYTES {
                return;
            }
            self.hash = cityhash128_with_seed(&self.pending, self.hash);
            self.pending.clear();
        }
        let (blocks, tail) = bytes.as_chunks::<BLOCK_BYTES>();
        for block in blocks {
            self.hash = cityhash128_with_seed(block, self.hash);
        }
        self.pending.extend_from_slice(tail);
    }

    /// The hash of all bytes seen.
    #[must_use]
    pub fn finish(self) -> FileHash {
        FileHash::from_city_hash(if self.pending.is_empty() {
            self.hash
        } else {
            cityhash128_with_seed(&self.pending, self.hash)
        })
    }
}

impl Default for FileHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FileHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileHasher").finish_non_exhaustive()
    }
}

/// The [`FileHash`] of a file whose bytes are all in memory.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> FileHash {
    let mut hasher = FileHasher::new();
    hasher.update(bytes);
    hasher.finish()
}
