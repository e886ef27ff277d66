//! Refusals of remote commands, and manifests that no push has written.

use std::fs;

use crate::remote::support::{Lab, assert_nothing_half, document, files_below};

#[test]
fn a_command_that_reads_makes_nothing() {
    let lab = Lab::new();
    lab.host.snapshot();
    let address = lab.address();
    let reads: [&[&str]; 5] = [
        &["remote", "list", &address],
        &["remote", "usage", &address],
        &["remote", "check", &address],
        &["remote", "verify", &address],
        &["pull", "latest", "--from", &address],
    ];
    for exists in [false, true] {
        if exists {
            fs::create_dir(lab.store()).expect("a directory");
        }
        for arguments in reads {
            let run = lab.elsewhere("clean").run(arguments);
            assert_eq!(run.code, 10, "{arguments:?}: {}", run.stderr);
            assert_eq!(lab.store().exists(), exists, "{arguments:?}");
            assert!(!exists || fs::read_dir(lab.store()).expect("it is read").next().is_none(), "{arguments:?}");
        }
    }
    lab.push("latest");
    fs::remove_dir(lab.store().join("tmp")).expect("it is empty");
    for arguments in reads {
        document(&lab.elsewhere("clean"), arguments, 0);
        assert!(!lab.store().join("tmp").exists(), "{arguments:?}");
    }
}

#[test]
fn a_push_into_a_repository_is_refused_and_leaves_it_as_it_was() {
    let lab = Lab::new();
    lab.host.snapshot();
    let target = lab.elsewhere("other");
    document(&target, &["init"], 0);
    let before = files_below(target.repo());
    let own = lab.host.repo();
    for path in [target.repo(), own.as_path()] {
        let run = lab.chsnap().run(&["push", "latest", "--to", &format!("file://{}", path.display())]);
        assert_eq!((run.code, run.stderr.contains("hint: ")), (13, true), "{}", run.stderr);
        assert!(!path.join("chsnap-remote.json").exists() && !path.join("objects").exists());
        assert!(!path.join("gc").exists(), "nothing of a remote repository is made");
    }
    assert_eq!(files_below(target.repo()), before);
}

/// The manifest of the only snapshot, with one text in place of another and its digest made right.
fn forge(lab: &Lab, from: &str, to: &str) {
    let (path, _) = files_below(&lab.store().join("snapshots")).remove(0);
    let text = zstd::decode_all(fs::read(&path).expect("it is read").as_slice()).expect("a stream");
    let text = String::from_utf8(text).expect("text");
    assert!(text.contains(from), "{from}: {text}");
    let text = text.replacen(from, to, 1);
    let body = &text[..text.rfind("{\"end\"").expect("an end")];
    let forged = format!("{body}{{\"end\":\"{}\"}}", blake3::hash(body.as_bytes()).to_hex());
    fs::write(&path, zstd::encode_all(forged.as_bytes(), 3).expect("a stream")).expect("written");
}

#[test]
fn a_manifest_that_no_push_has_written_is_damaged() {
    let long = "x".repeat(256);
    let lab = Lab::new();
    lab.host.snapshot();
    lab.push("latest");
    let (path, _) = files_below(&lab.store().join("snapshots")).remove(0);
    let sound = fs::read(&path).expect("it is read");
    let text = zstd::decode_all(sound.as_slice()).expect("a stream");
    let text = String::from_utf8(text).expect("text");
    // A file of a part: its path, size, time, owner, group and mode.
    let place = text.find("[\"large.bin\"").expect("the large file");
    let rest = &text[place..];
    let (end, _) = rest.match_indices(']').nth(1).expect("its end");
    let file = &rest[..=end];
    let (head, mode) = file.trim_end_matches(']').rsplit_once(',').expect("a mode");
    let mode: u32 = mode.parse().expect("a number");
    let with_mode = |bits: u32| format!("{head},{}]", mode | bits);
    let cases = [
        (file.to_owned(), with_mode(0o4000)),
        (file.to_owned(), with_mode(0o2000)),
        (file.to_owned(), with_mode(0o1000)),
        (file.to_owned(), with_mode(0o100_000)),
        (file.to_owned(), file.replace("large.bin", &long)),
        (file.to_owned(), file.replace("large.bin", "a\\u0000b")),
        (
            "{\"part\":{\"record\":{\"database\":\"d\"".to_owned(),
            "{\"part\":{\"record\":{\"database\":\"e\"".to_owned(),
        ),
        (
            "{\"part\":{\"record\":{\"database\":\"d\",\"table\":\"a\"".to_owned(),
            "{\"part\":{\"record\":{\"database\":\"d\",\"table\":\"../a\"".to_owned(),
        ),
    ];
    for (from, to) in cases {
        fs::write(&path, &sound).expect("written");
        forge(&lab, &from, &to);
        let clean = lab.elsewhere("clean");
        let run = clean.run(&["pull", "latest", "--from", &lab.address()]);
        assert_eq!((run.code, run.stderr.contains("is damaged")), (12, true), "{to}: {}", run.stderr);
        assert_nothing_half(&clean);
    }
    fs::write(&path, &sound).expect("written");
    forge(&lab, file, file);
    document(&lab.elsewhere("clean"), &["pull", "latest", "--from", &lab.address()], 0);
}

#[test]
fn a_secret_in_an_option_or_after_a_directory_is_refused_and_not_shown() {
    let lab = Lab::new();
    lab.host.snapshot();
    for address in
        ["s3://bucket/x?endpoint=http://me:hunter2@127.0.0.1:1", "file:///tmp/x?token=hunter2", "file:///tmp/x#hunter2"]
    {
        let run = lab.chsnap().run(&["push", "latest", "--to", address]);
        assert_eq!((run.code, run.stderr.contains("hunter2")), (2, false), "{}", run.stderr);
    }
}

#[test]
fn a_pipe_or_a_file_in_place_of_the_store_is_refused_at_once() {
    let lab = Lab::new();
    lab.host.snapshot();
    let (pipe, file) = (lab.folder.path().join("pipe"), lab.folder.path().join("file"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    fs::write(&file, "text").expect("written");
    for place in [pipe, file.clone(), file.join("below")] {
        let address = format!("file://{}", place.display());
        for arguments in [["push", "latest", "--to", &address], ["pull", "latest", "--from", &address]] {
            let run = lab.chsnap().run(&arguments);
            assert!(run.code != 0 && run.stderr.contains("no directory"), "{arguments:?} {} {}", run.code, run.stderr);
        }
    }
    assert_eq!(fs::read(&file).expect("it is read"), b"text");
}
