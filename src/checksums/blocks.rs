//! `ClickHouse`'s compressed blocks, the container of format version 4.
//!
//! A block is a 16-byte hash, a header of 9 bytes (method, `u32` compressed size that includes the
//! header, `u32` decompressed size, both little-endian) and a payload. The hash is the plain
//! `CityHash128` of the header and the payload. See `ICompressionCodec.h` and
//! `CompressedReadBufferBase.cpp`.

use std::cell::RefCell;
use std::io::{self, Read};

use naive_cityhash::cityhash128;
use zstd::bulk::Decompressor;

use super::cityhash::FileHash;
use super::error::ChecksumsError::{
    self, BlockHashMismatch, BlockSizeMismatch, Decompress, Malformed, TooLarge, UnsupportedMethod,
};
use super::input::Input;

/// The most bytes all blocks of one file may decompress to.
///
/// An entry takes about 60 bytes, so this is room for a million files in one part, far beyond what
/// a server can work with.
pub(super) const MAX_DECOMPRESSED_BYTES: usize = 64 << 20;

thread_local! {
    /// Making one costs more than a part's checksums take to decompress.
    static ZSTD_CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

const HASH_BYTES: usize = 16;
const HEADER_BYTES: usize = 9;
const NONE: u8 = 0x02;
const LZ4: u8 = 0x82;
const ZSTD: u8 = 0x90;

/// Decompresses all of `input` and verifies the hash of every block.
///
/// The memory for a block is limited by the size that its payload can yield, not by its header.
pub(super) fn decompress(input: &mut Input<'_>) -> Result<Vec<u8>, ChecksumsError> {
    let mut decompressed = Vec::new();
    let mut block = 0;
    while !input.rest().is_empty() {
        decompress_block(input, block, &mut decompressed)?;
        block += 1;
    }
    Ok(decompressed)
}

/// Reads a file of compressed blocks, decompressed and with the hash of every block verified, one block at a time.
#[derive(Debug)]
pub struct BlockReader<R> {
    file: R,
    /// The number of the next block.
    block: usize,
    decompressed: Vec<u8>,
    /// The bytes of `decompressed` that were read.
    read: usize,
}

impl<R: Read> BlockReader<R> {
    /// Reads `file` from its beginning.
    #[must_use]
    pub fn new(file: R) -> Self {
        Self { file, block: 0, decompressed: Vec::new(), read: 0 }
    }

    /// Decompresses the next block. Returns `false` at the end of the file.
    fn next_block(&mut self) -> io::Result<bool> {
        let mut bytes = Vec::new();
        self.file.by_ref().take((HASH_BYTES + HEADER_BYTES) as u64).read_to_end(&mut bytes)?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let invalid = |error: ChecksumsError| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut header = Input::new(&bytes);
        header.take(HASH_BYTES + 1, "the header of a block").map_err(invalid)?;
        let size = to_usize(u32::from_le_bytes(header.array("the compressed size of a block").map_err(invalid)?));
        if size > MAX_DECOMPRESSED_BYTES {
            return Err(invalid(TooLarge { limit: MAX_DECOMPRESSED_BYTES }));
        }
        self.file.by_ref().take(size.saturating_sub(HEADER_BYTES) as u64).read_to_end(&mut bytes)?;
        self.decompressed.clear();
        self.read = 0;
        decompress_block(&mut Input::new(&bytes), self.block, &mut self.decompressed).map_err(invalid)?;
        self.block += 1;
        Ok(true)
    }
}

impl<R: Read> Read for BlockReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.decompressed.len() {
            if !self.next_block()? {
                return Ok(0);
            }
        }
        let read = self.decompressed.get(self.read..).unwrap_or_default().read(buffer)?;
        self.read += read;
        Ok(read)
    }
}

fn decompress_block(input: &mut Input<'_>, block: usize, decompressed: &mut Vec<u8>) -> Result<(), ChecksumsError> {
    let recorded_hash = input.hash("the hash of a block")?;
    let mut hashed = Input::new(input.rest());
    let mut header = Input::new(input.take(HEADER_BYTES, "the header of a block")?);
    let method = header.byte("the method of a block")?;
    let compressed_bytes = header.array("the compressed size of a block")?;
    let compressed_bytes = to_usize(u32::from_le_bytes(compressed_bytes));
    let claimed = header.array("the decompressed size of a block")?;
    let claimed = to_usize(u32::from_le_bytes(claimed));

    let payload_bytes =
        compressed_bytes.checked_sub(HEADER_BYTES).ok_or(Malformed("the compressed size of a block"))?;
    let payload = input.take(payload_bytes, "a block")?;
    let hashed = hashed.take(compressed_bytes, "a block")?;
    if FileHash::from_city_hash(cityhash128(hashed)) != recorded_hash {
        return Err(BlockHashMismatch { block });
    }

    let most = most_bytes(method, payload_bytes).ok_or(UnsupportedMethod { block, method })?;
    if claimed > most {
        return Err(BlockSizeMismatch { block, claimed });
    }
    if claimed > MAX_DECOMPRESSED_BYTES.saturating_sub(decompressed.len()) {
        return Err(TooLarge { limit: MAX_DECOMPRESSED_BYTES });
    }

    let start = decompressed.len();
    match method {
        LZ4 => {
            decompressed.resize(start + claimed, 0);
            let target = decompressed.get_mut(start..).unwrap_or_default();
            let written = lz4_flex::block::decompress_into(payload, target)
                .map_err(|source| Decompress { block, source: source.into() })?;
            decompressed.truncate(start + written);
        }
        ZSTD => {
            let bytes = ZSTD_CONTEXT
                .with_borrow_mut(|context| {
                    let context = match context {
                        Some(context) => context,
                        None => context.insert(Decompressor::new()?),
                    };
                    context.decompress(payload, claimed)
                })
                .map_err(|source| Decompress { block, source: source.into() })?;
            decompressed.extend_from_slice(&bytes);
        }
        _ => decompressed.extend_from_slice(payload),
    }
    if decompressed.len() - start == claimed { Ok(()) } else { Err(BlockSizeMismatch { block, claimed }) }
}

/// The most bytes that a payload of `payload_bytes` can decompress to, `None` for an unknown method.
///
/// LZ4: a byte that lengthens a match adds 255 bytes, and nothing yields more per byte. ZSTD: a
/// block of the format takes at least 4 bytes and yields at most 128 KiB (RFC 8878).
pub(super) fn most_bytes(method: u8, payload_bytes: usize) -> Option<usize> {
    match method {
        NONE => Some(payload_bytes),
        LZ4 => Some(payload_bytes.saturating_mul(255)),
        ZSTD => Some((payload_bytes / 4).saturating_mul(128 << 10)),
        _ => None,
    }
}

fn to_usize(size: u32) -> usize {
    usize::try_from(size).expect("a usize has at least 32 bits on every platform of ClickHouse")
}
