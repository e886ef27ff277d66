//! The crash contract: killed, or refused by the filesystem, at any mutating call of create, rm, undo and gc, every
//! older snapshot is intact, the new one is absent or complete, live data is untouched, and the next run converges.

#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/freezer.rs"]
mod freezer;
#[path = "support/tree.rs"]
mod tree;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::time::Duration;

use chsnap::exec::PlaceMode;
use chsnap::fs::{Verbs, real};
use chsnap::monitor::Silent;
use chsnap::ops::create::FreezeMode;
use chsnap::ops::{self, OpError};
use faulty::{Fault, FaultyVerbs};
use tree::tree;
use world::{World, now, reference};

/// Calls `attempt` in a new world with a fault at its first mutating call, its second, and so on, until one attempt
/// has none left to meet.
fn at_every_call(fault: Fault, attempt: impl FnMut(&World, &Arc<dyn Verbs>, &str)) -> usize {
    at_every_call_in(World::new, fault, attempt)
}

fn at_every_call_in(
    new_world: fn() -> World,
    fault: Fault,
    mut attempt: impl FnMut(&World, &Arc<dyn Verbs>, &str),
) -> usize {
    for call in 1.. {
        let world = new_world();
        let faulty = Arc::new(FaultyVerbs::new(call, fault));
        let verbs: Arc<dyn Verbs> = Arc::clone(&faulty) as Arc<dyn Verbs>;
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
    for fault in [Fault::Kill].into_iter().chain(faulty::ERRNOS.map(Fault::Error)) {
        create_survives(fault, PlaceMode::Auto, FreezeMode::Changed);
    }
}

#[test]
fn create_by_copies_killed_or_refused_at_any_call_leaves_all_or_nothing() {
    create_survives(Fault::Kill, PlaceMode::Copy, FreezeMode::All);
    for errno in faulty::ERRNOS {
        create_survives_in(World::small, Fault::Error(errno), PlaceMode::Copy, FreezeMode::Changed);
    }
}

#[test]
fn create_refused_at_any_call_leaves_all_or_nothing() {
    for errno in faulty::ERRNOS {
        create_survives(Fault::Error(errno), PlaceMode::Auto, FreezeMode::All);
    }
}

#[test]
fn rm_undo_and_gc_interrupted_at_any_call_are_taken_up_again() {
    for fault in [Fault::Kill].into_iter().chain(faulty::ERRNOS.map(Fault::Error)) {
        at_every_call(fault, |world, verbs, context| {
            let second = world.create(&real(), PlaceMode::Auto).expect("a second snapshot").id;
            let both = tree(&world.snapshots());
            let run = |verbs: &Arc<dyn Verbs>| -> Result<(), OpError> {
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
