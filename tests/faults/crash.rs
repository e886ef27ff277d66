//! The crash contract: if create, rm, undo or gc is killed at any mutating call, or the filesystem refuses the call,
//! every older snapshot is intact, the new one is absent or complete, live data is unchanged, and the next run
//! converges.

use std::sync::Arc;
use std::time::Duration;

use chsnap::exec::PlaceMode;
use chsnap::fs::{Mutations, real};
use chsnap::model::SnapshotId;
use chsnap::monitor::Silent;
use chsnap::ops::copy;
use chsnap::ops::create::FreezeMode;
use chsnap::ops::prune::{PruneRequest, carry_out, plan_prune};
use chsnap::ops::{self, OpError};
use chsnap::plan::retention::{Count, GuardLimits, Policy};
use rustix::io::Errno;
use testkit::faulty::{Fault, FaultyVerbs};
use testkit::saved::SavedTree;
use testkit::tree::{regrown, tree};
use testkit::world::{World, now, reference};

/// The errors that most calls meet, and those that some call answers in a way of its own.
const OFTEN: [Errno; 5] = [Errno::IO, Errno::NOSPC, Errno::MLINK, Errno::XDEV, Errno::ACCESS];

/// These errors; with `CHSNAP_FULL` all that a call can be made to fail with.
fn errors(some: &[Errno]) -> impl Iterator<Item = Fault> {
    let is_full = std::env::var_os("CHSNAP_FULL").is_some();
    testkit::faulty::ERRNOS.into_iter().filter(move |errno| is_full || some.contains(errno)).map(Fault::Error)
}

/// Prints the call that met the fault if the test fails.
struct NamesCall<'a>(&'a FaultyVerbs);

impl Drop for NamesCall<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the fault was at: {}", self.0.met());
        }
    }
}

/// Calls `attempt` with a fault at its first mutating call, its second, and so on, until one attempt has none left to
/// meet. The world is made once, and put back before each further attempt.
fn at_every_call(
    new_world: fn() -> World,
    fault: Fault,
    mut attempt: impl FnMut(&World, &Arc<dyn Mutations>, &str),
) -> usize {
    let mut world = new_world();
    let saved = SavedTree::of(world.folder.path());
    for call in 1.. {
        let faulty = Arc::new(FaultyVerbs::new(call, fault));
        let verbs: Arc<dyn Mutations> = Arc::clone(&faulty) as Arc<dyn Mutations>;
        let naming = NamesCall(&faulty);
        attempt(&world, &verbs, &format!("{fault:?} at call {call}"));
        drop(naming);
        if faulty.met().is_empty() {
            return call;
        }
        saved.put_back();
        world.older = regrown(&world.older, &world.snapshots());
    }
    unreachable!("the calls of a command have an end")
}

fn create_survives(fault: Fault, place: PlaceMode, freeze: FreezeMode) {
    create_survives_in(World::new, fault, place, freeze);
}

fn create_survives_in(new_world: fn() -> World, fault: Fault, place: PlaceMode, freeze: FreezeMode) {
    let calls = at_every_call(new_world, fault, |world, verbs, context| {
        world.place.set(place);
        let result = world.create_of(verbs, place, freeze);
        world.check(context);
        world.check_older(context);
        let standing = ids(world).len();
        if let Ok(report) = &result {
            assert_eq!(standing, 2, "{context}");
            assert!(report.totals.parts == 5 || !report.warnings.is_empty(), "{context}");
        }
        world.check_that_the_next_run_converges(context);
        world.check_older(context);
    });
    assert!(calls > 20, "a create has more than {calls} mutating calls");
}

#[test]
fn create_killed_at_any_call_leaves_all_or_nothing() {
    create_survives(Fault::Kill, PlaceMode::Auto, FreezeMode::All);
}

#[test]
fn create_by_links_killed_at_any_call_leaves_all_or_nothing() {
    create_survives(Fault::Kill, PlaceMode::Link, FreezeMode::All);
}

#[test]
fn create_from_the_last_snapshot_killed_or_refused_at_any_call_leaves_all_or_nothing() {
    for fault in [Fault::Kill].into_iter().chain(errors(&OFTEN)) {
        create_survives(fault, PlaceMode::Auto, FreezeMode::Changed);
    }
}

#[test]
fn create_by_copies_killed_or_refused_at_any_call_leaves_all_or_nothing() {
    create_survives_in(World::small, Fault::Kill, PlaceMode::Copy, FreezeMode::All);
    // Each that a copy answers in a way of its own.
    for fault in errors(&[Errno::NOSPC, Errno::MLINK, Errno::ACCESS]) {
        create_survives_in(World::small, fault, PlaceMode::Copy, FreezeMode::Changed);
    }
}

#[test]
fn create_refused_at_any_call_leaves_all_or_nothing() {
    for fault in errors(&OFTEN) {
        create_survives(fault, PlaceMode::Auto, FreezeMode::All);
    }
}

/// As many parts as are synced before the seal.
const MANY_PARTS: u32 = 1000;

