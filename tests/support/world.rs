//! A server, a repository with snapshots of it, and the invariants that must hold for both after any event.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::exec::PlaceMode;
use chsnap::fs::{Mutations, real};
use chsnap::model::Label;
use chsnap::monitor::Silent;
use chsnap::ops::create::{FreezeMode, Replicas, Report, Request, RequestedPin, create};
use chsnap::ops::{self, OpError};
use chsnap::plan::SnapshotReference;
use chsnap::repo::{Repository, SnapshotState, read_parts};
use chsnap::server::{ConnectOptions, Server};

use crate::freezer::Freezer;
use crate::tree::{Node, Tree, files, tree, unread_tree};

/// A server, a repository with one snapshot of it or none, and the initial state of both.
pub struct World {
    pub folder: tempfile::TempDir,
    pub freezer: Freezer,
    pub older: Tree,
    pub live: BTreeMap<PathBuf, Node>,
    /// How the run that repairs everything places parts.
    pub place: Cell<PlaceMode>,
}

type AddPart = fn(&Freezer, &str, &str);

pub fn now() -> DateTime<Utc> {
    Utc::now()
}

impl World {
    /// Creates a world with one snapshot, and a part that is not in it.
    pub fn new() -> Self {
        Self::with_snapshot(Freezer::add_part)
    }

    /// The same of parts with few files.
    pub fn small() -> Self {
        Self::with_snapshot(Freezer::add_small_part)
    }

    fn with_snapshot(add_part: AddPart) -> Self {
        let mut world = Self::start(add_part);
        Repository::init(&world.repository(), now(), &real()).expect("made");
        world.create(&real(), PlaceMode::Auto).expect("a first snapshot");
        add_part(&world.freezer, "two", "all_3_3_0");
        world.older = tree(&world.snapshots());
        world.live = world.live_files();
        world
    }

    /// Creates the same amount of live data, in parts with few files, without a repository.
    pub fn without_repository() -> Self {
        let mut world = Self::start(Freezer::add_small_part);
        world.freezer.add_small_part("two", "all_3_3_0");
        world.live = world.live_files();
        world
    }

    fn start(add_part: AddPart) -> Self {
        // In memory if there is such a directory: these tests sync some ten thousand times.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = tempfile::tempdir_in(place).expect("a folder");
        let freezer = Freezer::start(&folder.path().join("ch"));
        for table in ["one", "two"] {
            add_part(&freezer, table, "all_1_1_0");
            add_part(&freezer, table, "all_2_2_0");
        }
        Self { folder, freezer, older: Tree::new(), live: BTreeMap::new(), place: Cell::new(PlaceMode::Auto) }
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    pub fn snapshots(&self) -> PathBuf {
        self.repository().join("snapshots")
    }

    /// The files without their modes: FREEZE changes those.
    fn live_files(&self) -> BTreeMap<PathBuf, Node> {
        let live = tree(&self.folder.path().join("ch/data"));
        files(&live).into_iter().map(|(path, node)| (path.to_owned(), Node { mode: 0, ..node.clone() })).collect()
    }

    pub fn open(&self, verbs: &Arc<dyn Mutations>) -> Repository {
        Repository::open(&self.repository(), verbs).expect("a repository")
    }

    pub fn server(&self) -> Server {
        Server::connect(
            ConnectOptions::new(self.freezer.url().to_owned())
                .with_query_deadline(Duration::from_secs(10))
                .with_freeze_deadline(Duration::from_secs(10))
                .with_interrupted(Arc::new(AtomicBool::new(false))),
        )
        .expect("connected")
    }

    pub fn create(&self, verbs: &Arc<dyn Mutations>, place: PlaceMode) -> Result<Report, OpError> {
        self.create_of(verbs, place, FreezeMode::All)
    }

    pub fn create_of(
        &self,
        verbs: &Arc<dyn Mutations>,
        place: PlaceMode,
        freeze: FreezeMode,
    ) -> Result<Report, OpError> {
        self.create_with(verbs, place, freeze, |_| ())
    }

    pub fn create_with(
        &self,
        verbs: &Arc<dyn Mutations>,
        place: PlaceMode,
        freeze: FreezeMode,
        change: impl FnOnce(&mut Request),
    ) -> Result<Report, OpError> {
        let mut request = Request::new()
            .with_label(Label::new(OsStr::new("lab")))
            .with_pin(Some(RequestedPin::new("kept".to_owned())))
            .with_freeze(freeze)
            .with_place(place)
            .with_jobs(1)
            .with_freeze_jobs(1)
            .with_replicas(Replicas::default())
            .with_patience(Duration::from_secs(10));
        change(&mut request);
        create(&self.open(verbs), &self.server(), &request, &now, &Silent)
    }

    /// Checks everything that must hold at any time after any event.
    pub fn check(&self, context: &str) {
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
            // A file with the same inode as the live one has the same content. A copy is read.
            let root = dir.path().join("data");
            let data = unread_tree(&root);
            let found = files(&data);
            assert_eq!(found.len() as u64, manifest.totals.files, "{context}");
            for (path, kept) in found {
                let source = &self.live[path];
                if source.inode != kept.inode {
                    let hash = blake3::hash(&std::fs::read(root.join(path)).expect("readable"));
                    let copy = Node { inode: source.inode, mode: 0, content: hash, ..kept.clone() };
                    assert_eq!(&copy, source, "{}: {context}", path.display());
                }
            }
        }
    }

    pub fn check_older(&self, context: &str) {
        let snapshots = tree(&self.snapshots());
        for (path, node) in &self.older {
            assert_eq!(snapshots.get(path), Some(node), "{}: {context}", path.display());
        }
    }

    /// Checks that the next run, without any fault, repairs everything.
    pub fn check_that_the_next_run_converges(&self, context: &str) {
        let report = self.create(&real(), self.place.get()).unwrap_or_else(|error| panic!("{error}: {context}"));
        assert!(report.warnings.is_empty(), "{:?}: {context}", report.warnings);
        assert_eq!(report.totals.parts, 5, "{context}");
        self.check(context);
        assert!(entries(&self.repository().join("incoming")).is_empty(), "{context}");
        assert!(entries(&self.freezer.shadow()).is_empty(), "{:?}: {context}", entries(&self.freezer.shadow()));
        let latest = std::fs::read_link(self.repository().join("latest")).expect("latest");
        assert_eq!(latest, Path::new("snapshots").join(report.id.to_string()), "{context}");
        let repository = self.open(&real());
        let locked = repository.lock("gc", now(), Duration::ZERO).expect("free");
        ops::collect_garbage(&locked, || None, &Silent, 1, now()).expect("collected");
        assert!(entries(&self.repository().join("trash")).is_empty(), "{context}");
        let standing = repository.snapshot_ids().expect("readable").0;
        for pin in entries(&self.repository().join("pins")) {
            assert!(standing.iter().any(|id| pin == format!("{id}.json")), "the pin {pin} of nothing: {context}");
        }
        self.check(context);
    }
}

pub fn entries(dir: &Path) -> Vec<String> {
    unread_tree(dir).keys().map(|path| path.to_string_lossy().into_owned()).collect()
}

pub fn reference(text: &str) -> SnapshotReference {
    text.parse().expect("a reference")
}
