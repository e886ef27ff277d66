//! Data that a restore must never remove: what the snapshot does not have, and what is not provably the restore's own.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::front::{Front, Reply};
use crate::support::{asynchronous, repository};
use crate::tree::{Tree, tree};

fn losses(report: &Value) -> Vec<String> {
    let tables = report["tables"].as_array().expect("a list").iter();
    let kinds = tables.flat_map(|table| table["losses"].as_array().expect("a list"));
    kinds.map(|loss| loss["kind"].as_str().expect("text").to_owned()).collect()
}

/// Refused without `--replace`, by dry run too, with this kind of loss named; and nothing has changed.
#[track_caller]
fn refused(chsnap: &Chsnap, arguments: &[&str], kind: &str, unchanged: &dyn Fn() -> String) {
    let before = unchanged();
    let answer = chsnap.json(13, &[arguments, &["--yes"]].concat());
    assert_eq!(answer["state"], "refused", "{answer:#}");
    let plan = chsnap.json(13, &[arguments, &["--dry-run"]].concat());
    assert!(losses(&plan).iter().any(|loss| loss == kind), "{kind}: {plan:#}");
    assert!(!plan["refused"].as_array().expect("a list").is_empty());
    assert_eq!(unchanged(), before);
    let allowed = chsnap.run(&[&["--json"], arguments, &["--dry-run", "--replace"]].concat());
    assert!(matches!(allowed.code, 0 | 3), "{}{}", allowed.stdout, allowed.stderr);
    let allowed: Value = serde_json::from_str(&allowed.stdout).expect("JSON");
    assert!(losses(&allowed).iter().any(|loss| loss == kind), "the plan names it: {allowed:#}");
}

/// A detached table, a table in a detached database, detached parts: what no restore of something else may touch.
pub(crate) struct Bystanders {
    before: Vec<Tree>,
    places: Vec<std::path::PathBuf>,
}

impl Bystanders {
    pub(crate) fn make(engine: &Engine) -> Self {
        engine.query("CREATE DATABASE aside");
        engine.query("CREATE DATABASE gone");
        for table in ["aside.detached", "aside.parts", "gone.inside"] {
            engine.query(&format!("CREATE TABLE {table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
            engine.query(&format!("INSERT INTO {table} SELECT number FROM numbers(100)"));
        }
        let path = |table: &str| {
            let column = if engine.kind() == Kind::V26 { "data_paths[1]" } else { "data_path" };
            let (database, name) = table.split_once('.').expect("a name");
            let sql = format!("SELECT {column} FROM system.tables WHERE database = '{database}' AND name = '{name}'");
            std::path::PathBuf::from(engine.query(&sql))
        };
        let places = ["aside.detached", "aside.parts", "gone.inside"].map(path).to_vec();
        engine.query("ALTER TABLE aside.parts DETACH PARTITION tuple()");
        engine.query("DETACH TABLE aside.detached");
        engine.query("DETACH DATABASE gone");
        // The server is through with the parts that it replaced.
        sleep(Duration::from_millis(500));
        Self { before: places.iter().map(|place| tree(place)).collect(), places }
    }

    #[track_caller]
    pub(crate) fn check(&self, when: &str) {
        for (place, before) in self.places.iter().zip(&self.before) {
            assert!(tree(place) == *before, "{when}: {} has changed", place.display());
        }
    }

    #[track_caller]
    pub(crate) fn come_back(self, engine: &Engine) {
        drop(self);
        engine.query("ATTACH TABLE aside.detached");
        if engine.kind() == Kind::V26 {
            engine.query("ATTACH DATABASE gone");
            assert_eq!(engine.query("SELECT count() FROM gone.inside"), "100");
        }
        assert_eq!(engine.query("SELECT count() FROM aside.detached"), "100");
    }
}

/// Kills a restore as soon as `path`, or a path that begins with it, exists.
fn kill_when_there(chsnap: &Chsnap, arguments: &[&str], is_there: impl Fn() -> bool) {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=renameat,renameat2:delay_enter=400000"]);
    let mut command = chsnap.under(strace, arguments);
    // A group of its own: what strace traces does not end with it.
    let command = command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("strace starts");
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never stood");
        assert!(child.try_wait().expect("a child").is_none(), "it ended before it could be killed");
        sleep(Duration::from_millis(5));
    }
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-9", "--", &group]).status().expect("kill runs").success());
    child.wait().expect("it ends");
}

/// Drops the tables `lab.first` and `lab.second`, and kills a restore when the second one is attached.
fn drop_and_restore_halfway(engine: &Engine, chsnap: &Chsnap) {
    for name in ["first", "second"] {
        engine.query(&format!("DROP TABLE lab.{name}{}", if engine.kind() == Kind::V26 { " SYNC" } else { "" }));
    }
    kill_when_there(chsnap, &["restore", "latest", "--yes"], || has_definition(engine, "second.sql"));
    for _ in 0..100 {
        if engine.query("SELECT count() FROM system.tables WHERE database = 'lab' AND name = 'second'") == "1" {
            break;
        }
        sleep(Duration::from_millis(50));
    }
}

fn has_definition(engine: &Engine, name: &str) -> bool {
    fn find(dir: &Path, name: &str) -> bool {
        let Ok(entries) = fs::read_dir(dir) else { return false };
        entries.filter_map(Result::ok).any(|entry| {
            let path = entry.path();
            path.file_name().is_some_and(|found| found == name) || path.is_dir() && find(&path, name)
        })
    }
    ["metadata", "store"].iter().any(|dir| find(&engine.data_path().join(dir), name))
}

#[apply(both_engines)]
fn a_table_that_is_detached_after_a_killed_restore_keeps_its_rows(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for name in ["first", "second", "third"] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number FROM numbers(4500)"));
    }
    engine.query("CREATE TABLE lab.other (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.other SELECT number FROM numbers(10)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    for name in ["first", "second", "third"] {
        engine.query(&format!("DROP TABLE lab.{name}{}", if engine.kind() == Kind::V26 { " SYNC" } else { "" }));
    }
    let arguments =
        ["restore", "latest", "--table", "lab.first", "--table", "lab.second", "--table", "lab.third", "--yes"];
    kill_when_there(&chsnap, &arguments, || has_definition(&engine, "second.sql"));
    for _ in 0..100 {
        if engine.query("SELECT count() FROM system.tables WHERE database = 'lab' AND name = 'second'") == "1" {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    engine.query("DETACH TABLE lab.first");
    let proof = chsnap.json(0, &["drill", "--table", "lab.other"]);
    assert_eq!(proof["state"], "proven");
    // A plan shows what a restore would do with the leftovers, and does nothing.
    let there = tree(engine.data_path());
    let run = chsnap.run(&["--json", "restore", "latest", "--table", "lab.other", "--dry-run"]);
    let plan: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert!(!plan["recovery"].as_array().expect("a list").is_empty(), "{plan:#}");
    let files = |tree: &Tree| {
        tree.iter()
            .filter(|(path, _)| !path.starts_with("metadata_dropped"))
            .map(|(path, node)| (path.clone(), node.content))
            .collect::<Vec<_>>()
    };
    assert!(files(&tree(engine.data_path())) == files(&there), "a dry run changes nothing");
    // A table that is still held cannot be released while it is detached: that is said.
    let code = if engine.kind() == Kind::V26 { 3 } else { 0 };
    chsnap.expect(code, &["restore", "latest", "--table", "lab.other", "--yes"]);
    engine.query("ATTACH TABLE lab.first");
    assert_eq!(engine.query("SELECT count() FROM lab.first"), "4500");
    // The rest comes back, and the note is gone.
    chsnap.json(0, &["restore", "latest", "--yes"]);
    for name in ["first", "second", "third"] {
        assert_eq!(engine.query(&format!("SELECT count() FROM lab.{name}")), "4500", "{name}");
    }
    let names: Vec<String> = fs::read_dir(engine.data_path())
        .expect("data")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.contains("chsnap")), "{names:?}");
}

