//! Symbolic links, pipes, sockets, devices and other entries in the place of each entry of a repository.

use std::fs;
use std::path::{Path, PathBuf};

use super::canary::{PLANTS, Plant, clear};
use super::person::{MEMORY, Scene, people, skipped};
use crate::tree::tree;

const NEW: &str = "2026-12-01T020000Z";

/// Runs every command with each plant at `place`, and then without it: the repository must work as before.
fn plant_at(place: impl Fn(&Scene) -> PathBuf) {
    for person in people() {
        let scene = Scene::new(person, 3);
        scene.run("before", &["rm", &scene.nights[0]]);
        let freezer = scene.freezer();
        let path = place(&scene);
        let aside = scene.lab.path().join("aside");
        for plant in person.share(&PLANTS) {
            if !path.parent().expect("a directory").is_dir() {
                // A command has removed all of it.
                break;
            }
            let stood = path.symlink_metadata().is_ok();
            if stood {
                fs::rename(&path, &aside).expect("moved aside");
            }
            if !plant.at(&path, scene.canary.path()) {
                skipped("no device can be made here");
                fs::rename(&aside, &path).ok();
                continue;
            }
            if plant != Plant::LinkToItself {
                std::os::unix::fs::lchown(&path, person.uid, person.uid).expect("given away");
            }
            let what = format!("{plant:?} at {}", path.strip_prefix(scene.lab.path()).expect("inside").display());
            for command in [&["list"][..], &["show"], &["rm", "--force", &scene.nights[1]], &["undo", &scene.nights[1]]]
            {
                scene.run(&what, command);
            }
            scene.run_in(MEMORY, freezer.url(), &what, &["create"]);
            scene.run(&what, &["gc"]);
            clear(&path);
            if stood && path.parent().expect("a directory").is_dir() {
                // A new one may have been made in its place meanwhile, or in that of its directory.
                fs::rename(&aside, &path).expect("moved back");
            }
        }
        scene.run_in(MEMORY, freezer.url(), "afterwards", &["gc"]);
        let run = scene.run_in(MEMORY, freezer.url(), "afterwards", &["create"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(tree(&freezer.shadow()).keys().all(|path| path == Path::new("increment.txt")), "a shadow is left");
    }
}

fn in_repo(name: &'static str) -> impl Fn(&Scene) -> PathBuf {
    move |scene| scene.repo().join(name)
}

fn in_snapshot(name: &'static str) -> impl Fn(&Scene) -> PathBuf {
    move |scene| scene.lab.at(&scene.nights[2]).join(name)
}

fn new_in(directory: &'static str, suffix: &'static str) -> impl Fn(&Scene) -> PathBuf {
    move |scene| scene.repo().join(directory).join(format!("{NEW}{suffix}"))
}

#[test]
fn in_the_place_of_a_directory_of_the_repository() {
    for name in ["incoming", "trash", "snapshots", "pins", "journal"] {
        plant_at(in_repo(name));
    }
}

#[test]
fn in_the_place_of_the_lock_the_link_and_the_configuration() {
    for name in ["lock", "latest", "latest.new", "chsnap.json", "chsnap.json.new"] {
        plant_at(in_repo(name));
    }
}

#[test]
fn in_the_place_of_the_index_and_sqlites_other_files() {
    for name in ["index.sqlite", "index.sqlite-journal", "index.sqlite-wal", "index.sqlite-shm"] {
        plant_at(in_repo(name));
    }
}

#[test]
fn in_incoming_under_an_id() {
    for suffix in ["", ".intent.json", ".intent.json.new"] {
        plant_at(new_in("incoming", suffix));
    }
}

#[test]
fn in_the_trash_under_an_id() {
    for suffix in ["", ".deleting-00000001", ".discarded-00000001"] {
        plant_at(new_in("trash", suffix));
    }
    plant_at(|scene| scene.repo().join("trash").join(&scene.nights[0]).join("data"));
}

#[test]
fn among_the_snapshots_and_in_one() {
    plant_at(new_in("snapshots", ""));
    for name in ["manifest.json", "parts.jsonl.zst", "data", "metadata"] {
        plant_at(in_snapshot(name));
    }
}

#[test]
fn among_pins_and_in_the_journal() {
    plant_at(|scene| scene.repo().join("pins").join(format!("{}.json", scene.nights[1])));
    plant_at(new_in("pins", ".json.new"));
    plant_at(in_repo("journal/2026-11.jsonl"));
    plant_at(in_repo("journal/2019-01.jsonl"));
}

/// A tree of this many nested directories.
fn deep(scene: &Scene, path: &Path) {
    // Longer than any path may be: made from the inside out.
    fs::create_dir(path).expect("a directory");
    let aside = path.with_extension("aside");
    for _ in 0..5000 {
        std::os::unix::fs::lchown(path, scene.person.uid, scene.person.uid).expect("given away");
        fs::rename(path, &aside).expect("aside");
        fs::create_dir(path).expect("a directory");
        fs::rename(&aside, path.join("d")).expect("one deeper");
    }
    std::os::unix::fs::lchown(path, scene.person.uid, scene.person.uid).expect("given away");
}

#[test]
fn a_tree_too_deep_for_stack_and_descriptors_is_removed() {
    for person in people() {
        let scene = Scene::new(person, 2);
        scene.run("before", &["rm", &scene.nights[0]]);
        let tree = scene.repo().join("trash").join(&scene.nights[0]).join("data/deep");
        deep(&scene, &tree);
        let run = scene.run("deep", &["gc", "--json"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(fs::read_dir(scene.repo().join("trash")).expect("the trash").count(), 0);
    }
}

#[test]
fn a_deep_tree_in_a_snapshot_does_not_stop_the_next_create() {
    for person in people() {
        let scene = Scene::new(person, 2);
        deep(&scene, &scene.lab.at(&scene.nights[1]).join("data/deep"));
        let freezer = scene.freezer();
        let run = scene.run_in(MEMORY, freezer.url(), "deep", &["create"]);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(scene.run("deep", &["rm", &scene.nights[1]]).code, 0);
        assert_eq!(scene.run("deep", &["gc"]).code, 0);
    }
}

#[test]
fn a_lock_that_somebody_holds_is_read_as_far_as_a_holder_writes() {
    for person in people() {
        let scene = Scene::new(person, 1);
        let path = scene.repo().join("lock");
        fs::write(&path, vec![b'7'; 100_000_000]).expect("a large lock");
        let file = fs::File::open(&path).expect("the lock");
        file.lock().expect("locked");
        assert_eq!(scene.run_in(64 << 20, "http://127.0.0.1:9", "held", &["gc"]).code, 11);
        for plant in [Plant::Pipe, Plant::Device] {
            clear(&path);
            if plant.at(&path, scene.canary.path()) {
                // A holder opens it to read and to write.
                let held = fs::File::options().read(true).write(true).open(&path).expect("it opens");
                drop(held.lock());
                scene.give(&path);
                assert_eq!(scene.run(&format!("held {plant:?}"), &["gc"]).code, 1);
            }
        }
    }
}
