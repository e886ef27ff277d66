//! Placing by copies with obstacles: filesystems that keep less metadata, inodes at their link limit, damaged source
//! files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use chsnap::exec::PlaceMode;
use chsnap::fs::{Mutations, real};
use chsnap::model::{Placement, SnapshotId, TableName, WarningKind};
use chsnap::ops::OpError;
use chsnap::ops::create::{FreezeMode, IdsMode, Report};
use chsnap::repo::{PartRecord, Repository, SnapshotState, read_parts};
use rustix::io::Errno;
use testkit::faulty::{Fault, FaultyVerbs};
use testkit::tree::{files, tree};
use testkit::world::{World, now};

/// A world whose repository is new: nothing in it is a link of a live file.
fn world() -> World {
    let world = World::without_repository();
    Repository::init(&world.repository(), now(), &real()).expect("made");
    world
}

fn always(fault: Fault) -> Arc<dyn Mutations> {
    Arc::new(FaultyVerbs::new(usize::MAX, fault))
}

fn copy(world: &World, verbs: &Arc<dyn Mutations>) -> Result<Report, OpError> {
    world.create_of(verbs, PlaceMode::Copy, FreezeMode::Changed)
}

fn records(world: &World, id: SnapshotId) -> Vec<PartRecord> {
    let repository = world.open(&real());
    let SnapshotState::Complete(manifest) = repository.snapshot(id).expect("readable") else { panic!("complete") };
    read_parts(&repository.snapshot_dir(id).expect("there"), &manifest.parts_blake3).expect("a list")
}

fn contents(root: &Path) -> BTreeMap<PathBuf, blake3::Hash> {
    files(&tree(root)).into_iter().map(|(path, node)| (path.to_owned(), node.content)).collect()
}

fn links_below(root: &Path) -> Vec<u64> {
    tree(root)
        .keys()
        .map(|path| root.join(path))
        .filter(|path| path.is_file())
        .map(|path| path.metadata().expect("there").nlink())
        .collect()
}

#[test]
fn a_file_with_as_many_links_as_it_may_have_is_copied_and_its_copy_linked_from_then_on() {
    let world = world();
    let verbs = always(Fault::Links(3));
    let mut copied = Vec::new();
    for night in 0..8 {
        let report = copy(&world, &verbs).unwrap_or_else(|error| panic!("night {night}: {error}"));
        let data = world.snapshots().join(report.id.to_string()).join("data");
        assert_eq!(contents(&data), contents(&world.folder.path().join("ch/data")), "night {night}");
        assert!(links_below(&world.snapshots()).iter().all(|links| *links <= 3), "night {night}");
        copied.push(report.placed.copied.files);
        let (files, warnings) = (report.recopied_files, report.warnings);
        assert_eq!(
            warnings.iter().any(|warning| warning.message.starts_with(&format!("{files} files were copied although"))),
            files > 0
        );
        assert_eq!(files, if night == 0 { 0 } else { report.placed.copied.files }, "night {night}: {warnings:?}");
        world.check(&format!("night {night}"));
    }
    let all = copied[0];
    assert!(all > 10);
    // Each copy has three links: every third night there is a new one.
    assert_eq!(copied, [all, 0, 0, all, 0, 0, all, 0]);
}

#[test]
fn a_filesystem_that_keeps_no_owners_is_refused_before_anything_is_frozen_unless_they_are_recorded() {
    let world = world();
    world.freezer.run_by(4711);
    for entry in walk(&world.folder.path().join("ch/data")) {
        std::os::unix::fs::chown(&entry, Some(4711), Some(4712)).expect("an owner");
    }
    let verbs = always(Fault::Refuse(&["set_owner", "set_ownership"], Errno::PERM));
    let error = copy(&world, &verbs).expect_err("it cannot be kept");
    assert!(matches!(&error, OpError::CannotKeep { what, .. } if what.contains("4711:4712")), "{error}");
    assert!(
        testkit::world::entries(&world.freezer.shadow()).is_empty()
            && testkit::world::entries(&world.snapshots()).is_empty()
    );
    assert!(testkit::world::entries(&world.repository().join("incoming")).is_empty());

    // Without `set_ownership`, by which the repository's own directories get theirs.
    let verbs = always(Fault::Refuse(&["set_owner", "set_times"], Errno::PERM));
    let recorded = |freeze| world.create_with(&verbs, PlaceMode::Copy, freeze, |request| request.ids = IdsMode::Record);
    let report = recorded(FreezeMode::Changed).expect("recorded");
    let data = world.snapshots().join(report.id.to_string()).join("data");
    for record in records(&world, report.id) {
        assert_eq!((record.ownership.uid, record.ownership.gid), (4711, 4711), "as its freeze has it");
        let part = Path::new("d").join(&record.table.table).join(record.part.as_str());
        let live = world.folder.path().join("ch/data").join(&part);
        for (file, _) in files(&tree(&live)) {
            let (held, source) =
                (data.join(&part).join(file).metadata().expect("there"), live.join(file).metadata().expect("there"));
            assert_eq!(held.uid(), 0, "the copy has it not");
            let told =
                record.unkept.iter().find(|unkept| Path::new(&unkept.path) == file).expect("a record of its time");
            assert_eq!(told.modified, Some((source.mtime(), u32::try_from(source.mtime_nsec()).expect("small"))));
        }
    }
    // The next night all of it is found again, by what was recorded.
    let next = recorded(FreezeMode::All).expect("recorded");
    assert_eq!((next.placed.linked.parts, next.placed.copied.files), (report.totals.parts, 0));
    assert_eq!(records(&world, next.id)[0].unkept, records(&world, report.id)[0].unkept);
    // And it is verified by that: what the filesystem could not keep is no damage, and damage still is.
    let verified = || {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_chsnap"));
        let run = verify.arg("--repo").arg(world.repository()).args(["verify", "--level", "data"]).output();
        let run = run.expect("it starts");
        (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr))
    };
    let (code, said) = verified();
    assert_eq!(code, Some(0), "{said}");
    let is_data = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "bin");
    let damaged = walk(&data).into_iter().find(is_data).expect("a file of data");
    let mut bytes = fs::read(&damaged).expect("readable");
    *bytes.last_mut().expect("it has bytes") ^= 1;
    fs::write(&damaged, bytes).expect("written");
    let (code, said) = verified();
    let name = damaged.file_name().expect("a name").to_string_lossy();
    assert!(code == Some(12) && said.contains(&*name), "{code:?} {said}");
}

