//! `diff` of changes that real servers made, between two snapshots and since one.

use serde_json::{Value, json};

use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{await_mutations, load, repository};

/// The table of a document of differences.
fn table<'a>(document: &'a Value, name: &str) -> &'a Value {
    let tables = document["tables"].as_array().expect("tables");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {document}"))
}

fn parts(tallies: &Value) -> [u64; 6] {
    let count = |kind: &str| tallies[kind]["parts"].as_u64().unwrap_or_else(|| panic!("{kind}: {tallies}"));
    [count("added"), count("merged"), count("mutated"), count("dropped"), count("unchanged"), count("unknown")]
}

#[apply(both_engines)]
fn diff_reports_what_a_server_did_live_and_between_snapshots(engine: Engine) {
    load(&engine);
    for table in ["events", "latest", "sums", "plain"] {
        engine.query(&format!("OPTIMIZE TABLE lab.{table} FINAL"));
    }
    engine.query("SYSTEM STOP MERGES lab.plain");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    assert_eq!((&document["identical"], &document["b"]["live"]), (&json!(true), &json!(true)), "{document}");
    assert_eq!(document["before"], document["after"], "a part that is the same is as large as it was");

    // A new part, two merged into one, a mutation, a partition dropped, a column more, a table less, one more.
    engine.query("INSERT INTO lab.plain SELECT number FROM numbers(25)");
    engine.query("INSERT INTO lab.latest SELECT number + 1000, 'x' FROM numbers(5)");
    engine.query("OPTIMIZE TABLE lab.latest FINAL");
    engine.query("ALTER TABLE lab.events DROP PARTITION 202601");
    engine.query("ALTER TABLE lab.sums DELETE WHERE k = 3");
    await_mutations(&engine);
    engine.query("ALTER TABLE lab.empty ADD COLUMN note String");
    engine.query("DROP TABLE lab.seen");
    engine.query("CREATE TABLE lab.more (a UInt8) ENGINE = MergeTree ORDER BY a");
    engine.query("INSERT INTO lab.more SELECT number FROM numbers(7)");

    let live = chsnap.json(0, &["diff", &first, "live"]);
    let second = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
    // Without the server, too.
    let url = engine.url();
    let chsnap = chsnap.url("http://127.0.0.1:9");
    let between = chsnap.json(0, &["diff", &first, &second]);
    for document in [&live, &between] {
        assert_eq!(parts(table(document, "plain")), [1, 0, 0, 0, 1, 0], "{document}");
        assert_eq!(table(document, "plain")["added"]["rows"], 25);
        assert_eq!(parts(table(document, "latest"))[..4], [1, 1, 0, 0], "{document}");
        assert_eq!(parts(table(document, "sums"))[..4], [0, 0, 1, 0], "{document}");
        let events = table(document, "events");
        assert_eq!(
            (events["dropped"]["rows"].clone(), events["state"].clone()),
            (json!(3000), json!("changed")),
            "{document}"
        );
        assert_eq!(parts(events)[4], 3, "{document}");
        let definition = table(document, "empty")["definition"].as_str().expect("it changed").to_owned();
        assert!(definition.contains('+') && definition.contains("note"), "{definition}");
        assert_eq!(table(document, "seen")["state"], "dropped");
        assert_eq!(
            (&table(document, "more")["state"], &table(document, "more")["added"]["rows"]),
            (&json!("added"), &json!(7))
        );
        assert_eq!(table(document, "mv")["state"], "unchanged", "{document}");
    }
    let chsnap = chsnap.url(&url);
    assert_eq!(chsnap.json(0, &["diff", "latest", "live"])["identical"], true);
    let text = chsnap.expect(0, &["diff", &first, "live"]).stdout;
    assert!(
        text.contains("lab.more  new table") && text.contains("lab.seen  dropped table") && text.contains("+25"),
        "{text}"
    );
}

