//! Restores into a server of another version.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind};
use crate::support::{TABLES, load, path_of, repository};
use crate::tree::{Tree, tree};

fn are_installed() -> bool {
    let both = Kind::ALL.into_iter().all(Kind::is_installed);
    if !both {
        eprintln!("SKIPPED: this needs ClickHouse 18.16 and 26.9");
    }
    both
}

/// The same repository for another server.
fn for_server(chsnap: &Chsnap, engine: &Engine) -> Chsnap {
    chsnap.clone().url(&engine.url())
}

fn states(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tables = report["tables"].as_array().expect("tables");
    tables.iter().map(|table| (text(&table["table"]), text(&table["state"]))).collect()
}

#[test]
fn a_snapshot_of_18_comes_back_on_26() {
    if !are_installed() {
        return;
    }
    let (old, new) = (Engine::start(Kind::V18), Engine::start(Kind::V26));
    load(&old);
    old.query("CREATE TABLE lab.dated (d Date, k UInt64, n Nested(a UInt8, b String)) ENGINE = MergeTree(d, k, 8192)");
    old.query("INSERT INTO lab.dated SELECT toDate('2026-01-20') + number, number, [1, 2], ['x', toString(number)] FROM numbers(50)");
    old.query("CREATE TABLE lab.replaced (d Date, k UInt64, v UInt32) ENGINE = ReplacingMergeTree(d, (k), 8192, v)");
    old.query("INSERT INTO lab.replaced SELECT '2026-01-01', number % 10, number FROM numbers(40)");
    let more = [
        ("dated", "SELECT count(), sum(k), sum(arraySum(n.a)), sum(cityHash64(arrayStringConcat(n.b))) FROM lab.dated"),
        ("replaced", "SELECT k, max(v) FROM lab.replaced GROUP BY k ORDER BY k"),
        ("seen", "SELECT name, c FROM lab.seen ORDER BY name"),
    ];
    let chsnap = repository(&old);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = tree(&snapshot);
    let there = for_server(&chsnap, &new);
    let report = there.json(0, &["restore", "latest", "--yes"]);
    for (table, state) in states(&report) {
        assert!(["restored", "created"].contains(&state.as_str()), "{table}: {state}");
    }
    for (table, query) in TABLES.iter().chain(&more) {
        assert_eq!(new.query(query), old.query(query), "{table}");
    }
    let total = "SELECT sum(c) FROM lab.mv";
    assert_eq!(new.query(total), old.query(total));
    // They are tables like any other.
    new.query("INSERT INTO lab.dated (d, k) VALUES ('2026-01-20', 1)");
    new.query("OPTIMIZE TABLE lab.dated FINAL");
    assert_eq!(new.query("SELECT count() FROM lab.dated"), "51");
    assert!(tree(&snapshot).keys().eq(contents.keys()));
    // The repository is the old server's until it is given to the new one.
    let notes = report["notes"].as_array().expect("notes");
    assert!(
        notes.iter().any(|note| note.as_str().is_some_and(|note| note.contains("--allow-other-server"))),
        "{notes:?}"
    );
    let text = there.expect(0, &["restore", "latest", "--rename", "lab.dated=lab.again", "--yes"]);
    assert!(text.stderr.contains("the next create into its repository needs --allow-other-server"), "{}", text.stderr);
    there.expect(13, &["create"]);
    there.json(0, &["create", "--allow-other-server"]);
    // The server that it was taken from is no other one.
    let id = snapshot.file_name().and_then(|name| name.to_str()).expect("an id");
    let same = chsnap.json(0, &["restore", id, "--rename", "lab.dated=lab.again", "--yes"]);
    assert_eq!(same["notes"], serde_json::json!([]));
}

#[test]
fn a_snapshot_of_26_fails_clean_on_18() {
    if !are_installed() {
        return;
    }
    let (old, new) = (Engine::start(Kind::V18), Engine::start(Kind::V26));
    load(&new);
    new.query("CREATE TABLE lab.low (k LowCardinality(String), j JSON) ENGINE = MergeTree ORDER BY k");
    new.query("INSERT INTO lab.low SELECT toString(number), '{\"a\": 1}' FROM numbers(10)");
    let chsnap = repository(&new);
    chsnap.json(0, &["create"]);
    old.query("CREATE TABLE default.mine (k UInt8) ENGINE = MergeTree ORDER BY k");
    old.query("INSERT INTO default.mine VALUES (1)");
    let data = old.data_path();
    let before = tree(data);
    let there = for_server(&chsnap, &old);
    let run = there.run(&["restore", "latest", "--yes", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!(run.code, 1);
    for table in report["tables"].as_array().expect("tables") {
        let reason = table["reason"].as_str().unwrap_or_default();
        assert!(table["state"] == "failed" && reason.contains("Unknown database engine"), "{table}");
    }
    assert_eq!(old.query("SELECT count() FROM system.tables WHERE database = 'lab'"), "0");
    assert_eq!(old.query("SELECT k FROM default.mine"), "1");
    let appeared = |before: &Tree| tree(data).into_keys().filter(|path| !before.contains_key(path)).collect::<Vec<_>>();
    // The server itself makes it before it looks at the engine.
    assert_eq!(appeared(&before), [Path::new("metadata/lab")]);
    for entry in fs::read_dir(data).expect("it reads") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(!name.starts_with("chsnap_"), "{name}");
    }
    // Into an existing database: a table has all its rows, or does not exist.
    fs::remove_dir(data.join("metadata/lab")).expect("it is empty");
    old.query("CREATE DATABASE lab");
    let run = there.run(&["restore", "latest", "--yes", "--json"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert!([1, 3].contains(&run.code), "{report}");
    let listed = old.query("SELECT name FROM system.tables WHERE database = 'lab'");
    for (table, state) in states(&report) {
        let stands = listed.lines().any(|name| name == table);
        match state.as_str() {
            "restored" => {
                let query = format!("SELECT count() FROM lab.{table}");
                assert_eq!(old.query(&query), new.query(&query), "{table}");
            }
            "created" => assert!(stands, "{table}"),
            "failed" => assert!(!stands, "{table}: {report}"),
            state => panic!("{table}: {state}"),
        }
    }
    let low = report["tables"].as_array().and_then(|tables| tables.iter().find(|table| table["table"] == "low"));
    let low = low.unwrap_or_else(|| panic!("{report}"));
    assert!(low["state"] == "failed" && low["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{low}");
    assert_eq!(old.query("SELECT k FROM default.mine"), "1");
}
