//! Tables and partitions of a remote snapshot, pulled as a snapshot of their own.

use std::fs;
use std::path::Path;

use chsnap::model::{PartitionId, SnapshotId};
use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::remote::support::{LARGE_BYTES, Lab, assert_nothing_half, at, content, document, files_below, push};
use crate::store::part;

/// What the local repository says of its snapshots: id and series, the oldest first.
fn listed(chsnap: &Chsnap) -> Vec<(String, String)> {
    let listed = document(chsnap, &["list"], 0);
    let text = |row: &Value, key: &str| row[key].as_str().expect("a text").to_owned();
    listed["snapshots"].as_array().expect("a list").iter().map(|row| (text(row, "id"), text(row, "series"))).collect()
}

fn id_of(pulled: &Value) -> SnapshotId {
    pulled["id"].as_str().expect("a text").parse().expect("an id")
}

/// The files of a snapshot below a directory of it.
fn below(snapshot: &Path, place: &str) -> usize {
    files_below(&snapshot.join(place)).len()
}

#[test]
fn a_table_is_fetched_alone_and_is_a_snapshot_of_its_own_series() {
    let lab = Lab::new();
    let whole = lab.host.snapshot_with(|manifest, _| {
        manifest.label.text = Some("before-upgrade".to_owned());
    });
    lab.push("latest");
    let clean = lab.elsewhere("clean");
    let pulled = document(&clean, &["pull", "latest", "--from", &lab.address(), "--table", "d.a"], 0);
    let id = id_of(&pulled);
    assert_eq!(pulled["of"], whole.to_string());
    assert_eq!(id.to_string(), format!("{whole}-2"));
    assert_eq!((pulled["parts"].as_u64(), pulled["fetched_parts"].as_u64()), (Some(2), Some(2)), "{pulled}");
    let received = pulled["requests"]["received_bytes"].as_u64().expect("a number");
    assert!(received < LARGE_BYTES as u64, "the large file of the other table is not fetched: {pulled}");
    assert_eq!(listed(&clean), [(id.to_string(), "only d.a".to_owned())]);
    let snapshot = at(&clean, id);
    assert_eq!((below(&snapshot, "data/d/b"), snapshot.join("metadata/d/b.sql").exists()), (0, false));
    let own: Vec<_> = content(&lab.host.at(whole).join("data/d/a"));
    assert_eq!(content(&snapshot.join("data/d/a")), own);
    let shown = document(&clean, &["show", "latest"], 0);
    assert_eq!(shown["extracted"]["id"], whole.to_string());
    assert_eq!((shown["name"].as_str(), shown["copied"].is_null()), (None, true), "a name is that of the whole one");
    assert_eq!(shown["table_list"].as_array().map(Vec::len), Some(1));
    let verified = document(&clean, &["verify", "latest", "--level", "data"], 0);
    assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0), "{verified}");
    // Asked for again, it is here.
    let again = document(&clean, &["pull", &whole.to_string(), "--from", &lab.address(), "--table", "d.a"], 0);
    assert_eq!((again["state"].as_str(), id_of(&again)), (Some("present"), id));
}

