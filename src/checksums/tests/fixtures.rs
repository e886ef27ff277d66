use std::fs;
use std::path::{Path, PathBuf};

use crate::checksums::{Checksums, ChecksumsError, FileChecksum, FileName, hash_bytes};

const WHOLE_PARTS: [&str; 4] = ["18.16-tiny", "26.9-compact", "26.9-wide-projection", "26.9-wide-projection/p.proj"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/checksums/fixtures")
}

fn checksums_of(part: &Path) -> Checksums {
    let bytes = fs::read(part.join("checksums.txt")).expect("a fixture has a checksums.txt");
    Checksums::parse(&bytes).expect("a fixture is sound")
}

fn listed(checksums: &Checksums) -> String {
    let line = |(name, checksum): (&FileName, &FileChecksum)| {
        let FileChecksum { size, hash, uncompressed } = checksum;
        match uncompressed {
            None => format!("{name}\t{size}\t{hash}\n"),
            Some((raw_size, raw_hash)) => {
                format!("{name}\t{size}\t{hash}\t{raw_size}\t{raw_hash}\n")
            }
        }
    };
    checksums.iter().map(line).collect()
}

#[test]
fn real_checksums_have_the_fingerprint_that_the_server_prints() {
    let table = fs::read_to_string(fixtures().join("fingerprints.tsv")).expect("fingerprints.tsv");
    let mut from_server = 0;
    for line in table.lines() {
        let [name, count, fingerprint, source] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("four fields in {line}");
        };
        let checksums = checksums_of(&fixtures().join(name));
        assert_eq!(checksums.len().to_string(), count, "{name}");
        assert_eq!(checksums.fingerprint().to_string(), fingerprint, "{name}");
        from_server += usize::from(source == "system.parts");
    }
    assert_eq!((table.lines().count(), from_server), (10, 7));
}

#[test]
fn real_checksums_list_the_expected_entries() {
    let mut compared = 0;
    for entry in fs::read_dir(fixtures()).expect("the fixtures") {
        let part = entry.expect("a fixture").path();
        let expected =
            fixtures().join(format!("{}.entries.tsv", part.file_name().expect("an entry has a name").display()));
        if let Ok(expected) = fs::read_to_string(expected) {
            assert_eq!(listed(&checksums_of(&part)), expected, "{}", part.display());
            compared += 1;
        }
    }
    assert_eq!(compared, 9);
}

#[test]
fn the_files_of_real_parts_have_the_recorded_sizes_and_hashes() {
    let mut compared = 0;
    for name in WHOLE_PARTS {
        let part = fixtures().join(name);
        for (file, checksum) in checksums_of(&part).files() {
            let bytes = fs::read(part.join(file.as_path())).expect("a listed file exists");
            assert_eq!(bytes.len() as u64, checksum.size, "{name}/{file}");
            assert_eq!(hash_bytes(&bytes), checksum.hash, "{name}/{file}");
            compared += 1;
        }
    }
    assert_eq!(compared, 10 + 7 + 14 + 7);
}

#[test]
fn a_projection_entry_is_what_the_projection_sums_up_to() {
    let part = fixtures().join("26.9-wide-projection");
    let checksums = checksums_of(&part);
    let projections = checksums.projections().collect::<Vec<_>>();
    let [(name, recorded)] = projections[..] else { panic!("one projection") };
    assert_eq!(name.as_bytes(), b"p.proj");
    assert_eq!(checksums_of(&part.join(name.as_path())).as_projection(), *recorded);
    assert_eq!(checksums.get(b"p.proj"), Some(recorded));
    assert_eq!(checksums.files().count() + 1, checksums.len());
}

#[test]
fn every_damage_to_a_real_file_is_noticed() {
    for name in WHOLE_PARTS {
        let path = fixtures().join(name).join("checksums.txt");
        let mut bytes = fs::read(path).expect("a fixture has a checksums.txt");
        for len in 0..bytes.len() {
            assert!(Checksums::parse(&bytes[..len]).is_err(), "{name}: first {len} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                bytes[at] ^= 1 << bit;
                assert!(Checksums::parse(&bytes).is_err(), "{name}: bit {bit} of byte {at}");
                bytes[at] ^= 1 << bit;
            }
        }
        bytes.push(0);
        assert!(matches!(Checksums::parse(&bytes), Err(ChecksumsError::Truncated(_))), "{name}");
    }
}
