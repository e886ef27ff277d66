//! Tables that take messages from elsewhere: restored last in place, and under another name only on request, because a second
//! consumer takes the messages of the first.
//!
//! 18.16 has Kafka, whose broker need not answer. The 26.9 of the tests can make none (CREATE of Kafka and S3Queue throws
//! "Shutdown was called" there): it shows what a newer server does with a snapshot that has one.

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::drilled::nothing_is_left;
use crate::engine::{Engine, Kind};
use crate::support::repository;

fn exists(engine: &Engine, name: &str) -> bool {
    let (database, table) = name.split_once('.').expect("a full name");
    let found = format!("SELECT count() FROM system.tables WHERE database = '{database}' AND name = '{table}'");
    engine.query(&found) == "1"
}

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().expect("a list");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

#[test]
fn a_kafka_table_comes_back_last_and_never_twice_unless_asked_for() {
    if !Kind::V18.is_installed() {
        eprintln!("SKIPPED: ClickHouse 18.16 is not installed");
        return;
    }
    let engine = &Engine::start(Kind::V18);
    engine.query("CREATE DATABASE lab");
    // Its name is the first of all.
    engine.query("CREATE TABLE lab.a_queue (k UInt64) ENGINE = Kafka('127.0.0.1:1', 'topic', 'group', 'JSONEachRow')");
    engine.query("CREATE TABLE lab.dst (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.dst SELECT number FROM numbers(100)");
    engine.query("CREATE MATERIALIZED VIEW lab.feeds TO lab.dst AS SELECT k FROM lab.a_queue");
    let chsnap = repository(engine);
    chsnap.json(0, &["create"]);
    // Under another name: neither in the plan nor made, and said with the option that makes it.
    let renamed = ["restore", "latest", "--rename-db", "lab=copy"];
    let plan = chsnap.json(3, &[&renamed[..], &["--dry-run"]].concat());
    assert_eq!(table(&plan, "a_queue")["action"], "skip", "{plan:#}");
    assert!(
        table(&plan, "a_queue")["reason"].as_str().is_some_and(|reason| reason.contains("--with-queues")),
        "{plan:#}"
    );
    let copied = chsnap.json(3, &[&renamed[..], &["--yes"]].concat());
    assert_eq!(
        (&table(&copied, "a_queue")["state"], &table(&copied, "dst")["state"]),
        (&"skipped".into(), &"restored".into())
    );
    assert!(!exists(engine, "copy.a_queue") && exists(engine, "lab.a_queue"), "{copied:#}");
    assert_eq!(engine.query("SELECT count() FROM copy.dst"), "100");
    // A drill does not try it, nor what reads it.
    let drill = chsnap.json(0, &["drill", "latest"]);
    let verdict = |name: &str| {
        let tables = drill["tables"].as_array().expect("a list");
        let table =
            tables.iter().find(|table| table["from"]["table"] == name).unwrap_or_else(|| panic!("{name}: {drill:#}"));
        table["verdict"].as_str().expect("a verdict").to_owned()
    };
    assert_eq!(["a_queue", "dst", "feeds"].map(verdict), ["not_tried", "proven", "not_tried"], "{drill:#}");
    nothing_is_left(engine);
    // In place it is made, after the data and after the view that it feeds.
    for name in ["feeds", "a_queue", "dst"] {
        engine.query(&format!("DROP TABLE lab.{name}"));
    }
    let plan = chsnap.json(0, &["restore", "latest", "--dry-run"]);
    let order = |document: &Value| -> Vec<String> {
        let names =
            document["tables"].as_array().expect("a list").iter().map(|table| table["table"].as_str().expect("a name"));
        names.map(str::to_owned).collect()
    };
    assert_eq!(order(&plan), ["dst", "feeds", "a_queue"], "{plan:#}");
    let restored = chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(order(&restored), ["dst", "feeds", "a_queue"], "{restored:#}");
    assert_eq!(table(&restored, "a_queue")["state"], "created", "{restored:#}");
    assert!(exists(engine, "lab.a_queue") && exists(engine, "lab.feeds"));
    // Asked for, it is made under another name too, and on another server.
    engine.query("DROP DATABASE copy");
    chsnap.json(0, &[&renamed[..], &["--yes", "--with-queues"]].concat());
    assert!(exists(engine, "copy.a_queue"));
    // Another server, and a newer one.
    for kind in Kind::ALL.into_iter().filter(|kind| kind.is_installed()) {
        let other = Engine::start(kind);
        let there = Chsnap::new(chsnap.repo()).url(&other.url());
        let skipped = there.json(3, &["restore", "latest", "--yes", "--table", "lab.a_queue", "--table", "lab.dst"]);
        assert_eq!(
            (&table(&skipped, "a_queue")["state"], &table(&skipped, "dst")["state"]),
            (&"skipped".into(), &"restored".into()),
            "{kind:?}: {skipped:#}"
        );
        assert!(!exists(&other, "lab.a_queue"));
        assert_eq!(other.query("SELECT count() FROM lab.dst"), "100");
    }
}
