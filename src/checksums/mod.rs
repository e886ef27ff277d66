//! The list that a part has of its own files: `checksums.txt` and the hashes in it.
//!
//! A part of any `MergeTree` table carries a `checksums.txt` that lists the size and the hash of
//! its files. [`Checksums::parse`] reads one, [`FileHasher`] computes the hash of a file to compare
//! with it, and [`Checksums::fingerprint`] derives the hash of the whole part that the server
//! shows as `system.parts.hash_of_all_files`.
//!
//! A part also has files that its `checksums.txt` does not list: `checksums.txt` itself and
//! `columns.txt` in every version, and in recent versions `columns_substreams.txt`,
//! `default_compression_codec.txt`, `metadata_version.txt`, `invalidated_system_columns.txt` and
//! `txn_version.txt`. Neither the checksums nor the fingerprint say anything about them: two parts
//! with one fingerprint can still differ in the types of their columns.
//!
//! The formats follow `ClickHouse`'s `MergeTreeDataPartChecksum.cpp` (the file),
//! `HashingWriteBuffer.h` (the file hash), `CompressedReadBufferBase.cpp` (the blocks) and
//! `SipHash.h` (the fingerprint).

mod blocks;
mod cityhash;
mod error;
mod file_name;
mod fingerprint;
mod input;
mod packed;
mod reader;
mod siphash;
#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]
mod tests;

pub use blocks::BlockReader;
pub use cityhash::{FileHash, FileHasher, hash_bytes};
pub use error::ChecksumsError;
pub use file_name::{FileName, InvalidFileName, is_gin_index};
pub use packed::{PackedIndex, is_cut_short};
pub use reader::{Checksums, FileChecksum};
