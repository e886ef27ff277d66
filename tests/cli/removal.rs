//! `rm` and `undo`: to the trash by a rename, and back.

use std::fs;

use chsnap::ops;
use chsnap::plan::SnapshotReference;

use crate::support::{Lab, ids, names, time, tree};

#[test]
fn rm_moves_a_snapshot_to_the_trash_and_undo_brings_back_the_same_inodes() {
    let (lab, nights) = Lab::with_nights(3);
    let before = tree(&lab.at(&nights[0]));
    let document = lab.chsnap().json(0, &["rm", &nights[0]]);
    assert_eq!((&document["schema"], ids(&document["removed"], "")), (&"chsnap.rm.v1".into(), nights[..1].to_vec()));
    assert_eq!(tree(&lab.trash().join(&nights[0])), before);
    assert_eq!(lab.listed(0), nights[1..]);
    assert_eq!(ids(&lab.chsnap().json(0, &["list"])["removed"], ""), nights[..1]);
    let document = lab.chsnap().json(0, &["undo"]);
    assert_eq!(document["schema"], "chsnap.undo.v1");
    assert_eq!((ids(&document["restored"], ""), ids(&document["remaining"], "")), (nights[..1].to_vec(), Vec::new()));
    assert_eq!(tree(&lab.at(&nights[0])), before);
    assert_eq!(lab.listed(0), nights);
}

#[test]
fn rm_and_undo_say_what_they_did() {
    let (lab, nights) = Lab::with_nights(2);
    let text = lab.run(0, &["rm", "--yes", &nights[0]]).stdout;
    assert!(text.contains(&format!("removed {}", nights[0])) && text.contains("undo"), "{text}");
    assert!(lab.run(0, &["list"]).stdout.contains("1 removed snapshot in the trash"));
    assert!(lab.run(0, &["undo"]).stdout.contains(&format!("brought back {}", nights[0])));
}

#[test]
fn the_links_that_live_files_have_are_all_there_after_rm_and_undo() {
    let (lab, nights) = Lab::with_nights(2);
    let live = tree(&lab.live());
    lab.run(0, &["rm", &nights[0]]);
    lab.run(0, &["undo"]);
    assert_eq!(tree(&lab.live()), live);
}

#[test]
fn undo_brings_back_exactly_what_the_last_rm_took() {
    let (lab, nights) = Lab::with_nights(5);
    lab.run(0, &["rm", &nights[0]]);
    lab.run(0, &["rm", &nights[3], &nights[1]]);
    let document = lab.chsnap().json(0, &["undo"]);
    assert_eq!(ids(&document["restored"], ""), [nights[1].clone(), nights[3].clone()]);
    assert_eq!(ids(&document["remaining"], ""), nights[..1]);
    assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), nights[..1]);
    assert_eq!(lab.listed(0), nights);
    lab.run(1, &["undo"]);
}

#[test]
fn undo_brings_back_what_is_left_of_the_last_rm() {
    let (lab, nights) = Lab::with_nights(4);
    lab.run(0, &["rm", &nights[0], &nights[1]]);
    assert_eq!(ids(&lab.chsnap().json(0, &["undo", &nights[0]])["restored"], ""), nights[..1]);
    assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), nights[1..2]);
    assert_eq!(lab.listed(0), nights);
}

#[test]
fn undo_by_id_or_prefix_takes_only_from_the_trash() {
    let (lab, nights) = Lab::with_nights(4);
    lab.run(0, &["rm", &nights[0]]);
    lab.run(0, &["rm", &nights[1]]);
    lab.run(1, &["undo", &nights[3]]);
    assert_eq!(lab.listed(0), nights[2..]);
    // One wrong name, and nothing is moved.
    lab.run(1, &["undo", &nights[0], "2031"]);
    assert_eq!(lab.listed(0), nights[2..]);
    let document = lab.chsnap().json(0, &["undo", "2026-11-01"]);
    assert_eq!(
        (ids(&document["restored"], ""), ids(&document["remaining"], "")),
        (nights[..1].to_vec(), nights[1..2].to_vec())
    );
}

#[test]
fn nothing_to_undo_is_said() {
    let (lab, _) = Lab::with_nights(1);
    let error = lab.chsnap().json(1, &["undo"]);
    assert!(error["error"].as_str().is_some_and(|text| text.contains("no removed snapshot")), "{error}");
}

#[test]
fn undo_without_a_journal_brings_back_the_newest() {
    let (lab, nights) = Lab::with_nights(4);
    lab.run(0, &["rm", &nights[0], &nights[1]]);
    for name in names(&lab.repo().join("journal")) {
        fs::write(lab.repo().join("journal").join(name), "\0garbage\n{\"event\": \"removed\"").expect("spoilt");
    }
    assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), nights[1..2]);
    // The line that was cut short hides nothing that is written behind it.
    lab.run(0, &["rm", &nights[2], &nights[1]]);
    assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), nights[1..3]);
}