#[apply(both_engines)]
fn a_create_after_a_killed_restore_keeps_the_original_definition(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for (name, settings) in [("first", ""), ("second", " SETTINGS max_bytes_to_merge_at_max_space_in_pool = 7000000")] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k{settings}"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number FROM numbers(100)"));
    }
    let definition = |name: &str| {
        engine
            .query(&format!("SELECT create_table_query FROM system.tables WHERE database = 'lab' AND name = '{name}'"))
    };
    let meant = ["first", "second"].map(&definition);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    drop_and_restore_halfway(&engine, &chsnap);
    let is_held = definition("second").contains("max_number_of_merges_with_ttl_in_pool");
    assert_eq!(is_held, engine.kind() == Kind::V26);
    let created = chsnap.json(if is_held { 3 } else { 0 }, &["create"]);
    if is_held {
        let kinds: Vec<&str> = created["warning_list"]
            .as_array()
            .expect("warnings")
            .iter()
            .filter_map(|warning| warning["kind"].as_str())
            .collect();
        assert_eq!(kinds, ["leftover_pending"; 2], "{created:#}");
    }
    for name in ["first", "second"] {
        engine.query(&format!("DROP TABLE lab.{name}{}", if engine.kind() == Kind::V26 { " SYNC" } else { "" }));
    }
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(["first", "second"].map(&definition), meant);
    chsnap.json(0, &["create"]);
}

