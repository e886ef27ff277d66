//! Restores of replicated tables on a real cluster: ZooKeeper and two replicas of one shard.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::chsnap_command::{Chsnap, Run};
use crate::cluster_lab::Cluster;
use crate::engine::Engine;
use crate::support::repository;

pub(crate) const PATH: &str = "/clickhouse/tables/s1/t";

/// Rows, and a sum that depends on the values of each.
pub(crate) const DIGEST: &str = "SELECT count(), sum(cityHash64(p, k, v)) FROM lab.t";

fn make(cluster: &Cluster) {
    cluster.r1().query("CREATE DATABASE IF NOT EXISTS lab ON CLUSTER c");
    cluster.r1().query(
        "CREATE TABLE lab.t ON CLUSTER c (p UInt8, k UInt64, v String) \
         ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/t', '{replica}') PARTITION BY p ORDER BY k",
    );
}

fn insert(cluster: &Cluster, from: u64, count: u64) {
    cluster
        .r1()
        .query(&format!("INSERT INTO lab.t SELECT number % 3, number, toString(number) FROM numbers({from}, {count})"));
}

/// A table with six parts in three partitions, and a snapshot of it.
fn taken(cluster: &Cluster) -> (Chsnap, String) {
    make(cluster);
    insert(cluster, 0, 300);
    insert(cluster, 300, 30);
    cluster.wait_until_idle();
    let chsnap = repository(cluster.r1());
    chsnap.json(0, &["create"]);
    (chsnap, cluster.r1().query(DIGEST))
}

/// The one table of a restore's document.
fn only(document: &Value) -> &Value {
    let tables = document["tables"].as_array().expect("tables");
    assert_eq!(tables.len(), 1, "{document}");
    &tables[0]
}

#[track_caller]
fn is_sound(cluster: &Cluster, digest: &str) {
    cluster.wait_until_idle();
    for replica in [cluster.r1(), cluster.r2()] {
        assert_eq!(replica.query(DIGEST), digest);
        let status = "SELECT is_readonly, total_replicas, active_replicas, queue_size FROM system.replicas";
        assert_eq!(replica.query(status), "0\t2\t2\t0");
    }
    no_helper_is_left(cluster.r1());
}

#[track_caller]
pub(crate) fn no_helper_is_left(engine: &Engine) {
    assert_eq!(engine.query("SELECT name FROM system.tables WHERE name LIKE '%chsnap%'"), "");
    let left = std::fs::read_dir(engine.data_path()).expect("a directory").flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("chsnap")), "{left:?}");
}

/// Nodes of Keeper, less those that a server writes all the time.
pub(crate) fn nodes(cluster: &Cluster, path: &str) -> BTreeMap<String, String> {
    let mut nodes = cluster.nodes(path);
    nodes.retain(|name, _| {
        !name.contains("/leader_election")
            && !name.ends_with("log_pointer")
            && !name.contains("min_unprocessed")
            && !name.contains("max_processed")
    });
    nodes
}

#[test]
fn a_table_that_was_dropped_on_the_whole_cluster_comes_back_on_each_replica() {
    let cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    cluster.r1().query("DROP TABLE lab.t ON CLUSTER c");
    assert!(!cluster.nodes("/clickhouse/tables").keys().any(|node| node.starts_with(PATH)));

    let plan = chsnap.json(0, &["restore", "latest", "--dry-run"]);
    assert_eq!((&only(&plan)["action"], &only(&plan)["replica"]["found"]), (&"fill_replica".into(), &"absent".into()));
    assert_eq!(only(&plan)["replica"]["path"], PATH);
    let restored = chsnap.json(0, &["restore", "latest", "--yes"]);
    let table = only(&restored);
    assert_eq!(
        (&table["state"], &table["rows"], &table["verified_parts"]),
        (&"restored".into(), &330.into(), &6.into()),
        "{restored}"
    );
    assert_eq!(cluster.r1().query(DIGEST), digest);

    // The other replica has the data of the first, and says so.
    let on_other = Chsnap::new(chsnap.repo()).url(&cluster.r2().url());
    let fetched = on_other.json(3, &["restore", "latest", "--yes"]);
    assert_eq!((&only(&fetched)["state"], &only(&fetched)["rows"]), (&"fetched".into(), &330.into()), "{fetched}");
    let hosts = &only(&fetched)["replica"]["hosts"];
    assert_eq!((&hosts[0]["name"], &hosts[0]["rows"]), (&"r1".into(), &330.into()), "{fetched}");
    is_sound(&cluster, &digest);
    // Again: there is nothing to do, and it can be written to.
    assert_eq!(chsnap.json(0, &["restore", "latest", "--yes"])["state"], "nothing_to_do");
    insert(&cluster, 1000, 3);
    cluster.wait_until_idle();
    assert_eq!(cluster.r2().query("SELECT count() FROM lab.t"), "333");
}

