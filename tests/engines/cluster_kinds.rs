//! Kinds of replicated tables, of paths and of names on a real cluster.

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::cluster_lab::Cluster;
use crate::cluster_restore::{no_helper_is_left, nodes};
use crate::support::repository;

const COLUMNS: &str = "(d Date DEFAULT '2026-11-30', k UInt64, n UInt64, sign Int8 DEFAULT 1, s String)";

/// Names, and the engines with what follows; `@` is the path below the shard.
const TABLES: [(&str, &str, &str); 9] = [
    ("plain", "ReplicatedMergeTree(@, '{replica}')", "PARTITION BY k % 3 ORDER BY k"),
    ("replacing", "ReplicatedReplacingMergeTree(@, '{replica}')", "ORDER BY k"),
    ("replacing_by", "ReplicatedReplacingMergeTree(@, '{replica}', n)", "PARTITION BY d ORDER BY (k, s)"),
    ("summing", "ReplicatedSummingMergeTree(@, '{replica}')", "ORDER BY k"),
    ("summing_of", "ReplicatedSummingMergeTree(@, '{replica}', (n))", "ORDER BY (k, sign)"),
    ("aggregating", "ReplicatedAggregatingMergeTree(@, '{replica}')", "ORDER BY k"),
    ("collapsing", "ReplicatedCollapsingMergeTree(@, '{replica}', sign)", "ORDER BY k"),
    ("of old syntax", "ReplicatedMergeTree(@, '{replica}', d, (k, d), 8192)", ""),
    ("größer.日本 x", "ReplicatedMergeTree(@, '{replica}-\"x\"')", "ORDER BY k"),
];

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

fn make(cluster: &Cluster, database: &str) {
    cluster.r1().query(&format!("CREATE DATABASE {} ON CLUSTER c", quoted(database)));
    for (number, (table, engine, tail)) in TABLES.iter().enumerate() {
        // With quotes and letters of other scripts.
        let path = format!("'/clickhouse/tables/{{shard}}/it\\'s {number} é'");
        let (name, engine) = (format!("{}.{}", quoted(database), quoted(table)), engine.replace('@', &path));
        cluster.r1().query(&format!("CREATE TABLE {name} ON CLUSTER c {COLUMNS} ENGINE = {engine} {tail}"));
        for from in [0, 50] {
            cluster.r1().query(&format!(
                "INSERT INTO {name} (k, n, s) SELECT number, number * 7, toString(number) FROM numbers({from}, 50)"
            ));
        }
    }
    cluster.wait_until_idle();
}

/// A digest of each table on a replica.
fn digests(cluster: &Cluster, number: usize, database: &str) -> Vec<String> {
    let server = if number == 1 { cluster.r1() } else { cluster.r2() };
    let of = |table: &str| {
        let name = format!("{}.{}", quoted(database), quoted(table));
        server.query(&format!("SELECT count(), sum(cityHash64(d, k, n, sign, s)) FROM {name}"))
    };
    TABLES.iter().map(|(table, _, _)| of(table)).collect()
}

fn owned((table, state): (&str, &str)) -> (String, String) {
    (table.to_owned(), state.to_owned())
}

fn states(document: &Value) -> Vec<(String, String)> {
    let tables = document["tables"].as_array().unwrap_or_else(|| panic!("{document}"));
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    tables.iter().map(|row| (text(row, "table"), text(row, "state"))).collect()
}

#[test]
fn each_kind_is_copied_to_all_hosts_and_the_live_tables_keep_every_node() {
    let cluster = Cluster::start();
    let database = "daß ist es";
    make(&cluster, database);
    let source = format!("{}.`plain`", quoted(database));
    cluster.r1().query(&format!("CREATE VIEW {}.v ON CLUSTER c AS SELECT sum(n) AS n FROM {source}", quoted(database)));
    cluster.r1().query(&format!(
        "CREATE MATERIALIZED VIEW {0}.mv ON CLUSTER c TO {0}.`summing` AS SELECT k, n FROM {source}",
        quoted(database)
    ));
    let digest = digests(&cluster, 1, database);
    assert_eq!(digests(&cluster, 2, database), digest);
    let chsnap = repository(cluster.r1());
    chsnap.json(0, &["create"]);
    chsnap.json(0, &["drill"]);

    let before = nodes(&cluster, "/clickhouse/tables/s1");
    let rename = format!("{database}=copy");
    let copied = chsnap.run(&["--json", "restore", "latest", "--yes", "--rename-db", &rename, "--on-cluster", "c"]);
    let document: Value = serde_json::from_str(&copied.stdout).unwrap_or_else(|error| panic!("{error}: {copied:?}"));
    assert_eq!(copied.code, 0, "{document:#}");
    cluster.wait_until_idle();
    assert_eq!((digests(&cluster, 1, "copy"), digests(&cluster, 2, "copy")), (digest.clone(), digest));
    assert_eq!(
        cluster.r2().query("SELECT n FROM copy.v"),
        cluster.r2().query(&format!("SELECT n FROM {}.v", quoted(database)))
    );
    let mut after = nodes(&cluster, "/clickhouse/tables/s1");
    after.retain(|node, _| before.contains_key(node));
    assert_eq!(after, before);
    no_helper_is_left(cluster.r1());
    no_helper_is_left(cluster.r2());
}

/// One table's path is below another's: the nodes of the inner one are no table of the outer one.
#[test]
fn a_path_below_another_tables_path_is_a_table_of_its_own() {
    let cluster = Cluster::start();
    cluster.r1().query("CREATE DATABASE lab ON CLUSTER c");
    for (table, path) in [("z_outer", "p"), ("a_inner", "p/sub")] {
        cluster.r1().query(&format!(
            "CREATE TABLE lab.{table} ON CLUSTER c (k UInt64) \
             ENGINE = ReplicatedMergeTree('/clickhouse/tables/{{shard}}/{path}', '{{replica}}') ORDER BY k"
        ));
        cluster.r1().query(&format!("INSERT INTO lab.{table} SELECT number FROM numbers(10)"));
    }
    cluster.wait_until_idle();
    let chsnap = repository(cluster.r1());
    chsnap.json(0, &["create"]);
    let on_both = |chsnap: &Chsnap| {
        let run = chsnap.run(&["--json", "restore", "latest", "--yes", "--on-cluster", "c"]);
        serde_json::from_str::<Value>(&run.stdout).unwrap_or_default()
    };
    // The inner one alone.
    cluster.r1().query("DROP TABLE lab.a_inner ON CLUSTER c");
    let outer = nodes(&cluster, "/clickhouse/tables/s1/p");
    let restored = on_both(&chsnap);
    assert_eq!(restored["state"], "restored", "{restored}");
    let mut kept = nodes(&cluster, "/clickhouse/tables/s1/p");
    kept.retain(|node, _| !node.contains("/p/sub"));
    assert_eq!(kept, outer);
    // Both: no server of 18.16 makes a table at a path that has a node already, and tables come by their names.
    cluster.r1().query("DROP TABLE lab.a_inner ON CLUSTER c");
    cluster.r1().query("DROP TABLE lab.z_outer ON CLUSTER c");
    let restored = on_both(&chsnap);
    assert_eq!(states(&restored), [("a_inner", "restored"), ("z_outer", "failed")].map(owned), "{restored}");
    assert!(restored.to_string().contains("there is a node that is not a table's"), "{restored}");
    no_helper_is_left(cluster.r1());
}
