//! Difficult restores: parts without rows, rows past their TTL, views of every kind, statements that servers refuse by
//! default, databases of other engines, and statements that must not run.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::support::{path_of, repository};

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().expect("a list");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("no {name} in {report:#}"))
}

/// A second engine that gets the snapshot.
fn elsewhere(chsnap: &Chsnap, options: &Options) -> (Engine, Chsnap) {
    let engine = Engine::start_with(Kind::V26, options);
    let chsnap = Chsnap::new(chsnap.repo()).url(&engine.url());
    (engine, chsnap)
}

#[apply(both_engines)]
fn a_part_without_rows_is_no_part_that_is_missing(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.ev (d Date, k UInt64) ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY k");
    engine.query("INSERT INTO lab.ev SELECT '2026-01-01', number FROM numbers(100)");
    engine.query("INSERT INTO lab.ev SELECT '2026-02-01', number FROM numbers(100)");
    let synchronous: &[(&str, &str)] = if engine.kind() == Kind::V26 { &[("mutations_sync", "2")] } else { &[] };
    engine.query_with("ALTER TABLE lab.ev DELETE WHERE d = '2026-01-01'", synchronous).expect("deleted");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    chsnap.json(0, &["drill"]);
    engine.query("DROP TABLE lab.ev");
    let report = chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(table(&report, "ev")["state"], "restored", "{report:#}");
    for _ in 0..100 {
        if engine.query("SELECT count() FROM lab.ev") == "100" {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    assert_eq!(engine.query("SELECT count(), min(d) FROM lab.ev"), "100\t2026-02-01");
}

#[apply(both_engines)]
fn statements_about_other_objects_than_the_files_own_are_never_sent(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE DATABASE prod");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT 1");
    engine.query("CREATE TABLE prod.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create", "--table", "lab.*"]);
    let snapshot = path_of(&chsnap, &created);
    // A snapshot that somebody has put together.
    let files = [
        ("user_defined/function_evil.sql", "DROP DATABASE prod"),
        ("user_defined/function_two.sql", "CREATE FUNCTION two AS x -> x; DROP DATABASE prod"),
        ("named_collections/nc.sql", "CREATE NAMED COLLECTION nc AS secret_access_key = 'hush-hush-7' NONSENSE"),
    ];
    let path = snapshot.join("manifest.json");
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(&path).expect("it reads")).expect("JSON");
    for (file, text) in files {
        fs::create_dir_all(snapshot.join(file).parent().expect("a parent")).expect("a directory");
        fs::write(snapshot.join(file), text).expect("written");
        let entry = serde_json::json!({"path": file, "bytes": text.len(), "blake3": blake3::hash(text.as_bytes()).to_hex().to_string()});
        manifest["metadata"].as_array_mut().expect("a list").push(entry);
    }
    fs::write(&path, serde_json::to_string(&manifest).expect("JSON")).expect("written");
    engine.query("DROP TABLE lab.t");
    let plan = chsnap.run(&["--json", "restore", "latest", "--dry-run"]);
    assert_eq!(plan.code, 3, "{}{}", plan.stdout, plan.stderr);
    let objects: Value = serde_json::from_str(&plan.stdout).expect("a document");
    let refused =
        objects["objects"].as_array().expect("a list").iter().filter(|object| object["action"] == "refuse").count();
    assert!(refused >= 2, "{objects:#}");
    let run = chsnap.run(&["-vv", "restore", "latest", "--yes"]);
    assert_eq!(run.code, 3, "{}{}", run.stdout, run.stderr);
    for text in [&plan.stdout, &plan.stderr, &run.stdout, &run.stderr] {
        assert!(!text.contains("hush-hush-7") && !text.contains("DROP DATABASE prod"), "{text}");
    }
    assert!(run.stderr.contains("function evil") && run.stderr.contains("named collection nc"), "{}", run.stderr);
    assert_eq!(engine.query("SELECT count() FROM lab.t"), "1");
    assert_eq!(engine.query("EXISTS TABLE prod.t"), "1");
}

