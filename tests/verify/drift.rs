//! Drift: owners and modes that differ from the record are reported with a remedy, and are no damage; damage next to
//! them is found.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use chsnap::model::{Level, SnapshotId};
use chsnap::ops::verify::Repair;
use serde_json::{Value, json};

use crate::chsnap_command::Chsnap;
use crate::store::{Store, part, request};

const FILE: &str = "data/d/one/all_1_1_0/c4.bin";
const YOUNG: [&str; 4] = ["--warn", "100000h", "--crit", "100000h"];

/// Two tables with two parts each, in two snapshots that share the live inodes.
fn store() -> (Store, Chsnap, Vec<SnapshotId>) {
    let store = Store::new();
    for (table, seed) in [("one", 5), ("two", 7)] {
        store.put(table, "all_1_1_0", &part(seed, 5, true));
        store.put(table, "all_2_2_0", &part(seed + 1, 3, false));
    }
    let ids = vec![store.snapshot(), store.snapshot()];
    let chsnap = Chsnap::new(&store.repo());
    (store, chsnap, ids)
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

fn set_modes(paths: &[PathBuf], mode: u32) {
    for path in paths {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }
}

/// Makes all files that a table has live belong to somebody else, as `chown -R` does. False where this user may not.
fn give_away(store: &Store, table: &str) -> bool {
    if chsnap::fs::user_id() != 0 {
        eprintln!("SKIPPED: only root can give files away");
        return false;
    }
    for path in files_below(&store.live().join(table)) {
        chown(path, Some(101), Some(102)).expect("given away");
    }
    true
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).expect("read");
    bytes[0] ^= 1;
    fs::write(path, bytes).expect("written");
}

fn kinds(rows: &Value) -> Vec<(&str, &str)> {
    let rows = rows.as_array().expect("rows").iter();
    rows.map(|row| (row["kind"].as_str().expect("a text"), row["table"].as_str().expect("a text"))).collect()
}

#[test]
fn a_chmod_of_live_files_is_drift_and_exit_code_3_wherever_it_is_shown() {
    let (store, chsnap, ids) = store();
    chsnap.json(0, &["verify"]);
    let live = files_below(&store.live().join("one"));
    set_modes(&live, 0o644);
    for level in ["structure", "size", "data"] {
        let document = chsnap.json(3, &["verify", "--level", level]);
        assert_eq!((&document["state"], &document["damage"]), (&json!("drifted"), &json!([])), "{document}");
        // One row for each part, however many files and snapshots.
        assert_eq!(kinds(&document["drift"]), [("mode", "d.one"), ("mode", "d.one")]);
        let inodes: u64 =
            document["drift"].as_array().expect("rows").iter().filter_map(|row| row["inodes"].as_u64()).sum();
        assert_eq!(inodes, live.len() as u64);
        let row = &document["drift"][0];
        assert_eq!((&row["part"], &row["snapshots"]), (&json!("all_1_1_0"), &json!(ids)));
        assert_eq!((&row["expected"], &row["found"]), (&json!("0440"), &json!("0644")));
        let path = row["path"].as_str().expect("a path");
        assert!(path.starts_with(store.at(ids[1]).to_str().expect("a text")) && Path::new(path).is_file(), "{path}");
        let warning = &document["warning_list"][0];
        assert_eq!((&warning["kind"], document["warnings"].as_array().map(Vec::len)), (&json!("drift"), Some(1)));
        assert!(
            warning["message"].as_str().is_some_and(|text| text.contains("create records") && text.contains("d.one"))
        );
        assert_eq!(document["recorded"], true);
    }
    let text = chsnap.expect(3, &["verify"]);
    for said in ["DRIFT", "d.one", "all_1_1_0 and 1 more", "0440", "0644", "no damage, but drift"] {
        assert!(text.stdout.contains(said), "{said} in {}", text.stdout);
    }
    assert!(text.stderr.contains("chmod the files back"), "{}", text.stderr);
    let listed = chsnap.json(3, &["list"]);
    for row in listed["snapshots"].as_array().expect("rows") {
        assert_eq!((&row["verified"]["damaged"], &row["verified"]["drifted"]), (&json!(false), &json!(true)), "{row}");
    }
    assert_eq!(listed["warning_list"][0]["kind"], "drift");
    assert!(chsnap.expect(3, &["list"]).stdout.contains("drift size"));
    assert_eq!(chsnap.json(3, &["show"])["verified"]["drifted"], true);
    let monitor = chsnap.expect(1, &[&["monitor"], &YOUNG[..]].concat());
    assert!(
        monitor.stdout.starts_with("CHSNAP WARNING") && monitor.stdout.contains("owners or modes"),
        "{}",
        monitor.stdout
    );
    let monitor = chsnap.run(&[&["monitor", "--json"], &YOUNG[..]].concat());
    let document: Value = serde_json::from_str(&monitor.stdout).expect("JSON");
    assert_eq!((&document["drifted_snapshots"], &document["damaged_snapshots"]), (&json!(2), &json!(0)));
    // No part is noted: neither create nor restore takes it for damaged.
    for id in &ids {
        assert!(store.open().damaged_parts(*id).is_empty());
    }
    // As it was, it is sound again; any level finds that.
    set_modes(&live, 0o440);
    assert_eq!(chsnap.json(0, &["verify", "--level", "structure"])["state"], "sound");
    assert_eq!(chsnap.json(0, &["list"])["snapshots"][0]["verified"]["drifted"], false);
    chsnap.expect(0, &[&["monitor"], &YOUNG[..]].concat());
}

