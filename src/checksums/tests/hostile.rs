use std::fs;
use std::io::Read as _;

use proptest::prelude::*;

use super::encoder::{Codec, Entries, block, block_of, body, varint, version_2, version_3};
use crate::checksums::blocks::{MAX_DECOMPRESSED_BYTES, most_bytes};
use crate::checksums::{BlockReader, Checksums, ChecksumsError, FileChecksum, FileHash, FileName};

const CHECKSUM: FileChecksum = FileChecksum { size: 1, hash: FileHash::from_bytes([7; 16]), uncompressed: None };

fn parse(version: u8, rest: &[u8]) -> Result<Checksums, ChecksumsError> {
    let line = format!("checksums format version: {version}\n");
    Checksums::parse(&[line.as_bytes(), rest].concat())
}

/// The peak address space of this process, in bytes.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:")).expect("VmPeak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[test]
fn unsupported_versions_are_distinguished_from_damage() {
    for version in [0, 1, 5, 6, 44] {
        let error = parse(version, b"whatever").expect_err("an unsupported version");
        assert!(matches!(error, ChecksumsError::UnsupportedVersion(it) if it == u64::from(version)), "{error:?}");
    }
    assert!(matches!(Checksums::parse(b"ENC\x02\0\x01"), Err(ChecksumsError::Encrypted)));
    for damaged in ["", "checksums format", "checksums format version: 4", "CHECKSUMS", "\n"] {
        let error = Checksums::parse(damaged.as_bytes()).expect_err("no format line");
        assert!(matches!(error, ChecksumsError::Truncated(_) | ChecksumsError::Malformed(_)), "{error:?}");
    }
    let too_long = format!("checksums format version: 1{}\n", "0".repeat(20));
    assert!(matches!(Checksums::parse(too_long.as_bytes()), Err(ChecksumsError::Malformed(_))));
}

#[test]
fn names_that_lead_out_of_the_part_are_errors() {
    let too_long = [b'a'; 256];
    for name in [b"".as_slice(), b".", b"..", b"a/b", b"/", b"../x", b"a\0", &too_long] {
        assert!(FileName::new(name).is_err(), "{}", name.escape_ascii());
        let entries = Entries::from([(name.to_vec(), CHECKSUM)]);
        for bytes in [version_2(&entries), version_3(&entries)] {
            assert!(matches!(Checksums::parse(&bytes), Err(ChecksumsError::Name(_))), "{}", name.escape_ascii());
        }
    }
    assert!(FileName::new(&too_long[..255]).is_ok());
    assert!(FileName::new(b"...").is_ok());
}

#[test]
fn names_tell_projections_and_gin_indexes_from_plain_files() {
    let name = |name: &str| FileName::new(name.as_bytes()).expect("a valid name");
    assert!(name("p.proj").is_projection());
    assert!(!name("p.proj.bin").is_projection());
    assert!(name("skp_idx_i.gin_post").is_gin_index());
    for plain in ["skp_idx_i.idx", "j.gin_x.bin", "j.gin_post", "skp_idx_i.gin_post.bin", "skp_idx_i.gin_", ".gin_dict"]
    {
        assert!(!name(plain).is_gin_index(), "{plain}");
    }
    assert_eq!(name("a\nb").to_string(), "a\\nb");
}

#[test]
fn two_entries_with_one_name_are_an_error() {
    let entry = &body(&Entries::from([(b"a.bin".to_vec(), CHECKSUM)]))[1..];
    let error = parse(3, &[&[2], entry, entry].concat()).expect_err("a duplicate");
    assert_eq!(error.to_string(), "cannot accept two entries for a.bin in checksums.txt");
}

#[test]
fn sizes_beyond_64_bits_are_errors() {
    let huge = FileChecksum { size: u64::MAX, ..CHECKSUM };
    let entries = Entries::from([(b"a".to_vec(), huge), (b"b".to_vec(), CHECKSUM)]);
    let error = Checksums::parse(&version_3(&entries)).expect_err("too much");
    assert!(matches!(error, ChecksumsError::SizeOverflow), "{error:?}");
    for varint in [[0xff; 10].as_slice(), &[0x80; 11], b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02"] {
        assert!(matches!(parse(3, varint), Err(ChecksumsError::Malformed(_))));
    }
}

#[test]
fn claims_that_the_input_does_not_back_are_errors_and_allocate_nothing() {
    let claim = u32::MAX as usize;
    let unbacked = [0, 1, 2, 20].map(|bytes| vec![0; bytes]);
    let before = peak_bytes();
    for payload in &unbacked {
        let mut oversized = block_of(0x90, 1, payload);
        oversized[17..21].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(parse(4, &oversized), Err(ChecksumsError::Truncated(_))));
        for method in [0x02, 0x82, 0x90] {
            let error = parse(4, &block_of(method, claim, payload)).expect_err("no such block");
            assert!(matches!(error, ChecksumsError::BlockSizeMismatch { .. }), "{error:?}");
        }
        let long_name = [varint(1), varint(u64::MAX / 2), payload.clone()].concat();
        assert!(matches!(parse(3, &long_name), Err(ChecksumsError::Truncated(_))));
        assert!(parse(3, &[varint(u64::MAX), payload.clone()].concat()).is_err());
        assert!(parse(2, &[b"18446744073709551615 files:\n", &payload[..]].concat()).is_err());
    }
    // Other tests of this process raise the peak too, but not by the smallest of these claims.
    assert!(peak_bytes() - before < 3 << 30);
}