/// On 18.16 a changed type rewrites a part under its own name, and the server has no fingerprint that would tell.
#[test]
fn a_part_rewritten_under_its_own_name_is_no_unchanged_one() {
    let engine = Engine::start(Kind::V18);
    engine.query("CREATE TABLE default.t (k UInt32, v UInt32) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO default.t SELECT number, number FROM numbers(100)");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
    engine.query("ALTER TABLE default.t MODIFY COLUMN v String");
    let live = chsnap.json(0, &["diff", &first, "live"]);
    assert_eq!(parts(table(&live, "t")), [0, 0, 1, 0, 0, 0], "{live}");
    let second = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
    let between = chsnap.json(0, &["diff", &first, &second]);
    assert_eq!(parts(table(&between, "t"))[2], 1, "{between}");
}

/// A repository elsewhere has other inodes: then the files themselves say what they hold.
#[apply(both_engines)]
fn copied_parts_are_recognized_by_content(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let parts_of_all = created["parts"].as_u64().expect("a number");
    let data = crate::support::path_of(&chsnap, &created).join("data");
    let copied = data.with_extension("copied");
    let output = std::process::Command::new("cp").arg("-a").args([&data, &copied]).output().expect("cp runs");
    assert!(output.status.success());
    std::fs::remove_dir_all(&data).expect("removed");
    std::fs::rename(&copied, &data).expect("renamed");
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    assert_eq!(
        (&document["identical"], document["unchanged"]["parts"].as_u64()),
        (&json!(true), Some(parts_of_all)),
        "{document}"
    );
}

/// The states of all tables of a document, as `database.table state`.
fn states(document: &Value) -> Vec<String> {
    let tables = document["tables"].as_array().expect("tables").iter();
    let text = |table: &Value, key: &str| table[key].as_str().expect("text").to_owned();
    tables.map(|one| format!("{}.{} {}", text(one, "database"), text(one, "table"), text(one, "state"))).collect()
}

/// A table whose definition holds a password, in each engine's own way.
const WITH_PASSWORD: [&str; 2] = [
    "CREATE TABLE default.remote (a UInt8) ENGINE = MySQL('127.0.0.1:9', 'd', 't', 'someone', 'hunter2')",
    "CREATE TABLE default.page (a UInt8) ENGINE = URL('http://someone:hunter2@127.0.0.1:9/x', CSV)",
];

#[apply(both_engines)]
fn no_secret_of_a_definition_is_shown(engine: Engine) {
    let chsnap = repository(&engine);
    engine.query("CREATE TABLE default.t (a UInt8) ENGINE = MergeTree ORDER BY a");
    let empty = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
    let mut made = Vec::new();
    for sql in WITH_PASSWORD {
        match engine.try_query(sql) {
            Ok(_) => made.push(sql),
            Err(error) => assert!(error.contains("Unknown table engine"), "{error}"),
        }
    }
    assert!(made.iter().any(|sql| sql.contains("URL(")), "{made:?}");
    let full = chsnap.json(0, &["create"])["id"].as_str().expect("an id").to_owned();
    let name = |sql: &str| sql.split(' ').nth(2).expect("a name").to_owned();
    for sql in &made {
        engine.query(&format!("DROP TABLE {}", name(sql)));
        engine.query(&sql.replace("UInt8", "UInt16"));
    }
    // The wrong order is a warning.
    for (code, from, to) in [(0, &*empty, &*full), (3, &*full, &*empty), (0, &*full, "live"), (0, &*empty, "live")] {
        let document = chsnap.json(code, &["diff", from, to]);
        for sql in &made {
            let name = name(sql);
            let found = table(&document, name.split_once('.').expect("a name").1);
            let definition = found["definition"].as_str().unwrap_or_else(|| panic!("{found}"));
            assert!(definition.contains("[HIDDEN]") && definition.contains("UInt"), "{definition}");
        }
        let text = chsnap.expect(code, &["diff", from, to]).stdout;
        assert!(text.contains("[HIDDEN]"), "{text}");
        assert!(!document.to_string().contains("hunter2") && !text.contains("hunter2"), "{text}");
    }
    // Another password is a difference.
    for sql in &made {
        engine.query(&format!("DROP TABLE {}", name(sql)));
        engine.query(&sql.replace("hunter2", "hunter3"));
    }
    let document = chsnap.json(0, &["diff", &full, "live"]);
    assert!(!document.to_string().contains("hunter"), "{document}");
    let found = table(&document, "page");
    assert!(["changed", "recreated"].contains(&found["state"].as_str().expect("a state")), "{found}");
    assert!(found["notes"].to_string().contains("only in secrets"), "{found}");
}

