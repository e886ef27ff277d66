//! Prefetching: the parts of a large table are read while its freeze runs.

use std::fs;
use std::path::Path;

use chsnap::fs::real;
use chsnap::repo::{PartRecord, Repository, SnapshotState, read_parts};

use crate::chsnap_command::Chsnap;
use crate::freezer::{SLOW, served_repository};

/// The number of parts from which a table is prefetched.
const PARTS: usize = 1000;

fn records(chsnap: &Chsnap, id: &str) -> Vec<PartRecord> {
    let repository = Repository::open(chsnap.repo(), &real()).expect("a repository");
    let id = id.parse().expect("an id");
    let SnapshotState::Complete(manifest) = repository.snapshot(id).expect("readable") else { panic!("complete") };
    read_parts(&repository.snapshot_dir(id).expect("there"), &manifest.parts_blake3).expect("a list")
}

/// Another file in the place of the one that was linked.
fn replace_a_file(shadow: &Path) {
    let file = shadow.join("data/d").join(SLOW).join("all_700_700_0/k.bin");
    fs::remove_file(&file).expect("it is frozen");
    fs::write(&file, "x").expect("written");
}

#[test]
fn a_prefetched_part_equals_an_inspected_one() {
    let (_folder, freezer, chsnap) = served_repository();
    for number in 1..=PARTS {
        freezer.add_small_part(SLOW, &format!("all_{number}_{number}_0"));
    }
    let create = || chsnap.json(0, &["create", "--freeze", "all"])["id"].as_str().expect("an id").to_owned();

    // The first freeze makes every file read-only, so a part that was read before it differs from the frozen one.
    let first = records(&chsnap, &create());
    assert_eq!(first.len(), PARTS);
    for record in &first {
        assert_eq!((record.files, record.ownership.mode, record.exceptions.len()), (3, 0o440, 0), "{}", record.part);
        assert!(record.fingerprint.is_some() && record.damage.is_empty(), "{}", record.part);
    }
    // The second freeze changes nothing.
    let second = records(&chsnap, &create());
    for (first, second) in first.iter().zip(&second) {
        let directory_modified = first.directory_modified;
        assert_eq!(first, &PartRecord { directory_modified, ..second.clone() });
    }
    chsnap.expect(0, &["verify"]);

    freezer.play(replace_a_file);
    let error = chsnap.json(1, &["create", "--freeze", "all"])["error"].to_string();
    assert!(error.contains("part all_700_700_0: its file k.bin has 1 bytes"), "{error}");
}
