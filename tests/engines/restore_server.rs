//! `restore` into a running server: tables of many kinds come back, and the snapshot stays as it is.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::support::{TABLES, asynchronous, load, other_filesystem, path_of, repository};
use crate::tree::{Tree, tree};
use crate::unchanged::settle;

/// Tables, views and more that are not like each other, with the queries that tell whether they came back whole.
fn load_kinds(engine: &Engine) -> Vec<String> {
    let mut queries: Vec<String> = TABLES.iter().map(|(_, query)| (*query).to_owned()).collect();
    let fill = |definition: &str, insert: &str| {
        let name = definition.split_whitespace().next().expect("a name");
        engine.query(&format!("CREATE TABLE {definition}"));
        engine.query(&format!("INSERT INTO {name} SELECT {insert}"));
        format!("SELECT * FROM {name}")
    };
    queries.push(fill(
        "lab.`awk-ward.näme` (k UInt32, `a.b` Array(String)) ENGINE = MergeTree ORDER BY k",
        "number, ['x', toString(number)] FROM numbers(20)",
    ));
    queries.push(fill(
        "lab.nul (k UInt32, n Nullable(Float64), d Date, e Enum8('a' = 1, 'b' = 2), f FixedString(3)) ENGINE = MergeTree \
         PARTITION BY (toYYYYMM(d), e) ORDER BY k",
        "number, if(number % 2, NULL, number / 3), toDate('2026-01-01') + number * 9, 'b', 'abc' FROM numbers(20)",
    ));
    queries.push(fill(
        "lab.coll (k UInt32, s Int8) ENGINE = CollapsingMergeTree(s) ORDER BY k",
        "number % 7, if(number % 2, 1, -1) FROM numbers(30)",
    ));
    queries.push(fill(
        "lab.agg (k UInt32, u AggregateFunction(uniq, UInt64)) ENGINE = AggregatingMergeTree ORDER BY k",
        "number % 3 AS k, uniqState(toUInt64(number)) FROM numbers(30) GROUP BY k",
    ));
    queries.pop();
    queries.push("SELECT k, uniqMerge(u) FROM lab.agg GROUP BY k ORDER BY k".to_owned());
    match engine.kind() {
        Kind::V18 => {
            queries.push(fill(
                "lab.oldsyntax (d Date, k UInt32, v String) ENGINE = MergeTree(d, (k, v), 8192)",
                "toDate('2026-01-01') + number * 10, number, 'v' FROM numbers(10)",
            ));
        }
        Kind::V26 => {
            queries.push(fill(
                "lab.modern (k UInt64, v String, t DateTime, m Map(String, UInt8), INDEX i v TYPE bloom_filter GRANULARITY 1, \
                 PROJECTION p (SELECT v, count() GROUP BY v)) ENGINE = MergeTree ORDER BY k TTL t + INTERVAL 100 YEAR \
                 SETTINGS min_bytes_for_wide_part = 1000",
                "number, toString(number % 5), now(), map('a', 1) FROM numbers(1000)",
            ));
            engine.query("INSERT INTO lab.modern SELECT 5000, 'x', now(), map()");
            engine.query(
                "CREATE TABLE lab.patched (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id \
                 SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1",
            );
            engine.query("INSERT INTO lab.patched SELECT number, 0 FROM numbers(100)");
            engine.query("UPDATE lab.patched SET v = 5 WHERE id < 10");
            queries.push("SELECT sum(v), count() FROM lab.patched".to_owned());
            engine.query(
                "CREATE DICTIONARY lab.words (k UInt32, v String) PRIMARY KEY k \
                 SOURCE(CLICKHOUSE(DB 'lab' TABLE 'latest' USER 'default')) LAYOUT(HASHED()) LIFETIME(0)",
            );
            queries.push("SELECT dictGet('lab.words', 'v', toUInt64(7))".to_owned());
            engine.query("CREATE TABLE lab.deflt (k UInt64, w String DEFAULT dictGet('lab.words', 'v', k)) ENGINE = MergeTree ORDER BY k");
            engine.query("INSERT INTO lab.deflt (k) VALUES (7)");
            queries.push("SELECT * FROM lab.deflt".to_owned());
            engine.query("CREATE FUNCTION lab_twice AS (x) -> x * 2");
            engine.query("CREATE VIEW lab.twice AS SELECT lab_twice(sum(x)) AS s FROM lab.plain");
            queries.push("SELECT * FROM lab.twice".to_owned());
        }
    }
    engine.query("CREATE TABLE lab.target (name String, c UInt64) ENGINE = SummingMergeTree ORDER BY name");
    engine.query(
        "CREATE MATERIALIZED VIEW lab.to_target TO lab.target AS SELECT name, count() AS c FROM lab.events GROUP BY name",
    );
    queries.push("SELECT count(), sum(c) FROM lab.mv".to_owned());
    queries.push("SELECT count(), sum(c) FROM lab.seen".to_owned());
    queries
}