#[apply(both_engines)]
fn rows_that_were_inserted_twice_are_not_taken_for_those_of_the_snapshot(engine: Engine) {
    engine.query("CREATE TABLE default.t (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("INSERT INTO default.t SELECT 1, number FROM numbers(10)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("INSERT INTO default.t SELECT 1, number FROM numbers(10)");
    let parts = || {
        engine.query(
            "SELECT groupArray(name) FROM (SELECT name FROM system.parts WHERE active AND table = 't' ORDER BY name)",
        )
    };
    for arguments in [
        vec!["restore", "latest", "--partition", "1"],
        vec!["restore", "latest", "--data-only"],
        vec!["restore", "latest", "--table", "default.t"],
    ] {
        refused(&chsnap, &arguments, "parts", &parts);
    }
    assert_eq!(engine.query("SELECT count() FROM default.t"), "20");
}

#[apply(both_engines)]
fn a_renamed_held_table_is_released(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for name in ["first", "second"] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number FROM numbers(100)"));
    }
    let definition = |name: &str| {
        engine
            .query(&format!("SELECT create_table_query FROM system.tables WHERE database = 'lab' AND name = '{name}'"))
    };
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    drop_and_restore_halfway(&engine, &chsnap);
    engine.query("RENAME TABLE lab.first TO lab.moved");
    let is_held = engine.kind() == Kind::V26;
    let named = |chsnap: &Chsnap| {
        let report = chsnap.run(&["--json", "doctor"]).stdout;
        report.contains("merges are held of lab.moved")
    };
    assert_eq!(named(&chsnap), is_held);
    chsnap.json(0, &["restore", "latest", "--yes"]);
    for name in ["first", "second", "moved"] {
        assert!(!definition(name).contains("max_number_of_merges_with_ttl_in_pool"), "{name}: {}", definition(name));
        assert_eq!(engine.query(&format!("SELECT count() FROM lab.{name}")), "100");
    }
    assert!(!named(&chsnap));
}

