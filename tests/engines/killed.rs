//! Killed by SIGKILL, or refused by the system, at system calls of whole commands over real data: older snapshots keep
//! their bytes and inodes, the new one is absent or complete, live data is untouched, and the next run converges.
//!
//! Some thirty calls, drawn by the seed `CHSNAP_SEED`; with `CHSNAP_FULL` every one. `tests/faults/crash.rs` does the same from
//! within, where it can place a fault at every call of chsnap's own without strace, but not in SQLite or HTTP.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::chsnap_command::Chsnap;
use crate::engine::{Engine, apply, both_engines, rstest};
use crate::strace::{Dice, Fault, Struck, Trace};
use crate::support::{expected, found, live, load, repository, shadows};
use crate::tree::{Tree, tree};

/// What can come back from a call that changes a filesystem, and what the person reads of it.
const ERRORS: [(&str, &str); 8] = [
    ("EIO", "os error 5)"),
    ("ENOSPC", "os error 28)"),
    ("EDQUOT", "os error 122)"),
    ("EMLINK", "os error 31)"),
    ("EXDEV", "os error 18)"),
    ("ESTALE", "os error 116)"),
    ("EINTR", "os error 4)"),
    ("EACCES", "os error 13)"),
];

/// An engine without changes to its parts, a repository with two snapshots of it, and the state of both.
struct World {
    engine: Engine,
    chsnap: Chsnap,
    older: Tree,
    live: Tree,
}

impl World {
    fn new(engine: Engine) -> Self {
        load(&engine);
        // A merge would change the live parts under the comparison.
        engine.query("SYSTEM STOP MERGES");
        let begun = Instant::now();
        while engine.query("SELECT count() FROM system.merges") != "0" {
            assert!(begun.elapsed() < Duration::from_secs(30), "merges end");
            std::thread::sleep(Duration::from_millis(10));
        }
        let chsnap = repository(&engine);
        chsnap.json(0, &["create"]);
        engine.query("INSERT INTO lab.plain SELECT number FROM numbers(20)");
        chsnap.json(0, &["create"]);
        let mut world = Self { engine, chsnap, older: Tree::new(), live: Tree::new() };
        world.older = tree(&world.snapshots());
        world.live = live(&world.engine);
        // A new id then has no namesake of this second to step around: all runs from here on are alike.
        std::thread::sleep(Duration::from_millis(1100));
        world
    }

    fn snapshots(&self) -> PathBuf {
        self.chsnap.repo().join("snapshots")
    }

    /// The snapshots other than the two older ones.
    fn newer(&self) -> Vec<String> {
        let mut ids = names(&self.snapshots());
        ids.retain(|id| !self.older.contains_key(Path::new(id)));
        ids
    }

    /// Everything that must hold at any moment after anything.
    fn check(&self, context: &str) {
        assert_eq!(live(&self.engine), self.live, "live data: {context}");
        let standing = tree(&self.snapshots());
        for (path, node) in &self.older {
            assert_eq!(standing.get(path), Some(node), "{}: {context}", path.display());
        }
        for id in names(&self.snapshots()) {
            let shown = self.chsnap.json(0, &["show", &id]);
            assert_eq!(shown["state"], "complete", "{id}: {context}");
        }
    }

    /// A snapshot has every live file under its inode, and nothing else.
    fn check_that_it_is_complete(&self, id: &str, context: &str) {
        let data = tree(&self.snapshots().join(id).join("data/lab"));
        assert_eq!(found(&data), expected(&self.engine), "{id}: {context}");
        for name in ["lab.sql", "lab/events.sql", "lab/plain.sql"] {
            assert!(self.snapshots().join(id).join("metadata").join(name).is_file(), "{name} in {id}: {context}");
        }
    }

    /// The next run, with nothing in its way, puts everything right; then all that is new goes again.
    fn check_that_the_next_run_converges(&self, context: &str) {
        let created = self.chsnap.json(0, &["create"]);
        assert_eq!(created["warnings"].as_array().map(Vec::len), Some(0), "{created}: {context}");
        let id = created["id"].as_str().expect("an id");
        self.check_that_it_is_complete(id, context);
        self.check(context);
        let latest = fs::read_link(self.chsnap.repo().join("latest")).expect("latest");
        assert_eq!(latest, Path::new("snapshots").join(id), "{context}");
        self.tidy(context);
    }