#[test]
fn a_live_table_gets_partitions_and_every_replica_has_them() {
    let cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    // Nothing is asked of it: nothing of it changes.
    let before = nodes(&cluster, PATH);
    assert_eq!(chsnap.json(0, &["restore", "latest", "--yes"])["state"], "nothing_to_do");
    assert_eq!(nodes(&cluster, PATH), before);

    cluster.r1().query("ALTER TABLE lab.t DROP PARTITION 1");
    cluster.wait_until_idle();
    let added = chsnap.json(0, &["restore", "latest", "--yes", "--partition", "1"]);
    assert_eq!((&only(&added)["state"], &only(&added)["rows"]), (&"attached".into(), &110.into()), "{added}");
    is_sound(&cluster, &digest);

    // What the snapshot does not have is a loss.
    insert(&cluster, 1000, 3);
    cluster.wait_until_idle();
    let with_more = cluster.r2().query(DIGEST);
    for arguments in [&["--partition", "1", "--data-only"][..], &["--table", "lab.t"]] {
        let refused = chsnap.run(&[&["restore", "latest", "--yes"], arguments].concat());
        assert_eq!(refused.code, 13, "{refused:?}");
        assert_eq!(cluster.r2().query(DIGEST), with_more);
    }
    let differs = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!(only(&differs)["state"], "present");

    // All partitions, and those that the snapshot has not, go.
    cluster.r1().query("INSERT INTO lab.t VALUES (9, 1, 'x')");
    let plan = chsnap.expect(0, &["restore", "latest", "--dry-run", "--table", "lab.t", "--replace"]).stdout;
    assert!(plan.contains("REPLACE all partitions") && plan.contains("one partition after the other"), "{plan}");
    let replaced = chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.t", "--replace"]);
    assert_eq!((&only(&replaced)["state"], &only(&replaced)["rows"]), (&"attached".into(), &330.into()), "{replaced}");
    is_sound(&cluster, &digest);
    // The path is the same, and it is still one table.
    let entries = |nodes: &BTreeMap<String, String>| nodes.get(&format!("{PATH}/metadata")).cloned();
    assert_eq!(entries(&nodes(&cluster, PATH)), entries(&before));
}

#[test]
fn a_replica_whose_disk_was_lost_fetches_from_its_peer() {
    let mut cluster = Cluster::start();
    let (chsnap, _) = taken(&cluster);
    cluster.lose_disk(1);
    cluster.r2().query("INSERT INTO lab.t VALUES (7, 7, 'since')");
    cluster.replica(1).restart();
    let digest = cluster.r2().query(DIGEST);
    // Until the session of the lost one is over it looks alive: that is waited for.
    let document = chsnap.json(3, &["restore", "latest", "--yes"]);
    let table = only(&document);
    assert_eq!((&table["state"], &table["rows"]), (&"fetched".into(), &331.into()), "{document}");
    assert_eq!(document["warning_list"][0]["kind"], "replica_fetched", "{document}");
    is_sound(&cluster, &digest);
}

/// A replica that fetches has the cluster's data of now: what only the snapshot has is counted by partitions, and comes by
/// `--replace`.
#[test]
fn rows_that_only_the_snapshot_has_are_reported_for_a_fetching_replica() {
    let mut cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    cluster.r1().query("ALTER TABLE lab.t DROP PARTITION 1");
    cluster.r1().query("INSERT INTO lab.t SELECT 2, 9000 + number, 'since' FROM numbers(500)");
    cluster.r1().query("OPTIMIZE TABLE lab.t PARTITION 0 FINAL");
    cluster.wait_until_idle();
    cluster.lose_disk(1);
    cluster.replica(1).restart();
    let fetched = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!((&only(&fetched)["state"], &only(&fetched)["rows"]), (&"fetched".into(), &720.into()), "{fetched}");
    let message = fetched["warning_list"][0]["message"].as_str().expect("a sentence");
    assert!(
        message.contains("110 rows of the snapshot's 330 are not there") && message.contains("--replace"),
        "{message}"
    );
    let replaced = chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.t", "--replace"]);
    assert_eq!(only(&replaced)["rows"], 330, "{replaced}");
    is_sound(&cluster, &digest);
}

/// Keeper calls a server active whose session is not over, although it was killed.
#[test]
fn a_replica_that_was_killed_a_moment_ago_is_not_fetched_from() {
    let mut cluster = Cluster::start();
    let (chsnap, _) = taken(&cluster);
    cluster.lose_disk(1);
    cluster.replica(1).restart();
    cluster.replica(2).kill();
    assert!(cluster.nodes(PATH).contains_key(&format!("{PATH}/replicas/r2/is_active")), "its session is not over");
    let refused = chsnap.run(&["restore", "latest", "--yes", "--table", "lab.t"]);
    assert_eq!(refused.code, 13, "{refused:?}");
    assert!(refused.stderr.contains("none is active"), "{refused:?}");
    assert_eq!(cluster.r1().query("SELECT count() FROM system.tables WHERE database = 'lab'"), "0");
}

#[test]
fn two_restores_at_once_end_in_one_table() {
    let cluster = Cluster::start();
    let (first, digest) = many_partitions(&cluster);
    let second = Chsnap::new(first.repo()).url(&cluster.r2().url());
    let both = [&first, &second];
    for _ in 0..3 {
        cluster.r1().query("DROP TABLE IF EXISTS lab.t ON CLUSTER c");
        let runs: Vec<Run> = std::thread::scope(|scope| {
            let running = both.map(|chsnap| scope.spawn(|| chsnap.run(&["--json", "restore", "latest", "--yes"])));
            running.map(|running| running.join().expect("it ends")).into()
        });
        // One has filled the table. The other one fetches, and fails only where the first one takes too long to begin.
        let states = runs.iter().map(|run| {
            let document: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
            (run.code, only(&document)["state"].clone(), only(&document)["reason_kind"].clone())
        });
        let states: Vec<(i32, Value, Value)> = states.collect();
        let filled = states.iter().filter(|(code, state, _)| *state == "restored" && [0, 3].contains(code)).count();
        let others = states.iter().filter(|(code, state, reason)| {
            *state == "fetched" && *code == 3 || *reason == "keeper_path_changed" && *code == 1
        });
        assert_eq!((filled, others.count()), (1, 1), "{runs:?}");
        // The second time each has the table, or fetches it.
        for chsnap in both {
            let again = chsnap.run(&["restore", "latest", "--yes"]);
            assert!(again.code == 0 || again.code == 3, "{again:?}");
        }
        is_sound(&cluster, &digest);
    }
}

