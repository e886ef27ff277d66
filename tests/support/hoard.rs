//! A repository whose snapshots share files as those of a busy server do: parts that stay, parts that a mutation has
//! rewritten except for some files, partitions attached to another table. No server is needed: the library seals the
//! snapshots, and their files are links to live ones.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chsnap::fs::real;
use chsnap::model::{
    Ownership, PartName, PartitionId, Placement, SnapshotId, SnapshotTotals, TableName, escape_for_file_name,
};
use chsnap::monitor::Silent;
use chsnap::ops;
use chsnap::plan::SnapshotReference;
use chsnap::repo::{BoundServer, Locked, Manifest, PartRecord, Repository, TableEntry, TableState, UncoveredFiles};

use crate::store;

/// Numbers that look random and are the same for the same seed.
#[derive(Clone, Debug)]
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        // Knuth's constants for a 64-bit linear congruential generator; its low bits are the poor ones.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub fn index(&mut self, limit: usize) -> usize {
        usize::try_from(self.below(limit as u64)).expect("small")
    }
}

/// A server's live directory and a repository next to it.
pub struct Hoard {
    root: PathBuf,
    /// Live parts: table and name, with the snapshot that last had exactly these files.
    parts: BTreeMap<(String, String), Option<SnapshotId>>,
    blocks: u64,
    sequence: u64,
    night: i64,
}

pub const TABLES: [&str; 3] = ["orders", "visits", "a-b"];

impl Hoard {
    pub fn new(root: &Path) -> Self {
        fs::create_dir_all(root.join("ch/data")).expect("a live directory");
        let repository = Repository::init(&root.join("repo"), start(), &real()).expect("a repository");
        let locked = repository.lock("test", start(), Duration::ZERO).expect("free");
        let data_path = root.join("ch").to_string_lossy().into_owned();
        locked.bind(BoundServer { data_path, uuid: None }).expect("bound");
        Self { root: root.to_owned(), parts: BTreeMap::new(), blocks: 0, sequence: 0, night: 0 }
    }

    pub fn repo(&self) -> PathBuf {
        self.root.join("repo")
    }

    pub fn shadow(&self) -> PathBuf {
        self.root.join("ch/shadow")
    }

    pub fn open(&self) -> Repository {
        Repository::open(&self.repo(), &real()).expect("it opens")
    }

