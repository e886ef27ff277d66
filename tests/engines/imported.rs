//! Trees of other tools become snapshots, which are verified, drilled, and restored like their sources.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, Options, apply, both_engines, rstest};
use crate::native::{answers, load_more, start};
use crate::support::{TABLES, load, path_of, repository};
use crate::tree::{files, tree};

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

/// Every part is linked, sound to its last byte, and drilled.
fn is_sound(chsnap: &Chsnap, imported: &Value) {
    assert_eq!(imported["placed"]["linked"]["parts"], imported["parts"], "{imported:#}");
    let verified = chsnap.json(0, &["verify", "--level", "data"]);
    assert_eq!(verified["checked"]["parts"], imported["parts"], "{verified:#}");
}

#[test]
fn a_native_backup_becomes_a_snapshot_that_is_verified_drilled_and_restored() {
    let engine = start();
    load_more(&engine);
    let source = answers(&engine);
    let backup = engine.root().join("backup");
    engine.query(&format!("BACKUP DATABASE lab, DATABASE `my-db.x` TO File('{}')", text(&backup)));
    let before = tree(&backup);
    let chsnap = repository(&engine);
    let dry = chsnap.json(0, &["import", text(&backup), "--dry-run"]);
    assert_eq!((&dry["state"], &dry["source"]["kind"]), (&json!("planned"), &json!("native_backup")));
    assert_eq!(chsnap.json(0, &["list"])["snapshots"], json!([]));
    let imported = chsnap.json(0, &["import", text(&backup), "--name", "moved"]);
    assert_eq!((&imported["schema"], &imported["state"]), (&json!("chsnap.import.v1"), &json!("complete")));
    assert!(imported["made"].to_string().contains("inner table of lab.mv"), "{imported:#}");
    is_sound(&chsnap, &imported);
    // Files are the backup's own, those of equal files too; the backup stays as it was.
    let snapshot = path_of(&chsnap, &imported);
    let list = crate::native::listed(&backup);
    let own: BTreeMap<PathBuf, u64> =
        files(&tree(&snapshot.join("data"))).into_iter().map(|(path, node)| (path.to_owned(), node.inode)).collect();
    let is_part = |name: &&String| name.starts_with("data/lab/events/");
    for name in list.keys().filter(is_part) {
        let path = Path::new(name.strip_prefix("data/").expect("data"));
        if let Ok(file) = fs::metadata(backup.join(name)) {
            assert_eq!(own[path], file.ino(), "{name}");
        } else {
            assert!(own.contains_key(path), "a file that is equal to another one: {name}");
        }
    }
    let after = tree(&backup);
    assert!(before.iter().all(|(path, node)| after.get(path) == Some(node)) && before.len() == after.len());
    let shown = chsnap.json(0, &["show", "moved"]);
    assert_eq!(shown["imported"]["kind"], "native_backup", "{shown:#}");
    let rows = |table: &Value| table["rows"].as_u64().expect("a number");
    let sum: u64 = shown["table_list"].as_array().expect("tables").iter().map(rows).sum();
    assert_eq!(imported["rows"], sum, "{shown:#}");
    let drill = chsnap.json(0, &["drill", "moved"]);
    assert_eq!(drill["state"], "proven", "{drill:#}");
    let other = start();
    let there = chsnap.clone().url(&other.url());
    there.run(&["restore", "moved", "--yes"]);
    assert_eq!(answers(&other), source);
    // And back: a tree of it is what native RESTORE reads.
    let to = engine.root().join("again");
    chsnap.json(0, &["restore", "moved", "--to", text(&to), "--native"]);
    let third = start();
    third.query(&format!("RESTORE DATABASE lab, DATABASE `my-db.x` FROM File('{}')", text(&to)));
    assert_eq!(answers(&third), source);
    // A create after it links from it where it can, and is another snapshot.
    chsnap.json(0, &["create"]);
}

