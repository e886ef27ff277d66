//! Replicated tables on a real cluster: ZooKeeper and two replicas of one shard.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::chsnap_command::Chsnap;
use crate::cluster_lab::{Cluster, start_v26};
use crate::engine::Engine;
use crate::keeper::Keeper;
use crate::support::{path_of, repository};

const DEADLINE: Duration = Duration::from_secs(90);

/// Waits until a query has this answer.
#[track_caller]
fn wait_for(server: &Engine, sql: &str, answer: &str) {
    let end = Instant::now() + DEADLINE;
    while server.query(sql) != answer {
        assert!(Instant::now() < end, "{sql} is not {answer}: {}", server.query(sql));
        thread::sleep(Duration::from_millis(100));
    }
}

/// A table of the cluster with a partition for each `p`, in a database of its own.
fn make_table(cluster: &Cluster, database: &str) {
    cluster.r1().query(&format!("CREATE DATABASE {database} ON CLUSTER c"));
    cluster.r1().query(&format!(
        "CREATE TABLE {database}.t ON CLUSTER c (p UInt8, k UInt64, v String) \
         ENGINE = ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{database}', '{{replica}}') PARTITION BY p ORDER BY k"
    ));
}

/// The kinds of the warnings about a table.
fn warnings(document: &Value, table: &str) -> Vec<String> {
    let rows = document["warning_list"].as_array().unwrap_or_else(|| panic!("no warnings in {document}"));
    let of_table = rows.iter().filter(|row| row["table"] == table);
    of_table.map(|row| row["kind"].as_str().expect("a kind").to_owned()).collect()
}

/// The line of `doctor` about replicated tables.
fn doctor_line(chsnap: &Chsnap, arguments: &[&str]) -> Value {
    let run = chsnap.run(&[&["--json", "doctor"], arguments].concat());
    let document: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stderr));
    let checks = document["checks"].as_array().expect("checks").clone();
    checks.into_iter().find(|check| check["name"] == "replicas").unwrap_or(Value::Null)
}

/// The entry of a table in what `show` answers.
fn shown_table<'a>(shown: &'a Value, table: &str) -> &'a Value {
    let tables = shown["table_list"].as_array().expect("tables");
    let is_meant = |row: &&Value| format!("{}.{}", row["database"], row["table"]).replace('"', "") == table;
    tables.iter().find(is_meant).unwrap_or_else(|| panic!("no {table} in {shown}"))
}

#[test]
fn a_replicated_table_is_taken_with_its_definition() {
    let mut cluster = Cluster::start();
    cluster.r1().query("CREATE DATABASE lab ON CLUSTER c");
    cluster.r1().query(
        "CREATE TABLE lab.t ON CLUSTER c (k UInt64, v String) \
         ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/t', '{replica}') ORDER BY k",
    );
    cluster.r1().query("INSERT INTO lab.t SELECT number, toString(number) FROM numbers(100)");
    cluster.wait_until_idle();
    assert_eq!(cluster.r2().query("SELECT count(), sum(k) FROM lab.t"), "100\t4950");

    let nodes = cluster.nodes("/clickhouse/tables/s1/t");
    for replica in [cluster.r1(), cluster.r2()] {
        let chsnap = repository(replica);
        let created = chsnap.json(0, &["create"]);
        assert_eq!((&created["tables"], &created["parts"]), (&1.into(), &1.into()), "{created}");
        let snapshot = path_of(&chsnap, &created);
        assert!(snapshot.join("data/lab/t/all_0_0_0/checksums.txt").is_file());
        let shown = chsnap.json(0, &["show", "latest"]);
        let definition = shown_table(&shown, "lab.t")["definition"].as_str().expect("a path");
        let definition = fs::read_to_string(snapshot.join(definition)).expect("a definition");
        assert!(definition.contains("('/clickhouse/tables/{shard}/t', '{replica}')"), "{definition}");
        // Where Keeper has it, with macros and without.
        let name = replica.query("SELECT substitution FROM system.macros WHERE macro = 'replica'");
        let expected = json!({
            "path": "/clickhouse/tables/{shard}/t", "name": "{replica}", "zookeeper_path": "/clickhouse/tables/s1/t",
            "replica_name": name, "shard": "s1",
        });
        assert_eq!(shown_table(&shown, "lab.t")["replica"], expected);
        assert_eq!(shown["server"]["macros"], json!({"shard": "s1", "replica": name}));
        assert_eq!(doctor_line(&chsnap, &[])["state"], "ok");
    }
    // Nothing in Keeper speaks of it.
    assert_eq!(cluster.nodes("/clickhouse/tables/s1/t"), nodes);
    assert!(nodes.keys().any(|node| node == "/clickhouse/tables/s1/t/replicas/r2/parts/all_0_0_0"), "{nodes:?}");

    // A replica whose disk was lost starts with nothing, and Keeper is there again after a stop.
    cluster.lose_disk(2);
    cluster.keeper().stop();
    cluster.keeper().start();
    cluster.replica(2).restart();
    assert_eq!(cluster.r2().query("SELECT count() FROM system.tables WHERE database = 'lab'"), "0");
    assert!(cluster.nodes("/clickhouse/tables/s1/t/replicas").contains_key("/clickhouse/tables/s1/t/replicas/r2"));
}

