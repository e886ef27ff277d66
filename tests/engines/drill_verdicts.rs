//! The verdicts of `drill` (proven, failed, not tried), and the digests of `create --digest`.

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::drilled::{change_file, flip_byte, is_data, nothing_is_left};
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::support::{load, path_of, repository};

/// What a drill says of one table of `lab`.
fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().expect("a list");
    tables.iter().find(|table| table["from"]["table"] == name).unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

/// The recorded digest of the only part of a table.
fn digest(chsnap: &Chsnap, created: &Value, table: &str) -> Value {
    let listing = std::fs::read(path_of(chsnap, created).join("parts.jsonl.zst")).expect("it reads");
    let lines = String::from_utf8(zstd::decode_all(listing.as_slice()).expect("it expands")).expect("text");
    let parts: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of_table: Vec<&Value> = parts.iter().filter(|part| part["table"] == table).collect();
    assert_eq!(of_table.len(), 1, "{table}");
    of_table[0]["digest"].clone()
}

#[apply(both_engines)]
fn sums_are_of_columns_whatever_their_names_are(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.words (`rows` UInt64, `sum` UInt64, `part` String, `chsnap_sum` UInt8) \
         ENGINE = MergeTree ORDER BY tuple()",
    );
    engine.query("INSERT INTO lab.words SELECT number, number, 'a', 1 FROM numbers(10)");
    for (name, value) in [("one", "a"), ("two", "b")] {
        engine.query(&format!("CREATE TABLE lab.{name} (`part` String) ENGINE = MergeTree ORDER BY tuple()"));
        engine.query(&format!("INSERT INTO lab.{name} VALUES ('{value}')"));
    }
    for (name, more) in [("plus1", 1), ("plus2", 2)] {
        engine.query(&format!(
            "CREATE TABLE lab.{name} (k UInt64, m UInt64 MATERIALIZED k + {more}, a UInt64 ALIAS k + {more}) \
             ENGINE = MergeTree ORDER BY k"
        ));
        engine.query(&format!("INSERT INTO lab.{name} (k) VALUES (7)"));
    }
    engine.query("CREATE TABLE lab.hidden (k UInt64, `_part` String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.hidden VALUES (1, 'all_9_9_0')");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create", "--digest"]);
    assert!(digest(&chsnap, &created, "words")["sum"].is_string());
    for (one, other) in [("one", "two"), ("plus1", "plus2")] {
        let [one, other] = [one, other].map(|table| digest(&chsnap, &created, table));
        assert_eq!(one["of"], other["of"]);
        assert_ne!(one["sum"], other["sum"]);
    }
    assert_eq!(digest(&chsnap, &created, "hidden"), Value::Null);
    let report = chsnap.json(0, &["drill"]);
    assert_eq!(report["state"], "proven", "{report:#}");
    for name in ["words", "one", "two", "plus1", "plus2"] {
        let digests = &table(&report, name)["digests"];
        assert_eq!((&digests["equal"], &digests["unknown"]), (&1.into(), &0.into()), "{name}: {report:#}");
        assert_eq!(table(&report, name)["digests_note"], Value::Null);
    }
    let hidden = table(&report, "hidden");
    assert_eq!((&hidden["digests"]["unknown"], &hidden["counted_rows"]), (&1.into(), &1.into()), "{hidden:#}");
    assert_eq!(hidden["digests_note"], "1 part without a sum: a column is named _part");
    let one = chsnap.json(0, &["create", "--freeze", "all", "--table", "lab.words"]);
    let report = chsnap.json(0, &["drill", one["id"].as_str().expect("an id")]);
    let note = &table(&report, "words")["digests_note"];
    assert_eq!(*note, "1 part without a sum: the snapshot was made without --digest");
}

#[apply(both_engines)]
fn a_query_that_fails_is_not_damage(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    for name in ["good", "bad"] {
        engine.query(&format!("CREATE TABLE lab.{name} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{name} SELECT number + 1 FROM numbers(10)"));
    }
    engine.query("ALTER TABLE lab.bad ADD COLUMN c UInt8 DEFAULT throwIf(k > 0)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let report = chsnap.json(3, &["drill"]);
    assert_eq!((&report["state"], &report["totals"]["not_tried"]), (&"proven".into(), &1.into()), "{report:#}");
    assert_eq!(table(&report, "good")["verdict"], "proven");
    let bad = table(&report, "bad");
    assert_eq!((&bad["verdict"], &bad["reason_kind"]), (&"not_tried".into(), &"query".into()), "{bad:#}");
    assert!(bad["reason"].as_str().expect("text").contains("throwIf"), "{bad:#}");
    let shown = chsnap.json(0, &["show"]);
    assert_eq!((&shown["drilled"]["tables"], &shown["drilled"]["of_tables"]), (&1.into(), &2.into()));
    // Where nothing was tried, the journal says nothing.
    chsnap.json(0, &["create"]);
    let report = chsnap.json(3, &["drill", "--table", "lab.bad"]);
    assert_eq!(report["state"], "not_tried");
    assert_eq!(chsnap.json(0, &["show"])["drilled"], Value::Null);
    nothing_is_left(&engine);
}

#[apply(both_engines)]
fn tables_that_failed_are_counted(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    for table in ["plain", "sums"] {
        flip_byte(&chsnap, &created, table, is_data);
    }
    let tables = ["plain", "sums", "latest", "events"].map(|table| ["--table".to_owned(), format!("lab.{table}")]);
    let mut args = vec!["drill"];
    args.extend(tables.as_flattened().iter().map(String::as_str));
    let text = chsnap.expect(12, &args).stdout;
    assert!(text.contains("is NOT proven: 2 of 4 tables"), "{text}");
}

#[apply(both_engines)]
fn a_table_that_the_server_refuses_because_of_its_data_has_failed(engine: Engine) {
    // 18.16 removes a broken part that was never merged, and loads the table.
    if engine.kind() == Kind::V18 {
        return;
    }
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.strict (k UInt64) ENGINE = MergeTree ORDER BY k \
         SETTINGS index_granularity = 8192, max_suspicious_broken_parts = 0",
    );
    engine.query("INSERT INTO lab.strict SELECT number FROM numbers(10)");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    change_file(&chsnap, &created, "strict", |path| path.ends_with("count.txt"), |bytes| bytes.fill(b'x'));
    let report = chsnap.json(12, &["drill"]);
    let strict = table(&report, "strict");
    assert_eq!((&strict["verdict"], &strict["reason_kind"]), (&"failed".into(), &"data_refused".into()), "{strict:#}");
    nothing_is_left(&engine);
}

