//! What `create` refuses, `create --dry-run` refuses in the same words, and writes nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};

use crate::cli::hostile::person::{MEMORY, Scene, people, skipped};
use crate::freezer::Freezer;
use crate::tree::tree;

/// The command's first line of error, which both must have.
fn error_of(scene: &Scene, url: &str, arguments: &[&str]) -> String {
    let run = scene.run_in(MEMORY, url, "foreseen", arguments);
    assert_eq!(run.code, 1, "{arguments:?}: {}", run.stderr);
    run.stderr.lines().next().expect("a line").to_owned()
}

#[test]
fn files_of_another_user_that_may_not_be_linked() {
    let Some(person) = people().into_iter().find(|person| person.uid.is_some()) else {
        return skipped("files of another user: the tests are not run by root");
    };
    if fs::read_to_string("/proc/sys/fs/protected_hardlinks").is_ok_and(|text| text.trim() == "0") {
        return skipped("files of another user: this kernel lets anyone link them");
    }
    let scene = Scene::new(person, 1);
    let freezer = scene.freezer();
    for file in tree(&scene.lab.path().join("ch/data")).into_keys() {
        let path = scene.lab.path().join("ch/data").join(file);
        if path.is_file() {
            chown(&path, Some(0), Some(0)).expect("given away");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("a mode");
        }
    }
    for place in ["auto", "link", "rename"] {
        let before = tree(&scene.repo());
        let create = ["create", "--place", place];
        let foreseen = error_of(&scene, freezer.url(), &[&create[..], &["--dry-run"]].concat());
        assert!(foreseen.contains("may not link files of the disk"), "{foreseen}");
        assert_eq!(tree(&scene.repo()), before, "nothing is written");
        assert_eq!(foreseen, error_of(&scene, freezer.url(), &create), "{place}");
    }
    // Copies need no link.
    let planned = scene.run_in(MEMORY, freezer.url(), "a plan", &["create", "--dry-run", "--place", "copy"]);
    assert_eq!(planned.code, 0, "{}", planned.stderr);
}

#[test]
fn tables_whose_directories_cannot_be_opened() {
    let Some(person) = people().into_iter().find(|person| person.uid.is_some()) else {
        return skipped("directories that cannot be opened: the tests are not run by root");
    };
    let scene = Scene::new(person, 1);
    let freezer = scene.freezer();
    freezer.add_part("u", "all_1_1_0");
    let tables = scene.lab.path().join("ch/data/d");
    scene.give(&tables);
    let close = |table: &str| {
        chown(tables.join(table), Some(0), Some(0)).expect("given away");
        fs::set_permissions(tables.join(table), fs::Permissions::from_mode(0o700)).expect("a mode");
    };
    close("u");
    for command in [&["create", "--dry-run"][..], &["create"]] {
        let run = scene.run_in(MEMORY, freezer.url(), "one is closed", command);
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("d.u") && run.stderr.contains("cannot be opened"), "{}", run.stderr);
    }
}

#[test]
fn a_clock_that_was_set_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let freezer = Freezer::start(&folder.path().join("ch"));
    freezer.add_part("t", "all_1_1_0");
    let chsnap = crate::chsnap_command::Chsnap::new(&folder.path().join("repo")).url(freezer.url());
    chsnap.expect(0, &["init"]);
    let made = chsnap.json(0, &["create"]);
    let (from, to) = (made["id"].as_str().expect("an id"), "2999-01-01T020000Z");
    let snapshots = chsnap.repo().join("snapshots");
    fs::rename(snapshots.join(from), snapshots.join(to)).expect("renamed");
    for command in [&["create", "--dry-run"][..], &["create"]] {
        let document = chsnap.json(3, command);
        let kinds: Vec<&str> = (document["warning_list"].as_array().expect("warnings").iter())
            .map(|warning| warning["kind"].as_str().expect("a kind"))
            .collect();
        assert!(kinds.contains(&"clock_behind"), "{document}");
    }
}
