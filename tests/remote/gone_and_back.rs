//! A snapshot that is pushed, lost and pulled is unchanged; unchanged data costs nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use chsnap::model::SnapshotId;

use crate::chsnap_command::Chsnap;
use crate::remote::support::{LARGE_BYTES, Lab, at, content, document, large_part};
use crate::store::part;

#[test]
fn a_snapshot_comes_back_on_a_clean_host_with_every_byte_owner_mode_and_time() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    let pushed = lab.push("latest");
    assert_eq!((pushed["pushed"].as_u64(), pushed["state"].as_str()), (Some(1), Some("complete")));
    assert_eq!(pushed["snapshots"][0]["parts"], 3);
    let before = content(&lab.host.at(id));
    assert!(before.len() > 30, "{}", before.len());
    fs::remove_dir_all(lab.host.repo()).expect("everything is lost");

    let clean = lab.elsewhere("clean");
    let pulled = document(&clean, &["pull", "latest", "--from", &lab.address()], 0);
    assert_eq!((pulled["id"].as_str(), pulled["fetched_parts"].as_u64()), (Some(id.to_string().as_str()), Some(3)));
    assert_eq!(content(&at(&clean, id)), before);
    let verified = document(&clean, &["verify", "latest", "--level", "data"], 0);
    assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0), "{verified}");
    // It is the same snapshot: pushed again it is there, pulled again it is here.
    let again = document(&clean, &["push", "latest", "--to", &lab.address()], 0);
    assert_eq!((again["present"].as_u64(), again["pushed"].as_u64()), (Some(1), Some(0)));
    let again = document(&clean, &["pull", &id.to_string(), "--from", &lab.address()], 0);
    assert_eq!(again["state"], "present");
    let listed = document(&clean, &["list"], 0);
    assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_unchanged_part_is_not_read_and_a_rewritten_one_sends_what_is_new() {
    let lab = Lab::new();
    lab.host.snapshot();
    lab.push("latest");
    // A mutation: the large file stays, a small one is new. And a part that is new.
    lab.host.put("b", "all_1_1_0_2", &large_part(7, 9));
    fs::remove_dir_all(lab.host.live().join("b/all_1_1_0")).expect("removed");
    lab.host.put("a", "all_3_3_0", &part(3, 4, false));
    lab.host.snapshot();
    let pushed = lab.push("--new");
    let snapshot = &pushed["snapshots"][0];
    assert_eq!((snapshot["parts"].as_u64(), snapshot["reused_parts"].as_u64()), (Some(4), Some(2)), "{pushed}");
    // The large file, and the definitions.
    let there = snapshot["already_there"]["bytes"].as_u64().expect("a number");
    assert!((LARGE_BYTES as u64..LARGE_BYTES as u64 + 1000).contains(&there), "{pushed}");
    // Two packs; the definitions are those of the last snapshot.
    assert_eq!(snapshot["sent"]["objects"].as_u64(), Some(2), "{pushed}");
    assert!(pushed["requests"]["sent_bytes"].as_u64().expect("a number") < 300_000, "{pushed}");
    assert_eq!(lab.push("--new")["snapshots"].as_array().map(Vec::len), Some(0));
    // The store says the same of what it has.
    let usage = document(&lab.chsnap(), &["remote", "usage", &lab.address()], 0);
    let stored: u64 = lab.objects().iter().map(|(_, bytes)| bytes).sum();
    assert_eq!((usage["stored"]["bytes"].as_u64(), usage["garbage"]["objects"].as_u64()), (Some(stored), Some(0)));
    assert_eq!(usage["needed"], usage["stored"]);
}

#[test]
fn parts_that_the_repository_has_are_linked_and_not_fetched() {
    let lab = Lab::new();
    let first = lab.host.snapshot();
    lab.host.put("a", "all_3_3_0", &part(3, 4, false));
    let second = lab.host.snapshot();
    lab.push("--new");
    let clean = lab.elsewhere("clean");
    document(&clean, &["pull", &second.to_string(), "--from", &lab.address()], 0);
    let pulled = document(&clean, &["pull", &first.to_string(), "--from", &lab.address()], 0);
    assert_eq!((pulled["linked_parts"].as_u64(), pulled["fetched_parts"].as_u64()), (Some(3), Some(0)), "{pulled}");
    let inode = |id| fs::metadata(at(&clean, id).join("data/d/b/all_1_1_0/large.bin")).expect("a file").ino();
    assert_eq!(inode(first), inode(second));
    assert_eq!(content(&at(&clean, first)), content(&lab.host.at(first)));
    // The order is that of their making.
    let listed = document(&clean, &["list"], 0);
    let ids: Vec<&str> =
        listed["snapshots"].as_array().expect("a list").iter().filter_map(|row| row["id"].as_str()).collect();
    assert_eq!(ids, [first.to_string(), second.to_string()]);
}

