//! Names with every awkward byte, and both kinds of databases.

use std::fs;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{escaped, path_of, quoted, repository, restore_by_hand, shadows};

const AWKWARD: [&str; 9] = [
    "with space",
    "dot.ted",
    "quo'te\"d",
    "back`tick",
    "sla/sh/../up",
    "back\\slash",
    "naïve-été-日本",
    "tab\tand\nline",
    "..",
];

fn every_name_is_taken_and_comes_back(engine: &Engine, database: &str, longest: usize) {
    let long = "n".repeat(longest);
    let names: Vec<&str> = AWKWARD.iter().copied().chain([long.as_str()]).collect();
    for (number, name) in names.iter().enumerate() {
        let table = format!("{}.{}", quoted(database), quoted(name).replace('\n', "\\n").replace('\t', "\\t"));
        engine.query(&format!("CREATE TABLE {table} (x UInt64) ENGINE = MergeTree ORDER BY x"));
        engine.query(&format!("INSERT INTO {table} VALUES ({number})"));
    }
    let chsnap = repository(engine);
    let created = chsnap.json(0, &["create"]);
    assert_eq!(created["tables"], names.len());
    let snapshot = path_of(&chsnap, &created);
    for name in &names {
        let table = snapshot.join("data").join(escaped(database)).join(escaped(name));
        assert_eq!(fs::read_dir(&table).unwrap_or_else(|error| panic!("{name:?}: {error}")).count(), 1, "{name:?}");
        assert!(snapshot.join("metadata").join(escaped(database)).join(format!("{}.sql", escaped(name))).is_file());
    }
    assert!(shadows(engine).is_empty());
    let restored = restore_by_hand(&chsnap, &snapshot, engine.kind());
    for (number, name) in names.iter().enumerate() {
        let table = format!("{}.{}", quoted(database), quoted(name).replace('\n', "\\n").replace('\t', "\\t"));
        assert_eq!(restored.query(&format!("SELECT sum(x) FROM {table}")), number.to_string(), "{name:?}");
    }
    let shown = chsnap.expect(0, &["show", "latest"]);
    assert!(shown.stdout.contains("dot.ted") && !shown.stdout.contains("tab\tand"), "{}", shown.stdout);
}

#[apply(both_engines)]
fn awkward_table_names_are_taken_and_come_back(engine: Engine) {
    engine.query("CREATE DATABASE `my-db. it's`");
    // New servers take what their longest file name of a definition leaves room for.
    let longest = if engine.kind() == Kind::V18 { 200 } else { 194 };
    every_name_is_taken_and_comes_back(&engine, "my-db. it's", longest);
}

#[test]
fn an_ordinary_database_of_a_new_server_is_taken_too() {
    let engine = Engine::start(Kind::V26);
    let settings = [("allow_deprecated_database_ordinary", "1")];
    engine.query_with("CREATE DATABASE `old.one` ENGINE = Ordinary", &settings).expect("a database");
    every_name_is_taken_and_comes_back(&engine, "old.one", 200);
}

#[apply(both_engines)]
fn a_name_that_is_not_utf8_is_reported_and_the_rest_is_taken(engine: Engine) {
    engine
        .query_bytes(b"CREATE TABLE default.`x\xff\xfey` (a UInt8) ENGINE = MergeTree ORDER BY a", &[])
        .expect("made");
    engine.query("CREATE TABLE default.good (a UInt8) ENGINE = MergeTree ORDER BY a");
    engine.query("INSERT INTO default.good VALUES (1)");
    let chsnap = repository(&engine);
    let created = chsnap.json(3, &["create"]);
    assert_eq!(created["tables"], 1);
    assert!(created["warnings"][0].as_str().is_some_and(|text| text.contains("not valid UTF-8")), "{created}");
}

#[apply(both_engines)]
fn globs_choose_tables_and_partitions(engine: Engine) {
    engine.query("CREATE DATABASE a");
    engine.query("CREATE DATABASE b");
    for table in ["a.one", "a.two", "b.one"] {
        engine.query(&format!(
            "CREATE TABLE {table} (d Date, x UInt8) ENGINE = MergeTree PARTITION BY toYYYYMM(d) ORDER BY x"
        ));
        engine.query(&format!("INSERT INTO {table} VALUES ('2026-01-01', 1)"));
        engine.query(&format!("INSERT INTO {table} VALUES ('2026-02-01', 1)"));
    }
    let chsnap = repository(&engine);
    let tables = |arguments: &[&str]| {
        let mut all = vec!["create"];
        all.extend(arguments);
        let created = chsnap.json(0, &all);
        let shown = chsnap.json(0, &["show", created["id"].as_str().expect("an id")]);
        let list = shown["table_list"].as_array().expect("tables").iter();
        let names: Vec<String> = list
            .map(|t| format!("{}.{}", t["database"].as_str().expect("text"), t["table"].as_str().expect("text")))
            .collect();
        (names.join(" "), shown["parts"].as_u64().expect("a number"))
    };
    assert_eq!(tables(&["--table", "a.*"]), ("a.one a.two".to_owned(), 4));
    assert_eq!(tables(&["--table", "*.one", "--exclude", "b.*"]), ("a.one".to_owned(), 2));
    assert_eq!(tables(&["--table", "a.one", "--table", "b.one"]), ("a.one b.one".to_owned(), 4));
    assert_eq!(tables(&["--partition", "202601"]), ("a.one a.two b.one".to_owned(), 3));
    assert_eq!(tables(&["--table", "a.t?o", "--partition", "202602"]), ("a.two".to_owned(), 1));
    let before = chsnap.json(0, &["list"]);
    for wrong in [["--table", "a.three"], ["--partition", "209901"]] {
        let run = chsnap.expect(1, &["create", wrong[0], wrong[1]]);
        assert!(run.stderr.contains(wrong[1]) && run.stderr.contains("hint:"), "{}", run.stderr);
    }
    chsnap.expect(2, &["create", "--table", "nodot"]);
    assert_eq!(chsnap.json(0, &["list"]), before, "nothing was made");
    assert!(shadows(&engine).is_empty());
}

