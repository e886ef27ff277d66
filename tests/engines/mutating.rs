//! Data that FREEZE leaves out and a snapshot needs: patch parts, metadata versions, unfinished mutations.

use std::fs;

use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{asynchronous, await_mutations, path_of, repository, restore_by_hand};

#[test]
fn lightweight_updates_are_in_the_snapshot() {
    let engine = Engine::start(Kind::V26);
    engine.query(
        "CREATE TABLE default.u (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id \
         SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1",
    );
    engine.query("INSERT INTO default.u SELECT number, 0 FROM numbers(100)");
    engine.query("UPDATE default.u SET v = 5 WHERE id < 10");
    let sum = engine.query("SELECT sum(v) FROM default.u");
    assert_eq!(sum, "50");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    assert_eq!(created["placed"]["linked"]["parts"], 1, "the patch part is linked from the live directory");
    let shown = chsnap.json(0, &["show", "latest"]);
    assert_eq!(shown["table_list"][0]["patch_parts"], 1);
    assert_eq!(shown["table_list"][0]["rows"], 100, "rows of a patch part are not rows of the table");
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), Kind::V26);
    assert_eq!(restored.query("SELECT sum(v), count() FROM default.u"), "50\t100");
}

#[test]
fn a_part_of_another_table_keeps_its_own_block_numbers() {
    let engine = Engine::start(Kind::V26);
    let settings = "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1";
    for table in ["src", "dst"] {
        engine.query(&format!(
            "CREATE TABLE default.{table} (a UInt32, b String) ENGINE = MergeTree ORDER BY a {settings}"
        ));
    }
    for batch in 0..3 {
        engine.query(&format!("INSERT INTO default.src SELECT number + {batch} * 500, 'o' FROM numbers(500)"));
    }
    engine.query("OPTIMIZE TABLE default.src FINAL");
    for start in [10_000, 20_000] {
        engine.query(&format!("INSERT INTO default.dst SELECT number + {start}, 'o' FROM numbers(10)"));
    }
    engine.query("ALTER TABLE default.dst ATTACH PARTITION tuple() FROM default.src");
    engine.query("SYSTEM STOP MERGES default.dst");
    engine.query("UPDATE default.dst SET b = 'p' WHERE a < 300");
    let query = "SELECT b, count() FROM default.dst GROUP BY b ORDER BY b";
    let rows = engine.query(query);
    assert!(rows.contains("p\t300"), "{rows}");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    // FREEZE leaves out the file that says that the block numbers in the part are another table's.
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), Kind::V26);
    assert_eq!(restored.query(query), rows);
}

#[test]
fn a_table_with_renamed_columns_keeps_its_metadata_versions() {
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE TABLE default.r (id UInt64, a UInt64) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO default.r SELECT number, number FROM numbers(100)");
    engine.query("ALTER TABLE default.r ADD COLUMN extra String DEFAULT 'x'");
    engine.query("ALTER TABLE default.r RENAME COLUMN a TO b");
    engine.query("INSERT INTO default.r SELECT number, number, 'y' FROM numbers(100, 100)");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), Kind::V26);
    let query = "SELECT count(), sum(b), countIf(extra = 'x') FROM default.r";
    assert_eq!(restored.query(query), engine.query(query));
    assert_eq!(restored.query(query), "200\t19900\t100");
}

#[apply(both_engines)]
fn unfinished_mutations_are_carried_and_finish_after_a_restore(engine: Engine) {
    engine.query("CREATE TABLE default.m (id UInt64, v String) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO default.m SELECT number, 'old' FROM numbers(1000)");
    engine.query("SYSTEM STOP MERGES default.m");
    engine
        .query_with("ALTER TABLE default.m UPDATE v = 'new' WHERE id % 2 = 0", asynchronous(&engine))
        .expect("queued");
    assert_eq!(engine.query("SELECT count() FROM default.m WHERE v = 'new'"), "0");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    let carried: Vec<String> = fs::read_dir(snapshot.join("data/default/m"))
        .expect("a table")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("mutation_"))
        .collect();
    assert_eq!(carried.len(), 1, "{carried:?}");
    let shown = chsnap.json(0, &["show", "latest"]);
    assert_eq!(shown["table_list"][0]["mutations"][0], carried[0].as_str());
    let restored = restore_by_hand(&chsnap, &snapshot, engine.kind());
    await_mutations(&restored);
    assert_eq!(restored.query("SELECT countIf(v = 'new'), count() FROM default.m"), "500\t1000");
}

