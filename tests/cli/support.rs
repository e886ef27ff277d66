//! A repository with snapshots in it, made through the library as `create` makes them.

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::model::{Label, Ownership, PartName, PartitionId, Placement, SnapshotId, SnapshotTotals, TableName};
use chsnap::repo::{Locked, Manifest, PartRecord, Repository, TableEntry, TableState, UncoveredFiles};
use serde_json::Value;
use tempfile::TempDir;
use testkit::store;

use crate::chsnap_command::{Chsnap, Run};
use crate::folders::memory_folder;
pub(crate) use crate::tree::tree;

/// The path of the part in each snapshot.
pub(crate) const PART: &str = "data/shop/orders/all_1_1_0";

/// A temporary directory with a repository and the files that a server would have, hard-linked from its snapshots.
pub(crate) struct Lab {
    dir: TempDir,
    chsnap: Chsnap,
    sequence: Cell<u64>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with_repository(Self::without_repository())
    }

    fn with_repository(lab: Self) -> Self {
        Repository::init(&lab.repo(), time("2026-11-01T00:00:00Z"), &chsnap::fs::real()).expect("a new repository");
        lab
    }

    pub(crate) fn without_repository() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(place: &Path) -> Self {
        let dir = tempfile::tempdir_in(place).expect("a temporary directory");
        let chsnap = Chsnap::new(&dir.path().join("repo"));
        fs::create_dir(dir.path().join("live")).expect("a directory");
        Self { dir, chsnap, sequence: Cell::new(0) }
    }

    /// A repository with a snapshot a night, the oldest first.
    pub(crate) fn with_nights(count: u32) -> (Self, Vec<String>) {
        Self::new().and_nights(count)
    }

    /// The same in memory, for tests that run commands by the hundred.
    pub(crate) fn in_memory_with_nights(count: u32) -> (Self, Vec<String>) {
        Self::with_repository(Self::within(&memory_folder())).and_nights(count)
    }

    fn and_nights(self, count: u32) -> (Self, Vec<String>) {
        let lab = self;
        let ids = (1..=count).map(|night| lab.snapshot(&format!("2026-11-{night:02}T02:00:00Z"))).collect();
        (lab, ids)
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub(crate) fn live(&self) -> PathBuf {
        self.dir.path().join("live")
    }

    pub(crate) fn chsnap(&self) -> &Chsnap {
        &self.chsnap
    }

    pub(crate) fn open(&self) -> Repository {
        Repository::open(&self.repo(), &chsnap::fs::real()).expect("the repository opens")
    }

    /// Does something under the lock.
    pub(crate) fn locked<T>(&self, work: impl FnOnce(&Locked<'_>) -> T) -> T {
        let repository = self.open();
        let locked = repository.lock("test", time("2026-11-01T00:00:00Z"), Duration::from_secs(5)).expect("the lock");
        let done = work(&locked);
        drop(locked);
        // A child that another test has just forked holds a copy of the descriptor, and the lock by it, until it is
        // another program.
        // NFS wants a descriptor that may write for a lock that is held alone.
        let file = File::options().read(true).write(true).open(self.repo().join("lock")).expect("the lock file");
        file.lock().and_then(|()| file.unlock()).expect("the lock is free");
        done
    }

    /// Makes a snapshot that was begun at `at`; its files are links of live ones.
    pub(crate) fn snapshot(&self, at: &str) -> String {
        self.snapshot_with(at, |_| ())
    }

    /// [`Lab::snapshot`], after a change to its manifest.
    pub(crate) fn snapshot_with(&self, at: &str, change: impl FnOnce(&mut Manifest)) -> String {
        self.sequence.set(self.sequence.get() + 1);
        self.locked(|locked| {
            let incoming = locked.begin(time(at), "http://127.0.0.1:9", Vec::new()).expect("a snapshot begins");
            let part = incoming.dir().path().join(PART);
            fs::create_dir_all(&part).expect("a part's directory");
            fs::set_permissions(&part, fs::Permissions::from_mode(0o750)).expect("the mode of its record");
            let mut record = part_record();
            for name in ["columns.txt", "data.bin"] {
                let live = self.live().join(format!("{}.{name}", incoming.id()));
                fs::write(&live, format!("{name} of {}", incoming.id())).expect("a live file");
                fs::set_permissions(&live, fs::Permissions::from_mode(0o440)).expect("its mode");
                fs::hard_link(&live, part.join(name)).expect("a link");
                record.bytes += live.metadata().expect("its size").len();
                record.files += 1;
            }
            let mut manifest = manifest(incoming.id(), time(at), self.sequence.get(), &record);
            change(&mut manifest);
            incoming.seal(&mut manifest, &[record], |_| Ok(())).expect("the snapshot is sealed");
            locked.forget_intent(incoming.id()).expect("the intent is forgotten");
            locked.update_latest().expect("latest");
            incoming.id().to_string()
        })
    }

    pub(crate) fn labeled(&self, at: &str, label: &OsStr) -> String {
        self.snapshot_with(at, |manifest| manifest.label = Label::new(label))
    }

    /// `snapshots/<id>`.
    pub(crate) fn at(&self, id: &str) -> PathBuf {
        self.repo().join("snapshots").join(id)
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.repo().join("trash")
    }

    pub(crate) fn pin(&self, id: &str, text: &str) {
        fs::write(self.repo().join("pins").join(format!("{id}.json")), text).expect("a pin");
    }

    /// The ids under `snapshots/`, as `list` gives them.
    #[track_caller]
    pub(crate) fn listed(&self, code: i32) -> Vec<String> {
        ids(&self.chsnap.json(code, &["list"])["snapshots"], "id")
    }

    /// Runs without progress; the exit code must be this one.
    #[track_caller]
    pub(crate) fn run(&self, code: i32, arguments: &[&str]) -> Run {
        let all = [&["--progress", "none"], arguments].concat();
        self.chsnap.expect(code, &all)
    }
}

pub(crate) fn time(text: &str) -> DateTime<Utc> {
    text.parse().expect("a valid time")
}

pub(crate) fn part_record() -> PartRecord {
    PartRecord {
        table: TableName::new("shop", "orders").into(),
        uuid: None,
        disk: "default".into(),
        partition: PartitionId("all".into()),
        part: PartName::try_from("all_1_1_0".to_owned()).expect("a part's name"),
        fingerprint: None,
        rows: Some(3),
        bytes: 0,
        files: 0,
        placed: Placement::Renamed,
        from: None,
        directory: Ownership { uid: 0, gid: 0, mode: 0o750 },
        directory_modified: (0, 0),
        ownership: Ownership { uid: 0, gid: 0, mode: 0o440 },
        exceptions: Vec::new(),
        uncovered: UncoveredFiles::default(),
        unverifiable: None,
        digest: None,
        damage: Vec::new(),
        joined: None,
        unkept: Vec::new(),
    }
}

/// The manifest of a snapshot with one part.
pub(crate) fn manifest(id: SnapshotId, time: DateTime<Utc>, sequence: u64, part: &PartRecord) -> Manifest {
    Manifest {
        totals: SnapshotTotals {
            tables: 1,
            parts: 1,
            files: part.files,
            apparent_bytes: part.bytes,
            allocated_bytes: 8192,
            written_bytes: 8192,
        },
        tables: vec![TableEntry {
            parts: 1,
            files: part.files,
            rows: 3,
            apparent_bytes: part.bytes,
            freezes: 1,
            ..TableEntry::without_parts(&part.table_name(), "MergeTree", TableState::Taken)
        }],
        ..store::manifest(id, time, sequence)
    }
}

/// The texts under `key` of an array's objects, or the texts of the array itself where `key` is empty.
#[track_caller]
pub(crate) fn ids(array: &Value, key: &str) -> Vec<String> {
    let rows = array.as_array().expect("an array");
    let text = |row: &Value| if key.is_empty() { row.clone() } else { row[key].clone() };
    rows.iter().map(|row| text(row).as_str().expect("a text").to_owned()).collect()
}

/// The names in a directory, sorted.
pub(crate) fn names(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> =
        fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    names
}