#[test]
fn a_table_catches_up_before_it_is_listed() {
    let cluster = Cluster::start();
    make_table(&cluster, "lab");
    let (r1, r2) = (cluster.r1(), cluster.r2());
    let chsnap = repository(r2);
    let rows = |created: &Value| {
        let shown = chsnap.json(0, &["show", created["id"].as_str().expect("an id")]);
        shown_table(&shown, "lab.t")["rows"].as_u64().expect("rows")
    };
    r1.query("INSERT INTO lab.t SELECT 1, number, 'a' FROM numbers(100)");
    cluster.wait_until_idle();

    // What it cannot fetch in time is not in the snapshot, and is a warning.
    r2.query("SYSTEM STOP FETCHES lab.t");
    r1.query("INSERT INTO lab.t SELECT 2, number, 'b' FROM numbers(10)");
    wait_for(r2, "SELECT count() FROM system.replication_queue", "1");
    let begun = Instant::now();
    let behind = chsnap.json(3, &["create", "--sync-replica", "2"]);
    assert!(begun.elapsed() < DEADLINE, "{:?}", begun.elapsed());
    assert_eq!(warnings(&behind, "lab.t"), ["replica_behind"]);
    assert_eq!(rows(&behind), 100);
    // Of the statements that were to let it catch up none remains.
    let running = "SELECT count() FROM system.processes WHERE query LIKE 'SYSTEM SYNC REPLICA%'";

    // How far it is behind is another thing, which doctor looks at too.
    wait_for(r2, "SELECT absolute_delay > 1 FROM system.replicas", "1");
    let late = chsnap.json(3, &["create", "--sync-replica", "0", "--max-delay", "1s"]);
    assert_eq!(warnings(&late, "lab.t"), ["replica_behind"]);
    let line = doctor_line(&chsnap, &["--max-delay", "1s"]);
    assert!(line["message"].as_str().is_some_and(|text| text.contains("lab.t")), "{line}");
    assert_eq!((&line["state"], &doctor_line(&chsnap, &[])["state"]), (&json!("warning"), &json!("ok")));
    let unasked = chsnap.json(0, &["create", "--sync-replica", "0"]);
    assert_eq!(rows(&unasked), 100);

    // It is waited for, and what comes in time is in the snapshot.
    let waited = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(2));
            r2.query("SYSTEM START FETCHES lab.t");
        });
        chsnap.json(0, &["create", "--sync-replica", "60"])
    });
    assert_eq!(rows(&waited), 110);
    wait_for(r2, running, "0");

    // A queue that is busy with what came later, or with merges, is no warning.
    let end = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                r1.query(&format!("INSERT INTO lab.t SELECT 3, {number}, 'c'"));
            }
        });
        let _stop = crate::support::StopAtEnd(&end);
        wait_for(r1, "SELECT count() >= 5 FROM lab.t WHERE p = 3", "1");
        let before: u64 = r1.query("SELECT count() FROM lab.t").parse().expect("a number");
        let busy = chsnap.json(0, &["create"]);
        assert!(rows(&busy) >= before, "{} {before}", rows(&busy));
    });
}