#[test]
fn a_native_backup_with_unfinished_mutations_is_imported_without_them() {
    let engine = start();
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.m (id UInt64, v UInt64) ENGINE = MergeTree ORDER BY id");
    engine.query("INSERT INTO lab.m SELECT number, 0 FROM numbers(100)");
    engine.query("SYSTEM STOP MERGES lab.m");
    engine.query("ALTER TABLE lab.m UPDATE v = 1 WHERE 1, DELETE WHERE id > 50 SETTINGS mutations_sync = 0");
    engine.query("ALTER TABLE lab.m UPDATE v = 2 WHERE id = 3 SETTINGS mutations_sync = 0");
    let backup = engine.root().join("backup");
    engine.query(&format!("BACKUP DATABASE lab TO File('{}')", text(&backup)));
    assert!(backup.join("data/lab/m/mutations").exists(), "ClickHouse keeps them in the backup");
    let chsnap = repository(&engine);
    let imported = chsnap.json(3, &["import", text(&backup)]);
    let warnings = &imported["warning_list"];
    assert_eq!(
        (&warnings[0]["kind"], &warnings[0]["table"]),
        (&json!("mutation_lost"), &json!("lab.m")),
        "{warnings:#}"
    );
    let message = "lab.m had 2 unfinished mutations when the backup was made: a restore does not run them";
    assert_eq!((&warnings[0]["message"], &warnings[1]), (&json!(message), &Value::Null));
    is_sound(&chsnap, &imported);
    assert_eq!(chsnap.json(0, &["drill", "latest"])["state"], "proven");
}

#[test]
fn a_native_backup_is_dated_by_itself_and_an_old_one_is_not_the_latest() {
    let engine = start();
    load(&engine);
    let backup = engine.root().join("backup");
    engine.query(&format!("BACKUP DATABASE lab TO File('{}')", text(&backup)));
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let imported =
        chsnap.json(0, &["import", text(&backup), "--time", "2025-01-02T03:04:05Z", "--table", "lab.events"]);
    assert_eq!(imported["id"], "2025-01-02T030405Z");
    assert_eq!(imported["table_list"].as_array().expect("tables").len(), 1);
    assert_eq!(chsnap.json(0, &["show", "latest"])["id"], created["id"]);
    let error = chsnap.json(2, &["import", text(&backup), "--table", "lab.nothing"]);
    assert!(error["error"].as_str().is_some_and(|error| error.contains("lab.nothing")), "{error:#}");
}

#[test]
fn a_native_backup_whose_files_are_named_by_their_hashes_becomes_a_snapshot() {
    let engine = start();
    load(&engine);
    let backup = engine.root().join("backup");
    let named = "SETTINGS data_file_name_generator = 'checksum', data_file_name_prefix_length = 3";
    engine.query(&format!("BACKUP DATABASE lab TO File('{}') {named}", text(&backup)));
    assert!(!backup.join("data").exists(), "the files have other names");
    let chsnap = repository(&engine);
    let imported = chsnap.json(0, &["import", text(&backup)]);
    is_sound(&chsnap, &imported);
    comes_back(&engine, &chsnap);
}

#[test]
fn copied_files_are_read_completely_and_are_no_links() {
    let engine = start();
    load(&engine);
    let backup = engine.root().join("backup");
    engine.query(&format!("BACKUP DATABASE lab TO File('{}')", text(&backup)));
    let chsnap = repository(&engine);
    let imported = chsnap.json(0, &["import", text(&backup), "--place", "copy"]);
    assert_eq!(imported["placed"]["copied"]["parts"], imported["parts"], "{imported:#}");
    let inodes = |tree: &crate::tree::Tree| {
        files(tree).values().map(|node| node.inode).collect::<std::collections::BTreeSet<u64>>()
    };
    assert!(inodes(&tree(&path_of(&chsnap, &imported).join("data"))).is_disjoint(&inodes(&tree(&backup))));
    chsnap.json(0, &["verify", "--level", "data"]);
    comes_back(&engine, &chsnap);
}

/// A copy of a native backup that is damaged by a function.
fn damaged(backup: &Path, to: &Path, damage: impl Fn(&Path)) {
    assert!(Command::new("cp").args(["-a", text(backup), text(to)]).status().expect("cp").success());
    damage(to);
}

type Change = fn(&Path);

