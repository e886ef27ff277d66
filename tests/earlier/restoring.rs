//! Restoring tables from these repositories.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::earlier::fixture::{ALL, Facts, Unpacked, V18, V26, digest, owns_files, row};
use crate::engine::{Engine, Kind};

#[test]
fn their_files_are_restored_into_a_directory_by_link_and_by_copy() {
    if !owns_files() {
        return;
    }
    for facts in ALL {
        let unpacked = Unpacked::new(facts);
        for (place, id) in unpacked.ids().into_iter().enumerate() {
            for how in ["link", "copy"] {
                let target = unpacked.folder.join(format!("{how}-{place}"));
                let report = unpacked.json(3, &["restore", id, "--to", target.to_str().expect("text"), "--place", how]);
                assert_eq!((&report["snapshot"], &report["state"]), (&json!(id), &json!("restored")));
                assert_eq!(report["totals"]["files"], unpacked.facts.files[place]);
                assert_eq!(digest(&target.join("data")), unpacked.facts.digests[place], "{id} by {how}");
            }
        }
    }
}

/// Restores both snapshots, one after the other, into an empty server; their rows are those that were inserted.
fn restored_into_a_server(facts: Facts) {
    if !owns_files() {
        return;
    }
    let engine = Engine::start(facts.kind);
    let mut unpacked = Unpacked::in_folder(facts, engine.root());
    unpacked.chsnap = unpacked.chsnap.url(&engine.url());
    // Of id: 0 to 99 from 0, 1000 and 2000, and 0 to 49 from 3000.
    let events = ["300\t314850", "250\t461125"];
    for (place, id) in unpacked.ids().into_iter().enumerate() {
        let report = unpacked.json(3, &["restore", id, "--yes"]);
        assert_eq!(report["state"], "restored", "{report:#}");
        let expected = unpacked.facts.tables[1].2[place];
        let row = row(&report["tables"], "table", "events");
        assert_eq!((&row["rows"], &row["expected_rows"]), (&json!(expected), &json!(expected)));
        assert_eq!(engine.query("SELECT count(), sum(id) FROM lab.events"), events[place]);
        assert_eq!(engine.query("SELECT sum(c) FROM lab.seen"), expected.to_string());
        assert_eq!(engine.query("SELECT count() FROM lab.empty"), "0");
        let updated = match unpacked.facts.kind {
            Kind::V26 => "SELECT count(), sum(v) FROM lab.patched",
            Kind::V18 => "SELECT count(), sum(v) FROM lab.mutated",
        };
        // An unfinished mutation goes on in the new server.
        let deadline = Instant::now() + Duration::from_secs(30);
        while engine.query(updated) != "100\t50" {
            assert!(Instant::now() < deadline, "{updated}: {}", engine.query(updated));
            thread::sleep(Duration::from_millis(50));
        }
        engine.query("DROP DATABASE lab");
    }
}

#[test]
fn their_rows_are_restored_into_a_server_of_today() {
    restored_into_a_server(V26);
}

#[test]
fn their_rows_are_restored_into_an_old_server() {
    restored_into_a_server(V18);
}

#[test]
fn the_next_snapshot_of_them_is_made_as_of_any_repository() {
    if !owns_files() {
        return;
    }
    let engine = Engine::start(Kind::V26);
    let mut unpacked = Unpacked::in_folder(V26, engine.root());
    unpacked.chsnap = unpacked.chsnap.url(&engine.url());
    unpacked.json(3, &["restore", unpacked.facts.second, "--yes"]);
    // This server has another data path than the one that the repository belongs to.
    let create = ["create", "--accept", "lab.log"];
    assert_eq!(unpacked.json(13, &create)["state"], "refused");
    let created = unpacked.json(0, &[&create[..], &["--allow-other-server"]].concat());
    assert_eq!((&created["parts"], &created["tables"]), (&json!(unpacked.facts.parts), &json!(3)), "{created:#}");
    let id = created["id"].as_str().expect("an id");
    assert_eq!(unpacked.json(0, &["show", id])["sequence"], 3, "numbers of removed snapshots are free");
    assert_eq!(unpacked.json(0, &["verify", "--level", "data"])["state"], "sound");
    let diff = unpacked.json(0, &["diff", unpacked.facts.second, id]);
    assert_eq!((&diff["added"]["parts"], &diff["dropped"]["parts"]), (&json!(0), &json!(0)), "{diff:#}");
}