/// Where the disks are not visible, definitions are as the server prints them: on one line, and without secrets.
#[apply(both_engines)]
fn printed_definitions_are_compared_with_files(engine: Engine) {
    load(&engine);
    engine.query(WITH_PASSWORD[1]);
    let chsnap = repository(&engine);
    chsnap.expect(0, &["create"]);
    let nowhere = engine.root().join("nowhere");
    let map = format!("{}={}", engine.data_path().display(), nowhere.display());
    let blind = ["--path-map", &map, "diff", "latest", "live"];
    let document = chsnap.json(3, &blind);
    for found in document["tables"].as_array().expect("tables") {
        assert_eq!((&found["definition"], &found["notes"]), (&Value::Null, &serde_json::json!([])), "{found}");
    }
    engine.query("ALTER TABLE lab.empty ADD COLUMN note String");
    let document = chsnap.json(3, &blind);
    let definition = table(&document, "empty")["definition"].as_str().expect("it changed");
    assert!(definition.contains("+    ") && definition.contains("note"), "{definition}");
}

#[apply(both_engines)]
fn a_restored_database_is_as_it_was(engine: Engine) {
    load(&engine);
    for table in ["events", "latest", "sums", "plain"] {
        engine.query(&format!("OPTIMIZE TABLE lab.{table} FINAL"));
    }
    let chsnap = repository(&engine);
    chsnap.expect(0, &["create"]);
    let uuid = || match engine.kind() {
        Kind::V18 => String::new(),
        Kind::V26 => engine.query("SELECT uuid FROM system.tables WHERE database = 'lab' AND name = 'plain'"),
    };
    let before = uuid();
    for table in ["mv", "seen", "events", "latest", "sums", "empty", "plain"] {
        engine.query(&format!("DROP TABLE lab.{table}"));
    }
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    assert!(states(&document).iter().all(|state| state.ends_with(" dropped")), "{:?}", states(&document));
    chsnap.expect(0, &["restore", "latest", "--yes"]);
    assert!(engine.kind() == Kind::V18 || uuid() != before, "the dropped table keeps its UUID");
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    assert!(states(&document).iter().all(|state| state.ends_with(" unchanged")), "{:?}", states(&document));
    assert_eq!((&document["identical"], &document["before"]), (&json!(true), &document["unchanged"]), "{document}");
    assert!(chsnap.expect(0, &["diff", "latest", "live"]).stdout.contains("nothing changed"));
    // Between snapshots, too; and a table that was made again with other rows is another one.
    chsnap.expect(0, &["create"]);
    assert_eq!(chsnap.json(0, &["diff", "latest~1", "latest"])["identical"], true);
    engine.query("DROP TABLE lab.plain");
    engine.query("CREATE TABLE lab.plain (x UInt64) ENGINE = MergeTree ORDER BY tuple()");
    engine.query("INSERT INTO lab.plain SELECT number + 7 FROM numbers(10)");
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    let expected = if engine.kind() == Kind::V18 { "changed" } else { "recreated" };
    assert_eq!(table(&document, "plain")["state"], expected, "{document}");
}

#[apply(both_engines)]
fn a_table_detached_on_both_sides_has_not_changed(engine: Engine) {
    engine.query("CREATE DATABASE a");
    engine.query("CREATE TABLE a.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO a.t SELECT number FROM numbers(100)");
    engine.query("CREATE VIEW a.v AS SELECT k FROM a.t");
    engine.query("CREATE TABLE a.n (k UInt64) ENGINE = Null");
    let chsnap = repository(&engine);
    for table in ["t", "v", "n"] {
        engine.query(&format!("DETACH TABLE a.{table}"));
    }
    chsnap.expect(3, &["create"]);
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    assert_eq!((&document["identical"], states(&document).len()), (&json!(true), 3), "{document:#}");
    // Another one by now.
    engine.query("ATTACH TABLE a.t");
    engine.query("ATTACH TABLE a.v");
    engine.query("DETACH TABLE a.t");
    engine.query("DROP TABLE a.v");
    engine.query("CREATE VIEW a.v AS SELECT 7 AS k");
    engine.query("DETACH TABLE a.v");
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    assert_eq!(document["identical"], false, "{document:#}");
}

