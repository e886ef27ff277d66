//! `drill` of objects without data: made if they stay within the drill's database, else left out.

use serde_json::Value;

use crate::drilled::nothing_is_left;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::repository;

/// The verdict on each table of `lab`, with the kind of its reason.
fn verdicts(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let tables = report["tables"].as_array().expect("a list").iter();
    tables
        .filter(|table| !text(&table["from"]["table"]).starts_with(".inner"))
        .map(|table| {
            let verdict = format!("{} {}", text(&table["verdict"]), text(&table["reason_kind"]));
            (text(&table["from"]["table"]), verdict.trim_end().to_owned())
        })
        .collect()
}

fn assert_verdicts(report: &Value, expected: &[(&str, &str)]) {
    let expected: Vec<(String, String)> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(verdicts(report), expected, "{report:#}");
}

#[apply(both_engines)]
fn views_within_the_selection_are_made_and_others_are_left_out(engine: Engine) {
    for database in ["lab", "other"] {
        engine.query(&format!("CREATE DATABASE {database}"));
        engine.query(&format!("CREATE TABLE {database}.src (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO {database}.src SELECT number FROM numbers(10)"));
    }
    engine.query("CREATE TABLE lab.dst (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE MATERIALIZED VIEW lab.fill TO lab.dst AS SELECT k FROM lab.src");
    engine.query("CREATE MATERIALIZED VIEW lab.held ENGINE = SummingMergeTree ORDER BY k AS SELECT k FROM lab.src");
    engine.query("CREATE VIEW lab.seen AS SELECT k FROM lab.src");
    engine.query("CREATE VIEW lab.twice AS SELECT k FROM lab.seen");
    engine.query("CREATE VIEW lab.far AS SELECT k FROM other.src");
    engine.query("CREATE VIEW lab.farther AS SELECT k FROM lab.far");
    engine.query("CREATE TABLE lab.null (k UInt64) ENGINE = Null");
    engine.query("CREATE TABLE lab.pattern (k UInt64) ENGINE = Merge('lab', '^src$')");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--digest"]);
    let before = engine.query("SELECT database, name, engine FROM system.tables ORDER BY database, name");
    let report = chsnap.json(0, &["drill", "--table", "lab.*"]);
    assert_verdicts(
        &report,
        &[
            ("dst", "proven"),
            ("far", "not_tried outside"),
            ("farther", "not_tried outside"),
            ("fill", "proven"),
            ("held", "proven"),
            ("null", "proven"),
            ("pattern", "not_tried outside"),
            ("seen", "proven"),
            ("src", "proven"),
            ("twice", "proven"),
        ],
    );
    assert_eq!(engine.query("SELECT database, name, engine FROM system.tables ORDER BY database, name"), before);
    // What a view reads is not among what is tried: it is left out.
    let report = chsnap.json(0, &["drill", "--table", "lab.twice", "--table", "lab.src"]);
    assert_verdicts(&report, &[("src", "proven"), ("twice", "not_tried outside")]);
    // A sample is of tables with data.
    let report = chsnap.json(0, &["drill", "--sample", "1", "--table", "lab.src"]);
    assert_verdicts(&report, &[("src", "proven")]);
    // Nothing was tried at all.
    let report = chsnap.json(3, &["drill", "--table", "lab.far"]);
    assert_eq!((&report["state"], &report["totals"]["not_tried"]), (&"not_tried".into(), &1.into()));
    nothing_is_left(&engine);
}