#[test]
fn options_without_effect_on_an_existing_table_are_reported() {
    let cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    let before = nodes(&cluster, PATH);
    let said = |options: &[&str]| {
        let document = chsnap.json(3, &[&["restore", "latest", "--yes"], options].concat());
        let warning = &document["warning_list"][0];
        assert_eq!(warning["kind"], "option_unused", "{document}");
        warning["message"].as_str().expect("a sentence").to_owned()
    };
    let path = said(&["--replicated", "new-path"]);
    assert!(path.contains(&format!("keeps its path {PATH}")) && path.contains("--rename"), "{path}");
    assert!(said(&["--replicated", "as-merge-tree"]).contains("stays replicated"));
    let live = said(&["--forget-replicas", "r2"]);
    assert!(live.contains("lab.t is on this server") && live.contains("removed by hand"), "{live}");
    let unknown = said(&["--forget-replicas", "r9"]);
    assert!(unknown.contains("no replica of this name") && unknown.contains("it has r1, r2"), "{unknown}");
    assert_eq!(nodes(&cluster, PATH), before);
    is_sound(&cluster, &digest);
    // A table that has got a path of its own has nothing more to get: the same command again changes nothing.
    cluster.r1().query("DROP TABLE lab.t ON CLUSTER c");
    let own = ["restore", "latest", "--yes", "--replicated", "new-path"];
    assert_eq!(only(&chsnap.json(0, &own))["state"], "restored");
    assert_eq!(chsnap.json(0, &own)["state"], "nothing_to_do");
}