    pub fn locked<T>(&self, work: impl FnOnce(&Locked<'_>) -> T) -> T {
        let repository = self.open();
        let locked = repository.lock("test", Utc::now(), Duration::from_secs(5)).expect("the lock");
        work(&locked)
    }

    pub fn live(&self, table: &str, part: &str) -> PathBuf {
        self.root.join("ch/data").join(escape_for_file_name(table)).join(part)
    }

    fn next(&mut self) -> u64 {
        self.blocks += 1;
        self.blocks
    }

    /// A new part with new files.
    pub fn insert(&mut self, table: &str, files: u64, numbers: &mut Numbers) -> String {
        let block = self.next();
        let name = format!("2026{:02}_{block}_{block}_0", numbers.below(3) + 1);
        let dir = self.live(table, &name);
        fs::create_dir_all(&dir).expect("made");
        for file in 0..files {
            let bytes = vec![7; usize::try_from(numbers.below(40_000)).expect("small")];
            fs::write(dir.join(format!("c{file}.bin")), bytes).expect("written");
        }
        if numbers.below(4) == 0 {
            fs::create_dir(dir.join("p.proj")).expect("made");
            fs::write(dir.join("p.proj/k.bin"), [1; 5000]).expect("written");
        }
        self.parts.insert((table.to_owned(), name.clone()), None);
        name
    }

    pub fn parts(&self) -> Vec<(String, String)> {
        self.parts.keys().cloned().collect()
    }

    /// A mutation: the part's successor has one new file and links the others.
    pub fn mutate(&mut self, table: &str, part: &str) -> String {
        let version = self.next();
        let name = format!("{part}_{version}");
        self.copy_part((table, part), (table, &name), 1);
        self.drop_part(table, part);
        name
    }

    /// `ATTACH PARTITION … FROM`: the part of another table links all files.
    pub fn attach(&mut self, from: &str, part: &str, to: &str) {
        let block = self.next();
        self.copy_part((from, part), (to, &format!("202601_{block}_{block}_9")), 0);
    }

    fn copy_part(&mut self, from: (&str, &str), to: (&str, &str), rewritten: usize) {
        let (source, target) = (self.live(from.0, from.1), self.live(to.0, to.1));
        copy_links(&source, &target);
        for name in names(&target).into_iter().take(rewritten).filter(|name| target.join(name).is_file()) {
            fs::remove_file(target.join(&name)).expect("removed");
            fs::write(target.join(&name), [9; 9000]).expect("written");
        }
        self.parts.insert((to.0.to_owned(), to.1.to_owned()), None);
    }

    pub fn drop_part(&mut self, table: &str, part: &str) {
        fs::remove_dir_all(self.live(table, part)).expect("removed");
        self.parts.remove(&(table.to_owned(), part.to_owned()));
    }

    /// The server is stopped and its data are lost: nothing outside the repository links any file.
    pub fn drop_everything(&mut self) {
        for (table, part) in self.parts() {
            self.drop_part(&table, &part);
        }
    }

    /// A snapshot of all live parts, a day after the last one.
    pub fn snapshot(&mut self) -> SnapshotId {
        self.night += 1;
        self.sequence += 1;
        let time = start() + TimeDelta::days(self.night);
        let repository = self.open();
        let locked = repository.lock("test", time, Duration::from_secs(5)).expect("the lock");
        let incoming = locked.begin(time, "http://127.0.0.1:9", Vec::new()).expect("begun");
        let id = incoming.id();
        let mut records = Vec::new();
        for ((table, part), last) in &self.parts {
            let target = incoming.dir().path().join("data/d").join(escape_for_file_name(table)).join(part);
            copy_links(&self.root.join("ch/data").join(escape_for_file_name(table)).join(part), &target);
            let from = last.filter(|last| repository.snapshot_dir(*last).is_ok());
            records.push(record(table, part, &target, from));
        }
        let data = incoming.dir().path().join("data");
        fs::create_dir_all(&data).expect("made");
        let metadata =
            format!("CREATE DATABASE d -- {}", "x".repeat(usize::try_from(self.sequence * 700).expect("small")));
        incoming.write_metadata(Path::new("metadata/d.sql"), metadata.as_bytes()).expect("written");
        let mut manifest = manifest(id, time, self.sequence, &records);
        incoming.seal(&mut manifest, &records, |_| Ok(())).expect("sealed");
        locked.forget_intent(id).expect("forgotten");
        locked.update_latest().expect("latest");
        for last in self.parts.values_mut() {
            *last = Some(id);
        }
        id
    }

    /// A random action of a server or a user.
    pub fn step(&mut self, numbers: &mut Numbers) -> String {
        let parts = self.parts();
        let some = (!parts.is_empty()).then(|| parts[numbers.index(parts.len())].clone());
        match (numbers.below(6), some) {
            (2, Some((table, part))) => format!("mutate {table} {part} to {}", self.mutate(&table, &part)),
            (3, Some((table, part))) => {
                let to = TABLES[numbers.index(TABLES.len())];
                self.attach(&table, &part, to);
                format!("attach {table} {part} to {to}")
            }
            (4, Some((table, part))) => {
                self.drop_part(&table, &part);
                format!("drop {table} {part}")
            }
            _ => {
                let table = TABLES[numbers.index(TABLES.len())];
                let files = numbers.below(5) + 1;
                format!("insert {table} {}", self.insert(table, files, numbers))
            }
        }
    }

    pub fn rm(&self, ids: &[SnapshotId]) {
        let references: Vec<SnapshotReference> =
            ids.iter().map(|id| id.to_string().parse().expect("a reference")).collect();
        self.locked(|locked| ops::remove(locked, &references, true, Utc::now()).expect("removed"));
    }

    pub fn undo(&self) {
        self.locked(|locked| drop(ops::undo(locked, &[], Utc::now())));
    }

    pub fn gc(&self) {
        self.locked(|locked| ops::collect_garbage(locked, || None, &Silent, 1, Utc::now()).expect("collected"));
    }

    pub fn ids(&self) -> Vec<SnapshotId> {
        self.open().snapshot_ids().expect("readable").0
    }
}

pub fn start() -> DateTime<Utc> {
    "2026-09-01T02:00:00Z".parse().expect("a time")
}

fn names(dir: &Path) -> BTreeSet<std::ffi::OsString> {
    fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect()
}

/// `cp -al`.
pub fn copy_links(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for name in names(from) {
        let (source, target) = (from.join(&name), to.join(&name));
        if source.is_dir() { copy_links(&source, &target) } else { fs::hard_link(source, target).expect("linked") }
    }
}

fn record(table: &str, part: &str, dir: &Path, from: Option<SnapshotId>) -> PartRecord {
    let mut files = (0, 0);
    count(dir, &mut files);
    PartRecord {
        table: TableName::new("d", table).into(),
        uuid: None,
        disk: "default".into(),
        partition: PartitionId(part.split('_').next().unwrap_or_default().into()),
        part: PartName::try_from(part.to_owned()).expect("a name"),
        fingerprint: None,
        rows: Some(1),
        bytes: files.1,
        files: files.0,
        placed: if from.is_some() { Placement::Linked } else { Placement::Renamed },
        from,
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

fn count(dir: &Path, files: &mut (u64, u64)) {
    for name in names(dir) {
        let path = dir.join(name);
        if path.is_dir() {
            count(&path, files);
        } else {
            *files = (files.0 + 1, files.1 + path.metadata().expect("its size").len());
        }
    }
}

fn manifest(id: SnapshotId, time: DateTime<Utc>, sequence: u64, records: &[PartRecord]) -> Manifest {
    Manifest {
        totals: SnapshotTotals {
            tables: 3,
            parts: records.len() as u64,
            files: records.iter().map(|record| record.files).sum(),
            apparent_bytes: records.iter().map(|record| record.bytes).sum(),
            ..SnapshotTotals::default()
        },
        tables: TABLES.iter().map(|table| table_entry(table)).collect(),
        ..store::manifest(id, time, sequence)
    }
}

fn table_entry(table: &str) -> TableEntry {
    let entry = TableEntry::without_parts(&TableName::new("d", table), "MergeTree", TableState::Taken);
    TableEntry { freezes: 1, ..entry }
}

/// Every inode below some directories, found by walking them: how often it was met, its link count, and its allocated
/// bytes.
#[derive(Debug, Default)]
pub struct Walk {
    pub files: BTreeMap<u64, (u64, u64, u64)>,
    pub directory_bytes: u64,
}

impl Walk {
    pub fn of<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut walk = Self::default();
        roots.into_iter().for_each(|root| walk.add(root));
        walk
    }

    fn add(&mut self, dir: &Path) {
        self.directory_bytes += dir.symlink_metadata().expect("a directory").blocks() * 512;
        for name in names(dir) {
            let path = dir.join(name);
            let stat = path.symlink_metadata().expect("an entry");
            if stat.is_dir() {
                self.add(&path);
            } else {
                self.files.entry(stat.ino()).or_insert((0, stat.nlink(), stat.blocks() * 512)).0 += 1;
            }
        }
    }

    /// Allocated bytes of the files that have no other links.
    pub fn alone(&self) -> u64 {
        self.files.values().filter(|(met, links, _)| met == links).map(|(.., bytes)| bytes).sum()
    }

    pub fn allocated(&self) -> u64 {
        self.files.values().map(|(.., bytes)| bytes).sum()
    }

    /// The bytes that removing all of it frees.
    pub fn freed(&self) -> u64 {
        self.alone() + self.directory_bytes
    }
}
