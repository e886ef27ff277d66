//! `gc` empties the trash, and unlinks only what is chsnap's own.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};

use crate::cli::support::{Lab, PART, ids, names, tree};

#[test]
fn gc_empties_the_trash_and_says_what_it_unlinked() {
    let (lab, nights) = Lab::with_nights(3);
    lab.run(0, &["rm", &nights[0], &nights[1]]);
    let kept = tree(&lab.at(&nights[2]));
    let document = lab.chsnap().json(0, &["gc"]);
    let mut removed = ids(&document["removed"], "");
    removed.sort();
    assert_eq!((&document["schema"], removed), (&"chsnap.gc.v1".into(), nights[..2].to_vec()));
    // Two files of the part, the manifest and the list of parts; four directories down to the part, and the snapshot.
    assert_eq!((&document["files"], &document["directories"]), (&8.into(), &10.into()));
    assert!(document["freed_bytes"].is_u64());
    assert!(names(&lab.trash()).is_empty());
    assert_eq!(lab.listed(0), nights[2..]);
    assert_eq!(tree(&lab.at(&nights[2])), kept);
    lab.run(1, &["undo"]);
}

#[test]
fn gc_twice_finds_nothing_more_and_never_asks() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(0, &["rm", &nights[0]]);
    assert!(lab.run(0, &["gc"]).stdout.contains("removed 1 snapshot for good"));
    assert!(lab.run(0, &["gc", "--yes"]).stdout.contains("nothing to remove"));
    let document = lab.chsnap().json(0, &["gc"]);
    assert_eq!((&document["files"], &document["removed"]), (&0.into(), &serde_json::json!([])));
}

#[test]
fn live_files_keep_content_mode_and_times_when_their_snapshots_go() {
    let (lab, nights) = Lab::with_nights(3);
    let live = tree(&lab.live());
    let other = lab.at(&nights[2]);
    fs::hard_link(lab.at(&nights[0]).join(PART).join("data.bin"), other.join("shared.bin")).expect("a shared file");
    let before = tree(&other);
    lab.run(0, &["rm", &nights[0], &nights[1]]);
    lab.run(0, &["gc"]);
    assert_eq!(tree(&lab.live()), live);
    assert_eq!(tree(&other), before);
    for path in [lab.live().join(format!("{}.data.bin", nights[1])), lab.live().join(format!("{}.data.bin", nights[0]))]
    {
        let links = path.metadata().expect("a live file").nlink();
        assert_eq!(links, if path.ends_with(format!("{}.data.bin", nights[0])) { 2 } else { 1 });
    }
}

#[test]
fn foreign_names_in_the_trash_are_never_touched() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(0, &["rm", &nights[0]]);
    for name in ["precious", "2026-11-22", "precious.deleting-00000001", "x2026-11-22T020000Z", ".hidden"] {
        fs::create_dir(lab.trash().join(name)).expect("a directory");
        fs::write(lab.trash().join(name).join("file"), name).expect("a file");
    }
    fs::write(lab.trash().join("note.txt"), "x").expect("a file");
    lab.run(0, &["gc"]);
    assert_eq!(
        names(&lab.trash()),
        [".hidden", "2026-11-22", "note.txt", "precious", "precious.deleting-00000001", "x2026-11-22T020000Z"]
    );
    assert!(lab.trash().join("precious/file").is_file());
}

#[test]
fn a_snapshot_that_an_earlier_gc_began_to_unlink_is_finished_and_never_offered() {
    let (lab, nights) = Lab::with_nights(4);
    lab.run(0, &["rm", &nights[0], &nights[1]]);
    let condemned = format!("{}.deleting-0123abcd", nights[0]);
    fs::rename(lab.trash().join(&nights[0]), lab.trash().join(&condemned)).expect("half deleted");
    fs::remove_file(lab.trash().join(&condemned).join("manifest.json")).expect("half deleted");
    assert_eq!(ids(&lab.chsnap().json(0, &["list"])["removed"], ""), nights[1..2]);
    lab.run(1, &["undo", &nights[0]]);
    assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), nights[1..2]);
    lab.run(1, &["undo"]);
    // Its id is not given again while something of it is there.
    assert_eq!(lab.snapshot("2026-11-01T02:00:00Z"), "2026-11-01T020000Z-2");
    lab.run(0, &["gc"]);
    assert!(names(&lab.trash()).is_empty());
    assert_eq!(lab.listed(0).len(), 4);
}

