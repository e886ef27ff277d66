//! The crash contract: killed, or refused by the filesystem, at any mutating call of create, rm, undo and gc, every
//! older snapshot is intact, the new one is absent or complete, live data is untouched, and the next run converges.

#![expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

#[path = "support/faulty.rs"]
mod faulty;
#[path = "support/freezer.rs"]
mod freezer;
#[path = "support/tree.rs"]
mod tree;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::exec::PlaceMode;
use chsnap::fs::{Verbs, real};
use chsnap::model::{Label, PathMap};
use chsnap::monitor::Silent;
use chsnap::ops::create::{FreezeMode, Report, Request, create};
use chsnap::ops::{self, OpError};
use chsnap::plan::{Selection, SnapshotReference};
use chsnap::repo::{Repository, SnapshotState, read_parts};
use chsnap::server::{ConnectOptions, Server};
use faulty::{Fault, FaultyVerbs};
use freezer::Freezer;
use tree::{Node, Tree, files, tree};

/// A server, a repository with one snapshot of it, and what both looked like then.
struct World {
    folder: tempfile::TempDir,
    freezer: Freezer,
    older: Tree,
    live: BTreeMap<PathBuf, Node>,
}

fn now() -> DateTime<Utc> {
    Utc::now()
}

impl World {
    fn new() -> Self {
        // In memory where there is such a place: these tests sync some ten thousand times.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(place).expect("a folder");
        let freezer = Freezer::start(&folder.path().join("ch"));
        for table in ["one", "two"] {
            freezer.add_part(table, "all_1_1_0");
            freezer.add_part(table, "all_2_2_0");
        }
        Repository::init(&folder.path().join("repo"), now(), &real()).expect("made");
        let mut world = Self { folder, freezer, older: Tree::new(), live: BTreeMap::new() };
        world.create(&real(), PlaceMode::Auto).expect("a first snapshot");
        world.freezer.add_part("two", "all_3_3_0");
        world.older = tree(&world.snapshots());
        world.live = world.live_files();
        world
    }

    fn snapshots(&self) -> PathBuf {
        self.folder.path().join("repo/snapshots")
    }

    /// Without the mode: FREEZE changes it.
    fn live_files(&self) -> BTreeMap<PathBuf, Node> {
        let live = tree(&self.folder.path().join("ch/data"));
        files(&live).into_iter().map(|(path, node)| (path.to_owned(), Node { mode: 0, ..node.clone() })).collect()
    }

    fn open(&self, verbs: &Arc<dyn Verbs>) -> Repository {
        Repository::open(&self.folder.path().join("repo"), verbs).expect("a repository")
    }

    fn server(&self) -> Server {
        Server::connect(ConnectOptions {
            url: self.freezer.url().to_owned(),
            user: None,
            password: None,
            ca_file: None,
            query_deadline: Duration::from_secs(10),
            freeze_deadline: Duration::from_secs(10),
            interrupted: Arc::new(AtomicBool::new(false)),
        })
        .expect("connected")
    }

    fn create(&self, verbs: &Arc<dyn Verbs>, place: PlaceMode) -> Result<Report, OpError> {
        let request = Request {
            selection: Selection::default(),
            label: Label::new(OsStr::new("lab")),
            pin: Some("kept".to_owned()),
            freeze: FreezeMode::All,
            place,
            jobs: 1,
            freeze_jobs: 1,
            min_free_bytes: 0,
            allow_other_server: false,
            paths: PathMap::default(),
            patience: Duration::from_secs(10),
            lock_wait: Duration::ZERO,
        };
        create(&self.open(verbs), &self.server(), &request, &now, &Silent)
    }

    /// Everything that must hold at any moment after anything.
    fn check(&self, context: &str) {
        assert_eq!(self.live_files(), self.live, "live data: {context}");
        let repository = self.open(&real());
        let (ids, others) = repository.snapshot_ids().expect("readable");
        assert!(others.is_empty(), "{others:?}: {context}");
        for id in ids {
            let SnapshotState::Complete(manifest) = repository.snapshot(id).expect("readable") else {
                panic!("{id} stands under snapshots/ and is not complete: {context}");
            };
            let dir = repository.snapshot_dir(id).expect("there");
            let parts = read_parts(&dir, &manifest.parts_blake3).expect("its list of parts");
            assert_eq!(parts.len() as u64, manifest.totals.parts, "{context}");
            let data = tree(&dir.path().join("data"));
            let found = files(&data);
            assert_eq!(found.len() as u64, manifest.totals.files, "{context}");
            for (path, node) in found {
                assert_eq!(self.live[path].inode, node.inode, "{}: {context}", path.display());
            }
        }
    }

    fn check_older(&self, context: &str) {
        let snapshots = tree(&self.snapshots());
        for (path, node) in &self.older {
            assert_eq!(snapshots.get(path), Some(node), "{}: {context}", path.display());
        }
    }

    /// The next run, with nothing in its way, puts everything right.
    fn check_that_the_next_run_converges(&self, context: &str) {
        let report = self.create(&real(), PlaceMode::Auto).unwrap_or_else(|error| panic!("{error}: {context}"));
        assert!(report.warnings.is_empty(), "{:?}: {context}", report.warnings);
        assert_eq!(report.totals.parts, 5, "{context}");
        self.check(context);
        assert!(entries(&self.folder.path().join("repo/incoming")).is_empty(), "{context}");
        assert!(entries(&self.freezer.shadow()).is_empty(), "{:?}: {context}", entries(&self.freezer.shadow()));
        let latest = std::fs::read_link(self.folder.path().join("repo/latest")).expect("latest");
        assert_eq!(latest, Path::new("snapshots").join(report.id.to_string()), "{context}");
        let repository = self.open(&real());
        let locked = repository.lock("gc", now(), Duration::ZERO).expect("free");
        ops::collect_garbage(&locked, || None, &Silent, 1, now()).expect("collected");
        assert!(entries(&self.folder.path().join("repo/trash")).is_empty(), "{context}");
        self.check(context);
    }
}

fn entries(dir: &Path) -> Vec<String> {
    tree(dir).keys().map(|path| path.to_string_lossy().into_owned()).collect()
}

/// Calls `attempt` in a new world with a fault at its first mutating call, its second, and so on, until one attempt
/// has none left to meet.
fn at_every_call(fault: Fault, mut attempt: impl FnMut(&World, &Arc<dyn Verbs>, &str)) -> usize {
    for call in 1.. {
        let world = World::new();
        let faulty = Arc::new(FaultyVerbs::new(call, fault));
        let verbs: Arc<dyn Verbs> = Arc::clone(&faulty) as Arc<dyn Verbs>;
        attempt(&world, &verbs, &format!("{fault:?} at call {call} ({})", faulty.met()));
        if faulty.met().is_empty() {
            return call;
        }
    }
    unreachable!("the calls of a command have an end")
}

fn create_survives(fault: Fault, place: PlaceMode) {
    let calls = at_every_call(fault, |world, verbs, context| {
        let result = world.create(verbs, place);
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
    create_survives(Fault::Kill, PlaceMode::Auto);
}

#[test]
fn create_by_links_killed_at_any_call_leaves_all_or_nothing() {
    create_survives(Fault::Kill, PlaceMode::Link);
}

#[test]
fn create_refused_at_any_call_leaves_all_or_nothing() {
    for errno in faulty::ERRNOS {
        create_survives(Fault::Error(errno), PlaceMode::Auto);
    }
}

fn reference(text: &str) -> SnapshotReference {
    text.parse().expect("a reference")
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
