//! Directories of tables and databases that are symbolic links.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{active_parts, other_filesystem, path_of, repository};
use crate::tree::{files, tree};

fn make(engine: &Engine, tables: &[&str]) {
    engine.query("CREATE DATABASE lab");
    for table in tables {
        engine.query(&format!(
            "CREATE TABLE lab.{table} (k UInt64, v String) ENGINE = MergeTree PARTITION BY k % 2 ORDER BY k"
        ));
        engine.query(&format!("INSERT INTO lab.{table} SELECT number, toString(number) FROM numbers(100)"));
    }
}

fn directory(engine: &Engine, table: &str) -> PathBuf {
    let parts = active_parts(engine, "lab");
    let (_, _, path) = parts.iter().find(|(name, ..)| name == table).unwrap_or_else(|| panic!("lab.{table} has parts"));
    path.parent().expect("a table's directory").to_owned()
}

/// Moves a directory elsewhere on the filesystem, and leaves a link.
fn move_behind_a_link(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
    fs::rename(from, to).expect("one filesystem");
    symlink(to, from).expect("a link");
}

/// Whether the snapshot has every active part of a table, file by file under its inode.
fn is_whole(engine: &Engine, snapshot: &Path, table: &str) -> bool {
    let parts = active_parts(engine, "lab").into_iter().filter(|(name, ..)| name == table);
    let mut parts = parts.map(|(_, part, live)| (snapshot.join("data/lab").join(table).join(part), live)).peekable();
    let inodes = |path: &Path| {
        let tree = tree(path);
        files(&tree).into_iter().map(|(path, node)| (path.to_owned(), node.inode)).collect::<Vec<_>>()
    };
    parts.peek().is_some() && parts.all(|(stored, live)| stored.is_dir() && inodes(&stored) == inodes(&live))
}

fn check(engine: &Engine, chsnap: &Chsnap, tables: &[&str]) {
    for freeze in ["all", "changed"] {
        let snapshot = path_of(chsnap, &chsnap.json(0, &["create", "--freeze", freeze]));
        for table in tables {
            assert!(is_whole(engine, &snapshot, table), "{table} with --freeze {freeze}");
        }
        chsnap.json(0, &["verify", "latest", "--level", "data"]);
    }
    let doctor = chsnap.run(&["doctor"]);
    assert!(!doctor.stdout.contains("would be skipped"), "{}", doctor.stdout);
}

#[apply(both_engines)]
fn a_table_whose_directory_is_a_symbolic_link_is_taken(engine: Engine) {
    make(&engine, &["plain", "linked", "relative"]);
    let chsnap = repository(&engine);
    for table in ["linked", "relative"] {
        let (from, to) = (directory(&engine, table), engine.root().join("elsewhere").join(table));
        engine.query(&format!("DETACH TABLE lab.{table}"));
        if table == "linked" {
            move_behind_a_link(&from, &to);
        } else {
            let beside = from.with_file_name("moved");
            fs::rename(&from, &beside).expect("one directory");
            symlink("moved", &from).expect("a link");
        }
        engine.query(&format!("ATTACH TABLE lab.{table}"));
        assert_eq!(engine.query(&format!("SELECT count() FROM lab.{table}")), "100");
    }
    check(&engine, &chsnap, &["plain", "linked", "relative"]);
}

#[apply(both_engines)]
fn a_table_whose_directory_leads_nowhere_is_skipped_by_name_and_the_others_are_taken(engine: Engine) {
    make(&engine, &["plain", "lost"]);
    let chsnap = repository(&engine);
    let (from, to) = (directory(&engine, "lost"), engine.root().join("elsewhere/lost"));
    engine.query("DETACH TABLE lab.lost");
    move_behind_a_link(&from, &to);
    engine.query("ATTACH TABLE lab.lost");
    // The server keeps what it has open, and this host cannot follow any more.
    fs::rename(&to, to.with_extension("away")).expect("one filesystem");
    let doctor = chsnap.run(&["doctor"]);
    assert!(doctor.stdout.contains("lab.lost would be skipped"), "{}", doctor.stdout);
    let created = chsnap.json(3, &["create"]);
    let warnings = created["warnings"].to_string();
    assert!(
        warnings.contains("lab.lost is not in the snapshot") && warnings.contains("cannot be opened"),
        "{warnings}"
    );
    let snapshot = path_of(&chsnap, &created);
    assert!(is_whole(&engine, &snapshot, "plain") && !snapshot.join("data/lab/lost").exists());
    // What a skipped table was is kept.
    assert!(fs::read_to_string(snapshot.join("metadata/lab/lost.sql")).expect("it is there").contains("MergeTree"));
    fs::rename(to.with_extension("away"), &to).expect("one filesystem");
    check(&engine, &chsnap, &["plain", "lost"]);
}