#[test]
fn a_decompression_bomb_is_an_error() {
    let zeros = vec![0; MAX_DECOMPRESSED_BYTES / 2 + 1];
    for codec in [Codec::Lz4, Codec::Zstd] {
        let half = block(&zeros, codec);
        let error = parse(4, &[half.as_slice(), &half].concat()).expect_err("a bomb");
        assert!(matches!(error, ChecksumsError::TooLarge { .. }), "{error:?}");
    }
}

#[test]
fn no_codec_yields_more_than_its_bound() {
    let zeros = vec![0; MAX_DECOMPRESSED_BYTES];
    for len in [1, 100, 100_000, zeros.len()] {
        let zeros = &zeros[..len];
        let lz4 = lz4_flex::block::compress(zeros).len();
        assert!(most_bytes(0x82, lz4).is_some_and(|most| most >= len), "lz4 of {len}");
        for level in [1, 3, 19] {
            let zstd = zstd::bulk::compress(zeros, level).expect("zstd compresses anything").len();
            assert!(most_bytes(0x90, zstd).is_some_and(|most| most >= len), "zstd of {len}");
        }
    }
}

#[test]
fn blocks_with_a_right_hash_and_wrong_contents_are_errors() {
    let raw = body(&Entries::from([(b"a.bin".to_vec(), CHECKSUM)]));
    let lz4 = lz4_flex::block::compress(&raw);
    for wrong_by in [-1, 1] {
        let claimed = raw.len().checked_add_signed(wrong_by).expect("a small size");
        for (method, payload) in [(0x02, &raw), (0x82, &lz4)] {
            assert!(parse(4, &block_of(method, claimed, payload)).is_err(), "{method:#x}");
        }
        let zstd = zstd::bulk::compress(&raw, 1).expect("zstd compresses anything");
        assert!(parse(4, &block_of(0x90, claimed, &zstd)).is_err());
    }
    assert!(parse(4, &block_of(0x82, raw.len(), &lz4)).is_ok());
    for method in [0x82, 0x90] {
        let error = parse(4, &block_of(method, 100, &[0xff; 50])).expect_err("no such stream");
        assert!(matches!(error, ChecksumsError::Decompress { .. }), "{error:?}");
    }
    let error = parse(4, &block_of(0x91, 10, &raw)).expect_err("an unknown method");
    assert_eq!(error.to_string(), "cannot decompress block 0 of checksums.txt by method 0x91");
    assert!(matches!(parse(4, b""), Err(ChecksumsError::Truncated(_))));
    let mut tiny = block_of(0x02, 0, &[]);
    tiny[17] = 8;
    assert!(matches!(parse(4, &tiny), Err(ChecksumsError::Malformed(_))));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(
        version in 2_u8..5,
        method in prop_oneof![Just(0x02), Just(0x82), Just(0x90)],
        claimed in 0_usize..1000,
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        drop(Checksums::parse(&bytes));
        drop(parse(version, &bytes));
        drop(parse(4, &block(&bytes, Codec::Lz4)));
        drop(parse(4, &block_of(method, claimed, &bytes)));
    }

    #[test]
    fn a_damaged_zstd_frame_under_a_right_hash_never_panics(
        raw in prop::collection::vec(any::<u8>(), 1..300),
        at: prop::sample::Index,
        damage: u8,
    ) {
        let mut frame = zstd::bulk::compress(&raw, 1).expect("zstd compresses anything");
        *at.get_mut(&mut frame) = damage;
        drop(parse(4, &block_of(0x90, raw.len(), &frame)));
    }
}

#[test]
fn a_file_of_blocks_is_read_whole_or_is_an_error() {
    let read = |file: &[u8]| {
        let mut bytes = Vec::new();
        BlockReader::new(file).read_to_end(&mut bytes).map(|_| bytes)
    };
    let pieces = [vec![7; 100_000], Vec::new(), (0..=255).collect::<Vec<u8>>()];
    let codecs = [Codec::Lz4, Codec::None, Codec::Zstd];
    let blocks: Vec<Vec<u8>> = pieces.iter().zip(codecs).map(|(piece, codec)| block(piece, codec)).collect();
    let file = blocks.concat();
    assert_eq!(read(&file).expect("whole"), pieces.concat());
    assert_eq!(read(&[]).expect("empty"), Vec::<u8>::new());
    let ends = [0, blocks[0].len(), blocks[0].len() + blocks[1].len(), file.len()];
    for len in (0..file.len()).filter(|len| !ends.contains(len)) {
        read(&file[..len]).expect_err("it is cut short");
    }
    let mut other = file;
    other[ends[2] + 30] ^= 1;
    read(&other).expect_err("its hash is another one");
}