#[test]
fn symbolic_links_in_the_trash_are_unlinked_and_not_followed() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(0, &["rm", &nights[0]]);
    let outside = lab.path().join("outside");
    fs::create_dir(&outside).expect("a directory");
    fs::write(outside.join("precious"), "x").expect("a file");
    let before = tree(&outside);
    let part = lab.trash().join(&nights[0]).join(PART);
    symlink(&outside, part.join("directory")).expect("a link");
    symlink(outside.join("precious"), part.join("file")).expect("a link");
    symlink("../../../../../../outside", part.join("relative")).expect("a link");
    symlink(&outside, lab.trash().join("2026-01-01T000000Z")).expect("a link");
    symlink(&outside, lab.trash().join("2026-01-02T000000Z.deleting-1")).expect("a link");
    lab.run(0, &["gc"]);
    assert!(names(&lab.trash()).is_empty());
    assert_eq!(tree(&outside), before);
}

#[test]
fn a_link_in_the_trash_that_is_named_like_a_snapshot_is_not_brought_back() {
    let (lab, nights) = Lab::with_nights(1);
    symlink(lab.at(&nights[0]), lab.trash().join("2026-01-01T000000Z")).expect("a link");
    lab.run(1, &["undo"]);
    lab.run(1, &["undo", "2026-01-01T000000Z"]);
    assert_eq!(lab.listed(0), nights);
}

#[test]
fn deep_and_wide_trees_are_removed_whole() {
    let (lab, nights) = Lab::with_nights(2);
    let part = lab.at(&nights[0]).join(PART);
    let deep = (0..60).fold(part.clone(), |path, level| path.join(format!("d{level}")));
    fs::create_dir_all(&deep).expect("directories");
    for file in 0..300 {
        fs::write(part.join(format!("f{file}")), "").expect("a file");
    }
    lab.run(0, &["rm", &nights[0]]);
    let document = lab.chsnap().json(0, &["gc", "--jobs", "2"]);
    assert_eq!((&document["files"], &document["directories"]), (&304.into(), &65.into()));
    assert!(names(&lab.trash()).is_empty());
}

#[test]
fn the_pin_goes_with_the_snapshot_and_stays_with_one_of_the_same_id() {
    let (lab, nights) = Lab::with_nights(3);
    for id in &nights[..2] {
        lab.pin(id, r#"{"reason": "x", "since": "2026-11-01T03:00:00Z"}"#);
    }
    lab.run(0, &["rm", "--force", &nights[0], &nights[1]]);
    // The second one was put back by hand, for instance from another disk.
    fs::create_dir(lab.at(&nights[1])).expect("a directory");
    fs::copy(lab.trash().join(&nights[1]).join("manifest.json"), lab.at(&nights[1]).join("manifest.json"))
        .expect("a copy");
    lab.run(0, &["gc"]);
    assert_eq!(names(&lab.repo().join("pins")), [format!("{}.json", nights[1]).as_str()]);
}

#[test]
fn a_leased_snapshot_stays_in_the_trash_until_its_reader_has_ended() {
    let (lab, nights) = Lab::with_nights(3);
    let repository = lab.open();
    let lease = repository.lease(nights[0].parse().expect("an id")).expect("a lease");
    let second = repository.lease(nights[0].parse().expect("an id")).expect("readers do not exclude each other");
    let before = tree(&lab.at(&nights[0]));
    lab.run(0, &["rm", &nights[0], &nights[1]]);
    for _ in 0..2 {
        let document = lab.chsnap().json(3, &["gc"]);
        assert!(document["warnings"].to_string().contains(&nights[0]), "{document}");
        assert_eq!(names(&lab.trash()), [nights[0].as_str()]);
        assert_eq!(tree(&lab.trash().join(&nights[0])), before);
        assert!(lease.dir().read("manifest.json", 1 << 20).is_ok(), "its reader still has it");
    }
    let gone = repository.lease(nights[1].parse().expect("an id"));
    assert!(gone.is_err_and(|error| error.to_string().contains("there is no snapshot")), "it was removed, not damaged");
    drop(lease);
    lab.chsnap().json(3, &["gc"]);
    drop(second);
    lab.chsnap().json(0, &["gc"]);
    assert!(names(&lab.trash()).is_empty());
}