#[test]
fn tables_are_taken_while_keeper_is_away() {
    let mut cluster = Cluster::start();
    make_table(&cluster, "lab");
    cluster.r1().query("INSERT INTO lab.t SELECT 1, number, 'a' FROM numbers(100)");
    cluster.wait_until_idle();
    let chsnap = repository(cluster.r1());
    let run = |codes: &[i32], arguments: &[&str]| {
        let begun = Instant::now();
        let run = chsnap.run(&[&["--json"], arguments].concat());
        assert!(codes.contains(&run.code), "{}: {}\n{}", run.code, run.stdout, run.stderr);
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        serde_json::from_str::<Value>(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
    };

    // Nothing answers, and sessions have not ended yet.
    cluster.keeper().pause();
    let taken = run(&[0, 3], &["create", "--sync-replica", "3"]);
    assert_eq!(taken["parts"], 1, "{taken}");
    wait_for(cluster.r1(), "SELECT is_readonly FROM system.replicas", "1");
    let taken = run(&[3], &["create"]);
    assert_eq!((&taken["parts"], warnings(&taken, "lab.t")), (&json!(1), vec!["replica_read_only".to_owned()]));
    let planned = run(&[3], &["create", "--dry-run"]);
    assert_eq!(warnings(&planned, "lab.t"), ["replica_read_only"]);
    cluster.keeper().resume();
    wait_for(cluster.r1(), "SELECT is_readonly FROM system.replicas", "0");

    // It is gone, and comes back.
    cluster.keeper().stop();
    wait_for(cluster.r1(), "SELECT is_readonly FROM system.replicas", "1");
    let taken = run(&[3], &["create", "--freeze", "all"]);
    assert_eq!((&taken["parts"], warnings(&taken, "lab.t")), (&json!(1), vec!["replica_read_only".to_owned()]));
    let line = doctor_line(&chsnap, &[]);
    assert_eq!(line["state"], "warning", "{line}");
    assert!(line["message"].as_str().is_some_and(|text| text.contains("lab.t")), "{line}");
    cluster.keeper().start();
    wait_for(cluster.r1(), "SELECT is_readonly FROM system.replicas", "0");
    let taken = run(&[0], &["create"]);
    assert_eq!(taken["parts"], 1, "{taken}");
    assert_eq!(doctor_line(&chsnap, &[])["state"], "ok");
}

#[test]
fn a_mutation_that_only_keeper_has_is_written_down_and_never_run() {
    let cluster = Cluster::start();
    make_table(&cluster, "lab");
    let r1 = cluster.r1();
    let chsnap = repository(r1);
    r1.query("INSERT INTO lab.t SELECT 1, number, 'a' FROM numbers(100)");
    r1.query("INSERT INTO lab.t SELECT 2, number, 'a' FROM numbers(10)");
    cluster.wait_until_idle();
    cluster.on_both("SYSTEM STOP MERGES lab.t");
    r1.query("ALTER TABLE lab.t UPDATE v = 'it''s b' WHERE k < 5");
    wait_for(r1, "SELECT count() FROM system.mutations WHERE is_done = 0", "1");
    // This part came after it.
    r1.query("INSERT INTO lab.t SELECT 2, 1, 'c'");
    let id = r1.query("SELECT mutation_id FROM system.mutations");
    let created = chsnap.json(3, &["create", "--sync-replica", "1"]);
    assert_eq!(warnings(&created, "lab.t"), ["mutations_in_keeper"]);

    let lacking = json!(["1_0_0_0", "2_0_0_0"]);
    let shown = chsnap.json(0, &["show", "latest"]);
    let mutations = &shown_table(&shown, "lab.t")["keeper_mutations"];
    let command = r1.query("SELECT command FROM system.mutations FORMAT TSVRaw");
    assert_eq!(*mutations, json!([{"id": id, "command": command, "parts": lacking}]));
    let text = chsnap.expect(0, &["show", "latest"]).stdout;
    assert!(text.contains(&command) && text.contains("2 of 3 parts lack it (1_0_0_0, 2_0_0_0)"), "{text}");

    // A restore shows the statement, and runs none.
    let restore =
        ["restore", "latest", "--table", "lab.t", "--rename", "lab.t=lab.copy", "--replicated", "as-merge-tree"];
    let planned = chsnap.json(3, &[&restore[..], &["--dry-run"]].concat());
    let statement = format!("ALTER TABLE `lab`.`copy` {command}");
    assert_eq!(planned["tables"][0]["not_run"], json!([{"id": id, "statement": statement, "parts": lacking}]));
    assert!(chsnap.expect(3, &[&restore[..], &["--dry-run"]].concat()).stdout.contains(&statement));
    chsnap.json(3, &[&restore[..], &["--yes"]].concat());
    let changed = "SELECT countIf(v = 'it\\'s b'), count() FROM lab.copy";
    assert_eq!(r1.query("SELECT count() FROM system.mutations WHERE table = 'copy'"), "0");
    assert_eq!(r1.query(changed), "0\t111");
    r1.query(&statement);
    wait_for(r1, changed, "11\t111");

    // Who waits for it has it in the parts.
    let waited = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_secs(2));
            cluster.on_both("SYSTEM START MERGES lab.t");
        });
        chsnap.json(0, &["create", "--table", "lab.t", "--sync-replica", "1", "--wait-mutations", "80"])
    });
    let shown = chsnap.json(0, &["show", waited["id"].as_str().expect("an id")]);
    assert_eq!(shown_table(&shown, "lab.t")["keeper_mutations"], serde_json::json!([]));
}

#[test]
fn chdb_reaches_the_same_keeper() {
    let keeper = Keeper::new();
    let modern = start_v26(&keeper, "m1");
    modern.query("CREATE DATABASE lab");
    modern.query("CREATE TABLE lab.t (k UInt64) ENGINE = ReplicatedMergeTree('/m/{shard}/t', '{replica}') ORDER BY k");
    let chsnap = repository(&modern);
    // Without an interserver port it stays read-only.
    let created = chsnap.json(3, &["create"]);
    assert_eq!((&created["tables"], warnings(&created, "lab.t")), (&json!(1), vec!["replica_read_only".to_owned()]));
    let shown = chsnap.json(0, &["show", "latest"]);
    let expected = json!({
        "path": "/m/{shard}/t", "name": "{replica}", "zookeeper_path": "/m/s1/t", "replica_name": "m1", "shard": "s1",
    });
    assert_eq!(shown_table(&shown, "lab.t")["replica"], expected);
    assert_eq!(doctor_line(&chsnap, &[])["state"], "warning");
}
