//! Unchanged parts are linked from the last snapshot and not frozen; everything else is frozen.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{expected, found, load, path_of, repository, restore_by_hand, shadows};
use crate::tree::tree;

/// What `create` answers, and the statements that it sent to freeze.
fn create(chsnap: &Chsnap) -> (Value, Vec<String>) {
    create_with(chsnap, &[])
}

fn create_with(chsnap: &Chsnap, arguments: &[&str]) -> (Value, Vec<String>) {
    let run = chsnap.expect(0, &[&["-v", "--json", "--progress", "none", "create"][..], arguments].concat());
    let freezes = run.stderr.lines().filter(|line| line.contains("FREEZE")).map(str::to_owned).collect();
    (serde_json::from_str(&run.stdout).expect("JSON"), freezes)
}

fn records(snapshot: &Path) -> Vec<Value> {
    let listing = fs::read(snapshot.join("parts.jsonl.zst")).expect("a listing");
    let listing = String::from_utf8(zstd::decode_all(listing.as_slice()).expect("zstd")).expect("text");
    listing.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The server makes a sum over its parts as this program does, or each look would list them all.
#[apply(both_engines)]
fn parts_are_listed_once_where_nothing_moves(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    // A merge that has not ended yet may move something; they do end.
    for _ in 0..20 {
        let run = chsnap.expect(0, &["-v", "--json", "--progress", "none", "create", "--freeze", "all"]);
        if !run.stderr.contains("parts are listed again") {
            return;
        }
    }
    panic!("everything is listed twice");
}

/// A snapshot of one table and one of one partition stand between two nights: the next night links every part all the
/// same, each from the newest snapshot that has the whole table.
#[apply(both_engines)]
fn a_snapshot_of_one_table_does_not_make_the_next_night_freeze_everything(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let (first, _) = create(&chsnap);
    let one = chsnap.json(0, &["create", "--table", "lab.events"]);
    let (second, freezes) = create(&chsnap);
    assert_eq!(freezes, Vec::<String>::new());
    assert_eq!((&second["placed"]["linked"]["parts"], &second["written_bytes"]), (&first["parts"], &0.into()));
    let from = |name: &str| -> Vec<Value> {
        let all = records(&path_of(&chsnap, &second));
        all.into_iter()
            .filter(|record| (record["table"] == "events") == (name == "events"))
            .map(|record| record["from"].clone())
            .collect()
    };
    assert!(from("events").iter().all(|from| *from == one["id"]), "{:?}", from("events"));
    assert!(from("others").iter().all(|from| *from == first["id"]), "{:?}", from("others"));
    let listed = chsnap.json(0, &["list"]);
    let series: Vec<&Value> = listed["snapshots"].as_array().expect("rows").iter().map(|row| &row["series"]).collect();
    assert_eq!(series, ["all", "only lab.events", "all"]);
    let link = fs::read_link(chsnap.repo().join("latest")).expect("latest");
    assert!(link.ends_with(second["id"].as_str().expect("an id")), "{}", link.display());
    let usage = chsnap.json(0, &["usage", "--exact"]);
    assert_eq!(usage["exact"]["differing"], serde_json::json!([]), "{}", usage["exact"]);
}

#[apply(both_engines)]
fn a_night_in_which_nothing_changed_freezes_nothing_and_is_a_full_snapshot(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let (first, freezes) = create(&chsnap);
    assert!(!freezes.is_empty());
    let (second, freezes) = create(&chsnap);
    assert_eq!(freezes, Vec::<String>::new());
    assert_eq!((&second["parts"], &second["files"]), (&first["parts"], &first["files"]));
    assert_eq!((&second["placed"]["linked"]["parts"], &second["written_bytes"]), (&first["parts"], &0.into()));
    assert_eq!(second["allocated_bytes"], first["allocated_bytes"]);
    let snapshot = path_of(&chsnap, &second);
    assert_eq!(found(&tree(&snapshot.join("data/lab"))), expected(&engine));
    for record in records(&snapshot) {
        assert_eq!((&record["from"], &record["placed"]), (&first["id"], &"linked".into()), "{record}");
    }
    // What was recorded of a part is what is recorded again.
    let plain = |mut record: Value| {
        for field in ["from", "placed"] {
            record.as_object_mut().expect("an object").remove(field);
        }
        record
    };
    let both =
        [&first, &second].map(|created| records(&path_of(&chsnap, created)).into_iter().map(plain).collect::<Vec<_>>());
    assert_eq!(both[0], both[1]);
    // It outlives the one that it was linked from.
    chsnap.json(0, &["rm", first["id"].as_str().expect("an id")]);
    chsnap.json(0, &["gc"]);
    let restored = restore_by_hand(&chsnap, &snapshot, engine.kind());
    assert_eq!(
        restored.query("SELECT count(), sum(id) FROM lab.events"),
        engine.query("SELECT count(), sum(id) FROM lab.events")
    );
    let (third, freezes) = create(&chsnap);
    assert_eq!((freezes.len(), &third["placed"]["linked"]["parts"]), (0, &first["parts"]));
}

#[apply(both_engines)]
fn partitions_are_frozen_a_hundred_a_statement(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (p UInt16, k UInt8) ENGINE = MergeTree PARTITION BY p ORDER BY k");
    engine.query("SYSTEM STOP MERGES lab.t");
    let insert = |first: u32, count: u32| {
        engine.query(&format!("INSERT INTO lab.t SELECT {first} + number, 1 FROM numbers({count})"));
    };
    (0..4).for_each(|hundred| insert(hundred * 100, 100));
    let chsnap = repository(&engine);
    create(&chsnap);
    insert(20, 60);
    insert(300, 50);
    let (created, freezes) = create(&chsnap);
    assert!(freezes.len() == 2 && freezes.iter().all(|line| line.contains("FREEZE PARTITION ID")), "{freezes:?}");
    assert_eq!(created["placed"]["linked"]["parts"], 290, "{created}");
    assert_eq!(found(&tree(&path_of(&chsnap, &created).join("data/lab"))), expected(&engine));
}

#[apply(both_engines)]
fn only_partitions_that_changed_are_frozen(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES lab.events");
    let chsnap = repository(&engine);
    create(&chsnap);
    engine.query("INSERT INTO lab.events SELECT toDateTime('2026-02-03 00:00:00'), 1, 'x', 1 FROM numbers(10)");
    let (created, freezes) = create(&chsnap);
    let of_events: Vec<&String> = freezes.iter().filter(|line| line.contains("`events`")).collect();
    assert_eq!(of_events.len(), 1, "{freezes:?}");
    assert!(of_events[0].contains("FREEZE PARTITION ID '202602'"), "{freezes:?}");
    assert_eq!(found(&tree(&path_of(&chsnap, &created).join("data/lab"))), expected(&engine));
    // Most of the table: one statement.
    engine.query(
        "INSERT INTO lab.events SELECT toDateTime('2026-01-01 00:00:00') + number * 86400, 1, 'x', 1 FROM numbers(120)",
    );
    let (created, freezes) = create(&chsnap);
    let of_events: Vec<&String> = freezes.iter().filter(|line| line.contains("`events`")).collect();
    assert!(of_events.len() == 1 && of_events[0].contains("FREEZE WITH NAME"), "{freezes:?}");
    assert_eq!(found(&tree(&path_of(&chsnap, &created).join("data/lab"))), expected(&engine));
    let all = chsnap.json(0, &["create", "--freeze", "all"]);
    assert_eq!(all["placed"]["linked"]["parts"], 0, "{all}");
}

#[apply(both_engines)]
fn a_last_snapshot_that_cannot_be_read_is_a_warning_and_everything_is_frozen(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let (first, _) = create(&chsnap);
    let data = path_of(&chsnap, &first).join("data");
    let aside = chsnap.repo().with_extension("aside");
    fs::rename(&data, &aside).expect("moved");
    std::os::unix::fs::symlink(&aside, &data).expect("a link");
    let second = chsnap.json(3, &["create", "--place", "link"]);
    let warnings = second["warnings"].to_string();
    assert!(warnings.contains("everything is frozen") && warnings.contains("chsnap verify"), "{warnings}");
    assert_eq!(&second["placed"]["linked"]["parts"], &first["parts"]);
    let snapshot = path_of(&chsnap, &second);
    assert_eq!(found(&tree(&snapshot.join("data/lab"))), expected(&engine));
    assert!(
        records(&snapshot).iter().all(|record| record["from"].is_null()),
        "nothing comes from what a link leads to"
    );
    let (_, freezes) = create(&chsnap);
    assert_eq!(freezes, Vec::<String>::new(), "the next night has a sound one before it");
}

/// Numbers that look random and are the same for one seed.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        // Knuth's constants for a linear congruential generator of 64 bits; the low bits are the poor ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// One thing that happens to the tables between two nights; what an engine refuses happens not.
pub(crate) fn step(engine: &Engine, numbers: &mut Numbers) -> String {
    let table = ["lab.a", "lab.b"][usize::try_from(numbers.below(2)).expect("small")];
    let other = if table == "lab.a" { "lab.b" } else { "lab.a" };
    let (partition, number) = (numbers.below(3), numbers.below(1000));
    let statements = match numbers.below(13) {
        0..=2 => vec![format!("INSERT INTO {table} SELECT {partition}, number, {number} FROM numbers(20)")],
        3 => vec![format!("OPTIMIZE TABLE {table} PARTITION {partition} FINAL")],
        4 => vec![format!("ALTER TABLE {table} UPDATE v = v + 1 WHERE k = {partition}")],
        5 => vec![format!("ALTER TABLE {table} DROP PARTITION {partition}")],
        6 => vec![format!("ALTER TABLE {table} ATTACH PARTITION {partition} FROM {other}")],
        7 => vec![format!("ALTER TABLE {table} REPLACE PARTITION {partition} FROM {other}")],
        8 => vec![format!("DROP TABLE {table}"), make(table, ["UInt32", "UInt64"][usize::from(number % 2 == 0)])],
        9 => vec![format!("RENAME TABLE {table} TO lab.c, {other} TO {table}, lab.c TO {other}")],
        10 => {
            let to = if number % 2 == 0 { "UInt32" } else { "UInt64" };
            vec![format!("ALTER TABLE {table} MODIFY COLUMN v {to}")]
        }
        11 => vec![
            format!("ALTER TABLE {table} DETACH PARTITION {partition}"),
            format!("ALTER TABLE {table} ATTACH PARTITION {partition}"),
        ],
        _ if engine.kind() == Kind::V26 => {
            vec![format!("UPDATE {table} SET v = {number} WHERE k = {partition}")]
        }
        _ => Vec::new(),
    };
    for statement in &statements {
        if let Err(error) = engine.try_query(statement) {
            return format!("{statement}: {error}");
        }
    }
    statements.join("; ")
}

pub(crate) fn make(table: &str, v: &str) -> String {
    format!("CREATE TABLE {table} (p UInt8, k UInt64, v {v}) ENGINE = MergeTree PARTITION BY p ORDER BY k")
}

/// Waits until no mutation is under way: 18.16 answers before it has begun.
pub(crate) fn settle(engine: &Engine) {
    while engine.query("SELECT count() FROM system.mutations WHERE database = 'lab' AND NOT is_done") != "0" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The tables with their types and sums.
pub(crate) fn state(engine: &Engine) -> String {
    let types = "SELECT table, name, type FROM system.columns WHERE database = 'lab' ORDER BY table, name";
    let sums = |table: &str| {
        engine.query(&format!("SELECT p, count(), sum(k), sum(v) FROM lab.{table} GROUP BY p ORDER BY p"))
    };
    format!("{}\n{}\n{}", engine.query(types), sums("a"), sums("b"))
}

#[apply(both_engines)]
fn whatever_happens_between_two_nights_the_snapshot_is_the_table(engine: Engine) {
    let seed = std::env::var("CHSNAP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_122);
    let nights = if std::env::var_os("CHSNAP_FULL").is_some() { 400 } else { 40 };
    let mut numbers = Numbers(seed);
    engine.query("CREATE DATABASE lab");
    for table in ["lab.a", "lab.b"] {
        engine.query(&make(table, "UInt32"));
        engine.query(&format!("INSERT INTO {table} SELECT number % 3, number, 1 FROM numbers(60)"));
    }
    let chsnap = repository(&engine);
    let (mut history, mut linked, mut compared) = (Vec::new(), 0, 0);
    for night in 0..nights {
        for _ in 0..=numbers.below(2) {
            history.push(step(&engine, &mut numbers));
        }
        settle(&engine);
        let before = expected(&engine);
        let created = chsnap.run(&["--json", "--progress", "none", "create"]);
        let context = format!("seed {seed}, night {night}, {:?}", history.iter().rev().take(4).collect::<Vec<_>>());
        assert!(matches!(created.code, 0 | 3), "{context}\n{}{}", created.stdout, created.stderr);
        let created: Value = serde_json::from_str(&created.stdout).expect("JSON");
        linked += created["placed"]["linked"]["parts"].as_u64().expect("a count");
        let snapshot = path_of(&chsnap, &created);
        // The server merges when it likes: only a night in which it did not can be compared part by part.
        if expected(&engine) != before {
            continue;
        }
        compared += 1;
        assert_eq!(found(&tree(&snapshot.join("data/lab"))), before, "{context}");
        if compared % 10 == 9 {
            let restored = restore_by_hand(&chsnap, &snapshot, engine.kind());
            assert_eq!(state(&restored), state(&engine), "{context}");
        }
    }
    assert!(linked > 0, "something was linked in {nights} nights");
    assert!(compared > nights / 2, "{compared} of {nights} nights were quiet");
    assert!(shadows(&engine).is_empty());
}

#[apply(both_engines)]
fn an_emptied_table_is_not_frozen(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    let lives = if engine.kind() == Kind::V26 { ", old_parts_lifetime = 480" } else { "" };
    for table in ["plain", "emptied", "cleared"] {
        engine.query(&format!(
            "CREATE TABLE lab.{table} (k UInt64, v UInt64) ENGINE = MergeTree PARTITION BY k % 2 ORDER BY k \
             SETTINGS index_granularity = 8192{lives}"
        ));
        engine.query(&format!("INSERT INTO lab.{table} SELECT number, 1 FROM numbers(100)"));
    }
    for partition in 0..2 {
        engine.query(&format!("OPTIMIZE TABLE lab.emptied PARTITION {partition} FINAL"));
        engine.query(&format!("ALTER TABLE lab.emptied DROP PARTITION {partition}"));
        engine.query(&format!("ALTER TABLE lab.cleared DETACH PARTITION {partition}"));
    }
    let is_obsolete = |table: &str| {
        engine.query(&format!(
            "SELECT count() > 0, max(active) FROM system.parts WHERE database = 'lab' AND table = '{table}'"
        ))
    };
    assert_eq!(is_obsolete("emptied"), "1\t0", "its obsolete parts are still there");
    let chsnap = repository(&engine);
    let plan = chsnap.json(0, &["create", "--dry-run", "--freeze", "all"]);
    let (report, sent) = create_with(&chsnap, &["--freeze", "all"]);
    for table in plan["plan"].as_array().expect("tables") {
        let name = table["table"].as_str().expect("a name");
        let is_sent = sent.iter().any(|line| line.contains(&format!("`lab`.`{name}`")));
        assert_eq!((table["freeze"] != "nothing", is_sent), (name == "plain", name == "plain"), "{name}: {sent:?}");
    }
    assert_eq!(report["tables"], 3, "{report}");
}

#[apply(both_engines)]
fn a_dry_run_names_the_freezes_that_create_sends(engine: Engine) {
    engine.query("CREATE DATABASE lab");
    let make = |table: &str| {
        engine.query(&format!(
            "CREATE TABLE lab.{table} (k UInt64, v UInt64) ENGINE = MergeTree PARTITION BY k % 4 ORDER BY k"
        ));
        engine.query(&format!("INSERT INTO lab.{table} SELECT number, 1 FROM numbers(100)"));
    };
    let tables: Vec<String> = (0..8).map(|number| format!("t{number}")).collect();
    for table in &tables {
        make(table);
    }
    let chsnap = repository(&engine);
    let planned_and_sent = || {
        let before = (tree(chsnap.repo()), tree(&engine.data_path().join("data")));
        let plan = chsnap.json(0, &["create", "--dry-run"]);
        assert!(before == (tree(chsnap.repo()), tree(&engine.data_path().join("data"))), "a dry run writes nothing");
        let (report, sent) = create(&chsnap);
        let (mut tables, mut partitions, mut linked) = (0, 0, 0);
        for table in plan["plan"].as_array().expect("tables") {
            let name = format!("`lab`.`{}`", table["table"].as_str().expect("a name"));
            let of_table: String = sent.iter().filter(|line| line.contains(&name)).cloned().collect();
            linked += table["linked_parts"].as_u64().expect("a number");
            let names = table["linked_part_names"].as_array().expect("a list").len() as u64;
            assert_eq!(table["linked_parts"], names, "{table}");
            let ids = table["freeze_partitions"].as_array().expect("a list");
            partitions += ids.len();
            match table["freeze"].as_str().expect("a word") {
                "table" => {
                    tables += 1;
                    assert!(of_table.contains("FREEZE WITH NAME") && ids.is_empty(), "{table}: {sent:?}");
                }
                "partitions" => {
                    for id in ids {
                        let id = format!("FREEZE PARTITION ID '{}'", id.as_str().expect("an id"));
                        assert!(of_table.contains(&id), "{id} {table}: {sent:?}");
                    }
                }
                how => assert!(how == "nothing" && of_table.is_empty(), "{table}: {sent:?}"),
            }
        }
        let sent = sent.concat();
        assert_eq!(sent.matches("FREEZE WITH NAME").count(), tables, "{sent}");
        assert_eq!(sent.matches("FREEZE PARTITION ID").count(), partitions, "{sent}");
        assert_eq!(report["placed"]["linked"]["parts"].as_u64(), Some(linked), "{report}");
        (tables, partitions, linked)
    };
    assert_eq!(planned_and_sent(), (8, 0, 0));
    assert_eq!(planned_and_sent(), (0, 0, 32));
    engine.query("INSERT INTO lab.t2 SELECT 1, number FROM numbers(10)");
    assert_eq!(planned_and_sent(), (0, 1, 31));
    // In a database without UUIDs its parts have the names that they had: only the comparison finds it.
    engine.query("DROP TABLE lab.t5");
    make("t5");
    engine.query("INSERT INTO lab.t6 SELECT number, number FROM numbers(1)");
    assert_eq!(planned_and_sent(), (1, 1, 28));
    if engine.kind() == Kind::V26 {
        engine
            .query("ALTER TABLE lab.t7 MODIFY SETTING enable_block_number_column = 1, enable_block_offset_column = 1");
        engine.query("OPTIMIZE TABLE lab.t7 FINAL");
        planned_and_sent();
        engine.query("UPDATE lab.t7 SET v = 7 WHERE k % 4 < 2");
        // The patch parts of two partitions are linked from the live table.
        assert_eq!(planned_and_sent(), (0, 0, 36));
    }
}
