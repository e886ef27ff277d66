//! A push notices objects that the store has lost, and sends them again.

use std::fs;

use crate::remote::support::{Lab, at, content, document};
use crate::store::part;

fn assert_comes_back(lab: &Lab, id: chsnap::model::SnapshotId, name: &str) {
    document(&lab.chsnap(), &["remote", "verify", &lab.address(), "--data"], 0);
    let clean = lab.elsewhere(name);
    document(&clean, &["pull", &id.to_string(), "--from", &lab.address()], 0);
    assert_eq!(content(&at(&clean, id)), content(&lab.host.at(id)));
}

/// A snapshot that is pushed, and a later one that has the same large file.
#[test]
fn a_push_that_reuses_a_lost_or_cut_object_sends_it_again_before_its_commit() {
    for is_cut in [false, true] {
        let lab = Lab::new();
        lab.host.snapshot();
        lab.push("latest");
        let path = lab.largest_object();
        let bytes = fs::read(&path).expect("it is read");
        if is_cut {
            fs::write(&path, &bytes[..bytes.len() / 2]).expect("cut");
        } else {
            fs::remove_file(&path).expect("lost");
        }
        lab.host.put("a", "all_3_3_0", &part(3, 4, false));
        let second = lab.host.snapshot();
        let pushed = lab.push("latest");
        let snapshot = &pushed["snapshots"][0];
        assert_eq!((snapshot["state"].as_str(), snapshot["reused_parts"].as_u64()), (Some("pushed"), Some(2)));
        assert!(snapshot["sent"]["bytes"].as_u64().expect("a number") >= bytes.len() as u64, "{pushed}");
        assert_eq!(fs::read(&path).expect("it is there"), bytes);
        assert_comes_back(&lab, second, "clean");
    }
}

#[test]
fn an_object_that_is_cut_and_in_no_manifest_is_sent_again() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    lab.push("latest");
    let path = lab.largest_object();
    let bytes = fs::read(&path).expect("it is read");
    fs::write(&path, &bytes[..10]).expect("cut");
    fs::remove_dir_all(lab.store().join("snapshots")).expect("the push was killed before its commit");
    lab.push("latest");
    assert_comes_back(&lab, id, "clean");
}

#[test]
fn a_push_of_a_snapshot_that_is_there_sends_what_the_store_has_lost_of_it() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    lab.push("latest");
    let present = lab.push("latest");
    assert_eq!((present["present"].as_u64(), present["requests"]["puts"].as_u64()), (Some(1), Some(0)), "{present}");
    fs::remove_file(lab.largest_object()).expect("lost");
    let pushed = lab.push("latest");
    let snapshot = &pushed["snapshots"][0];
    assert_eq!((pushed["pushed"].as_u64(), snapshot["sent"]["objects"].as_u64()), (Some(1), Some(1)), "{pushed}");
    assert_comes_back(&lab, id, "clean");
    // Files that are grouped in another way are other objects, which the manifest must then have.
    let (path, _) = lab.objects().into_iter().min_by_key(|(_, bytes)| *bytes).expect("an object");
    fs::remove_file(path).expect("lost");
    document(&lab.chsnap(), &["push", "latest", "--to", &lab.address(), "--small", "0"], 0);
    assert_comes_back(&lab, id, "clean-2");
}

/// Objects that only the older snapshot needs, and objects that both need.
#[test]
fn what_a_check_misses_is_sent_by_the_push_that_it_names() {
    let lab = Lab::new();
    let first = lab.host.snapshot();
    lab.host.put("a", "all_3_3_0", &part(3, 4, false));
    fs::remove_dir_all(lab.host.live().join("b/all_1_1_0")).expect("dropped");
    lab.host.snapshot();
    lab.push("--new");
    let address = lab.address();
    for (path, _) in lab.objects() {
        for how in ["lost", "cut"] {
            match how {
                "lost" => fs::remove_file(&path).expect("lost"),
                _ => fs::write(&path, b"cut").expect("cut"),
            }
            // All that are there are not looked at.
            lab.push("--new");
            let run = lab.chsnap().run(&["remote", "check", &address]);
            assert_eq!(run.code, 12, "{}", run.stderr);
            let (_, hint) = run.stderr.split_once("hint: chsnap ").expect("a hint");
            let (command, _) = hint.split_once(", on a host").expect("its end");
            assert!(!command.contains("--resend"), "{hint}");
            document(&lab.chsnap(), &command.split(' ').collect::<Vec<_>>(), 0);
            document(&lab.chsnap(), &["remote", "verify", &address, "--data"], 0);
        }
    }
    assert_comes_back(&lab, first, "clean");
}