#[test]
fn the_whole_snapshot_is_pulled_beside_a_selection_of_it_and_neither_stands_for_the_other() {
    let lab = Lab::new();
    let whole = lab.host.snapshot();
    lab.push("latest");
    let (stored, _) = files_below(&lab.store().join("snapshots")).remove(0);
    let before = fs::read(&stored).expect("it is read");
    let clean = lab.elsewhere("clean");
    let selected = id_of(&document(&clean, &["pull", "latest", "--from", &lab.address(), "--table", "d.b"], 0));
    let pulled = document(&clean, &["pull", "latest", "--from", &lab.address()], 0);
    assert_eq!((id_of(&pulled), pulled["of"].is_null()), (whole, true));
    // What the selection has is linked.
    assert_eq!((pulled["linked_parts"].as_u64(), pulled["fetched_parts"].as_u64()), (Some(1), Some(2)), "{pulled}");
    assert_eq!(content(&at(&clean, whole)), content(&lab.host.at(whole)));
    assert_eq!(document(&clean, &["show", "latest"], 0)["id"], whole.to_string(), "latest is the whole one");
    // Rules count them apart: each is the last of its series.
    let pruned = document(&clean, &["prune", "--keep-last", "1", "--yes"], 0);
    assert_eq!(pruned["remove"].as_array().map(Vec::len), Some(0), "{pruned}");
    // With the whole one here, nothing is fetched for a selection.
    let other = document(&clean, &["pull", "latest", "--from", &lab.address(), "--table", "d.a"], 0);
    assert_eq!((other["state"].as_str(), id_of(&other)), (Some("present"), whole));
    // A push from here adds the selection under a name of this repository, and leaves the whole one as it was.
    let pushed = push(&clean, &selected.to_string(), &lab.address());
    let name = pushed["snapshots"][0]["remote_name"].as_str().expect("a name").to_owned();
    assert!(name.starts_with(&format!("{selected}.")), "{name}");
    let sent = pushed["snapshots"][0]["sent"]["bytes"].as_u64().expect("a number");
    assert!(sent < 1000, "but for its definitions its objects are there: {pushed}");
    document(&clean, &["push", "--new", "--to", &lab.address()], 0);
    assert_eq!(fs::read(&stored).expect("it is read"), before);
    let names = document(&clean, &["remote", "list", &lab.address()], 0);
    assert_eq!(names["snapshots"].as_array().map(Vec::len), Some(2), "{names}");
    // Whose snapshot it is follows from its name: the first host still means its own.
    let checked = document(&lab.chsnap(), &["remote", "verify", &lab.address(), "latest", "--data"], 0);
    assert!(checked["snapshots"][0].as_str().expect("a name").starts_with(&format!("{whole}.")), "{checked}");
}

#[test]
fn latest_is_the_whole_one_of_a_lost_host_also_where_a_newer_selection_is_in_the_store() {
    let lab = Lab::new();
    let old = lab.host.snapshot();
    let whole = lab.host.snapshot();
    lab.push("--new");
    let clean = lab.elsewhere("clean");
    let latest = ["pull", "latest", "--from", &lab.address()];
    let selected = id_of(&document(&clean, &[&latest[..], &["--table", "d.a"]].concat(), 0));
    document(&clean, &["push", "--new", "--to", &lab.address()], 0);
    let pulled = document(&clean, &latest, 0);
    assert_eq!((id_of(&pulled), pulled["of"].is_null()), (whole, true), "{pulled}");
    let text = clean.run(&["remote", "list", &lab.address()]).stdout;
    assert!(text.contains("  only d.a  ") && text.contains("  all  "), "{text}");
    // A selection that its own host has made there is no whole one either.
    let pulled = document(&lab.chsnap(), &["remote", "verify", &lab.address(), "latest~1"], 0);
    assert!(pulled["snapshots"][0].as_str().is_some_and(|name| name.starts_with(&format!("{old}."))), "{pulled}");
    let third = lab.elsewhere("third");
    let run = third.run(&latest);
    assert!(run.code == 2 && run.stderr.contains("2 repositories"), "{}", run.stderr);
    let digits = clean.run(&["remote", "list", &lab.address(), "--json"]).stdout;
    assert!(digits.contains(&selected.to_string()), "{digits}");
}

#[test]
fn latest_of_a_store_is_of_the_main_series() {
    let lab = Lab::new();
    let whole = lab.host.snapshot();
    let selection = lab.host.snapshot_with(|manifest, _| {
        manifest.settings.include = vec!["d.a".to_owned()];
    });
    lab.push("--new");
    let clean = lab.elsewhere("clean");
    let pulled = document(&clean, &["pull", "latest", "--from", &lab.address()], 0);
    assert_eq!(id_of(&pulled), whole, "{pulled}");
    let run = clean.run(&["pull", "latest~1", "--from", &lab.address()]);
    assert_ne!(run.code, 0, "the series has one: {}", run.stdout);
    let pulled = document(&clean, &["pull", &selection.to_string(), "--from", &lab.address()], 0);
    assert_eq!(id_of(&pulled), selection, "{pulled}");
}