#[apply(both_engines)]
fn detached_tables_are_not_called_dropped(engine: Engine) {
    for database in ["a", "b", "c"] {
        engine.query(&format!("CREATE DATABASE {database}"));
    }
    for table in ["a.kept", "a.set_aside", "a.for_good", "a.gone", "a.`an odd.name`", "b.inside", "c.gone"] {
        engine.query(&format!("CREATE TABLE {table} (k UInt64) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO {table} SELECT number FROM numbers(100)"));
    }
    let chsnap = repository(&engine);
    chsnap.expect(0, &["create"]);
    let permanently = if engine.kind() == Kind::V26 { " PERMANENTLY" } else { "" };
    engine.query("DETACH TABLE a.set_aside");
    engine.query(&format!("DETACH TABLE a.for_good{permanently}"));
    engine.query("DETACH TABLE a.`an odd.name`");
    engine.query("DROP TABLE a.gone");
    engine.query("DETACH DATABASE b");
    engine.query("DROP DATABASE c");
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    assert_eq!(
        states(&document),
        [
            "a.an odd.name detached",
            "a.for_good detached",
            "a.gone dropped",
            "a.kept unchanged",
            "a.set_aside detached",
            "b.inside detached",
            "c.gone dropped",
        ]
    );
    assert_eq!((&document["identical"], &document["dropped"]["rows"]), (&json!(false), &json!(200)), "{document}");
    assert_eq!(table(&document, "set_aside")["definition"], Value::Null);
    let text = chsnap.expect(0, &["diff", "latest", "live"]).stdout;
    assert!(text.contains("a.set_aside  detached table") && text.contains("a.gone  dropped table"), "{text}");
    // Without the disks only the server's own list can say it.
    let map = format!("{}={}", engine.data_path().display(), engine.root().join("nowhere").display());
    let document = chsnap.json(3, &["--path-map", &map, "diff", "latest", "live"]);
    let expected = if engine.kind() == Kind::V18 { "dropped" } else { "detached" };
    assert_eq!(table(&document, "set_aside")["state"], expected, "{document}");
    assert_eq!(table(&document, "inside")["state"], "dropped", "{document}");
    // A table that was renamed is renamed, whatever is detached under its old name.
    if engine.kind() == Kind::V26 {
        engine.query("RENAME TABLE a.kept TO a.moved");
        engine.query("CREATE TABLE a.kept (k UInt64) ENGINE = MergeTree ORDER BY k");
        engine.query("DETACH TABLE a.kept");
        let document = chsnap.json(0, &["diff", "latest", "live"]);
        assert_eq!(table(&document, "moved")["state"], "renamed", "{document}");
        assert!(!states(&document).iter().any(|state| state.starts_with("a.kept ")), "{:?}", states(&document));
        engine.query("ATTACH TABLE a.kept");
        engine.query("DROP TABLE a.kept SYNC");
        engine.query("RENAME TABLE a.moved TO a.kept");
    }
    // They come back as they were.
    for table in ["a.set_aside", "a.for_good", "a.`an odd.name`"] {
        engine.query(&format!("ATTACH TABLE {table}"));
    }
    let attach = if engine.kind() == Kind::V26 { "" } else { " ENGINE = Ordinary" };
    engine.query(&format!("ATTACH DATABASE b{attach}"));
    let document = chsnap.json(0, &["diff", "latest", "live"]);
    let same = states(&document).iter().filter(|state| state.ends_with(" unchanged")).count();
    assert_eq!(same, 5, "{:?}", states(&document));
}