fn walk(root: &Path) -> Vec<PathBuf> {
    tree(root).into_keys().map(|path| root.join(path)).collect()
}

#[test]
fn a_filesystem_without_hard_links_is_refused() {
    let world = world();
    let error = copy(&world, &always(Fault::Refuse(&["link"], Errno::PERM))).expect_err("no links");
    assert!(matches!(error, OpError::NoHardLinks { .. }), "{error}");
    assert!(testkit::world::entries(&world.freezer.shadow()).is_empty());
}

#[test]
fn a_damaged_file_is_named_and_its_part_is_never_a_source() {
    let world = world();
    let path = world.folder.path().join("ch/data/d/one/all_1_1_0/k.bin");
    let modified = path.metadata().expect("there").modified().expect("a time");
    fs::write(&path, [1, 2, 3, 5]).expect("written");
    fs::File::options().write(true).open(&path).expect("open").set_modified(modified).expect("a time");
    let report = copy(&world, &real()).expect("a snapshot");
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert_eq!((warning.kind, &warning.table), (WarningKind::DamagedOnServer, &Some(TableName::new("d", "one"))));
    for said in ["d.one", "k.bin", "all_1_1_0", "has 4 bytes with the hash", "checksums.txt says 4 bytes with the hash"]
    {
        assert!(warning.message.contains(said), "{said}: {warning}");
    }
    let held = world.snapshots().join(report.id.to_string()).join("data/d/one/all_1_1_0/k.bin");
    assert_eq!(fs::read(held).expect("there"), [1, 2, 3, 5], "as it is on the server");
    let damaged: Vec<PartRecord> =
        records(&world, report.id).into_iter().filter(|record| !record.damage.is_empty()).collect();
    assert_eq!((damaged.len(), damaged[0].table.table.as_str()), (1, "one"));

    // Repaired on the server: it is copied again, everything else is linked.
    fs::write(&path, [1, 2, 3, 4]).expect("written");
    fs::File::options().write(true).open(&path).expect("open").set_modified(modified).expect("a time");
    let next = copy(&world, &real()).expect("a snapshot");
    assert_eq!(next.warnings, []);
    let held = world.snapshots().join(next.id.to_string()).join("data/d/one/all_1_1_0/k.bin");
    assert_eq!(fs::read(&held).expect("there"), [1, 2, 3, 4]);
    // Not one file of it is that of the damaged part, though two of them are the same. Parts of another table are.
    let inodes = |id: SnapshotId| -> Vec<u64> {
        let part = world.snapshots().join(id.to_string()).join("data/d/one/all_1_1_0");
        files(&tree(&part)).values().map(|node| node.inode).collect()
    };
    let damaged = inodes(report.id);
    assert!(inodes(next.id).iter().all(|inode| !damaged.contains(inode)));
}

#[test]
fn complete_files_of_a_killed_run_are_kept_and_partial_ones_are_not() {
    let calls = {
        let counting = Arc::new(FaultyVerbs::new(usize::MAX, Fault::Kill));
        copy(&world(), &(Arc::clone(&counting) as Arc<dyn Mutations>)).expect("no fault");
        counting.calls()
    };
    let mut resumed = Vec::new();
    for at in (1..=calls).step_by(3) {
        let world = world();
        if copy(&world, &always_from(at)).is_ok() {
            // Behind the commit.
            break;
        }
        let incoming = world.repository().join("incoming");
        let before: BTreeMap<PathBuf, u64> =
            files(&tree(&incoming)).into_iter().map(|(path, node)| (path.to_owned(), node.inode)).collect();
        let report = copy(&world, &real()).unwrap_or_else(|error| panic!("killed at {at}: {error}"));
        world.check(&format!("killed at {at}"));
        assert!(testkit::world::entries(&incoming).is_empty(), "killed at {at}");
        let data = tree(&world.snapshots().join(report.id.to_string()));
        let kept = files(&data)
            .into_iter()
            .filter(|(path, node)| path.starts_with("data") && before.values().any(|inode| *inode == node.inode));
        let (kept, copied) = (kept.count() as u64, report.placed.copied.files);
        assert_eq!(kept + copied, report.totals.files, "killed at {at}");
        resumed.push(report.resumed.parts);
        for record in records(&world, report.id).iter().filter(|record| record.placed == Placement::Linked) {
            assert_eq!(record.from, None, "of no snapshot");
        }
    }
    assert!(resumed.contains(&0) && resumed.iter().any(|parts| *parts >= 3), "{resumed:?}");
}

fn always_from(at: usize) -> Arc<dyn Mutations> {
    Arc::new(FaultyVerbs::new(at, Fault::Kill))
}