#[test]
fn rows_past_their_ttl_come_back_before_they_expire() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    let kinds = [
        ("rows", "TTL ts + INTERVAL 3 SECOND", ""),
        ("parts", "TTL ts + INTERVAL 3 SECOND", "SETTINGS ttl_only_drop_parts = 1"),
        ("grouped", "TTL ts + INTERVAL 3 SECOND GROUP BY k SET v = sum(v)", ""),
        ("some", "TTL ts + INTERVAL 3 SECOND DELETE WHERE v = 0", ""),
    ];
    for (name, ttl, settings) in kinds {
        engine.query(&format!(
            "CREATE TABLE lab.{name} (k UInt64, ts DateTime, v UInt64) ENGINE = MergeTree PARTITION BY toDate(ts) \
             ORDER BY k {ttl} {settings}"
        ));
        engine.query(&format!("SYSTEM STOP TTL MERGES lab.{name}"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number % 10, now() + 1, number % 2 FROM numbers(1000)"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number, now() + 30 * 86400, 0 FROM numbers(1000)"));
    }
    engine.query("CREATE TABLE lab.col (k UInt64, ts DateTime, v UInt64 TTL ts + INTERVAL 3 SECOND) ENGINE = MergeTree ORDER BY k");
    engine.query("SYSTEM STOP TTL MERGES lab.col");
    engine.query("INSERT INTO lab.col SELECT number, now() + 1, 7 FROM numbers(1000)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    sleep(Duration::from_secs(6));
    let proof = chsnap.json(0, &["drill"]);
    assert_eq!(proof["state"], "proven", "{proof:#}");
    for (name, ..) in kinds {
        assert_eq!(table_of(&proof, name)["rows"], 2000, "{name}");
    }
    let plan = chsnap.json(0, &["restore", "latest", "--rename-db", "lab=copy", "--dry-run"]);
    let expired = |name: &str| {
        let expired = &table(&plan, name)["expired"];
        ["parts", "rows", "partly_parts", "partly_rows"].map(|field| expired[field].as_u64().expect("a number"))
    };
    assert_eq!(expired("rows"), [1, 1000, 0, 0]);
    assert_eq!(expired("some"), [0, 0, 1, 1000], "only some of them have a condition that holds");
    let report = chsnap.json(0, &["restore", "latest", "--rename-db", "lab=copy", "--yes"]);
    for (name, ..) in kinds {
        let table = table(&report, name);
        assert_eq!((&table["state"], &table["rows"]), (&Value::from("restored"), &Value::from(2000)), "{table:#}");
        // The definition is the one that was taken, and TTL is at work again.
        let definition = engine.query(&format!("SHOW CREATE TABLE copy.{name}"));
        assert!(!definition.contains("max_bytes_to_merge") && definition.contains("TTL"), "{definition}");
    }
    for _ in 0..200 {
        if engine.query("SELECT count() FROM copy.rows") == "1000" {
            break;
        }
        sleep(Duration::from_millis(100));
    }
    assert_eq!(
        engine.query("SELECT count() FROM copy.rows"),
        "1000",
        "what is past its TTL goes, once it was compared"
    );
    // Without its TTL a table keeps all, and the answer says how it comes back.
    let report = chsnap.json(0, &["restore", "latest", "--rename", "lab.rows=lab.held", "--hold-ttl", "--yes"]);
    let statements = table(&report, "held")["ttl_statements"].as_array().expect("a list").clone();
    sleep(Duration::from_secs(2));
    assert_eq!(engine.query("SELECT count() FROM lab.held"), "2000");
    assert!(!engine.query("SHOW CREATE TABLE lab.held").contains("TTL"));
    for statement in statements {
        engine
            .query_with(statement.as_str().expect("text"), &[("materialize_ttl_after_modify", "0")])
            .expect("altered");
    }
    assert!(engine.query("SHOW CREATE TABLE lab.held").contains("TTL ts + toIntervalSecond(3)"));
}