/// The tables of a snapshot, database and table apart.
fn tables_of(chsnap: &Chsnap, id: &str) -> Vec<String> {
    let shown = chsnap.json(0, &["show", id]);
    let list = shown["table_list"].as_array().expect("tables").iter();
    list.map(|table| {
        format!("{}|{}", table["database"].as_str().expect("a name"), table["table"].as_str().expect("a name"))
    })
    .collect()
}

#[apply(both_engines)]
fn tables_of_databases_with_dots_are_selected_everywhere(engine: Engine) {
    let (dotted, plain) = ("`a.b`.`c`", "`a`.`b.c`");
    for database in ["`a.b`", "`a`"] {
        engine.query(&format!("CREATE DATABASE {database}"));
    }
    let tables = [dotted, plain, "`a`.`t[1]`", "`a`.`t1`"];
    for (number, table) in tables.iter().enumerate() {
        engine.query(&format!("CREATE TABLE {table} (x UInt64) ENGINE = MergeTree ORDER BY x"));
        engine.query(&format!("INSERT INTO {table} VALUES ({number})"));
    }
    let chsnap = repository(&engine);
    for (arguments, wanted) in [
        (&["--table", "a.b.c"][..], &["a|b.c", "a.b|c"][..]),
        (&["--table", "`a.b`.c"], &["a.b|c"]),
        (&["--table", r"a\.b.*"], &["a.b|c"]),
        (&["--table", r"a.b\.c"], &["a|b.c"]),
        (&["--table", "a.t[1]"], &["a|t[1]"]),
        (&["--table", "a*.*", "--exclude", "`a.b`.*", "--exclude", "a.t[1]"], &["a|b.c", "a|t1"]),
    ] {
        let created = chsnap.json(0, &[&["create"][..], arguments].concat());
        let id = created["id"].as_str().expect("an id");
        assert_eq!(tables_of(&chsnap, id), wanted, "{arguments:?}");
        chsnap.json(0, &["diff", id, "live"]);
    }
    chsnap.json(0, &["create"]);
    let checked = |pattern: &str| chsnap.json(0, &["verify", "latest", "--table", pattern])["checked"]["parts"].clone();
    assert_eq!(
        (checked("`a.b`.c"), checked("a.b.c"), checked("a.t[1]"), checked("a.t[12]")),
        (1.into(), 2.into(), 1.into(), 1.into())
    );
    let drilled = chsnap.json(0, &["drill", "latest", "--table", "`a.b`.c"]);
    assert_eq!(drilled["state"], "proven", "{drilled:#}");
    for table in tables {
        engine.query(&format!("DROP TABLE {table}"));
    }
    chsnap.json(0, &["restore", "latest", "--yes", "--table", "`a.b`.c", "--table", "a.t[1]"]);
    let back = engine
        .query("SELECT database, name FROM system.tables WHERE database IN ('a', 'a.b') ORDER BY name FORMAT TSV");
    assert_eq!(back, "a.b\tc\na\tt[1]");
}

#[apply(both_engines)]
fn rows_that_are_in_memory_only_are_named(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("CREATE TABLE lab.m (k UInt64) ENGINE = Memory");
    engine.query(
        "CREATE TABLE lab.b (k UInt64) ENGINE = Buffer('lab', 't', 1, 600, 600, 100000, 100000, 100000000, 100000000)",
    );
    engine.query("INSERT INTO lab.t SELECT number FROM numbers(10)");
    engine.query("INSERT INTO lab.m SELECT number FROM numbers(600)");
    engine.query("INSERT INTO lab.b SELECT number FROM numbers(500)");
    let chsnap = repository(&engine);
    let created = chsnap.json(3, &["create"]);
    let warnings = created["warnings"].as_array().expect("warnings");
    // A Buffer counts those of the table behind it too.
    let of_memory = "its data is in memory only (600 rows)";
    for (table, rows) in [("lab.m", of_memory), ("lab.b", "its data is in memory only")] {
        let is_said = warnings
            .iter()
            .filter_map(|warning| warning.as_str())
            .any(|text| text.contains(table) && text.contains(rows));
        assert!(is_said, "{table}: {warnings:?}");
    }
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    chsnap.json(0, &["create", "--accept", "lab.m", "--accept", "lab.b"]);
    engine.query("TRUNCATE TABLE lab.m");
    engine.query("OPTIMIZE TABLE lab.b");
    let created = chsnap.json(0, &["create"]);
    assert_eq!(created["warnings"].as_array().map(Vec::len), Some(0), "{created:#}");
}