#[apply(both_engines)]
fn a_part_that_the_server_sets_aside_is_named_with_the_servers_reason(engine: Engine) {
    // 18.16 removes a broken part that was never merged, so that no reason can be read.
    if engine.kind() == Kind::V18 {
        return;
    }
    load(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    change_file(&chsnap, &created, "plain", |path| path.ends_with("count.txt"), |bytes| bytes.fill(b'x'));
    let report = chsnap.json(12, &["drill", "--table", "lab.plain", "--table", "lab.events"]);
    let plain = table(&report, "plain");
    let kind = (&plain["verdict"], &plain["reason_kind"]);
    assert_eq!(kind, (&"failed".into(), &"missing_parts".into()), "{plain:#}");
    let reason = plain["reason"].as_str().expect("text");
    assert!(reason.contains("is missing") && reason.contains("moved it to detached/"), "{reason}");
    if engine.kind() == Kind::V26 {
        assert!(reason.contains("detached/broken-on-start_") && reason.contains("(CANNOT_PARSE"), "{reason}");
    }
    assert_eq!(table(&report, "events")["verdict"], "proven");
    nothing_is_left(&engine);
    // A restore gives the same reason.
    let run = chsnap.expect(1, &["--json", "restore", "latest", "--rename", "lab.plain=lab.again", "--yes"]);
    let restored: Value = serde_json::from_str(&run.stdout).expect("JSON");
    let again = &restored["tables"][0];
    assert_eq!((&again["state"], &again["reason_kind"]), (&"failed".into(), &"missing_parts".into()), "{again:#}");
    assert!(again["reason"].as_str().expect("text").contains("moved it to detached/"), "{again:#}");
}

#[apply(both_engines)]
fn a_column_with_the_name_of_a_function_that_is_missing_is_tried(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (twice UInt64) ENGINE = MergeTree ORDER BY twice");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    let chsnap = repository(&engine);
    if engine.kind() == Kind::V26 {
        engine.query("CREATE FUNCTION twice AS (x) -> 2 * x");
    }
    chsnap.json(0, &["create"]);
    if engine.kind() == Kind::V26 {
        engine.query("DROP FUNCTION twice");
    }
    assert_eq!(table(&chsnap.json(0, &["drill"]), "t")["verdict"], "proven");
}

#[test]
fn parts_of_an_encrypted_disk_whose_key_is_missing_fail_with_the_servers_reason() {
    let disk = |key: &str| {
        let definition = format!("<type>encrypted</type><disk>default</disk><path>coded/</path><key>{key}</key>");
        Options { disks: vec![("coded".to_owned(), definition)], ..Options::default() }
    };
    let engine = Engine::start_with(Kind::V26, &disk("0123456789abcdef"));
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k SETTINGS storage_policy = 'coded'");
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    assert_eq!(chsnap.json(0, &["drill"])["state"], "proven");
    let other = Engine::start_with(Kind::V26, &disk("fedcba9876543210"));
    let report = chsnap.url(&other.url()).json(12, &["drill"]);
    let coded = table(&report, "t");
    let reason = coded["reason"].as_str().expect("text");
    assert!(reason.contains("DATA_ENCRYPTION_ERROR") && reason.contains("key"), "{reason}");
    nothing_is_left(&other);
}

#[test]
fn a_table_with_patch_parts_has_no_sums_and_the_drill_reports_why() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.patched (k UInt64, v UInt64) ENGINE = MergeTree ORDER BY k \
         SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1",
    );
    engine.query("INSERT INTO lab.patched SELECT number, 0 FROM numbers(10)");
    engine.query("UPDATE lab.patched SET v = 2 WHERE 1");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create", "--digest"]);
    let report = chsnap.json(0, &["drill"]);
    let patched = table(&report, "patched");
    assert_eq!(patched["digests_note"], "1 part without a sum: the table has patch parts", "{patched:#}");
}
