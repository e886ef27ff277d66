//! After a restore: a second restore, `diff` and `create` find what they expect.

use std::fs;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{path_of, repository};

/// Restores again, without a selection: all is there.
fn finds_nothing_to_do(chsnap: &Chsnap) {
    let run = chsnap.run(&["--json", "restore", "latest", "--yes"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!((run.code, &report["state"]), (0, &"nothing_to_do".into()), "{report:#}\n{}", run.stderr);
}

fn dictionary_of_the_old_kind_is_known(engine: &Engine) -> bool {
    engine.kind() == Kind::V26
}

#[apply(both_engines)]
fn a_database_that_shows_dictionaries_is_made_and_nothing_in_it(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.src (k UInt64, v String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.src SELECT number, toString(number) FROM numbers(20)");
    if dictionary_of_the_old_kind_is_known(&engine) {
        engine.query(
            "CREATE DICTIONARY lab.names (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE(DB 'lab' TABLE 'src')) \
             LIFETIME(0) LAYOUT(FLAT())",
        );
    }
    engine.query("CREATE DATABASE shown ENGINE = Dictionary");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    finds_nothing_to_do(&chsnap);
    chsnap.json(0, &["drill"]);
    engine.query("DROP DATABASE shown");
    engine.query("DROP DATABASE lab");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query("SELECT engine FROM system.databases WHERE name = 'shown'"), "Dictionary");
    finds_nothing_to_do(&chsnap);
    if dictionary_of_the_old_kind_is_known(&engine) {
        assert_eq!(engine.query("SELECT count() FROM system.tables WHERE database = 'shown'"), "1");
        assert_eq!(engine.query("SELECT dictGet('lab.names', 'v', toUInt64(7))"), "7");
    }
}

#[test]
fn a_table_of_the_engine_dictionary_comes_back_with_what_reads_it() {
    if !Kind::V26.is_installed() {
        eprintln!("SKIPPED: this needs ClickHouse 26.9");
        return;
    }
    let engine = Engine::start(Kind::V26);
    for statement in [
        "CREATE DATABASE dd",
        "CREATE TABLE dd.s (k UInt64, v String) ENGINE = MergeTree ORDER BY k",
        "CREATE TABLE dd.t2 (k UInt64) ENGINE = MergeTree ORDER BY k",
        "CREATE DICTIONARY dd.d (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE(DB 'dd' TABLE 's')) LAYOUT(FLAT()) LIFETIME(0)",
        "CREATE TABLE dd.dt (k UInt64) ENGINE = Dictionary(dd.d)",
        "CREATE MATERIALIZED VIEW dd.mv TO dd.t2 AS SELECT k FROM dd.s WHERE k IN (SELECT k FROM dd.dt)",
        "INSERT INTO dd.s SELECT number, toString(number) FROM numbers(5)",
    ] {
        engine.query(statement);
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DROP DATABASE dd SYNC");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    finds_nothing_to_do(&chsnap);
    engine.query("INSERT INTO dd.s SELECT number, toString(number) FROM numbers(5)");
    assert_eq!(engine.query("SELECT count() FROM dd.dt"), "5");
}

#[test]
fn a_time_series_table_is_the_same_after_a_restore() {
    if !Kind::V26.is_installed() {
        eprintln!("SKIPPED: this needs ClickHouse 26.9");
        return;
    }
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    let allowed: [(&str, &str); 1] = [("allow_experimental_time_series_table", "1")];
    engine.query_with("CREATE TABLE lab.ts ENGINE = TimeSeries", &allowed).expect("made");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    finds_nothing_to_do(&chsnap);
    engine.query("DROP TABLE lab.ts SYNC");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    finds_nothing_to_do(&chsnap);
}

#[test]
fn a_time_series_table_that_is_named_comes_back_with_its_inner_tables() {
    if !Kind::V26.is_installed() {
        eprintln!("SKIPPED: this needs ClickHouse 26.9");
        return;
    }
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    let allowed: [(&str, &str); 1] = [("allow_experimental_time_series_table", "1")];
    engine.query_with("CREATE TABLE lab.ts ENGINE = TimeSeries", &allowed).expect("made");
    engine.query("CREATE TABLE lab.other (x UInt8) ENGINE = MergeTree ORDER BY x");
    let inner = "SELECT name FROM system.tables WHERE database = 'lab' AND name LIKE '.inner%' ORDER BY name";
    let names = engine.query(inner);
    let samples = names.lines().find(|name| name.contains(".samples.")).unwrap_or_else(|| panic!("{names}"));
    let rows = format!("SELECT count(), sum(value) FROM lab.`{samples}`");
    let row = "(id, timestamp, value) SELECT (number, generateUUIDv4()), now64(3), number FROM numbers(100)";
    engine.query(&format!("INSERT INTO lab.`{samples}` {row}"));
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    for named in ["lab.ts", &format!("lab.{samples}")] {
        engine.query("DROP TABLE lab.ts SYNC");
        let restored = chsnap.json(0, &["restore", "latest", "--table", named, "--yes"]);
        assert_eq!(
            restored["tables"].as_array().expect("tables").len(),
            names.lines().count() + 1,
            "{named}: {restored:#}"
        );
        assert_eq!((engine.query(inner), engine.query(&rows).trim()), (names.clone(), "100\t4950"), "{named}");
        engine.query("SELECT * FROM timeSeriesData(lab.ts) LIMIT 1");
        finds_nothing_to_do(&chsnap);
    }
}

#[test]
fn tables_from_another_version_are_the_same_after_a_restore() {
    let kinds = Kind::ALL.into_iter().all(Kind::is_installed);
    if !kinds {
        eprintln!("SKIPPED: this needs ClickHouse 18.16 and 26.9");
        return;
    }
    let (old, new) = (Engine::start(Kind::V18), Engine::start(Kind::V26));
    old.query("CREATE DATABASE lab");
    old.query("CREATE TABLE lab.v (x UInt64, s String DEFAULT 'a') ENGINE = MergeTree PARTITION BY x % 3 ORDER BY x");
    old.query("INSERT INTO lab.v (x) SELECT number FROM numbers(10)");
    old.query("CREATE TABLE lab.buffered AS lab.v ENGINE = Buffer(lab, v, 1, 10, 100, 10, 100, 1000, 10000)");
    old.query("CREATE TABLE lab.merged AS lab.v ENGINE = Merge(lab, '^v$')");
    old.query(
        "CREATE TABLE lab.dated (d Date, k UInt64, a Array(UInt8) DEFAULT [1, 2]) ENGINE = MergeTree(d, (k, d), 8192)",
    );
    old.query("INSERT INTO lab.dated (d, k) SELECT '2026-01-20', number FROM numbers(5)");
    old.query("CREATE TABLE lab.summed (k UInt64, n Nested(id UInt8, v UInt64), c UInt64 ALIAS k + 1) ENGINE = SummingMergeTree ORDER BY k");
    old.query("CREATE VIEW lab.seen AS SELECT x, count() AS c FROM lab.v WHERE x > 2 GROUP BY x");
    old.query("CREATE MATERIALIZED VIEW lab.mv ENGINE = SummingMergeTree ORDER BY x POPULATE AS SELECT x, count() AS c FROM lab.v GROUP BY x");
    old.query("CREATE TABLE lab.nothing (x UInt8) ENGINE = Null");
    let chsnap = repository(&old);
    chsnap.json(0, &["create"]);
    finds_nothing_to_do(&chsnap);
    let there = chsnap.clone().url(&new.url());
    there.json(0, &["restore", "latest", "--yes"]);
    finds_nothing_to_do(&there);
}

#[apply(both_engines)]
fn diff_after_a_restore_is_empty_whatever_was_asked_for(engine: Engine) {
    let sync = if engine.kind() == Kind::V26 { " SYNC" } else { "" };
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (p UInt8, k UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    for p in 0..3 {
        engine.query(&format!("INSERT INTO lab.t SELECT {p}, number FROM numbers(50)"));
    }
    engine.query("CREATE TABLE lab.u (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.u SELECT number FROM numbers(50)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let is_empty = |case: &str| {
        let diff = chsnap.json(0, &["diff", "latest", "live"]);
        assert_eq!(diff["identical"], true, "{case}: {diff:#}");
    };
    is_empty("as it was taken");
    engine.query("ALTER TABLE lab.t DROP PARTITION 1");
    chsnap.json(0, &["restore", "latest", "--table", "lab.t", "--partition", "1", "--yes"]);
    is_empty("--partition");
    engine.query("TRUNCATE TABLE lab.t");
    chsnap.json(0, &["restore", "latest", "--table", "lab.t", "--data-only", "--yes"]);
    is_empty("--data-only");
    engine.query(&format!("DROP TABLE lab.t{sync}"));
    chsnap.json(0, &["restore", "latest", "--yes"]);
    is_empty("a table made again");
    engine.query("INSERT INTO lab.u VALUES (1)");
    chsnap.json(0, &["restore", "latest", "--table", "lab.u", "--replace", "--yes"]);
    is_empty("--replace");
    // One INSERT is one part that was added, whatever UUID the table has by now.
    engine.query("INSERT INTO lab.t SELECT 1, 7");
    let diff = chsnap.json(0, &["diff", "latest", "live"]);
    let tables = diff["tables"].as_array().expect("a list");
    let changed: Vec<&Value> = tables.iter().filter(|table| table["state"] != "unchanged").collect();
    assert_eq!(changed.len(), 1, "{diff:#}");
    assert_eq!((&diff["added"]["parts"], &diff["dropped"]["parts"]), (&1.into(), &0.into()), "{diff:#}");
    engine.query("ALTER TABLE lab.t DROP PARTITION 1");
    chsnap.json(0, &["restore", "latest", "--table", "lab.t", "--partition", "1", "--yes"]);
    engine.query("INSERT INTO lab.u VALUES (2)");
    chsnap.json(0, &["restore", "latest", "--table", "lab.u", "--replace", "--keep-replaced", "--yes"]);
    let diff = chsnap.json(0, &["diff", "latest", "live"]);
    let tables = diff["tables"].as_array().expect("a list");
    let names: Vec<&str> =
        tables.iter().filter(|row| row["state"] != "unchanged").filter_map(|row| row["table"].as_str()).collect();
    assert!(names.iter().all(|name| name.contains("_replaced_")) && names.len() == 1, "{diff:#}");
}

#[apply(both_engines)]
fn a_create_takes_no_temporary_table_of_a_restore(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for name in ["t", "chsnap_0123abcd_new0", "chsnap_0123abcd_old1"] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number FROM numbers(5)"));
    }
    let chsnap = repository(&engine);
    let created = chsnap.json(3, &["create"]);
    assert_eq!(created["tables"], 1, "{created:#}");
    let warned: Vec<(&str, &str)> = created["warning_list"]
        .as_array()
        .expect("warnings")
        .iter()
        .filter_map(|warning| Some((warning["kind"].as_str()?, warning["table"].as_str()?)))
        .collect();
    assert_eq!(
        warned,
        [("leftover_pending", "lab.chsnap_0123abcd_new0"), ("leftover_pending", "lab.chsnap_0123abcd_old1")]
    );
    let definitions = fs::read_dir(path_of(&chsnap, &created).join("metadata/lab")).expect("definitions");
    assert_eq!(definitions.count(), 1);
    chsnap.json(0, &["create", "--accept", "lab.chsnap_*"]);
}

#[apply(both_engines)]
fn a_table_of_a_renamed_database_is_restored_alone_where_it_is_named(engine: Engine) {
    for database in ["a", "b"] {
        engine.query(&format!("CREATE DATABASE {database}"));
        for table in ["x", "y"] {
            engine.query(&format!("CREATE TABLE {database}.{table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
            engine.query(&format!("INSERT INTO {database}.{table} SELECT number FROM numbers(5)"));
        }
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let restored = |arguments: &[&str]| -> Vec<String> {
        let report = chsnap.json(0, &[&["restore", "latest", "--yes"], arguments].concat());
        let tables = report["tables"].as_array().expect("tables");
        tables
            .iter()
            .map(|table| {
                format!("{}.{}", table["database"].as_str().expect("a name"), table["table"].as_str().expect("a name"))
            })
            .collect()
    };
    assert_eq!(restored(&["--table", "b.y", "--rename-db", "b=bq"]), ["bq.y"]);
    assert_eq!(restored(&["--rename-db", "b=br"]), ["br.x", "br.y"]);
    assert_eq!(restored(&["--table", "b.y", "--rename-db", "a=aq", "--rename-db", "b=bs"]), ["aq.x", "aq.y", "bs.y"]);
}

#[apply(both_engines)]
fn a_detached_database_is_named_with_what_brings_it_back(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(5)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DETACH DATABASE lab");
    let run = chsnap.run(&["--json", "restore", "latest", "--yes"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("a document");
    assert_eq!((run.code, &report["state"]), (1, &"failed".into()), "{report:#}");
    let reason = report["tables"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("ATTACH DATABASE"), "{reason}");
    engine.query("ATTACH DATABASE lab");
    finds_nothing_to_do(&chsnap);
}

#[apply(both_engines)]
fn a_detached_database_stays_detached(engine: Engine) {
    engine.query("CREATE DATABASE det");
    for table in ["a", "b"] {
        engine.query(&format!("CREATE TABLE det.{table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO det.{table} SELECT number FROM numbers(30)"));
    }
    engine.query("CREATE TABLE default.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query(&format!("DROP TABLE det.b{}", if engine.kind() == Kind::V26 { " SYNC" } else { "" }));
    engine.query("DETACH DATABASE det");
    let metadata = || -> Vec<String> {
        let entries = fs::read_dir(engine.data_path().join("metadata")).expect("metadata");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let before = metadata();
    for arguments in
        [&["restore", "latest", "--yes"][..], &["restore", "latest", "--yes", "--rename", "default.t=det.c"]]
    {
        let run = chsnap.run(arguments);
        assert!(!run.stdout.contains("make database det") && run.stdout.contains("ATTACH DATABASE"), "{}", run.stdout);
        assert_eq!(engine.query("SELECT count() FROM system.databases WHERE name = 'det'"), "0");
    }
    assert_eq!(metadata(), before);
    engine.query("ATTACH DATABASE det");
    assert_eq!(engine.query("SELECT count() FROM det.a"), "30");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM det.b"), "30");
}

#[apply(both_engines)]
fn a_second_restore_under_other_names_finds_nothing_to_do(engine: Engine) {
    engine.query("CREATE DATABASE s");
    engine.query("CREATE TABLE s.src (k UInt64, v String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO s.src SELECT number, toString(number) FROM numbers(30)");
    engine.query("CREATE VIEW s.seen AS SELECT k FROM s.src WHERE k > 3");
    engine.query("CREATE TABLE s.dst (k UInt64, c UInt64) ENGINE = SummingMergeTree ORDER BY k");
    engine.query("CREATE MATERIALIZED VIEW s.to TO s.dst AS SELECT k, count() AS c FROM s.src GROUP BY k");
    engine.query("CREATE MATERIALIZED VIEW s.inner ENGINE = SummingMergeTree ORDER BY k POPULATE AS SELECT k, count() AS c FROM s.src GROUP BY k");
    engine.query("CREATE TABLE s.merged AS s.src ENGINE = Merge('s', '^src$')");
    engine.query("CREATE TABLE s.buffered AS s.src ENGINE = Buffer('s', 'src', 1, 10, 100, 10, 100, 1000, 10000)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let arguments = ["--json", "restore", "latest", "--yes", "--rename-db", "s=s2"];
    let first = chsnap.run(&arguments);
    assert!([0, 3].contains(&first.code), "{}", first.stderr);
    let second = chsnap.run(&arguments);
    let report: Value = serde_json::from_str(&second.stdout).expect("a document");
    assert_eq!((second.code, &report["state"]), (0, &"nothing_to_do".into()), "{report:#}");
    // The data alone finds the inner table of a view that was made again.
    engine.query("DROP DATABASE s2");
    chsnap.run(&["restore", "latest", "--yes", "--rename-db", "s=s2", "--schema-only"]);
    let data = chsnap.run(&["--json", "restore", "latest", "--yes", "--rename-db", "s=s2", "--data-only"]);
    assert_eq!(data.code, 0, "{}", data.stdout);
    assert_eq!(engine.query("SELECT count() FROM s2.inner"), "30");
}

#[apply(both_engines)]
fn a_partition_of_a_table_with_other_columns_is_not_the_same(engine: Engine) {
    engine.query("CREATE TABLE default.rl (p UInt8, k UInt32) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("INSERT INTO default.rl SELECT 1, number FROM numbers(10)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query(&format!("DROP TABLE default.rl{}", if engine.kind() == Kind::V26 { " SYNC" } else { "" }));
    engine.query("CREATE TABLE default.rl (p UInt8, k DateTime) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("INSERT INTO default.rl SELECT 1, toDateTime(number) FROM numbers(10)");
    for arguments in [["--data-only", "--all"], ["--partition", "1"]] {
        let report = chsnap.json(3, &[&["restore", "latest", "--yes"], &arguments[..]].concat());
        assert_eq!(report["state"], "differs", "{report:#}");
    }
}

#[apply(both_engines)]
fn a_drill_fails_for_damage_that_is_known_as_for_damage_that_it_finds(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64, s String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number, toString(number) FROM numbers(1000)");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create", "--place", "copy"]);
    let part = path_of(&chsnap, &created).join("data/lab/t/all_1_1_0");
    let file = ["data.bin", "s.bin"].iter().map(|name| part.join(name)).find(|path| path.exists()).expect("a file");
    let mut bytes = fs::read(&file).expect("it reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(&file, bytes).expect("written");
    let verdict = |case: &str| {
        let drilled = chsnap.json(12, &["drill"]);
        assert_eq!(drilled["tables"][0]["verdict"], "failed", "{case}: {drilled:#}");
        let kind = drilled["tables"][0]["reason_kind"].as_str().expect("a kind").to_owned();
        assert!(!drilled["tables"][0]["reason"].as_str().expect("a reason").contains("--damaged"), "{drilled:#}");
        kind
    };
    assert_ne!(verdict("before it is known"), "damaged_parts");
    chsnap.json(12, &["verify", "latest", "--level", "data"]);
    assert_eq!(verdict("once it is known"), "damaged_parts");
}

#[test]
fn a_directory_in_the_place_of_a_table_is_named_before_anything_is_made() {
    if !Kind::V18.is_installed() {
        eprintln!("SKIPPED: this needs ClickHouse 18.16");
        return;
    }
    let engine = Engine::start(Kind::V18);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(5)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DROP TABLE lab.t");
    let place = engine.data_path().join("data/lab/t");
    fs::create_dir(&place).expect("made");
    fs::write(place.join("mine"), "mine").expect("written");
    let plan = chsnap.json(3, &["restore", "latest", "--dry-run"]);
    let reason = plan["tables"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("data/lab/t") && reason.contains("move it away"), "{reason}");
    let run = chsnap.run(&["--json", "restore", "latest", "--yes"]);
    assert_eq!(run.code, 1, "{}", run.stdout);
    assert_eq!(fs::read_to_string(place.join("mine")).expect("it reads"), "mine");
    fs::rename(&place, engine.data_path().join("aside")).expect("moved");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM lab.t"), "5");
}
