//! Snapshots of real servers in a second repository.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{load, path_of, repository, restore_by_hand};
use crate::tree::{Node, Tree, tree};

fn held(snapshot: &std::path::Path) -> Tree {
    let own = [PathBuf::from("manifest.json"), PathBuf::from("parts.jsonl.zst")];
    let mut held = tree(snapshot);
    held.retain(|path, _| !own.contains(path));
    held.into_iter().map(|(path, node)| (path, Node { inode: 0, ..node })).collect()
}

#[apply(both_engines)]
fn a_copied_snapshot_is_restored_drilled_and_built_upon(engine: Engine) {
    load(&engine);
    engine.query("CREATE TABLE lab.log (k UInt64) ENGINE = Log");
    engine.query("INSERT INTO lab.log SELECT number FROM numbers(10)");
    engine.query("CREATE TABLE lab.away (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.away SELECT number FROM numbers(7)");
    engine.query("DETACH TABLE lab.away");
    let chsnap = repository(&engine);
    let accept = ["--accept", "lab.away"];
    let first = chsnap.json(0, &[&["create", "--pin", "kept"], &accept[..]].concat());
    engine.query("INSERT INTO lab.events SELECT * FROM lab.events LIMIT 5");
    let second = chsnap.json(0, &[&["create"], &accept[..]].concat());
    let other = engine.root().join("other");
    let to = other.to_str().expect("a path");
    let copied = chsnap.json(0, &["copy", "--new", "--to", to]);
    assert_eq!(copied["copied"], 2, "{copied}");
    let copy = Chsnap::new(&other).url(&engine.url());
    for created in [&first, &second] {
        assert_eq!(held(&path_of(&copy, created)), held(&path_of(&chsnap, created)));
    }
    // The dump of a table without parts is shared by both; a detached table has its definition and its parts.
    let dump = |created: &serde_json::Value| path_of(&copy, created).join("dumps/lab/log.native.zst");
    let inode = |created| std::fs::metadata(dump(created)).map(|file| file.ino()).expect("a dump");
    assert_eq!(inode(&first), inode(&second));
    let away = |path: &str| path_of(&copy, &second).join(path);
    assert!(away("metadata/lab/away.sql").is_file() && away("data/lab/away").read_dir().expect("parts").count() == 1);
    assert_eq!(copy.json(0, &["verify", "--level", "data"])["state"], "sound");
    let restored = restore_by_hand(&copy, &path_of(&copy, &second), engine.kind());
    let query = "SELECT count(), sum(cityHash64(name, v)) FROM lab.events";
    assert_eq!(restored.query(query), engine.query(query));
    // Restored into its own server, and drilled.
    copy.json(0, &["drill", "latest"]);
    let before = engine.query(query);
    engine.query("DROP TABLE lab.events");
    let restored = copy.run(&["restore", "latest", "--table", "lab.events", "--yes"]);
    assert!(matches!(restored.code, 0 | 3), "{}", restored.stderr);
    assert_eq!(engine.query(query), before);
    let created = copy.json(0, &[&["create", "--place", "copy"], &accept[..]].concat());
    assert_eq!(copy.json(0, &["verify", "--level", "data"])["state"], "sound");
    assert!(created["placed"]["linked"]["parts"].as_u64() > Some(0), "{created}");
}
