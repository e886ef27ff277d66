//! Entries planted in chsnap's shadows, in a live table, or in the place of the whole shadow directory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::canary::{PLANTS, Plant, clear};
use super::person::{MEMORY, Scene, people};
use crate::freezer::Prank;

/// Where the canary of the scene is, seen from the shadow of a name.
fn outside(shadow: &Path) -> std::path::PathBuf {
    shadow.ancestors().nth(3).expect("the folder").join("outside")
}

fn table(shadow: &Path) -> std::path::PathBuf {
    shadow.join("data/d/t")
}

fn plant(shadow: &Path, path: &Path, plant: Plant) {
    clear(path);
    plant.at(path, &outside(shadow));
}

const PRANKS: [(&str, Prank); 12] = [
    ("a link among the files of a part", |shadow| {
        symlink(outside(shadow), table(shadow).join("all_1_1_0/link")).expect("a link");
    }),
    ("a link for a file of a part", |shadow| {
        plant(shadow, &table(shadow).join("all_1_1_0/k.bin"), Plant::LinkToFile);
    }),
    ("a link for checksums", |shadow| plant(shadow, &table(shadow).join("all_1_1_0/checksums.txt"), Plant::LinkToFile)),
    ("a pipe for checksums", |shadow| plant(shadow, &table(shadow).join("all_1_1_0/checksums.txt"), Plant::Pipe)),
    ("a device for columns", |shadow| plant(shadow, &table(shadow).join("all_1_1_0/columns.txt"), Plant::Device)),
    ("garbage for checksums", |shadow| plant(shadow, &table(shadow).join("all_1_1_0/checksums.txt"), Plant::Garbage)),
    ("ten million bytes for checksums", |shadow| {
        plant(shadow, &table(shadow).join("all_1_1_0/checksums.txt"), Plant::Large);
    }),
    ("a link for a part", |shadow| plant(shadow, &table(shadow).join("all_1_1_0"), Plant::LinkToDirectory)),
    ("a link for a table", |shadow| plant(shadow, &table(shadow), Plant::LinkToDirectory)),
    ("a link for the shadow", |shadow| plant(shadow, shadow, Plant::LinkToDirectory)),
    ("a link and a pipe next to the parts", |shadow| {
        plant(shadow, &table(shadow).join("all_3_3_0"), Plant::LinkToDirectory);
        plant(shadow, &table(shadow).join("all_4_4_0"), Plant::Pipe);
    }),
    ("a name with a line end and an escape next to the parts", |shadow| {
        fs::create_dir(table(shadow).join("..\n\u{1b}[2J")).expect("a directory");
    }),
];

#[test]
fn a_shadow_that_somebody_has_been_at_is_refused_or_taken_without_what_is_foreign() {
    for person in people() {
        for (what, prank) in PRANKS {
            let scene = Scene::new(person, 1);
            let freezer = scene.freezer();
            freezer.play(prank);
            for mode in ["auto", "link"] {
                let run = scene.run_in(MEMORY, freezer.url(), what, &["create", "--place", mode]);
                assert!(!run.stderr.contains('\u{1b}') && !run.stdout.contains('\u{1b}'), "{what}: {}", run.stderr);
                let shown = scene.run(what, &["list", "--json"]);
                assert_eq!(shown.code, 0, "{what}: {}", shown.stderr);
                assert_eq!(scene.run_in(MEMORY, freezer.url(), what, &["gc"]).code, 0, "{what}");
                let left: Vec<_> = fs::read_dir(freezer.shadow()).expect("the shadow").collect();
                assert!(left.is_empty(), "{what}: {left:?}");
            }
        }
    }
}

/// What somebody plants at a path of the server's, and whether a snapshot can be made all the same.
fn with_live(path: &str, expected: &[i32]) {
    for person in people() {
        for kind in person.share(&PLANTS) {
            let scene = Scene::new(person, 1);
            let freezer = scene.freezer();
            let path = scene.lab.path().join("ch").join(path);
            clear(&path);
            if !kind.at(&path, scene.canary.path()) {
                continue;
            }
            if kind != Plant::LinkToItself {
                std::os::unix::fs::lchown(&path, person.uid, person.uid).expect("given away");
            }
            let what = format!("{kind:?} at {}", path.display());
            let run = scene.run_in(MEMORY, freezer.url(), &what, &["create"]);
            assert!(expected.contains(&run.code), "{what}: {} {}", run.code, run.stderr);
        }
    }
}

#[test]
fn in_the_place_of_the_whole_shadow_directory() {
    for person in people() {
        for kind in person.share(&PLANTS).into_iter().filter(|kind| *kind != Plant::Directory) {
            let scene = Scene::new(person, 1);
            let freezer = scene.freezer();
            if !kind.at(&freezer.shadow(), scene.canary.path()) {
                continue;
            }
            let what = format!("{kind:?} for the shadow directory");
            for command in [&["create", "--dry-run"][..], &["create"]] {
                let run = scene.run_in(MEMORY, freezer.url(), &what, command);
                assert_eq!(run.code, 1, "{what}: {}", run.stderr);
                assert!(run.stderr.contains("is not a directory"), "{what}: {}", run.stderr);
            }
            assert_eq!(scene.run_in(MEMORY, freezer.url(), &what, &["gc"]).code, 0, "nothing is left to do");
        }
    }
}

#[test]
fn in_the_place_of_a_definition_it_is_not_followed() {
    with_live("metadata/d/t.sql", &[0, 3]);
}

#[test]
fn in_a_live_part_it_is_refused_or_not_taken() {
    with_live("data/d/t/all_1_1_0/metadata_version.txt", &[0, 1, 3]);
    with_live("data/d/t/patch-0a-all_1_1_0", &[0, 1, 3]);
    with_live("data/d/t/detached", &[0, 1, 3]);
    with_live("user_defined", &[0, 3]);
}

#[test]
fn millions_of_missing_files_of_a_part_are_a_short_message() {
    let entry = |number: u32| format!("f{number}\n\tsize: 1\n\thash: 1 1\n\tcompressed: 0\n");
    let checksums: String = (0..300_000).map(entry).collect();
    let checksums = format!("checksums format version: 2\n300000 files:\n{checksums}");
    for person in people() {
        let scene = Scene::new(person, 1);
        let freezer = scene.freezer();
        let path = scene.lab.path().join("ch/data/d/t/all_1_1_0/checksums.txt");
        fs::write(&path, &checksums).expect("written");
        let run = scene.run_in(MEMORY, freezer.url(), "missing files", &["create", "--json"]);
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stdout.len() < 100_000, "{} bytes", run.stdout.len());
        assert!(run.stdout.contains("and 299980 more"), "{}", run.stdout);
        assert_eq!(scene.run("missing files", &["show"]).code, 3);
    }
}
