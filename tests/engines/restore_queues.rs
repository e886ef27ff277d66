//! Tables that take messages from elsewhere: restored last in place, and under another name only on request, because a second
//! consumer takes the messages of the first.
//!
//! 18.16 has Kafka, whose broker need not answer. The 26.9 of the tests cannot make a Kafka table (it throws "Shutdown was
//! called"), and has S3Queue, with a store and a Keeper.

use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::object_store::{KEY, ObjectServer, SECRET};

use crate::chsnap_command::Chsnap;
use crate::cluster_lab::Cluster;
use crate::drilled::nothing_is_left;
use crate::engine::{Engine, Kind};
use crate::support::repository;

/// An engine with a queue, and a table that it feeds through a view.
struct Pipeline {
    engine: Engine,
    store: Option<ObjectServer>,
    _cluster: Option<Cluster>,
}

impl Pipeline {
    fn start(kind: Kind) -> Self {
        let (engine, cluster, store) = match kind {
            Kind::V18 => (Engine::start(kind), None, None),
            Kind::V26 => {
                let cluster = Cluster::start();
                (cluster.start_v26("m1"), Some(cluster), Some(ObjectServer::s3()))
            }
        };
        let queue = match &store {
            None => "Kafka('127.0.0.1:1', 'topic', 'group', 'JSONEachRow')".to_owned(),
            Some(store) => format!(
                "S3Queue('http://127.0.0.1:{}/bucket/in/*', '{KEY}', '{SECRET}', 'CSV') \
                 SETTINGS mode = 'unordered', keeper_path = '/queue'",
                store.port
            ),
        };
        engine.query("CREATE DATABASE lab");
        // Its name is the first of all.
        engine.query(&format!("CREATE TABLE lab.a_queue (k UInt64) ENGINE = {queue}"));
        engine.query("CREATE TABLE lab.dst (k UInt64) ENGINE = MergeTree ORDER BY k");
        engine.query("INSERT INTO lab.dst SELECT number FROM numbers(100)");
        engine.query("CREATE MATERIALIZED VIEW lab.feeds TO lab.dst AS SELECT k FROM lab.a_queue");
        Self { engine, store, _cluster: cluster }
    }

    fn exists(&self, name: &str) -> bool {
        let (database, table) = name.split_once('.').expect("a full name");
        let found = format!("SELECT count() FROM system.tables WHERE database = '{database}' AND name = '{table}'");
        self.engine.query(&found) == "1"
    }
}

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().expect("a list");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

fn a_queue_comes_back_last_and_never_twice_unless_asked_for(kind: Kind) {
    if !kind.is_installed() {
        eprintln!("SKIPPED: {kind:?} is not installed");
        return;
    }
    let pipeline = Pipeline::start(kind);
    let engine = &pipeline.engine;
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
    assert!(!pipeline.exists("copy.a_queue") && pipeline.exists("lab.a_queue"), "{copied:#}");
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
    if let Some(store) = &pipeline.store {
        store.put("in/more.csv", b"1000\n1001\n1002\n");
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
    assert!(pipeline.exists("lab.a_queue") && pipeline.exists("lab.feeds"));
    if kind == Kind::V26 {
        // It is at work: what was in the store before it was made reaches the table, besides the snapshot's rows.
        let begun = Instant::now();
        while engine.query("SELECT countIf(k < 100), countIf(k >= 1000) FROM lab.dst") != "100\t3" {
            assert!(begun.elapsed() < Duration::from_secs(30), "{}", engine.query("SELECT count() FROM lab.dst"));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    // Asked for, it is made under another name too, and on another server.
    engine.query("DROP DATABASE copy");
    chsnap.json(0, &[&renamed[..], &["--yes", "--with-queues"]].concat());
    assert!(pipeline.exists("copy.a_queue"));
    let other = Engine::start(kind);
    let there = Chsnap::new(chsnap.repo()).url(&other.url());
    let skipped = there.json(3, &["restore", "latest", "--yes"]);
    assert_eq!(table(&skipped, "a_queue")["state"], "skipped", "{skipped:#}");
    let made = "SELECT count() FROM system.tables WHERE database = 'lab' AND name = 'a_queue'";
    assert_eq!(other.query(made), "0");
}

#[test]
fn a_kafka_table_comes_back_last_and_never_twice_unless_asked_for() {
    a_queue_comes_back_last_and_never_twice_unless_asked_for(Kind::V18);
}

#[test]
fn an_s3_queue_comes_back_last_and_never_twice_unless_asked_for() {
    a_queue_comes_back_last_and_never_twice_unless_asked_for(Kind::V26);
}
