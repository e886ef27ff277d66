//! Tables that are detached while a snapshot is made, and unusable definition files.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::chsnap_command::{Chsnap, Run};
use crate::freezer::{Freezer, SLOW, served_repository};

#[test]
fn a_table_that_is_detached_before_its_freeze_is_taken_as_detached() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("ch");
    let freezer = Freezer::start(&data);
    for (number, table) in [(1, SLOW), (2, "away")] {
        freezer.add_small_part_of(table, "all_1_1_0", [number, 2, 3, 4]);
    }
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(freezer.url());
    chsnap.expect(0, &["init"]);
    let path = data.to_string_lossy();
    let row = json!({
        "database": "d", "name": SLOW, "engine": "MergeTree", "uuid": "", "storage_policy": "",
        "metadata_path": format!("{path}/metadata/d/{SLOW}.sql"), "has_own_data": null,
        "create_table_query": format!("CREATE TABLE d.{SLOW} (k UInt8)"),
        "data_paths": [format!("{path}/data/d/{SLOW}/")],
    });
    let definition = "ATTACH TABLE away (k UInt8) ENGINE = MergeTree ORDER BY k\n";
    fs::write(data.join("metadata/d/away.sql"), definition).expect("written");
    let created: Value = std::thread::scope(|scope| {
        let running = scope.spawn(|| chsnap.json(3, &["create", "--freeze", "all"]));
        // The first freeze has begun, and the other one takes two seconds.
        let begun = std::time::Instant::now();
        while !freezer.shadow().exists() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        freezer.lie("tables", vec![row]);
        running.join().expect("it runs")
    });
    let list = created["warning_list"].as_array().expect("warnings");
    assert_eq!(
        (list.len(), &list[0]["kind"], &list[0]["table"]),
        (1, &"not_listed".into(), &"d.away".into()),
        "{list:#?}"
    );
    assert_eq!(created["tables"], 2, "{created:#}");
    let shown = chsnap.json(0, &["show", "latest"]);
    let tables = shown["table_list"].as_array().expect("tables");
    let away = tables.iter().find(|table| table["table"] == "away").expect("it is there");
    assert_eq!((&away["state"], &away["is_detached"]), (&"taken".into(), &true.into()), "{away:#}");
    let file = "data/d/away/all_1_1_0/k.bin";
    let snapshot = chsnap.repo().join("snapshots").join(created["id"].as_str().expect("an id"));
    let inode = |path: &std::path::Path| fs::metadata(path).expect("it is there").ino();
    assert_eq!(inode(&snapshot.join(file)), inode(&data.join(file)));
    assert_eq!(fs::read_to_string(snapshot.join("metadata/d/away.sql")).expect("it is there"), definition);
    chsnap.json(0, &["verify", "--level", "data"]);
}

#[test]
fn definition_files_that_tell_nothing_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("ch");
    let freezer = Freezer::start(&data);
    freezer.add_small_part("t", "all_1_1_0");
    let metadata = data.join("metadata");
    fs::write(metadata.join("d/empty.sql"), "").expect("written");
    symlink("nowhere.sql", metadata.join("d/dangling.sql")).expect("a link");
    fs::write(metadata.join("gone.sql"), "").expect("written");
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(freezer.url());
    chsnap.expect(0, &["init"]);
    let created = chsnap.json(3, &["create"]);
    let warnings: Vec<&str> =
        created["warnings"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    for (name, words) in
        [("d.empty", "d/empty.sql is empty"), ("d.dangling", "is a symbolic link"), ("gone", "gone.sql is empty")]
    {
        assert!(warnings.iter().any(|text| text.contains(name) && text.contains(words)), "{name}: {warnings:#?}");
    }
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    // What is not asked for is not spoken of.
    chsnap.json(0, &["create", "--table", "d.t"]);
}

/// The files of a repository that a command opens to read them, by their names.
fn opened(chsnap: &Chsnap, arguments: &[&str], name: &str) -> Option<usize> {
    let trace = chsnap.repo().with_extension("trace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-e", "trace=openat", "-o"]).arg(&trace);
    let traced = Run::of(&chsnap.under(strace, arguments).output().ok()?);
    assert!([0, 3].contains(&traced.code), "{}", traced.stderr);
    let text = fs::read_to_string(&trace).expect("a trace");
    Some(text.lines().filter(|line| line.contains(name) && line.contains("O_RDONLY")).count())
}

#[test]
fn the_journal_is_read_once_a_command() {
    let (_folder, freezer, chsnap) = served_repository();
    freezer.add_small_part("t", "all_1_1_0");
    for _ in 0..2 {
        chsnap.json(0, &["create"]);
    }
    // What a command has written itself is read once more by who asks for it.
    for (arguments, most) in [
        (&["list"][..], 1),
        (&["show", "latest"], 1),
        (&["usage"], 1),
        (&["create"], 2),
        (&["verify"], 2),
        (&["prune", "--keep-last", "9", "--dry-run"], 1),
        (&["monitor"], 1),
    ] {
        let Some(found) = opened(&chsnap, arguments, ".jsonl\"") else {
            eprintln!("SKIPPED: this needs strace");
            return;
        };
        assert!((1..=most).contains(&found), "{arguments:?} reads the journal {found} times");
    }
}
