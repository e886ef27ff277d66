//! Trees for ClickHouse's own RESTORE: it restores the source from them, and their list equals that of its BACKUP.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::object_store::{KEY, ObjectServer, SECRET};

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options};
use crate::support::{TABLES, load, path_of, repository};
use crate::tree::{files, tree};

/// An engine that may back up to anywhere.
pub(crate) fn start() -> Engine {
    start_with(&[])
}

pub(crate) fn start_with(disks: &[(&str, &str)]) -> Engine {
    let disks = disks.iter().map(|(name, definition)| ((*name).to_owned(), (*definition).to_owned())).collect();
    let config = "<backups><allowed_path>/</allowed_path></backups>".to_owned();
    Engine::start_with(Kind::V26, &Options { disks, config, ..Options::default() })
}

/// Tables besides those of `load`, each with the query that tells whether it came back.
pub(crate) const MORE: [(&str, &str); 9] = [
    ("lab.wide", "SELECT count(), sum(k), sum(cityHash64(v, p)) FROM lab.wide"),
    ("lab.mv", "SELECT sum(c), count() FROM lab.mv"),
    ("lab.seen", "SELECT count(), sum(c) FROM lab.seen"),
    ("lab.into", "SELECT count() FROM lab.into"),
    ("lab.named", "SELECT dictGet('lab.named', 'v', toUInt64(3))"),
    ("my-db.x", "SELECT sum(k) FROM `my-db.x`.`a/b``c é\"x`"),
    ("my-db.none", "SELECT count() FROM `my-db.x`.none"),
    ("lab.json", "SELECT count(), sum(j.a.:Int64) FROM lab.json"),
    ("lab.old", "SELECT count(), sum(k) FROM lab.old"),
];

pub(crate) fn load_more(engine: &Engine) {
    load(engine);
    for statement in [
        "CREATE TABLE lab.wide (k UInt64, v String, p Int8, INDEX i v TYPE bloom_filter GRANULARITY 1, \
         PROJECTION pr (SELECT v, count() GROUP BY v)) ENGINE = MergeTree PARTITION BY p ORDER BY k \
         SETTINGS min_bytes_for_wide_part = 0",
        "INSERT INTO lab.wide SELECT number, toString(number % 10), number % 3 - 1 FROM numbers(3000)",
        "CREATE MATERIALIZED VIEW lab.into TO lab.empty AS SELECT id::UInt32 AS k FROM lab.events",
        "CREATE TABLE lab.words (k UInt64, v String) ENGINE = MergeTree ORDER BY k",
        "INSERT INTO lab.words SELECT number, toString(number * 2) FROM numbers(10)",
        "CREATE DICTIONARY lab.named (k UInt64, v String) PRIMARY KEY k SOURCE(CLICKHOUSE(TABLE 'words' DB 'lab')) \
         LAYOUT(FLAT()) LIFETIME(0)",
        "CREATE DATABASE `my-db.x`",
        "CREATE TABLE `my-db.x`.`a/b``c é\"x` (k UInt64) ENGINE = MergeTree ORDER BY k",
        "INSERT INTO `my-db.x`.`a/b``c é\"x` VALUES (7), (8)",
        "CREATE TABLE `my-db.x`.none (k UInt64) ENGINE = MergeTree ORDER BY k",
        "CREATE TABLE lab.json (k UInt64, j JSON) ENGINE = MergeTree ORDER BY k",
        "INSERT INTO lab.json SELECT number, '{\"a\": ' || toString(number) || '}' FROM numbers(5)",
        // A part whose metadata version is its own.
        "CREATE TABLE lab.old (k UInt64) ENGINE = MergeTree ORDER BY k",
        "INSERT INTO lab.old SELECT number FROM numbers(5)",
        "ALTER TABLE lab.old ADD COLUMN n UInt8 DEFAULT 3",
        "CREATE FUNCTION native_plus AS (x) -> x + 1",
    ] {
        engine.query(statement);
    }
    engine.query("SYSTEM STOP MERGES");
}

/// All queries and their answers, of which an engine that was restored must give the same.
pub(crate) fn answers(engine: &Engine) -> BTreeMap<&'static str, String> {
    TABLES.iter().chain(&MORE).map(|(_, query)| (*query, engine.query(query))).collect()
}