#[test]
fn a_pinned_snapshot_goes_only_by_force_and_its_pin_comes_back_with_it() {
    for pin in [r#"{"reason": "year end", "since": "2026-11-01T03:00:00Z"}"#, "garbage"] {
        let (lab, nights) = Lab::with_nights(3);
        lab.pin(&nights[0], pin);
        // The others that are named stay too.
        let document = lab.chsnap().json(13, &["rm", &nights[1], &nights[0]]);
        assert_eq!((&document["schema"], &document["state"]), (&"chsnap.rm.v1".into(), &"refused".into()));
        assert!(document["reason"].as_str().is_some_and(|reason| reason.contains("pinned")), "{document}");
        let run = lab.run(13, &["rm", &nights[0]]);
        assert!(run.stderr.contains("pinned") && run.stderr.contains("--force"), "{}", run.stderr);
        assert_eq!(lab.listed(0), nights);
        lab.run(0, &["rm", "--force", &nights[0]]);
        lab.run(0, &["undo"]);
        assert_eq!(lab.chsnap().json(0, &["list"])["snapshots"][0]["pinned"], true);
    }
}

#[test]
fn the_last_complete_snapshots_go_only_by_force() {
    let (lab, nights) = Lab::with_nights(2);
    lab.run(13, &["rm", &nights[0], &nights[1]]);
    assert_eq!(lab.listed(0), nights);
    lab.run(0, &["rm", &nights[0]]);
    let run = lab.run(13, &["rm", "latest"]);
    assert!(run.stderr.contains("last complete"), "{}", run.stderr);
    assert_eq!(lab.listed(0), nights[1..]);
    lab.run(0, &["rm", "latest", "--force"]);
    assert!(lab.listed(0).is_empty());
    lab.run(0, &["undo"]);
    assert_eq!(lab.listed(0), nights[1..]);
}

#[test]
fn an_unknown_name_among_valid_ones_changes_nothing() {
    let (lab, nights) = Lab::with_nights(3);
    let before = (tree(&lab.repo().join("snapshots")), tree(&lab.repo().join("journal")));
    for wrong in ["2031", "latest~9", "2026-11"] {
        lab.run(1, &["rm", &nights[0], wrong, &nights[1]]);
        assert_eq!((tree(&lab.repo().join("snapshots")), tree(&lab.repo().join("journal"))), before, "{wrong}");
    }
}

#[test]
fn one_snapshot_named_in_several_ways_is_removed_once() {
    let (lab, nights) = Lab::with_nights(3);
    let document = lab.chsnap().json(0, &["rm", &nights[0], "latest~2", "2026-11-01", &nights[0]]);
    assert_eq!(ids(&document["removed"], ""), nights[..1]);
    assert_eq!(lab.listed(0), nights[1..]);
}

#[test]
fn latest_points_to_the_newest_that_is_left() {
    let (lab, nights) = Lab::with_nights(3);
    let latest = || fs::read_link(lab.repo().join("latest")).ok();
    let expected = |id: &str| Some(std::path::Path::new("snapshots").join(id));
    assert_eq!(latest(), expected(&nights[2]));
    lab.run(0, &["rm", "latest"]);
    assert_eq!(latest(), expected(&nights[1]));
    assert!(lab.repo().join("latest/manifest.json").is_file(), "the link leads to the snapshot");
    lab.run(0, &["undo"]);
    assert_eq!(latest(), expected(&nights[2]));
    lab.run(0, &["rm", "--force", &nights[0], &nights[1], &nights[2]]);
    assert_eq!(latest(), None);
    lab.run(0, &["undo"]);
    assert_eq!(latest(), expected(&nights[2]));
}

#[test]
fn an_id_that_is_in_the_trash_is_not_given_again() {
    let lab = Lab::new();
    let first = lab.snapshot("2026-11-22T02:00:00Z");
    lab.snapshot("2026-11-23T02:00:00Z");
    lab.run(0, &["rm", &first]);
    assert_eq!(lab.snapshot("2026-11-22T02:00:00Z"), "2026-11-22T020000Z-2");
    lab.run(0, &["undo"]);
    assert_eq!(lab.listed(0).len(), 3);
}

#[test]
fn undo_never_puts_a_snapshot_over_another_one() {
    let (lab, nights) = Lab::with_nights(3);
    lab.run(0, &["rm", &nights[0], &nights[1]]);
    fs::create_dir(lab.at(&nights[1])).expect("a directory in its place");
    fs::write(lab.at(&nights[1]).join("precious"), "x").expect("a file");
    let run = lab.run(1, &["undo"]);
    assert!(run.stderr.contains(&nights[1]), "{}", run.stderr);
    assert_eq!(names(&lab.at(&nights[1])), ["precious"]);
    // The other one that went with it stays too: all or nothing.
    assert_eq!(names(&lab.trash()), [nights[0].as_str(), &nights[1]]);
}

#[test]
fn undo_after_the_clock_was_set_back_within_a_month_goes_by_the_order_of_removal() {
    let (lab, nights) = Lab::with_nights(4);
    lab.locked(|locked| {
        let rm = |id: &str, now: &str| {
            let reference: SnapshotReference = id.parse().expect("a reference");
            ops::remove(locked, &[reference], false, time(now)).expect("removed");
        };
        rm(&nights[1], "2026-11-25T02:00:00Z");
        rm(&nights[0], "2026-11-05T02:00:00Z");
    });
    assert_eq!(ids(&lab.chsnap().json(0, &["undo"])["restored"], ""), nights[..1]);
}