fn answers(engine: &Engine, queries: &[String]) -> Vec<String> {
    let sorted = |answer: String| {
        let mut lines: Vec<&str> = answer.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    queries.iter().map(|query| sorted(engine.query(query))).collect()
}

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().expect("a list");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// Nothing of chsnap's is next to the server's data, and each directory of `store/` has its table.
#[track_caller]
fn nothing_is_left(engine: &Engine) {
    let names: Vec<String> = fs::read_dir(engine.data_path())
        .expect("data")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.starts_with("chsnap")), "{names:?}");
    let left = engine.query("SELECT count() FROM system.tables WHERE name LIKE 'chsnap%'");
    assert_eq!(left, "0");
    let store = engine.data_path().join("store");
    if engine.kind() == Kind::V26 && store.exists() {
        let known = engine.query(
            "SELECT toString(uuid) FROM system.tables UNION ALL SELECT toString(uuid) FROM system.dropped_tables \
             UNION ALL SELECT toString(uuid) FROM system.databases",
        );
        for prefix in fs::read_dir(store).expect("store") {
            for uuid in fs::read_dir(prefix.expect("an entry").path()).expect("a directory") {
                let uuid = uuid.expect("an entry").file_name().to_string_lossy().into_owned();
                assert!(known.contains(&uuid), "store/{uuid} is no table's");
            }
        }
    }
}

fn snapshot_tree(path: &Path) -> Tree {
    tree(path)
}