    /// Removes the newer snapshots for good; then nothing is left of any run.
    fn tidy(&self, context: &str) {
        let newer = self.newer();
        if !newer.is_empty() {
            let arguments = ["rm", "--force"].into_iter().chain(newer.iter().map(String::as_str));
            self.chsnap.json(0, &arguments.collect::<Vec<_>>());
        }
        self.chsnap.json(0, &["gc"]);
        self.check(context);
        assert_eq!(shadows(&self.engine), [""; 0], "no freeze leaks: {context}");
        for dir in ["incoming", "trash", "pins"] {
            assert_eq!(names(&self.chsnap.repo().join(dir)), [""; 0], "{dir}: {context}");
        }
        let torn: Vec<String> =
            names(self.chsnap.repo()).into_iter().filter(|name| name.contains(".json.new")).collect();
        assert_eq!(torn, [""; 0], "{context}");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

/// What holds of every run with a fault in its way: it says what happened, and never touches the server's counter.
fn check_run(struck: &Struck, fault: Fault, context: &str) {
    assert_eq!(struck.trace.changes_of_the_counter(), [""; 0], "{context}");
    let run = &struck.run;
    match fault {
        // It met another call than was meant, of the runtime below HTTP for one: that is no error of a filesystem.
        Fault::Error(_) if struck.injected.iter().any(|call| !call.contains("/repo")) => {}
        Fault::Kill => assert!(struck.killed || run.code == 0, "{}: {context}\n{}", run.code, run.stderr),
        Fault::Error(name) => {
            assert!(matches!(run.code, 0 | 1 | 3), "{}: {context}\n{}", run.code, run.stderr);
            assert!(!struck.killed && !run.stderr.contains("panicked"), "{context}\n{}", run.stderr);
            let (_, text) = ERRORS.iter().find(|(error, _)| *error == name).expect("one of ours");
            let says = run.stderr.contains("error: ") && run.stderr.contains(text);
            assert!(run.code != 1 || says, "{context}\n{}", run.stderr);
            let hint = run.code != 1 || !matches!(name, "ENOSPC" | "EDQUOT") || run.stderr.contains("hint: chsnap gc");
            assert!(hint, "{context}\n{}", run.stderr);
        }
    }
}

/// Strikes at `calls` of a command, one after the other. Half of them at least must be met: a run is never quite the same
/// twice, and the last calls of a thread may come in another order.
fn strike_at(
    world: &World,
    arguments: &[&str],
    trace: &Trace,
    calls: &[usize],
    fault: impl Fn(usize) -> Fault,
    context: &str,
    mut judge: impl FnMut(&Struck, &str),
) {
    let mut met = 0;
    let mut missed = Vec::new();
    for (number, call) in calls.iter().enumerate() {
        let fault = fault(number);
        let strike = trace.strike(*call);
        let context = format!("{context}: {fault:?} at {} ({strike:?})", trace.call(*call).text);
        let mut is_met = false;
        for _ in 0..3 {
            let struck = world.chsnap.struck(arguments, &strike, fault);
            let context = format!("{context}; failed: {:?}; exit code {}", struck.injected, struck.run.code);
            check_run(&struck, fault, &context);
            judge(&struck, &context);
            if struck.killed || struck.injected.iter().any(|call| call.contains("/repo")) {
                met += 1;
                is_met = true;
                break;
            }
        }
        if !is_met {
            missed.push(context);
        }
    }
    assert!(met * 2 >= calls.len(), "{context}: only {met} of {} faults were met, not {missed:#?}", calls.len());
}

fn create_survives(engine: Engine, kills: bool, count: usize) {
    let (mut dice, seed) = Dice::new(if kills { "kills" } else { "errors" });
    let world = World::new(engine);
    // One thread for each duty: a run then makes its calls in much the same order every time.
    let arguments =
        ["create", "--jobs", "1", "--freeze-jobs", "1", "--progress", "none", "--pin", "kept", "--name", "lab"];
    let trace = world.chsnap.traced(&arguments);
    assert_eq!(trace.changes_of_the_counter(), [""; 0]);
    world.tidy(&seed);
    let mut calls = trace.changes(world.engine.root());
    assert!(calls.len() > 50, "a create changes more than {} times", calls.len());
    if kills {
        calls.extend(trace.talk());
    }
    let calls = dice.choose(&trace, calls, count);
    let first = dice.below(ERRORS.len());
    let fault =
        |number: usize| if kills { Fault::Kill } else { Fault::Error(ERRORS[(first + number) % ERRORS.len()].0) };
    strike_at(&world, &arguments, &trace, &calls, fault, &seed, |struck, context| {
        world.check(context);
        let newer = world.newer();
        match struck.run.code {
            0 | 3 => assert_eq!(newer.len(), 1, "{context}"),
            // The only error after the commit that is no warning: the output cannot be written, although the snapshot
            // exists.
            1 if struck.run.stderr.contains("cannot write the answer") => assert_eq!(newer.len(), 1, "{context}"),
            1 => assert_eq!(newer, [""; 0], "{context}\n{}", struck.run.stderr),
            _ => assert!(newer.len() <= 1, "{context}"),
        }
        for id in &newer {
            world.check_that_it_is_complete(id, context);
        }
        // Only who is killed leaves a freeze without a word.
        let said = struck.run.stderr.contains("the next run does the rest") || struck.run.code == 3;
        assert!(
            !matches!(struck.run.code, 0 | 1) || said || shadows(&world.engine).is_empty(),
            "{context}\n{}",
            struck.run.stderr
        );
        world.check_that_the_next_run_converges(context);
    });
}

#[apply(both_engines)]
fn a_create_killed_at_any_call_leaves_all_or_nothing(engine: Engine) {
    create_survives(engine, true, 7);
}
#[apply(both_engines)]
fn a_create_refused_at_any_call_leaves_all_or_nothing(engine: Engine) {
    create_survives(engine, false, 5);
}
#[apply(both_engines)]
fn a_removal_interrupted_at_any_call_is_taken_up_again(engine: Engine) {
    removals_survive(engine, 2);
}

/// A small third snapshot, which a command is to remove or bring back.
struct Third {
    id: String,
    whole: Tree,
}

impl Third {
    /// Makes it, and puts it where `command` finds it.
    fn before(command: &str, world: &World) -> Self {
        let created =
            world.chsnap.json(0, &["create", "--name", "third", "--table", "lab.plain", "--table", "lab.sums"]);
        let id = created["id"].as_str().expect("an id").to_owned();
        let whole = tree(&world.snapshots().join(&id));
        if command != "rm" {
            world.chsnap.json(0, &["rm", &id]);
        }
        Self { id, whole }
    }

    /// It is complete in `snapshots/` and in the trash; then it is deleted.
    fn after(&self, command: &str, world: &World, code: i32, context: &str) {
        world.check(context);
        let stands = || world.snapshots().join(&self.id).exists();
        let can_come_back = world.chsnap.repo().join("trash").join(&self.id).exists();
        let where_it_is = (stands(), can_come_back);
        match (command, code) {
            ("rm", 0) => assert_eq!(where_it_is, (false, true), "{context}"),
            ("undo", 0) => assert_eq!(where_it_is, (true, false), "{context}"),
            ("gc", 0) => assert_eq!(where_it_is, (false, false), "{context}"),
            ("gc", _) => assert!(!stands(), "{context}"),
            _ => assert!(stands() != can_come_back, "{context}"),
        }
        if can_come_back {
            world.chsnap.json(0, &["undo"]);
            assert!(stands(), "{context}");
        }
        if stands() {
            assert_eq!(tree(&world.snapshots().join(&self.id)), self.whole, "{context}");
        }
        world.tidy(context);
    }
}

fn removals_survive(engine: Engine, count: usize) {
    let (mut dice, seed) = Dice::new("removals");
    let world = World::new(engine);
    for command in ["rm", "undo", "gc"] {
        let arguments: &[&str] = if command == "rm" { &["rm", "third"] } else { &[command, "--jobs", "1"] };
        let mut third = Third::before(command, &world);
        let trace = world.chsnap.traced(arguments);
        third.after(command, &world, 0, &seed);
        third = Third::before(command, &world);
        let calls = trace.changes(world.engine.root());
        assert!(calls.len() > 3, "{command} changes more than {} times", calls.len());
        let calls = dice.choose(&trace, calls, count);
        let first = dice.below(2 * ERRORS.len());
        let fault = |number: usize| {
            let turn = first + number;
            if turn.is_multiple_of(2) { Fault::Kill } else { Fault::Error(ERRORS[turn / 2 % ERRORS.len()].0) }
        };
        let context = format!("{seed}: {command}");
        strike_at(&world, arguments, &trace, &calls, fault, &context, |struck, context| {
            third.after(command, &world, struck.run.code, context);
            third = Third::before(command, &world);
        });
        world.check_that_the_next_run_converges(&context);
    }
}
