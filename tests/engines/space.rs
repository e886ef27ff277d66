//! Space of real snapshots: mutations and attached partitions link single files between parts.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;

use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{path_of, repository};

/// Every inode below: how often it was met, its links, what it takes; and what the directories take.
fn walk(dir: &Path, files: &mut BTreeMap<u64, (u64, u64, u64)>) -> u64 {
    let mut bytes = dir.symlink_metadata().expect("a directory").blocks() * 512;
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let stat = entry.path().symlink_metadata().expect("an inode");
        if stat.is_dir() {
            bytes += walk(&entry.path(), files);
        } else {
            files.entry(stat.ino()).or_insert((0, stat.nlink(), stat.blocks() * 512)).0 += 1;
        }
    }
    bytes
}

fn settle(engine: &Engine) {
    while engine.query("SELECT count() FROM system.mutations WHERE database = 'lab' AND NOT is_done") != "0" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[apply(both_engines)]
fn usage_reports_the_same_with_and_without_the_index_and_the_server(mut engine: Engine) {
    engine.query("CREATE DATABASE lab");
    // A file a column, so that a mutation of one links the others.
    let wide = if engine.kind() == Kind::V26 { " SETTINGS min_bytes_for_wide_part = 0" } else { "" };
    for table in ["a", "b"] {
        engine.query(&format!(
            "CREATE TABLE lab.{table} (p UInt8, k UInt64, v UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k{wide}"
        ));
    }
    engine.query("INSERT INTO lab.a SELECT number % 3, number, number FROM numbers(100000)");
    let chsnap = repository(&engine);
    let mut created: Vec<Value> = vec![chsnap.json(0, &["create"])];
    engine.query("ALTER TABLE lab.a UPDATE v = v + 1 WHERE k % 7 = 0");
    settle(&engine);
    created.push(chsnap.json(0, &["create"]));
    engine.query("ALTER TABLE lab.b ATTACH PARTITION 1 FROM lab.a");
    created.push(chsnap.json(0, &["create"]));
    engine.query("ALTER TABLE lab.a DROP PARTITION 2");
    created.push(chsnap.json(0, &["create"]));
    let kind = engine.kind();
    engine.stop();
    // Kept at once, and a part that stayed as it was is kept once: three, three mutated, and the attached one.
    let index = rusqlite::Connection::open(chsnap.repo().join("index.sqlite")).expect("an index");
    for (table, rows) in [("holding", 4), ("instance", 7)] {
        let count = index.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u32>(0));
        assert_eq!(count.expect("a number"), rows, "{kind:?}, {table}");
    }
    drop(index);
    let check = |what: &str| {
        let found = chsnap.json(0, &["usage", "--exact"]);
        assert_eq!(found["exact"]["agrees"], true, "{kind:?}, {what}: {found}");
        let plain = chsnap.json(0, &["usage"]);
        assert_eq!(plain["snapshots"], found["snapshots"], "{kind:?}, {what}");
        for (row, created) in found["snapshots"].as_array().expect("rows").iter().zip(&created) {
            let mut files = BTreeMap::new();
            let directory_bytes = walk(&path_of(&chsnap, created), &mut files);
            let alone: u64 = files.values().filter(|(met, links, _)| met == links).map(|(.., bytes)| bytes).sum();
            assert_eq!(row["exclusive_bytes"], alone, "{kind:?}, {what}: {row}");
            assert_eq!(row["directory_bytes"], directory_bytes, "{kind:?}, {what}: {row}");
            assert_eq!(row["apparent_bytes"], created["apparent_bytes"]);
            assert!(row["live_shared_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{kind:?}, {what}: {row}");
        }
    };
    check("as create has left it");
    fs::remove_file(chsnap.repo().join("index.sqlite")).expect("an index");
    check("without the index");
}