#[apply(both_engines)]
fn a_dropped_database_comes_back_whole_and_the_snapshot_stays_as_it_is(engine: Engine) {
    load(&engine);
    let queries = load_kinds(&engine);
    let before = answers(&engine, &queries);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = snapshot_tree(&snapshot);
    engine.query("DROP DATABASE lab");
    if engine.kind() == Kind::V26 {
        engine.query("DROP FUNCTION lab_twice");
    }
    let report = chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(report["schema"], "chsnap.restore.v1");
    assert_eq!(report["totals"]["failed"], 0, "{report:#}");
    assert_eq!(answers(&engine, &queries), before);
    for table in report["tables"].as_array().expect("a list") {
        assert_eq!(table["rows"], table["expected_rows"], "{table:#}");
        if table["state"] == "restored" {
            assert_eq!(
                table["verified_parts"].as_u64().expect("a number") + table["merged_parts"].as_u64().expect("a number"),
                table["parts"].as_u64().expect("a number")
            );
        }
    }
    nothing_is_left(&engine);
    assert!(snapshot_tree(&snapshot) == contents, "restoring leaves the snapshot as it was");

    // The restored server runs on.
    let synchronous: &[(&str, &str)] = if engine.kind() == Kind::V26 { &[("mutations_sync", "2")] } else { &[] };
    engine.query("INSERT INTO lab.events SELECT toDateTime('2026-02-01 00:00:00'), number, 'new', 1 FROM numbers(10)");
    assert_eq!(engine.query("SELECT sum(c) FROM lab.mv WHERE name = 'new'"), "10", "the views are at work");
    assert_eq!(engine.query("SELECT sum(c) FROM lab.target WHERE name = 'new'"), "10");
    engine.query_with("ALTER TABLE lab.events UPDATE v = 9 WHERE id % 2 = 0", synchronous).expect("an update");
    engine.query_with("ALTER TABLE lab.latest DELETE WHERE k < 10", synchronous).expect("a deletion");
    engine.query("OPTIMIZE TABLE lab.events FINAL");
    engine.query("ALTER TABLE lab.events FREEZE");
    engine.query("ALTER TABLE lab.plain FREEZE");
    engine.query("ALTER TABLE lab.nul ADD COLUMN extra String DEFAULT 'x'");
    engine.query("ALTER TABLE lab.events DETACH PARTITION 202601");
    engine.query("OPTIMIZE TABLE lab.sums FINAL");
    engine.query("DROP TABLE lab.plain");
    if engine.kind() == Kind::V26 {
        engine.query("ALTER TABLE lab.patched FREEZE");
        engine.query_with("ALTER TABLE lab.patched APPLY PATCHES", synchronous).expect("patches");
        engine.query("OPTIMIZE TABLE lab.modern FINAL");
    }
    chsnap.json(0, &["create"]);
    engine.query("DROP DATABASE lab");
    let after = snapshot_tree(&snapshot);
    for (path, node) in &contents {
        assert_eq!(after.get(path), Some(node), "{} is as it was", path.display());
    }
    assert_eq!(after.len(), contents.len());
}

