//! The crash contract under power cuts: unsynced changes may be on disk or not, in any order that a filesystem may have
//! written them, and the contract of `tests/faults/crash.rs` still holds.
//!
//! A command runs with mutations that record every change, including those of the server, which does not sync them. The
//! states that the disk may have at a cut are computed from the record. Each of them is made as a tree, at the same path
//! and with the same live inodes, checked, and used by the next command. Live data and everything that existed before the
//! command count as durable.
//!
//! - *Journaled*, as ext4 and XFS are: changes of names and attributes reach the disk in their order. A sync of an inode
//!   forces the journal up to the last change of that inode. All prefixes that the syncs before a cut allow are tried.
//! - *Weak*, as POSIX allows, and as a log of single inodes (btrfs) may behave: each directory has an order of its own,
//!   and fsync of a directory makes its entries durable, but not its own entry in its parent. Tried are states in which
//!   one directory is ahead of all others or behind them, and random samples.
//!
//! In both models a rename is atomic, also over an existing file and between two directories: every journaling or
//! copy-on-write filesystem guarantees this, and a commit by rename relies on it. Bytes of a file that neither fsync nor
//! syncfs has covered may be there, lost, half there, or zeros, whether the file has its name or not.
//!
//! `CHSNAP_POWER_SEED` and `CHSNAP_POWER_SAMPLES` give other samples, and more of them.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chsnap::exec::PlaceMode;
use chsnap::fs::{Mutations, real};
use chsnap::model::SnapshotId;
use chsnap::monitor::Silent;
use chsnap::ops::{self, OpError};
use chsnap::repo::{Event, Locked, RepoError, Repository};
use testkit::faulty::{Fault, FaultyVerbs};
use testkit::recorder::{Record, Recorder};
use testkit::tree::{Tree, regrown, tree};
use testkit::world::{World, now, reference};

/// What chsnap and the server never change once it is there.
const KEPT: [&str; 4] = ["ch/data", "ch/metadata", "repo/snapshots", "repo/trash"];

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// A world while a command in it is recorded.
struct Recording {
    world: World,
    record: Arc<Mutex<Record>>,
}

/// What may be claimed of a state.
struct Cut<'a> {
    calls: usize,
    /// Whether the command had ended, so that its effect must be there.
    has_ended: bool,
    context: &'a str,
}

impl Recording {
    fn of(world: World) -> Self {
        let record = Arc::new(Mutex::new(Record::begin(world.folder.path(), &KEPT)));
        let recording = Self { world, record };
        recording.world.freezer.freeze_by(&recording.verbs(real()));
        recording
    }

    fn verbs(&self, verbs: Arc<dyn Mutations>) -> Arc<dyn Mutations> {
        Recorder::over(verbs, &self.record)
    }

    fn calls(&self) -> usize {
        self.record.lock().expect("no thread panics with it").calls.len()
    }

    /// As if the program had not made the syncs that this chooses.
    fn without(self, is_chosen: impl Fn(&str) -> bool) -> Self {
        let left_out = self.record.lock().expect("no thread panics with it").leave_out(is_chosen);
        assert!(left_out > 0, "there is no such sync");
        self
    }