#[apply(both_engines)]
fn a_mutation_of_several_commands_is_carried_as_one(engine: Engine) {
    engine.query("CREATE TABLE default.m (id UInt64, v String) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO default.m SELECT number, 'old' FROM numbers(1000)");
    engine.query("SYSTEM STOP MERGES default.m");
    let alter = "ALTER TABLE default.m DELETE WHERE id >= 900, UPDATE v = 'new' WHERE id % 2 = 0";
    engine.query_with(alter, asynchronous(&engine)).expect("queued");
    // A server lists a mutation once for each command.
    assert_eq!(engine.query("SELECT count(), uniq(mutation_id) FROM system.mutations WHERE NOT is_done"), "2\t1");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let shown = chsnap.json(0, &["show", "latest"]);
    assert_eq!(shown["table_list"][0]["mutations"].as_array().expect("mutations").len(), 1, "{shown:#}");
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &created), engine.kind());
    await_mutations(&restored);
    assert_eq!(restored.query("SELECT countIf(v = 'new'), count() FROM default.m"), "450\t900");
}

#[apply(both_engines)]
fn finished_mutations_and_mutated_parts_come_back(engine: Engine) {
    engine.query("CREATE TABLE default.m (id UInt64, v String, w UInt64) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO default.m SELECT number, 'old', number FROM numbers(1000)");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"]);
    engine.query("ALTER TABLE default.m UPDATE v = 'new' WHERE id % 2 = 0");
    await_mutations(&engine);
    let second = chsnap.json(0, &["create"]);
    if engine.kind() == Kind::V26 {
        engine.query("SELECT 1");
    }
    let written = second["written_bytes"].as_u64().expect("bytes");
    assert!(written > 0 && written <= second["allocated_bytes"].as_u64().expect("bytes"));
    let restored = restore_by_hand(&chsnap, &path_of(&chsnap, &second), engine.kind());
    assert_eq!(restored.query("SELECT countIf(v = 'new'), count(), sum(w) FROM default.m"), "500\t1000\t499500");
    let earlier = restore_by_hand(&chsnap, &path_of(&chsnap, &first), engine.kind());
    assert_eq!(earlier.query("SELECT countIf(v = 'new'), count(), sum(w) FROM default.m"), "0\t1000\t499500");
}

#[apply(both_engines)]
fn a_finished_mutation_of_a_detached_table_is_not_carried(engine: Engine) {
    engine.query("CREATE TABLE default.m (id UInt64, v String) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO default.m SELECT number, 'old' FROM numbers(1000)");
    engine.query("ALTER TABLE default.m UPDATE v = 'new' WHERE id % 2 = 0");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
    while engine.query("SELECT count() FROM default.m WHERE v = 'new'") != "500" {
        assert!(std::time::Instant::now() < deadline, "the mutation does not finish");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let chsnap = repository(&engine);
    let carried = || {
        chsnap.json(3, &["create"]);
        let shown = chsnap.json(0, &["show", "latest"]);
        shown["table_list"][0]["mutations"].as_array().map_or(0, Vec::len)
    };
    engine.query("DETACH TABLE default.m");
    assert_eq!(carried(), 0, "all parts have it");
    engine.query("ATTACH TABLE default.m");
    engine.query("SYSTEM STOP MERGES default.m");
    engine
        .query_with("ALTER TABLE default.m UPDATE v = 'newer' WHERE id % 2 = 0", asynchronous(&engine))
        .expect("queued");
    engine.query("DETACH TABLE default.m");
    assert_eq!(carried(), 1, "no part has it");
}

#[test]
fn a_snapshot_of_one_partition_has_the_patches_of_that_partition_alone() {
    if !Kind::V26.is_installed() {
        eprintln!("SKIPPED: this needs ClickHouse 26.9");
        return;
    }
    let engine = Engine::start(Kind::V26);
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.t (p Int8, k UInt64, v UInt64) ENGINE = MergeTree PARTITION BY p ORDER BY k \
         SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1",
    );
    engine.query("INSERT INTO lab.t SELECT toInt8(number % 3) - 1, number, 0 FROM numbers(30)");
    engine.query("SYSTEM STOP MERGES lab.t");
    engine.query("UPDATE lab.t SET v = 2 WHERE 1");
    let chsnap = repository(&engine);
    for partition in ["-1", "1"] {
        let created = chsnap.json(0, &["create", "--partition", partition]);
        let table = path_of(&chsnap, &created).join("data/lab/t");
        let entries = std::fs::read_dir(table).expect("the table").map(|entry| entry.expect("an entry").file_name());
        let names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
        let patches: Vec<&String> = names.iter().filter(|name| name.starts_with("patch-")).collect();
        let of_partition = |name: &&&String| name.rsplit_once(&format!("-{partition}_")).is_some();
        assert!(patches.len() == 1 && patches.iter().all(|name| of_partition(&name)), "{partition}: {names:?}");
        assert_eq!(names.len(), 2, "{partition}: {names:?}");
    }
}