/// What has expired since would expire again: it is said, and not brought back by each restore.
#[test]
fn a_table_that_lacks_only_what_is_past_its_ttl_stays_as_it_is() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    for (name, rest) in [("all", ""), ("some", "SELECT number, now() + 30 * 86400 FROM numbers(500)")] {
        engine.query(&format!(
            "CREATE TABLE lab.{name} (k UInt64, ts DateTime) ENGINE = MergeTree PARTITION BY toDate(ts) ORDER BY k \
             TTL ts + INTERVAL 3 SECOND"
        ));
        engine.query(&format!("SYSTEM STOP TTL MERGES lab.{name}"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number, now() + 1 FROM numbers(1000)"));
        if !rest.is_empty() {
            engine.query(&format!("INSERT INTO lab.{name} {rest}"));
        }
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    sleep(Duration::from_secs(6));
    for (name, rows) in [("all", "0"), ("some", "500")] {
        engine.query(&format!("SYSTEM START TTL MERGES lab.{name}"));
        engine.query(&format!("OPTIMIZE TABLE lab.{name} FINAL"));
        assert_eq!(engine.query(&format!("SELECT count() FROM lab.{name}")), rows, "{name}");
    }
    for _ in 0..2 {
        let report = chsnap.json(0, &["restore", "latest", "--yes"]);
        assert_eq!(report["state"], "nothing_to_do", "{report:#}");
        for (name, rows) in [("all", 0), ("some", 500)] {
            let table = table(&report, name);
            assert_eq!((&table["state"], &table["rows"]), (&Value::from("present"), &Value::from(rows)), "{table:#}");
            assert_eq!(table["expired_rows"], 1000, "{table:#}");
        }
    }
    let text = chsnap.expect(0, &["restore", "latest", "--dry-run"]).stdout;
    assert!(text.contains("lacks 1,000 rows of the snapshot, past its TTL"), "{text}");
    // What is not past it comes back as before.
    let partition =
        engine.query("SELECT DISTINCT partition_id FROM system.parts WHERE table = 'some' AND active AND rows > 0");
    engine.query(&format!("ALTER TABLE lab.some DROP PARTITION ID '{partition}'"));
    let report = chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(table(&report, "some")["state"], "replaced", "{report:#}");
    // And all of it where that is asked for.
    let report = chsnap.json(0, &["restore", "latest", "--rename", "lab.all=lab.held", "--hold-ttl", "--yes"]);
    assert_eq!(table(&report, "held")["rows"], 1000, "{report:#}");
}

fn table_of<'a>(proof: &'a Value, from: &str) -> &'a Value {
    let tables = proof["tables"].as_array().expect("a list");
    tables.iter().find(|table| table["from"]["table"] == from).unwrap_or_else(|| panic!("no {from} in {proof:#}"))
}

