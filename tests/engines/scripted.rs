//! Features that no engine here has, provided by a proxy that answers for the server: `SYSTEM DROP REPLICA` on a
//! cluster of 18.16 (26.9 runs it, on the same Keeper), other hosts of a cluster of 26.9, databases of the engine
//! Replicated.

use serde_json::{Value, json};

use crate::chsnap_command::Chsnap;
use crate::cluster_lab::Cluster;
use crate::engine::{Engine, Kind};
use crate::front::{Front, Reply};
use crate::support::repository;

const PATH: &str = "/clickhouse/tables/s1/t";
const COLUMNS: &str = "(p UInt8, k UInt64, v String)";

/// The one table of a document.
fn only(document: &Value) -> &Value {
    let tables = document["tables"].as_array().expect("tables");
    assert_eq!(tables.len(), 1, "{document}");
    &tables[0]
}

fn messages(document: &Value) -> Vec<String> {
    let warnings = document["warning_list"].as_array().expect("warnings");
    warnings.iter().map(|warning| warning["message"].as_str().expect("a sentence").to_owned()).collect()
}

/// `--forget-replicas` on replicas that a real cluster has lost: 18.16 restores, and 26.9 runs its `SYSTEM DROP REPLICA` on
/// the Keeper of both.
#[test]
fn replicas_that_are_lost_are_removed_from_keeper_by_their_names() {
    let mut cluster = Cluster::start();
    let modern = cluster.start_v26("m1");
    cluster.r1().query("CREATE DATABASE lab ON CLUSTER c");
    cluster.r1().query(&format!(
        "CREATE TABLE lab.t ON CLUSTER c {COLUMNS} \
         ENGINE = ReplicatedMergeTree('/clickhouse/tables/{{shard}}/t', '{{replica}}') PARTITION BY p ORDER BY k"
    ));
    cluster.r1().query("INSERT INTO lab.t SELECT number % 3, number, toString(number) FROM numbers(330)");
    cluster.wait_until_idle();
    let digest = cluster.r1().query("SELECT count(), sum(cityHash64(p, k, v)) FROM lab.t");
    repository(cluster.r1()).json(0, &["create"]);
    let repo = cluster.r1().root().join("repo");
    cluster.lose_disk(1);
    cluster.replica(2).kill();
    cluster.replica(1).restart();

    let elsewhere = modern.url();
    let front = Front::start(&cluster.r1().url(), move |sql| match sql {
        sql if sql.starts_with("SELECT table, name") && sql.contains("FROM system.columns") => {
            Reply::More(vec![json!({"table": "privileges", "name": "privilege"})])
        }
        sql if sql.contains("FROM system.privileges") => Reply::Rows(vec![json!({"count": 1})]),
        sql if sql.contains("SYSTEM DROP REPLICA") => Reply::Elsewhere(elsewhere.clone()),
        _ => Reply::Same,
    });
    let chsnap = Chsnap::new(&repo).url(front.url());
    let restore = ["restore", "latest", "--yes", "--table", "lab.t"];
    let refused = chsnap.run(&restore);
    assert!(refused.code == 13 && refused.stderr.contains("--forget-replicas r1,r2"), "{refused:?}");
    let before = cluster.nodes(PATH);
    // All must be named.
    let some = chsnap.run(&[&restore[..], &["--forget-replicas", "r1"]].concat());
    assert_eq!(some.code, 13, "{some:?}");
    assert_eq!(cluster.nodes(PATH), before);
    assert!(!front.seen().iter().any(|sql| sql.contains("SYSTEM DROP REPLICA '")));

    let restored = chsnap.json(3, &[&restore[..], &["--forget-replicas", "r1,r2,r9"]].concat());
    assert_eq!((&only(&restored)["state"], &only(&restored)["rows"]), (&"restored".into(), &330.into()), "{restored}");
    let messages = messages(&restored);
    assert!(messages.len() == 1 && messages[0].contains("--forget-replicas r9: Keeper has no replica"), "{messages:?}");
    assert_eq!(cluster.r1().query("SELECT count(), sum(cityHash64(p, k, v)) FROM lab.t"), digest);
    assert_eq!(
        cluster.r1().query("SELECT total_replicas, active_replicas, is_readonly FROM system.replicas"),
        "1\t1\t0"
    );
    let dropped = front.seen().iter().filter(|sql| sql.contains("SYSTEM DROP REPLICA '")).count();
    assert_eq!(dropped, 2, "exactly those that were named and are there");
    // Killed after it: the same command again finds nothing to forget, and the table that is there.
    assert_eq!(only(&chsnap.json(3, &[&restore[..], &["--forget-replicas", "r1,r2"]].concat()))["state"], "present");
}