/// The files that a `.backup` lists: names, sizes and hashes.
pub(crate) fn listed(tree: &Path) -> BTreeMap<String, (u64, String)> {
    let text = fs::read_to_string(tree.join(".backup")).expect("a list");
    let field = |file: &str, name: &str| {
        let (_, rest) = file.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    let file = |file: &str| {
        let size = field(file, "size").expect("a size").parse().expect("a number");
        (field(file, "name").expect("a name"), (size, field(file, "checksum").unwrap_or_default()))
    };
    text.split("<file>").skip(1).map(file).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn restored(chsnap: &Chsnap, code: i32, to: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["restore", "latest", "--to", text(to), "--native"];
    arguments.extend(more);
    chsnap.json(code, &arguments)
}

#[test]
fn native_restore_of_a_tree_equals_the_source_and_its_list_equals_that_of_native_backup() {
    let engine = start();
    load_more(&engine);
    let source = answers(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let snapshot = path_of(&chsnap, &created);
    let before = tree(&snapshot);
    let (ours, theirs) = (engine.root().join("ours"), engine.root().join("theirs"));
    let report = restored(&chsnap, 0, &ours, &[]);
    engine.query(&format!("BACKUP DATABASE lab, DATABASE `my-db.x` TO File('{}')", text(&theirs)));
    let (ours_list, theirs_list) = (listed(&ours), listed(&theirs));
    assert_eq!(report["native"]["entries"], ours_list.len(), "{report:#}");
    // Data: every file, with its size and hash. Definitions: every file.
    let data = |list: &BTreeMap<String, (u64, String)>| -> BTreeMap<String, (u64, String)> {
        let is_data = |name: &&String| name.starts_with("data/") && !name.starts_with("data/system/");
        list.iter().filter(|(name, _)| is_data(name)).map(|(name, file)| (name.clone(), file.clone())).collect()
    };
    assert_eq!(data(&ours_list), data(&theirs_list));
    let metadata = |list: &BTreeMap<String, (u64, String)>| -> BTreeSet<String> {
        let is_ours = |name: &&String| name.starts_with("metadata/lab") || name.starts_with("metadata/my");
        list.keys().filter(is_ours).cloned().collect()
    };
    assert_eq!(metadata(&ours_list), metadata(&theirs_list));
    assert!(ours_list.contains_key("data/system/functions/native_plus.sql"), "{ours_list:?}");
    assert!(ours_list.contains_key("metadata/system/functions.sql"));
    // Every file that is listed is there with its size, and is the snapshot's own; definitions are their owner's alone.
    let placed = tree(&ours);
    for (name, (size, _)) in &ours_list {
        assert_eq!(fs::metadata(ours.join(name)).expect("a listed file").len(), *size, "{name}");
    }
    for (path, file) in files(&placed) {
        if path.starts_with("data") && !path.starts_with("data/system") && !path.starts_with("data/lab/mv") {
            assert_eq!(file.inode, before[path].inode, "{}", path.display());
        } else if path.starts_with("metadata") || path == Path::new(".backup") {
            assert_eq!(file.mode & 0o777, 0o600, "{}", path.display());
        }
    }
    let restore = "RESTORE DATABASE lab, DATABASE `my-db.x` FROM File";
    for tree in [&ours, &theirs] {
        let other = start();
        other.query(&format!("{restore}('{}')", text(tree)));
        assert_eq!(answers(&other), source, "{}", tree.display());
    }
    // Another policy, under other names, one table alone.
    let other = start();
    other.query(&format!("RESTORE TABLE lab.events AS default.again FROM File('{}')", text(&ours)));
    assert_eq!(other.query("SELECT count() FROM default.again"), "12000");
    assert_eq!(tree_without_times(&snapshot), without_times(&before), "the snapshot stays as it was");
}

fn without_times(tree: &crate::tree::Tree) -> BTreeMap<PathBuf, (u64, u32, Vec<u8>)> {
    let node = |(path, node): (&Path, &crate::tree::Node)| {
        (path.to_owned(), (node.inode, node.mode, format!("{:?}", node.content).into_bytes()))
    };
    files(tree).into_iter().map(node).collect()
}

fn tree_without_times(path: &Path) -> BTreeMap<PathBuf, (u64, u32, Vec<u8>)> {
    without_times(&tree(path))
}

#[test]
fn a_tree_that_was_copied_is_restored_by_its_script_of_restore_as_well() {
    let engine = start();
    load_more(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("copied");
    restored(&chsnap, 0, &to, &["--place", "copy", "--table", "lab.*"]);
    assert!(!to.join("data/my%2Ddb%2Ex").exists());
    let other = start();
    other.query(&format!("RESTORE ALL FROM File('{}')", text(&to)));
    for (_, query) in TABLES {
        assert_eq!(other.query(query), engine.query(query), "{query}");
    }
}

#[test]
fn tables_that_native_restore_cannot_bring_back_are_refused_or_counted() {
    let engine = start();
    let settings = "SETTINGS enable_block_number_column = 1, enable_block_offset_column = 1";
    engine.query("CREATE DATABASE lab");
    engine.query(&format!("CREATE TABLE lab.patched (k UInt64, v UInt64) ENGINE = MergeTree ORDER BY k {settings}"));
    engine.query("INSERT INTO lab.patched SELECT number, 0 FROM numbers(10)");
    engine.query("SYSTEM STOP MERGES lab.patched");
    engine.query("UPDATE lab.patched SET v = 5 WHERE k < 4");
    engine.query("CREATE TABLE lab.mutated (k UInt64, v UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.mutated SELECT number, 0 FROM numbers(10)");
    engine.query("SYSTEM STOP MERGES lab.mutated");
    engine.query("ALTER TABLE lab.mutated UPDATE v = 7 WHERE 1 SETTINGS mutations_sync = 0");
    engine.query("CREATE TABLE lab.sound (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.sound VALUES (1)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("to");
    let dry = restored(&chsnap, 3, &to, &["--dry-run"]);
    assert!(!to.exists() && dry["warnings"].to_string().contains("unapplied patch part"), "{dry:#}");
    let report = restored(&chsnap, 3, &to, &[]);
    let state = |report: &Value, name: &str| {
        let tables = report["tables"].as_array().expect("tables").clone();
        tables.into_iter().find(|table| table["table"] == name).expect("the table")
    };
    for (name, why) in [("patched", "1 unapplied patch part"), ("mutated", "1 unfinished mutation")] {
        let table = state(&report, name);
        assert_eq!(table["state"], "failed", "{table:#}");
        assert!(table["reason"].as_str().is_some_and(|reason| reason.contains(why)), "{table:#}");
        assert!(
            !to.join("data/lab").join(name).exists() && !to.join("metadata/lab").join(format!("{name}.sql")).exists()
        );
    }
    assert!(listed(&to).keys().all(|name| !name.contains("patched") && !name.contains("mutated")));
    assert_eq!(state(&report, "sound")["state"], "restored");
    let to = engine.root().join("without");
    let report = restored(&chsnap, 3, &to, &["--native-without-updates"]);
    let left = &report["native"]["without_updates"];
    let numbers = ["tables", "patch_parts", "mutations"].map(|name| left[name].as_u64().expect("a number"));
    assert_eq!(numbers, [2, 1, 1], "{report:#}");
    assert!(listed(&to).keys().all(|name| !name.contains("patch-") && !name.contains("mutation_")));
    assert!(files(&tree(&to)).keys().all(|path| !path.to_string_lossy().contains("patch-")));
    let other = start();
    other.query(&format!("RESTORE DATABASE lab FROM File('{}')", text(&to)));
    assert_eq!(other.query("SELECT sum(v), count() FROM lab.patched"), "0\t10");
    assert_eq!(other.query("SELECT sum(v), count() FROM lab.mutated"), "0\t10");
    // All of the wanted tables refused is a failure.
    let none = engine.root().join("none");
    chsnap.json(1, &["restore", "latest", "--to", text(&none), "--native", "--table", "lab.patched"]);
    assert!(!none.exists(), "nothing is written where all is refused");
    // Once the updates are applied there is nothing to refuse.
    engine.query("SYSTEM START MERGES lab.patched");
    engine.query("ALTER TABLE lab.patched APPLY PATCHES SETTINGS mutations_sync = 2");
    chsnap.json(0, &["create"]);
    let to = engine.root().join("applied");
    restored(&chsnap, 0, &to, &["--table", "lab.patched"]);
    let other = start();
    other.query(&format!("RESTORE ALL FROM File('{}')", text(&to)));
    assert_eq!(other.query("SELECT sum(v), count() FROM lab.patched"), "20\t10");
}

#[test]
fn parts_on_an_encrypted_disk_are_refused_by_their_tables_name() {
    let coded = "<type>encrypted</type><disk>default</disk><path>coded/</path><key>0123456789abcdef</key>";
    let engine = start_with(&[("coded", coded)]);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.secret (k UInt64) ENGINE = MergeTree ORDER BY k SETTINGS storage_policy = 'coded'");
    engine.query("INSERT INTO lab.secret VALUES (1)");
    engine.query("CREATE TABLE lab.open (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.open VALUES (1)");
    let chsnap = repository(&engine);
    chsnap.run(&["create"]);
    let to = engine.root().join("to");
    let report = restored(&chsnap, 3, &to, &[]);
    let table = report["tables"].as_array().expect("tables").iter().find(|table| table["table"] == "secret");
    assert!(
        table.expect("it is named")["reason"].as_str().is_some_and(|reason| reason.contains("encrypted disk")),
        "{report:#}"
    );
    assert!(
        listed(&to).keys().any(|name| name.contains("/open/"))
            && listed(&to).keys().all(|name| !name.contains("secret"))
    );
}

/// Puts another file with one flipped byte in the place of a file.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).expect("it reads");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(path).expect("removed");
    fs::write(path, bytes).expect("written");
}

#[test]
fn files_that_restore_could_not_tell_apart_are_an_error_and_a_damaged_part_is_read() {
    let engine = start();
    engine.query("CREATE DATABASE lab");
    for table in ["a", "b"] {
        engine.query(&format!("CREATE TABLE lab.{table} (k UInt64, s String) ENGINE = MergeTree ORDER BY k"));
        engine.query(&format!("INSERT INTO lab.{table} SELECT number, toString(number) FROM numbers(1000)"));
    }
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let victim = path_of(&chsnap, &created).join("data/lab/b/all_1_1_0/data.bin");
    spoil(&victim);
    let to = engine.root().join("to");
    let error = chsnap.json(1, &["restore", "latest", "--to", text(&to), "--native"]);
    let said = error["error"].as_str().expect("an error");
    assert!(said.contains("data/lab/a/all_1_1_0/data.bin") && said.contains("data/lab/b/all_1_1_0/data.bin"), "{said}");
    assert!(!to.exists());
    // A damage that is known: refused without being asked, and with it the list has the hash of what is there.
    chsnap.json(12, &["verify", "--level", "data"]);
    let report = restored(&chsnap, 3, &to, &[]);
    assert!(report["tables"].to_string().contains("noted as damaged"), "{report:#}");
    assert!(listed(&to).keys().all(|name| !name.contains("/b/")));
    let to = engine.root().join("as-it-is");
    let report = restored(&chsnap, 3, &to, &["--damaged"]);
    assert!(report["native"]["hashed_bytes"].as_u64().expect("a number") > 1000, "{report:#}");
    let list = listed(&to);
    let (one, other) = (&list["data/lab/a/all_1_1_0/data.bin"], &list["data/lab/b/all_1_1_0/data.bin"]);
    assert!(one.0 == other.0 && one.1 != other.1, "{one:?} {other:?}");
}

#[test]
fn tables_without_parts_are_named_and_their_dumps_are_not_listed() {
    let engine = start();
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.log (k UInt64) ENGINE = Log");
    engine.query("INSERT INTO lab.log VALUES (1), (2)");
    engine.query("CREATE TABLE lab.rocks (k UInt64) ENGINE = EmbeddedRocksDB PRIMARY KEY k");
    engine.query("INSERT INTO lab.rocks VALUES (1)");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t VALUES (1)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("to");
    let report = restored(&chsnap, 3, &to, &[]);
    assert!(report["warnings"].to_string().contains("lab.rocks: its engine is EmbeddedRocksDB"), "{report:#}");
    assert!(report["warnings"].to_string().contains("lab.log: RESTORE brings back its definition alone"), "{report:#}");
    assert!(to.join("dumps/lab/log.native.zst").exists() && listed(&to).keys().all(|name| !name.starts_with("dumps")));
    let other = start();
    other.query(&format!("RESTORE DATABASE lab FROM File('{}')", text(&to)));
    assert_eq!(other.query("SELECT (SELECT count() FROM lab.log), (SELECT count() FROM lab.t)"), "0\t1");
}

#[test]
fn a_tree_is_restored_from_a_disk_of_the_server_too() {
    let engine = start();
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let disk = "<type>local</type><path>{root}/backups/</path>".to_owned();
    let config = "<backups><allowed_disk>backups</allowed_disk></backups>".to_owned();
    let options = Options { disks: vec![("backups".to_owned(), disk)], config, ..Options::default() };
    let other = Engine::start_with(Kind::V26, &options);
    restored(&chsnap, 0, &other.root().join("backups/night"), &[]);
    other.query("RESTORE DATABASE lab FROM Disk('backups', 'night')");
    for (table, query) in TABLES {
        assert_eq!(other.query(query), engine.query(query), "{table}");
    }
}

#[test]
fn a_tree_is_restored_from_s3_after_any_tool_has_copied_it_there() {
    let engine = start();
    load_more(&engine);
    let source = answers(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("to");
    restored(&chsnap, 0, &to, &[]);
    let s3 = ObjectServer::s3().unwrap_or_else(|missing| panic!("{missing}"));
    s3.put_tree(&to, "night");
    let other = start();
    let from = format!("S3('http://127.0.0.1:{}/bucket/night', '{KEY}', '{SECRET}')", s3.port);
    other.query(&format!("RESTORE DATABASE lab, DATABASE `my-db.x` FROM {from}"));
    assert_eq!(answers(&other), source);
}

#[test]
fn a_table_of_the_old_syntax_is_refused_by_name() {
    let engine = start();
    engine.query("CREATE DATABASE lab");
    let ancient = "CREATE TABLE lab.ancient (d Date, k UInt64) ENGINE = MergeTree(d, k, 8192)";
    engine.query_with(ancient, &[("allow_deprecated_syntax_for_merge_tree", "1")]).expect("a table");
    engine.query("INSERT INTO lab.ancient VALUES ('2026-01-02', 1)");
    engine.query("CREATE TABLE lab.t (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t VALUES (1)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("to");
    let report = restored(&chsnap, 3, &to, &[]);
    let table = report["tables"].as_array().expect("tables").iter().find(|table| table["table"] == "ancient");
    let table = table.expect("it is named");
    assert_eq!(table["state"], "failed", "{report:#}");
    assert!(table["reason"].as_str().is_some_and(|reason| reason.contains("old syntax")), "{report:#}");
    assert!(listed(&to).keys().all(|name| !name.contains("ancient")));
    let other = start();
    other.query(&format!("RESTORE DATABASE lab FROM File('{}')", text(&to)));
    assert_eq!(other.query("SELECT count() FROM lab.t"), "1");
    let none = engine.root().join("none");
    chsnap.json(1, &["restore", "latest", "--to", text(&none), "--native", "--table", "lab.ancient"]);
    assert!(!none.exists());
}

#[test]
fn packed_parts_are_restored_by_native_restore() {
    let engine = start();
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.t (k UInt64, s String) ENGINE = MergeTree ORDER BY k SETTINGS min_rows_for_full_part_storage = 500",
    );
    engine.query("INSERT INTO lab.t SELECT number, toString(number % 7) FROM numbers(100)");
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("to");
    restored(&chsnap, 0, &to, &[]);
    let other = start();
    other.query(&format!("RESTORE DATABASE lab FROM File('{}')", text(&to)));
    assert_eq!(other.query("SELECT count(), sum(k) FROM lab.t"), "100\t4950");
}

#[test]
fn a_user_who_runs_the_server_owns_what_is_written_for_it() {
    let engine = Engine::start_with(
        Kind::V26,
        &Options {
            uid: Some(54321),
            config: "<backups><allowed_path>/</allowed_path></backups>".to_owned(),
            ..Options::default()
        },
    );
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("new/to");
    restored(&chsnap, 0, &to, &[]);
    fs::set_permissions(engine.root(), fs::Permissions::from_mode(0o755)).expect("ours");
    // Also where no part that is asked for tells whose the server's are.
    let empty = engine.root().join("empty/to");
    restored(&chsnap, 0, &empty, &["--table", "lab.empty"]);
    for folder in [&to, &empty] {
        for path in [folder.parent().expect("a folder"), folder, &folder.join("metadata/lab"), &folder.join(".backup")]
        {
            assert_eq!(fs::metadata(path).expect("it is there").uid(), 54321, "{}", path.display());
        }
    }
    engine.query(&format!("RESTORE TABLE lab.empty AS default.empty FROM File('{}')", text(&empty)));
    // A directory that was there keeps its owner and mode: one that the server cannot enter, or list, is named.
    for (name, mode, code) in [("closed", 0o700, 3), ("unlisted", 0o711, 3), ("open", 0o755, 0)] {
        let there = engine.root().join(name);
        fs::create_dir(&there).expect("made");
        fs::set_permissions(&there, fs::Permissions::from_mode(mode)).expect("ours");
        let report = restored(&chsnap, code, &there, &[]);
        let said = report["warnings"].to_string();
        assert_eq!(said.contains("may not be able to read the tree"), code == 3, "{name}: {said}");
        assert!(code == 0 || said.contains(text(&there)), "{said}");
    }
    engine.query("DROP DATABASE lab SYNC");
    engine.query(&format!("RESTORE DATABASE lab FROM File('{}')", text(&to)));
    assert_eq!(engine.query("SELECT count() FROM lab.events"), "12000");
}

#[test]
fn a_snapshot_of_18_16_is_restored_by_native_restore_of_26_9() {
    if !Kind::V18.is_installed() {
        eprintln!("SKIPPED: ClickHouse 18.16 is not installed");
        return;
    }
    let engine = Engine::start(Kind::V18);
    load(&engine);
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let to = engine.root().join("to");
    restored(&chsnap, 0, &to, &[]);
    assert!(to.join("data/lab/mv").exists() && !to.join("data/lab/%2Einner%2Emv").exists());
    let other = start();
    // The database's engine, Ordinary, is none that is made today.
    other.query("CREATE DATABASE lab");
    let settings = "SETTINGS allow_different_database_def = true";
    other.query(&format!("RESTORE DATABASE lab FROM File('{}') {settings}", text(&to)));
    for (table, query) in TABLES {
        assert_eq!(other.query(query), engine.query(query), "{table}");
    }
    assert_eq!(other.query("SELECT sum(c) FROM lab.mv"), engine.query("SELECT sum(c) FROM lab.mv"));
}

/// A full-text index, in all its files.
#[test]
fn a_text_index_is_restored_by_native_restore_and_answers() {
    let engine = start();
    engine.query("CREATE DATABASE lab");
    let settings: &[(&str, &str)] = &[("enable_full_text_index", "1")];
    let table = "CREATE TABLE lab.t (k UInt64, s String, INDEX ti s TYPE text(tokenizer = 'splitByNonAlpha')) \
                 ENGINE = MergeTree PARTITION BY k % 2 ORDER BY k SETTINGS min_bytes_for_wide_part = 0";
    engine.query_with(table, settings).expect("a table");
    engine.query(
        "INSERT INTO lab.t SELECT number, concat('word', toString(number % 100), ' and more') FROM numbers(5000)",
    );
    let chsnap = repository(&engine);
    chsnap.json(0, &["create"]);
    let (ours, theirs) = (engine.root().join("ours"), engine.root().join("theirs"));
    restored(&chsnap, 0, &ours, &[]);
    engine.query(&format!("BACKUP DATABASE lab TO File('{}')", text(&theirs)));
    let data = |tree: &Path| -> BTreeMap<String, (u64, String)> {
        listed(tree).into_iter().filter(|(name, _)| name.starts_with("data/")).collect()
    };
    assert_eq!(data(&ours), data(&theirs));
    assert!(data(&ours).keys().any(|name| name.contains("skp_idx_ti")), "{:?}", data(&ours).keys());
    let other = start();
    other.query_with(&format!("RESTORE DATABASE lab FROM File('{}')", text(&ours)), settings).expect("restored");
    let found =
        "SELECT count(), sum(k) FROM lab.t WHERE hasToken(s, 'word7') SETTINGS force_data_skipping_indices = 'ti'";
    assert_eq!(other.query(found), engine.query(found));
    assert_eq!(other.query("SELECT count(), sum(k) FROM lab.t"), engine.query("SELECT count(), sum(k) FROM lab.t"));
}

/// Tables: their names, their definitions, and what an INSERT selects.
const ODD: [(&str, &str, &str); 11] = [
    (
        "nested",
        "(k UInt64, n Nested(a UInt8, b String)) ENGINE = MergeTree ORDER BY k",
        "number, [1, 2], ['x', toString(number)]",
    ),
    (
        "wide",
        "(k UInt64, l LowCardinality(Nullable(String)), m Map(String, Array(UInt8)), t Tuple(a UInt8, `b.c` String)) ENGINE = MergeTree ORDER BY k SETTINGS min_bytes_for_wide_part = 0",
        "number, if(number % 2 = 0, NULL, 'x'), map('k', [1]), (1, 'y')",
    ),
    (
        "dynamic",
        "(k UInt64, d Dynamic, v Variant(UInt64, String)) ENGINE = MergeTree ORDER BY k SETTINGS min_bytes_for_wide_part = 0",
        "number, if(number % 2 = 0, 1::Dynamic, 's'::Dynamic), number::Variant(UInt64, String)",
    ),
    ("collapsed", "(k UInt64, s Int8) ENGINE = CollapsingMergeTree(s) ORDER BY k", "number, 1"),
    (
        "states",
        "(k UInt64, c AggregateFunction(uniq, UInt64)) ENGINE = AggregatingMergeTree ORDER BY k",
        "number % 10 AS key, uniqState(number) GROUP BY key",
    ),
    (
        "a/b.c d",
        "(`x/y.z` UInt64, `ü \"q\"` String) ENGINE = MergeTree PARTITION BY `x/y.z` % 2 ORDER BY `x/y.z` SETTINGS min_bytes_for_wide_part = 0",
        "number, 'v'",
    ),
    (
        "expr",
        "(k UInt64, a UInt64 MATERIALIZED k + 1, b UInt64 ALIAS k + 2, e UInt64 EPHEMERAL, CONSTRAINT c CHECK k < 1000) ENGINE = MergeTree ORDER BY k",
        "number",
    ),
    ("sampled", "(k UInt64) ENGINE = MergeTree ORDER BY intHash32(k) SAMPLE BY intHash32(k)", "number"),
    ("past", "(k UInt64, d DateTime) ENGINE = MergeTree ORDER BY k TTL d + INTERVAL 1 YEAR", "number, now()"),
    (
        "coded",
        "(k UInt64 CODEC(Delta, ZSTD(3)), f Float64 CODEC(Gorilla)) ENGINE = MergeTree ORDER BY k SETTINGS min_bytes_for_wide_part = 0",
        "number, number / 3",
    ),
    (
        "stat",
        "(k UInt64, PROJECTION p (SELECT k ORDER BY k), PROJECTION `q.r` (SELECT sum(k))) ENGINE = MergeTree ORDER BY tuple() SETTINGS min_bytes_for_wide_part = 0",
        "number",
    ),
];

/// Changes of them, and what has no part.
const MORE_ODD: [&str; 10] = [
    "ALTER TABLE `da-ta.b`.nested DROP COLUMN n.b",
    "ALTER TABLE `da-ta.b`.wide RENAME COLUMN l TO `l l`",
    "CREATE TABLE `da-ta.b`.buffer AS `da-ta.b`.nested ENGINE = Buffer('da-ta.b', 'nested', 1, 100, 100, 10000, 10000, 1000000, 1000000)",
    "CREATE TABLE `da-ta.b`.nul (k UInt64) ENGINE = Null",
    "CREATE TABLE `da-ta.b`.merged (k UInt64) ENGINE = Merge('da-ta.b', '^stat$')",
    "CREATE VIEW `da-ta.b`.`v w` AS SELECT k FROM `da-ta.b`.`stat`",
    "CREATE VIEW `da-ta.b`.par AS SELECT k FROM `da-ta.b`.`stat` WHERE k < {limit:UInt64}",
    "CREATE MATERIALIZED VIEW `da-ta.b`.`m-v` ENGINE = AggregatingMergeTree ORDER BY k AS SELECT k, uniqState(k) AS u FROM `da-ta.b`.nul GROUP BY k",
    "INSERT INTO `da-ta.b`.nul SELECT number FROM numbers(30)",
    "CREATE TABLE `da-ta.b`.keyed (k UInt64, v String) ENGINE = Join(ANY, LEFT, k)",
];

/// Tables that are not named elsewhere: what a part can have, and what has no part.
#[test]
fn odd_tables_are_restored_by_native_restore_or_named() {
    let engine = start();
    engine.query("CREATE DATABASE `da-ta.b`");
    let settings: &[(&str, &str)] =
        &[("allow_experimental_dynamic_type", "1"), ("allow_suspicious_low_cardinality_types", "1")];
    for (name, definition, values) in ODD {
        let name = format!("`da-ta.b`.`{name}`");
        engine
            .query_with(&format!("CREATE TABLE {name} {definition}"), settings)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let values = values.split_once(" GROUP BY ").map_or_else(
            || format!("{values} FROM numbers(100)"),
            |(values, key)| format!("{values} FROM numbers(100) GROUP BY {key}"),
        );
        let columns = if name.contains("expr") { " (k)" } else { "" };
        engine
            .query_with(&format!("INSERT INTO {name}{columns} SELECT {values}"), settings)
            .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    }
    for statement in MORE_ODD {
        engine
            .query_with(statement, &[("mutations_sync", "2"), ("alter_sync", "2")])
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let chsnap = repository(&engine);
    let created = chsnap.run(&["--json", "create"]);
    assert!(matches!(created.code, 0 | 3), "{created:?}");
    let (ours, theirs) = (engine.root().join("ours"), engine.root().join("theirs"));
    let run = chsnap.run(&["--json", "restore", "latest", "--to", text(&ours), "--native"]);
    let report: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    let failed: Vec<String> = report["tables"]
        .as_array()
        .expect("tables")
        .iter()
        .filter(|table| table["state"] == "failed")
        .map(ToString::to_string)
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
    engine.query(&format!("BACKUP DATABASE `da-ta.b` TO File('{}')", text(&theirs)));
    let names = |tree: &Path| -> BTreeMap<String, (u64, String)> {
        let mut all = listed(tree);
        all.retain(|name, _| name.starts_with("data/"));
        all
    };
    assert_eq!(names(&ours), names(&theirs));
    let definitions = |tree: &Path| -> BTreeSet<String> {
        listed(tree).into_keys().filter(|name| name.starts_with("metadata/da%2Dta")).collect()
    };
    assert_eq!(definitions(&ours), definitions(&theirs));
    let other = start();
    other
        .query_with(&format!("RESTORE DATABASE `da-ta.b` FROM File('{}')", text(&ours)), settings)
        .unwrap_or_else(|error| panic!("{error:?}"));
    for (name, ..) in ODD {
        let digest = format!("SELECT count(), sum(cityHash64(toString(*))) FROM `da-ta.b`.`{name}`");
        let digest = if name == "states" {
            "SELECT uniqMerge(c), count() FROM `da-ta.b`.states".to_owned()
        } else {
            digest.replace("toString(*)", "*")
        };
        assert_eq!(other.query(&digest), engine.query(&digest), "{name}");
    }
    assert_eq!(other.query("SELECT uniqMerge(u) FROM `da-ta.b`.`m-v`"), "30");
    assert_eq!(other.query("SELECT count() FROM `da-ta.b`.`v w`"), "100");
}