#[test]
fn a_backup_that_is_damaged_or_lacks_something_leaves_the_repository_as_it_was() {
    let engine = start();
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (k UInt64, s String) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT number, toString(number) FROM numbers(1000)");
    let backup = engine.root().join("backup");
    engine.query(&format!("BACKUP DATABASE lab TO File('{}')", text(&backup)));
    let chsnap = repository(&engine);
    let before: Vec<PathBuf> = tree(&chsnap.repo().join("snapshots")).into_keys().collect();
    let part = "data/lab/t/all_1_1_0";
    let changes: [(&str, i32, Change); 5] = [
        ("short", 12, |root| fs::write(root.join("data/lab/t/all_1_1_0/data.bin"), b"x").expect("written")),
        ("gone", 12, |root| fs::remove_file(root.join("data/lab/t/all_1_1_0/data.bin")).expect("removed")),
        ("link", 12, |root| {
            let path = root.join("data/lab/t/all_1_1_0/columns.txt");
            fs::remove_file(&path).expect("removed");
            std::os::unix::fs::symlink("/etc/hostname", &path).expect("a link");
        }),
        ("columns", 12, |root| {
            let path = root.join("data/lab/t/all_1_1_0/columns.txt");
            let other = fs::read_to_string(&path).expect("read").replace("UInt64", "Int64 ");
            fs::write(&path, other).expect("written");
        }),
        ("definition", 12, |root| {
            let path = root.join("metadata/lab/t.sql");
            let other = fs::read_to_string(&path).expect("read").replace("UInt64", "Int64 ");
            fs::write(&path, other).expect("written");
        }),
    ];
    assert!(backup.join(part).exists());
    for (name, code, change) in changes {
        let copy = engine.root().join(name);
        damaged(&backup, &copy, change);
        chsnap.json(code, &["import", text(&copy)]);
        let now: Vec<PathBuf> = tree(&chsnap.repo().join("snapshots")).into_keys().collect();
        assert_eq!(now, before, "{name}");
        let left = ["incoming", "trash"].map(|place| tree(&chsnap.repo().join(place)).len());
        assert_eq!(left, [0, 0], "{name}");
    }
    // A flipped byte of data: the import looks at sizes as create does; who copies reads every byte.
    let copy = engine.root().join("flipped");
    damaged(&backup, &copy, |root| {
        let path = root.join("data/lab/t/all_1_1_0/data.bin");
        let mut bytes = fs::read(&path).expect("read");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&path, bytes).expect("written");
    });
    let refused = chsnap.json(12, &["import", text(&copy), "--place", "copy"]);
    assert!(refused["reason"].as_str().is_some_and(|reason| reason.contains("all_1_1_0")), "{refused:#}");
    chsnap.json(0, &["import", text(&copy)]);
    chsnap.json(12, &["verify", "--level", "data"]);
}

/// The kinds and tables of the warnings of an import.
fn kinds_of(imported: &Value) -> Vec<(String, String)> {
    let text = |warning: &Value, name: &str| warning[name].as_str().unwrap_or_default().to_owned();
    let warnings = imported["warning_list"].as_array().expect("warnings");
    warnings.iter().map(|warning| (text(warning, "kind"), text(warning, "table"))).collect()
}

/// A table `lab.t` of one wide part.
fn one_part(engine: &Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query(
        "CREATE TABLE lab.t (k UInt64, s String) ENGINE = MergeTree ORDER BY k SETTINGS min_bytes_for_wide_part = 0",
    );
    engine.query("INSERT INTO lab.t SELECT number, toString(number) FROM numbers(1000)");
}

const DEFINITION: &str =
    "ATTACH TABLE t (k UInt64, s String) ENGINE = MergeTree ORDER BY k SETTINGS index_granularity = 8192";

/// A tree of frozen parts of `lab.t`, and a directory of definitions.
fn frozen(engine: &Engine, to: &Path) -> PathBuf {
    for (table, part, path) in crate::support::active_parts(engine, "lab") {
        let dir = to.join("data/lab").join(table);
        fs::create_dir_all(&dir).expect("made");
        damaged(&path, &dir.join(part), |_| ());
    }
    let metadata = to.with_extension("metadata");
    fs::create_dir_all(metadata.join("lab")).expect("made");
    fs::write(metadata.join("lab/t.sql"), DEFINITION).expect("written");
    metadata
}

/// What is done to the directory of a part.
type PartChange<'a> = &'a dyn Fn(&Path);

