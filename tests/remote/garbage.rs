//! Objects that no snapshot needs are deleted after their grace, and never during a push that uses them.

use std::fs;
use std::path::Path;

use chsnap::model::SnapshotId;

use crate::remote::support::{Lab, document, files_below, large_part};

/// Two snapshots with a part that only the first one has, and the first one removed in the store.
fn with_garbage() -> (Lab, SnapshotId, SnapshotId) {
    let lab = Lab::new();
    let first = lab.host.snapshot();
    fs::remove_dir_all(lab.host.live().join("b/all_1_1_0")).expect("dropped");
    lab.host.put("b", "all_2_2_0", &large_part(17, 18));
    let second = lab.host.snapshot();
    lab.push("--new");
    document(&lab.chsnap(), &["remote", "rm", &lab.address(), &first.to_string()], 0);
    (lab, first, second)
}

fn gc(lab: &Lab, more: &[&str]) -> serde_json::Value {
    let address = lab.address();
    let mut arguments = vec!["remote", "gc", &address];
    arguments.extend(more);
    document(&lab.chsnap(), &arguments, 0)
}

fn objects(document: &serde_json::Value, of: &str) -> u64 {
    document[of]["objects"].as_u64().expect("a number")
}

#[test]
fn gc_condemns_first_and_deletes_only_after_the_grace() {
    let (lab, _, _) = with_garbage();
    let before = lab.objects().len();
    let dry = gc(&lab, &["--dry-run"]);
    assert_eq!((objects(&dry, "condemned"), files_below(&lab.store().join("gc")).len()), (2, 0), "{dry}");
    let first = gc(&lab, &[]);
    assert_eq!((objects(&first, "condemned"), objects(&first, "deleted")), (2, 0), "{first}");
    let waiting = gc(&lab, &[]);
    assert_eq!((objects(&waiting, "waiting"), objects(&waiting, "deleted")), (2, 0), "{waiting}");
    assert_eq!(lab.objects().len(), before);
    // The store's clock decides: the condemnation is three days old, the objects are older.
    age(&lab, 3);
    let last = gc(&lab, &[]);
    assert_eq!((objects(&last, "deleted"), lab.objects().len()), (2, before - 2), "{last}");
    assert!(files_below(&lab.store().join("gc")).is_empty(), "nothing is condemned any more");
    let checked = document(&lab.chsnap(), &["remote", "check", &lab.address()], 0);
    assert_eq!((checked["state"].as_str(), objects(&checked, "garbage")), (Some("sound"), 0), "{checked}");
    document(&lab.chsnap(), &["remote", "verify", &lab.address(), "--data"], 0);
}

/// Makes everything in the store this many days older.
fn age(lab: &Lab, days: u64) {
    for (path, _) in files_below(&lab.store()) {
        let file = fs::File::options().write(true).open(&path).expect("a file");
        let time = fs::metadata(&path).expect("it is there").modified().expect("a time");
        file.set_modified(time - std::time::Duration::from_secs(days * 86_400)).expect("older");
    }
}

#[test]
fn a_push_sends_condemned_objects_again_and_a_later_gc_leaves_them() {
    let (lab, first, _) = with_garbage();
    gc(&lab, &[]);
    age(&lab, 3);
    // The removed snapshot is pushed again: its objects are there, and may go at any moment.
    let pushed = lab.push(&first.to_string());
    assert_eq!(objects(&pushed["snapshots"][0], "sent"), 2, "{pushed}");
    let collected = gc(&lab, &[]);
    assert_eq!((objects(&collected, "deleted"), objects(&collected, "condemned")), (0, 0), "{collected}");
    document(&lab.chsnap(), &["remote", "verify", &lab.address(), "--data"], 0);
}

#[test]
fn objects_sent_by_a_killed_push_are_reused_or_collected() {
    let lab = Lab::new();
    lab.host.snapshot();
    lab.push("latest");
    let snapshots = files_below(&lab.store().join("snapshots"));
    fs::remove_file(&snapshots[0].0).expect("the push was killed before its commit");
    let pushed = lab.push("latest");
    assert_eq!(objects(&pushed["snapshots"][0], "sent"), 0, "{pushed}");
    assert_eq!(pushed["pushed"].as_u64(), Some(1));
}

#[test]
fn the_last_snapshot_of_a_repository_goes_only_by_force() {
    let lab = Lab::new();
    lab.host.snapshot();
    lab.push("latest");
    let run = lab.chsnap().run(&["remote", "rm", &lab.address(), "latest"]);
    assert_eq!((run.code, run.stderr.contains("--force")), (13, true), "{}", run.stderr);
    document(&lab.chsnap(), &["remote", "rm", &lab.address(), "latest", "--force"], 0);
    assert!(files_below(&lab.store().join("snapshots")).is_empty());
}

#[test]
fn gc_deletes_nothing_where_a_manifest_cannot_be_read() {
    let (lab, _, second) = with_garbage();
    gc(&lab, &[]);
    age(&lab, 3);
    let snapshots = files_below(&lab.store().join("snapshots"));
    let path: &Path = &snapshots[0].0;
    assert!(path.to_string_lossy().contains(&second.to_string()));
    let bytes = fs::read(path).expect("it is read");
    fs::write(path, &bytes[..bytes.len() / 2]).expect("cut");
    let before = lab.objects();
    let run = lab.chsnap().run(&["remote", "gc", &lab.address()]);
    assert_eq!(run.code, 12, "{}", run.stderr);
    assert_eq!(lab.objects(), before);
}

#[test]
fn gc_removes_what_a_killed_push_has_left_once_it_is_older_than_the_grace() {
    let (lab, _, _) = with_garbage();
    let temporary = lab.store().join("tmp");
    fs::write(temporary.join("old"), b"half").expect("a leftover");
    age(&lab, 3);
    fs::write(temporary.join("young"), b"half").expect("one that is being written");
    gc(&lab, &["--dry-run"]);
    assert_eq!(files_below(&temporary).len(), 2);
    gc(&lab, &[]);
    let left: Vec<_> = files_below(&temporary).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left, [temporary.join("young")]);
}

/// `tmp` leads nowhere: nothing can be written, as on a full disk.
#[test]
fn gc_deletes_in_a_store_that_takes_no_object() {
    let (lab, _, _) = with_garbage();
    gc(&lab, &[]);
    age(&lab, 3);
    // A later push shows how late it is.
    lab.host.put("a", "all_9_9_0", &large_part(21, 22));
    lab.host.snapshot();
    lab.push("latest");
    let temporary = lab.store().join("tmp");
    fs::remove_dir_all(&temporary).expect("removed");
    std::os::unix::fs::symlink("/missing/directory", &temporary).expect("a link");
    let before = lab.objects().len();
    let collected = gc(&lab, &[]);
    assert_eq!((objects(&collected, "deleted"), lab.objects().len()), (2, before - 2), "{collected}");
}
