//! Reports of restore, `doctor` and `diff`: an omitted TTL, held tables, objects that are not made or differ from the
//! snapshot.

use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::support::{path_of, repository};

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().expect("a list");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// What `doctor` says under this name.
fn check(chsnap: &Chsnap, name: &str) -> Option<Value> {
    let run = chsnap.run(&["--json", "doctor"]);
    let document: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let checks = document["checks"].as_array().expect("a list").clone();
    checks.into_iter().find(|check| check["name"] == name)
}

/// A restore of which nothing came back: the document on stdout, and the error on stderr.
fn restore_nothing(chsnap: &Chsnap, arguments: &[&str]) -> Value {
    let all = [&["--json", "--progress", "none", "restore", "latest", "--yes"], arguments].concat();
    let run = chsnap.expect(1, &all);
    assert!(run.stderr.contains("none of the selected tables"), "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

#[test]
fn a_ttl_that_a_restore_left_out_is_named_by_doctor_and_diff_until_it_is_back() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.log (ts DateTime, v String TTL ts + INTERVAL 5 YEAR) ENGINE = MergeTree ORDER BY ts \
         TTL ts + INTERVAL 10 YEAR",
    );
    engine.query("INSERT INTO lab.log SELECT now(), 'x' FROM numbers(10)");
    engine.query("CREATE TABLE lab.other (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.other VALUES (1)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    assert_eq!(check(&chsnap, "ttl"), None);
    engine.query("DROP TABLE lab.log SYNC");
    let report = chsnap.json(0, &["restore", "latest", "--hold-ttl", "--yes"]);
    let statements = table(&report, "log")["ttl_statements"].as_array().expect("a list").clone();
    assert_eq!(statements.len(), 2, "{report:#}");
    let found = check(&chsnap, "ttl").expect("it is named");
    assert_eq!(found["state"], "warning");
    assert!(found["message"].as_str().expect("text").ends_with(": lab.log"), "{found:#}");
    for statement in &statements {
        let remedy = found["remedy"].as_str().expect("text");
        assert!(remedy.contains(statement.as_str().expect("text")), "{statement} in {remedy}");
    }
    let differing: Value =
        serde_json::from_str(&chsnap.run(&["--json", "diff", "latest", "live"]).stdout).expect("JSON");
    let note = table(&differing, "log")["notes"][0].as_str().expect("text").to_owned();
    assert!(note.contains("its TTL is left out") && note.contains("MODIFY TTL"), "{note}");
    assert_eq!(table(&differing, "log")["state"], "changed");
    for (done, statement) in statements.iter().enumerate() {
        assert!(check(&chsnap, "ttl").is_some(), "{done}");
        engine
            .query_with(statement.as_str().expect("text"), &[("materialize_ttl_after_modify", "0")])
            .expect("altered");
    }
    assert_eq!(check(&chsnap, "ttl"), None);
    assert_eq!(chsnap.json(0, &["diff", "latest", "live"])["identical"], true);
    // Under another name as well, as long as no snapshot has that table.
    let report = chsnap.json(0, &["restore", "latest", "--rename", "lab.log=lab.copy", "--hold-ttl", "--yes"]);
    let statements = table(&report, "copy")["ttl_statements"].as_array().expect("a list").clone();
    let found = check(&chsnap, "ttl").expect("it is named");
    assert!(found["message"].as_str().expect("text").ends_with(": lab.copy"), "{found:#}");
    for statement in &statements {
        let remedy = found["remedy"].as_str().expect("text");
        assert!(remedy.contains(statement.as_str().expect("text")), "{statement} in {remedy}");
    }
    chsnap.json(0, &["create"]);
    assert_eq!(check(&chsnap, "ttl"), None);
}

#[apply(both_engines)]
fn a_view_that_is_named_is_replaced_by_permission_and_never_lost(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    engine.query("CREATE TABLE lab.u (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE VIEW lab.v AS SELECT k FROM lab.t");
    engine.query("CREATE VIEW lab.w AS SELECT k FROM lab.u");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    for (view, select) in [("v", "SELECT k + 1 AS k FROM lab.t"), ("w", "SELECT k + 2 AS k FROM lab.t")] {
        engine.query(&format!("DROP TABLE lab.{view}"));
        engine.query(&format!("CREATE VIEW lab.{view} AS {select}"));
    }
    let sum = |view: &str| engine.query(&format!("SELECT sum(k) FROM lab.{view}"));
    let views = || engine.query("SELECT count() FROM system.tables WHERE database = 'lab' AND engine = 'View'");
    // Not without permission, and not where it is not named.
    for arguments in [&["--table", "lab.v"][..], &["--all", "--replace"]] {
        let report = chsnap.json(3, &[&["restore", "latest", "--yes"], arguments].concat());
        assert_eq!((&table(&report, "v")["state"], sum("v")), (&"present".into(), "55".to_owned()), "{report:#}");
    }
    let replace = ["restore", "latest", "--yes", "--replace", "--table"];
    let plan = chsnap.expect(0, &["restore", "latest", "--replace", "--table", "lab.v", "--dry-run"]).stdout;
    assert!(plan.contains("REPLACE the view") && plan.contains("LOSES another definition"), "{plan}");
    let report = chsnap.json(0, &[&replace[..], &["lab.v"]].concat());
    assert_eq!((&table(&report, "v")["state"], sum("v")), (&"replaced".into(), "45".to_owned()), "{report:#}");
    assert_eq!(views(), "2", "the old one is gone");
    // What it reads has gone: the one that is there stays.
    engine.query("DROP TABLE lab.u");
    let report = chsnap.json(3, &[&replace[..], &["lab.w"]].concat());
    assert_eq!((&table(&report, "w")["state"], sum("w")), (&"present".into(), "65".to_owned()), "{report:#}");
    assert!(
        table(&report, "w")["warnings"].to_string().contains("its source lab.u is not on the server"),
        "{report:#}"
    );
    assert_eq!(views(), "2");
    engine.query("CREATE TABLE lab.u (k UInt64) ENGINE = MergeTree ORDER BY k");
    let report = chsnap.json(0, &[&replace[..], &["lab.w", "--keep-replaced"]].concat());
    let kept = table(&report, "w")["replaced_table"].clone();
    let kept = kept["table"].as_str().unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!((sum("w"), sum(&format!("`{kept}`"))), ("0".to_owned(), "65".to_owned()));
}

#[test]
fn tables_that_a_killed_restore_left_held_are_named_by_doctor() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.a (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.a SELECT number FROM numbers(10)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let is_held = || {
        let definition = engine.try_query("SHOW CREATE TABLE lab.a").unwrap_or_default();
        definition.contains("max_bytes_to_merge_at_max_space_in_pool")
    };
    let mut found = None;
    for nth in 10..120 {
        engine.query("DROP TABLE IF EXISTS lab.a SYNC");
        let mut strace = Command::new("strace");
        let inject = format!("inject=sendto,write,writev:signal=KILL:when={nth}");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]);
        let mut killed = chsnap.under(strace, &["restore", "latest", "--yes"]);
        let status = killed.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("strace runs");
        if is_held() {
            found = check(&chsnap, "restores");
            break;
        }
        if status.success() {
            break;
        }
        chsnap.json(0, &["restore", "latest", "--yes"]);
    }
    let found = found.expect("a kill between the attaching of the table and its release");
    let message = found["message"].as_str().expect("text");
    assert!(message.contains("interrupted restores: 1; merges are held of lab.a"), "{message}");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert!(!is_held() && check(&chsnap, "restores").is_none());
    assert_eq!(engine.query("SELECT count() FROM lab.a"), "10");
}