#[test]
fn a_chown_of_live_files_is_drift_and_a_snapshot_made_then_has_none() {
    let (store, chsnap, ids) = store();
    if !give_away(&store, "one") {
        return;
    }
    let id = store.snapshot();
    let document = chsnap.json(3, &["verify", "--level", "data"]);
    assert_eq!(kinds(&document["drift"]), [("owner", "d.one"), ("owner", "d.one")]);
    assert_eq!(document["drift"][0]["snapshots"], json!(ids), "not the new one");
    assert_eq!((&document["drift"][0]["expected"], &document["drift"][0]["found"]), (&json!("0:0"), &json!("101:102")));
    assert_eq!(chsnap.json(0, &["verify", &id.to_string()])["state"], "sound");
}

#[test]
fn damage_next_to_drift_is_found_is_exit_code_12_and_is_noted() {
    let (store, chsnap, ids) = store();
    set_modes(&files_below(&store.live()), 0o644);
    give_away(&store, "one");
    flip(&store.at(ids[0]).join(FILE));
    let document = chsnap.json(12, &["verify", "--level", "data"]);
    assert_eq!((&document["state"], kinds(&document["damage"])), (&json!("damaged"), vec![("content", "d.one")]));
    assert!(document["drift"].as_array().is_some_and(|drift| drift.len() >= 4), "{document}");
    let text = chsnap.expect(12, &["verify", "--level", "data"]).stdout;
    assert!(text.contains("DAMAGE: 1 thing wrong") && text.contains("DRIFT"), "{text}");
    let listed = chsnap.json(3, &["list"]);
    let kinds: Vec<&Value> =
        listed["warning_list"].as_array().expect("rows").iter().map(|warning| &warning["kind"]).collect();
    assert_eq!(kinds, ["damage_found", "drift"]);
    let monitor = chsnap.expect(2, &[&["monitor"], &YOUNG[..]].concat());
    assert!(monitor.stdout.starts_with("CHSNAP CRITICAL") && monitor.stdout.contains("damage"), "{}", monitor.stdout);
    let noted = store.open().damaged_parts(ids[1]);
    assert_eq!(noted.into_iter().map(|(_, part)| part.to_string()).collect::<Vec<_>>(), ["all_1_1_0"]);
}

#[test]
fn damage_is_repaired_from_a_copy_that_has_drifted_in_the_same_way_and_drift_is_left_alone() {
    let store = Store::new();
    store.put("one", "all_1_1_0", &part(5, 6, true));
    let first = store.snapshot();
    store.put("one", "all_1_1_0", &part(5, 6, true));
    let second = store.snapshot();
    // Of both snapshots, which share no inode.
    for id in [first, second] {
        set_modes(&files_below(&store.at(id).join("data/d/one/all_1_1_0")), 0o644);
    }
    flip(&store.at(first).join(FILE));
    fs::remove_file(store.at(first).join("data/d/one/all_1_1_0/c5.bin")).expect("removed");
    let report = store.verify(&request(Level::Data).with_repair(true));
    let outcomes: Vec<_> = report.damage.iter().map(|damage| (damage.kind.name(), damage.repair.clone())).collect();
    assert_eq!(outcomes, [("content", Some(Repair::Done)), ("missing", Some(Repair::Done))], "{report:?}");
    assert_eq!(report.repaired, 2);
    let report = store.verify(&request(Level::Data));
    assert!(report.damage.is_empty() && report.drift.iter().all(|drift| drift.kind.name() == "mode"), "{report:?}");
    assert_ne!(
        crate::store::inode(&store.at(first).join("data/d/one/all_1_1_0/c1.bin")),
        crate::store::inode(&store.at(second).join("data/d/one/all_1_1_0/c1.bin"))
    );
}

#[test]
fn a_chown_of_the_repository_itself_is_drift_of_its_directories_too() {
    let (store, chsnap, ids) = store();
    if chsnap::fs::user_id() != 0 {
        eprintln!("SKIPPED: only root can give files away");
        return;
    }
    for id in &ids {
        chown(store.at(*id).join("data/d/two/all_2_2_0"), Some(101), Some(102)).expect("given away");
    }
    let document = chsnap.json(3, &["verify"]);
    assert_eq!(kinds(&document["drift"]), [("owner", "d.two")]);
    let row = &document["drift"][0];
    assert_eq!((&row["snapshots"], &row["inodes"]), (&json!(ids), &json!(2)));
    assert!(row["path"].as_str().is_some_and(|path| path.ends_with("data/d/two/all_2_2_0")), "{row}");
}
