//! A snapshot has every file of every active part under its own inode, and nothing else; live data is unchanged.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::support::{active_parts, expected, found, live, load, path_of, repository, shadows};
use crate::tree::tree;

fn place_modes_give_the_same_tree(engine: &Engine) {
    load(engine);
    let chsnap = repository(engine);
    let before = live(engine);
    let increment = fs::read(engine.data_path().join("shadow/increment.txt")).ok();
    for (mode, other) in [("auto", "linked"), ("link", "renamed"), ("rename", "linked")] {
        let created = chsnap.json(0, &["create", "--freeze", "all", "--place", mode]);
        let snapshot = path_of(&chsnap, &created);
        let data = tree(&snapshot.join("data/lab"));
        assert_eq!(found(&data), expected(engine), "{mode}");
        assert_eq!(created["placed"][other]["parts"], 0, "{mode}: {created}");
        assert_eq!(created["state"], "complete");
        assert_eq!(created["warnings"].as_array().map(Vec::len), Some(0));
        let count = data.values().filter(|node| !node.is_dir).count();
        assert_eq!(created["files"], count, "{mode}");
        let bytes: u64 = data.values().map(|node| node.size).sum();
        assert_eq!(created["apparent_bytes"], bytes, "{mode}");
        assert!(shadows(engine).is_empty(), "{mode}: {:?}", shadows(engine));
        assert!(data.contains_key(&PathBuf::from("empty")), "an empty table has its directory");
    }
    assert_eq!(live(engine), before, "live data is as it was");
    if engine.kind() == Kind::V18 {
        let after = fs::read(engine.data_path().join("shadow/increment.txt")).ok();
        assert_eq!(after, increment, "a named FREEZE does not touch the counter, and neither does chsnap");
    }
    let listed = chsnap.json(0, &["list"]);
    let snapshots = listed["snapshots"].as_array().expect("snapshots");
    assert_eq!(snapshots.len(), 3);
    assert_eq!(snapshots[1]["written_bytes"], 0, "nothing changed between the first two");
    assert_eq!(snapshots[0]["written_bytes"], snapshots[0]["allocated_bytes"]);
}

#[apply(both_engines)]
fn every_file_of_every_active_part_is_there_under_its_inode_and_nothing_else(engine: Engine) {
    place_modes_give_the_same_tree(&engine);
}

#[apply(both_engines)]
fn definitions_of_everything_are_kept_readable_by_their_owner_alone(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    let metadata = tree(&snapshot.join("metadata"));
    for name in ["lab.sql", "lab/events.sql", "lab/seen.sql", "lab/mv.sql", "lab/empty.sql"] {
        let node = metadata.get(&PathBuf::from(name)).unwrap_or_else(|| panic!("{name} in {:?}", metadata.keys()));
        assert_eq!(node.mode, 0o600, "{name}");
    }
    // Byte for byte the server's own file, with UUIDs and secrets in clear.
    let path = engine.query("SELECT metadata_path FROM system.tables WHERE database = 'lab' AND name = 'events'");
    let own = fs::read(engine.data_path().join(path)).expect("the server's own file");
    assert_eq!(fs::read(snapshot.join("metadata/lab/events.sql")).expect("ours"), own);
    let manifest: Value =
        serde_json::from_slice(&fs::read(snapshot.join("manifest.json")).expect("a manifest")).expect("JSON");
    let inner = manifest["tables"]
        .as_array()
        .expect("tables")
        .iter()
        .filter(|table| table["table"].as_str().is_some_and(|name| name.starts_with(".inner")))
        .collect::<Vec<_>>();
    assert_eq!(inner.len(), 1, "the view's inner table is taken once");
    assert_eq!(inner[0]["state"], "taken");
    let view = manifest["tables"].as_array().expect("tables").iter().find(|table| table["table"] == "mv").expect("mv");
    assert_eq!(view["state"], "definition");
}

#[apply(both_engines)]
fn a_server_whose_uid_has_no_name_here_keeps_its_ids_in_the_snapshot(#[case] kind: Kind) {
    let engine = Engine::start_with(kind, &Options { uid: Some(54321), ..Options::default() });
    load(&engine);
    let chsnap = repository(&engine);
    for mode in ["auto", "link"] {
        let created = chsnap.json(0, &["create", "--freeze", "all", "--place", mode]);
        let data = tree(&path_of(&chsnap, &created).join("data"));
        for (path, node) in &data {
            assert_eq!((node.uid, node.gid), (54321, 54321), "{mode}: {}", path.display());
        }
        // Directories that chsnap made have the mode of the server's own.
        let live = fs::metadata(&active_parts(&engine, "lab")[0].2).expect("a live part");
        let part = data.iter().find(|(path, node)| node.is_dir && path.components().count() == 3).expect("a part").1;
        assert_eq!(part.mode, live.mode() & 0o7777, "{mode}");
    }
}

#[apply(both_engines)]
fn the_listing_of_parts_agrees_with_the_server(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    let listing = fs::read(snapshot.join("parts.jsonl.zst")).expect("a listing");
    let listing = zstd::decode_all(listing.as_slice()).expect("zstd");
    let mut parts: Vec<Value> = String::from_utf8(listing)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    parts.retain(|part| part["database"] == "lab");
    let live = active_parts(&engine, "lab");
    assert_eq!(parts.len(), live.len());
    for part in &parts {
        let name = part["part"].as_str().expect("a name");
        let table = part["table"].as_str().expect("a table");
        assert!(part["fingerprint"].as_str().is_some_and(|text| text.len() == 32), "{part}");
        let uncovered: Vec<&str> = part["uncovered"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|file| file["path"].as_str().expect("a path"))
            .collect();
        assert!(uncovered.contains(&"columns.txt") && uncovered.contains(&"checksums.txt"), "{uncovered:?}");
        if engine.kind() == Kind::V26 {
            let hash = engine.query(&format!(
                "SELECT hash_of_all_files FROM system.parts WHERE active AND database = 'lab' AND table = '{table}' AND name = '{name}'"
            ));
            assert_eq!(part["fingerprint"], hash.as_str());
            assert!(uncovered.contains(&"metadata_version.txt"), "{uncovered:?}");
        }
    }
}
