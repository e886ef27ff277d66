//! Repair: damaged entries are replaced by links of intact copies, atomically, in every snapshot, and nothing else
//! changes.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;
use std::time::Duration;

use chsnap::fs::Mutations;
use chsnap::model::{Level, SnapshotId};
use chsnap::ops::verify::{Repair, Report, Request};

use crate::faulty::{ERRNOS, Fault, FaultyVerbs};
use crate::store::{Store, found, inode, names, part, request, time};
use crate::tree::{Tree, tree};

const FILE: &str = "data/d/one/all_1_1_0/c5.bin";

/// Three nights: the first two share the inodes of a part that the third has under others.
fn store() -> (Store, Vec<SnapshotId>) {
    let store = Store::new();
    store.put("one", "all_1_1_0", &part(5, 6, true));
    let mut ids = vec![store.snapshot(), store.snapshot()];
    store.put("one", "all_1_1_0", &part(5, 6, true));
    ids.push(store.snapshot());
    (store, ids)
}

fn repair() -> Request {
    request(Level::Data).with_repair(true)
}

/// Bytes of another value: of the inode, and so wherever it is linked.
fn damage(store: &Store, id: SnapshotId) {
    let path = store.at(id).join(FILE);
    let mut bytes = fs::read(&path).expect("read");
    bytes[3] ^= 0x10;
    fs::write(&path, bytes).expect("written");
}

fn snapshots(store: &Store) -> Tree {
    tree(&store.repo().join("snapshots"))
}

#[test]
fn a_damaged_inode_is_replaced_in_every_snapshot_that_shares_it_and_is_itself_left_alone() {
    let (store, ids) = store();
    let sound = snapshots(&store);
    damage(&store, ids[0]);
    let aside = store.live().with_file_name("aside");
    fs::hard_link(store.at(ids[0]).join(FILE), &aside).expect("a link");
    let before = tree(store.live().parent().expect("a folder"));
    // One snapshot is named; the other that shares the inode is repaired too.
    let report = store.verify(&repair().with_references(vec![ids[1].to_string().parse().expect("an id")]));
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    let damaged = &report.damage[0];
    assert_eq!((damaged.places.len(), damaged.is_linked_outside, &damaged.repair), (2, true, &Some(Repair::Done)));
    assert_eq!(report.repaired, 2);
    let copy = inode(&store.at(ids[2]).join(FILE));
    for id in &ids {
        assert_eq!(inode(&store.at(*id).join(FILE)), copy, "{id}");
    }
    let after = snapshots(&store);
    assert_eq!(after.keys().collect::<Vec<_>>(), sound.keys().collect::<Vec<_>>());
    for (path, node) in &sound {
        let now = &after[path];
        assert_eq!(
            (now.content, now.mode, now.uid, now.size, now.is_dir),
            (node.content, node.mode, node.uid, node.size, node.is_dir),
            "{}",
            path.display()
        );
    }
    let whole = tree(store.live().parent().expect("a folder"));
    assert_eq!(whole[std::path::Path::new("aside")], before[std::path::Path::new("aside")], "the damaged inode");
    assert_eq!(found(&store.verify(&request(Level::Data))).len(), 0);
    assert!(names(&store.repo().join("trash")).is_empty());
}

#[test]
fn missing_or_replaced_files_are_repaired_and_those_without_a_copy_are_reported() {
    let (store, ids) = store();
    let part = store.at(ids[1]).join("data/d/one/all_1_1_0");
    fs::remove_file(part.join("c1.bin")).expect("removed");
    fs::remove_file(part.join("p.proj/d2.bin")).expect("removed");
    symlink("/etc/passwd", part.join("p.proj/d2.bin")).expect("a link");
    fs::remove_file(part.join("columns.txt")).expect("removed");
    fs::create_dir(part.join("columns.txt")).expect("made");
    fs::write(part.join("surplus"), "x").expect("written");
    fs::remove_file(store.at(ids[1]).join("metadata/d/one.sql")).expect("removed");
    let report = store.verify(&repair());
    let outcome = |name: &str| {
        let of =
            report.damage.iter().find(|damage| damage.places[0].1.ends_with(name)).unwrap_or_else(|| panic!("{name}"));
        of.repair.clone().expect("asked for")
    };
    for name in ["c1.bin", "p.proj/d2.bin", "metadata/d/one.sql"] {
        assert_eq!(outcome(name), Repair::Done, "{name}");
    }
    assert!(matches!(outcome("columns.txt"), Repair::Failed(why) if why.contains("directory is in its place")));
    assert!(matches!(outcome("surplus"), Repair::Failed(why) if why.contains("no intact copy")));
    assert!(part.join("surplus").exists(), "what is not chsnap's is not removed");
    assert_eq!(found(&store.verify(&request(Level::Data))).len(), 2);
}

