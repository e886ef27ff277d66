use proptest::prelude::*;

use super::encoder::{Codec, Entries, codecs, entries, version_2, version_3, version_4};
use crate::checksums::Checksums;

fn same(bytes: &[u8], entries: &Entries) -> bool {
    Checksums::parse(bytes).is_ok_and(|checksums| {
        let parsed = checksums.iter().map(|(name, checksum)| (name.as_bytes(), checksum));
        let written = entries.iter().map(|(name, checksum)| (name.as_slice(), checksum));
        parsed.eq(written)
            && checksums.len() == entries.len()
            && checksums.total_bytes() == entries.values().map(|checksum| checksum.size).sum::<u64>()
    })
}

proptest! {
    #[test]
    fn every_version_reads_back_what_was_written(
        entries in entries(),
        codec in codecs(),
        block_bytes in prop_oneof![1_usize..40, Just(1 << 16)],
    ) {
        prop_assert!(same(&version_3(&entries), &entries));
        prop_assert!(same(&version_4(&entries, codec, block_bytes), &entries));
        prop_assert!(same(&version_2(&entries), &entries));
    }

    #[test]
    fn equal_entries_have_equal_fingerprints_in_every_version(entries in entries()) {
        let fingerprint = |bytes: &[u8]| Checksums::parse(bytes).map(|it| it.fingerprint()).ok();
        let expected = fingerprint(&version_3(&entries));
        prop_assert!(expected.is_some());
        prop_assert_eq!(fingerprint(&version_4(&entries, Codec::Lz4, 100)), expected);
    }

    #[test]
    fn every_truncation_is_an_error(
        entries in entries(),
        codec in codecs(),
        block_bytes in prop_oneof![20_usize..60, Just(1 << 16)],
    ) {
        for bytes in [
            version_2(&entries),
            version_3(&entries),
            version_4(&entries, codec, block_bytes),
        ] {
            for len in 0..bytes.len() {
                prop_assert!(Checksums::parse(&bytes[..len]).is_err(), "first {} bytes", len);
            }
        }
    }

    #[test]
    fn every_flipped_bit_is_an_error_in_version_4_and_no_panic_in_the_others(
        entries in entries(),
        codec in codecs(),
        block_bytes in prop_oneof![20_usize..60, Just(1 << 16)],
        at: prop::sample::Index,
        bit in 0..8,
    ) {
        let flipped = |mut bytes: Vec<u8>| {
            *at.get_mut(&mut bytes) ^= 1_u8 << bit;
            Checksums::parse(&bytes)
        };
        prop_assert!(flipped(version_4(&entries, codec, block_bytes)).is_err());
        drop(flipped(version_3(&entries)));
        drop(flipped(version_2(&entries)));
    }

    #[test]
    fn anything_after_the_last_entry_is_an_error(
        entries in entries(),
        codec in codecs(),
        garbage in prop::collection::vec(any::<u8>(), 1..60),
    ) {
        for mut bytes in [
            version_2(&entries),
            version_3(&entries),
            version_4(&entries, codec, 1 << 16),
        ] {
            bytes.extend_from_slice(&garbage);
            prop_assert!(Checksums::parse(&bytes).is_err());
        }
    }
}