#[test]
fn a_file_of_more_than_an_object_is_several_and_comes_back_as_one() {
    let lab = Lab::new();
    let huge = crate::store::part_of(vec![("huge.bin".to_owned(), crate::store::bytes(5, (64 << 20) + 4321))]);
    lab.host.put("b", "all_9_9_0", &huge);
    let id = lab.host.snapshot();
    lab.push("latest");
    assert!(lab.objects().iter().all(|(_, bytes)| *bytes <= (64 << 20) + 4096));
    let clean = lab.elsewhere("clean");
    document(&clean, &["pull", "latest", "--from", &lab.address()], 0);
    assert_eq!(content(&at(&clean, id)), content(&lab.host.at(id)));
}

#[test]
fn an_address_with_a_secret_is_refused_and_the_secret_is_shown_nowhere() {
    let lab = Lab::new();
    lab.host.snapshot();
    for address in ["s3://me:hunter2@bucket/x", "s3://bucket/x?secret_access_key=hunter2", "ftp://me:hunter2@host/x"] {
        for arguments in [["push", "latest", "--to", address], ["pull", "latest", "--from", address]] {
            let run = lab.chsnap().run(&arguments);
            assert_eq!(run.code, 2, "{}", run.stderr);
            assert!(run.stderr.contains("hint: set AWS_ACCESS_KEY_ID"), "{}", run.stderr);
            assert!(!run.stderr.contains("hunter2") && !run.stdout.contains("hunter2"), "{}", run.stderr);
        }
    }
    for address in ["s4://bucket", "bucket", "file://relative", "s3://", "s3://b?nonsense=1"] {
        let run = lab.chsnap().run(&["push", "latest", "--to", address]);
        assert_eq!((run.code, run.stderr.contains("error: ")), (2, true), "{address}: {}", run.stderr);
    }
    let run = lab.chsnap().run(&["remote", "list", &lab.address()]);
    assert_eq!(run.code, 10, "{}", run.stderr);
    let run = lab.chsnap().run(&["push", "2031", "--to", &lab.address()]);
    assert_eq!(run.code, 1, "{}", run.stderr);
    assert!(!lab.store().join("chsnap-remote.json").exists(), "what cannot be wanted makes no remote repository");
}

/// As a mutation leaves it: the large file is a link to that of the part before, and a small one is new.
fn mutated(lab: &Lab) {
    let (before, after) = (lab.host.live().join("b/all_1_1_0"), lab.host.live().join("b/all_1_1_0_2"));
    lab.host.put("b", "all_1_1_0_2", &large_part(7, 9));
    fs::remove_file(after.join("large.bin")).expect("removed");
    fs::hard_link(before.join("large.bin"), after.join("large.bin")).expect("linked");
    fs::remove_dir_all(before).expect("removed");
}

/// Two snapshots in the store, a mutation between them, and a clean host that has pulled the first one.
fn pulled_before_a_mutation() -> (Lab, Chsnap, [SnapshotId; 2]) {
    let lab = Lab::new();
    let first = lab.host.snapshot();
    mutated(&lab);
    let second = lab.host.snapshot();
    lab.push("--new");
    let clean = lab.elsewhere("clean");
    document(&clean, &["pull", &first.to_string(), "--from", &lab.address()], 0);
    (lab, clean, [first, second])
}

#[test]
fn the_large_files_that_a_rewritten_part_shares_with_one_that_is_here_are_linked() {
    let (lab, clean, [first, second]) = pulled_before_a_mutation();
    let pulled = document(&clean, &["pull", &second.to_string(), "--from", &lab.address()], 0);
    assert_eq!((pulled["linked_parts"].as_u64(), pulled["fetched_parts"].as_u64()), (Some(2), Some(1)), "{pulled}");
    let received = pulled["requests"]["received_bytes"].as_u64().expect("a number");
    assert!(received < LARGE_BYTES as u64 / 10, "{pulled}");
    let inode = |id, part: &str| {
        fs::metadata(at(&clean, id).join("data/d/b").join(part).join("large.bin")).expect("a file").ino()
    };
    assert_eq!(inode(first, "all_1_1_0"), inode(second, "all_1_1_0_2"));
    assert_eq!(content(&at(&clean, second)), content(&lab.host.at(second)));
    let shown = document(&clean, &["show", &second.to_string()], 0);
    assert_eq!(shown["placed"]["copied"]["parts"].as_u64(), Some(1), "{shown}");
    assert!(shown["placed"]["linked"]["bytes"].as_u64().expect("a number") > LARGE_BYTES as u64, "{shown}");
    let verified = document(&clean, &["verify", "--level", "data"], 0);
    assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0), "{verified}");
}

#[test]
fn a_file_that_is_damaged_here_is_fetched_instead_of_linked() {
    let (lab, clean, [first, second]) = pulled_before_a_mutation();
    let path = at(&clean, first).join("data/d/b/all_1_1_0/large.bin");
    let time = fs::metadata(&path).expect("it is there").modified().expect("a time");
    let mut bytes = fs::read(&path).expect("it is read");
    bytes[1000] ^= 1;
    let file = fs::File::options().write(true).open(&path).expect("root may write");
    std::io::Write::write_all(&mut &file, &bytes).expect("damaged");
    file.set_modified(time).expect("a time");
    document(&clean, &["pull", &second.to_string(), "--from", &lab.address()], 0);
    assert_eq!(content(&at(&clean, second)), content(&lab.host.at(second)));
}