/// A 26.9 that is one of two hosts of a cluster, by its own words.
fn host_of_two(modern: &Engine, other: fn(&str) -> Vec<Value>) -> Front {
    Front::start(&modern.url(), move |sql| match sql {
        sql if sql.contains("FROM system.clusters") && sql.contains("HAVING") => {
            Reply::Rows(vec![json!({"text": "c"})])
        }
        sql if sql.contains("FROM system.clusters") && sql.contains("host_name") => {
            Reply::Rows(vec![json!({"host_name": "m1", "port": 9000}), json!({"host_name": "m2", "port": 9000})])
        }
        sql if sql.contains("FROM system.clusters") && sql.contains("AS text") => {
            Reply::Rows(vec![json!({"text": "c"})])
        }
        sql if sql.contains("clusterAllReplicas('c', system.one)") => {
            Reply::Rows(vec![json!({"host": "m1:9000"}), json!({"host": "m2:9000"})])
        }
        sql if sql.contains("clusterAllReplicas('c', ") => Reply::Rows(other(sql)),
        _ => Reply::Same,
    })
}

fn replicated_table(modern: &Engine) {
    modern.query("CREATE DATABASE lab");
    modern.query(&format!(
        "CREATE TABLE lab.t {COLUMNS} ENGINE = ReplicatedMergeTree('/m/{{shard}}/t', '{{replica}}') PARTITION BY p ORDER BY k"
    ));
}

/// A host of the cluster whose replicated table was dropped once a snapshot had it.
fn dropped_after_a_snapshot(cluster: &Cluster) -> (Engine, Chsnap) {
    let modern = cluster.start_v26("m1");
    replicated_table(&modern);
    let chsnap = repository(&modern);
    let created = chsnap.run(&["--json", "create"]);
    assert!(created.code == 0 || created.code == 3, "{created:?}");
    modern.query("DROP TABLE lab.t SYNC");
    (modern, chsnap)
}

/// A table that another host has dropped takes its path along when its delay ends: that host is asked too.
#[test]
fn a_table_that_another_host_has_dropped_is_waited_for() {
    let cluster = Cluster::start();
    let (modern, chsnap) = dropped_after_a_snapshot(&cluster);
    let front = host_of_two(&modern, |sql| {
        let dropped = json!({"host": "m2", "database": "lab", "table": "t", "uuid": "0000abcd-0000-4000-8000-000000000001",
            "engine": "ReplicatedMergeTree", "gone_at": 4_000_000_000_u32});
        if sql.contains("system.dropped_tables") { vec![dropped] } else { Vec::new() }
    });
    let on_cluster = chsnap.clone().url(front.url());
    let waiting = on_cluster.run(&["--json", "restore", "latest", "--yes", "--table", "lab.t"]);
    let document: Value = serde_json::from_str(&waiting.stdout).expect("a document");
    assert_eq!((waiting.code, &only(&document)["state"]), (1, &"waiting".into()), "{document}");
    let reason = only(&document)["reason"].as_str().expect("a reason");
    assert!(reason.contains("on m2 still has its path /m/s1/t") && reason.contains("2096-10-02"), "{reason}");
    assert!(!front.seen().iter().any(|sql| sql.contains("CREATE TABLE") || sql.contains("ATTACH TABLE")));
    assert!(!cluster.nodes("/").keys().any(|node| node.starts_with("/m/") && node.contains("/replicas/")));
    // Once it is gone there, nothing is in the way.
    let alone = chsnap.run(&["--json", "restore", "latest", "--yes", "--table", "lab.t"]);
    let document: Value = serde_json::from_str(&alone.stdout).expect("a document");
    assert_eq!(only(&document)["state"], "restored", "{document}");
}