#[apply(both_engines)]
fn a_table_counts_as_restored_only_if_it_compares_now(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for name in ["first", "second"] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number FROM numbers(100)"));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    for name in ["first", "second"] {
        engine.query(&format!("DROP TABLE lab.{name}{}", if engine.kind() == Kind::V26 { " SYNC" } else { "" }));
    }
    let arguments = ["restore", "latest", "--yes"];
    kill_when_there(&chsnap, &arguments, || has_definition(&engine, "first.sql"));
    for _ in 0..100 {
        if engine.query("SELECT count() FROM system.tables WHERE database = 'lab' AND name = 'first'") == "1" {
            break;
        }
        sleep(Duration::from_millis(50));
    }
    engine.query("TRUNCATE TABLE lab.first");
    chsnap.json(0, &["restore", "latest", "--table", "lab.first", "--replace", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM lab.first"), "100");
}

#[apply(both_engines)]
fn an_unfinished_mutation_is_not_passed_by(engine: Engine) {
    engine.query("CREATE TABLE default.t (p UInt8, k UInt64, v UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("INSERT INTO default.t SELECT number % 3, number, 0 FROM numbers(30)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("SYSTEM STOP MERGES default.t");
    engine.query_with("ALTER TABLE default.t UPDATE v = 2 WHERE 1", asynchronous(&engine)).expect("queued");
    let parts = || {
        engine.query(
            "SELECT groupArray(name) FROM (SELECT name FROM system.parts WHERE active AND table = 't' ORDER BY name)",
        )
    };
    for arguments in [
        vec!["restore", "latest", "--partition", "2"],
        vec!["restore", "latest", "--data-only"],
        vec!["restore", "latest", "--table", "default.t"],
    ] {
        refused(&chsnap, &arguments, "mutations", &parts);
    }
    engine.query("SYSTEM START MERGES default.t");
    for _ in 0..600 {
        if engine.query("SELECT sum(v) FROM default.t") == "60" {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    assert_eq!(
        engine.query("SELECT p, sum(v) FROM default.t GROUP BY p ORDER BY p").replace(['\t', '\n'], " "),
        "0 20 1 20 2 20"
    );
}

#[apply(both_engines)]
fn detached_parts_and_definitions_of_an_empty_table_stay(engine: Engine) {
    engine.query("CREATE TABLE default.t (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("INSERT INTO default.t SELECT number % 2, number FROM numbers(22)");
    engine.query("CREATE TABLE default.u (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.u SELECT 1");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("INSERT INTO default.t SELECT 2, number FROM numbers(11)");
    for partition in 0..3 {
        engine.query(&format!("ALTER TABLE default.t DETACH PARTITION {partition}"));
    }
    engine.query("DROP TABLE default.u");
    engine.query("CREATE TABLE default.u (k UInt64, other String) ENGINE = MergeTree ORDER BY k");
    let column = if engine.kind() == Kind::V26 { "data_paths[1]" } else { "data_path" };
    let path = engine.query(&format!("SELECT {column} FROM system.tables WHERE database = 'default' AND name = 't'"));
    let detached = || format!("{:?}", tree(&Path::new(&path).join("detached")));
    assert!(detached().contains("2_"));
    refused(&chsnap, &["restore", "latest", "--table", "default.t"], "detached_parts", &detached);
    let definition = || engine.query("SELECT name FROM system.columns WHERE table = 'u'");
    refused(&chsnap, &["restore", "latest", "--table", "default.u"], "definition", &definition);
    // Without a selection both stay, and are named.
    let before = (detached(), definition());
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!(report["state"], "differs", "{report:#}");
    assert_eq!((detached(), definition()), before);
    for table in report["tables"].as_array().expect("a list") {
        assert_eq!((&table["state"], &table["rows"]), (&Value::from("present"), &Value::from(0)), "{table:#}");
        assert!(table["expected_rows"].as_u64() > Some(0));
    }
}

#[apply(both_engines)]
fn on_a_healthy_server_a_restore_changes_nothing_and_renames_select(engine: Engine) {
    engine.query("CREATE DATABASE shop");
    for (name, rows) in [("orders", 100), ("customers", 20)] {
        engine.query(&format!("CREATE TABLE shop.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO shop.{name} SELECT number FROM numbers({rows})"));
    }
    engine.query("CREATE VIEW shop.seen AS SELECT count() AS c FROM shop.orders");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let report = chsnap.json(0, &["restore", "latest"]);
    assert_eq!(report["state"], "nothing_to_do", "nothing is asked where nothing changes: {report:#}");
    let report = chsnap.json(0, &["restore", "latest", "--rename", "shop.orders=shop.orders_before", "--yes"]);
    assert_eq!((&report["state"], report["tables"].as_array().expect("a list").len()), (&Value::from("restored"), 1));
    assert_eq!(engine.query("SELECT count() FROM shop.orders_before"), "100");
    let report = chsnap.json(0, &["restore", "latest", "--rename-db", "shop=shop_before", "--yes"]);
    assert_eq!(report["tables"].as_array().expect("a list").len(), 3, "{report:#}");
    assert_eq!(engine.query("SELECT c FROM shop_before.seen"), "100");
    engine.query("INSERT INTO shop.orders SELECT number FROM numbers(7)");
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!(report["state"], "differs", "{report:#}");
    let orders =
        report["tables"].as_array().expect("a list").iter().find(|table| table["table"] == "orders").expect("a table");
    assert_eq!((&orders["rows"], &orders["expected_rows"]), (&Value::from(107), &Value::from(100)));
    assert_eq!(engine.query("SELECT count() FROM shop.orders"), "107");
    // Replacing wants a selection.
    let usage = chsnap.expect(2, &["restore", "latest", "--replace", "--yes"]);
    assert!(usage.stderr.contains("--all"), "{}", usage.stderr);
    chsnap.json(0, &["restore", "latest", "--replace", "--all", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM shop.orders"), "100");
    // Where nothing of it comes back that is a failure, with the document on stdout.
    let run = chsnap.run(&[
        "--json",
        "restore",
        "latest",
        "--table",
        "shop.orders",
        "--rename",
        "shop.orders=nowhere.t",
        "--data-only",
        "--yes",
    ]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert_eq!(serde_json::from_str::<Value>(&run.stdout).expect("a document")["state"], "failed");
    assert!(run.stderr.contains("none of the selected tables"), "{}", run.stderr);
}

#[apply(both_engines)]
fn partitions_of_negative_numbers_are_named(engine: Engine) {
    engine.query("CREATE TABLE default.n (a Int8, k UInt64) ENGINE = MergeTree PARTITION BY a ORDER BY k");
    engine.query("INSERT INTO default.n SELECT -(number % 3), number FROM numbers(30)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("ALTER TABLE default.n DROP PARTITION -1");
    let report = chsnap.json(0, &["restore", "latest", "--partition", "-1", "--yes"]);
    assert_eq!(report["tables"][0]["rows"], 10, "{report:#}");
    assert_eq!(engine.query("SELECT count() FROM default.n WHERE a = -1"), "10");
}

#[apply(both_engines)]
fn bystanders_are_the_same_to_the_byte_after_every_restore_and_drill(engine: Engine) {
    let bystanders = Bystanders::make(&engine);
    engine.query("CREATE DATABASE lab");
    for name in ["a", "b"] {
        engine.query(&format!(
            "CREATE TABLE lab.{name} (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k"
        ));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number % 3, number FROM numbers(30)"));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--table", "lab.*"]);
    engine.query("DROP DATABASE lab");
    let restore = ["restore", "latest", "--yes"];
    for (call, nth) in
        [("linkat", 3), ("renameat,renameat2", 3), ("renameat,renameat2", 4), ("sendto,write,writev", 40)]
    {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={nth}")]);
        chsnap.under(strace, &restore).stdout(Stdio::null()).stderr(Stdio::null()).status().expect("strace runs");
        bystanders.check(&format!("killed at {call} {nth}"));
        chsnap.json(0, &["drill"]);
        bystanders.check("drill");
        chsnap.json(0, &restore);
        bystanders.check("restore");
        chsnap.json(0, &["restore", "latest", "--all", "--replace", "--yes"]);
        bystanders.check("replace");
        engine.query("ALTER TABLE lab.a DROP PARTITION 1");
        chsnap.json(0, &["restore", "latest", "--partition", "1", "--yes"]);
        bystanders.check("partition");
        engine.query("DROP DATABASE lab");
    }
    bystanders.come_back(&engine);
}

#[test]
fn lightweight_updates_and_deletes_since_the_snapshot_are_no_less_data() {
    let engine = Engine::start(Kind::V26);
    let settings = "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1";
    for (name, change) in [
        ("updated", "UPDATE default.updated SET v = 2 WHERE 1"),
        (
            "deleted",
            "DELETE FROM default.deleted WHERE k % 2 = 0 SETTINGS lightweight_delete_mode = 'lightweight_update_force'",
        ),
    ] {
        engine.query(&format!(
            "CREATE TABLE default.{name} (p UInt8, k UInt64, v UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k {settings}"
        ));
        engine.query(&format!("INSERT INTO default.{name} SELECT number % 3, number, 0 FROM numbers(30)"));
        let chsnap = Chsnap::new(&engine.root().join(name)).url(&engine.url());
        chsnap.expect(0, &["init"]);
        chsnap.json(0, &["create", "--table", &format!("default.{name}")]);
        engine.query(change);
        let rows = || engine.query(&format!("SELECT count(), sum(v) FROM default.{name}"));
        let table = format!("default.{name}");
        for arguments in [
            vec!["restore", "latest", "--partition", "2"],
            vec!["restore", "latest", "--data-only"],
            vec!["restore", "latest", "--table", &table],
        ] {
            refused(&chsnap, &arguments, "patches", &rows);
        }
        // With permission it is undone in the one partition, and stays in the others.
        chsnap.json(0, &["restore", "latest", "--partition", "2", "--replace", "--yes"]);
        assert_eq!(engine.query(&format!("SELECT count(), sum(v) FROM default.{name} WHERE p = 2")), "10\t0");
        let others = engine.query(&format!("SELECT count(), sum(v) FROM default.{name} WHERE p != 2"));
        assert_eq!(others, if name == "updated" { "20\t40" } else { "10\t0" }, "{name}");
    }
}

#[test]
fn a_replaced_table_that_is_kept_has_a_name_that_tells_what_it_is() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE TABLE default.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.t SELECT number FROM numbers(5)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("INSERT INTO default.t SELECT number FROM numbers(7)");
    let report =
        chsnap.json(0, &["restore", "latest", "--table", "default.t", "--replace", "--keep-replaced", "--yes"]);
    let kept = &report["tables"][0]["replaced_table"];
    let name = kept["table"].as_str().expect("a name");
    assert!(name.starts_with("t_replaced_20"), "{name}");
    assert_eq!(engine.query(&format!("SELECT count() FROM default.`{name}`")), "12");
    assert_eq!(engine.query("SELECT count() FROM default.t"), "5");
}

#[test]
fn a_directory_of_unknown_origin_stays_and_is_named() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE TABLE default.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.t SELECT number FROM numbers(5)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    // The note of a restore that was killed after it had moved a table in, and a definition file that is a pipe.
    let uuid = "0badcafe-0000-4000-8000-000000000001";
    let place = format!("store/0ba/{uuid}");
    let note = engine.data_path().join("chsnap_restore_20261122020000_0badcafe");
    fs::create_dir(&note).expect("a directory");
    fs::write(note.join("lock"), b"").expect("a lock");
    let intent = serde_json::json!({
        "snapshot": "2026-11-22T020000Z", "host": "h", "pid": 1, "started": "2026-11-22T02:00:00Z",
        "tables": [{"name": {"database": "default", "table": "x"}, "uuid": uuid, "places": [["default", place]],
            "is_temporary": false, "replaces": null, "old_name": null, "keeps_old": false}],
    });
    fs::write(note.join("intent.json"), intent.to_string()).expect("an intent");
    fs::create_dir_all(engine.data_path().join(&place)).expect("a directory");
    fs::write(engine.data_path().join(&place).join("x"), b"x").expect("a file");
    let pipe = engine.data_path().join("metadata/pipe.sql");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert!(report["warnings"].to_string().contains(uuid), "{report:#}");
    assert!(engine.data_path().join(&place).join("x").exists());
    fs::remove_file(&pipe).expect("removed");
    // What the server knows in no way goes.
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert!(!engine.data_path().join(&place).exists() && !note.exists());
}

/// The note of a restore that was killed after it had exchanged a table with the live one.
fn note_of_an_exchange(engine: &Engine, digits: &str, agreed_state: Option<&str>) {
    let uuid = |name: &str| {
        engine.query(&format!("SELECT uuid FROM system.tables WHERE database = 'lab' AND name = '{name}'"))
    };
    let (new, old) = (uuid("t"), uuid("chsnap_0badcafe_new0"));
    let note = engine.data_path().join(format!("chsnap_restore_{digits}_0badcafe"));
    fs::create_dir(&note).expect("a directory");
    fs::write(note.join("lock"), b"").expect("a lock");
    let intent = serde_json::json!({
        "snapshot": "2026-11-22T020000Z", "host": "h", "pid": 1, "started": "2026-11-22T02:00:00Z",
        "tables": [{"name": {"database": "lab", "table": "chsnap_0badcafe_new0"}, "uuid": new,
            "places": [["default", format!("store/{}/{new}", &new[..3])]], "is_temporary": true,
            "replaces": {"database": "lab", "table": "t"}, "replaces_uuid": old, "old_name": null, "keeps_old": false,
            "agreed_state": agreed_state}],
    });
    fs::write(note.join("intent.json"), intent.to_string()).expect("an intent");
}

#[test]
fn a_replaced_table_that_has_gained_rows_survives_the_restore_that_was_killed() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(30)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("CREATE TABLE lab.chsnap_0badcafe_new0 (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.chsnap_0badcafe_new0 SELECT number FROM numbers(5)");
    note_of_an_exchange(&engine, "20261122020000", None);
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert!(report["warnings"].to_string().contains("has data by now"), "{report:#}");
    // It is an ordinary table from then on.
    assert_eq!(engine.query("SELECT count() FROM lab.t_replaced_20261122020000"), "5");
    assert_eq!(chsnap.json(0, &["create"])["tables"], 2);
    // Empty it goes; with rows it stays unless it is as it was when losing them was agreed to.
    engine.query("CREATE TABLE lab.chsnap_0badcafe_new0 (k UInt64) ENGINE = MergeTree ORDER BY k");
    note_of_an_exchange(&engine, "20261122020001", None);
    chsnap.run(&["restore", "latest", "--yes"]);
    assert_eq!(engine.query("EXISTS TABLE lab.chsnap_0badcafe_new0"), "0");
    engine.query("CREATE TABLE lab.chsnap_0badcafe_new0 (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.chsnap_0badcafe_new0 SELECT number FROM numbers(5)");
    note_of_an_exchange(&engine, "20261122020002", Some("another state"));
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert!(report["warnings"].to_string().contains("has changed since the plan was confirmed"), "{report:#}");
    assert_eq!(engine.query("SELECT count() FROM lab.t_replaced_20261122020002"), "5");
    // Rows outside of parts count too.
    engine.query("CREATE TABLE lab.chsnap_0badcafe_new0 (k UInt64) ENGINE = Log");
    engine.query("INSERT INTO lab.chsnap_0badcafe_new0 SELECT number FROM numbers(5)");
    note_of_an_exchange(&engine, "20261122020003", None);
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert!(report["warnings"].to_string().contains("has data by now"), "{report:#}");
    assert_eq!(engine.query("SELECT count() FROM lab.t_replaced_20261122020003"), "5");
}

/// An exchange by two renames that was cut in the middle: recovery gives the live table its name back, and the plan knows what
/// is in it before anything changes.
#[test]
fn a_table_that_recovery_renames_is_planned_with_all_that_it_holds() {
    let engine = Engine::start(Kind::V18);
    engine.query("CREATE DATABASE lab");
    for (table, engine_name) in [("t", "MergeTree ORDER BY k"), ("l", "Log")] {
        engine.query(&format!("CREATE TABLE lab.{table} (k UInt64) ENGINE = {engine_name}"));
        engine.query(&format!("INSERT INTO lab.{table} SELECT number FROM numbers(30)"));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let cut = |digits: &str| {
        let names = [
            ("t", "chsnap_0badcafe_old0", "chsnap_0badcafe_new0"),
            ("l", "chsnap_0badcafe_old1", "chsnap_0badcafe_new1"),
        ];
        let entries = names.map(|(table, old, new)| {
            engine.query(&format!("INSERT INTO lab.{table} SELECT number + 100 FROM numbers(7)"));
            engine.query(&format!("RENAME TABLE lab.{table} TO lab.{old}"));
            let name = |table: &str| serde_json::json!({"database": "lab", "table": table});
            serde_json::json!({"name": name(new), "uuid": null, "places": [], "is_temporary": true, "replaces": name(table),
                "old_name": name(old), "keeps_old": false})
        });
        let note = engine.data_path().join(format!("chsnap_restore_{digits}_0badcafe"));
        fs::create_dir(&note).expect("a directory");
        fs::write(note.join("lock"), b"").expect("a lock");
        let intent = serde_json::json!({
            "snapshot": "2026-11-22T020000Z", "host": "h", "pid": 1, "started": "2026-11-22T02:00:00Z", "tables": entries,
        });
        fs::write(note.join("intent.json"), intent.to_string()).expect("an intent");
    };
    let rows = |table: &str| engine.query(&format!("SELECT count() FROM lab.{table}"));
    cut("20261122020000");
    let refused = chsnap.run(&["restore", "latest", "--table", "lab.t", "--yes"]);
    assert!(refused.code == 13 && refused.stderr.contains("7 rows in 1 part"), "{}{}", refused.stdout, refused.stderr);
    assert_eq!(rows("chsnap_0badcafe_old0"), "37", "nothing has changed before the answer");
    // What stays is named with its rows, and is whole.
    let report = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!((rows("t"), rows("l")), ("37".to_owned(), "37".to_owned()), "{report:#}");
    let warnings = report["warnings"].to_string();
    for table in ["lab.t", "lab.l"] {
        let stays = format!("{table}: it exists and stays: it has 37 rows, the snapshot has 30 rows");
        assert!(warnings.contains(&stays), "{warnings}");
    }
    // Replaced, it is replaced at once.
    cut("20261122020001");
    let report = chsnap.json(0, &["restore", "latest", "--table", "lab.t", "--replace", "--yes"]);
    assert_eq!((rows("t"), rows("l")), ("30".to_owned(), "44".to_owned()), "{report:#}");
    assert_eq!(engine.query("SELECT count() FROM system.tables WHERE database = 'lab'"), "2");
}

/// A server that lets nothing be dropped of more than a few rows, and a snapshot of its one table `lab.t`.
fn with_drop_limits(kind: Kind) -> (Engine, Chsnap) {
    let config = "<max_table_size_to_drop>2000</max_table_size_to_drop>\
                  <max_partition_size_to_drop>2000</max_partition_size_to_drop>";
    let engine = Engine::start_with(kind, &Options { config: config.to_owned(), ..Options::default() });
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (d Date, k UInt64) ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY k");
    for month in 1..=3 {
        engine.query(&format!(
            "INSERT INTO lab.t SELECT toDate('2026-0{month}-01'), number * 1234567 FROM numbers(5000)"
        ));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    (engine, chsnap)
}

#[test]
fn a_limit_on_what_is_dropped_is_lifted_by_the_statements_where_they_may() {
    let (engine, chsnap) = with_drop_limits(Kind::V26);
    assert!(engine.try_query("DROP TABLE lab.t").is_err(), "the limit holds");
    for more in [&[][..], &["--partition", "202601"]] {
        engine.query("INSERT INTO lab.t SELECT toDate('2026-01-01'), number FROM numbers(7)");
        chsnap.json(0, &[&["restore", "latest", "--table", "lab.t", "--replace", "--yes"][..], more].concat());
        assert_eq!(engine.query("SELECT count() FROM lab.t"), "15000");
        assert_eq!(engine.query("SELECT name FROM system.tables WHERE database = 'lab'"), "t");
    }
}

/// 18.16 tells no statement its limits, and lets none lift them: nothing is lost, and the remedy is named.
#[test]
fn a_limit_on_what_is_dropped_loses_nothing_and_is_named_with_its_remedy() {
    let (engine, chsnap) = with_drop_limits(Kind::V18);
    let change = || engine.query("INSERT INTO lab.t SELECT toDate('2026-01-01'), number FROM numbers(7)");
    let rows = |table: &str| engine.query(&format!("SELECT count() FROM lab.`{table}`"));
    change();
    let report = chsnap.json(3, &["restore", "latest", "--table", "lab.t", "--replace", "--yes"]);
    let kept =
        report["tables"][0]["replaced_table"]["table"].as_str().unwrap_or_else(|| panic!("{report:#}")).to_owned();
    assert_eq!((rows("t"), rows(&kept)), ("15000".to_owned(), "15007".to_owned()));
    let remedy = |document: &Value| {
        let warnings = document["warnings"].to_string();
        assert!(
            warnings.contains("max_table_size_to_drop") && warnings.contains("flags/force_drop_table"),
            "{warnings}"
        );
    };
    remedy(&report);
    // By partitions the server refuses the first, and the temporary table stays until it may be dropped.
    change();
    let by_partition =
        ["--json", "restore", "latest", "--table", "lab.t", "--partition", "202601", "--replace", "--yes"];
    let failed = chsnap.run(&by_partition);
    let report: Value = serde_json::from_str(&failed.stdout).expect("a document");
    assert_eq!((failed.code, rows("t"), &report["tables"][0]["state"]), (1, "15007".to_owned(), &"failed".into()));
    assert!(report["tables"][0]["reason"].as_str().expect("a reason").contains("max_table_size_to_drop"), "{report:#}");
    remedy(&report);
    let temporary =
        || engine.query("SELECT count() FROM system.tables WHERE database = 'lab' AND name LIKE 'chsnap_%'");
    assert_eq!(temporary(), "1");
    remedy(&chsnap.json(3, &["restore", "latest", "--yes"]));
    let flag = engine.data_path().join("flags/force_drop_table");
    fs::create_dir_all(flag.parent().expect("a folder")).expect("made");
    fs::write(&flag, b"").expect("made");
    chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!((temporary(), rows("t"), rows(&kept)), ("0".to_owned(), "15007".to_owned(), "15007".to_owned()));
}

#[test]
fn a_detached_database_keeps_the_uuids_of_its_views() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE a");
    engine.query("CREATE TABLE a.d (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO a.d SELECT 1");
    engine.query("CREATE VIEW a.x AS SELECT 1 AS one");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DETACH DATABASE a");
    chsnap.json(0, &["restore", "latest", "--rename-db", "a=c", "--yes"]);
    engine.query("ATTACH DATABASE a");
    assert_eq!(engine.query("SELECT count() FROM a.d"), "1");
    assert_eq!(engine.query("SELECT one FROM c.x"), "1");
}

#[apply(both_engines)]
fn rows_inserted_at_the_moment_of_a_replacement_are_reported(engine: Engine) {
    let engine = Arc::new(engine);
    engine.query("CREATE DATABASE lab");
    // As on a server; the embedded engine removes replaced parts at once.
    let settings = if engine.kind() == Kind::V26 { " SETTINGS old_parts_lifetime = 480" } else { "" };
    engine.query(&format!(
        "CREATE TABLE lab.t (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k{settings}"
    ));
    for partition in 0..3 {
        engine.query(&format!("INSERT INTO lab.t SELECT {partition}, number FROM numbers(100)"));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let rows = || engine.query("SELECT p, count() FROM lab.t GROUP BY p ORDER BY p");
    let change = || {
        for partition in 0..3 {
            engine.query(&format!("ALTER TABLE lab.t DROP PARTITION ID '{partition}'"));
            engine.query(&format!("INSERT INTO lab.t SELECT {partition}, number FROM numbers(50)"));
        }
    };
    let restore = ["restore", "latest", "--table", "lab.t", "--data-only", "--replace", "--yes"];
    change();
    let plan = chsnap.expect(0, &[&restore[..], &["--dry-run"]].concat()).stdout;
    assert!(plan.contains("rows inserted into a partition at the moment at which it is replaced are lost"), "{plan}");
    let report = chsnap.json(0, &restore);
    assert_eq!((report["warnings"].as_array().map(Vec::len), rows().as_str()), (Some(0), "0\t100\n1\t100\n2\t100"));
    // Into the partition that is about to be replaced, and into one that comes later.
    for (target, exit) in [(1, 3), (2, 1)] {
        change();
        let server = Arc::downgrade(&engine);
        let front = Front::start(&engine.url(), move |sql| {
            if sql.contains("REPLACE PARTITION ID '1'") {
                let engine = server.upgrade().expect("it runs");
                engine.query(&format!("INSERT INTO lab.t SELECT {target}, number FROM numbers(7)"));
            }
            Reply::Same
        });
        let run = chsnap.clone().url(front.url()).run(&[&["--json"][..], &restore].concat());
        assert_eq!(run.code, exit, "{}{}", run.stdout, run.stderr);
        let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
        if target == 1 {
            let warning = &report["warning_list"][0];
            assert_eq!(warning["kind"], "insert_replaced", "{report:#}");
            let message = warning["message"].as_str().expect("text");
            assert!(message.contains("7 rows were inserted") && message.contains("partition 1"), "{message}");
            assert_eq!(rows(), "0\t100\n1\t100\n2\t100");
        } else {
            let reason = report["tables"][0]["reason"].as_str().expect("text");
            assert!(reason.contains("is new; 2 partitions before this one"), "{reason}");
            assert_eq!(rows(), "0\t100\n1\t100\n2\t57");
        }
        assert_eq!(engine.query("SELECT count() FROM system.tables WHERE database = 'lab'"), "1");
    }
}

#[apply(both_engines)]
fn parts_that_were_detached_and_attached_again_are_the_same_data(engine: Engine) {
    engine.query("CREATE TABLE default.t (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("INSERT INTO default.t SELECT number % 2, number FROM numbers(20)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("ALTER TABLE default.t DETACH PARTITION 1");
    engine.query("ALTER TABLE default.t ATTACH PARTITION 1");
    let parts = || engine.query("SELECT name FROM system.parts WHERE active AND table = 't' ORDER BY name");
    let before = parts();
    let report = chsnap.run(&["--json", "restore", "latest", "--yes"]);
    assert!(matches!(report.code, 0 | 3), "{}{}", report.stdout, report.stderr);
    assert_eq!(parts(), before, "without a selection nothing is replaced");
    // Part of it gone, the rest stays without a selection, too.
    engine.query("ALTER TABLE default.t DROP PARTITION 1");
    let before = parts();
    chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!(parts(), before);
}

#[test]
fn a_table_of_the_servers_own_database_is_no_leftover() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE TABLE default.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.t SELECT 1");
    engine.query("CREATE TABLE system.my_log (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO system.my_log SELECT number FROM numbers(7)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--table", "default.t"]);
    let note = |digits: &str| {
        let note = engine.data_path().join(format!("chsnap_restore_{digits}_0badcafe"));
        fs::create_dir(&note).expect("a directory");
        fs::write(note.join("lock"), b"").expect("a lock");
        let intent = serde_json::json!({
            "snapshot": "2026-11-22T020000Z", "host": "h", "pid": 1, "started": "2026-11-22T02:00:00Z",
            "tables": [{"name": {"database": "system", "table": "my_log"}, "uuid": null,
                "places": [["default", "data/system/my_log"]], "is_temporary": false, "replaces": null,
                "old_name": null, "keeps_old": false}],
        });
        fs::write(note.join("intent.json"), intent.to_string()).expect("an intent");
    };
    note("20261122020000");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM system.my_log"), "7");
    // Its database keeps no definition files that would tell of a detached table.
    note("20261122020001");
    engine.query("DETACH TABLE system.my_log");
    chsnap.json(3, &["restore", "latest", "--yes"]);
    engine.query("ATTACH TABLE system.my_log");
    assert_eq!(engine.query("SELECT count() FROM system.my_log"), "7");
}