#[test]
fn a_selection_on_the_host_of_the_snapshot_takes_no_name_that_the_store_has() {
    let lab = Lab::new();
    let whole = lab.host.snapshot();
    // Another one of the same second, which is in the store alone.
    let second = lab.host.snapshot_at(whole.time(), |_, _| ());
    lab.push("--new");
    fs::remove_dir_all(lab.host.at(whole)).expect("lost");
    fs::remove_dir_all(lab.host.at(second)).expect("lost");
    let pulled = document(&lab.chsnap(), &["pull", &whole.to_string(), "--from", &lab.address(), "--table", "d.a"], 0);
    assert_eq!(id_of(&pulled).to_string(), format!("{whole}-3"), "{pulled}");
    let before = files_below(&lab.store().join("snapshots"));
    lab.push("--new");
    let after = files_below(&lab.store().join("snapshots"));
    assert_eq!(after.len(), before.len() + 1);
    assert!(before.iter().all(|file| after.contains(file)));
}

#[test]
fn what_the_snapshot_does_not_have_is_named_and_nothing_is_made() {
    let lab = Lab::new();
    lab.host.snapshot();
    lab.push("latest");
    let address = lab.address();
    let clean = lab.elsewhere("clean");
    let missing: [(&[&str], &str); 3] = [
        (&["--table", "d.nothing"], "d.nothing"),
        (&["--partition", "202611"], "202611"),
        (&["--table", "d.a", "--table", "e.*"], "e.*"),
    ];
    for (selection, name) in missing {
        let mut arguments = vec!["pull", "latest", "--from", &address];
        arguments.extend(selection);
        let run = clean.run(&arguments);
        assert_eq!((run.code, run.stderr.contains(name)), (1, true), "{}", run.stderr);
        assert!(run.stderr.contains("hint: "), "{}", run.stderr);
        assert!(!clean.repo().exists(), "{selection:?}");
    }
    document(&clean, &["init"], 0);
    assert_eq!(clean.run(&["pull", "latest", "--from", &address, "--table", "d.nothing"]).code, 1);
    assert_nothing_half(&clean);
}

#[test]
fn partitions_are_fetched_with_the_tables_that_have_none_of_them() {
    let lab = Lab::new();
    lab.host.put("a", "202611_1_1_0", &part(3, 4, false));
    let november = |name: &str| name.starts_with("202611");
    lab.host.snapshot_with(|_, records| {
        for record in records.iter_mut().filter(|record| november(record.part.as_str())) {
            record.partition = PartitionId("202611".into());
        }
    });
    lab.push("latest");
    let clean = lab.elsewhere("clean");
    let pulled = document(&clean, &["pull", "latest", "--from", &lab.address(), "--partition", "202611"], 0);
    assert_eq!(pulled["parts"].as_u64(), Some(1), "{pulled}");
    assert_eq!(listed(&clean)[0].1, "partition 202611");
    let shown = document(&clean, &["show", "latest"], 0);
    let parts: Vec<u64> = shown["table_list"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| row["parts"].as_u64().expect("a number"))
        .collect();
    assert_eq!(parts, [1, 0], "{shown}");
    let verified = document(&clean, &["verify", "latest", "--level", "data"], 0);
    assert_eq!(verified["damage"].as_array().map(Vec::len), Some(0), "{verified}");
    // All tables by a pattern is the whole snapshot.
    let whole = document(&clean, &["pull", "latest", "--from", &lab.address(), "--table", "*.*"], 0);
    let parts = |of: &str| whole[of].as_u64().expect("a number");
    assert_eq!((whole["of"].is_null(), parts("linked_parts") + parts("fetched_parts")), (true, 4), "{whole}");
    assert_eq!(listed(&clean).len(), 2);
}

#[test]
fn a_restore_from_a_store_fetches_what_it_restores() {
    let lab = Lab::new();
    let whole = lab.host.snapshot();
    lab.push("latest");
    let clean = lab.elsewhere("clean");
    let files = lab.folder.path().join("files");
    let arguments =
        ["restore", "latest", "--from", &lab.address(), "--table", "d.a", "--to", files.to_str().expect("a path")];
    let run = clean.run(&arguments);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("selected from {whole}")), "{}", run.stderr);
    let here = files_below(&clean.repo().join("snapshots"));
    assert!(here.iter().all(|(_, bytes)| *bytes < LARGE_BYTES as u64), "the other table is not fetched");
    assert!(files_below(&files).iter().any(|(path, _)| path.to_string_lossy().contains("all_1_1_0")));
}
