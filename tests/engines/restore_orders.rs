//! Restores in other orders, of other tables: partitions of every key, names that are hard to write, names that change places.
//! Each test also has tables and parts that its restores must not touch.

use serde_json::Value;

use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::restore_losses::Bystanders;
use crate::support::{quoted, repository};

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().expect("a list");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

fn drop_table(engine: &Engine, name: &str) {
    engine.query(&format!("DROP TABLE {name}{}", if engine.kind() == Kind::V26 { " SYNC" } else { "" }));
}

/// Names with characters that have a meaning in statements, paths, options or patterns.
const NAMES: [&str; 7] =
    ["a.b.c", "back`tick", "it's \"quoted\"", "sl/ash\\back", "é ü 名", "per%2Ecent=equal", "[x]*?{y,z}"];

#[apply(both_engines)]
fn a_partition_of_every_key_comes_back_alone(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    let modern = engine.kind() == Kind::V26;
    let mut keys = vec![
        ("n", "toInt8(number % 5) - 2"),
        ("s", "concat('part ', toString(number % 3), ' / é')"),
        ("d", "toDate('2026-01-01') + number % 3"),
        ("u", "toUInt64(18446744073709551615 - number % 2)"),
    ];
    if modern {
        keys.extend([("nu", "if(number % 3 = 0, NULL, toInt32(number % 3) - 2)"), ("b", "number % 2 = 1")]);
    }
    let mut tables: Vec<(String, String)> = Vec::new();
    for (name, expression) in &keys {
        tables.push((
            (*name).to_owned(),
            format!("x {}", engine.query(&format!("SELECT toTypeName({expression}) FROM numbers(1)"))),
        ));
        let settings = if *name == "nu" { " SETTINGS allow_nullable_key = 1" } else { "" };
        let kind = &tables.last().expect("one").1;
        engine.query(&format!(
            "CREATE TABLE lab.{name} ({kind}, k UInt64) ENGINE = MergeTree PARTITION BY x ORDER BY k{settings}"
        ));
        engine.query(&format!("INSERT INTO lab.{name} SELECT {expression}, number FROM numbers(60)"));
    }
    engine.query("CREATE TABLE lab.pair (x Int8, y Int16, k UInt64) ENGINE = MergeTree PARTITION BY (x, y) ORDER BY k");
    engine
        .query("INSERT INTO lab.pair SELECT toInt8(number % 3) - 1, toInt16(number % 2) - 1, number FROM numbers(60)");
    tables.push(("pair".to_owned(), String::new()));
    engine.query("CREATE TABLE lab.whole (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.whole SELECT number FROM numbers(60)");
    tables.push(("whole".to_owned(), String::new()));
    let chsnap = repository(&engine);
    let bystanders = Bystanders::make(&engine);
    chsnap.json(3, &["create"]);
    for (name, _) in &tables {
        let digest = format!("SELECT count(), sum(cityHash64(k)) FROM lab.{name}");
        let before = engine.query(&digest);
        let ids = engine.query(&format!(
            "SELECT DISTINCT partition_id FROM system.parts WHERE active AND database = 'lab' AND table = '{name}' ORDER BY partition_id"
        ));
        for id in ids.lines() {
            engine.query(&format!("ALTER TABLE lab.{name} DROP PARTITION ID '{id}'"));
            let partition = format!("--partition={id}");
            let full = format!("lab.{name}");
            let restored = chsnap.json(0, &["restore", "latest", "--table", &full, &partition, "--yes"]);
            assert_eq!(engine.query(&digest), before, "{name} {id}: {restored:#}");
            let again = chsnap.json(0, &["restore", "latest", "--table", &full, &partition, "--yes"]);
            assert_eq!(again["state"], "nothing_to_do", "{name} {id}: {again:#}");
        }
        bystanders.check(name);
    }
    // Alone under another name: that partition and no other.
    let copied = chsnap.json(0, &["restore", "latest", "--partition=-1", "--rename", "lab.n=lab.one", "--yes"]);
    assert_eq!(engine.query("SELECT count(), min(x), max(x) FROM lab.one"), "12\t-1\t-1", "{copied:#}");
    bystanders.check("another name");
    bystanders.come_back(&engine);
}