#[test]
fn views_that_refresh_themselves_come_back_with_what_they_had() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.src (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.src SELECT number FROM numbers(12)");
    for name in ["dst", "app"] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
    }
    engine.query("CREATE MATERIALIZED VIEW lab.to REFRESH EVERY 1 DAY TO lab.dst AS SELECT * FROM lab.src");
    engine.query("CREATE MATERIALIZED VIEW lab.adds REFRESH EVERY 1 DAY APPEND TO lab.app AS SELECT * FROM lab.src");
    engine.query("CREATE MATERIALIZED VIEW lab.inside REFRESH EVERY 1 DAY ENGINE = MergeTree ORDER BY k AS SELECT * FROM lab.src");
    for name in ["to", "adds", "inside"] {
        engine.query(&format!("SYSTEM WAIT VIEW lab.{name}"));
    }
    let count = |table: &str| engine.query(&format!("SELECT count() FROM {table}"));
    assert_eq!((count("lab.dst"), count("lab.app"), count("lab.inside")), ("12".into(), "12".into(), "12".into()));
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DROP DATABASE lab SYNC");
    let report = chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(report["totals"]["failed"], 0, "{report:#}");
    sleep(Duration::from_secs(1));
    assert_eq!((count("lab.dst"), count("lab.app"), count("lab.inside")), ("12".into(), "12".into(), "12".into()));
    engine.query("INSERT INTO lab.src SELECT number FROM numbers(3)");
    for name in ["to", "inside"] {
        engine.query(&format!("SYSTEM REFRESH VIEW lab.{name}"));
        engine.query(&format!("SYSTEM WAIT VIEW lab.{name}"));
    }
    assert_eq!((count("lab.dst"), count("lab.inside")), ("15".into(), "15".into()), "they are at work");
    // Under another name they would refresh in addition to the live ones.
    let report = chsnap.json(3, &["restore", "latest", "--rename-db", "lab=copy", "--yes"]);
    for name in ["to", "adds", "inside"] {
        assert_eq!(table(&report, name)["state"], "skipped", "{report:#}");
    }
    assert_eq!(count("copy.dst"), "12");
    chsnap.json(0, &["restore", "latest", "--rename-db", "lab=third", "--with-queues", "--yes"]);
    assert_eq!(
        engine.query("SELECT count() FROM system.tables WHERE database = 'third' AND engine = 'MaterializedView'"),
        "3"
    );
}