#[test]
fn dictionaries_and_refused_definitions_and_remote_objects() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.src (k UInt64, v String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.src SELECT number, 'x' FROM numbers(10)");
    engine.query(
        "CREATE DICTIONARY lab.dict (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE(DB 'lab' TABLE 'src')) \
         LAYOUT(FLAT()) LIFETIME(0)",
    );
    engine.query(
        "CREATE DICTIONARY lab.web (k UInt64, v String) PRIMARY KEY k \
         SOURCE(HTTP(URL 'http://127.0.0.1:1/' FORMAT 'CSV')) LAYOUT(FLAT()) LIFETIME(0)",
    );
    engine.query("CREATE VIEW lab.named AS SELECT dictGet('lab.dict', 'v', k) AS v FROM lab.src");
    // The server drops no dictionary that a table needs, and no dictionary's table before it.
    engine.query("CREATE TABLE lab.filled (k UInt64, v String DEFAULT dictGet('lab.dict', 'v', k)) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.filled (k) SELECT 1");
    engine.query("CREATE TABLE lab.url (k UInt64) ENGINE = URL('http://127.0.0.1:1/', 'CSV')");
    engine.query("CREATE TABLE lab.log (k UInt64) ENGINE = Log");
    engine.query(
        "CREATE MATERIALIZED VIEW lab.daily REFRESH EVERY 1 YEAR ENGINE = MergeTree ORDER BY k EMPTY \
         AS SELECT k FROM lab.src",
    );
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--accept", "lab.*"]);
    let all = [
        ("daily", "not_tried outside"),
        ("dict", "proven"),
        ("filled", "proven"),
        ("log", "proven"),
        ("named", "proven"),
        ("src", "proven"),
        ("url", "not_tried outside"),
        ("web", "not_tried outside"),
    ];
    assert_verdicts(&chsnap.json(0, &["drill"]), &all);
    nothing_is_left(&engine);
    // A view whose query is no longer valid is attached as it was, by a restore too.
    engine.query("CREATE TABLE lab.more (k UInt64, w UInt8) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE MATERIALIZED VIEW lab.stale TO lab.more AS SELECT k, w FROM lab.more");
    engine.query("DROP TABLE lab.more SYNC");
    engine.query("CREATE TABLE lab.more (k UInt64) ENGINE = MergeTree ORDER BY k");
    chsnap.json(0, &["create", "--accept", "lab.*"]);
    let report = chsnap.json(0, &["drill"]);
    assert!(verdicts(&report).contains(&("stale".to_owned(), "proven".to_owned())), "{report:#}");
    assert_eq!(report["state"], "proven");
    nothing_is_left(&engine);
    // A function or a named collection that the server lacks is not made for a drill. A column can have the same name.
    engine.query("CREATE FUNCTION next AS (x) -> x + 1");
    engine.query("CREATE TABLE lab.counted (k UInt64, next UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.counted VALUES (1, 2)");
    engine.query("CREATE NAMED COLLECTION nc AS url = 'http://127.0.0.1:1/', format = 'CSV'");
    engine.query("CREATE TABLE lab.web2 (k UInt64) ENGINE = URL(nc)");
    chsnap.json(0, &["create", "--accept", "lab.*"]);
    engine.query("DROP FUNCTION next");
    engine.query("DROP TABLE lab.web2 SYNC");
    engine.query("DROP NAMED COLLECTION nc");
    let report = chsnap.json(3, &["drill", "--table", "lab.counted", "--table", "lab.web2"]);
    assert_verdicts(&report, &[("counted", "proven"), ("web2", "not_tried needs")]);
    assert_eq!(engine.query("SELECT count() FROM system.functions WHERE name = 'next'"), "0");
}

#[test]
fn objects_that_need_each_other_are_dropped_after_those_that_need_them() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.src (n UInt64, m UInt64) ENGINE = MergeTree ORDER BY n");
    engine.query("INSERT INTO lab.src VALUES (1, 2)");
    let source = |table: &str| format!("SOURCE(CLICKHOUSE(TABLE '{table}' DB 'lab')) LIFETIME(0) LAYOUT(FLAT())");
    engine.query(&format!("CREATE DICTIONARY lab.d1 (n UInt64, m UInt64) PRIMARY KEY n {}", source("src")));
    // A table needs a dictionary, and another dictionary needs the table.
    engine.query(
        "CREATE TABLE lab.t (n UInt64, m UInt64 DEFAULT dictGet('lab.d1', 'm', n)) ENGINE = MergeTree ORDER BY n",
    );
    engine.query("INSERT INTO lab.t (n) VALUES (1)");
    engine.query(&format!("CREATE DICTIONARY lab.d2 (n UInt64, m UInt64) PRIMARY KEY n {}", source("t")));
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let report = chsnap.json(0, &["drill"]);
    assert_eq!(report["warnings"], serde_json::json!([]), "{report:#}");
    nothing_is_left(&engine);
}
