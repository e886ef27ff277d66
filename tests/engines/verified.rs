//! `verify` of real parts agrees with the server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::strace::Dice;
use crate::support::{escaped, load, path_of, repository};
use crate::tree::tree;

fn data_files(snapshot: &Path) -> Vec<PathBuf> {
    let all = tree(&snapshot.join("data"));
    let is_part = |path: &Path| path.components().count() > 3;
    all.iter().filter(|(path, node)| !node.is_dir && is_part(path)).map(|(path, _)| path.clone()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// More kinds of parts than `load` makes: mutated, compact and wide, with projections and skip indices, by old syntax.
fn load_more(engine: &Engine) {
    load(engine);
    if engine.kind() == Kind::V26 {
        engine.query(
            "CREATE TABLE lab.rich (k UInt64, v String, n Nullable(Int32), a Array(String), \
             INDEX i v TYPE bloom_filter GRANULARITY 1, PROJECTION p (SELECT v, count() GROUP BY v)) \
             ENGINE = MergeTree ORDER BY k SETTINGS min_bytes_for_wide_part = 0",
        );
        engine.query(
            "INSERT INTO lab.rich SELECT number, toString(number % 9), number, [toString(number)] FROM numbers(3000)",
        );
        engine.query(
            "CREATE TABLE lab.patched (k UInt64, v UInt64) ENGINE = MergeTree ORDER BY k \
             SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1",
        );
        engine.query("INSERT INTO lab.patched SELECT number, 1 FROM numbers(100)");
        engine
            .query_with("UPDATE lab.patched SET v = 2 WHERE k < 50", &[("allow_experimental_lightweight_update", "1")])
            .or_else(|_| engine.try_query("UPDATE lab.patched SET v = 2 WHERE k < 50"))
            .expect("a lightweight update");
    } else {
        engine.query("CREATE TABLE lab.rich (d Date, k UInt64, v String) ENGINE = MergeTree(d, k, 8192)");
        engine.query("INSERT INTO lab.rich SELECT toDate('2026-01-05'), number, toString(number) FROM numbers(3000)");
    }
    engine.query("ALTER TABLE lab.events UPDATE v = v + 1 WHERE id % 2 = 0");
    while engine.query("SELECT count() FROM system.mutations WHERE database = 'lab' AND NOT is_done") != "0" {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[apply(both_engines)]
fn no_damage_is_invented_and_fingerprints_are_the_servers(engine: Engine) {
    load_more(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.query("INSERT INTO lab.plain SELECT number FROM numbers(10)");
    let created = chsnap.json(0, &["create"]);
    // Made with a warning and sound all the same.
    engine.query("CREATE TABLE lab.logged (k UInt8) ENGINE = Log");
    engine.query("INSERT INTO lab.logged VALUES (1)");
    chsnap.json(3, &["create", "--dump-limit", "0"]);
    for level in ["structure", "size", "data"] {
        let document = chsnap.json(0, &["verify", "--level", level]);
        assert_eq!(
            (&document["damage"], &document["warnings"]),
            (&Value::Array(Vec::new()), &Value::Array(Vec::new()))
        );
        assert_eq!(
            (&document["checked"]["snapshots"], &document["checked"]["unverifiable_parts"]),
            (&3.into(), &0.into())
        );
    }
    let document = chsnap.json(0, &["verify", "--level", "data", created["id"].as_str().expect("an id")]);
    assert_eq!((&document["checked"]["parts"], &document["checked"]["files"]), (&created["parts"], &created["files"]));
    assert_eq!(document["checked"]["bytes"], created["apparent_bytes"]);
    chsnap.json(0, &["show", "latest"]);
    // What verify holds the bytes against is what the server has.
    let listing = fs::read(path_of(&chsnap, &created).join("parts.jsonl.zst")).expect("a listing");
    let listing = String::from_utf8(zstd::decode_all(listing.as_slice()).expect("zstd")).expect("text");
    let mut compared = 0;
    for line in listing.lines() {
        let part: Value = serde_json::from_str(line).expect("JSON");
        let (table, name) = (text(&part["table"]), text(&part["part"]));
        if engine.kind() == Kind::V26 && part["database"] == "lab" {
            let hash = engine.query(&format!(
                "SELECT hash_of_all_files FROM system.parts WHERE active AND database = 'lab' AND table = '{table}' AND name = '{name}'"
            ));
            assert_eq!(part["fingerprint"], hash.as_str(), "{table} {name}");
            compared += 1;
        }
    }
    assert!(compared > 10 || engine.kind() == Kind::V18, "{compared}");
}

/// What the server says of a table's bytes: whether all is well. 18.16 checks no MergeTree table (`CHECK TABLE` of those
/// came in 19): there the table is only read.
fn check_table(engine: &Engine, table: &str) -> bool {
    let table = format!("lab.{}", crate::support::quoted(table));
    match engine.kind() {
        Kind::V18 => engine.try_query(&format!("SELECT * FROM {table} FORMAT Null")).is_ok(),
        Kind::V26 => {
            let settings = [("check_query_single_value_result", "1")];
            engine.query_with(&format!("CHECK TABLE {table}"), &settings).is_ok_and(|answer| answer.trim() == "1")
        }
    }
}

#[apply(both_engines)]
fn the_server_agrees_about_what_is_damaged_and_what_is_not(engine: Engine) {
    load_more(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    let (mut dice, seed) = Dice::new("damage");
    let tables: Vec<String> = engine
        .query("SELECT DISTINCT table FROM system.parts WHERE active AND database = 'lab'")
        .lines()
        .map(str::to_owned)
        .collect();
    for table in &tables {
        let is_damaged = |level| {
            let pattern = format!("lab.{}", table.replace('`', "?"));
            let run = chsnap.run(&["--progress", "none", "verify", "--level", level, "--table", &pattern]);
            match run.code {
                0 => false,
                // Below `data` no byte is read, and what `data` found before is named.
                3 if run.stderr.contains("noted as damaged by an earlier check") => false,
                12 => true,
                code => panic!("{code}: {}", run.stderr),
            }
        };
        assert!(!is_damaged("data") && check_table(&engine, table), "{table} is sound; {seed}");
        // Bytes of a column, in place: the live part has them too, for it is one inode.
        let files: Vec<PathBuf> = data_files(&snapshot)
            .into_iter()
            .filter(|path| {
                path.starts_with(Path::new("lab").join(escaped(table))) && path.extension().is_some_and(|e| e == "bin")
            })
            .collect();
        if files.is_empty() {
            continue;
        }
        let path = snapshot.join("data").join(&files[dice.below(files.len())]);
        let sound = fs::read(&path).expect("read");
        let mut spoilt = sound.clone();
        let at = dice.below(spoilt.len());
        spoilt[at] ^= 1 << dice.below(8);
        fs::write(&path, &spoilt).expect("written");
        assert!(is_damaged("data") && !is_damaged("size"), "{}: {seed}", path.display());
        // 18.16 has no check of these tables, and a SELECT there did not notice all damage.
        let is_seen = !check_table(&engine, table);
        assert!(is_seen || engine.kind() == Kind::V18, "{} byte {at}: {seed}", path.display());
        let document = chsnap.json(12, &["verify", "--level", "data"]);
        assert_eq!(document["damage"].as_array().map(Vec::len), Some(1), "{document}");
        assert_eq!(document["damage"][0]["path"], path.to_str().expect("a text"), "{seed}");
        assert_eq!(document["damage"][0]["linked_outside"], true);
        fs::write(&path, &sound).expect("written");
        assert!(!is_damaged("data") && check_table(&engine, table), "{table} is sound again; {seed}");
    }
    assert!(tables.len() >= 5, "{tables:?}");
}

/// Something done to a file of a snapshot, and the kind of damage that it is. `None` if it cannot be done to this one.
fn spoil(dice: &mut Dice, path: &Path) -> Option<&'static str> {
    let bytes = fs::read(path).expect("read");
    let own = path.parent().expect("a directory");
    Some(match dice.below(6) {
        0 if !bytes.is_empty() => {
            let mut spoilt = bytes;
            let at = dice.below(spoilt.len());
            spoilt[at] ^= 1 << dice.below(8);
            // Under an inode of its own, as a copy that went wrong: the live part must stay whole for the next one.
            replace(path, &spoilt);
            "content"
        }
        1 if !bytes.is_empty() => {
            replace(path, &bytes[..dice.below(bytes.len())]);
            "size"
        }
        2 => {
            fs::remove_file(path).expect("removed");
            "missing"
        }
        3 => {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("made");
            "type"
        }
        4 => {
            fs::write(own.join("surplus.bin"), "x").expect("written");
            "extra"
        }
        _ => return None,
    })
}

fn replace(path: &Path, bytes: &[u8]) {
    let stat = fs::metadata(path).expect("a file");
    fs::remove_file(path).expect("removed");
    fs::write(path, bytes).expect("written");
    fs::set_permissions(path, stat.permissions()).expect("a mode");
    let (uid, gid) = (std::os::unix::fs::MetadataExt::uid(&stat), std::os::unix::fs::MetadataExt::gid(&stat));
    std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("an owner");
}

#[apply(both_engines)]
fn random_damage_of_real_parts_is_found_and_repaired_from_another_snapshot(engine: Engine) {
    load_more(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    let (mut dice, seed) = Dice::new("repair");
    let files = data_files(&snapshot);
    let mut expected: BTreeSet<(PathBuf, &str)> = BTreeSet::new();
    let mut parts: BTreeSet<PathBuf> = BTreeSet::new();
    for _ in 0..40 {
        let path = &files[dice.below(files.len())];
        // One thing a part, lest one hide the other.
        if parts.insert(path.components().take(3).collect())
            && let Some(kind) = spoil(&mut dice, &snapshot.join("data").join(path))
        {
            let path = if kind == "extra" { path.with_file_name("surplus.bin") } else { path.clone() };
            expected.insert((snapshot.join("data").join(path), kind));
        }
    }
    assert!(expected.len() > 5, "{expected:?}");
    let document = chsnap.json(12, &["verify", "--level", "data"]);
    let damage = document["damage"].as_array().expect("a list");
    let found: BTreeSet<(PathBuf, &str)> =
        damage.iter().map(|one| (PathBuf::from(text(&one["path"])), text(&one["kind"]))).collect();
    assert_eq!(found, expected, "{seed}");
    for one in damage.iter().filter(|one| one["kind"] != "extra") {
        assert!(one["intact"]["path"].is_string(), "{one}");
    }
    let document = chsnap.json(12, &["verify", "--level", "data", "--repair"]);
    for one in document["damage"].as_array().expect("a list") {
        let is_kept = matches!(text(&one["kind"]), "extra" | "type");
        assert_eq!(one["repaired"], !is_kept, "{one}");
    }
    for (path, _) in expected.iter().filter(|(_, kind)| matches!(*kind, "extra" | "type")) {
        if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }.expect("removed by hand");
    }
    chsnap.run(&["verify", "--level", "data", "--repair"]);
    chsnap.json(0, &["verify", "--level", "data"]);
    for table in ["events", "rich", "plain"] {
        assert!(check_table(&engine, table), "{table}");
    }
}

#[apply(both_engines)]
fn a_part_that_was_found_damaged_is_frozen_and_not_linked_from_there(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &first);
    let file = data_files(&snapshot)
        .into_iter()
        .find(|path| path.starts_with("lab/events/") && path.ends_with("id.bin"))
        .expect("a file");
    let path = snapshot.join("data").join(&file);
    let sound = fs::read(&path).expect("read");
    let mut spoilt = sound.clone();
    spoilt[0] ^= 1;
    fs::write(&path, &spoilt).expect("written");
    chsnap.json(12, &["verify", "--level", "data"]);
    let freezes = |chsnap: &Chsnap| {
        let run = chsnap.expect(0, &["-v", "--json", "--progress", "none", "create"]);
        run.stderr.lines().filter(|line| line.contains("FREEZE")).count()
    };
    assert_eq!(freezes(&chsnap), 1, "the partition of the damaged part");
    fs::write(&path, &sound).expect("written");
    chsnap.json(0, &["verify", "--level", "data"]);
    assert_eq!(freezes(&chsnap), 0);
}

#[test]
fn parts_of_an_encrypted_disk_are_checked_in_part_and_reported_so() {
    let definition = "<type>encrypted</type><disk>default</disk><path>coded/</path><key>0123456789abcdef</key>";
    let disks = vec![("coded".to_owned(), definition.to_owned())];
    let engine = Engine::start_with(Engine::V26, &Options { disks, ..Options::default() });
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.secret (k UInt64) ENGINE = MergeTree ORDER BY k SETTINGS storage_policy = 'coded'");
    engine.query("INSERT INTO lab.secret SELECT number FROM numbers(1000)");
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let document = chsnap.json(0, &["verify", "--level", "data"]);
    assert_eq!(document["checked"]["unverifiable_parts"], 1, "{document}");
    assert!(text(&document["unverifiable"][0]["reason"]).contains("encrypted"), "{document}");
    assert!(chsnap.expect(0, &["verify", "--level", "data"]).stdout.contains("encrypted"));
    let snapshot = path_of(&chsnap, &created);
    let file = data_files(&snapshot).into_iter().find(|path| path.ends_with("data.bin")).expect("a file");
    fs::write(snapshot.join("data").join(file), "short").expect("written");
    assert_eq!(chsnap.json(12, &["verify", "--level", "size"])["damage"][0]["kind"], "size");
}

#[test]
fn verify_needs_no_server() {
    let mut engine = Engine::start(Engine::V26);
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    engine.stop();
    chsnap.json(0, &["verify", "--level", "data"]);
}