#[test]
fn an_object_with_other_bytes_and_a_damaged_manifest_are_healed_by_resend() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    lab.push("latest");
    let path = lab.largest_object();
    let mut bytes = fs::read(&path).expect("it is read");
    bytes[1000] ^= 1;
    fs::write(&path, &bytes).expect("swapped");
    let address = lab.address();
    let run = lab.chsnap().run(&["remote", "verify", &address, "--data"]);
    let hint = format!("hint: chsnap push {id} --to {address} --resend, on a host");
    assert_eq!((run.code, run.stderr.contains(&hint)), (12, true), "{}", run.stderr);
    let count = lab.objects().len() as u64;
    let pushed = document(&lab.chsnap(), &["push", "latest", "--to", &address, "--resend"], 0);
    let snapshot = &pushed["snapshots"][0];
    assert_eq!((pushed["pushed"].as_u64(), snapshot["sent"]["objects"].as_u64()), (Some(1), Some(count)), "{pushed}");
    assert_comes_back(&lab, id, "clean");
    let (manifest, _) = crate::remote::support::files_below(&lab.store().join("snapshots")).remove(0);
    fs::write(&manifest, b"nonsense").expect("damaged");
    let run = lab.chsnap().run(&["push", "latest", "--to", &address]);
    assert_eq!((run.code, run.stderr.contains("--resend")), (12, true), "{}", run.stderr);
    document(&lab.chsnap(), &["push", "latest", "--to", &address, "--resend"], 0);
    assert_comes_back(&lab, id, "clean-2");
}

#[test]
fn many_reused_objects_are_listed_and_few_are_requested() {
    let lab = Lab::new();
    for number in 10..130 {
        lab.host.put("a", &format!("all_{number}_{number}_0"), &part(number, 2, false));
    }
    lab.host.snapshot();
    lab.push("latest");
    lab.host.put("a", "all_500_500_0", &part(500, 2, false));
    lab.host.snapshot();
    let requests = &lab.push("latest")["requests"];
    assert!(requests["stats"].as_u64().expect("a number") < 20, "{requests}");
    let few = Lab::new();
    few.host.snapshot();
    few.push("latest");
    few.host.put("a", "all_3_3_0", &part(3, 4, false));
    few.host.snapshot();
    let asked = &few.push("latest")["requests"];
    assert_eq!(requests["lists"].as_u64(), asked["lists"].as_u64().map(|lists| lists + 1), "{requests} {asked}");
}

/// What was damaged on the server when it was taken is known wherever the snapshot is.
#[test]
fn damage_that_a_part_had_when_it_was_taken_is_known_where_it_is_pulled_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let freezer = crate::freezer::Freezer::start(&folder.path().join("ch"));
    freezer.add_part("events", "all_1_1_0");
    freezer.add_part("sound", "all_1_1_0");
    let live = folder.path().join("ch/data/d/events/all_1_1_0");
    let file = crate::store::names(&live).into_iter().find(|name| name.contains(".bin")).expect("a file of data");
    let size = fs::metadata(live.join(&file)).expect("there").len();
    fs::File::options().write(true).open(live.join(&file)).and_then(|file| file.set_len(size - 1)).expect("cut");
    let at = |name: &str| crate::chsnap_command::Chsnap::new(&folder.path().join(name));
    let chsnap = at("repo").url(freezer.url());
    chsnap.expect(0, &["init"]);
    chsnap.json(3, &["create"]);
    let address = format!("file://{}", folder.path().join("store").display());
    document(&chsnap, &["push", "latest", "--to", &address], 0);
    document(&chsnap, &["copy", "latest", "--to", &folder.path().join("copied").to_string_lossy()], 0);
    document(&at("pulled"), &["pull", "latest", "--from", &address], 0);
    document(&at("selected"), &["pull", "latest", "--from", &address, "--table", "d.events"], 0);
    document(&at("other"), &["pull", "latest", "--from", &address, "--table", "d.sound"], 0);
    for place in ["repo", "copied", "pulled", "selected"] {
        for command in [&["list"][..], &["show"]] {
            let told = document(&at(place), command, 3);
            let is_damage = |warning: &serde_json::Value| warning["kind"] == "damage_found";
            assert!(told["warning_list"].as_array().expect("warnings").iter().any(is_damage), "{place}: {told}");
        }
    }
    document(&at("other"), &["list"], 0);
}