#[test]
fn a_table_that_is_only_named_like_an_inner_one_keeps_its_name() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.src (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE TABLE lab.dst (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE MATERIALIZED VIEW lab.mv TO lab.dst AS SELECT k FROM lab.src");
    engine.query("CREATE TABLE lab.`.inner.mv` (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.`.inner.mv` SELECT number FROM numbers(77)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("DROP DATABASE lab SYNC");
    chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM lab.`.inner.mv`"), "77");
    engine.query("INSERT INTO lab.src SELECT number FROM numbers(5)");
    assert_eq!(engine.query("SELECT count() FROM lab.dst"), "5");
}

#[test]
fn definitions_that_a_server_refuses_by_default_come_back() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    let columns: Vec<String> = (0..2500).map(|n| format!("c{n} UInt8 COMMENT '{}'", "x".repeat(120))).collect();
    let wide = format!("CREATE TABLE lab.wide (k UInt64, {}) ENGINE = MergeTree ORDER BY k", columns.join(", "));
    engine.query_with(&wide, &[("max_query_size", "10000000")]).expect("a wide table");
    engine.query("INSERT INTO lab.wide (k) VALUES (1)");
    engine.query("CREATE TABLE lab.ttl (k UInt64, d Date) ENGINE = MergeTree ORDER BY k TTL toDate('2100-01-01') SETTINGS allow_suspicious_ttl_expressions = 1");
    engine.query("INSERT INTO lab.ttl VALUES (1, '2026-01-01')");
    engine
        .query_with(
            "CREATE TABLE lab.low (k LowCardinality(UInt8)) ENGINE = Null",
            &[("allow_suspicious_low_cardinality_types", "1")],
        )
        .expect("a suspicious type");
    engine
        .query_with(
            "CREATE TABLE lab.nested (k UInt32, n Nested(a UInt8, b String)) ENGINE = Null",
            &[("flatten_nested", "0")],
        )
        .expect("nested");
    engine.query("CREATE TABLE lab.src (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine
        .query_with(
            "CREATE TABLE lab.ali ENGINE = Alias('lab', 'src')",
            &[("allow_experimental_alias_table_engine", "1")],
        )
        .expect("an alias");
    engine.query("CREATE TABLE lab.gone (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE VIEW lab.orphan AS SELECT k FROM lab.gone");
    engine.query("DROP TABLE lab.gone SYNC");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let before = engine.query(
        "SELECT name, create_table_query FROM system.tables WHERE database = 'lab' AND name != 'wide' ORDER BY name",
    );
    engine.query("DROP DATABASE lab SYNC");
    let report = chsnap.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(report["totals"]["failed"], 0, "{report:#}");
    let after = engine.query(
        "SELECT name, create_table_query FROM system.tables WHERE database = 'lab' AND name != 'wide' ORDER BY name",
    );
    assert_eq!(after, before);
    assert_eq!(engine.query("SELECT count() FROM lab.wide"), "1");
}

#[test]
fn engines_that_the_server_lists_under_other_names_come_back() {
    if !Kind::V26.is_installed() {
        eprintln!("SKIPPED: this needs ClickHouse 26.9");
        return;
    }
    let engine = Engine::start_with(Kind::V26, &Options::default());
    engine.query("CREATE DATABASE lab");
    let account = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=c2VjcmV0;BlobEndpoint=http://localhost:9/";
    let tables = [
        ("azure", "Azure", format!("AzureBlobStorage('{account}', 'c', 'b', 'CSV')")),
        ("google", "S3", "GCS('http://localhost:9/bucket/k.csv', 'a', 'b', 'CSV')".to_owned()),
        ("other", "Distributed", "Remote('localhost', 'lab', 'plain')".to_owned()),
        ("nothing", "Null", "Null".to_owned()),
    ];
    for (name, listed, definition) in &tables {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt8) ENGINE = {definition}"));
        let found =
            engine.query(&format!("SELECT engine FROM system.tables WHERE database = 'lab' AND name = '{name}'"));
        assert_eq!(found, *listed);
    }
    engine.query("CREATE TABLE lab.plain (k UInt8) ENGINE = MergeTree ORDER BY k");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--accept", "lab.*"]);
    engine.query("DROP DATABASE lab SYNC");
    let report = chsnap.json(0, &["restore", "latest", "--yes"]);
    for (name, ..) in &tables {
        assert_eq!(table(&report, name)["state"], "created", "{report:#}");
    }
    assert_eq!(chsnap.json(0, &["diff", "latest", "live"])["identical"], true);
}

#[test]
fn databases_of_other_engines_and_empty_ones_come_back() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE mem ENGINE = Memory");
    engine.query("CREATE TABLE mem.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO mem.t SELECT number FROM numbers(9)");
    engine.query("CREATE DATABASE bare");
    engine.query("CREATE DATABASE a");
    engine.query("CREATE TABLE a.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO a.t SELECT number FROM numbers(5)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let (second, to_second) = elsewhere(&chsnap, &Options::default());
    let report = to_second.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(report["totals"]["failed"], 0, "{report:#}");
    assert_eq!(
        (second.query("SELECT count() FROM mem.t"), second.query("SELECT count() FROM a.t")),
        ("9".into(), "5".into())
    );
    assert_eq!(second.query("SELECT engine FROM system.databases WHERE name = 'mem'"), "Memory");
    assert_eq!(second.query("SELECT count() FROM system.databases WHERE name = 'bare'"), "1");
}

#[test]
fn a_disk_of_a_definition_is_the_disk_that_is_asked_for() {
    let options = Options { extra_disks: 1, ..Options::default() };
    let engine = Engine::start_with(Kind::V26, &options);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k SETTINGS disk = 'disk1'");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(9)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let (second, to_second) = elsewhere(&chsnap, &options);
    to_second.json(0, &["restore", "latest", "--yes"]);
    assert_eq!(second.query("SELECT count() FROM lab.t"), "9");
    assert_eq!(second.query("SELECT DISTINCT disk_name FROM system.parts WHERE active AND table = 't'"), "disk1");
    // A server without it says so, and takes another policy if that is asked for.
    let (third, to_third) = elsewhere(&chsnap, &Options::default());
    let run = to_third.run(&["--json", "restore", "latest", "--yes"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("no local disk"), "{}", run.stdout);
    to_third.json(0, &["restore", "latest", "--storage-policy", "default", "--yes"]);
    assert_eq!(third.query("SELECT count() FROM lab.t"), "9");
}

#[test]
fn old_names_that_stay_in_a_copy_are_named() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.src (k UInt64, v String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.src SELECT number, 'x' FROM numbers(9)");
    engine.query("CREATE TABLE lab.merged (k UInt64) ENGINE = Merge('lab', '^src$')");
    engine.query("CREATE VIEW lab.function AS SELECT count() AS c FROM merge('lab', '^src$')");
    engine.query("CREATE DICTIONARY lab.words (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE(QUERY 'SELECT k, v FROM lab.src')) LAYOUT(FLAT()) LIFETIME(0)");
    engine.query("CREATE VIEW lab.far AS SELECT count() AS c FROM remote('127.0.0.1', 'lab', 'src')");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let report = chsnap.json(3, &["restore", "latest", "--rename-db", "lab=other", "--yes"]);
    assert!(table(&report, "far")["warnings"].to_string().contains("still names"), "{report:#}");
    for name in ["merged", "function", "words"] {
        assert_eq!(table(&report, name)["warnings"], serde_json::json!([]), "{report:#}");
    }
    engine.query("INSERT INTO other.src SELECT number + 100, 'y' FROM numbers(4)");
    assert_eq!(engine.query("SELECT count() FROM other.merged"), "13");
    assert_eq!(engine.query("SELECT c FROM other.function"), "13");
    assert_eq!(engine.query("SELECT dictGet('other.words', 'v', toUInt64(100))"), "y");
}

#[test]
fn hidden_secrets_are_named_and_no_object_is_made_with_them() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.src (k UInt64, v String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.src VALUES (1, 'one')");
    engine.query("CREATE DICTIONARY lab.words (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE(DB 'lab' TABLE 'src' USER 'default' PASSWORD 'hush-hush-7')) LAYOUT(FLAT()) LIFETIME(0)");
    engine.query("CREATE DATABASE mem ENGINE = Memory");
    engine.query("CREATE TABLE mem.my (k UInt64) ENGINE = MySQL('127.0.0.1:1', 'd', 't', 'u', 'hush-hush-7')");
    let chsnap = repository(&engine);
    let created = chsnap.run(&["create"]);
    assert!(matches!(created.code, 0 | 3), "{}", created.stderr);
    // The dictionary in clear compares with what the server prints of it as hidden.
    let report = chsnap.run(&["--json", "restore", "latest", "--yes"]);
    let report: Value = serde_json::from_str(&report.stdout)
        .unwrap_or_else(|error| panic!("{error}: {} {}", report.stdout, report.stderr));
    assert_eq!(table(&report, "words")["warnings"], serde_json::json!([]), "{report:#}");
    engine.query("DROP DATABASE mem");
    let plan = chsnap.run(&["restore", "latest", "--dry-run", "--table", "mem.my"]);
    assert!(plan.stdout.contains("--with-hidden-secrets"), "{}{}", plan.stdout, plan.stderr);
    // Nothing of what was asked for came back.
    let run = chsnap.expect(1, &["--json", "restore", "latest", "--table", "mem.my", "--yes"]);
    let report: Value = serde_json::from_str(&run.stdout).expect("JSON");
    assert_eq!(table(&report, "my")["state"], "skipped");
    assert_eq!(engine.query("EXISTS TABLE mem.my"), "0");
}

#[test]
fn tables_of_the_servers_own_database_cost_no_others() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE a");
    engine.query("CREATE TABLE a.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO a.t SELECT number FROM numbers(5)");
    engine.query("CREATE TABLE system.my_log (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO system.my_log SELECT number FROM numbers(3)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--table", "system.*_log", "--table", "a.*"]);
    let (second, to_second) = elsewhere(&chsnap, &Options::default());
    let run = to_second.run(&["--json", "restore", "latest", "--yes"]);
    assert!(matches!(run.code, 0 | 3), "{}{}", run.stdout, run.stderr);
    assert_eq!(second.query("SELECT count() FROM a.t"), "5");
    assert_eq!(second.query("SELECT count() FROM system.my_log"), "3");
}

