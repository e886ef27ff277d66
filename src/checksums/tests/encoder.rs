//! Writes `checksums.txt` in each version, and generates what to write.

use std::collections::BTreeMap;

use naive_cityhash::{U128, cityhash128};
use proptest::prelude::*;

use crate::checksums::{FileChecksum, FileHash};

pub(super) type Entries = BTreeMap<Vec<u8>, FileChecksum>;

#[derive(Debug, Clone, Copy)]
pub(super) enum Codec {
    None,
    Lz4,
    Zstd,
}

pub(super) fn codecs() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::None), Just(Codec::Lz4), Just(Codec::Zstd)]
}

/// Entries with any names that are valid in every format version.
pub(super) fn entries() -> impl Strategy<Value = Entries> {
    let byte = prop_oneof![8 => b'a'..=b'd', 1 => Just(b'.'), 1 => 1_u8..=255];
    let name = prop::collection::vec(byte, 1..12)
        .prop_filter("valid", |name| !name.iter().any(|byte| b"/\t\n".contains(byte)) && name != b"." && name != b"..");
    let hash = any::<[u8; 16]>().prop_map(FileHash::from_bytes);
    let number = prop_oneof![0_u64..300, any::<u32>().prop_map(u64::from), any::<u64>()];
    let uncompressed = prop::option::of((number, hash.clone()));
    let checksum = (0_u64..1 << 50, hash, uncompressed).prop_map(|(size, hash, uncompressed)| FileChecksum {
        size,
        hash,
        uncompressed,
    });
    prop::collection::btree_map(name, checksum, 0..20)
}

pub(super) fn version_2(entries: &Entries) -> Vec<u8> {
    let header = format!("checksums format version: 2\n{} files:\n", entries.len());
    let mut out = header.into_bytes();
    for (name, checksum) in entries {
        let FileChecksum { size, hash, uncompressed } = checksum;
        out.extend(name);
        out.extend(format!("\n\tsize: {size}\n\thash: {}", halves(*hash)).bytes());
        out.extend(format!("\n\tcompressed: {}", u8::from(uncompressed.is_some())).bytes());
        if let Some((size, hash)) = uncompressed {
            out.extend(format!("\n\tuncompressed size: {size}").bytes());
            out.extend(format!("\n\tuncompressed hash: {}", halves(*hash)).bytes());
        }
        out.push(b'\n');
    }
    out
}

fn halves(hash: FileHash) -> String {
    let number = u128::from_le_bytes(hash.to_bytes());
    format!("{} {}", number & u128::from(u64::MAX), number >> 64)
}

pub(super) fn version_3(entries: &Entries) -> Vec<u8> {
    [b"checksums format version: 3\n".as_slice(), &body(entries)].concat()
}

pub(super) fn version_4(entries: &Entries, codec: Codec, block_bytes: usize) -> Vec<u8> {
    let blocks = body(entries).chunks(block_bytes).map(|raw| block(raw, codec)).collect::<Vec<_>>();
    [b"checksums format version: 4\n".as_slice(), &blocks.concat()].concat()
}

pub(super) fn body(entries: &Entries) -> Vec<u8> {
    let mut out = varint(entries.len() as u64);
    for (name, checksum) in entries {
        out.extend(varint(name.len() as u64));
        out.extend(name);
        out.extend(varint(checksum.size));
        out.extend(checksum.hash.to_bytes());
        out.push(u8::from(checksum.uncompressed.is_some()));
        if let Some((size, hash)) = checksum.uncompressed {
            out.extend(varint(size));
            out.extend(hash.to_bytes());
        }
    }
    out
}

pub(super) fn varint(mut number: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
    out
}

pub(super) fn block(raw: &[u8], codec: Codec) -> Vec<u8> {
    let (method, payload) = match codec {
        Codec::None => (0x02, raw.to_vec()),
        Codec::Lz4 => (0x82, lz4_flex::block::compress(raw)),
        Codec::Zstd => (0x90, zstd::bulk::compress(raw, 1).expect("zstd compresses anything")),
    };
    block_of(method, raw.len(), &payload)
}

/// A block with a right hash over a header and a payload that need not be right.
pub(super) fn block_of(method: u8, claimed_bytes: usize, payload: &[u8]) -> Vec<u8> {
    let size = |bytes: usize| u32::try_from(bytes).expect("a test block is small").to_le_bytes();
    let mut hashed = vec![method];
    hashed.extend(size(payload.len() + 9));
    hashed.extend(size(claimed_bytes));
    hashed.extend(payload);
    let U128 { lo, hi } = cityhash128(&hashed);
    let mut out = Vec::new();
    out.extend(lo.to_le_bytes());
    out.extend(hi.to_le_bytes());
    out.extend(hashed);
    out
}
