//! Leftovers of an interrupted `create` in `incoming/`, and `gc` without a server.

use std::fs;
use std::path::PathBuf;

use chsnap::repo::ShadowPlace;
use serde_json::{Value, json};

use crate::cli::support::{Lab, ids, names, time, tree};

const ID: &str = "2026-12-01T020000Z";

struct Interrupted {
    lab: Lab,
    disk: PathBuf,
    freezes: Vec<String>,
}

/// A run that ended between its freezes and its seal.
fn interrupted(freezes: usize) -> Interrupted {
    let (lab, _) = Lab::with_nights(1);
    let disk = lab.path().join("disk");
    let names = lab.locked(|locked| {
        let places = vec![ShadowPlace { disk: "default".to_owned(), path: disk.clone(), inode: None }];
        let mut incoming = locked.begin(time("2026-12-01T02:00:00Z"), "http://127.0.0.1:9", places).expect("it begins");
        fs::create_dir_all(incoming.dir().path().join("data/shop/orders/all_1_1_0")).expect("a part");
        fs::write(incoming.dir().path().join("data/shop/orders/all_1_1_0/data.bin"), "x").expect("a file");
        let announce = |_| incoming.announce_freeze(time("2026-12-01T02:00:00Z")).expect("a freeze").to_string();
        (0..freezes).map(announce).collect::<Vec<String>>()
    });
    for name in names.iter().map(String::as_str).chain(["someone_else"]) {
        fs::create_dir_all(disk.join("shadow").join(name).join("store")).expect("a shadow");
    }
    Interrupted { lab, disk, freezes: names }
}

impl Interrupted {
    fn intent(&self) -> PathBuf {
        self.lab.repo().join("incoming").join(format!("{ID}.intent.json"))
    }

    fn incoming(&self) -> Vec<std::ffi::OsString> {
        names(&self.lab.repo().join("incoming"))
    }

    fn edit(&self, change: impl FnOnce(&mut Value)) {
        let text = fs::read_to_string(self.intent()).expect("an intent");
        let mut intent: Value = serde_json::from_str(&text).expect("JSON");
        change(&mut intent);
        fs::write(self.intent(), intent.to_string()).expect("written");
    }
}

#[test]
fn a_leftover_without_a_freeze_is_removed_by_gc() {
    for with_intent in [true, false] {
        let left = interrupted(0);
        if !with_intent {
            fs::remove_file(left.intent()).expect("removed");
        }
        let document = left.lab.chsnap().json(0, &["gc"]);
        assert_eq!((&document["files"], &document["removed"]), (&1.into(), &json!([])));
        assert!(left.incoming().is_empty() && names(&left.lab.trash()).is_empty());
        assert_eq!(left.lab.listed(0).len(), 1);
    }
}

#[test]
fn an_intent_with_freezes_stays_until_the_server_can_be_asked() {
    let left = interrupted(2);
    let shadow = tree(&left.disk);
    for _ in 0..2 {
        let document = left.lab.chsnap().json(3, &["gc"]);
        let warnings = ids(&document["warnings"], "");
        assert!(left.freezes.iter().all(|freeze| warnings.concat().contains(freeze)), "{warnings:?}");
        // The tree goes, the shadow and the word of it stay.
        assert_eq!(left.incoming(), [format!("{ID}.intent.json").as_str()]);
        assert_eq!(tree(&left.disk), shadow);
    }
    let run = left.lab.run(3, &["gc"]);
    assert!(run.stderr.contains("warning:") && run.stderr.contains(&left.freezes[0]), "{}", run.stderr);
}

#[test]
fn readers_and_rm_leave_leftovers_alone() {
    let left = interrupted(1);
    left.lab.snapshot("2026-11-09T02:00:00Z");
    let before = left.incoming();
    left.lab.run(0, &["list"]);
    left.lab.run(0, &["show"]);
    left.lab.run(0, &["rm", "latest"]);
    left.lab.run(0, &["undo"]);
    assert_eq!(left.incoming(), before);
}

#[test]
fn an_unreadable_intent_is_reported_and_kept() {
    for text in ["", "{", "\0\0", "[]"] {
        let left = interrupted(1);
        fs::remove_dir_all(left.lab.repo().join("incoming").join(ID)).expect("removed");
        fs::write(left.intent(), text).expect("spoilt");
        let document = left.lab.chsnap().json(3, &["gc"]);
        assert!(ids(&document["warnings"], "").concat().contains(ID), "{document}");
        assert!(left.intent().is_file());
    }
}

#[test]
fn an_intent_that_names_what_is_not_ours_leads_nowhere() {
    for name in ["someone_else", "../x", "chsnap_00000000_20261201020000_00000001", "", "..", "/etc", "chsnap_a/../.."]
    {
        let left = interrupted(1);
        fs::remove_dir_all(left.lab.repo().join("incoming").join(ID)).expect("removed");
        left.edit(|intent| intent["freezes"] = json!([name]));
        let before = tree(&left.disk);
        left.lab.chsnap().json(3, &["gc"]);
        assert_eq!(tree(&left.disk), before, "{name:?}");
    }
}

#[test]
fn an_intent_under_another_id_is_not_acted_on() {
    let left = interrupted(1);
    left.edit(|intent| intent["id"] = json!("2026-11-01T020000Z"));
    fs::remove_dir_all(left.lab.repo().join("incoming").join(ID)).expect("removed");
    left.lab.chsnap().json(3, &["gc"]);
    assert_eq!(left.lab.listed(0).len(), 1);
}

#[test]
fn other_names_under_incoming_are_not_touched() {
    let (lab, _) = Lab::with_nights(1);
    let incoming = lab.repo().join("incoming");
    for name in ["precious", "2026-11-22", "x.intent.json.d"] {
        fs::create_dir(incoming.join(name)).expect("a directory");
    }
    fs::write(incoming.join("note.intent.json"), "{}").expect("a file");
    lab.run(0, &["gc"]);
    assert_eq!(names(&incoming).len(), 4);
}

#[test]
fn a_link_named_like_a_snapshot_under_incoming_leads_nowhere() {
    let (lab, nights) = Lab::with_nights(1);
    let before = tree(&lab.at(&nights[0]));
    std::os::unix::fs::symlink(lab.at(&nights[0]), lab.repo().join("incoming").join(ID)).expect("a link");
    let code = lab.chsnap().run(&["gc"]).code;
    assert!(code == 0 || code == 3, "{code}");
    assert_eq!(tree(&lab.at(&nights[0])), before);
}

#[test]
fn a_discarded_tree_that_was_not_unlinked_to_its_end_is_finished_and_never_offered() {
    let (lab, _) = Lab::with_nights(1);
    fs::create_dir_all(lab.trash().join(format!("{ID}.discarded-00000001")).join("data/x")).expect("a tree");
    lab.run(1, &["undo"]);
    assert_eq!(lab.chsnap().json(0, &["gc"])["directories"], 3);
    assert!(names(&lab.trash()).is_empty());
}