#[test]
fn a_copy_that_is_damaged_too_or_has_another_owner_or_mode_is_none() {
    let (store, ids) = store();
    damage(&store, ids[0]);
    damage(&store, ids[2]);
    let report = store.verify(&repair());
    assert_eq!((report.damage.len(), report.repaired), (2, 0), "{:?}", report.damage);
    assert!(report.damage.iter().all(|damage| damage.intact.is_none()));
    let (store, ids) = self::store();
    damage(&store, ids[0]);
    fs::set_permissions(store.at(ids[2]).join(FILE), fs::Permissions::from_mode(0o600)).expect("a mode");
    let report = store.verify(&repair());
    // The mode of the copy is drift, which is not repaired: it may be shared with the live table.
    assert_eq!((report.damage.len(), report.drift.len(), report.repaired), (1, 1, 0), "{:?}", report.damage);
}

#[test]
fn a_copy_is_found_in_another_part_of_another_table() {
    let store = Store::new();
    store.put("one", "all_1_1_0", &part(5, 6, false));
    store.put("two", "all_7_7_0", &part(5, 6, true));
    let id = store.snapshot();
    damage(&store, id);
    let report = store.verify(&repair());
    assert_eq!(report.repaired, 1, "{:?}", report.damage);
    assert_eq!(inode(&store.at(id).join(FILE)), inode(&store.at(id).join("data/d/two/all_7_7_0/c5.bin")));
    assert_eq!(found(&store.verify(&request(Level::Data))).len(), 0);
}

/// Each entry is as it was before or as it is to be, and nothing is there that was not.
fn check(store: &Store, before: &Tree, ids: &[SnapshotId], context: &str) {
    let after = snapshots(store);
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{context}");
    let copy = inode(&store.at(ids[2]).join(FILE));
    for (path, node) in before {
        let now = &after[path];
        assert!(now.inode == node.inode || now.inode == copy, "{}: {context}", path.display());
        if now.inode == node.inode {
            assert_eq!(now, node, "{}: {context}", path.display());
        }
    }
}

#[test]
fn a_repair_killed_or_refused_at_any_call_leaves_each_entry_old_or_new_and_is_taken_up_again() {
    for fault in [Fault::Kill].into_iter().chain(ERRNOS.map(Fault::Error)) {
        for call in 1.. {
            let (store, ids) = store();
            damage(&store, ids[0]);
            let before = snapshots(&store);
            let faulty = Arc::new(FaultyVerbs::new(call, fault));
            let verbs: Arc<dyn Mutations> = Arc::clone(&faulty) as Arc<dyn Mutations>;
            let report: Report = store.verify_by(&verbs, &repair(), time(50));
            let context = format!("{fault:?} at call {call} ({})", faulty.met());
            check(&store, &before, &ids, &context);
            assert_eq!(report.damage.len(), 1, "{context}");
            let is_told = !report.warnings.is_empty() || matches!(report.damage[0].repair, Some(Repair::Failed(_)));
            let is_done = found(&store.verify(&request(Level::Data))).is_empty();
            assert!(is_done || is_told, "{context}: {report:?}");
            store.verify(&repair());
            assert_eq!(found(&store.verify(&request(Level::Data))).len(), 0, "{context}");
            check(&store, &before, &ids, &context);
            // What a kill has left is no part of a snapshot, and goes with the next gc.
            let repository = store.open();
            let locked = repository.lock("gc", time(60), Duration::ZERO).expect("free");
            chsnap::ops::collect_garbage(&locked, || None, &chsnap::monitor::Silent, 1, time(60)).expect("collected");
            assert!(names(&store.repo().join("trash")).is_empty(), "{context}");
            if faulty.met().is_empty() {
                assert!(call > 8, "a repair has more than {call} mutating calls");
                break;
            }
        }
    }
}