/// Replicas are compared by what each host says of its parts.
#[test]
fn a_replica_with_other_rows_on_another_host_is_named() {
    let cluster = Cluster::start();
    let (modern, chsnap) = dropped_after_a_snapshot(&cluster);
    let front = host_of_two(&modern, |sql| {
        let table = |host: &str| json!({"host": host, "database": "lab", "table": "t"});
        let with = |mut row: Value, more: Value| {
            row.as_object_mut().expect("a row").extend(more.as_object().expect("fields").clone());
            row
        };
        if sql.contains("system.replicas") {
            let replica = |host, name| with(table(host), json!({"zookeeper_path": "/m/s1/t", "replica_name": name}));
            vec![replica("m1:9000", "m1"), replica("m2:9000", "m2")]
        } else if sql.contains("system.parts") {
            let part =
                |host, name, rows, digest| with(table(host), json!({"name": name, "rows": rows, "digest": digest}));
            vec![
                part("m1:9000", "0_0_0_0", "3", "aa"),
                part("m2:9000", "0_0_0_0", "3", "bb"),
                part("m2:9000", "1_0_0_0", "4", "cc"),
            ]
        } else {
            Vec::new()
        }
    });
    let run = chsnap.clone().url(front.url()).run(&["--json", "restore", "latest", "--yes", "--table", "lab.t"]);
    let document: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!(run.code, 3, "{document}");
    assert_eq!(
        only(&document)["replica"]["hosts"],
        json!([{"name": "m2", "host": "m2:9000", "rows": 7}]),
        "{document}"
    );
    let messages = messages(&document);
    assert!(
        messages.iter().any(|text| text.contains("its replica m2 on m2:9000 has 7 rows, and this one 0")),
        "{messages:?}"
    );
    let differs = "its replica m2 on m2:9000 has other content in the part 0_0_0_0 than this one";
    assert!(messages.iter().any(|text| text.contains(differs)), "{messages:?}");
}

/// A path with a UUID is that of the table that the other hosts have by now, not of the one that the snapshot has.
#[test]
fn a_lost_table_comes_back_under_the_uuid_that_its_peers_have() {
    let cluster = Cluster::start();
    let modern = cluster.start_v26("m1");
    modern.query("CREATE DATABASE lab");
    modern.query(&format!(
        "CREATE TABLE lab.t UUID '0000abcd-0000-4000-8000-000000000001' {COLUMNS} \
         ENGINE = ReplicatedMergeTree('/m/{{uuid}}/{{shard}}', '{{replica}}') PARTITION BY p ORDER BY k"
    ));
    let chsnap = repository(&modern);
    let created = chsnap.run(&["--json", "create"]);
    assert!(created.code == 0 || created.code == 3, "{created:?}");
    modern.query("DROP TABLE lab.t SYNC");
    let front = host_of_two(&modern, |sql| {
        let row =
            json!({"host": "m2:9000", "database": "lab", "table": "t", "uuid": "0000abcd-0000-4000-8000-000000000002"});
        if sql.contains("AS uuid") && sql.contains("system.tables") { vec![row] } else { Vec::new() }
    });
    let plan = ["--json", "restore", "latest", "--dry-run", "--table", "lab.t"];
    let path = |url: &str| {
        let run = chsnap.clone().url(url).run(&plan);
        let document: Value = serde_json::from_str(&run.stdout).expect("a document");
        only(&document)["replica"]["path"].as_str().expect("a path").to_owned()
    };
    assert_eq!(path(front.url()), "/m/0000abcd-0000-4000-8000-000000000002/s1");
    assert_ne!(path(&modern.url()), "/m/0000abcd-0000-4000-8000-000000000002/s1");
}

