//! `usage` for users and scripts, on repositories in every state.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use chrono::Utc;
use chsnap::model::{Warning, WarningKind};
use chsnap::ops::usage::usage;
use rusqlite::Connection;
use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::hoard::{Hoard, Numbers, Walk};
use crate::space::figures::request;

pub(crate) fn lab(nights: usize) -> (tempfile::TempDir, Hoard, Chsnap) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hoard = Hoard::new(folder.path());
    let mut numbers = Numbers(11);
    for _ in 0..nights {
        (0..8).for_each(|_| drop(hoard.step(&mut numbers)));
        hoard.snapshot();
    }
    let chsnap = Chsnap::new(&hoard.repo());
    (folder, hoard, chsnap)
}

/// Without what is another one each time.
fn lasting(mut document: Value) -> Value {
    for name in ["time", "cost", "filesystem", "totals"] {
        document.as_object_mut().expect("an object").remove(name);
    }
    document
}

#[test]
fn usage_tells_for_the_rules_what_prune_would_say() {
    let (_folder, _hoard, chsnap) = lab(4);
    chsnap.json(0, &["pin", "latest~2", "--reason", "before the upgrade"]);
    let rules = ["--keep-last", "1"];
    let plan = chsnap.json(0, &[&["prune", "--dry-run"], &rules[..]].concat());
    let usage = chsnap.json(0, &[&["usage"], &rules[..]].concat());
    let rows = usage["snapshots"].as_array().expect("rows");
    for kept in plan["keep"].as_array().expect("rows") {
        let row = rows.iter().find(|row| row["id"] == kept["id"]).expect("a row");
        assert_eq!(row["reasons"], kept["reasons"], "{usage}");
    }
    let would_go = rows.iter().filter(|row| row["reasons"] == Value::Array(Vec::new())).count();
    assert_eq!(would_go, 2, "{usage}");
    assert!(chsnap.json(0, &["usage"])["snapshots"][0]["reasons"].is_null(), "without rules nothing is said of them");
    let shown = chsnap.expect(0, &[&["usage"], &rules[..]].concat()).stdout;
    for text in ["would go", "last 1/1", "pinned: before the upgrade"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
}

#[test]
fn a_person_sees_what_each_snapshot_frees_and_what_all_of_it_costs() {
    let (_folder, mut hoard, chsnap) = lab(4);
    let shown = chsnap.expect(0, &["usage"]).stdout;
    for text in ["ALONE", "WITH OLDER", "TO RESTORE", "shared with live", "the repository costs", "free;"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.contains("in the trash") && !shown.contains("another freeze"), "{shown}");
    hoard.drop_everything();
    hoard.rm(&hoard.ids()[..1]);
    fs::create_dir_all(hoard.shadow().join("1/data/d")).expect("made");
    fs::write(hoard.shadow().join("1/data/d/x"), [1; 10000]).expect("written");
    let shown = chsnap.expect(0, &["usage", "--freed", "..latest~1"]).stdout;
    for text in ["removing 2 snapshots frees", "with what is in the trash", "1 removed snapshot", "another freeze"] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let tables = chsnap.expect(0, &["usage", "--by", "table"]).stdout;
    assert!(tables.contains("d.orders") && !tables.contains("PARTITION"), "{tables}");
    let partitions = chsnap.expect(0, &["usage", "--by", "partition"]).stdout;
    assert!(partitions.contains("PARTITION") && partitions.contains("202601"), "{partitions}");
    let empty = tempfile::tempdir().expect("a folder");
    let new = Chsnap::new(&empty.path().join("repo"));
    new.expect(0, &["init"]);
    assert!(new.expect(0, &["usage"]).stdout.contains("no snapshots yet"));
}

#[test]
fn a_script_finds_every_figure_by_its_name() {
    let (_folder, mut hoard, chsnap) = lab(3);
    hoard.drop_everything();
    let ids: Vec<String> = hoard.ids().iter().map(ToString::to_string).collect();
    fs::write(hoard.repo().join(format!("pins/{}.json", ids[1])), "{}").expect("a pin");
    let found = chsnap.json(0, &["usage", "--freed", &format!("{},{}..latest", ids[0], ids[1])]);
    assert_eq!(found["schema"], "chsnap.usage.v1");
    let listed = chsnap.json(0, &["list"]);
    for (number, row) in found["snapshots"].as_array().expect("rows").iter().enumerate() {
        let path = hoard.repo().join("snapshots").join(&ids[number]);
        let walk = Walk::of([path.as_path()]);
        assert_eq!((&row["id"], &row["pinned"]), (&ids[number].clone().into(), &(number == 1).into()));
        assert_eq!(row["exclusive_bytes"], walk.alone());
        assert_eq!(row["directory_bytes"], walk.directory_bytes);
        assert_eq!(row["freed_bytes"], walk.freed());
        for name in ["time", "name", "apparent_bytes", "tables", "parts", "files"] {
            assert_eq!(row[name], listed["snapshots"][number][name], "{name}");
        }
        for name in ["allocated_bytes", "written_bytes", "live_shared_bytes", "freed_with_older_bytes"] {
            assert!(row[name].is_u64(), "{name}");
        }
    }
    assert_eq!(found["freed"]["snapshots"].as_array().map(Vec::len), Some(3));
    assert_eq!(found["freed"]["freed_bytes"], found["snapshots"][2]["freed_with_older_bytes"]);
    let one = chsnap.json(0, &["usage", "latest", "--by", "table"]);
    assert_eq!(one["snapshots"].as_array().map(Vec::len), Some(1));
    assert!(one["tables"].as_array().is_some_and(|rows| !rows.is_empty()));
    chsnap.expect(1, &["usage", "2020"]);
    chsnap.expect(2, &["usage", "--freed", "no such thing"]);
    chsnap.expect(2, &["usage", "--by", "moon"]);
}

#[test]
fn an_index_that_is_lost_or_garbage_changes_no_figure() {
    let (_folder, mut hoard, chsnap) = lab(4);
    hoard.drop_part(&hoard.parts()[0].0.clone(), &hoard.parts()[0].1.clone());
    let index = hoard.repo().join("index.sqlite");
    let expected = lasting(chsnap.json(0, &["usage"]));
    let sql = |statement: &str| {
        Connection::open(&index).expect("an index").execute_batch(statement).expect("spoilt");
    };
    let spoilt: [(&str, &dyn Fn()); 11] = [
        ("lost", &|| fs::remove_file(&index).expect("removed")),
        ("garbage", &|| fs::write(&index, b"this is no database".repeat(300)).expect("written")),
        ("truncated", &|| {
            let bytes = fs::read(&index).expect("an index");
            fs::write(&index, &bytes[..bytes.len() / 2]).expect("written");
        }),
        ("no instances", &|| sql("DELETE FROM instance")),
        ("some instances", &|| sql("DELETE FROM instance WHERE id % 3 = 0")),
        ("no holdings", &|| sql("DELETE FROM holding")),
        ("holdings of a billion parts", &|| sql("UPDATE holding SET parts = x'01ffffffffffffff7f08'")),
        ("holdings that are none", &|| sql("UPDATE holding SET parts = x'ff', rest = x'ff'")),
        ("links that are none", &|| sql("UPDATE instance SET links = x'ffffffffffffffffffffffffff'")),
        ("origins that are none", &|| sql("UPDATE instance SET origin = '{', links = x'0111'")),
        ("another schema", &|| sql("CREATE TABLE more (x)")),
    ];
    for (what, spoil) in spoilt {
        spoil();
        if what == "origins that are none" {
            // Only the index says so: it is compared with the tree.
            let found = chsnap.run(&["--json", "usage", "--exact"]);
            assert!(matches!(found.code, 0 | 3), "{what}: {}", found.stderr);
        }
        assert_eq!(lasting(chsnap.json(0, &["usage"])), expected, "{what}");
        assert_eq!(lasting(chsnap.json(0, &["usage"])), expected, "{what}, once more");
        let exact = chsnap.json(0, &["usage", "--exact"]);
        assert_eq!(exact["exact"]["agrees"], true, "{what}");
    }
}

#[test]
fn missing_or_redirected_entries_of_a_snapshot_are_reported_each_time() {
    let (_folder, hoard, chsnap) = lab(3);
    let parts = |number: usize| -> Vec<PathBuf> {
        let tables = hoard.repo().join("snapshots").join(hoard.ids()[number].to_string()).join("data/d");
        let tables = fs::read_dir(tables).expect("tables").map(|entry| entry.expect("an entry").path());
        tables
            .flat_map(|table| fs::read_dir(table).expect("parts").map(|entry| entry.expect("an entry").path()))
            .collect()
    };
    fs::remove_dir_all(&parts(0)[0]).expect("removed");
    fs::remove_dir_all(&parts(1)[0]).expect("removed");
    symlink("/", parts(2)[0].with_extension("x")).expect("a link that no part is");
    symlink("/usr", parts(1)[0].with_file_name("202601_1_1_0_77")).expect("a link that no part is");
    for turn in 0..2 {
        let run = chsnap.expect(3, &["usage"]);
        assert!(run.stderr.contains("warning:") && run.stderr.contains("202"), "{turn}: {}", run.stderr);
        assert!(!run.stderr.contains("/usr/"), "{turn}: {}", run.stderr);
        let document = chsnap.json(3, &["usage", "--exact"]);
        assert!(document["warnings"].as_array().is_some_and(|warnings| !warnings.is_empty()), "{turn}");
    }
}

#[test]
fn usage_counts_the_tree_of_a_damaged_manifest() {
    let (_folder, mut hoard, chsnap) = lab(3);
    hoard.drop_everything();
    let ids = hoard.ids();
    let path = hoard.repo().join("snapshots").join(ids[1].to_string());
    fs::write(path.join("manifest.json"), "{").expect("spoilt");
    let found = chsnap.json(3, &["usage"]);
    let row = &found["snapshots"]
        .as_array()
        .expect("rows")
        .iter()
        .find(|row| row["id"] == ids[1].to_string())
        .expect("it")
        .clone();
    assert_eq!((&row["state"], &row["freed_bytes"]), (&"damaged".into(), &Walk::of([path.as_path()]).freed().into()));
}

#[test]
fn snapshots_may_come_and_go_meanwhile() {
    ask_while_snapshots_come_and_go(5);
    ask_while_snapshots_come_and_go(1000);
}

/// The exact figures are compared at intervals, and at the end.
fn ask_while_snapshots_come_and_go(every: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hoard = Hoard::new(folder.path());
    let mut numbers = Numbers(4);
    (0..12).for_each(|_| drop(hoard.step(&mut numbers)));
    hoard.snapshot();
    let (repository, over, turn) = (hoard.open(), AtomicBool::new(false), Mutex::new(()));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                let found = usage(&repository, &request(), Utc::now()).expect("an answer");
                let known = [WarningKind::CountUnsettled, WarningKind::SnapshotRemoved, WarningKind::LinksMissing];
                let is_known = |warning: &Warning| known.contains(&warning.kind);
                assert!(found.warnings.iter().all(is_known), "{:?}", found.warnings);
                asked += 1;
                if asked % every != 0 {
                    continue;
                }
                // Whatever was learnt while things came and went is true.
                let _still = turn.lock().expect("no panic");
                let exactly = request().with_exact(true);
                let exactly = usage(&repository, &exactly, Utc::now()).expect("an answer");
                assert!(exactly.exact.is_some_and(|exact| exact.differing.is_empty()), "{:?}", exactly.warnings);
            }
            asked
        });
        for _ in 0..30 {
            {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                hoard.snapshot();
            }
            {
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                hoard.step(&mut numbers);
            }
            let ids = hoard.ids();
            if ids.len() > 3 {
                {
                    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                    hoard.rm(&ids[..2]);
                }
                let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
                hoard.gc();
            }
        }
        over.store(true, Ordering::Relaxed);
        assert!(asking.join().expect("no panic") > 3);
    });
    let exactly = usage(&repository, &request().with_exact(true), Utc::now()).expect("an answer");
    assert!(exactly.exact.is_some_and(|exact| exact.differing.is_empty()), "{:?}", exactly.warnings);
}
