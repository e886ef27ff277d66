//! Tables and databases that the server has and does not list.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{StopAtEnd, active_parts, path_of, repository};
use crate::tree::{files, tree};

fn make(engine: &Engine, database: &str, tables: &[&str]) {
    engine.query(&format!("CREATE DATABASE IF NOT EXISTS {database}"));
    for table in tables {
        engine.query(&format!(
            "CREATE TABLE {database}.{table} (k UInt64, v String) ENGINE = MergeTree PARTITION BY k % 2 ORDER BY k"
        ));
        for number in 0..3 {
            engine.query(&format!("INSERT INTO {database}.{table} SELECT number + {number}, 'x' FROM numbers(100)"));
        }
        // What a merge has made obsolete stays in the directory for a while.
        engine.query(&format!("OPTIMIZE TABLE {database}.{table} PARTITION 1 FINAL"));
    }
}

/// The inodes of a table's active parts, by part and file.
fn inodes(engine: &Engine, database: &str, table: &str) -> Vec<(String, u64)> {
    let parts = active_parts(engine, database).into_iter().filter(|(name, ..)| name == table);
    let of_part = |(_, part, path): (String, String, std::path::PathBuf)| inodes_of(&path, &part);
    let mut inodes: Vec<_> = parts.flat_map(of_part).collect();
    inodes.sort();
    inodes
}

fn inodes_of(path: &Path, part: &str) -> Vec<(String, u64)> {
    let tree = tree(path);
    files(&tree).into_iter().map(|(file, node)| (format!("{part}/{}", file.display()), node.inode)).collect()
}

fn stored(snapshot: &Path, database: &str, table: &str) -> Vec<(String, u64)> {
    let Ok(entries) = fs::read_dir(snapshot.join("data").join(database).join(table)) else { return Vec::new() };
    let parts = entries.map(|entry| entry.expect("an entry")).filter(|entry| entry.path().is_dir());
    let mut inodes: Vec<_> =
        parts.flat_map(|part| inodes_of(&part.path(), &part.file_name().to_string_lossy())).collect();
    inodes.sort();
    inodes
}

fn warned(created: &Value, table: &str) -> bool {
    let list = created["warning_list"].as_array().expect("warnings");
    list.iter().any(|warning| warning["kind"] == "not_listed" && warning["table"] == table)
}

fn create(chsnap: &Chsnap, code: i32) -> (Value, std::path::PathBuf) {
    let created = chsnap.json(code, &["create"]);
    let path = path_of(chsnap, &created);
    (created, path)
}

#[apply(both_engines)]
fn a_detached_table_is_named_and_its_parts_are_linked(engine: Engine) {
    make(&engine, "lab", &["plain", "away", "for_good"]);
    let expected = ["plain", "away", "for_good"].map(|table| inodes(&engine, "lab", table));
    let rows = engine.query("SELECT count(), sum(k) FROM lab.away");
    let chsnap = repository(&engine);
    engine.query("DETACH TABLE lab.away");
    let permanently = if engine.kind() == Kind::V26 { " PERMANENTLY" } else { "" };
    engine.query(&format!("DETACH TABLE lab.for_good{permanently}"));
    let plan = chsnap.json(3, &["create", "--dry-run"]);
    assert!(warned(&plan, "lab.away") && warned(&plan, "lab.for_good"), "{plan:#}");
    let doctor = chsnap.run(&["doctor"]);
    assert!(doctor.stdout.contains("not in the server's lists: lab.away"), "{}", doctor.stdout);
    for _ in 0..2 {
        let (created, snapshot) = create(&chsnap, 3);
        assert!(warned(&created, "lab.away") && warned(&created, "lab.for_good"), "{created:#}");
        assert!(!warned(&created, "lab.plain") && created["tables"] == 3, "{created:#}");
        for (table, expected) in ["plain", "away", "for_good"].iter().zip(&expected) {
            assert_eq!(stored(&snapshot, "lab", table), *expected, "{table}");
            assert!(snapshot.join("metadata/lab").join(format!("{table}.sql")).is_file(), "{table}");
        }
    }
    chsnap.json(0, &["verify", "latest", "--level", "data"]);
    chsnap.json(0, &["create", "--accept", "lab.*"]);
    // It comes back as it was, or, named, as a table.
    engine.query("ATTACH TABLE lab.away");
    assert_eq!(engine.query("SELECT count(), sum(k) FROM lab.away"), rows);
    engine.query("DROP TABLE lab.away");
    let restored = chsnap.json(0, &["restore", "latest", "--yes"]);
    let away = restored["tables"].as_array().expect("tables").iter().find(|table| table["table"] == "away").cloned();
    assert!(
        away.as_ref().is_some_and(|away| away["state"] == "restored" && away["is_detached"] == true),
        "{restored:#}"
    );
    assert_eq!(engine.query("SELECT count() FROM system.tables WHERE database = 'lab'"), "1");
    assert_eq!(chsnap.json(0, &["restore", "latest", "--yes"])["state"], "nothing_to_do");
    engine.query("ATTACH TABLE lab.away");
    assert_eq!(engine.query("SELECT count(), sum(k) FROM lab.away"), rows);
    engine.query("DROP TABLE lab.away");
    chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.away"]);
    assert_eq!(engine.query("SELECT count(), sum(k) FROM lab.away"), rows);
    let drill = chsnap.json(0, &["drill", "latest"]);
    assert_eq!(drill["state"], "proven", "{drill:#}");
    // For as long as it was detached: until the server starts, or for good.
    for (table, is_permanent) in [("away", "0"), ("for_good", "1")] {
        if table == "for_good" {
            engine.query("ATTACH TABLE lab.for_good");
        }
        engine.query(&format!("DROP TABLE lab.{table}"));
        chsnap.json(0, &["restore", "latest", "--yes"]);
        assert_eq!(engine.query(&format!("EXISTS TABLE lab.{table}")), "0");
        if engine.kind() == Kind::V26 {
            let listed = format!("SELECT is_permanently FROM system.detached_tables WHERE table = '{table}'");
            assert_eq!(engine.query(&listed), is_permanent, "{table}");
        }
        let diff = chsnap.json(0, &["diff", "latest", "live"]);
        assert_eq!(diff["identical"], true, "{diff:#}");
    }
    engine.query("ATTACH TABLE lab.away");
    // Attached again, it is a table like any other.
    let (created, snapshot) = create(&chsnap, 3);
    assert!(!warned(&created, "lab.away") && warned(&created, "lab.for_good"), "{created:#}");
    assert_eq!(stored(&snapshot, "lab", "away"), inodes(&engine, "lab", "away"));
}

