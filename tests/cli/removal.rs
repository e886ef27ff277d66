//! `rm` and `undo`: to the trash by a rename, and back.

use std::fs;

use chsnap::ops;
use chsnap::plan::SnapshotReference;

use crate::cli::support::{Lab, ids, names, time, tree};

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
    assert!(lab.run(1, &["undo", &nights[3]]).stderr.contains("is not in the trash"));
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
fn undo_without_removals_says_so() {
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

/// Two snapshots of one second, and a later one: the id of the first is the beginning of the second's.
#[test]
fn a_complete_id_matches_itself_alone_and_one_in_the_trash_says_so() {
    let lab = Lab::new();
    let same: Vec<String> = (0..2).map(|_| lab.snapshot("2026-11-01T02:00:00Z")).collect();
    let later = lab.snapshot("2026-11-02T02:00:00Z");
    assert_eq!(same[1], format!("{}-2", same[0]));
    lab.run(0, &["rm", &same[0]]);
    for command in ["rm", "show", "pin"] {
        let run = lab.run(2, &[command, &same[0]]);
        assert!(
            run.stderr.contains("is in the trash") && run.stderr.contains(&format!("chsnap undo {}", same[0])),
            "{run:?}"
        );
    }
    assert_eq!(lab.listed(0), [same[1].clone(), later]);
    assert_eq!(ids(&lab.chsnap().json(0, &["undo", &same[0]])["restored"], ""), same[..1]);
}

#[test]
fn a_name_that_one_snapshot_has_names_it_and_one_that_two_have_is_refused() {
    let lab = Lab::new();
    let release = lab.labeled("2026-11-01T02:00:00Z", "release 26.9".as_ref());
    let nightly: Vec<String> =
        (2..=3).map(|day| lab.labeled(&format!("2026-11-{day:02}T02:00:00Z"), "nightly".as_ref())).collect();
    assert_eq!(lab.chsnap().json(0, &["show", "release 26.9"])["id"], release.as_str());
    let run = lab.run(2, &["rm", "nightly"]);
    assert!(nightly.iter().all(|id| run.stderr.contains(id)), "{}", run.stderr);
    assert!(lab.run(2, &["show", "nightli"]).stderr.contains("did you mean nightly?"));
    lab.run(0, &["rm", "release 26.9"]);
    assert_eq!(ids(&lab.chsnap().json(0, &["undo", "release 26.9"])["restored"], ""), [release]);
    for name in ["latest", "latest~3", "2026", "2026-11-01T020000Z"] {
        let run = lab.chsnap().expect(2, &["create", "--name", name]);
        assert!(run.stderr.contains("cannot be the name of a snapshot"), "{name}: {}", run.stderr);
    }
}

#[test]
fn the_trash_says_since_when_by_what_and_why_and_undo_says_when_it_was_emptied() {
    let (lab, nights) = Lab::with_nights(4);
    lab.run(0, &["rm", &nights[0]]);
    lab.run(0, &["prune", "--keep-last", "2", "--yes"]);
    let document = lab.chsnap().json(0, &["list", "--trash"]);
    let trash = document["trash"].as_array().expect("rows");
    assert_eq!(ids(&document["trash"], "id"), nights[..2]);
    assert_eq!((&trash[0]["by"], &trash[1]["by"]), (&"rm".into(), &"prune".into()));
    assert!(trash[1]["why"].as_str().expect("a text").starts_with("keep 2 last"), "{document}");
    assert!(trash[0]["removed"].is_string() && document["freed_bytes"].as_u64() > trash[0]["freed_bytes"].as_u64());
    assert_eq!(lab.chsnap().json(0, &["undo", "--list"])["trash"], document["trash"]);
    assert!(lab.run(0, &["list", "--trash"]).stdout.contains("keep 2 last"));
    let dry = lab.chsnap().json(0, &["gc", "--dry-run"]);
    assert_eq!((ids(&dry["removed"], ""), &dry["freed_bytes"]), (nights[..2].to_vec(), &document["freed_bytes"]));
    let young = lab.chsnap().json(0, &["gc", "--older-than", "1h"]);
    assert_eq!((ids(&young["removed"], "").len(), ids(&young["spared"], "")), (0, nights[..2].to_vec()));
    assert_eq!(names(&lab.trash()).len(), 2);
    lab.run(0, &["gc"]);
    let run = lab.run(1, &["undo"]);
    assert!(run.stderr.contains(&nights[1]) && run.stderr.contains("prune had removed it"), "{}", run.stderr);
    let run = lab.run(1, &["undo", &nights[0]]);
    assert!(run.stderr.contains("was unlinked by gc at") && run.stderr.contains("rm had removed it"), "{}", run.stderr);
}

#[test]
fn a_dry_run_of_rm_says_what_it_frees_and_touches_nothing() {
    let (lab, nights) = Lab::with_nights(3);
    let dry = lab.chsnap().json(0, &["rm", "--dry-run", &nights[0], &nights[1]]);
    assert_eq!((&dry["state"], ids(&dry["removed"], "")), (&"dry_run".into(), nights[..2].to_vec()));
    assert!(dry["freed_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{dry}");
    lab.run(13, &["rm", "--dry-run", &nights[0], &nights[1], &nights[2]]);
    assert_eq!(lab.listed(0), nights);
}