#[test]
fn a_database_whose_directory_is_a_symbolic_link_is_taken() {
    // Only databases without UUIDs have a directory for data of their own.
    if !Kind::V18.is_installed() {
        eprintln!("SKIPPED: this needs ClickHouse 18.16");
        return;
    }
    let engine = Engine::start(Kind::V18);
    make(&engine, &["one", "two"]);
    let chsnap = repository(&engine);
    let from = directory(&engine, "one").parent().expect("the database's directory").to_owned();
    engine.query("DETACH DATABASE lab");
    move_behind_a_link(&from, &engine.root().join("elsewhere/lab"));
    engine.query("ATTACH DATABASE lab");
    check(&engine, &chsnap, &["one", "two"]);
}

/// The first table by name: what is probed with it says nothing about the disk.
#[apply(both_engines)]
fn a_table_behind_a_link_to_another_filesystem_is_skipped_by_name_and_the_others_are_linked(engine: Engine) {
    let Some(elsewhere) = other_filesystem(engine.root()) else { return };
    make(&engine, &["aaa", "t"]);
    let (from, to) = (directory(&engine, "aaa"), elsewhere.path().join("aaa"));
    let copied = std::process::Command::new("cp").arg("-a").arg(&from).arg(&to).status().expect("cp starts");
    assert!(copied.success());
    fs::rename(&from, engine.root().join("away")).expect("moved");
    symlink(&to, &from).expect("a link");
    let chsnap = repository(&engine);
    let plan = chsnap.json(3, &["create", "--dry-run"]);
    assert_eq!(plan["copied_disks"], serde_json::json!([]), "{plan}");
    let doctor = chsnap.run(&["doctor"]);
    for place in ["auto", "link"] {
        let created = chsnap.json(3, &["create", "--place", place]);
        assert_eq!(created["placed"]["copied"]["parts"], 0, "{place}: {created}");
        assert!(is_whole(&engine, &path_of(&chsnap, &created), "t"), "{place}");
        for said in [&created, &plan] {
            let warning = &said["warning_list"][0];
            assert_eq!((&warning["kind"], &warning["table"]), (&"table_skipped".into(), &"lab.aaa".into()), "{said}");
        }
    }
    assert!(doctor.stdout.contains("lab.aaa would be skipped"), "{}", doctor.stdout);
}

#[apply(both_engines)]
fn a_detached_table_behind_a_link_to_another_filesystem_is_copied(engine: Engine) {
    make(&engine, &["plain", "away"]);
    let Some(elsewhere) = other_filesystem(engine.root()) else { return };
    let chsnap = repository(&engine);
    let (from, to) = (directory(&engine, "away"), elsewhere.path().join("away"));
    engine.query("DETACH TABLE lab.away");
    let copied = std::process::Command::new("cp").arg("-a").arg(&from).arg(&to).status().expect("cp runs");
    assert!(copied.success());
    fs::remove_dir_all(&from).expect("removed");
    symlink(&to, &from).expect("a link");
    let created = chsnap.json(3, &["create"]);
    assert_eq!(created["warning_list"][0]["kind"], "not_listed", "{created:#}");
    assert_eq!(created["warnings"].as_array().map(Vec::len), Some(1), "{created:#}");
    let snapshot = path_of(&chsnap, &created);
    let contents = |path: &Path| {
        let tree = tree(path);
        files(&tree).into_iter().map(|(path, node)| (path.to_owned(), node.content)).collect::<Vec<_>>()
    };
    let parts: Vec<PathBuf> = fs::read_dir(&to)
        .expect("a table")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("checksums.txt").is_file())
        .collect();
    assert_eq!(parts.len(), 2);
    for part in parts {
        let stored = snapshot.join("data/lab/away").join(part.file_name().expect("a name"));
        assert_eq!(contents(&stored), contents(&part), "{}", part.display());
    }
    chsnap.json(0, &["verify", "latest", "--level", "data"]);
}