/// A path with the table's name in it: filled under another name, the table would have another path. A copy gets its own, and
/// nothing of the live table's path changes in Keeper.
#[test]
fn a_path_with_the_name_of_the_table_is_never_another_tables() {
    let cluster = Cluster::start();
    let modern = cluster.start_v26("m1");
    modern.query("CREATE DATABASE lab");
    modern.query(&format!(
        "CREATE TABLE lab.t {COLUMNS} ENGINE = ReplicatedMergeTree('/m/{{shard}}/{{table}}', '{{replica}}') PARTITION BY p \
         ORDER BY k"
    ));
    let front = Front::start(&modern.url(), |_| Reply::Same);
    let chsnap = repository(&modern).url(front.url());
    let created = chsnap.run(&["--json", "create"]);
    assert!(created.code == 0 || created.code == 3, "{created:?}");
    let before = cluster.nodes("/m/s1/t");
    assert!(!before.is_empty());
    let run = chsnap.run(&["--json", "restore", "latest", "--yes", "--rename", "lab.t=lab.u"]);
    let copied: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!(only(&copied)["state"], "restored", "{copied}");
    assert_eq!(cluster.nodes("/m/s1/t"), before);
    // 26.9 keeps a definition with the name put in, so that the copy cannot have a path like it.
    assert_ne!(modern.query("SELECT zookeeper_path FROM system.replicas WHERE table = 'u'"), "/m/s1/t");
    let seen = front.seen();
    let made: Vec<&String> = seen.iter().filter(|sql| sql.contains("CREATE TABLE ")).collect();
    assert!(made.len() == 1 && made[0].contains("CREATE TABLE `lab`.`u`"), "{made:?}");
}

/// A server whose database `lab` says to be of the engine Replicated, and makes tables as such a one does: it refuses UUIDs,
/// ATTACH, and two new names at once. In the place of replicated tables it makes plain ones, for those of chDB can only be
/// read.
fn with_replicated_database(modern: &Engine) -> Front {
    with_replicated_database_that(modern, |_| false)
}

/// [`with_replicated_database`], which fails at what `fails` chooses.
fn with_replicated_database_that(modern: &Engine, fails: impl Fn(&str) -> bool + Send + Sync + 'static) -> Front {
    Front::start(&modern.url(), move |sql| {
        if sql.contains("FROM system.databases") && !sql.starts_with("SELECT count()") {
            return Reply::Edited(|row| {
                if row["name"] == "lab" {
                    row["engine"] = "Replicated".into();
                    if row.get("engine_full").is_some() {
                        row["engine_full"] = "Replicated('/db/lab', '{shard}', '{replica}')".into();
                    }
                }
            });
        }
        let makes = sql.contains("CREATE TABLE `lab`.") || sql.contains("CREATE MATERIALIZED VIEW `lab`.");
        let is_refused = makes && sql.contains(" UUID '")
            || sql.contains("ATTACH TABLE `lab`.")
            || sql.contains("RENAME TABLE `lab`.") && sql.contains(", `lab`.")
            || fails(sql);
        if is_refused {
            Reply::Instead("SELECT throwIf(1, 'a replicated database does not take that')".to_owned())
        } else if makes {
            Reply::Instead(sql.replace("ReplicatedMergeTree", "MergeTree"))
        } else {
            Reply::Same
        }
    })
}