#[test]
fn no_reader_takes_an_incomplete_part() {
    let engine = start();
    one_part(&engine);
    let chsnap = repository(&engine);
    let (native, other, shadow) =
        (engine.root().join("native"), engine.root().join("other"), engine.root().join("shadow"));
    engine.query(&format!("BACKUP DATABASE lab TO File('{}')", text(&native)));
    fs::create_dir(&other).expect("made");
    clickhouse_backup(&engine, &other);
    let metadata = frozen(&engine, &shadow);
    let trees: [(&Path, &str, &[&str]); 3] = [
        (&native, "data/lab/t/all_1_1_0", &[]),
        (&other, "shadow/lab/t/default/all_1_1_0", &[]),
        (&shadow, "data/lab/t/all_1_1_0", &["--metadata", text(&metadata)]),
    ];
    let remove = |path: PathBuf| fs::remove_file(path).expect("removed");
    let changes: [(&str, PartChange<'_>); 6] = [
        ("empty", &|part| {
            fs::remove_dir_all(part).expect("removed");
            fs::create_dir(part).expect("made");
        }),
        ("checksums", &|part| remove(part.join("checksums.txt"))),
        ("checksums and a column", &|part| {
            remove(part.join("checksums.txt"));
            remove(part.join("k.bin"));
        }),
        ("checksums and a byte", &|part| {
            remove(part.join("checksums.txt"));
            let mut bytes = fs::read(part.join("k.bin")).expect("read");
            bytes[30] ^= 1;
            fs::write(part.join("k.bin"), bytes).expect("written");
        }),
        ("columns", &|part| remove(part.join("columns.txt"))),
        ("count", &|part| fs::write(part.join("count.txt"), "9999").expect("written")),
    ];
    for (tree_of, part, arguments) in trees {
        for (name, change) in &changes {
            let copy = engine.root().join("copy");
            damaged(tree_of, &copy, |root| change(&root.join(part)));
            let arguments: Vec<&str> = ["import", text(&copy)].iter().chain(arguments).copied().collect();
            let refused = chsnap.json(12, &arguments);
            assert!(
                refused["error"].to_string().contains("all_1_1_0")
                    || refused["reason"].to_string().contains("all_1_1_0"),
                "{}: {name}: {refused:#}",
                tree_of.display()
            );
            fs::remove_dir_all(&copy).expect("removed");
        }
        let arguments: Vec<&str> = ["import", text(tree_of), "--dry-run"].iter().chain(arguments).copied().collect();
        chsnap.json(0, &arguments);
    }
    // Entries that were taken out of the list, their files too or not.
    for left_out in ["checksums.txt", "columns.txt", "count.txt", "k.bin", "all_1_1_0", "metadata/lab/t.sql"] {
        let copy = engine.root().join("copy");
        damaged(&native, &copy, |root| {
            let list = fs::read_to_string(root.join(".backup")).expect("a list");
            let (head, files) = list.split_once("<contents>").expect("contents");
            let (files, tail) = files.split_once("</contents>").expect("contents");
            let kept = files.split_inclusive("</file>").filter(|file| !file.contains(left_out));
            let list = format!("{head}<contents>{}</contents>{tail}", kept.collect::<String>());
            fs::write(root.join(".backup"), list).expect("written");
        });
        chsnap.json(12, &["import", text(&copy)]);
        if left_out == "checksums.txt" || left_out == "columns.txt" {
            remove(copy.join("data/lab/t/all_1_1_0").join(left_out));
            chsnap.json(12, &["import", text(&copy)]);
        }
        fs::remove_dir_all(&copy).expect("removed");
    }
    assert_eq!(chsnap.json(0, &["list"])["snapshots"], json!([]));
}

#[test]
fn links_among_frozen_parts_are_an_error_and_what_the_tree_lacks_is_a_warning_by_name() {
    let engine = start();
    one_part(&engine);
    let chsnap = repository(&engine);
    let shadow = engine.root().join("shadow");
    let metadata = frozen(&engine, &shadow);
    let arguments = ["import", text(&shadow), "--metadata", text(&metadata)];
    for linked in ["data/lab/t/all_1_1_0", "data/lab/t", "data/lab", "data"] {
        let (path, aside) = (shadow.join(linked), engine.root().join("aside"));
        fs::rename(&path, &aside).expect("moved");
        std::os::unix::fs::symlink(&aside, &path).expect("a link");
        let refused = chsnap.json(1, &arguments);
        assert!(refused.to_string().contains("is a symbolic link"), "{linked}: {refused:#}");
        fs::remove_file(&path).expect("removed");
        fs::rename(&aside, &path).expect("moved");
    }
    let define = |name: &str, text: &str| fs::write(metadata.join("lab").join(name), text).expect("written");
    define("lost.sql", &DEFINITION.replace("TABLE t", "TABLE lost"));
    define("log.sql", "ATTACH TABLE log (k UInt64) ENGINE = Log");
    define("t.sql", &format!("{DEFINITION}, storage_policy = 'tiered'"));
    let imported = chsnap.json(3, &arguments);
    let left = |table: &str| ("data_left_behind".to_owned(), table.to_owned());
    assert_eq!(kinds_of(&imported), [left("lab.log"), left("lab.lost"), left("lab.t")], "{imported:#}");
    assert_eq!(imported["rows"], 1000, "{imported:#}");
}

#[test]
fn of_two_parts_only_the_covering_one_is_taken() {
    let engine = start();
    one_part(&engine);
    let chsnap = repository(&engine);
    let shadow = engine.root().join("shadow");
    frozen(&engine, &shadow);
    engine.query("INSERT INTO lab.t SELECT number, toString(number) FROM numbers(500)");
    engine.query("OPTIMIZE TABLE lab.t FINAL");
    let metadata = frozen(&engine, &shadow);
    let parts = || fs::read_dir(shadow.join("data/lab/t")).expect("parts").count();
    assert_eq!(parts(), 2);
    let arguments = ["import", text(&shadow), "--metadata", text(&metadata)];
    let imported = chsnap.json(3, &arguments);
    assert_eq!(kinds_of(&imported), [("parts_covered".to_owned(), "lab.t".to_owned())], "{imported:#}");
    assert_eq!((&imported["rows"], &imported["parts"]), (&json!(1500), &json!(1)), "{imported:#}");
    let merged = shadow.join("data/lab/t/all_1_2_1");
    damaged(&merged, &shadow.join("data/lab/t/all_2_3_1"), |_| ());
    let imported = chsnap.json(3, &arguments);
    assert!(imported["warnings"].to_string().contains("all_1_2_1 and all_2_3_1 overlap"), "{imported:#}");
    assert_eq!(imported["parts"], 0, "{imported:#}");
}

#[test]
fn tables_of_clickhouse_backup_without_their_json_file_are_skipped_by_name() {
    let engine = start();
    one_part(&engine);
    engine.query("CREATE TABLE lab.u (k UInt64) ENGINE = MergeTree ORDER BY k");
    engine.query("INSERT INTO lab.u VALUES (1)");
    let chsnap = repository(&engine);
    let backup = engine.root().join("backup");
    fs::create_dir(&backup).expect("made");
    clickhouse_backup(&engine, &backup);
    fs::remove_file(backup.join("metadata/lab/u.json")).expect("removed");
    let imported = chsnap.json(3, &["import", text(&backup)]);
    assert!(imported["warnings"].to_string().contains("lab.u is skipped"), "{imported:#}");
    // In no list at all, but with parts.
    let list = fs::read_to_string(backup.join("metadata.json")).expect("a list");
    let mut list: Value = serde_json::from_str(&list).expect("JSON");
    list["tables"] = json!([{"database": "lab", "table": "t"}, {"database": "lab", "table": "gone"}]);
    fs::write(backup.join("metadata.json"), list.to_string()).expect("written");
    let imported = chsnap.json(3, &["import", text(&backup)]);
    for table in ["lab.u", "lab.gone"] {
        assert!(imported["warnings"].to_string().contains(&format!("{table} is skipped")), "{imported:#}");
    }
    assert_eq!(imported["rows"], 1000, "{imported:#}");
    // A part that its JSON file does not list.
    let disk = backup.join("shadow/lab/t/default");
    damaged(&disk.join("all_1_1_0"), &disk.join("all_7_7_0"), |_| ());
    let imported = chsnap.json(3, &["import", text(&backup)]);
    assert!(imported["warnings"].to_string().contains("lab.t is skipped"), "{imported:#}");
}

#[test]
fn a_date_in_the_future_or_of_garbage_is_not_believed() {
    let engine = start();
    one_part(&engine);
    let chsnap = repository(&engine);
    let backup = engine.root().join("backup");
    engine.query(&format!("BACKUP DATABASE lab TO File('{}')", text(&backup)));
    let refused = chsnap.json(2, &["import", text(&backup), "--time", "2199-01-01T00:00:00Z"]);
    assert!(refused["error"].to_string().contains("in the future"), "{refused:#}");
    let list = fs::read_to_string(backup.join(".backup")).expect("a list");
    let (head, rest) = list.split_once("<timestamp>").expect("a time");
    let (_, tail) = rest.split_once("</timestamp>").expect("a time");
    for (day, time) in ["2199-01-01 00:00:00", "yesterday"].iter().enumerate() {
        fs::write(backup.join(".backup"), format!("{head}<timestamp>{time}</timestamp>{tail}")).expect("written");
        let date = format!("2025-03-0{}T04:05:06Z", day + 1);
        let touched = Command::new("touch").args(["-d", &date, text(&backup)]).status().expect("touch");
        assert!(touched.success());
        let imported = chsnap.json(3, &["import", text(&backup)]);
        assert_eq!(imported["time"], date, "{imported:#}");
        assert_eq!(kinds_of(&imported), [("time_unknown".to_owned(), String::new())], "{imported:#}");
    }
}

/// The name of the backups that [`clickhouse_backup`] makes.
const NAME: &str = "2026-11-22T02-00-00";

/// `TablePathEncode` of clickhouse-backup: what `url.PathEscape` of Go escapes, and what it leaves of punctuation.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// What `clickhouse-backup create` leaves on a host, by its sources: `metadata.json`, a JSON file a table, and the parts of
/// each disk below `<disk>/backup/<name>/shadow/<database>/<table>/<disk>/`. Of the first disk all that is at `to`.
fn clickhouse_backup(engine: &Engine, to: &Path) {
    let shell = |script: &str, arguments: &[&Path]| {
        let status = Command::new("sh").args(["-euc", script, "sh"]).args(arguments).status().expect("sh");
        assert!(status.success(), "{script}");
    };
    let rows = |sql: &str| -> Vec<Value> {
        engine.query(sql).lines().map(|line| serde_json::from_str(line).expect("a row")).collect()
    };
    let is_modern = engine.kind() == Kind::V26;
    let disks: BTreeMap<String, PathBuf> = if is_modern {
        let rows = rows("SELECT name, path FROM system.disks FORMAT JSONEachRow");
        let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
        rows.iter().map(|row| (text(row, "name"), PathBuf::from(text(row, "path")))).collect()
    } else {
        BTreeMap::from([("default".to_owned(), engine.data_path().to_owned())])
    };
    let shadow_of = |disk: &str| match disk {
        "default" => to.join("shadow"),
        disk => disks[disk].join("backup").join(NAME).join("shadow"),
    };
    let own = "name NOT IN ('system', 'default', 'INFORMATION_SCHEMA', 'information_schema')";
    let mut titles = Vec::new();
    let mut databases = Vec::new();
    for database in rows(&format!("SELECT name, engine FROM system.databases WHERE {own} FORMAT JSONEachRow")) {
        let (database, kind) = (database["name"].as_str().expect("a name"), database["engine"].as_str().expect("one"));
        let quoted = crate::support::quoted(database);
        databases.push(
            json!({"name": database, "engine": kind, "query": format!("CREATE DATABASE {quoted} ENGINE = {kind}")}),
        );
        let text = database.replace('\'', "\\'");
        let with_uuid = if is_modern { "SETTINGS show_table_uuid_in_table_create_query_if_not_nil = 1" } else { "" };
        for row in rows(&format!(
            "SELECT name, engine, create_table_query FROM system.tables WHERE database = '{text}' {with_uuid} FORMAT JSONEachRow"
        )) {
            let name = row["name"].as_str().expect("a name");
            let disk = if is_modern { "disk_name" } else { "'default'" };
            let listed = rows(&format!(
                "SELECT name, path, {disk} AS disk FROM system.parts WHERE active AND database = '{text}' AND table = '{}' \
                 FORMAT JSONEachRow",
                name.replace('\'', "\\'")
            ));
            let mut parts: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
            for part in &listed {
                let (disk, part_name) =
                    (part["disk"].as_str().expect("a disk"), part["name"].as_str().expect("a name"));
                let below = shadow_of(disk).join(encoded(database)).join(encoded(name)).join(disk);
                fs::create_dir_all(&below).expect("made");
                shell(
                    "cp -al \"$1\" \"$2\"",
                    &[Path::new(part["path"].as_str().expect("a path")), &below.join(part_name)],
                );
                parts.entry(disk).or_default().push(json!({"name": part_name}));
            }
            let has_parts = row["engine"].as_str().is_some_and(|engine| engine.ends_with("MergeTree"));
            let size: BTreeMap<&str, u64> = parts.keys().map(|disk| (*disk, 1)).collect();
            let table = json!({
                "table": name, "database": database, "parts": if has_parts { json!(parts) } else { Value::Null },
                "query": row["create_table_query"], "size": if has_parts { json!(size) } else { Value::Null },
                "total_bytes": 1, "metadata_only": false,
            });
            let metadata = to.join("metadata").join(encoded(database));
            fs::create_dir_all(&metadata).expect("made");
            let text = serde_json::to_string_pretty(&table).expect("JSON");
            fs::write(metadata.join(format!("{}.json", encoded(name))), text).expect("written");
            titles.push(json!({"database": database, "table": name}));
        }
    }
    let kinds: BTreeMap<&String, &str> = disks.keys().map(|disk| (disk, "local")).collect();
    let backup = json!({
        "backup_name": NAME, "disks": disks, "disk_types": kinds, "version": "2.5.20",
        "creation_date": "2026-11-22T02:00:00.123456789Z", "tags": "regular", "clickhouse_version": "v18.16.1",
        "data_size": 1, "metadata_size": 1, "databases": databases, "tables": titles, "functions": null, "data_format": "",
    });
    fs::write(to.join("metadata.json"), serde_json::to_string_pretty(&backup).expect("JSON")).expect("written");
}

/// A restore of it all into another engine of the same kind gives the same rows.
fn comes_back(engine: &Engine, chsnap: &Chsnap) {
    let other = Engine::start(engine.kind());
    let run = chsnap.clone().url(&other.url()).run(&["restore", "latest", "--yes"]);
    assert!(matches!(run.code, 0 | 3), "{}\n{}", run.stdout, run.stderr);
    for (table, query) in TABLES {
        assert_eq!(other.query(query), engine.query(query), "{table}");
    }
    assert_eq!(other.query("SELECT sum(c) FROM lab.mv"), engine.query("SELECT sum(c) FROM lab.mv"));
}

#[apply(both_engines)]
fn a_backup_of_clickhouse_backup_becomes_a_snapshot(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let backup = engine.root().join("backup/2026-11-22T02-00-00");
    fs::create_dir_all(&backup).expect("made");
    clickhouse_backup(&engine, &backup);
    let chsnap = repository(&engine);
    let imported = chsnap.json(0, &["import", text(&backup)]);
    assert_eq!(
        imported["source"],
        json!({"kind": "clickhouse_backup", "name": "2026-11-22T02-00-00", "path": text(&backup)})
    );
    assert_eq!(imported["id"], "2026-11-22T020000Z");
    is_sound(&chsnap, &imported);
    let drill = chsnap.json(0, &["drill", "latest"]);
    assert_eq!(drill["state"], "proven", "{drill:#}");
    comes_back(&engine, &chsnap);
    // A part that is listed and not there: its table is skipped, by name.
    let lost = fs::read_dir(backup.join("shadow/lab/plain/default"))
        .expect("parts")
        .next()
        .expect("a part")
        .expect("a part")
        .path();
    fs::remove_dir_all(&lost).expect("removed");
    let imported = chsnap.json(3, &["import", text(&backup)]);
    assert!(imported["warnings"].to_string().contains("lab.plain is skipped"), "{imported:#}");
}

#[apply(both_engines)]
fn a_copy_of_shadow_with_the_servers_definitions_becomes_a_snapshot(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    for (table, _) in TABLES {
        engine.query(&format!("ALTER TABLE lab.{table} FREEZE WITH NAME 'old'"));
    }
    let inner = engine.query("SELECT name FROM system.tables WHERE database = 'lab' AND name LIKE '.inner%'");
    engine.query(&format!("ALTER TABLE lab.`{inner}` FREEZE WITH NAME 'old'"));
    let copy = engine.root().join("copy");
    let status = Command::new("cp").args(["-al", text(&engine.data_path().join("shadow/old")), text(&copy)]).status();
    assert!(status.expect("cp").success());
    let chsnap = repository(&engine);
    chsnap.json(1, &["import", text(&copy)]);
    let metadata = engine.data_path().join("metadata");
    let imported = chsnap.json(3, &["import", text(&copy), "--metadata", text(&metadata)]);
    assert_eq!(imported["source"]["kind"], "shadow", "{imported:#}");
    // Nothing tells an empty table from one that was not frozen.
    assert_eq!(kinds_of(&imported), [("data_left_behind".to_owned(), "lab.empty".to_owned())], "{imported:#}");
    is_sound(&chsnap, &imported);
    let drill = chsnap.json(0, &["drill", "latest"]);
    assert_eq!(drill["state"], "proven", "{drill:#}");
    comes_back(&engine, &chsnap);
}

#[test]
fn rows_of_parts_of_the_oldest_kind_are_derived_from_their_columns() {
    if !Kind::V18.is_installed() {
        eprintln!("SKIPPED: ClickHouse 18.16 is not installed");
        return;
    }
    let engine = Engine::start(Kind::V18);
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.ancient (d Date, s String, k UInt64) ENGINE = MergeTree(d, k, 8192)");
    engine.query("INSERT INTO lab.ancient SELECT toDate('2026-01-02'), toString(number), number FROM numbers(10000)");
    engine.query("INSERT INTO lab.ancient SELECT toDate('2026-02-02'), toString(number), number FROM numbers(77)");
    engine.query("ALTER TABLE lab.ancient FREEZE WITH NAME 'old'");
    let copy = engine.root().join("copy");
    let status = Command::new("cp").args(["-al", text(&engine.data_path().join("shadow/old")), text(&copy)]).status();
    assert!(status.expect("cp").success());
    assert!(files(&tree(&copy)).keys().all(|path| !path.ends_with("count.txt")), "these parts have none");
    let chsnap = repository(&engine);
    let metadata = engine.data_path().join("metadata");
    let imported = chsnap.json(0, &["import", text(&copy), "--metadata", text(&metadata)]);
    assert_eq!((&imported["rows"], &imported["table_list"][0]["rows"]), (&json!(10077), &json!(10077)), "{imported:#}");
    let drill = chsnap.json(0, &["drill", "latest"]);
    assert_eq!(drill["state"], "proven", "{drill:#}");
}

/// Several disks, each with its own part of the backup; names that are escaped; an increment; an archive.
#[test]
fn a_backup_of_several_disks_is_whole_once_the_parts_of_all_are_in_the_tree() {
    let second = [("second", "<type>local</type><path>{root}/second/</path>")];
    let disks = || second.iter().map(|(name, disk)| ((*name).to_owned(), (*disk).to_owned())).collect();
    let engine = Engine::start_with(Kind::V26, &Options { disks: disks(), ..Options::default() });
    let table = "`my-db.x é`.`a/b``c \"x\" 'y' ~+%41`";
    engine.query("CREATE DATABASE `my-db.x é`");
    engine.query(&format!(
        "CREATE TABLE {table} (k UInt64, s String) ENGINE = MergeTree PARTITION BY k % 2 ORDER BY k \
         SETTINGS storage_policy = 'second'"
    ));
    engine.query(&format!("INSERT INTO {table} SELECT number, toString(number) FROM numbers(1000)"));
    one_part(&engine);
    let digest = format!("SELECT count(), sum(cityHash64(k, s)) FROM {table}");
    let backup = engine.root().join("backup").join(NAME);
    fs::create_dir_all(&backup).expect("made");
    clickhouse_backup(&engine, &backup);
    let chsnap = repository(&engine);
    let elsewhere = engine.root().join("second/backup").join(NAME).join("shadow");
    assert!(elsewhere.exists());
    let imported = chsnap.json(3, &["import", text(&backup)]);
    let said = imported["warnings"].to_string();
    assert!(said.contains("is skipped") && said.contains(text(&elsewhere)), "{said}");
    assert_eq!(imported["rows"], 1000, "the other table is there: {imported:#}");
    let status =
        Command::new("cp").args(["-al", &format!("{}/.", text(&elsewhere)), text(&backup.join("shadow"))]).status();
    assert!(status.expect("cp").success());
    let imported = chsnap.json(0, &["import", text(&backup)]);
    assert_eq!(imported["rows"], 2000, "{imported:#}");
    chsnap.json(0, &["verify", "--level", "data"]);
    assert_eq!(chsnap.json(0, &["drill", "latest"])["state"], "proven");
    let other = Engine::start_with(Kind::V26, &Options { disks: disks(), ..Options::default() });
    chsnap.clone().url(&other.url()).json(0, &["restore", "latest", "--yes"]);
    assert_eq!(other.query(&digest), engine.query(&digest));
    // An increment: a part that only the earlier backup has.
    let change = |path: &Path, change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&fs::read_to_string(path).expect("it reads")).expect("JSON");
        change(&mut value);
        fs::write(path, value.to_string()).expect("written");
    };
    let (list, of_t) = (backup.join("metadata.json"), backup.join("metadata/lab/t.json"));
    change(&list, &|list| list["required_backup"] = "2026-11-21T02-00-00".into());
    // Downloaded, it has all its parts.
    assert_eq!(chsnap.json(0, &["import", text(&backup)])["rows"], 2000);
    change(&of_t, &|table| table["parts"]["default"][0]["required"] = true.into());
    fs::remove_dir_all(backup.join("shadow/lab/t")).expect("removed");
    let imported = chsnap.json(3, &["import", text(&backup)]);
    let said = imported["warnings"].to_string();
    assert!(said.contains("lab.t is skipped") && said.contains("the backup 2026-11-21T02-00-00"), "{said}");
    for (name, value, why) in [("data_format", "tar", "holds archives"), ("tags", "regular,embedded", "is embedded")] {
        change(&list, &|list| list[name] = value.into());
        let refused = chsnap.json(1, &["import", text(&backup)]);
        assert!(refused["error"].as_str().is_some_and(|error| error.contains(why)), "{refused}");
        change(&list, &|list| list[name] = if name == "tags" { "regular".into() } else { "".into() });
    }
}