#[test]
fn a_write_error_of_a_background_sync_fails_the_run() {
    for freeze in [FreezeMode::All, FreezeMode::Changed] {
        let world = World::small();
        for number in 10..10 + MANY_PARTS {
            world.freezer.add_small_part("one", &format!("all_{number}_{number}_0"));
        }
        world.create(&real(), PlaceMode::Auto).expect("a snapshot of them");
        let faulty = Arc::new(FaultyVerbs::new(0, Fault::First("sync_filesystem", Errno::IO)));
        let verbs: Arc<dyn Mutations> = Arc::clone(&faulty) as Arc<dyn Mutations>;
        let error =
            world.create_of(&verbs, PlaceMode::Auto, freeze).map(|report| report.id).expect_err("the sync failed");
        assert!(format!("{error:?}").contains("sync"), "{error:?}");
        assert!(faulty.firsts() > 1, "the last sync, which found nothing wrong, is not the one that failed");
        assert_eq!(ids(&world).len(), 2, "{freeze:?}");
        world.create_of(&real(), PlaceMode::Auto, freeze).expect("nothing is in the way of the next");
    }
}

/// Copies the newest snapshot to `second` in the folder of the world, by these verbs.
fn copy_by(world: &World, verbs: &Arc<dyn Mutations>) -> Result<copy::Report, OpError> {
    let request = copy::Request::new(copy::WantedSnapshots::New).with_jobs(1);
    let source = world.open(&real());
    let target = copy::TargetRepository::find(&source, &world.folder.path().join("second"), verbs)?;
    copy::copy(&source, target, &request, &now, &Silent).map_err(|stopped| stopped.error)
}

/// A world whose first snapshot is copied, with a second one that is not.
fn copied_once() -> World {
    let world = World::small();
    copy_by(&world, &real()).expect("a copy of the first snapshot");
    world.create(&real(), PlaceMode::Auto).expect("a second snapshot");
    world
}

#[test]
fn copy_killed_or_refused_at_any_call_leaves_all_or_nothing_and_is_taken_up() {
    let kills: [(Fault, fn() -> World); 2] = [(Fault::Kill, World::small), (Fault::Kill, copied_once)];
    let refused = errors(&[Errno::NOSPC]).map(|fault| (fault, copied_once as fn() -> World));
    for (fault, new_world) in kills.into_iter().chain(refused) {
        at_every_call(new_world, fault, |world, verbs, context| {
            let second = world.folder.path().join("second/snapshots");
            let source = tree(&world.snapshots());
            let before = tree(&second);
            let result = copy_by(world, verbs);
            assert_eq!(tree(&world.snapshots()), source, "the source: {context}");
            let after = tree(&second);
            for (path, node) in &before {
                assert_eq!(after.get(path), Some(node), "{}: {context}", path.display());
            }
            let ids = |tree: &testkit::tree::Tree| tree.keys().filter(|path| path.components().count() == 1).count();
            if result.is_ok() {
                assert_eq!(ids(&after), ids(&source), "{context}");
            }
            check_copies(world, context);
            // The next one, with nothing in its way, puts everything right.
            let report = copy_by(world, &real()).unwrap_or_else(|error| panic!("{error}: {context}"));
            assert!(report.warnings.is_empty(), "{:?}: {context}", report.warnings);
            assert_eq!(ids(&tree(&second)), ids(&source), "{context}");
            check_copies(world, context);
            for name in ["incoming", "trash"] {
                let left = testkit::world::entries(&world.folder.path().join("second").join(name));
                assert!(left.is_empty(), "{left:?} in {name}: {context}");
            }
            let pins = testkit::world::entries(&world.folder.path().join("second/pins"));
            assert_eq!(pins.len(), ids(&source), "{pins:?}: {context}");
        });
    }
}

/// The second repository has the bytes, modes and times of the source.
fn check_copies(world: &World, context: &str) {
    let (own, copies) = (tree(&world.snapshots()), tree(&world.folder.path().join("second/snapshots")));
    let is_data = |path: &std::path::Path| path.components().nth(1).is_some_and(|name| name.as_os_str() == "data");
    for id in copies.keys().filter(|path| path.components().count() == 1) {
        for (path, node) in own.iter().filter(|(path, _)| path.starts_with(id) && is_data(path)) {
            let copy = copies.get(path).unwrap_or_else(|| panic!("{} is missing: {context}", path.display()));
            let expected = testkit::tree::Node { inode: copy.inode, ..node.clone() };
            assert_eq!(copy, &expected, "{}: {context}", path.display());
        }
    }
}

/// A world with this many snapshots.
fn with_snapshots(count: usize) -> World {
    let world = World::new();
    for _ in 1..count {
        world.create(&real(), PlaceMode::Auto).expect("a snapshot");
    }
    world
}

fn ids(world: &World) -> Vec<SnapshotId> {
    world.open(&real()).snapshot_ids().expect("readable").0
}

