//! Parts that a verification has found damaged: an intact copy of another snapshot is restored, else nothing without
//! being asked.

use std::fs;
use std::path::Path;

use crate::engine::{Engine, apply, both_engines, rstest};
use crate::support::{path_of, repository};

/// Puts another file with one flipped byte in the place of a file: the live one, which shares its inode, stays.
fn spoil(path: &Path) {
    let mut bytes = fs::read(path).expect("it reads");
    bytes[0] ^= 1;
    let ownership = fs::metadata(path).expect("a file").permissions();
    fs::remove_file(path).expect("removed");
    fs::write(path, bytes).expect("written");
    fs::set_permissions(path, ownership).expect("its mode");
}

/// A table with one part, in a file of which the snapshot can be spoiled.
fn load(engine: &Engine) {
    engine.query("CREATE DATABASE lab");
    engine.query("CREATE TABLE lab.t (d Date, k UInt64) ENGINE = MergeTree PARTITION BY d ORDER BY k");
    engine.query("INSERT INTO lab.t SELECT '2026-01-01', number FROM numbers(10000)");
    engine.query("INSERT INTO lab.t SELECT '2026-01-02', number FROM numbers(10)");
}

/// A file of data of the larger part.
fn victim(snapshot: &Path) -> std::path::PathBuf {
    let table = snapshot.join("data/lab/t");
    let part = fs::read_dir(&table).expect("a table").map(|part| part.expect("a part").path());
    let part = part.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("20260101_")));
    let part = part.last().expect("the larger part");
    let file = fs::read_dir(part).expect("a part").map(|file| file.expect("a file").path());
    let mut data: Vec<_> = file.filter(|path| path.extension().is_some_and(|end| end == "bin")).collect();
    data.sort();
    data.pop().expect("data")
}

#[apply(both_engines)]
fn a_damaged_part_comes_from_an_intact_copy_of_another_snapshot(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"]);
    let second = chsnap.json(0, &["create"]);
    let ids = [&first, &second].map(|created| created["id"].as_str().expect("an id").to_owned());
    spoil(&victim(&path_of(&chsnap, &first)));
    chsnap.json(12, &["verify", "--level", "data"]);
    engine.query("DROP TABLE lab.t");
    let dry = chsnap.json(3, &["restore", &ids[0], "--dry-run"]);
    assert!(dry.to_string().contains(&ids[1]), "{dry:#}");
    let report = chsnap.json(3, &["restore", &ids[0], "--yes"]);
    assert_eq!(report["tables"][0]["state"], "restored", "{report:#}");
    let warning = report["tables"].to_string();
    assert!(warning.contains("intact copy") && warning.contains(&ids[1]), "{report:#}");
    assert_eq!(engine.query("SELECT count(), sum(k) FROM lab.t"), "10010\t49995045");
    // A drill proves the same and warns of it; a directory gets the same.
    let drill = chsnap.json(3, &["drill", &ids[0]]);
    assert!(drill.to_string().contains("intact copy"), "{drill:#}");
    let to = engine.root().join("to");
    let report = chsnap.json(3, &["restore", &ids[0], "--to", to.to_str().expect("text")]);
    assert!(report["tables"].to_string().contains("intact copy"), "{report:#}");
    let path = victim(&to);
    let stored = victim(&path_of(&chsnap, &second));
    assert!(fs::read(path).expect("read") == fs::read(stored).expect("read"));
}

#[apply(both_engines)]
fn a_damaged_part_without_a_copy_is_restored_only_if_that_is_asked_for(engine: Engine) {
    load(&engine);
    engine.query("SYSTEM STOP MERGES");
    let chsnap = repository(&engine);
    let first = chsnap.json(0, &["create"]);
    let second = chsnap.json(0, &["create"]);
    for created in [&first, &second] {
        spoil(&victim(&path_of(&chsnap, created)));
    }
    chsnap.json(12, &["verify", "--level", "data"]);
    engine.query("DROP TABLE lab.t");
    let run = chsnap.expect(1, &["--json", "restore", "latest", "--yes"]);
    assert!(run.stdout.contains("noted as damaged"), "{}", run.stdout);
    assert_eq!(engine.query("EXISTS TABLE lab.t"), "0");
    let to = engine.root().join("to");
    let arguments = ["restore", "latest", "--to", to.to_str().expect("text")];
    let run = chsnap.expect(1, &arguments);
    assert!(run.stderr.contains("--damaged"), "{}", run.stderr);
    let whole = engine.root().join("whole");
    chsnap.json(3, &["restore", "latest", "--damaged", "--to", whole.to_str().expect("text")]);
    // The rest of it can be had without.
    chsnap.json(0, &["restore", "latest", "--partition", "20260102", "--yes"]);
    assert_eq!(engine.query("SELECT count() FROM lab.t"), "10");
    engine.query("DROP TABLE lab.t");
    let report = chsnap.json(3, &["restore", "latest", "--damaged", "--yes"]);
    assert!(report["tables"].to_string().contains("noted as damaged"), "{report:#}");
    assert_eq!(engine.query("SELECT count() FROM lab.t"), "10010");
}

#[apply(both_engines)]
fn a_restore_and_a_drill_say_that_known_damage_may_be_missing(engine: Engine) {
    load(&engine);
    let chsnap = repository(&engine);
    let created = chsnap.json(0, &["create"]);
    let id = created["id"].as_str().expect("an id");
    let journal = chsnap.repo().join("journal");
    let month = fs::read_dir(&journal).expect("a journal").map(|entry| entry.expect("an entry").path()).next();
    let month = month.expect("a month");
    let text = fs::read_to_string(&month).expect("lines");
    fs::write(&month, format!("{{\"number\":1,\"time\n{text}")).expect("written");
    engine.query("DROP TABLE lab.t");
    for arguments in [&["restore", id, "--dry-run"][..], &["restore", id, "--yes"], &["drill", id], &["create"]] {
        let document = chsnap.json(3, arguments);
        let warnings = document["warning_list"].as_array().expect("warnings");
        let gaps = warnings.iter().filter(|warning| warning["kind"] == "journal_unreadable").count();
        assert_eq!(gaps, 1, "{arguments:?}: {document:#}");
    }
    assert_eq!(engine.query("SELECT count(), sum(k) FROM lab.t"), "10010\t49995045");
    fs::write(&month, text).expect("written");
    chsnap.json(0, &["drill", id]);
}