#[test]
fn replicas_that_are_switched_off_are_not_forgotten() {
    let mut cluster = Cluster::start();
    let (chsnap, _) = taken(&cluster);
    // The first has lost its table without a trace in Keeper, and the second is switched off.
    cluster.lose_disk(1);
    cluster.replica(2).stop();
    cluster.replica(1).restart();
    let begun = std::time::Instant::now();
    let before = loop {
        let nodes = cluster.nodes(PATH);
        if !nodes.keys().any(|node| node.ends_with("is_active")) {
            break nodes;
        }
        assert!(begun.elapsed().as_secs() < 60, "{nodes:?}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    let refused = chsnap.run(&["restore", "latest", "--yes", "--table", "lab.t"]);
    assert_eq!(refused.code, 13, "{refused:?}");
    for word in ["r1 (127.0.0.1:", "r2 (127.0.0.1:", "not active", "--replicated new-path"] {
        assert!(refused.stderr.contains(word), "{word}: {}", refused.stderr);
    }
    let forgets = ["restore", "latest", "--yes", "--table", "lab.t", "--forget-replicas", "r1,r2"];
    let refused = chsnap.run(&forgets);
    assert!(refused.code == 13 && refused.stderr.contains("no SYSTEM DROP REPLICA"), "{refused:?}");
    assert_eq!(cluster.nodes(PATH), before);
    // Without a selection it is left out, with the reason.
    let bare = chsnap.run(&["--json", "restore", "latest", "--yes"]);
    assert!(bare.stdout.contains("no_active_replica"), "{bare:?}");
    // On a path of its own it comes back, and the old one is as it was.
    let restored = chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.t", "--replicated", "new-path"]);
    assert_eq!((&only(&restored)["state"], &only(&restored)["rows"]), (&"restored".into(), &330.into()), "{restored}");
    assert_eq!(cluster.nodes(PATH), before);
    assert!(cluster.nodes("/clickhouse/tables/s1").contains_key("/clickhouse/tables/s1/lab/t/replicas/r1"));
}

#[test]
fn another_name_gets_a_path_of_its_own_and_the_live_table_is_not_touched() {
    let cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    let before = nodes(&cluster, PATH);
    let rename = ["restore", "latest", "--yes", "--rename", "lab.t=lab.u"];
    let shown = chsnap.expect(0, &[&rename[..], &["--dry-run"]].concat()).stdout;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("inserts of before are not recognized as duplicates there"), "{shown}");
    let restored = chsnap.json(0, &rename);
    assert_eq!(only(&restored)["state"], "restored", "{restored}");
    assert_eq!(cluster.r1().query(&DIGEST.replace("lab.t", "lab.u")), digest);
    let paths = "SELECT table, zookeeper_path FROM system.replicas ORDER BY table";
    assert_eq!(cluster.r1().query(paths), format!("t\t{PATH}\nu\t/clickhouse/tables/s1/lab/u"));
    // The second time it is there, as it was restored.
    assert_eq!(chsnap.json(0, &rename)["state"], "nothing_to_do");
    // A drill has no business in Keeper.
    let keeper = nodes(&cluster, "/clickhouse");
    let drilled = chsnap.json(0, &["drill", "latest"]);
    assert_eq!(drilled["state"], "proven", "{drilled}");
    assert_eq!(nodes(&cluster, "/clickhouse"), keeper);
    let plain =
        chsnap.json(0, &["restore", "latest", "--yes", "--rename", "lab.t=lab.w", "--replicated", "as-merge-tree"]);
    assert_eq!(only(&plain)["state"], "restored", "{plain}");
    assert_eq!(cluster.r1().query("SELECT engine FROM system.tables WHERE name = 'w'"), "MergeTree");
    assert_eq!(nodes(&cluster, "/clickhouse"), keeper);
    assert_eq!(nodes(&cluster, PATH), before);
    is_sound_of_two(&cluster, &digest);
}

#[track_caller]
fn is_sound_of_two(cluster: &Cluster, digest: &str) {
    cluster.wait_until_idle();
    for replica in [cluster.r1(), cluster.r2()] {
        assert_eq!(replica.query(DIGEST), digest);
    }
    no_helper_is_left(cluster.r1());
}

#[test]
fn without_keeper_nothing_is_sent_and_a_restart_of_it_is_enough() {
    let mut cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    cluster.r1().query("DROP TABLE lab.t ON CLUSTER c");
    cluster.keeper().stop();
    let failed = chsnap.run(&["--json", "restore", "latest", "--yes"]);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.stdout.contains("Keeper"), "{failed:?}");
    assert_eq!(cluster.r1().query("SELECT count() FROM system.tables WHERE database = 'lab'"), "0");
    no_helper_is_left(cluster.r1());
    cluster.keeper().start();
    let begun = std::time::Instant::now();
    while cluster.r1().try_query("SELECT count() FROM system.zookeeper WHERE path = '/'").is_err() {
        assert!(begun.elapsed().as_secs() < 60);
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    let restored = chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(only(&restored)["state"], "restored", "{restored}");
    assert_eq!(cluster.r1().query(DIGEST), digest);
}

/// A table with one part in each of thirty partitions, and a snapshot of it.
fn many_partitions(cluster: &Cluster) -> (Chsnap, String) {
    make(cluster);
    cluster.r1().query("INSERT INTO lab.t SELECT number % 30, number, toString(number) FROM numbers(3000)");
    cluster.wait_until_idle();
    let chsnap = repository(cluster.r1());
    chsnap.json(0, &["create"]);
    (chsnap, cluster.r1().query(DIGEST))
}

/// Whether Keeper has this one table's path below its shard, and nothing of a restore.
#[track_caller]
fn keeper_has_one_table(cluster: &Cluster) {
    let tables = cluster.nodes("/clickhouse/tables/s1");
    let names: std::collections::BTreeSet<&str> =
        tables.keys().filter_map(|node| node.strip_prefix("/clickhouse/tables/s1/")?.split('/').next()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["t"]);
    assert!(!tables.keys().any(|node| node.contains("chsnap")), "{tables:?}");
}

/// Restores until it is neither refused nor failed: a server or Keeper that was killed comes back by and by.
#[track_caller]
fn restored_at_last(chsnap: &Chsnap) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let run = chsnap.run(&["--json", "restore", "latest", "--yes"]);
        let done: Option<Value> = serde_json::from_str(&run.stdout).ok().filter(|_| run.code == 0);
        if let Some(document) = done {
            return document;
        }
        assert!(begun.elapsed().as_secs() < 120, "{run:?}");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

#[test]
fn a_killed_restore_leaves_no_half_table_and_nothing_in_keeper() {
    let cluster = Cluster::start();
    let (chsnap, digest) = many_partitions(&cluster);
    let mut kills = 0;
    for nth in [25, 40, 48, 60, 75] {
        cluster.r1().query("DROP TABLE IF EXISTS lab.t ON CLUSTER c");
        let mut strace = std::process::Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
        strace.arg(format!("inject=sendto,write,writev:signal=KILL:when={nth}"));
        let mut command = chsnap.under(strace, &["restore", "latest", "--yes"]);
        let status = command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status();
        kills += usize::from(!status.expect("strace runs").success());
        let document = restored_at_last(&chsnap);
        assert!(document["state"] == "restored" || document["state"] == "nothing_to_do", "{nth}: {document}");
        assert_eq!(cluster.r1().query(DIGEST), digest, "{nth}");
        no_helper_is_left(cluster.r1());
        keeper_has_one_table(&cluster);
        assert_eq!(chsnap.json(0, &["restore", "latest", "--yes"])["state"], "nothing_to_do", "{nth}");
    }
    assert!(kills > 2, "{kills} kills hit");
}

#[test]
fn a_server_or_keeper_that_is_killed_in_the_middle_loses_nothing() {
    let mut cluster = Cluster::start();
    let (chsnap, digest) = many_partitions(&cluster);
    for (what, milliseconds) in [("server", 400), ("keeper", 400)] {
        // After Keeper was away sessions begin once more.
        let begun = std::time::Instant::now();
        while let Err(error) = cluster.r1().try_query("DROP TABLE IF EXISTS lab.t ON CLUSTER c") {
            assert!(begun.elapsed().as_secs() < 60, "{error}");
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        let command = chsnap.command(&["restore", "latest", "--yes"]);
        let mut restore = { command }
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("chsnap starts");
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        if what == "server" {
            cluster.replica(1).kill();
            restore.wait().expect("it ends");
            cluster.replica(1).restart();
        } else {
            cluster.keeper().stop();
            restore.wait().expect("it ends");
            cluster.keeper().start();
        }
        restored_at_last(&chsnap);
        assert_eq!(cluster.r1().query(DIGEST), digest, "{what} {milliseconds}");
        no_helper_is_left(cluster.r1());
        keeper_has_one_table(&cluster);
        cluster.wait_until_idle();
    }
}

#[test]
fn definitions_come_to_all_hosts_of_a_cluster() {
    let mut cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    cluster.r1().query("CREATE VIEW lab.v ON CLUSTER c AS SELECT p, count() AS rows FROM lab.t GROUP BY p");
    chsnap.json(0, &["create"]);
    cluster.r1().query("DROP TABLE lab.v ON CLUSTER c");
    cluster.r1().query("DROP TABLE lab.t ON CLUSTER c");
    cluster.on_both("DROP DATABASE lab");
    let unknown = chsnap.run(&["restore", "latest", "--yes", "--on-cluster", "nowhere"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("it knows c"), "{unknown:?}");
    let restored = chsnap.json(0, &["restore", "latest", "--yes", "--on-cluster", "c"]);
    assert_eq!(restored["state"], "restored", "{restored}");
    is_sound(&cluster, &digest);
    assert_eq!(cluster.r2().query("SELECT sum(rows) FROM lab.v"), "330");
    // Hosts are compared: what one lacks is made there, and what all have is left alone.
    let everywhere = ["restore", "latest", "--yes", "--on-cluster", "c"];
    let tasks = |cluster: &Cluster| {
        cluster.nodes("/clickhouse/task_queue/ddl").keys().filter(|node| node.matches('/').count() == 4).count()
    };
    let sent = tasks(&cluster);
    assert_eq!(chsnap.json(0, &everywhere)["state"], "nothing_to_do");
    assert_eq!(tasks(&cluster), sent);
    cluster.r2().query("DROP TABLE lab.v");
    cluster.r2().query("DROP TABLE lab.t");
    let made = chsnap.json(0, &everywhere);
    assert_eq!(made["state"], "restored", "{made}");
    for table in made["tables"].as_array().expect("tables") {
        assert_eq!(
            (&table["state"], table["made_on_hosts"].as_array().map(Vec::len)),
            (&"present".into(), Some(1)),
            "{made}"
        );
    }
    assert_eq!(cluster.r2().query(DIGEST), digest, "it is waited for");
    is_sound(&cluster, &digest);
    assert_eq!(cluster.r2().query("SELECT sum(rows) FROM lab.v"), "330");
    // A host that does not answer is a warning.
    cluster.r1().query("DROP TABLE lab.v ON CLUSTER c");
    cluster.replica(2).stop();
    let without = chsnap.json(3, &["restore", "latest", "--yes", "--on-cluster", "c"]);
    let kinds: Vec<&str> =
        without["warning_list"].as_array().expect("warnings").iter().filter_map(|row| row["kind"].as_str()).collect();
    assert!(kinds.contains(&"host_missing"), "{without}");
    // Also where the database is new.
    let elsewhere = ["restore", "latest", "--yes", "--table", "lab.t", "--rename-db", "lab=fresh", "--on-cluster", "c"];
    assert_eq!(only(&chsnap.json(3, &elsewhere))["state"], "restored");
    assert_eq!(cluster.r1().query("SELECT sum(rows) FROM lab.v"), "330");
    cluster.replica(2).restart();
    cluster.wait_until_idle();
    let begun = std::time::Instant::now();
    while cluster.r2().try_query("SELECT sum(rows) FROM lab.v") != Ok("330".to_owned()) {
        assert!(begun.elapsed().as_secs() < 60, "the statement does not reach it");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

/// 26.9 has replicated tables with UUIDs here, to which nothing can be written: it shows plans, statements, helpers, and
/// what it says of dropped tables.
#[test]
fn a_dropped_table_of_version_26_is_waited_for() {
    let cluster = Cluster::start();
    let modern = cluster.start_v26("m1");
    modern.query("CREATE DATABASE lab");
    let columns = "(p UInt8, k UInt64, v String)";
    let ttl = "TTL toDateTime('2100-01-01 00:00:00') + toIntervalSecond(p)";
    modern.query(&format!("CREATE TABLE lab.plain {columns} ENGINE = MergeTree PARTITION BY p ORDER BY k {ttl}"));
    modern.query("INSERT INTO lab.plain SELECT number % 3, number, toString(number) FROM numbers(300)");
    for (table, path) in [("t", "/m/{shard}/t"), ("u UUID '0000abcd-0000-4000-8000-000000000001'", "/m/{uuid}/{shard}")]
    {
        modern.query(&format!(
            "CREATE TABLE lab.{table} {columns} ENGINE = ReplicatedMergeTree('{path}', '{{replica}}') PARTITION BY p ORDER BY k"
        ));
    }
    let chsnap = repository(&modern);
    let created = chsnap.run(&["--json", "create"]);
    assert!(created.code == 0 || created.code == 3, "{created:?}");
    modern.query("DROP TABLE lab.t");
    let before = cluster.nodes("/m/s1");
    let plan = chsnap.json(3, &["restore", "latest", "--dry-run"]);
    let tables = plan["tables"].as_array().expect("tables");
    let row = tables.iter().find(|row| row["table"] == "t").expect("planned");
    assert_eq!(row["action"], "blocked", "{plan}");
    assert!(
        row["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("UNDROP TABLE") && reason.contains("wait until 20")),
        "{row}"
    );
    let waiting = chsnap.run(&["--json", "restore", "latest", "--yes", "--table", "lab.t"]);
    assert_eq!(waiting.code, 1, "{waiting:?}");
    let document: Value = serde_json::from_str(&waiting.stdout).expect("a document");
    assert_eq!(
        (&only(&document)["state"], &only(&document)["reason_kind"]),
        (&"waiting".into(), &"dropped_table_waits".into())
    );
    assert_eq!(modern.query("SELECT count() FROM system.tables WHERE database = 'lab' AND name = 't'"), "0");
    assert_eq!(cluster.nodes("/m/s1"), before);
    // On a path of its own nothing is in its way.
    let own = chsnap.run(&["--json", "restore", "latest", "--yes", "--table", "lab.t", "--replicated", "new-path"]);
    let document: Value = serde_json::from_str(&own.stdout).expect("a document");
    assert_eq!(only(&document)["state"], "restored", "{document}");
    let path = modern.query("SELECT zookeeper_path FROM system.replicas WHERE table = 't'");
    assert!(path.starts_with("/clickhouse/tables/") && path.ends_with("/s1"), "{path}");
    assert_eq!(cluster.nodes("/m/s1"), before);

    // A table whose path has its UUID gets another one.
    modern.query("DROP TABLE lab.u");
    let plan = chsnap.json(0, &["restore", "latest", "--dry-run", "--table", "lab.u"]);
    assert_eq!(only(&plan)["action"], "make_replica", "{plan}");
    assert_eq!((&only(&plan)["uuid_changed"], &only(&plan)["replica"]["own_path"]), (&true.into(), &true.into()));

    // Its data comes as far as the statement that would fill the table, and as a plain table whole.
    modern.query("DETACH TABLE lab.plain");
    modern.query("ATTACH TABLE lab.plain AS REPLICATED");
    let digest = modern.query("SELECT count(), sum(cityHash64(p, k, v)) FROM lab.plain");
    let created = chsnap.run(&["--json", "create", "--table", "lab.plain"]);
    let created: Value = serde_json::from_str(&created.stdout).expect("a document");
    let id = created["id"].as_str().expect("an id");
    modern.query("DROP TABLE lab.plain");
    let shown = chsnap.run(&["restore", id, "--dry-run"]).stdout;
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("its TTL applies on all replicas at once"), "{shown}");
    let unfilled = chsnap.run(&["--json", "restore", id, "--yes"]);
    assert_eq!(unfilled.code, 1, "{unfilled:?}");
    let document: Value = serde_json::from_str(&unfilled.stdout).expect("a document");
    let reason = only(&document)["reason"].as_str().expect("a reason");
    assert!(reason.contains("REPLACE PARTITION") && reason.contains("readonly"), "{document}");
    // Nothing half filled is left, and nothing in Keeper.
    assert_eq!(modern.query("SELECT count() FROM system.tables WHERE database = 'lab' AND name = 'plain'"), "0");
    no_helper_is_left(&modern);
    let renamed = ["restore", id, "--yes", "--rename", "lab.plain=lab.copy", "--replicated", "as-merge-tree"];
    assert_eq!(only(&chsnap.json(0, &renamed))["state"], "restored");
    assert_eq!(modern.query("SELECT count(), sum(cityHash64(p, k, v)) FROM lab.copy"), digest);
    assert_eq!(modern.query("SELECT name FROM system.tables WHERE name LIKE '%chsnap%'"), "");
}

/// Past the delay a server removes what a dropped table had in Keeper: no table that was restored meanwhile is at that path.
#[test]
fn a_restored_table_outlives_the_removal_of_the_dropped_one() {
    let cluster = Cluster::start();
    let delay = "<database_atomic_delay_before_drop_table_sec>5</database_atomic_delay_before_drop_table_sec>";
    let modern = cluster.start_v26_with("m1", delay);
    modern.query("CREATE DATABASE lab");
    for (table, path) in [("t", "/m/{shard}/t"), ("u UUID '0000abcd-0000-4000-8000-000000000002'", "/m/{uuid}/{shard}")]
    {
        modern.query(&format!(
            "CREATE TABLE lab.{table} (k UInt64) ENGINE = ReplicatedMergeTree('{path}', '{{replica}}') ORDER BY k"
        ));
    }
    let chsnap = repository(&modern);
    chsnap.json(3, &["create"]);
    modern.query("DROP TABLE lab.t");
    modern.query("DROP TABLE lab.u");
    let state = |document: &Value, name: &str| {
        let tables = document["tables"].as_array().expect("tables");
        tables.iter().find(|table| table["table"] == name).expect("a table")["state"].clone()
    };
    // A path with a new UUID is free at once.
    let first = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!((state(&first, "t"), state(&first, "u")), ("waiting".into(), "restored".into()), "{first}");
    let begun = std::time::Instant::now();
    loop {
        let run = chsnap.run(&["--json", "restore", "latest", "--yes", "--table", "lab.t"]);
        let document: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        if state(&document, "t") == "restored" {
            break;
        }
        assert_eq!((run.code, state(&document, "t")), (1, "waiting".into()), "{run:?}");
        assert!(begun.elapsed().as_secs() < 90, "{run:?}");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    assert!(begun.elapsed().as_secs() >= 2, "the delay was waited for");
    std::thread::sleep(std::time::Duration::from_secs(8));
    assert_eq!(modern.query("SELECT count() FROM system.dropped_tables"), "0");
    let paths = modern.query("SELECT zookeeper_path FROM system.replicas WHERE database = 'lab' ORDER BY table");
    let nodes = cluster.nodes("/m");
    for path in paths.lines() {
        // chDB never sets `is_active`.
        let has = |node: &str| nodes.contains_key(&format!("{path}/{node}"));
        assert!(has("metadata") && has("replicas/m1/host"), "{path}: {nodes:?}");
    }
    assert_eq!(paths.lines().count(), 2);
}

/// A server that is behind does not know what a partition has that it is about to replace.
#[test]
fn parts_that_only_other_replicas_have_are_a_loss() {
    let cluster = Cluster::start();
    let (chsnap, _) = taken(&cluster);
    cluster.r1().query("ALTER TABLE lab.t DROP PARTITION 1");
    cluster.wait_until_idle();
    cluster.r1().query("SYSTEM STOP FETCHES lab.t");
    cluster.r2().query("INSERT INTO lab.t SELECT 1, 5000 + number, 'new' FROM numbers(50)");
    let digest = cluster.r2().query(DIGEST);
    for arguments in [&["--partition", "1"][..], &["--partition", "1", "--data-only"], &["--table", "lab.t"]] {
        let refused = chsnap.run(&[&["restore", "latest", "--yes"], arguments].concat());
        assert!(refused.code == 13 && refused.stderr.contains("has yet to get"), "{refused:?}");
    }
    // Also where the snapshot is restored as plain tables: what it goes to is replicated.
    let plain = ["restore", "latest", "--yes", "--partition", "1", "--replicated", "as-merge-tree"];
    assert_eq!(chsnap.run(&plain).code, 13);
    // Without a selection it stays, also where all that is here is empty.
    cluster.r1().query("ALTER TABLE lab.t DROP PARTITION 0");
    cluster.r1().query("ALTER TABLE lab.t DROP PARTITION 2");
    let bare = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!(only(&bare)["state"], "present", "{bare}");
    cluster.r1().query("SYSTEM START FETCHES lab.t");
    cluster.wait_until_idle();
    assert_eq!(cluster.r1().query("SELECT count(), min(v) FROM lab.t"), "50\tnew", "{digest}");
    // Caught up, the same is an ordinary loss, and goes by permission.
    let refused = chsnap.run(&["restore", "latest", "--yes", "--partition", "1"]);
    assert!(refused.code == 13 && refused.stderr.contains("50 rows"), "{refused:?}");
    chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.t", "--replace"]);
    cluster.wait_until_idle();
    assert_eq!(cluster.r2().query("SELECT count() FROM lab.t"), "330");
}

#[test]
fn a_writer_that_waits_for_the_table_finds_it_complete() {
    let cluster = Cluster::start();
    let (chsnap, _) = many_partitions(&cluster);
    finds_it_whole(&cluster, &chsnap, cluster.r1(), &[]);
    // On another host, where the table comes once it is filled.
    finds_it_whole(&cluster, &chsnap, cluster.r2(), &["--on-cluster", "c"]);
}

fn finds_it_whole(cluster: &Cluster, chsnap: &Chsnap, written_to: &Engine, options: &[&str]) {
    cluster.r1().query("DROP TABLE IF EXISTS lab.t ON CLUSTER c");
    let (url, stop) = (written_to.url(), std::sync::atomic::AtomicBool::new(false));
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) && written < 40 {
                let sql = format!("INSERT INTO lab.t VALUES ({}, {}, 'writer')", written % 30, 100_000 + written);
                let sent = std::process::Command::new("curl").args(["-fsS", &url, "--data-binary", &sql]).output();
                written += u64::from(sent.expect("curl runs").status.success());
            }
            written
        });
        let run = chsnap.run(&[&["--json", "restore", "latest", "--yes"], options].concat());
        let restored: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
        // Another host may be behind by what was written meanwhile, which is said.
        assert!(run.code == 0 || run.code == 3 && restored.to_string().contains("replica_behind"), "{run:?}");
        assert_eq!(
            (&only(&restored)["state"], &only(&restored)["rows"]),
            (&"restored".into(), &3000.into()),
            "{restored}"
        );
        std::thread::sleep(std::time::Duration::from_millis(500));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        writer.join().expect("the writer ends")
    });
    assert!(written > 0);
    cluster.wait_until_idle();
    let counts = "SELECT countIf(v != 'writer'), countIf(v = 'writer') FROM lab.t";
    assert_eq!(cluster.r1().query(counts), format!("3000\t{written}"), "{options:?}");
}

#[test]
fn the_path_of_a_detached_table_is_not_taken() {
    let cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    cluster.r1().query("RENAME TABLE lab.t TO lab.renamed");
    let attached = chsnap.run(&["restore", "latest", "--yes", "--table", "lab.t"]);
    assert!(attached.code == 13 && attached.stderr.contains("lab.renamed"), "{attached:?}");
    cluster.r1().query("DETACH TABLE lab.renamed");
    let before = nodes(&cluster, PATH);
    let detached = chsnap.run(&["restore", "latest", "--yes", "--table", "lab.t"]);
    assert!(detached.code == 13 && detached.stderr.contains("lab.renamed, which is detached"), "{detached:?}");
    assert_eq!(nodes(&cluster, PATH), before);
    cluster.r1().query("ATTACH TABLE lab.renamed");
    cluster.wait_until_idle();
    assert_eq!(cluster.r1().query(&DIGEST.replace("lab.t", "lab.renamed")), digest);
}

#[test]
fn a_table_that_its_peers_have_altered_fails_without_a_trace_and_comes_back_later() {
    let cluster = Cluster::start();
    let (chsnap, digest) = taken(&cluster);
    cluster.r1().query("DROP TABLE lab.t");
    cluster.r2().query("ALTER TABLE lab.t ADD COLUMN z UInt8");
    let keeper = nodes(&cluster, PATH);
    for _ in 0..2 {
        let failed = chsnap.run(&["--json", "restore", "latest", "--yes"]);
        assert!(failed.code == 1 && failed.stdout.contains("structure in ZooKeeper"), "{failed:?}");
        no_helper_is_left(cluster.r1());
        assert_eq!(nodes(&cluster, PATH), keeper);
    }
    cluster.r2().query("ALTER TABLE lab.t DROP COLUMN z");
    // A peer lists for a while what it has merged away: that is not waited for.
    cluster.r2().query("OPTIMIZE TABLE lab.t PARTITION 1 FINAL");
    let begun = std::time::Instant::now();
    let fetched = chsnap.json(3, &["restore", "latest", "--yes"]);
    assert_eq!((&only(&fetched)["state"], &only(&fetched)["rows"]), (&"fetched".into(), &330.into()), "{fetched}");
    assert!(!fetched.to_string().contains("have yet to come"), "{fetched}");
    assert!(begun.elapsed().as_secs() < 50, "{:?}", begun.elapsed());
    is_sound(&cluster, &digest);
}

/// Inner tables of views can be replicated as well: they have a path of their own in Keeper, and no data but the parts.
#[test]
fn a_view_whose_inner_table_is_replicated_comes_back_on_each_replica() {
    const VIEW: &str = "SELECT count(), sum(cityHash64(p, n)) FROM (SELECT p, sum(n) AS n FROM lab.mv GROUP BY p)";
    let cluster = Cluster::start();
    make(&cluster);
    cluster.r1().query(
        "CREATE MATERIALIZED VIEW lab.mv ON CLUSTER c ENGINE = \
         ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/mv', '{replica}') PARTITION BY p ORDER BY p \
         AS SELECT p, count() AS n FROM lab.t GROUP BY p",
    );
    insert(&cluster, 0, 300);
    cluster.wait_until_idle();
    let digest = cluster.r1().query(VIEW);
    assert!(digest.starts_with("3\t"), "{digest}");
    let chsnap = repository(cluster.r1());
    chsnap.json(0, &["create"]);
    chsnap.json(0, &["drill"]);
    let state = |document: &Value, name: &str| {
        let tables = document["tables"].as_array().expect("tables");
        let table =
            tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {document:#}"));
        table["state"].as_str().expect("a state").to_owned()
    };
    // All is gone on both.
    for replica in [cluster.r1(), cluster.r2()] {
        replica.query("DROP TABLE lab.mv");
        replica.query("DROP TABLE lab.t");
    }
    let restored = chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!((state(&restored, "mv"), state(&restored, ".inner.mv")), ("created".into(), "restored".into()));
    assert_eq!(cluster.r1().query(VIEW), digest);
    let on_other = Chsnap::new(chsnap.repo()).url(&cluster.r2().url());
    let fetched = on_other.json(3, &["restore", "latest", "--yes"]);
    assert_eq!((state(&fetched, "mv"), state(&fetched, ".inner.mv")), ("created".into(), "fetched".into()));
    cluster.wait_until_idle();
    assert_eq!(cluster.r2().query(VIEW), digest);
    // The view feeds it again, on both.
    cluster.r1().query("INSERT INTO lab.t VALUES (1, 5000, 'new')");
    cluster.wait_until_idle();
    let count = "SELECT sum(n) FROM lab.mv";
    assert_eq!((cluster.r1().query(count), cluster.r2().query(count)), ("301".into(), "301".into()));
    // Its partitions are replaced as those of any replicated table, and it stays on its path.
    let refused = chsnap.run(&["restore", "latest", "--yes", "--table", "lab.mv"]);
    assert_eq!(refused.code, 13, "{refused:?}");
    let replaced = chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.mv", "--replace"]);
    assert_eq!(state(&replaced, ".inner.mv"), "attached", "{replaced:#}");
    cluster.wait_until_idle();
    assert_eq!((cluster.r1().query(VIEW), cluster.r2().query(VIEW)), (digest.clone(), digest.clone()));
    // A copy gets paths of its own; the live view's stays as it is.
    let before = nodes(&cluster, "/clickhouse/tables/s1/mv");
    let copied = chsnap.json(0, &["restore", "latest", "--yes", "--rename-db", "lab=copy"]);
    assert_eq!(
        (state(&copied, "mv"), state(&copied, ".inner.mv")),
        ("created".into(), "restored".into()),
        "{copied:#}"
    );
    assert_eq!(cluster.r1().query(&VIEW.replace("lab.", "copy.")), digest);
    assert_eq!(nodes(&cluster, "/clickhouse/tables/s1/mv"), before);
    no_helper_is_left(cluster.r1());
}