#[apply(both_engines)]
fn a_restore_whose_only_table_is_not_made_has_failed(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for name in ["a", "b"] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number FROM numbers(10)"));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DETACH TABLE lab.a");
    let report = restore_nothing(&chsnap, &["--table", "lab.a"]);
    assert_eq!(
        (&table(&report, "a")["state"], &table(&report, "a")["reason_kind"]),
        (&"skipped".into(), &"skipped".into())
    );
    // One of the two tables is there: it stays, and differs from what was requested.
    chsnap.json(3, &["restore", "latest", "--table", "lab.*", "--yes"]);
    engine.query("ATTACH TABLE lab.a");
    assert_eq!(engine.query("SELECT count() FROM lab.a"), "10");
}

#[apply(both_engines)]
fn several_restores_at_once_make_a_database_that_is_missing(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for number in 0..3 {
        engine.query(&format!("CREATE TABLE lab.t{number} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.t{number} SELECT number FROM numbers(10)"));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    for round in 0..3 {
        let database = format!("copy{round}");
        thread::scope(|scope| {
            for number in 0..3 {
                let (chsnap, rename) = (&chsnap, format!("lab.t{number}={database}.t{number}"));
                scope.spawn(move || chsnap.json(0, &["restore", "latest", "--rename", &rename, "--yes"]));
            }
        });
        for number in 0..3 {
            assert_eq!(engine.query(&format!("SELECT count() FROM {database}.t{number}")), "10");
        }
    }
}

#[apply(both_engines)]
fn a_table_is_restored_into_the_servers_own_database(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let plan = chsnap.json(0, &["restore", "latest", "--rename", "lab.t=system.chsnap_t", "--dry-run"]);
    assert_eq!(plan["databases"].as_array().map(Vec::len), Some(0), "{plan:#}");
    let run = chsnap.run(&["--json", "restore", "latest", "--rename", "lab.t=system.chsnap_t", "--yes"]);
    assert!(!run.stdout.contains("database system could not be made"), "{}", run.stdout);
    if run.code == 0 {
        assert_eq!(engine.query("SELECT count() FROM system.chsnap_t"), "10");
    }
    // A table of the server's own is never overwritten.
    assert_ne!(chsnap.run(&["restore", "latest", "--rename", "lab.t=system.one", "--replace", "--yes"]).code, 0);
    assert_eq!(engine.query("SELECT count() FROM system.one"), "1");
}

#[test]
fn objects_that_differ_from_the_snapshots_stay_and_are_named() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t VALUES (1)");
    engine.query("CREATE FUNCTION plus_n AS (x) -> x + 1");
    engine.query("CREATE FUNCTION same AS (x) -> x * 1");
    engine.query("CREATE NAMED COLLECTION nc AS a = '1', b = 'hush-hush'");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let object = |plan: &Value, name: &str| {
        let objects = plan["objects"].as_array().expect("a list").clone();
        objects.into_iter().find(|object| object["name"] == name).expect("it is in the plan")["action"].clone()
    };
    let plan = chsnap.json(0, &["restore", "latest", "--dry-run"]);
    assert_eq!(["plus_n", "same", "nc"].map(|name| object(&plan, name)), ["keep", "keep", "keep"]);
    engine.query("CREATE OR REPLACE FUNCTION plus_n AS (x) -> x + 2");
    let plan = chsnap.json(3, &["restore", "latest", "--dry-run"]);
    assert_eq!(["plus_n", "same", "nc"].map(|name| object(&plan, name)), ["keep_other", "keep", "keep"]);
    assert!(
        chsnap.expect(3, &["restore", "latest", "--dry-run"]).stdout.contains("function plus_n exists and DIFFERS")
    );
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    let warning = "function plus_n exists with a statement that differs from the snapshot's, and stays";
    assert_eq!(report["warnings"], serde_json::json!([warning]));
    assert_eq!(engine.query("SELECT plus_n(1)"), "3");
}

