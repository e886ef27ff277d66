//! `init`, the ways to name a repository, and accepted command lines.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::cli::support::{Lab, names};

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn init_makes_a_repository_that_others_cannot_read() {
    let lab = Lab::without_repository();
    let document = lab.chsnap().json(0, &["init"]);
    assert_eq!(document["schema"], "chsnap.init.v1");
    assert_eq!(document["repository"], lab.repo().to_str().expect("a text"));
    assert_eq!(document["id"].as_str().map(str::len), Some(32));
    for name in ["", "snapshots", "incoming", "trash", "pins", "journal"] {
        assert_eq!(mode(&lab.repo().join(name)), 0o750, "{name}");
    }
    assert_eq!(mode(&lab.repo().join("chsnap.json")), 0o640);
    assert!(lab.listed(0).is_empty());
}

#[test]
fn init_makes_the_directories_above_it() {
    let lab = Lab::without_repository();
    let deep = lab.path().join("a/b/repo");
    let run = Chsnap::new(&deep).expect(0, &["init"]);
    assert!(run.stdout.contains("made the repository") && run.stdout.contains("a/b/repo"), "{}", run.stdout);
    assert_eq!((mode(&lab.path().join("a")), mode(&deep)), (0o750, 0o750));
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let lab = Lab::without_repository();
    lab.run(0, &["init"]);
    let config = fs::read(lab.repo().join("chsnap.json")).expect("a configuration");
    let run = lab.run(1, &["init"]);
    assert!(run.stderr.contains("is a repository already") && run.stderr.contains("hint:"), "{}", run.stderr);
    assert_eq!(fs::read(lab.repo().join("chsnap.json")).expect("a configuration"), config);
}

#[test]
fn init_takes_an_empty_directory_one_with_lost_found_and_what_a_cut_short_init_left() {
    for name in ["", "lost+found", "snapshots"] {
        let lab = Lab::without_repository();
        fs::create_dir_all(lab.repo().join(name)).expect("a directory");
        lab.run(0, &["init"]);
        lab.run(0, &["list"]);
    }
}

#[test]
fn init_leaves_a_directory_with_other_things_alone() {
    let lab = Lab::without_repository();
    fs::create_dir(lab.repo()).expect("a directory");
    fs::write(lab.repo().join("precious"), "x").expect("a file");
    let run = lab.run(1, &["init"]);
    assert!(run.stderr.contains("precious"), "{}", run.stderr);
    assert_eq!(names(&lab.repo()), ["precious"]);
}

#[test]
fn init_beneath_a_file_fails_and_names_it() {
    let lab = Lab::without_repository();
    let file = lab.path().join("file");
    fs::write(&file, "x").expect("a file");
    for path in [file.clone(), file.join("repo")] {
        let run = Chsnap::new(&path).expect(1, &["init"]);
        assert!(run.stderr.contains(file.to_str().expect("a text")), "{}", run.stderr);
    }
}

#[test]
fn init_where_clickhouse_deletes_is_refused_by_a_guard() {
    let lab = Lab::without_repository();
    let server = lab.path().join("clickhouse");
    for name in ["metadata", "data", "store", "shadow"] {
        fs::create_dir_all(server.join(name)).expect("a directory");
    }
    for inside in ["shadow/repo", "store/abc/repo", "data/repo", "metadata/repo", "shadow"] {
        let chsnap = Chsnap::new(&server.join(inside));
        let document = chsnap.json(13, &["init"]);
        assert_eq!((&document["state"], &document["schema"]), (&"refused".into(), &"chsnap.init.v1".into()));
        assert!(document["reason"].as_str().is_some_and(|reason| reason.contains("ClickHouse itself")), "{document}");
        assert!(!server.join(inside).join("chsnap.json").exists());
    }
    assert!(names(&server.join("shadow")).is_empty() && names(&server.join("store")).is_empty());
    Chsnap::new(&server.join("chsnap")).expect(0, &["init"]);
    // A name alone makes no server.
    Chsnap::new(&lab.path().join("shadow/repo")).expect(0, &["init"]);
}

