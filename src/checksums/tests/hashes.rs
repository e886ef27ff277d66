use std::hash::Hasher as _;

use proptest::prelude::*;

use crate::checksums::siphash::sip_hash_128;
use crate::checksums::{FileHash, FileHasher, hash_bytes};
use crate::model::Fingerprint;

/// [`hash_bytes`] by another crate that has no seeded function: hashing a prefix of 16 bytes that
/// holds the seed is the same as hashing with that seed.
fn hash_by_another_crate(bytes: &[u8]) -> FileHash {
    const K3: u64 = 0xc949_d7c7_509e_6557;
    let mut hash = 0;
    for block in bytes.chunks(2048) {
        let seed: u128 = hash ^ u128::from(K3);
        let hashed = [seed.to_le_bytes().as_slice(), block].concat();
        // This crate keeps the low half of the hash in the high half of the number.
        hash = cityhash_rs::cityhash_102_128(&hashed).rotate_left(64);
    }
    FileHash::from_bytes(hash.to_le_bytes())
}

#[test]
fn an_empty_file_has_a_hash_of_zeros() {
    assert_eq!(hash_bytes(b"").to_bytes(), [0; 16]);
}

#[test]
fn hashes_of_all_lengths_equal_those_of_another_crate() {
    let bytes = (0..5000_u32).map(|i| ((i * i) >> 3).to_le_bytes()[0]).collect::<Vec<_>>();
    for len in 0..=bytes.len() {
        assert_eq!(hash_bytes(&bytes[..len]), hash_by_another_crate(&bytes[..len]), "{len} bytes");
    }
}

proptest! {
    #[test]
    fn the_pieces_in_which_a_file_is_hashed_do_not_matter(
        bytes in prop::collection::vec(any::<u8>(), 0..10_000),
        pieces in prop::collection::vec(prop_oneof![0_usize..5000, 2046_usize..2051], 0..12),
    ) {
        let mut hasher = FileHasher::new();
        let mut rest = bytes.as_slice();
        for piece in pieces {
            let (head, tail) = rest.split_at(piece.min(rest.len()));
            hasher.update(head);
            rest = tail;
        }
        hasher.update(rest);
        prop_assert_eq!(hasher.finish(), hash_by_another_crate(&bytes));
    }

    #[test]
    fn the_halves_of_the_sip_hash_fold_to_the_standard_64_bits(
        message in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut standard = siphasher::sip::SipHasher24::new();
        standard.write(&message);
        let (low, high) = sip_hash_128(&message);
        prop_assert_eq!(low ^ high, standard.finish());
    }

    #[test]
    fn a_fingerprint_survives_its_text_and_its_json(bytes: [u8; 16]) {
        let fingerprint = Fingerprint::from_bytes(bytes);
        let text = fingerprint.to_string();
        prop_assert_eq!(text.parse(), Ok(fingerprint));
        let json = serde_json::to_string(&fingerprint).expect("a string is valid JSON");
        prop_assert_eq!(&json, &format!("\"{text}\""));
        prop_assert_eq!(serde_json::from_str::<Fingerprint>(&json).ok(), Some(fingerprint));
        prop_assert_eq!(FileHash::from(fingerprint).to_string(), text);
    }
}

#[test]
fn a_fingerprint_has_one_text_only() {
    let good = "00ff5bdc9bbf7d1e2ce951c0dbf09c0c";
    assert_eq!(good.parse::<Fingerprint>().expect("32 digits").to_bytes()[..2], [0x00, 0xff]);
    for bad in ["", "0", &good[1..], &format!("{good}0"), &good.to_uppercase(), &format!("+{}", &good[1..])] {
        let error = bad.parse::<Fingerprint>().expect_err("only 32 lower-case hex digits");
        assert!(error.to_string().starts_with("cannot read \""), "{error}");
    }
    assert!(serde_json::from_str::<Fingerprint>("\"xyz\"").is_err());
}