    /// Cuts the power in every way and at every call; `claims` is checked of each state before it is used on.
    fn cut(self, claims: impl Fn(&World, &Cut<'_>)) {
        self.cut_since(0, claims);
    }

    /// The same at every call but the first ones, `since` of them.
    fn cut_since(self, since: usize, claims: impl Fn(&World, &Cut<'_>)) {
        let Self { mut world, record } = self;
        world.freezer.freeze_by(&real());
        let record = record.lock().expect("no thread panics with it");
        let seed = setting("CHSNAP_POWER_SEED", 0x1122_2026);
        let samples = setting("CHSNAP_POWER_SAMPLES", 4);
        let states = testkit::replay::states(&record, since, seed, usize::try_from(samples).expect("not so many"));
        assert!(
            states.len() > (record.calls.len() - since) / 2,
            "{} calls, {} states",
            record.calls.len(),
            states.len()
        );
        let index = fs::read(world.repository().join("index.sqlite")).expect("an index");
        for (number, state) in states.iter().enumerate() {
            state.restore(&record);
            spoil_index(&world.repository(), &index, number);
            start_anew(&world.repository());
            world.older = regrown(&world.older, &world.snapshots());
            let context = &format!("seed {seed}, state {number}: {}", state.story(&record));
            claims(&world, &Cut { calls: state.calls, has_ended: state.calls == record.calls.len(), context });
            world.check(context);
            world.check_older(context);
            let repository = world.open(&real());
            let listing = ops::list(&repository).expect("readable");
            assert_eq!(listing.warnings, [], "{context}");
            assert_eq!(listing.snapshots.len(), ids(&repository).len(), "{context}");
            world.check_that_the_next_run_converges(context);
            world.check_older(context);
        }
    }
}

/// The index is a cache and never synced: it is the old one, missing, empty, the new one, or half of the new one.
fn spoil_index(repository: &Path, after: &[u8], number: usize) {
    let path = repository.join("index.sqlite");
    if !repository.join("chsnap.json").exists() {
        return;
    }
    match number % 5 {
        1 => drop(fs::remove_file(path)),
        2 => fs::write(path, "").expect("written"),
        3 => fs::write(path, after).expect("written"),
        4 => fs::write(path, after.split_at(after.len() / 2).0).expect("written"),
        _ => {}
    }
}

/// The host that comes back has another boot.
fn start_anew(repository: &Path) {
    let Ok(entries) = fs::read_dir(repository.join("incoming")) else { return };
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        // One that is torn, or none at all, is left as it is.
        if let Ok(text) = fs::read_to_string(&path) {
            fs::write(&path, text.replace("\"boot\": \"", "\"boot\": \"another-")).expect("written");
        }
    }
}

fn ids(repository: &Repository) -> Vec<SnapshotId> {
    repository.snapshot_ids().expect("readable").0
}

fn has_event(repository: &Repository, is_it: impl Fn(&Event) -> bool) -> bool {
    repository.events().iter().any(|(_, event)| is_it(event))
}

fn is_pinned(repository: &Repository, id: SnapshotId) -> bool {
    repository.pin(id).expect("readable").is_some_and(|pin| pin.reason == "kept")
}

/// Of a command that makes the snapshot `made`, and must have made it once it has ended.
fn claims_of_create(world: &World, made: Option<SnapshotId>, cut: &Cut<'_>) {
    let (repository, context) = (world.open(&real()), cut.context);
    for id in ids(&repository) {
        assert!(is_pinned(&repository, id), "{id} has no pin: {context}");
    }
    if let (Some(made), true) = (made, cut.has_ended) {
        assert!(ids(&repository).contains(&made), "{made} is gone: {context}");
        assert!(has_event(&repository, |event| matches!(event, Event::Created { id, .. } if *id == made)), "{context}");
        assert_eq!(latest(world), made.to_string(), "{context}");
    }
}

fn latest(world: &World) -> String {
    let target = fs::read_link(world.repository().join("latest")).expect("latest");
    target.file_name().expect("a name").to_string_lossy().into_owned()
}

fn recorded_create(place: PlaceMode) -> (Recording, SnapshotId) {
    let recording = Recording::of(World::small());
    let made = recording.world.create(&recording.verbs(real()), place).expect("a second snapshot").id;
    (recording, made)
}

fn create_survives(place: PlaceMode) {
    let (recording, made) = recorded_create(place);
    recording.cut(|world, cut| claims_of_create(world, Some(made), cut));
}

#[test]
fn create_by_renames_survives_a_power_cut() {
    create_survives(PlaceMode::Auto);
}

#[test]
fn create_by_links_survives_a_power_cut() {
    create_survives(PlaceMode::Link);
}

#[test]
fn create_by_copies_survives_a_power_cut() {
    let recording = Recording::of(World::small());
    recording.world.place.set(PlaceMode::Copy);
    let made = recording.world.create(&recording.verbs(real()), PlaceMode::Copy).expect("a second snapshot").id;
    recording.cut(|world, cut| claims_of_create(world, Some(made), cut));
}

#[test]
fn init_and_the_first_create_survive_a_power_cut() {
    let recording = Recording::of(World::without_repository());
    let verbs = recording.verbs(real());
    ops::init(&recording.world.repository(), now(), &verbs).expect("made");
    let initialized = recording.calls();
    let made = recording.world.create(&verbs, PlaceMode::Auto).expect("a snapshot").id;
    recording.cut(|world, cut| {
        match Repository::open(&world.repository(), &real()) {
            Err(RepoError::NotARepository { .. }) => {
                assert!(cut.calls < initialized, "the repository is gone: {}", cut.context);
                ops::init(&world.repository(), now(), &real()).expect("made again");
            }
            result => drop(result.expect("a repository")),
        }
        claims_of_create(world, Some(made), cut);
    });
}

/// Runs a `create` in a new world that meets the fault when it has made this share of its calls.
fn broken_create(fault: Fault, (share, of): (usize, usize)) -> Recording {
    let counting = Arc::new(FaultyVerbs::new(usize::MAX, fault));
    World::small().create(&(Arc::clone(&counting) as Arc<dyn Mutations>), PlaceMode::Auto).expect("no fault");
    let recording = Recording::of(World::small());
    let faulty = Arc::new(FaultyVerbs::new(counting.calls() * share / of, fault));
    recording.world.create(&recording.verbs(faulty), PlaceMode::Auto).expect_err("it met the fault");
    recording
}

#[test]
fn recovery_after_a_kill_survives_a_power_cut() {
    for share in [(1, 2), (3, 4)] {
        let recording = broken_create(Fault::Kill, share);
        let killed = recording.calls();
        let made = recording.world.create(&recording.verbs(real()), PlaceMode::Auto).expect("a snapshot").id;
        recording.cut_since(killed, |world, cut| claims_of_create(world, Some(made), cut));
    }
}

#[test]
fn a_refused_create_that_cleans_up_survives_a_power_cut() {
    let recording = broken_create(Fault::Error(rustix::io::Errno::IO), (3, 4));
    recording.cut(|world, cut| claims_of_create(world, None, cut));
}

/// A world with a second snapshot, what `snapshots/` holds then, and what `prepare` does after that.
fn with_second(prepare: impl FnOnce(&Locked<'_>, SnapshotId)) -> (Recording, SnapshotId, Tree) {
    let world = World::small();
    let second = world.create(&real(), PlaceMode::Auto).expect("a second snapshot").id;
    let both = tree(&world.snapshots());
    locked(&world, &real(), |locked| prepare(locked, second));
    (Recording::of(world), second, both)
}

fn locked(world: &World, verbs: &Arc<dyn Mutations>, run: impl FnOnce(&Locked<'_>)) {
    let repository = world.open(verbs);
    run(&repository.lock("test", now(), Duration::ZERO).expect("free"));
}

fn remove(locked: &Locked<'_>, id: SnapshotId) {
    ops::remove(locked, &[reference(&id.to_string())], true, now()).expect("removed");
}

/// Whether the snapshot is in the trash. If so it is taken back, and must be whole.
fn take_back(world: &World, id: SnapshotId, both: &Tree, cut: &Cut<'_>) -> bool {
    let repository = world.open(&real());
    let is_removed = repository.removed_ids().expect("readable").contains(&id);
    if is_removed {
        assert!(!ids(&repository).contains(&id), "{}", cut.context);
        assert!(
            has_event(&repository, |event| matches!(event, Event::Removed { ids, .. } if *ids == [id])),
            "the journal is behind: {}",
            cut.context
        );
        assert!(is_pinned(&repository, id), "{}", cut.context);
        locked(world, &real(), |locked| {
            let undone = ops::undo(locked, &[], now()).expect("undone");
            assert_eq!(undone.restored, [id], "{}", cut.context);
        });
        assert_eq!(tree(&world.snapshots()), regrown(both, &world.snapshots()), "{}", cut.context);
    }
    is_removed
}

#[test]
fn rm_survives_a_power_cut() {
    let (recording, second, both) = with_second(|_, _| ());
    locked(&recording.world, &recording.verbs(real()), |locked| remove(locked, second));
    claims_of_rm(recording, second, &both);
}

fn claims_of_rm(recording: Recording, second: SnapshotId, both: &Tree) {
    recording.cut(|world, cut| {
        if cut.has_ended {
            assert_ne!(latest(world), second.to_string(), "{}", cut.context);
        }
        let is_removed = take_back(world, second, both, cut);
        assert!(is_removed || !cut.has_ended, "{}", cut.context);
        assert!(ids(&world.open(&real())).contains(&second), "{}", cut.context);
    });
}

#[test]
fn undo_survives_a_power_cut() {
    let (recording, second, both) = with_second(remove);
    locked(&recording.world, &recording.verbs(real()), |locked| {
        ops::undo(locked, &[], now()).expect("undone");
    });
    claims_of_undo(recording, second, &both);
}

fn claims_of_undo(recording: Recording, second: SnapshotId, both: &Tree) {
    recording.cut(|world, cut| {
        if cut.has_ended {
            assert_eq!(latest(world), second.to_string(), "{}", cut.context);
            assert!(
                has_event(&world.open(&real()), |event| *event == Event::Restored { ids: vec![second] }),
                "{}",
                cut.context
            );
        }
        let is_removed = take_back(world, second, both, cut);
        assert!(!is_removed || !cut.has_ended, "{}", cut.context);
        assert!(ids(&world.open(&real())).contains(&second), "{}", cut.context);
    });
}

fn collect_garbage(locked: &Locked<'_>) -> Result<(), OpError> {
    ops::collect_garbage(locked, || None, &Silent, 1, now()).map(drop)
}

fn claims_of_gc(world: &World, second: SnapshotId, both: &Tree, cut: &Cut<'_>) {
    let repository = world.open(&real());
    assert!(!ids(&repository).contains(&second), "{}", cut.context);
    if cut.has_ended {
        assert!(repository.pin(second).expect("readable").is_none(), "{}", cut.context);
    }
    let is_removed = take_back(world, second, both, cut);
    assert!(!is_removed || !cut.has_ended, "{}", cut.context);
}

#[test]
fn gc_survives_a_power_cut() {
    let (recording, second, both) = with_second(remove);
    locked(&recording.world, &recording.verbs(real()), |locked| collect_garbage(locked).expect("collected"));
    recording.cut(|world, cut| {
        claims_of_gc(world, second, &both, cut);
        let is_said = has_event(&world.open(&real()), |event| *event == Event::Emptied { ids: vec![second] });
        assert!(is_said || !cut.has_ended, "{}", cut.context);
    });
}

#[test]
fn gc_after_a_killed_one_survives_a_power_cut() {
    // Killed when it has taken the way back and synced nothing.
    let mut killed = (1..).map(|at| {
        let (recording, second, both) = with_second(remove);
        let verbs = recording.verbs(Arc::new(FaultyVerbs::new(at, Fault::Kill)));
        // Taking the lock is a call, too.
        let repository = recording.world.open(&verbs);
        if let Ok(locked) = repository.lock("test", now(), Duration::ZERO) {
            drop(collect_garbage(&locked).expect_err("it was killed"));
        }
        (recording, second, both)
    });
    let is_condemned = |world: &World| {
        testkit::world::entries(&world.repository().join("trash")).iter().any(|name| name.contains(".deleting"))
    };
    let (recording, second, both) = killed.find(|(recording, ..)| is_condemned(&recording.world)).expect("a call");
    locked(&recording.world, &recording.verbs(real()), |locked| collect_garbage(locked).expect("collected"));
    recording.cut_since(1, |world, cut| claims_of_gc(world, second, &both, cut));
}

/// A check that finds nothing wrong may be one that finds nothing at all.
#[test]
fn a_sync_that_is_left_out_is_missed() {
    let missed = |what: &str, cut: &mut dyn FnMut()| {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(cut));
        assert!(result.is_err(), "nothing is wrong without {what}");
    };
    let create_without = |is_chosen: fn(&str) -> bool| {
        let (recording, made) = recorded_create(PlaceMode::Auto);
        recording.without(is_chosen).cut(|world, cut| claims_of_create(world, Some(made), cut));
    };
    missed("syncfs before the commit", &mut || create_without(|text| text.starts_with("syncfs")));
    missed("fsync of the intent", &mut || create_without(|text| text.ends_with(".intent.json.new")));
    missed("fsync of the intent's name", &mut || create_without(|text| text == "fsync repo/incoming"));
    missed("fsync of the renames of rm", &mut || {
        let (recording, second, both) = with_second(|_, _| ());
        locked(&recording.world, &recording.verbs(real()), |locked| remove(locked, second));
        let is_rename = |text: &str| ["fsync repo/snapshots", "fsync repo/trash", "fsync repo"].contains(&text);
        claims_of_rm(recording.without(is_rename), second, &both);
    });
    missed("fsync of what gc condemns", &mut || {
        let (recording, second, both) = with_second(remove);
        locked(&recording.world, &recording.verbs(real()), |locked| collect_garbage(locked).expect("collected"));
        let recording = recording.without(|text| text == "fsync repo/trash");
        recording.cut(|world, cut| claims_of_gc(world, second, &both, cut));
    });
}
