//! Why a `checksums.txt` could not be read.

use std::error::Error;

use super::file_name::{FileName, InvalidFileName};

/// Why a `checksums.txt` could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChecksumsError {
    /// The file lies on an encrypted disk, so these bytes are ciphertext. It is not damaged, but
    /// the part cannot be verified without the disk's key.
    #[error("it is encrypted by its disk, and cannot be read without the keys")]
    Encrypted,

    /// The file announces a format version other than 2, 3 and 4. Version 5 holds totals only and
    /// belongs in `ZooKeeper`, not in a part.
    #[error("cannot read checksums.txt of format version {0}")]
    UnsupportedVersion(u64),

    /// The input ends before the field named here does.
    #[error("cannot read {0} past the end of checksums.txt")]
    Truncated(&'static str),

    /// The field named here has a value that its format does not allow.
    #[error("cannot parse {0} in checksums.txt")]
    Malformed(&'static str),

    /// Bytes are left over after the last entry.
    #[error("cannot account for {bytes} bytes after the last entry of checksums.txt")]
    TrailingBytes {
        /// How many, after decompression.
        bytes: usize,
    },

    /// A compressed block does not match the hash in front of it.
    #[error("cannot match block {block} of checksums.txt to its hash")]
    BlockHashMismatch {
        /// The number of the block, from 0.
        block: usize,
    },

    /// A compressed block uses a method other than LZ4 (0x82), ZSTD (0x90) and NONE (0x02).
    #[error("cannot decompress block {block} of checksums.txt by method {method:#04x}")]
    UnsupportedMethod {
        /// The number of the block, from 0.
        block: usize,
        /// The method byte in the block's header.
        method: u8,
    },

    /// The codec rejected a block whose hash is right.
    #[error("cannot decompress block {block} of checksums.txt")]
    Decompress {
        /// The number of the block, from 0.
        block: usize,
        /// The codec's error.
        source: Box<dyn Error + Send + Sync>,
    },

    /// A block does not decompress to the size in its header, or could not possibly do so.
    #[error("cannot decompress block {block} of checksums.txt to {claimed} bytes")]
    BlockSizeMismatch {
        /// The number of the block, from 0.
        block: usize,
        /// The size in the header, in bytes.
        claimed: usize,
    },

    /// The blocks together claim to decompress to more than `limit` bytes.
    #[error("cannot decompress checksums.txt to more than {limit} bytes")]
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
    },

    /// An entry's name cannot be that of a file directly inside a part.
    #[error("cannot accept an entry of checksums.txt")]
    Name(#[source] InvalidFileName),

    /// Two entries have one name.
    #[error("cannot accept two entries for {0} in checksums.txt")]
    DuplicateName(FileName),

    /// The sizes of the entries add up to more than `u64::MAX` bytes.
    #[error("cannot add up the file sizes in checksums.txt")]
    SizeOverflow,
}