#[test]
fn an_inner_table_is_not_made_without_its_view() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.src (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.src SELECT number FROM numbers(12)");
    engine.query(
        "CREATE MATERIALIZED VIEW lab.mv REFRESH EVERY 1 DAY ENGINE = MergeTree ORDER BY k AS SELECT * FROM lab.src",
    );
    engine.query("SYSTEM WAIT VIEW lab.mv");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let other = Engine::start_with(Kind::V26, &Options::default());
    let there = Chsnap::new(chsnap.repo()).url(&other.url());
    let report = there.json(3, &["restore", "latest", "--yes"]);
    let tables = report["tables"].as_array().expect("a list");
    let inner = tables.iter().find(|table| table["table"].as_str().is_some_and(|name| name.starts_with(".inner")));
    let inner = inner.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(inner["state"], "skipped", "{inner:#}");
    assert!(inner["reason"].as_str().expect("text").contains("inner table of a view"), "{inner:#}");
    assert_eq!(other.query("SELECT name FROM system.tables WHERE database = 'lab'"), "src");
    let report = there.json(0, &["restore", "latest", "--with-queues", "--yes"]);
    assert_eq!(report["totals"]["failed"], 0, "{report:#}");
    assert_eq!(other.query("SELECT count() FROM lab.mv"), "12");
}

#[test]
fn workloads_and_resources_are_kept_and_come_back() {
    if !Kind::V26.is_installed() {
        eprintln!("SKIPPED: this needs ClickHouse 26.9");
        return;
    }
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    engine.query("CREATE RESOURCE io_of_lab (READ ANY DISK, WRITE ANY DISK)");
    engine.query("CREATE WORKLOAD all_work");
    let list = "SELECT name FROM system.workloads UNION ALL SELECT name FROM system.resources ORDER BY name";
    assert_eq!(engine.query(list), "all_work\nio_of_lab");
    let chsnap = repository(&engine);
    let snapshot = path_of(&chsnap, &chsnap.json(0, &["create"]));
    for file in ["workload_all_work.sql", "resource_io_of_lab.sql"] {
        let text = std::fs::read_to_string(snapshot.join("workload").join(file));
        assert!(text.as_ref().is_ok_and(|text| text.contains("CREATE")), "{file}: {text:?}");
    }
    engine.query("DROP WORKLOAD all_work");
    engine.query("DROP RESOURCE io_of_lab");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query(list), "all_work\nio_of_lab");
}
