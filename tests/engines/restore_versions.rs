//! Into a server of another version.

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind};
use crate::support::{TABLES, load, path_of, repository};
use crate::tree::tree;

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
    let (old, new) = (Engine::start(Engine::V18), Engine::start(Engine::V26));
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
}
