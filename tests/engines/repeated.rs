//! Repeated snapshots: names, pins, equal seconds, dry runs, removals.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{load, path_of, repository, restore_by_hand, shadows};
use crate::tree::{files, tree};

#[apply(both_engines)]
fn a_dry_run_touches_nothing(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let (repo, data) = (tree(chsnap.repo()), tree(engine.data_path()).len());
    let planned = chsnap.json(0, &["create", "--dry-run"]);
    assert_eq!(planned["state"], "planned");
    assert_eq!(planned["tables"], 6);
    let events =
        planned["plan"].as_array().expect("a plan").iter().find(|table| table["table"] == "events").expect("events");
    assert_eq!((events["partitions"].as_array().map(Vec::len), &events["freeze"]), (Some(4), &"table".into()));
    chsnap.expect(0, &["create", "--dry-run"]);
    let after = tree(chsnap.repo());
    assert_eq!(after, repo);
    assert_eq!(tree(engine.data_path()).len(), data);
    let created = chsnap.json(0, &["create"]);
    for field in ["tables", "parts"] {
        assert_eq!(created[field], planned[field], "{field}");
    }
}

#[apply(both_engines)]
fn snapshots_in_one_second_labels_and_pins(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let label = OsStr::from_bytes(b"a\xff b");
    let arguments: Vec<&OsStr> =
        ["--json", "create", "--pin", "before the upgrade", "--name"].iter().map(OsStr::new).chain([label]).collect();
    let first = chsnap.run(&arguments);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let ids: Vec<String> =
        (0..3).map(|_| chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned()).collect();
    let listed = chsnap.json(0, &["list"]);
    let snapshots = listed["snapshots"].as_array().expect("snapshots");
    assert_eq!(snapshots.len(), 4);
    assert_eq!(snapshots[0]["name_base64"], "Yf8gYg==");
    assert_eq!((&snapshots[0]["pinned"], &snapshots[1]["pinned"]), (&true.into(), &false.into()));
    let order: Vec<&str> = snapshots[1..].iter().map(|row| row["id"].as_str().expect("an id")).collect();
    assert_eq!(order, ids);
    assert!(!chsnap.expect(0, &["list"]).stdout.contains('\u{1b}'));
    let run = chsnap.expect(13, &["rm", "latest~3"]);
    assert!(run.stderr.contains("before the upgrade"), "{}", run.stderr);
}

#[apply(both_engines)]
fn a_removed_snapshot_comes_back_whole_and_a_collected_one_leaves_the_rest(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"]);
    engine.query("ALTER TABLE lab.events DROP PARTITION 202601");
    engine.query("OPTIMIZE TABLE lab.events FINAL");
    let second = chsnap.json(0, &["create"]);
    let (first_path, second_path) = (path_of(&chsnap, &first), path_of(&chsnap, &second));
    let (first_tree, second_tree) = (tree(&first_path), tree(&second_path));
    chsnap.json(0, &["rm", first["id"].as_str().expect("an id")]);
    assert!(!first_path.exists());
    chsnap.json(0, &["undo"]);
    assert_eq!(tree(&first_path), first_tree, "the same inodes");
    chsnap.json(0, &["rm", first["id"].as_str().expect("an id")]);
    // What only the first snapshot holds goes for good; everything else stays.
    let emptied = chsnap.json(0, &["gc"]);
    assert_eq!(emptied["removed"][0], first["id"]);
    assert!(emptied["files"].as_u64().expect("files") >= files(&first_tree).len() as u64);
    assert_eq!(tree(&second_path), second_tree);
    assert!(tree(&chsnap.repo().join("trash")).is_empty());
    let restored = restore_by_hand(&chsnap, &second_path, engine.kind());
    let query = "SELECT count(), sum(cityHash64(name, v)) FROM lab.events";
    assert_eq!(restored.query(query), engine.query(query));
    chsnap.expect(13, &["rm", "latest"]);
    assert!(shadows(&engine).is_empty());
}

#[apply(both_engines)]
fn readers_need_no_server(mut engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--name", "nightly"]);
    chsnap.json(0, &["create"]);
    engine.stop();
    assert_eq!(chsnap.json(0, &["list"])["snapshots"].as_array().map(Vec::len), Some(2));
    assert_eq!(chsnap.json(0, &["show", "latest~1"])["name"], "nightly");
    chsnap.json(0, &["rm", "latest"]);
    chsnap.json(0, &["undo"]);
    chsnap.json(0, &["rm", "latest"]);
    chsnap.json(0, &["gc"]);
    chsnap.expect(1, &["create"]);
}

#[apply(both_engines)]
fn written_bytes_are_the_same_with_and_without_the_index(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("SYSTEM STOP MERGES lab.t");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10000)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(5000)");
    let mut told = Vec::new();
    for index in ["kept", "lost"] {
        if index == "lost" {
            std::fs::remove_file(chsnap.repo().join("index.sqlite")).expect("an index");
        }
        let created = chsnap.json(0, &["create"]);
        assert!(created["written_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{created}");
        assert!(created["written_bytes"].as_u64() < created["allocated_bytes"].as_u64(), "{created}");
        told.push(created["written_bytes"].clone());
        chsnap.json(0, &["rm", created["id"].as_str().expect("an id")]);
        chsnap.json(0, &["gc"]);
    }
    assert_eq!(told[0], told[1]);
}
