//! Helpers for tests of both engines: sample tables, and a restore by hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind};
use crate::tree::{Node, Tree, files, tree};

/// A repository next to the engine's data, on the same filesystem, made by `init`.
pub(crate) fn repository(engine: &Engine) -> Chsnap {
    let chsnap = Chsnap::new(&engine.root().join("repo")).url(&engine.url());
    chsnap.expect(0, &["init"]);
    chsnap
}

/// The path of the snapshot in a document of `create`.
pub(crate) fn path_of(chsnap: &Chsnap, created: &Value) -> PathBuf {
    chsnap.repo().join("snapshots").join(created["id"].as_str().expect("an id"))
}

/// The settings with which an ALTER only queues its mutation.
pub(crate) fn asynchronous(engine: &Engine) -> &'static [(&'static str, &'static str)] {
    match engine.kind() {
        Kind::V18 => &[],
        Kind::V26 => &[("mutations_sync", "0"), ("alter_sync", "0")],
    }
}

/// Waits until no mutation of the server is unfinished.
#[track_caller]
pub(crate) fn await_mutations(engine: &Engine) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while engine.query("SELECT count() FROM system.mutations WHERE NOT is_done") != "0" {
        assert!(Instant::now() < deadline, "the mutation does not finish");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Tables of several engines and partition keys, with the queries that tell whether they came back whole.
pub(crate) const TABLES: [(&str, &str); 5] = [
    ("events", "SELECT count(), sum(id), sum(cityHash64(name, v)) FROM lab.events"),
    ("latest", "SELECT count(), sum(cityHash64(k, v)) FROM lab.latest"),
    ("sums", "SELECT sum(n), count() FROM lab.sums"),
    ("empty", "SELECT count() FROM lab.empty"),
    ("plain", "SELECT count(), sum(x) FROM lab.plain"),
];

/// Fills database `lab`.
pub(crate) fn load(engine: &Engine) {
    engine.query("CREATE DATABASE lab");
    let wide = match engine.kind() {
        Kind::V18 => "",
        Kind::V26 => ", min_bytes_for_wide_part = 0",
    };
    engine.query(&format!(
        "CREATE TABLE lab.events (ts DateTime, id UInt64, name String, v UInt32) ENGINE = MergeTree \
         PARTITION BY toYYYYMM(ts) ORDER BY (id) SETTINGS index_granularity = 512{wide}"
    ));
    for month in 1..=4 {
        for batch in 0..3 {
            engine.query(&format!(
                "INSERT INTO lab.events SELECT toDateTime('2026-0{month}-01 00:00:00') + number, number + {batch} * 1000, \
                 toString(number), number % 7 FROM numbers(1000)"
            ));
        }
    }
    engine.query("CREATE TABLE lab.latest (k UInt32, v String) ENGINE = ReplacingMergeTree ORDER BY k");
    engine.query("INSERT INTO lab.latest SELECT number % 50, toString(number) FROM numbers(500)");
    engine.query("CREATE TABLE lab.sums (k UInt32, n UInt64) ENGINE = SummingMergeTree ORDER BY k");
    engine.query("INSERT INTO lab.sums SELECT number % 10, 1 FROM numbers(300)");
    engine.query("CREATE TABLE lab.empty (k UInt32) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE TABLE lab.plain (x UInt64) ENGINE = MergeTree ORDER BY tuple()");
    engine.query("INSERT INTO lab.plain SELECT number FROM numbers(10)");
    engine.query("CREATE VIEW lab.seen AS SELECT name, count() AS c FROM lab.events GROUP BY name");
    engine.query(
        "CREATE MATERIALIZED VIEW lab.mv ENGINE = SummingMergeTree ORDER BY name POPULATE \
         AS SELECT name, count() AS c FROM lab.events GROUP BY name",
    );
}

/// The active parts: table, name, directory.
pub(crate) fn active_parts(engine: &Engine, database: &str) -> Vec<(String, String, PathBuf)> {
    let rows = engine.query(&format!(
        "SELECT table, name, path FROM system.parts WHERE active AND database = '{database}' FORMAT JSONEachRow"
    ));
    rows.lines()
        .map(|line| {
            let row: Value = serde_json::from_str(line).expect("a row");
            let text = |name: &str| row[name].as_str().expect("a string").to_owned();
            (text("table"), text("name"), PathBuf::from(text("path")))
        })
        .collect()
}

/// The files of all active parts, at the paths that they must have in a snapshot's `data/lab/`.
pub(crate) fn expected(engine: &Engine) -> BTreeMap<PathBuf, u64> {
    let mut expected = BTreeMap::new();
    for (table, part, path) in active_parts(engine, "lab") {
        for (file, node) in files(&tree(&path)) {
            if file.to_str() != Some("txn_version.txt") {
                expected.insert(PathBuf::from(escaped(&table)).join(&part).join(file), node.inode);
            }
        }
    }
    expected
}

pub(crate) fn found(snapshot: &Tree) -> BTreeMap<PathBuf, u64> {
    files(snapshot).into_iter().map(|(path, node)| (path.to_owned(), node.inode)).collect()
}

/// Live files as they are, without the mode, which FREEZE itself changes, and without what merges took away.
pub(crate) fn live(engine: &Engine) -> Tree {
    let mut live = Tree::new();
    for (_, _, path) in active_parts(engine, "lab") {
        for (file, node) in files(&tree(&path)) {
            live.insert(path.join(file), Node { mode: 0, ..node.clone() });
        }
    }
    live
}

fn shell(script: &str, arguments: &[&Path]) {
    let output = Command::new("bash").arg("-euc").arg(script).arg("bash").args(arguments).output().expect("bash runs");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Restores a snapshot by hand into a new, empty engine of the same kind, with nothing of chsnap's: the parts are
/// linked into the empty future data directories, then each table is attached by its stored definition.
pub(crate) fn restore_by_hand(chsnap: &Chsnap, snapshot: &Path, kind: Kind) -> Engine {
    let engine = Engine::start(kind);
    let id = snapshot.file_name().expect("a name").to_string_lossy().into_owned();
    let shown = chsnap.json(0, &["show", &id]);
    for database in shown["databases"].as_array().expect("databases") {
        let name = database["database"].as_str().expect("a name");
        if name != "default" {
            let ordinary = database["engine"] == "Ordinary" && kind == Kind::V26;
            let engine_clause = if ordinary { " ENGINE = Ordinary" } else { "" };
            let settings: &[(&str, &str)] = if ordinary { &[("allow_deprecated_database_ordinary", "1")] } else { &[] };
            engine
                .query_with(&format!("CREATE DATABASE {}{engine_clause}", quoted(name)), settings)
                .expect("a database");
        }
    }
    for table in shown["table_list"].as_array().expect("tables") {
        if table["state"] != "taken" {
            continue;
        }
        let (database, name) = (table["database"].as_str().expect("a name"), table["table"].as_str().expect("a name"));
        let definition =
            fs::read_to_string(snapshot.join(table["definition"].as_str().expect("a path"))).expect("text");
        let full_name = format!("{}.{}", quoted(database), quoted(name));
        // `ATTACH TABLE _ UUID '…' (…)` or `CREATE TABLE db.name UUID '…' (…)` in Atomic databases, and
        // `ATTACH TABLE name (…)` in Ordinary ones.
        let (target, rest) = if let Some(uuid) = table["uuid"].as_str() {
            let target = engine.data_path().join("store").join(&uuid[..3]).join(uuid);
            (
                target,
                format!(" UUID{}", definition.split_once(" UUID").unwrap_or_else(|| panic!("{definition} {table}")).1),
            )
        } else {
            let path = Path::new("data").join(escaped(database)).join(escaped(name));
            (
                engine.data_path().join(path),
                format!(" ({}", definition.split_once('(').unwrap_or_else(|| panic!("{definition} {table}")).1),
            )
        };
        let statement = format!("ATTACH TABLE {full_name}{rest}");
        let source = snapshot.join("data").join(escaped(database)).join(escaped(name));
        // From another filesystem it is copied.
        let script = r#"mkdir -p "$2"; cp -al "$1/." "$2/" 2> /dev/null || cp -a "$1/." "$2/""#;
        shell(script, &[&source, &target]);
        engine.query(&statement);
    }
    engine
}

pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// ClickHouse's escaping, written once more so that a mistake in chsnap's does not hide itself.
pub(crate) fn escaped(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'_' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

/// The entries of the disk's `shadow/`, without the server's own counter.
pub(crate) fn shadows(engine: &Engine) -> Vec<String> {
    let Ok(entries) = fs::read_dir(engine.data_path().join("shadow")) else { return Vec::new() };
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name != "increment.txt").collect()
}

/// A folder on another filesystem than `here`, where this host has one that anybody may write to.
pub(crate) fn other_filesystem(here: &Path) -> Option<tempfile::TempDir> {
    use std::os::unix::fs::MetadataExt as _;
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    let shared = Path::new("/dev/shm");
    if device(shared).is_none() || device(shared) == device(here) {
        eprintln!("SKIPPED: /dev/shm is no other filesystem here");
        return None;
    }
    tempfile::tempdir_in(shared).ok()
}

/// Tells a thread to stop when the test ends, also by a panic: a scope would wait for it for ever.
pub(crate) struct StopAtEnd<'a>(pub(crate) &'a std::sync::atomic::AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