/// Plain tables, and rows of a dump: the database makes them, and a temporary table elsewhere has the parts.
#[test]
fn plain_tables_and_dumps_come_back_into_a_replicated_database() {
    let modern = Engine::start(Kind::V26);
    modern.query("CREATE DATABASE lab");
    modern.query(&format!("CREATE TABLE lab.t {COLUMNS} ENGINE = MergeTree PARTITION BY p ORDER BY k"));
    modern.query("INSERT INTO lab.t SELECT number % 3, number, toString(number) FROM numbers(300)");
    modern.query("CREATE TABLE lab.l (k UInt64) ENGINE = Log");
    modern.query("INSERT INTO lab.l SELECT number FROM numbers(50)");
    modern.query("CREATE TABLE lab.j (k UInt64, v UInt64) ENGINE = Join(ANY, LEFT, k)");
    modern.query("INSERT INTO lab.j VALUES (1, 2), (3, 4)");
    modern.query("CREATE TABLE lab.s (z UInt64, a LowCardinality(String), n Nullable(UInt8)) ENGINE = Set");
    for begin in [0, 150_000] {
        modern.query(&format!(
            "INSERT INTO lab.s SELECT number, toString(number % 9), number % 7 FROM numbers({begin}, 150000)"
        ));
    }
    let members = || {
        modern.query(
            "SELECT count(), sum(number) FROM numbers(400000) \
             WHERE (number, toString(number % 9), number % 7) IN lab.s",
        )
    };
    assert_eq!(members(), "300000\t44999850000");
    modern.query(
        "CREATE MATERIALIZED VIEW lab.mv ENGINE = MergeTree PARTITION BY k % 4 ORDER BY k AS SELECT k FROM lab.t",
    );
    modern.query("INSERT INTO lab.mv SELECT number FROM numbers(40)");
    modern.query("CREATE MATERIALIZED VIEW lab.ml ENGINE = Log AS SELECT k FROM lab.t");
    modern.query("INSERT INTO lab.ml SELECT number FROM numbers(30)");
    modern.query("CREATE MATERIALIZED VIEW lab.mm ENGINE = Memory AS SELECT k FROM lab.t");
    modern.query("INSERT INTO lab.mm VALUES (1)");
    modern.query("CREATE VIEW lab.v AS SELECT k FROM lab.t");
    let digest = || modern.query("SELECT count(), sum(cityHash64(p, k, v)) FROM lab.t");
    let before = digest();
    let front = with_replicated_database(&modern);
    let chsnap = repository(&modern).url(front.url());
    chsnap.json(3, &["create"]);
    for table in ["mv", "ml", "mm", "v", "t", "l", "j", "s"] {
        modern.query(&format!("DROP TABLE lab.{table} SYNC"));
    }
    let shown = chsnap.expect(3, &["restore", "latest", "--dry-run"]).stdout;
    assert!(shown.contains("its view lab.mv makes it"), "{shown}");
    let restored = chsnap.json(3, &["restore", "latest", "--yes"]);
    let state = |name: &str| {
        let tables = restored["tables"].as_array().expect("tables");
        let table =
            tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {restored:#}"));
        format!("{} {}", table["state"].as_str().expect("a state"), table["rows"])
    };
    assert_eq!((state("t").as_str(), state("l").as_str()), ("restored 300", "restored 50"), "{restored:#}");
    assert!(state("v").starts_with("created"), "{restored:#}");
    assert_eq!((digest(), modern.query("SELECT count() FROM lab.l")), (before, "50".to_owned()));
    assert_eq!((state("j").as_str(), state("mv").as_str()), ("restored 2", "created 0"), "{restored:#}");
    assert_eq!(modern.query("SELECT groupArray((k, v)) FROM (SELECT * FROM lab.j ORDER BY k)"), "[(1,2),(3,4)]");
    assert_eq!((state("s").as_str(), members().as_str()), ("restored 300000", "300000\t44999850000"), "{restored:#}");
    // The rows of views are under the names that the database gave their inner tables.
    for (view, rows, found) in [("mv", 40, "40\t780"), ("ml", 30, "30\t435")] {
        let inner = modern
            .query(&format!("SELECT concat('.inner_id.', toString(uuid)) FROM system.tables WHERE name = '{view}'"));
        assert_eq!(state(&inner), format!("restored {rows}"), "{restored:#}");
        assert_eq!(modern.query(&format!("SELECT count(), sum(k) FROM lab.{view}")), found);
    }
    assert!(restored["warnings"].to_string().contains("no view to its inner table"), "{restored:#}");
    assert!(state("mm").starts_with("failed"), "{restored:#}");
    // With rows that the snapshot does not have, by partitions.
    modern.query("INSERT INTO lab.t SELECT 7, number, 'x' FROM numbers(10)");
    let refused = chsnap.run(&["restore", "latest", "--yes", "--table", "lab.t"]);
    assert_eq!(refused.code, 13, "{}{}", refused.stdout, refused.stderr);
    chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.t", "--replace"]);
    assert_eq!(modern.query("SELECT count() FROM lab.t"), "300");
    assert_eq!(modern.query("SELECT name FROM system.databases WHERE name LIKE 'chsnap%'"), "");
    assert_eq!(modern.query("SELECT count() FROM system.tables WHERE name LIKE 'chsnap%'"), "0");
}

/// An inner table that was being filled under a name that only the server knew is filled on, and what it got meanwhile stays.
#[test]
fn an_inner_table_that_its_view_made_is_filled_on_after_an_interruption() {
    let modern = Engine::start(Kind::V26);
    modern.query("CREATE DATABASE lab");
    modern.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    modern.query(
        "CREATE MATERIALIZED VIEW lab.mv ENGINE = MergeTree PARTITION BY k % 4 ORDER BY k AS SELECT k FROM lab.t",
    );
    modern.query("INSERT INTO lab.t SELECT number FROM numbers(40)");
    let plain = with_replicated_database(&modern);
    let chsnap = repository(&modern).url(plain.url());
    chsnap.json(0, &["create"]);
    for failing in ["REPLACE PARTITION ID '0'", "REPLACE PARTITION ID '2'"] {
        modern.query("DROP TABLE lab.mv SYNC");
        let failing = with_replicated_database_that(&modern, move |sql| sql.contains(failing));
        let cut = chsnap.clone().url(failing.url()).run(&["restore", "latest", "--yes"]);
        assert_eq!(cut.code, 3, "{}{}", cut.stdout, cut.stderr);
        assert_ne!(modern.query("SELECT count() FROM lab.mv"), "40", "not all partitions have come");
        let again = chsnap.json(0, &["restore", "latest", "--yes"]);
        assert_eq!(modern.query("SELECT count(), uniqExact(k) FROM lab.mv"), "40\t40", "{again:#}");
        assert_eq!(chsnap.json(0, &["restore", "latest", "--yes"])["state"], "nothing_to_do");
        assert_eq!(modern.query("SELECT name FROM system.databases WHERE name LIKE 'chsnap%'"), "");
    }
    // The view feeds it again.
    modern.query("INSERT INTO lab.t SELECT 100");
    assert_eq!(modern.query("SELECT count(), max(k) FROM lab.mv"), "41\t100");
}

/// What was interrupted is filled on by the next restore, although the note knows no UUID that the database gave.
#[test]
fn a_fill_of_a_table_of_a_replicated_database_goes_on_after_an_interruption() {
    let modern = Engine::start(Kind::V26);
    modern.query("CREATE DATABASE lab");
    modern.query(&format!("CREATE TABLE lab.t {COLUMNS} ENGINE = MergeTree PARTITION BY p ORDER BY k"));
    modern.query("INSERT INTO lab.t SELECT number % 3, number, toString(number) FROM numbers(300)");
    let plain = with_replicated_database(&modern);
    let chsnap = repository(&modern).url(plain.url());
    chsnap.json(0, &["create"]);
    modern.query("DROP TABLE lab.t SYNC");
    let failing = with_replicated_database_that(&modern, |sql| sql.contains("REPLACE PARTITION ID '1'"));
    let cut = chsnap.clone().url(failing.url()).run(&["restore", "latest", "--yes"]);
    assert_eq!(cut.code, 1, "{}{}", cut.stdout, cut.stderr);
    assert_eq!(modern.query("SELECT count() FROM lab.t"), "100", "one partition has come");
    let shown = chsnap.expect(0, &["restore", "latest", "--dry-run"]).stdout;
    assert!(shown.contains("it was being filled") && shown.contains("add partitions"), "{shown}");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(modern.query("SELECT count(), uniqExact(k) FROM lab.t"), "300\t300");
    assert_eq!(chsnap.json(0, &["restore", "latest", "--yes"])["state"], "nothing_to_do");
    assert_eq!(modern.query("SELECT name FROM system.databases WHERE name LIKE 'chsnap%'"), "");
}

#[test]
fn a_table_of_a_replicated_database_is_taken_and_comes_back_into_it() {
    let cluster = Cluster::start();
    let modern = cluster.start_v26("m1");
    modern.query("CREATE DATABASE lab");
    modern.query(&format!("CREATE TABLE lab.t {COLUMNS} ENGINE = MergeTree PARTITION BY p ORDER BY k"));
    modern.query("INSERT INTO lab.t SELECT number % 3, number, toString(number) FROM numbers(300)");
    modern.query("DETACH TABLE lab.t");
    modern.query("ATTACH TABLE lab.t AS REPLICATED");
    let digest = "SELECT count(), sum(cityHash64(p, k, v)) FROM lab.t";
    let before = modern.query(digest);
    let front = with_replicated_database(&modern);
    let chsnap = repository(&modern).url(front.url());
    let created = chsnap.run(&["--json", "create"]);
    assert!(created.code == 0 || created.code == 3, "{created:?}");
    let created: Value = serde_json::from_str(&created.stdout).expect("a document");
    assert_eq!((&created["tables"], &created["parts"]), (&1.into(), &3.into()), "{created}");
    modern.query("DROP TABLE lab.t SYNC");
    let plan = chsnap.json(0, &["restore", "latest", "--dry-run", "--table", "lab.t"]);
    assert_eq!(
        (&only(&plan)["action"], &only(&plan)["replica"]["found"]),
        (&"fill_replica".into(), &"database".into())
    );
    let restored = chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.t"]);
    assert_eq!((&only(&restored)["state"], &only(&restored)["rows"]), (&"restored".into(), &300.into()), "{restored}");
    assert_eq!(modern.query(digest), before);
    let seen = front.seen();
    let made = seen.iter().find(|sql| sql.contains("CREATE TABLE `lab`.`t`")).expect("it was made");
    assert!(
        !made.contains("UUID") && made.contains("ReplicatedMergeTree") && !made.contains("ReplicatedMergeTree('"),
        "{made}"
    );
    // The temporary table had a database of its own, and nothing of it is left.
    assert!(seen.iter().any(|sql| sql.contains("ATTACH TABLE `chsnap_restore_")), "{seen:#?}");
    assert!(!seen.iter().any(|sql| sql.contains("ATTACH TABLE `lab`.")), "{seen:#?}");
    assert_eq!(modern.query("SELECT name FROM system.databases WHERE name LIKE 'chsnap%'"), "");
    assert!(!cluster.nodes("/").keys().any(|node| node.contains("chsnap")));
}

#[test]
fn an_interrupted_restore_into_a_replicated_database_leaves_no_database_of_its_own() {
    let cluster = Cluster::start();
    let modern = cluster.start_v26("m1");
    replicated_table(&modern);
    let front = with_replicated_database(&modern);
    let chsnap = repository(&modern).url(front.url());
    modern.query("CREATE TABLE lab.u (k UInt64) ENGINE = MergeTree ORDER BY k");
    modern.query("INSERT INTO lab.u SELECT number FROM numbers(10)");
    modern.query("DETACH TABLE lab.u");
    modern.query("ATTACH TABLE lab.u AS REPLICATED");
    chsnap.run(&["create"]);
    modern.query("DROP TABLE lab.u SYNC");
    // As a kill leaves it: the note, and the database that the note's name is of.
    let name = "chsnap_restore_20261122020000_0000abcd";
    modern.query(&format!("CREATE DATABASE {name}"));
    std::fs::create_dir(modern.data_path().join(name)).expect("made");
    let restored = chsnap.json(0, &["restore", "latest", "--yes", "--table", "lab.u"]);
    assert_eq!(only(&restored)["state"], "restored", "{restored}");
    assert_eq!(modern.query("SELECT name FROM system.databases WHERE name LIKE 'chsnap%'"), "");
    assert!(!modern.data_path().join(name).exists());
}