#[apply(both_engines)]
fn tables_are_restored_under_other_names_next_to_existing_ones(engine: Engine) {
    load(&engine);
    load_kinds(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let report = chsnap
        .json(0, &["restore", "latest", "--table", "lab.events", "--rename", "lab.events=lab.yesterday", "--yes"]);
    assert_eq!(report["tables"][0]["from"]["table"], "events");
    let query = |table: &str| engine.query(&format!("SELECT count(), sum(id), sum(cityHash64(name, v)) FROM {table}"));
    assert_eq!(query("lab.yesterday"), query("lab.events"));
    chsnap.json(0, &["restore", "latest", "--rename-db", "lab=copy", "--yes"]);
    assert_eq!(query("copy.events"), query("lab.events"));
    // Views of the copy read and write the copy.
    engine.query("INSERT INTO copy.events SELECT toDateTime('2026-02-01 00:00:00'), number, 'new', 1 FROM numbers(10)");
    assert_eq!(engine.query("SELECT sum(c) FROM copy.mv WHERE name = 'new'"), "10");
    assert_eq!(engine.query("SELECT sum(c) FROM copy.target WHERE name = 'new'"), "10");
    assert_eq!(engine.query("SELECT sum(c) FROM copy.seen WHERE name = 'new'"), "10");
    assert_eq!(engine.query("SELECT count() FROM lab.events WHERE name = 'new'"), "0");
    assert_eq!(engine.query("SELECT count() FROM lab.mv WHERE name = 'new'"), "0");
    if engine.kind() == Kind::V26 {
        engine.query("INSERT INTO copy.deflt (k) VALUES (8)");
        assert!(engine.query("SHOW CREATE TABLE copy.words").contains("copy"));
    }
    nothing_is_left(&engine);
    let run =
        chsnap.expect(2, &["restore", "latest", "--rename", "lab.events=x.y", "--rename", "lab.plain=x.y", "--yes"]);
    assert!(run.stderr.contains("would both be x.y"), "{}", run.stderr);
    chsnap.expect(1, &["restore", "latest", "--rename", "lab.nothing=x.y", "--yes"]);
}

#[apply(both_engines)]
fn a_table_with_data_is_replaced_only_with_the_option(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = snapshot_tree(&snapshot);
    let before = engine.query("SELECT count(), sum(x) FROM lab.plain");
    engine.query("INSERT INTO lab.plain SELECT number FROM numbers(1000)");
    let changed = engine.query("SELECT count(), sum(x) FROM lab.plain");
    let arguments = ["restore", "latest", "--table", "lab.plain"];
    let refused = chsnap.json(13, &[&arguments[..], &["--yes"]].concat());
    assert_eq!(refused["state"], "refused");
    assert!(refused["reason"].as_str().expect("text").contains("lab.plain has 1,000 rows in 1 part"), "{refused}");
    chsnap.expect(13, &arguments);
    chsnap.expect(13, &[&arguments[..], &["--replace"]].concat());
    let plan = chsnap.json(0, &[&arguments[..], &["--replace", "--dry-run"]].concat());
    assert_eq!(plan["tables"][0]["replaces"]["rows"], 1010);
    assert_eq!(engine.query("SELECT count(), sum(x) FROM lab.plain"), changed, "nothing was touched");
    let report = chsnap.json(0, &[&arguments[..], &["--replace", "--yes"]].concat());
    assert_eq!(report["tables"][0]["state"], "replaced");
    assert_eq!(engine.query("SELECT count(), sum(x) FROM lab.plain"), before);
    nothing_is_left(&engine);
    // The table that goes can be kept.
    engine.query("INSERT INTO lab.plain SELECT number FROM numbers(1000)");
    let report = chsnap.json(0, &[&arguments[..], &["--replace", "--keep-replaced", "--yes"]].concat());
    let kept = &report["tables"][0]["replaced_table"];
    let kept = format!("lab.{}", kept["table"].as_str().expect("a name"));
    assert_eq!(engine.query(&format!("SELECT count(), sum(x) FROM {kept}")), changed);
    assert_eq!(engine.query("SELECT count(), sum(x) FROM lab.plain"), before);
    engine.query(&format!("DROP TABLE {kept}"));
    // All of it, a view with its inner table too.
    let rows = engine.query("SELECT sum(c) FROM lab.mv");
    engine.query("INSERT INTO lab.events SELECT toDateTime('2026-02-01 00:00:00'), number, 'new', 1 FROM numbers(10)");
    engine.query("ALTER TABLE lab.events DROP PARTITION 202601");
    chsnap.json(0, &["restore", "latest", "--all", "--replace", "--yes"]);
    for (_, query) in TABLES {
        assert!(!engine.query(query).is_empty());
    }
    assert_eq!(engine.query("SELECT sum(c) FROM lab.mv"), rows);
    engine.query("INSERT INTO lab.events SELECT toDateTime('2026-02-01 00:00:00'), number, 'new', 1 FROM numbers(10)");
    assert_eq!(engine.query("SELECT sum(c) FROM lab.mv WHERE name = 'new'"), "10", "the view is at work again");
    nothing_is_left(&engine);
    assert!(snapshot_tree(&snapshot) == contents);
}

#[apply(both_engines)]
fn partitions_and_data_alone_come_back_into_a_table_that_is_there(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let all = "SELECT count(), sum(id), sum(cityHash64(name, v)) FROM lab.events";
    let before = engine.query(all);
    engine.query("ALTER TABLE lab.events DROP PARTITION 202602");
    let report = chsnap.json(0, &["restore", "latest", "--table", "lab.events", "--partition", "202602", "--yes"]);
    assert_eq!(
        (&report["tables"][0]["state"], &report["tables"][0]["rows"]),
        (&Value::from("attached"), &Value::from(3000))
    );
    assert_eq!(engine.query(all), before);
    // One that has other data now.
    engine.query("ALTER TABLE lab.events DROP PARTITION 202603");
    engine.query("INSERT INTO lab.events SELECT toDateTime('2026-03-01 00:00:00'), number, 'new', 1 FROM numbers(10)");
    let arguments = ["restore", "latest", "--table", "lab.events", "--partition", "202603", "--yes"];
    chsnap.expect(13, &arguments);
    chsnap.json(0, &[&arguments[..], &["--replace"]].concat());
    assert_eq!(engine.query(all), before);
    engine.query("TRUNCATE TABLE lab.events");
    chsnap.json(0, &["restore", "latest", "--table", "lab.events", "--data-only", "--yes"]);
    assert_eq!(engine.query(all), before);
    engine.query("DROP TABLE lab.events");
    let run = chsnap.run(&["--json", "restore", "latest", "--table", "lab.events", "--data-only", "--yes"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!((run.code, &report["tables"][0]["state"]), (1, &Value::from("failed")), "nothing came back");
    chsnap.json(0, &["restore", "latest", "--table", "lab.events", "--schema-only", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM lab.events"), "0");
    chsnap.json(0, &["restore", "latest", "--table", "lab.events", "--yes"]);
    assert_eq!(engine.query(all), before, "an empty table is no obstacle");
    nothing_is_left(&engine);
}

#[apply(both_engines)]
fn partitions_come_back_into_a_table_that_has_got_columns_since(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    let wide = if engine.kind() == Kind::V26 { " SETTINGS min_bytes_for_wide_part = 0" } else { "" };
    let tables = [
        ("grown", "p UInt8, k UInt64, v UInt32", "p", "k"),
        ("shrunk", "p UInt8, k UInt64, v UInt32", "p", "k"),
        ("retyped", "p UInt8, k UInt64, v UInt32", "p", "k"),
        ("resorted", "p UInt8, k UInt64, v UInt32", "p", "k"),
    ];
    for (table, columns, partition, order) in tables {
        engine.query(&format!(
            "CREATE TABLE lab.{table} ({columns}) ENGINE = MergeTree PARTITION BY {partition} ORDER BY {order}{wide}"
        ));
        for round in 0..2 {
            engine.query(&format!("INSERT INTO lab.{table} SELECT number % 3, number, {round} FROM numbers(300)"));
        }
    }
    // A change that is to be seen in what comes back, under way or done.
    engine.query("ALTER TABLE lab.grown UPDATE v = v + 10 WHERE p = 1");
    // None of these has the partition.
    engine.query("CREATE TABLE lab.other (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("INSERT INTO lab.other VALUES (5, 5)");
    engine.query("CREATE TABLE lab.empty (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("CREATE TABLE lab.log (k UInt64) ENGINE = Log");
    engine.query("CREATE VIEW lab.seen AS SELECT k FROM lab.other");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    let contents = snapshot_tree(&snapshot);
    settle(&engine);
    for table in ["other", "empty", "log", "seen"] {
        engine.query(&format!("DROP TABLE lab.{table}"));
    }
    let none = chsnap.json(1, &["restore", "latest", "--partition", "9", "--yes"]);
    assert!(none["error"].to_string().contains("has the partition") && none["hint"].is_string(), "{none:#}");
    let named = chsnap
        .json(1, &["restore", "latest", "--table", "lab.other", "--table", "lab.grown", "--partition", "9", "--yes"]);
    assert!(named["error"].to_string().contains("the partition"), "{named:#}");
    let old = "SELECT p, count(), sum(k), sum(v) FROM lab.grown GROUP BY p ORDER BY p";
    let before = engine.query(old);
    engine.query("ALTER TABLE lab.grown ADD COLUMN w UInt64 DEFAULT k * 2");
    engine.query("ALTER TABLE lab.grown ADD COLUMN s String");
    engine.query("ALTER TABLE lab.shrunk DROP COLUMN v");
    engine.query("DROP TABLE lab.retyped");
    engine.query(&format!(
        "CREATE TABLE lab.retyped (p UInt8, k UInt64, v String) ENGINE = MergeTree PARTITION BY p ORDER BY k{wide}"
    ));
    engine.query("DROP TABLE lab.resorted");
    engine.query(&format!(
        "CREATE TABLE lab.resorted (p UInt8, k UInt64, v UInt32) ENGINE = MergeTree PARTITION BY p ORDER BY (v, k){wide}"
    ));
    for table in ["grown", "shrunk"] {
        engine.query(&format!("ALTER TABLE lab.{table} DROP PARTITION 1"));
    }
    engine.query("INSERT INTO lab.grown (p, k, v, w, s) VALUES (7, 7, 7, 7, 'stays')");
    let rest = "SELECT count(), sum(k), sum(v), sum(w), groupUniqArray(s) FROM lab.grown WHERE p != 1";
    let others = engine.query(rest);
    let report = chsnap.json(3, &["restore", "latest", "--partition", "1", "--yes"]);
    let grown = table(&report, "grown");
    assert_eq!((&grown["state"], &grown["rows"]), (&Value::from("attached"), &Value::from(200)), "{report:#}");
    let told = grown["warnings"].to_string();
    assert!(told.contains("no column s, w"), "{told}");
    let old = "SELECT p, count(), sum(k), sum(v) FROM lab.grown WHERE p < 7 GROUP BY p ORDER BY p";
    assert_eq!(engine.query(old), before);
    assert_eq!(engine.query("SELECT sum(w) = 2 * sum(k), uniq(s) FROM lab.grown WHERE p = 1"), "1\t1");
    assert_eq!(engine.query(rest), others);
    let names: Vec<&str> =
        report["tables"].as_array().expect("tables").iter().filter_map(|table| table["table"].as_str()).collect();
    assert_eq!(names, ["grown", "resorted", "retyped", "shrunk"], "no table without the partition: {report:#}");
    // What does not fit is said, and nothing is wrong in silence.
    for (name, reason) in [
        ("shrunk", "no column v any more"),
        ("retyped", "column v is String, and UInt32 in the snapshot"),
        ("resorted", "one of its keys is another"),
    ] {
        let report = table(&report, name);
        assert_eq!(report["state"], "failed", "{report:#}");
        assert!(report["reason"].as_str().expect("a reason").contains(reason), "{report:#}");
        assert_eq!(engine.query(&format!("SELECT count() FROM lab.{name} WHERE p = 1")), "0");
    }
    // The restored table lives on, and the snapshot is what it was.
    engine.query("OPTIMIZE TABLE lab.grown PARTITION 1 FINAL");
    engine.query("ALTER TABLE lab.grown UPDATE v = 0 WHERE p = 1");
    settle(&engine);
    assert_eq!(engine.query("SELECT sum(v) FROM lab.grown WHERE p = 1"), "0");
    nothing_is_left(&engine);
    assert!(snapshot_tree(&snapshot) == contents);
}

#[apply(both_engines)]
fn a_second_empty_server_gets_everything_by_copy_from_another_filesystem(engine: Engine) {
    load(&engine);
    let queries = load_kinds(&engine);
    let before = answers(&engine, &queries);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let Some(other) = other_filesystem(engine.root()) else { return };
    let second = Engine::start_in(engine.kind(), &other.path().join("data"), &Options::default());
    let report = Chsnap::new(chsnap.repo()).url(&second.url()).json(0, &["restore", "latest", "--yes"]);
    assert_eq!(report["totals"]["placed"]["linked"]["parts"], 0);
    assert_eq!(answers(&second, &queries), before);
    let changed: Vec<&Value> =
        report["tables"].as_array().expect("a list").iter().filter(|table| table["uuid_changed"] == true).collect();
    assert!(changed.is_empty(), "these UUIDs were free: {changed:#?}");
    nothing_is_left(&second);
}

#[apply(both_engines)]
fn a_refusal_is_reported_in_the_servers_words_and_the_rest_is_restored(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.base (x UInt64) ENGINE = MergeTree ORDER BY x");
    engine.query("INSERT INTO lab.base SELECT number FROM numbers(10)");
    engine.query("CREATE DATABASE other");
    engine.query("CREATE TABLE other.base (x UInt64) ENGINE = MergeTree ORDER BY x");
    // Each version looks at something else when a view is made.
    match engine.kind() {
        Kind::V18 => drop(engine.query("CREATE VIEW lab.gone AS SELECT x FROM other.base")),
        Kind::V26 => {
            engine.query(
                "CREATE NAMED COLLECTION other AS host = '127.0.0.1', port = 1, user = 'u', password = 'p', database = 'd', \
                 table = 't'",
            );
            engine.query("CREATE TABLE lab.gone (x UInt64) ENGINE = MySQL(other)");
            engine
                .query_with("DROP NAMED COLLECTION other", &[("check_named_collection_dependencies", "0")])
                .expect("dropped");
        }
    }
    engine.query("CREATE VIEW lab.second AS SELECT count() AS n FROM lab.base");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--table", "lab.*"]);
    engine.query("DROP DATABASE lab");
    engine.query("DROP DATABASE other");
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    let gone = table(&report, "gone");
    assert_eq!(gone["state"], "failed");
    assert!(gone["reason"].as_str().expect("words").contains("other"), "{gone}");
    assert_eq!(engine.query("SELECT n FROM lab.second"), "10");
    assert_eq!(report["totals"]["failed"], 1);
}

/// A server with another user than the files of the snapshot: linked files are never given away.
fn restored_for_another_user(kind: Kind) {
    let engine = Engine::start(kind);
    load(&engine);
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    let contents = snapshot_tree(&snapshot);
    let before: Vec<String> = TABLES.iter().map(|(_, query)| engine.query(query)).collect();
    let second = Engine::start_with(kind, &Options { uid: Some(54321), ..Options::default() });
    // The repository lies on the same filesystem, where links would work.
    let to_second = Chsnap::new(chsnap.repo()).url(&second.url());
    let refused = to_second.expect(1, &["restore", "latest", "--yes", "--place", "link"]);
    assert!(refused.stderr.contains("another user"), "{}", refused.stderr);
    nothing_is_left(&second);
    let report = to_second.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(report["totals"]["placed"]["linked"]["parts"], 0);
    for ((_, query), rows) in TABLES.iter().zip(&before) {
        assert_eq!(&second.query(query), rows, "{query}");
    }
    // All of it is the server's: it can freeze, mutate and drop.
    second.query("ALTER TABLE lab.events FREEZE");
    second.query("OPTIMIZE TABLE lab.events FINAL");
    second.query("DROP TABLE lab.events");
    assert!(snapshot_tree(&snapshot) == contents);
}

#[test]
fn a_server_of_another_user_gets_copies_that_are_its_own_v18() {
    restored_for_another_user(Kind::V18);
}

#[test]
fn a_server_of_another_user_gets_copies_that_are_its_own_v26() {
    restored_for_another_user(Kind::V26);
}

#[test]
fn a_dropped_uuid_is_never_used_again() {
    let config = "<database_atomic_delay_before_drop_table_sec>5</database_atomic_delay_before_drop_table_sec>";
    let engine = Engine::start_with(Kind::V26, &Options { config: config.to_owned(), ..Options::default() });
    load(&engine);
    let before: Vec<String> = TABLES.iter().map(|(_, query)| engine.query(query)).collect();
    let views = "SELECT sum(c) FROM lab.mv";
    let sum = engine.query(views);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    for (how, changes) in [
        ("DROP DATABASE lab", true),
        ("DROP DATABASE lab SYNC", false),
        ("DROP TABLE lab.events; DROP TABLE lab.plain; DROP TABLE lab.mv", true),
        ("DROP TABLE lab.events SYNC; DROP TABLE lab.plain SYNC; DROP TABLE lab.mv SYNC", false),
    ] {
        for statement in how.split(';') {
            engine.query(statement);
        }
        if !changes {
            // What is gone is gone.
            sleep(Duration::from_secs(8));
        }
        let arguments = ["restore", "latest", "--yes", "--all", "--replace"];
        let report = chsnap.json(0, &arguments);
        let is_changed = |name: &str| table(&report, name)["uuid_changed"] == true;
        if changes {
            assert!(is_changed("events") && is_changed("plain"), "{how}: {report:#}");
        }
        // Past the delay the server has removed what it had to.
        sleep(Duration::from_secs(8));
        for ((_, query), rows) in TABLES.iter().zip(&before) {
            assert_eq!(&engine.query(query), rows, "{how}: {query}");
        }
        assert_eq!(engine.query(views), sum, "{how}");
        nothing_is_left(&engine);
    }
}

#[test]
fn parts_are_restored_to_their_disks_and_unknown_policies_are_reported() {
    let options = Options { extra_disks: 2, ..Options::default() };
    let engine = Engine::start_with(Kind::V26, &options);
    engine.query("CREATE TABLE default.t (k UInt64, d UInt8) ENGINE = MergeTree PARTITION BY d ORDER BY k SETTINGS storage_policy = 'jbod'");
    for d in 0..6 {
        engine.query(&format!("INSERT INTO default.t SELECT number, {d} FROM numbers(100)"));
    }
    let disks = "SELECT partition_id, disk_name FROM system.parts WHERE active AND table = 't' ORDER BY 1";
    let (rows, before) = (engine.query("SELECT count(), sum(k * d) FROM default.t"), engine.query(disks));
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DROP TABLE default.t");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query("SELECT count(), sum(k * d) FROM default.t"), rows);
    assert_eq!(engine.query(disks), before);
    engine.query("CREATE TABLE default.u (k UInt64) ENGINE = MergeTree ORDER BY k SETTINGS storage_policy = 'disk2'");
    engine.query("INSERT INTO default.u SELECT 1");
    chsnap.json(0, &["create"]);
    let plain = Engine::start(Kind::V26);
    let report = Chsnap::new(chsnap.repo()).url(&plain.url()).json(3, &["restore", "latest", "--yes"]);
    assert!(table(&report, "u")["reason"].as_str().expect("a reason").contains("storage policy"), "{report:#}");
    assert_eq!(
        plain.query("SELECT count(), sum(k * d) FROM default.t"),
        rows,
        "a disk that is not there is no obstacle"
    );
}

#[apply(both_engines)]
fn unfinished_mutations_finish_after_a_restore_and_before_partitions_move(engine: Engine) {
    engine.query("CREATE TABLE default.m (id UInt64, v String) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO default.m SELECT number, 'old' FROM numbers(1000)");
    engine.query("SYSTEM STOP MERGES default.m");
    engine
        .query_with("ALTER TABLE default.m UPDATE v = 'new' WHERE id % 2 = 0", asynchronous(&engine))
        .expect("queued");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    // 18.16 leaves a table that is dropped with a stopped mutation to hang.
    let query = "SELECT count() FROM default.n WHERE v = 'new'";
    chsnap.json(0, &["restore", "latest", "--rename", "default.m=default.n", "--yes"]);
    for _ in 0..100 {
        if engine.query(query) == "500" {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    assert_eq!(engine.query(query), "500");
    engine.query("TRUNCATE TABLE default.n");
    chsnap.json(0, &["restore", "latest", "--rename", "default.m=default.n", "--data-only", "--yes"]);
    assert_eq!(engine.query(query), "500", "an update that had not run is not lost");
    assert_eq!(engine.query("SELECT count() FROM default.n"), "1000");
}

#[test]
fn nothing_is_chowned_through_a_link() {
    // A control of the test above: the tree comparison sees an owner that changes.
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("file"), b"x").expect("a file");
    let before = tree(folder.path());
    chown(folder.path().join("file"), Some(54321), None).expect("this is root");
    assert!(tree(folder.path()) != before);
}