#[apply(both_engines)]
fn names_that_are_hard_to_write_come_back_by_every_option(engine: Engine) {
    for (number, database) in NAMES.iter().enumerate() {
        if engine.kind() == Kind::V18 && database.contains('\\') {
            continue;
        }
        engine.query(&format!("CREATE DATABASE {}", quoted(database)));
        for (place, name) in NAMES.iter().enumerate() {
            if (number + place) % 3 != 0 || engine.kind() == Kind::V18 && name.contains('\\') {
                continue;
            }
            let table = format!("{}.{}", quoted(database), quoted(name));
            engine.query(&format!(
                "CREATE TABLE {table} (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k"
            ));
            engine.query(&format!("INSERT INTO {table} SELECT number % 2, number FROM numbers(20)"));
        }
    }
    let chsnap = repository(&engine);
    let bystanders = Bystanders::make(&engine);
    let created = chsnap.json(3, &["create"]);
    let id = created["id"].as_str().expect("an id").to_owned();
    let drill = chsnap.json(0, &["drill", &id]);
    assert_eq!(drill["state"], "proven", "{drill:#}");
    bystanders.check("drill");
    for (number, database) in NAMES.iter().enumerate() {
        for (place, name) in NAMES.iter().enumerate() {
            if (number + place) % 3 != 0
                || engine.kind() == Kind::V18 && (database.contains('\\') || name.contains('\\'))
            {
                continue;
            }
            let (table, full) = (format!("{}.{}", quoted(database), quoted(name)), format!("{database}.{name}"));
            let sum = format!("SELECT count(), sum(k) FROM {table}");
            drop_table(&engine, &table);
            let restored = chsnap.json(0, &["restore", &id, "--table", &full, "--yes"]);
            assert_eq!(restored["tables"].as_array().map(Vec::len), Some(1), "{full}: {restored:#}");
            assert_eq!(engine.query(&sum), "20\t190", "{full}");
            engine.query(&format!("ALTER TABLE {table} DROP PARTITION 1"));
            chsnap.json(0, &["restore", &id, "--table", &full, "--partition", "1", "--yes"]);
            assert_eq!(engine.query(&sum), "20\t190", "{full}");
            engine.query(&format!("INSERT INTO {table} VALUES (0, 1000)"));
            chsnap.json(13, &["restore", &id, "--table", &full, "--yes"]);
            chsnap.json(0, &["restore", &id, "--table", &full, "--yes", "--replace"]);
            assert_eq!(engine.query(&sum), "20\t190", "{full}");
            bystanders.check(&full);
        }
    }
    bystanders.come_back(&engine);
}

#[apply(both_engines)]
fn tables_that_change_names_with_each_other_never_mix(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for (number, name) in ["a", "b", "c"].iter().enumerate() {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT {number} FROM numbers(10)"));
    }
    engine.query("CREATE VIEW lab.v AS SELECT k FROM lab.a UNION ALL SELECT k FROM lab.b");
    engine.query("CREATE MATERIALIZED VIEW lab.m ENGINE = MergeTree ORDER BY k AS SELECT k + 100 AS k FROM lab.a");
    let chsnap = repository(&engine);
    let bystanders = Bystanders::make(&engine);
    chsnap.json(3, &["create"]);
    let ring = ["--rename", "lab.a=lab.b", "--rename", "lab.b=lab.c", "--rename", "lab.c=lab.a"];
    let values =
        || ["a", "b", "c"].map(|name| engine.query(&format!("SELECT min(k), max(k), count() FROM lab.{name}")));
    // Where the others stand, their rows would be lost.
    let refused = chsnap.json(13, &[&["restore", "latest", "--yes"], &ring[..]].concat());
    assert_eq!(refused["state"], "refused", "{refused:#}");
    assert_eq!(values(), ["0\t0\t10", "1\t1\t10", "2\t2\t10"]);
    chsnap.json(0, &[&["restore", "latest", "--yes", "--replace"], &ring[..]].concat());
    assert_eq!(values(), ["2\t2\t10", "0\t0\t10", "1\t1\t10"]);
    bystanders.check("a ring over tables that are there");
    let again = chsnap.json(0, &[&["restore", "latest", "--yes"], &ring[..]].concat());
    assert_eq!(again["state"], "nothing_to_do", "{again:#}");
    // With nothing there, and with what names them.
    for name in ["v", "m", "a", "b", "c"] {
        drop_table(&engine, &format!("lab.{name}"));
    }
    chsnap.json(0, &[&["restore", "latest", "--yes", "--table", "lab.*"], &ring[..]].concat());
    assert_eq!(values(), ["2\t2\t10", "0\t0\t10", "1\t1\t10"]);
    assert_eq!(engine.query("SELECT arraySort(groupUniqArray(k)) FROM lab.v"), "[0,1]", "it reads the same rows");
    engine.query("INSERT INTO lab.b SELECT 7");
    assert_eq!(engine.query("SELECT k FROM lab.m"), "107", "it is fed by the table that was a");
    bystanders.check("a ring");
    // Two databases that change places.
    engine.query("CREATE DATABASE other");
    engine.query("CREATE TABLE other.a (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO other.a SELECT 55");
    chsnap.json(3, &["create"]);
    engine.query("DROP DATABASE lab");
    engine.query("DROP DATABASE other");
    let swapped = ["restore", "latest", "--yes", "--rename-db", "lab=other", "--rename-db", "other=lab"];
    let report = chsnap.json(0, &swapped);
    assert_eq!(table(&report, "a")["state"], "restored", "{report:#}");
    assert_eq!(engine.query("SELECT k FROM lab.a"), "55");
    assert_eq!(engine.query("SELECT min(k), count() FROM other.a"), "2\t10");
    bystanders.check("two databases");
    bystanders.come_back(&engine);
}
