//! The server is killed during a freeze, and restarted or gone for good; or restarted after chsnap was killed.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::chsnap_command::{Chsnap, Run};
use crate::engine::{Engine, Kind, apply, both_engines, rstest};
use crate::support::{expected, found, load, path_of, repository, shadows};
use crate::tree::{Tree, tree};

/// An engine with a table of many parts, and a repository with two snapshots from before it had that.
struct World {
    engine: Engine,
    chsnap: Chsnap,
    older: Tree,
}

impl World {
    fn new(engine: Engine) -> Self {
        load(&engine);
        let chsnap = repository(&engine);
        chsnap.json(0, &["create"]);
        chsnap.json(0, &["create"]);
        let older = tree(&chsnap.repo().join("snapshots"));
        // A freeze of this many parts takes long enough to be interrupted.
        let (parts, wide, unlimited): (_, _, &[(&str, &str)]) = match engine.kind() {
            Kind::V18 => (1000, "", &[]),
            Kind::V26 => (400, " SETTINGS min_bytes_for_wide_part = 0", &[("max_partitions_per_insert_block", "0")]),
        };
        engine.query(&format!(
            "CREATE TABLE lab.many (k UInt32, v String) ENGINE = MergeTree PARTITION BY k ORDER BY k{wide}"
        ));
        let insert = format!("INSERT INTO lab.many SELECT number, toString(number) FROM numbers({parts})");
        engine.query_with(&insert, unlimited).expect("inserted");
        Self { engine, chsnap, older }
    }

    /// Starts a `create` and waits until the server is in the middle of the freeze of the large table.
    fn create_in_its_freeze(&self) -> Child {
        let mut command = self.chsnap.command(&["create", "--freeze-jobs", "1", "--table", "lab.many"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started");
        let begun = Instant::now();
        while shadows(&self.engine).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the freeze begins");
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    }

    /// A `create` whose server is killed in the middle of its freeze.
    fn create_without_end(&mut self) -> Run {
        let child = self.create_in_its_freeze();
        self.engine.kill();
        let run = Run::of(&child.wait_with_output().expect("ended"));
        assert_eq!(run.code, 1, "{}\n{}", run.stdout, run.stderr);
        for words in ["cannot reach ClickHouse", "the next run does the rest", "hint: is the server running"] {
            assert!(run.stderr.contains(words), "{words:?} in {}", run.stderr);
        }
        assert_eq!(shadows(&self.engine).len(), 1, "the freeze was under way");
        assert_eq!(self.intents().len(), 1, "its name is not forgotten");
        self.check();
        run
    }

    fn intents(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.chsnap.repo().join("incoming")).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path()).collect()
    }

    fn check(&self) {
        let standing = tree(&self.chsnap.repo().join("snapshots"));
        assert_eq!(standing, self.older, "older snapshots, and no other");
    }

    /// The next run has everything, and nothing is left of the one before.
    fn check_that_the_next_run_converges(&self) {
        let created = self.chsnap.json(0, &["create"]);
        assert_eq!(created["warnings"].as_array().map(Vec::len), Some(0), "{created}");
        let data = tree(&path_of(&self.chsnap, &created).join("data/lab"));
        assert_eq!(found(&data), expected(&self.engine));
        assert_eq!(shadows(&self.engine), [""; 0]);
        assert_eq!(self.intents(), [""; 0].map(PathBuf::from));
        let standing = tree(&self.chsnap.repo().join("snapshots"));
        assert!(self.older.iter().all(|(path, node)| standing.get(path) == Some(node)), "older snapshots");
        self.chsnap.json(0, &["gc"]);
        assert!(tree(&self.chsnap.repo().join("trash")).is_empty());
    }

    fn restart(&mut self) {
        self.engine.restart();
        self.chsnap = self.chsnap.clone().url(&self.engine.url());
    }
}

#[apply(both_engines)]
fn killed_in_a_freeze_and_restarted_the_next_run_converges(engine: Engine) {
    let mut world = World::new(engine);
    world.create_without_end();
    world.restart();
    world.check_that_the_next_run_converges();
}
#[apply(both_engines)]
fn killed_in_a_freeze_and_gone_for_good_everything_else_goes_on(engine: Engine) {
    let mut world = World::new(engine);
    world.create_without_end();
    let shadow = shadows(&world.engine);
    let server = tree(world.engine.data_path());
    let intents = world.intents();
    let run = world.chsnap.expect(1, &["create"]);
    assert!(run.stderr.contains("cannot reach ClickHouse") && run.stderr.contains("hint: "), "{}", run.stderr);
    assert_eq!(world.intents(), intents);
    // What needs no server works, and gc says what it leaves and why.
    assert_eq!(world.chsnap.json(0, &["list"])["snapshots"].as_array().map(Vec::len), Some(2));
    world.chsnap.json(0, &["show", "latest"]);
    for _ in 0..2 {
        let emptied = world.chsnap.json(3, &["gc"]);
        let warning = emptied["warnings"][0].as_str().expect("a warning");
        assert!(warning.contains(&format!("shadow/{}", shadow[0])), "{warning}");
    }
    world.check();
    world.chsnap.json(0, &["rm", "latest"]);
    world.chsnap.json(0, &["undo"]);
    world.check();
    world.chsnap.json(0, &["rm", "latest"]);
    world.chsnap.json(3, &["gc"]);
    let left = tree(&world.chsnap.repo().join("snapshots"));
    assert!(left.len() < world.older.len() && left.iter().all(|(path, node)| world.older.get(path) == Some(node)));
    assert_eq!(world.intents(), intents, "the word of the freeze stays");
    assert_eq!(tree(world.engine.data_path()), server, "nothing of the server is touched, its shadow neither");
}
#[apply(both_engines)]
fn restarted_after_chsnap_was_killed_the_next_run_converges(engine: Engine) {
    let mut world = World::new(engine);
    let mut child = world.create_in_its_freeze();
    child.kill().expect("killed");
    child.wait().expect("ended");
    world.restart();
    world.check();
    world.check_that_the_next_run_converges();
}
#[apply(both_engines)]
fn freezing_on_after_chsnap_was_killed_the_next_run_converges(engine: Engine) {
    let world = World::new(engine);
    let mut child = world.create_in_its_freeze();
    child.kill().expect("killed");
    child.wait().expect("ended");
    // It has to wait for a freeze without a client, or to stop it.
    world.check_that_the_next_run_converges();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(shadows(&world.engine), [""; 0], "nothing comes back");
}
