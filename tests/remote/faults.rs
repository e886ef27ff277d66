//! Stores that lie, commands that are killed, parts that are damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use crate::remote::support::{Lab, assert_nothing_half, at, content, document, files_below};

/// Whatever is wrong with an object, nothing is pulled, and every check that can see it does.
fn assert_told(lab: &Lab, by_size: bool) {
    let clean = lab.elsewhere("clean");
    let run = clean.run(&["pull", "latest", "--from", &lab.address()]);
    assert_eq!(run.code, 12, "{}", run.stderr);
    assert!(run.stderr.contains("error: cannot pull") && run.stderr.contains("objects/"), "{}", run.stderr);
    assert_nothing_half(&clean);
    for arguments in [vec!["check"], vec!["verify"], vec!["verify", "--data"]] {
        let is_seen = by_size || arguments.contains(&"--data");
        let mut all = vec!["remote", arguments[0], &*lab.address().leak()];
        all.extend(&arguments[1..]);
        let checked = document(&lab.chsnap(), &all, if is_seen { 12 } else { 0 });
        let damage = checked["damage"].as_array().expect("a list").len();
        assert_eq!(damage, usize::from(is_seen), "{arguments:?}: {checked}");
        if is_seen {
            assert_eq!(checked["damage"][0]["of"], "d.b all_1_1_0", "{checked}");
        }
    }
}

fn pushed() -> Lab {
    let lab = Lab::new();
    lab.host.snapshot();
    lab.push("latest");
    lab
}

#[test]
fn a_missing_object_is_reported_and_nothing_is_pulled() {
    let lab = pushed();
    fs::remove_file(lab.largest_object()).expect("lost");
    assert_told(&lab, true);
}

#[test]
fn a_truncated_object_is_reported_and_nothing_is_pulled() {
    let lab = pushed();
    let bytes = fs::read(lab.largest_object()).expect("it is read");
    fs::write(lab.largest_object(), &bytes[..bytes.len() - 1]).expect("cut");
    assert_told(&lab, true);
}

#[test]
fn an_object_with_other_bytes_of_the_same_length_is_reported_and_nothing_is_pulled() {
    let lab = pushed();
    let mut bytes = fs::read(lab.largest_object()).expect("it is read");
    bytes[1_000_000] ^= 1;
    fs::write(lab.largest_object(), &bytes).expect("swapped");
    assert_told(&lab, false);
}

#[test]
fn a_pipe_in_place_of_an_object_is_told_and_nothing_waits_for_its_other_end() {
    let lab = pushed();
    let path = lab.objects().into_iter().max_by_key(|(_, bytes)| *bytes).map(|(path, _)| path).expect("an object");
    fs::remove_file(&path).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo starts");
    assert!(made.success());
    for arguments in [vec!["check"], vec!["verify"], vec!["verify", "--data"]] {
        let mut all = vec!["remote", arguments[0], &*lab.address().leak()];
        all.extend(&arguments[1..]);
        let checked = document(&lab.chsnap(), &all, 12);
        assert!(checked["damage"].to_string().contains("missing"), "{checked}");
    }
    assert_eq!(lab.elsewhere("clean").run(&["pull", "latest", "--from", &lab.address()]).code, 12);
}

#[test]
fn a_manifest_that_is_cut_changed_or_anothers_is_damaged_and_never_half_read() {
    let lab = Lab::new();
    lab.host.snapshot();
    lab.host.snapshot();
    lab.push("--new");
    let manifests = files_below(&lab.store().join("snapshots"));
    let (first, second) = (fs::read(&manifests[0].0).expect("read"), fs::read(&manifests[1].0).expect("read"));
    let path = &manifests[1].0;
    let mut changed = zstd::decode_all(second.as_slice()).expect("a stream");
    let place = changed.windows(5).position(|word| word == b"rows\"").expect("rows");
    changed[place] = b'R';
    let changed = zstd::encode_all(changed.as_slice(), 3).expect("a stream");
    for bytes in [&second[..second.len() / 2], &second[..second.len() - 1], &first, &changed, b""] {
        fs::write(path, bytes).expect("written");
        let clean = lab.elsewhere("clean");
        let run = clean.run(&["pull", "latest", "--from", &lab.address()]);
        assert_eq!((run.code, run.stderr.contains("is damaged")), (12, true), "{}", run.stderr);
        assert_nothing_half(&clean);
        document(&lab.chsnap(), &["remote", "list", &lab.address()], 3);
        document(&lab.chsnap(), &["remote", "check", &lab.address()], 12);
    }
}

#[test]
fn a_part_that_is_damaged_here_is_not_pushed() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    let path = lab.host.at(id).join("data/d/b/all_1_1_0/large.bin");
    let mut bytes = fs::read(&path).expect("it is read");
    bytes[12_345] ^= 1;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
    fs::write(&path, bytes).expect("damaged");
    let answer = document(&lab.chsnap(), &["push", "latest", "--to", &lab.address()], 12);
    assert_eq!((answer["state"].as_str(), answer["damaged"].as_u64()), (Some("damaged"), Some(1)));
    let reason = answer["snapshots"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("all_1_1_0") && reason.contains("large.bin"), "{reason}");
    assert!(files_below(&lab.store().join("snapshots")).is_empty());
}

#[test]
fn a_killed_push_is_taken_up_and_a_killed_pull_leaves_nothing_half() {
    let lab = Lab::new();
    let id = lab.host.snapshot();
    let address = lab.address();
    // So slow that the large object is still on its way.
    let mut push =
        lab.chsnap().command(&["push", "latest", "--to", &address, "--bwlimit", "200KiB", "--parallel", "1"]);
    let mut child = push.spawn().expect("it starts");
    wait_for(|| !lab.objects().is_empty());
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(files_below(&lab.store().join("snapshots")).is_empty(), "nothing is committed");
    let sent = lab.objects().len() as u64;
    let pushed = lab.push("latest");
    let there = pushed["snapshots"][0]["already_there"]["objects"].as_u64().expect("a number");
    assert!(there >= sent && sent > 0, "{sent}: {pushed}");

    let clean = lab.elsewhere("clean");
    let mut pull = clean.command(&["pull", "latest", "--from", &address, "--bwlimit", "200KiB", "--parallel", "1"]);
    let mut child = pull.spawn().expect("it starts");
    wait_for(|| !files_below(&clean.repo().join("incoming")).is_empty());
    std::thread::sleep(Duration::from_millis(300));
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(files_below(&clean.repo().join("snapshots")).is_empty());
    document(&clean, &["pull", "latest", "--from", &address], 0);
    assert!(files_below(&clean.repo().join("incoming")).is_empty());
    assert_eq!(content(&at(&clean, id)), content(&lab.host.at(id)));
}

fn wait_for(mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