#[test]
fn every_command_says_that_there_is_no_repository() {
    let lab = Lab::without_repository();
    fs::create_dir(lab.repo()).expect("an empty directory");
    for command in [&["list"][..], &["show"], &["rm", "latest"], &["undo"], &["gc"], &["create"]] {
        let error = lab.chsnap().json(10, command);
        assert_eq!((&error["schema"], &error["exit_code"]), (&"chsnap.error.v1".into(), &10.into()), "{command:?}");
        let run = lab.run(10, command);
        assert!(run.stderr.contains("there is no repository at") && run.stdout.is_empty(), "{}", run.stderr);
    }
    assert!(names(&lab.repo()).is_empty(), "a command on no repository made something");
}

#[test]
fn a_damaged_configuration_is_not_taken_for_no_repository() {
    let (lab, _) = Lab::with_nights(1);
    fs::write(lab.repo().join("chsnap.json"), "{").expect("a damaged file");
    let run = lab.run(1, &["list"]);
    assert!(run.stderr.contains("chsnap.json"), "{}", run.stderr);
    lab.run(1, &["init"]);
}

#[test]
fn without_a_named_repository_the_usage_is_wrong() {
    let lab = Lab::new();
    for empty in [false, true] {
        let mut command = lab.chsnap().command(&["list"]);
        if empty {
            command.env("CHSNAP_REPO", "");
        } else {
            command.env_remove("CHSNAP_REPO");
        }
        let output = command.output().expect("chsnap starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("--repo") && (empty || stderr.contains("CHSNAP_REPO")), "{stderr}");
    }
}

#[test]
fn usage_errors_exit_with_2_and_in_json_are_documents_on_stderr() {
    let lab = Lab::new();
    for wrong in [&["nonsense"][..], &["list", "extra"], &["rm"], &["list", "--jobs", "0"], &["create", "--table", "x"]]
    {
        let run = lab.run(2, wrong);
        assert!(run.stdout.is_empty() && !run.stderr.contains("panicked"), "{}", run.stderr);
        let error = lab.chsnap().json(2, wrong);
        assert_eq!((&error["schema"], &error["exit_code"]), (&"chsnap.error.v1".into(), &2.into()));
    }
    lab.run(2, &[]);
}

#[test]
fn help_and_version_go_to_stdout() {
    let lab = Lab::without_repository();
    for arguments in [&["--help"][..], &["--version"], &["rm", "--help"]] {
        let run = lab.run(0, arguments);
        assert!(!run.stdout.is_empty() && run.stderr.is_empty(), "{arguments:?}: {}", run.stderr);
    }
}

#[test]
fn global_options_go_before_or_after_the_command_and_override_the_environment() {
    let (lab, nights) = Lab::with_nights(1);
    let repo = lab.repo();
    let repo = repo.to_str().expect("a text");
    let elsewhere = Chsnap::new(&lab.path().join("elsewhere"));
    for arguments in
        [&["--repo", repo, "--json", "list"][..], &["list", "--json", "--repo", repo], &["list", "-r", repo, "--json"]]
    {
        let run = elsewhere.expect(0, arguments);
        let document: Value = serde_json::from_str(&run.stdout).expect("a document");
        assert_eq!(document["snapshots"][0]["id"], nights.concat());
    }
    elsewhere.expect(10, &["list"]);
    lab.run(0, &["list"]);
}

#[test]
fn a_relative_path_is_taken_from_where_the_command_runs() {
    for repo in ["repo", "./a/b", "."] {
        let lab = Lab::without_repository();
        let place = lab.path().join("place");
        fs::create_dir(&place).expect("a directory");
        for command in ["init", "list", "gc"] {
            let mut command = lab.chsnap().command(&["-r", repo, command]);
            let output = command.current_dir(&place).output().expect("chsnap starts");
            assert_eq!(output.status.code(), Some(0), "{repo}: {}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(place.join(repo).join("index.sqlite").is_file(), "{repo}");
    }
}

#[test]
fn a_repository_may_have_any_name_that_a_directory_may_have() {
    let lab = Lab::without_repository();
    for name in [&b"re\xffpo"[..], b"a b\nc", b"-r", b"x?mode=memory&y#z%41", "données".as_bytes()] {
        let chsnap = Chsnap::new(&lab.path().join(OsStr::from_bytes(name)));
        for command in [&["init"][..], &["list"], &["gc"], &["list", "--json"]] {
            chsnap.expect(0, command);
        }
        assert!(chsnap.repo().join("index.sqlite").is_file(), "{name:?}");
    }
}
