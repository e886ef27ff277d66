//! A chown or chmod of live data between two snapshots, whose files are the same inodes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use serde_json::{Value, json};

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{TABLES, active_parts, escaped, load, path_of, repository};

fn each_below(path: &Path, change: &dyn Fn(&Path)) {
    change(path);
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            each_below(&entry.expect("an entry").path(), change);
        }
    }
}

/// `create` that freezes nothing: every part is linked from the last snapshot.
fn create_linked(chsnap: &Chsnap) -> Value {
    let run = chsnap.expect(0, &["-v", "--json", "--progress", "none", "create"]);
    assert!(!run.stderr.contains("FREEZE"), "{}", run.stderr);
    serde_json::from_str(&run.stdout).expect("JSON")
}

fn id(created: &Value) -> &str {
    created["id"].as_str().expect("an id")
}

#[apply(both_engines)]
fn parts_linked_after_a_chown_are_recorded_with_the_current_owner(engine: Engine) {
    if chsnap::fs::user_id() != 0 {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"]);
    chsnap.json(0, &["verify"]);
    let parts = active_parts(&engine, "lab");
    let before = fs::metadata(&parts[0].2).expect("a part");
    for (_, _, path) in &parts {
        each_below(path, &|path| chown(path, Some(101), Some(102)).expect("given away"));
    }
    let second = create_linked(&chsnap);
    chsnap.json(0, &["verify", "latest", "--level", "data"]);
    let document = chsnap.json(3, &["verify", "--level", "data"]);
    assert_eq!((&document["state"], &document["damage"]), (&json!("drifted"), &json!([])), "{document}");
    let drift = document["drift"].as_array().expect("rows");
    // A part's directory is the snapshot's own: only its files have drifted.
    assert_eq!(drift.len() as u64, first["parts"].as_u64().expect("a number"), "{document}");
    for row in drift {
        assert_eq!(
            (&row["kind"], &row["snapshots"], &row["found"]),
            (&json!("owner"), &json!([id(&first)]), &json!("101:102")),
            "{row}"
        );
    }
    // Directories of the new snapshot are the new owner's as well, those of the old one stay as they were.
    let directory = |created: &Value| {
        let stat =
            fs::metadata(path_of(&chsnap, created).join("data/lab").join(escaped(&parts[0].0)).join(&parts[0].1))
                .expect("a part");
        (stat.uid(), stat.gid())
    };
    assert_eq!((directory(&second), directory(&first)), ((101, 102), (before.uid(), before.gid())));
    assert!(chsnap.expect(3, &["list"]).stdout.contains("drift data"));
    // A chmod on top of it, and real damage in the middle of both.
    let file = data_file(&path_of(&chsnap, &second));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
    let document = chsnap.json(3, &["verify", "latest"]);
    assert_eq!(document["drift"].as_array().map(Vec::len), Some(1), "{document}");
    assert_eq!((&document["drift"][0]["kind"], &document["drift"][0]["found"]), (&json!("mode"), &json!("0600")));
    let sound = fs::read(&file).expect("read");
    let mut spoilt = sound.clone();
    spoilt[0] ^= 1;
    fs::write(&file, &spoilt).expect("written");
    let document = chsnap.json(12, &["verify", "--level", "data"]);
    assert_eq!(
        (&document["state"], document["damage"].as_array().map(Vec::len)),
        (&json!("damaged"), Some(1)),
        "{document}"
    );
    assert_eq!(document["damage"][0]["kind"], "content");
    fs::write(&file, &sound).expect("written");
    chsnap.json(3, &["verify", "--level", "data"]);
    // Drift is no damage: the next snapshot is linked from there, and everything comes back.
    let third = create_linked(&chsnap);
    chsnap.json(0, &["verify", id(&third), "--level", "data"]);
    let answers = |engine: &Engine| TABLES.map(|(_, query)| engine.query(query));
    let expected = answers(&engine);
    engine.query("DROP DATABASE lab");
    chsnap.json(0, &["restore", id(&second), "--all", "--yes"]);
    assert_eq!(answers(&engine), expected);
}

#[apply(both_engines)]
fn a_chmod_of_live_files_is_drift_until_it_is_recorded_or_undone(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"]);
    let change = |mode: u32| {
        for (_, _, path) in active_parts(&engine, "lab") {
            each_below(&path, &|path| {
                if path.is_file() {
                    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
                }
            });
        }
    };
    change(0o400);
    let document = chsnap.json(3, &["verify"]);
    let rows = document["drift"].as_array().expect("rows");
    assert!(rows.iter().all(|row| (&row["kind"], &row["found"]) == (&json!("mode"), &json!("0400"))), "{document}");
    let second = create_linked(&chsnap);
    chsnap.json(0, &["verify", id(&second)]);
    chsnap.json(3, &["verify", id(&first)]);
    change(0o440);
    chsnap.json(0, &["verify", id(&first)]);
    chsnap.json(3, &["verify", id(&second)]);
}

/// A file of a column in a snapshot.
fn data_file(snapshot: &Path) -> std::path::PathBuf {
    let found = std::cell::RefCell::new(None);
    each_below(&snapshot.join("data/lab/events"), &|path| {
        if path.file_name().is_some_and(|name| name == "id.bin") {
            found.borrow_mut().get_or_insert_with(|| path.to_owned());
        }
    });
    found.into_inner().expect("a file")
}
