//! The crash contract: if create, rm, undo or gc is killed at any mutating call, or the filesystem refuses the call,
//! every older snapshot is intact, the new one is absent or complete, live data is unchanged, and the next run
//! converges.

use std::sync::Arc;
use std::time::Duration;

use chsnap::exec::PlaceMode;
use chsnap::fs::{Mutations, real};
use chsnap::monitor::Silent;
use chsnap::ops::copy;
use chsnap::ops::create::FreezeMode;
use chsnap::ops::prune::{PruneRequest, carry_out, plan_prune};
use chsnap::ops::{self, OpError};
use chsnap::plan::retention::{Count, GuardLimits, Policy};
use rustix::io::Errno;
use testkit::faulty::{Fault, FaultyVerbs};
use testkit::tree::tree;
use testkit::world::{World, now, reference};

/// Calls `attempt` in a new world with a fault at its first mutating call, its second, and so on, until one attempt
/// has none left to meet.
/// The errors that most calls meet, and those that some call answers in a way of its own.
const OFTEN: [Errno; 5] = [Errno::IO, Errno::NOSPC, Errno::MLINK, Errno::XDEV, Errno::ACCESS];

/// These errors; with `CHSNAP_FULL` all that a call can be made to fail with.
fn errors(some: &[Errno]) -> impl Iterator<Item = Fault> {
    let is_full = std::env::var_os("CHSNAP_FULL").is_some();
    testkit::faulty::ERRNOS.into_iter().filter(move |errno| is_full || some.contains(errno)).map(Fault::Error)
}

fn at_every_call(fault: Fault, attempt: impl FnMut(&World, &Arc<dyn Mutations>, &str)) -> usize {
    at_every_call_in(World::new, fault, attempt)
}

fn at_every_call_in(
    new_world: fn() -> World,
    fault: Fault,
    mut attempt: impl FnMut(&World, &Arc<dyn Mutations>, &str),
) -> usize {
    for call in 1.. {
        let world = new_world();
        let faulty = Arc::new(FaultyVerbs::new(call, fault));
        let verbs: Arc<dyn Mutations> = Arc::clone(&faulty) as Arc<dyn Mutations>;
        attempt(&world, &verbs, &format!("{fault:?} at call {call} ({})", faulty.met()));
        if faulty.met().is_empty() {
            return call;
        }
    }
    unreachable!("the calls of a command have an end")
}

fn create_survives(fault: Fault, place: PlaceMode, freeze: FreezeMode) {
    create_survives_in(World::new, fault, place, freeze);
}

fn create_survives_in(new_world: fn() -> World, fault: Fault, place: PlaceMode, freeze: FreezeMode) {
    let calls = at_every_call_in(new_world, fault, |world, verbs, context| {
        world.place.set(place);
        let result = world.create_of(verbs, place, freeze);
        world.check(context);
        world.check_older(context);
        let standing = world.open(&real()).snapshot_ids().expect("readable").0.len();
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
        let error = world.create_of(&verbs, PlaceMode::Auto, freeze).map(|report| report.id).expect_err("it is told");
        assert!(format!("{error:?}").contains("sync"), "{error:?}");
        assert!(faulty.firsts() > 1, "the last sync, which found nothing wrong, is not the one that failed");
        assert_eq!(world.open(&real()).snapshot_ids().expect("readable").0.len(), 2, "{freeze:?}");
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

#[test]
fn copy_killed_or_refused_at_any_call_leaves_all_or_nothing_and_is_taken_up() {
    let faults = [(Fault::Kill, false), (Fault::Kill, true)];
    for (fault, links) in faults.into_iter().chain(errors(&[Errno::NOSPC]).map(|fault| (fault, true))) {
        at_every_call_in(World::small, fault, |world, verbs, context| {
            let second = world.folder.path().join("second/snapshots");
            if links {
                copy_by(world, &real()).unwrap_or_else(|error| panic!("{error}: {context}"));
                world.create(&real(), PlaceMode::Auto).expect("a second snapshot");
            }
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

#[test]
fn rm_undo_and_gc_interrupted_at_any_call_are_taken_up_again() {
    for fault in [Fault::Kill].into_iter().chain(errors(&[Errno::IO, Errno::ACCESS])) {
        at_every_call(fault, |world, verbs, context| {
            let second = world.create(&real(), PlaceMode::Auto).expect("a second snapshot").id;
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
        });
    }
}

#[test]
fn prune_interrupted_at_any_call_removes_whole_snapshots_of_its_plan_or_none() {
    let policy = Policy { keep_last: Count::Of(1), ..Policy::default() };
    let limits = GuardLimits::default().with_removed_percent(100);
    let request = PruneRequest::new(policy).with_limits(limits).with_jobs(1);
    for fault in [Fault::Kill].into_iter().chain(errors(&[Errno::IO, Errno::ACCESS])) {
        at_every_call(fault, |world, verbs, context| {
            for _ in 0..2 {
                world.create(&real(), PlaceMode::Auto).expect("a snapshot");
            }
            for pin in testkit::world::entries(&world.repository().join("pins")) {
                std::fs::remove_file(world.repository().join("pins").join(pin)).expect("unpinned");
            }
            let all = tree(&world.snapshots());
            let ids = world.open(&real()).snapshot_ids().expect("readable").0;
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