#[test]
fn a_disk_that_a_definition_describes_is_made_as_it_says() {
    let base = tempfile::tempdir().expect("a folder");
    let config =
        format!("<custom_local_disks_base_directory>{}/</custom_local_disks_base_directory>", base.path().display());
    let options = Options { config, ..Options::default() };
    let engine = Engine::start_with(Kind::V26, &options);
    engine.query("CREATE DATABASE lab");
    let at = |name: &str| format!("{}/{name}/", base.path().display());
    let plain = format!("disk = disk(type = 'local', path = '{}')", at("plain"));
    let key = "0123456789abcdef";
    let coded = format!(
        "disk = disk(type = 'encrypted', path = 'coded/', key = '{key}', disk = disk(type = 'local', path = '{}'))",
        at("below")
    );
    for (name, disk) in [("plain", &plain), ("coded", &coded)] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k SETTINGS {disk}"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number FROM numbers(9)"));
        engine.query(&format!("ALTER TABLE lab.{name} ADD COLUMN v String DEFAULT 'x'"));
        engine.query(&format!("INSERT INTO lab.{name} (k) SELECT number FROM numbers(5)"));
    }
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    // Onto an empty server whose disks still hold what another server has on them.
    let (second, to_second) = elsewhere(&chsnap, &options);
    let dry = to_second.json(0, &["restore", "latest", "--dry-run"]);
    assert!(!dry.to_string().contains(key), "{dry:#}");
    assert_eq!(second.query("SELECT count() FROM system.disks"), "1");
    let report = to_second.json(0, &["restore", "latest", "--yes"]);
    for name in ["plain", "coded"] {
        assert_eq!(table(&report, name)["state"], "restored", "{report:#}");
        assert_eq!(table(&report, name)["uuid_changed"], true, "{report:#}");
        assert_eq!(second.query(&format!("SELECT count(), countIf(v = 'x') FROM lab.{name}")), "14\t14");
        let path = second.query(&format!("SELECT data_paths[1] FROM system.tables WHERE name = '{name}'"));
        assert!(path.starts_with(base.path().to_str().expect("text")), "{path}");
    }
    assert_eq!(second.query("SELECT count() FROM system.tables WHERE name LIKE 'chsnap%'"), "0");
    let left = |folder: &str| {
        let entries = fs::read_dir(base.path().join(folder)).expect("a disk");
        entries.map(|entry| entry.expect("one").file_name().into_string().expect("text")).collect::<Vec<_>>()
    };
    assert!(left("plain").iter().all(|name| !name.starts_with("chsnap")), "{:?}", left("plain"));
    // After a restart the server finds it again.
    let mut second = second;
    second.restart();
    assert_eq!(second.query("SELECT count() FROM lab.plain"), "14");
    // In place, under another name, and as a drill.
    chsnap.json(0, &["restore", "latest", "--rename", "lab.plain=lab.copy", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM lab.copy"), "14");
    chsnap.json(0, &["drill", "--table", "lab.plain"]);
    // A server that refuses the disk says so, without its key, and nothing is left of the attempt.
    let (third, to_third) = elsewhere(&chsnap, &Options::default());
    let run = to_third.run(&["-vv", "--json", "restore", "latest", "--yes"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("its disk cannot be made"), "{}", run.stdout);
    assert!(!run.stdout.contains(key) && !run.stderr.contains(key), "{}{}", run.stdout, run.stderr);
    assert_eq!(third.query("SELECT count() FROM system.tables WHERE database = 'lab'"), "0");
    let report =
        to_third.json(0, &["restore", "latest", "--table", "lab.plain", "--storage-policy", "default", "--yes"]);
    assert_eq!(table(&report, "plain")["state"], "restored", "{report:#}");
}