#[apply(both_engines)]
fn a_detached_database_is_named_with_all_its_tables(engine: Engine) {
    make(&engine, "lab", &["plain"]);
    make(&engine, "shelf", &["one", "two"]);
    engine.query("CREATE VIEW shelf.seen AS SELECT k FROM shelf.one");
    let expected = ["one", "two"].map(|table| inodes(&engine, "shelf", table));
    let chsnap = repository(&engine);
    engine.query("DETACH DATABASE shelf");
    let (created, snapshot) = create(&chsnap, 3);
    for (table, expected) in ["one", "two"].iter().zip(&expected) {
        assert!(warned(&created, &format!("shelf.{table}")), "{created:#}");
        assert_eq!(stored(&snapshot, "shelf", table), *expected, "{table}");
    }
    assert!(warned(&created, "shelf.seen"), "{created:#}");
    for file in ["shelf.sql", "shelf/one.sql", "shelf/two.sql", "shelf/seen.sql"] {
        assert!(
            snapshot.join("metadata").join(file).is_file() || engine.kind() == Kind::V18 && file == "shelf.sql",
            "{file}"
        );
    }
    // A selection that does not reach them says nothing of them.
    chsnap.json(0, &["create", "--table", "lab.*"]);
    engine.query("ATTACH DATABASE shelf");
    let (created, snapshot) = create(&chsnap, 0);
    assert!(created["warnings"].as_array().is_some_and(Vec::is_empty), "{created:#}");
    assert_eq!(stored(&snapshot, "shelf", "one"), expected[0]);
}

#[apply(both_engines)]
fn a_table_that_is_attached_and_detached_meanwhile_is_whole(engine: Engine) {
    make(&engine, "lab", &["plain", "moving"]);
    let expected = inodes(&engine, "lab", "moving");
    let chsnap = repository(&engine);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                engine.query("DETACH TABLE lab.moving");
                std::thread::sleep(std::time::Duration::from_millis(7));
                // A query that still reads it keeps it from coming back for a moment.
                while engine.try_query("ATTACH TABLE lab.moving").is_err_and(|error| error.contains("Retry later")) {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        });
        let _stops = StopAtEnd(&stop);
        for _ in 0..8 {
            let run = chsnap.run(&["create", "--json", "--freeze", "all"]);
            assert!([0, 3].contains(&run.code), "{}{}", run.stdout, run.stderr);
            let created: Value = serde_json::from_str(&run.stdout).expect("JSON");
            let found = stored(&path_of(&chsnap, &created), "lab", "moving");
            let is_skipped = created["warnings"].to_string().contains("lab.moving is not in the snapshot");
            assert!(found == expected || found.is_empty() && is_skipped, "{created:#}");
        }
    });
}