#[test]
fn rm_undo_and_gc_interrupted_at_any_call_are_taken_up_again() {
    for fault in [Fault::Kill].into_iter().chain(errors(&[Errno::IO, Errno::ACCESS])) {
        at_every_call(
            || with_snapshots(2),
            fault,
            |world, verbs, context| {
                let second = ids(world)[1];
                let both = tree(&world.snapshots());
                let run = |verbs: &Arc<dyn Mutations>| -> Result<(), OpError> {
                    let repository = world.open(verbs);
                    let locked = repository.lock("test", now(), Duration::ZERO)?;
                    ops::remove(&locked, &[reference(&second.to_string())], true, now())?;
                    ops::undo(&locked, &[], now())?;
                    ops::remove(&locked, &[reference(&second.to_string())], true, now())?;
                    ops::collect_garbage(&locked, || None, &Silent, 1, now())?;
                    Ok(())
                };
                let result = run(verbs);
                world.check(context);
                world.check_older(context);
                let repository = world.open(&real());
                if repository.removed_ids().expect("readable").contains(&second) {
                    // What can be taken back is whole.
                    let locked = repository.lock("test", now(), Duration::ZERO).expect("free");
                    ops::undo(&locked, &[], now()).expect("undone");
                    assert_eq!(tree(&world.snapshots()), both, "{context}");
                } else if result.is_ok() {
                    assert_eq!(tree(&world.snapshots()), world.older, "{context}");
                }
                world.check_that_the_next_run_converges(context);
            },
        );
    }
}

/// A world with three snapshots, none of which is pinned.
fn unpinned() -> World {
    let world = with_snapshots(3);
    for pin in testkit::world::entries(&world.repository().join("pins")) {
        std::fs::remove_file(world.repository().join("pins").join(pin)).expect("unpinned");
    }
    world
}

#[test]
fn prune_interrupted_at_any_call_removes_whole_snapshots_of_its_plan_or_none() {
    let policy = Policy { keep_last: Count::Of(1), ..Policy::default() };
    let limits = GuardLimits::default().with_removed_percent(100);
    let request = PruneRequest::new(policy).with_limits(limits).with_jobs(1);
    for fault in [Fault::Kill].into_iter().chain(errors(&[Errno::IO, Errno::ACCESS])) {
        at_every_call(unpinned, fault, |world, verbs, context| {
            let all = tree(&world.snapshots());
            let ids = ids(world);
            let run = |verbs: &Arc<dyn Mutations>| -> Result<(), OpError> {
                let repository = world.open(verbs);
                let plan = plan_prune(&repository, &request, now())?;
                assert_eq!(plan.remove.len(), 2, "{context}");
                let locked = repository.lock("test", now(), Duration::ZERO)?;
                carry_out(&locked, &plan, now())?;
                ops::collect_garbage(&locked, || None, &Silent, 1, now())?;
                Ok(())
            };
            let result = run(verbs);
            world.check(context);
            let repository = world.open(&real());
            let (standing, removed) =
                (repository.snapshot_ids().expect("readable").0, repository.removed_ids().expect("readable"));
            assert!(standing.contains(&ids[2]), "what is kept stands: {context}");
            assert!(result.is_err() || standing == ids[2..], "{context}");
            if standing.len() + removed.len() == ids.len() {
                // Nothing is condemned yet: all can be had back, whole.
                if !removed.is_empty() {
                    let references: Vec<_> = removed.iter().map(|id| reference(&id.to_string())).collect();
                    let locked = repository.lock("test", now(), Duration::ZERO).expect("free");
                    ops::undo(&locked, &references, now()).expect("undone");
                }
                assert_eq!(tree(&world.snapshots()), all, "{context}");
            }
            world.check_that_the_next_run_converges(context);
        });
    }
}

#[test]
fn a_saved_tree_is_put_back_as_it_was() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("a/b")).expect("made");
    for (name, text) in [("a/one", "1"), ("a/b/two", "2"), ("three", "3")] {
        std::fs::write(root.join(name), text).expect("written");
    }
    std::os::unix::fs::symlink("a", root.join("latest")).expect("a link");
    let saved = SavedTree::of(&root);
    let before = tree(&root);
    std::fs::remove_dir_all(root.join("a")).expect("removed");
    std::fs::write(root.join("a"), "a file where a directory was").expect("written");
    std::fs::write(root.join("three"), "changed").expect("written");
    std::fs::set_permissions(root.join("three"), std::fs::Permissions::from_mode(0o600)).expect("set");
    std::fs::remove_file(root.join("latest")).expect("removed");
    std::fs::create_dir_all(root.join("latest/new")).expect("made");
    saved.put_back();
    let after = tree(&root);
    assert_eq!(testkit::tree::files(&after).len(), testkit::tree::files(&before).len());
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    assert_eq!(std::fs::read_link(root.join("latest")).expect("a link"), std::path::Path::new("a"));
    for (path, node) in before.iter().filter(|(path, _)| root.join(path).is_file() && !root.join(path).is_symlink()) {
        assert_eq!(after.get(path), Some(node), "{}", path.display());
    }
    saved.put_back();
    assert_eq!(tree(&root), after, "nothing is left to put back");
}
