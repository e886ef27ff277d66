//! Lost replies of an NFS server: at any call of any command, a call that was executed and then answered like a
//! repeated one is recognized as done.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chsnap::exec::PlaceMode;
use chsnap::fs::{Dir, Mutations, network_verbs, real};
use chsnap::monitor::Silent;
use chsnap::ops::{self};
use rustix::io::Errno;
use testkit::faulty::{Fault, FaultyVerbs};
use testkit::world::{World, now, reference};

/// The verbs of a network filesystem on which the n-th call meets this fault.
fn network(call: usize, fault: Fault) -> (Arc<FaultyVerbs>, Arc<dyn Mutations>) {
    let faulty = Arc::new(FaultyVerbs::new(call, fault));
    let verbs = network_verbs(Arc::clone(&faulty) as Arc<dyn Mutations>);
    (faulty, verbs)
}

/// Calls `attempt` in a new world with the fault at its first mutating call, its second, and so on.
fn at_every_call(fault: Fault, mut attempt: impl FnMut(&World, &Arc<dyn Mutations>, &dyn Fn() -> String)) {
    for call in 1.. {
        let world = World::small();
        let (faulty, verbs) = network(call, fault);
        attempt(&world, &verbs, &|| format!("{fault:?} at call {call}: {}", faulty.met()));
        if faulty.met().is_empty() {
            assert!(call > 10, "only {call} calls");
            return;
        }
    }
}

#[test]
fn create_does_not_notice_an_answer_that_was_lost() {
    for place in [PlaceMode::Auto, PlaceMode::Link] {
        at_every_call(Fault::Repeated, |world, verbs, context| {
            let report = world.create(verbs, place).unwrap_or_else(|error| panic!("{error}: {}", context()));
            assert_eq!((report.totals.parts, report.warnings.as_slice()), (5, &[][..]), "{}", context());
            world.check(&context());
            world.check_older(&context());
        });
    }
}

fn done<T>(result: Result<T, ops::OpError>, context: &dyn Fn() -> String) -> T {
    result.unwrap_or_else(|error| panic!("{}: {}", chsnap::monitor::chain(&error), context()))
}

#[test]
fn rm_undo_and_gc_do_not_notice_an_answer_that_was_lost() {
    at_every_call(Fault::Repeated, |world, verbs, context| {
        let second = world.create(&real(), PlaceMode::Auto).expect("a second snapshot").id;
        let repository = world.open(verbs);
        let locked = repository.lock("test", now(), Duration::ZERO).expect("free");
        let last = [reference(&second.to_string())];
        done(ops::remove(&locked, &last, true, now()), context);
        assert_eq!(done(ops::undo(&locked, &[], now()), context).restored, [second]);
        done(ops::remove(&locked, &last, true, now()), context);
        done(ops::collect_garbage(&locked, || None, &Silent, 1, now()), context);
        assert!(testkit::world::entries(&world.repository().join("trash")).is_empty(), "{}", context());
        world.check_older(&context());
    });
}

#[test]
fn a_stale_descriptor_is_opened_again_once() {
    at_every_call(Fault::Error(Errno::STALE), |world, verbs, context| {
        // Calls on an open file, not on a name in a directory, are answered normally.
        match world.create(verbs, PlaceMode::Link) {
            Ok(report) => assert_eq!(report.totals.parts, 5, "{}", context()),
            Err(_) => assert!(context().ends_with(' '), "{}", context()),
        }
        world.check(&context());
    });
}

#[test]
fn an_entry_made_by_another_process_is_not_taken_for_ones_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, verbs) = network(usize::MAX, Fault::Kill);
    let dir = Dir::open(folder.path(), verbs).expect("opened");
    for name in ["one", "two"] {
        fs::write(folder.path().join(name), name).expect("a file");
    }
    fs::create_dir_all(folder.path().join("full/inside")).expect("a directory");
    dir.link_from(&dir, "one", "two").expect_err("two is another file");
    dir.symlink(Path::new("here"), "one").expect_err("one is no link");
    dir.create_dir("full", 0o750).expect_err("something is in it");
    dir.rename_from(&dir, "none", "two").expect_err("there is nothing to rename");
    dir.remove_file("none").expect_err("there is nothing to remove");
    dir.remove_dir("full").expect_err("something is in it");
    assert_eq!(fs::read(folder.path().join("two")).expect("a file"), b"two");
}

#[test]
fn a_directory_in_which_a_removed_file_is_still_open_is_removed_once_it_is_closed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, verbs) = network(usize::MAX, Fault::Kill);
    let inside = folder.path().join("part");
    fs::create_dir(&inside).expect("a directory");
    fs::write(inside.join(".nfs000000000000000a00000001"), "").expect("a file");
    let closer = std::thread::spawn({
        let inside = inside.clone();
        move || {
            std::thread::sleep(Duration::from_millis(300));
            fs::remove_file(inside.join(".nfs000000000000000a00000001")).expect("closed");
        }
    });
    let begun = Instant::now();
    let parent = fs::File::open(folder.path()).expect("opened");
    verbs.remove_dir(parent.as_fd(), OsStr::new("part")).expect("removed");
    assert!(begun.elapsed() >= Duration::from_millis(250) && !inside.exists());
    closer.join().expect("it does not panic");
}
