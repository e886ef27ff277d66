//! A repository of synthetic parts with real checksums, with snapshots linked from one "live" directory.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use chsnap::checksums::{Checksums, hash_bytes};
use chsnap::exec::inspect_part;
use chsnap::fs::{Dir, Mutations, real};
use chsnap::model::{
    DumpTotals, Label, Level, PartName, PartitionId, PlacedTotals, Placement, SnapshotId, SnapshotTotals, TableName,
};
use chsnap::monitor::Silent;
use chsnap::ops::verify::{Report, Request, verify};
use chsnap::repo::{CreateSettings, FORMAT, Manifest, PartRecord, Repository, ServerEntry, TableEntry, TableState};
use tempfile::TempDir;

use crate::folders::memory_folder;

/// Files of a part by their paths in it.
pub type Part = BTreeMap<String, Vec<u8>>;

pub struct Store {
    folder: TempDir,
    nights: Cell<u32>,
    /// Files outside the parts that each snapshot gets besides definitions.
    kept: RefCell<Vec<(PathBuf, String)>>,
}

/// Bytes that vary along the file.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// `checksums.txt` of format 2, as text.
fn checksums(files: &BTreeMap<&str, (u64, [u8; 16])>) -> Vec<u8> {
    let mut text = format!("checksums format version: 2\n{} files:\n", files.len());
    for (name, (size, hash)) in files {
        let (low, high) = hash.split_at(8);
        let number = |half: &[u8]| u64::from_le_bytes(half.try_into().expect("8 bytes"));
        let (low, high) = (number(low), number(high));
        write!(text, "{name}\n\tsize: {size}\n\thash: {low} {high}\n\tcompressed: 0\n").expect("a String");
    }
    text.into_bytes()
}

/// A part of these files, none of which is in a projection.
pub fn part_of(files: Vec<(String, Vec<u8>)>) -> Part {
    let entries =
        files.iter().map(|(name, content)| (name.as_str(), (content.len() as u64, hash_bytes(content).to_bytes())));
    let list = checksums(&entries.collect());
    let beside = [("checksums.txt".to_owned(), list), ("columns.txt".to_owned(), b"columns".to_vec())];
    files.into_iter().chain(beside).collect()
}

/// A part with `files` files, and a projection with as many if `with_projection` is set.
pub fn part(seed: u64, files: usize, with_projection: bool) -> Part {
    let mut part = Part::new();
    let mut covered: BTreeMap<String, (u64, [u8; 16])> = BTreeMap::new();
    let lengths = [0, 1, 7, 2047, 2048, 2049, 5000, 40_000];
    let content = |number: usize, salt: u64| {
        bytes(
            seed * 1000 + salt + number as u64,
            lengths[(usize::try_from(seed).expect("a small number") + number) % 8],
        )
    };
    for number in 0..files {
        let content = content(number, 0);
        covered.insert(format!("c{number}.bin"), (content.len() as u64, hash_bytes(&content).to_bytes()));
        part.insert(format!("c{number}.bin"), content);
    }
    if with_projection {
        let mut inner = BTreeMap::new();
        let names: Vec<String> = (0..files).map(|number| format!("d{number}.bin")).collect();
        for (number, name) in names.iter().enumerate() {
            let content = content(number, 500);
            inner.insert(name.as_str(), (content.len() as u64, hash_bytes(&content).to_bytes()));
            part.insert(format!("p.proj/{name}"), content);
        }
        let list = checksums(&inner);
        let entry = Checksums::parse(&list).expect("a list").as_projection();
        covered.insert("p.proj".to_owned(), (entry.size, entry.hash.to_bytes()));
        part.insert("p.proj/checksums.txt".to_owned(), list);
        part.insert("p.proj/columns.txt".to_owned(), format!("columns of {seed}").into_bytes());
    }
    let covered = covered.iter().map(|(name, entry)| (name.as_str(), *entry)).collect();
    part.insert("checksums.txt".to_owned(), checksums(&covered));
    part.insert("columns.txt".to_owned(), format!("columns {seed}").into_bytes());
    part
}

impl Store {
    pub fn new() -> Self {
        Self::within(&memory_folder())
    }

    pub fn within(place: &Path) -> Self {
        let store = Self {
            folder: tempfile::tempdir_in(place).expect("a folder"),
            nights: Cell::new(0),
            kept: RefCell::default(),
        };
        Repository::init(&store.repo(), time(0), &real()).expect("a repository");
        store
    }

    pub fn repo(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    pub fn live(&self) -> PathBuf {
        self.folder.path().join("live")
    }

    pub fn at(&self, id: SnapshotId) -> PathBuf {
        self.repo().join("snapshots").join(id.to_string())
    }

    pub fn open(&self) -> Repository {
        Repository::open(&self.repo(), &real()).expect("a repository")
    }

    /// Creates a live part, or replaces one.
    pub fn put(&self, table: &str, name: &str, part: &Part) {
        let dir = self.live().join(table).join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("removed");
        }
        for (path, content) in part {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(&path, content).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).expect("a mode");
        }
    }

    /// Gives each later snapshot this file outside its parts.
    pub fn keep(&self, path: &str, text: &str) {
        self.kept.borrow_mut().push((PathBuf::from(path), text.to_owned()));
    }

    /// Makes a snapshot of all live parts, by links.
    pub fn snapshot(&self) -> SnapshotId {
        self.snapshot_with(|_, _| ())
    }

    /// The same after a change to its manifest and list of parts.
    pub fn snapshot_with(&self, change: impl FnOnce(&mut Manifest, &mut Vec<PartRecord>)) -> SnapshotId {
        self.snapshot_at(time(self.nights.get() + 1), change)
    }

    /// The same of a snapshot that is begun at `now`.
    pub fn snapshot_at(
        &self,
        now: DateTime<Utc>,
        change: impl FnOnce(&mut Manifest, &mut Vec<PartRecord>),
    ) -> SnapshotId {
        self.nights.set(self.nights.get() + 1);
        let repository = self.open();
        let locked = repository.lock("test", now, Duration::from_secs(5)).expect("the lock");
        let incoming = locked.begin(now, "http://127.0.0.1:9", Vec::new()).expect("a snapshot begins");
        let (mut records, mut tables, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
        for table in names(&self.live()) {
            let definition = PathBuf::from(format!("metadata/d/{table}.sql"));
            let text = format!("ATTACH TABLE {table} (k UInt8)");
            metadata.push(incoming.write_metadata(&definition, text.as_bytes()).expect("a definition"));
            let to = incoming.dir().path().join("data/d").join(&table);
            fs::create_dir_all(&to).expect("a directory");
            let parts = names(&self.live().join(&table));
            for part in &parts {
                link_tree(&self.live().join(&table).join(part), &to.join(part));
                let dir = Dir::open(&to.join(part), real()).expect("a part");
                records.push(record(&table, part, &dir));
            }
            tables.push(entry(&table, definition.to_str().expect("a text"), parts.len() as u64));
        }
        if let Some(table) = names(&self.live()).first() {
            let path = PathBuf::from("data/d").join(table).join("mutation_7.txt");
            metadata.push(incoming.write_metadata(&path, b"an unfinished mutation").expect("a mutation"));
        }
        for (path, text) in self.kept.borrow().iter() {
            metadata.push(incoming.write_metadata(path, text.as_bytes()).expect("a file"));
        }
        let mut manifest = manifest(incoming.id(), now, u64::from(self.nights.get()));
        manifest.tables = tables;
        manifest.metadata = metadata;
        change(&mut manifest, &mut records);
        incoming.seal(&mut manifest, &records, |_| Ok(())).expect("sealed");
        locked.forget_intent(incoming.id()).expect("forgotten");
        locked.update_latest().expect("latest");
        incoming.id()
    }

    pub fn verify(&self, request: &Request) -> Report {
        self.verify_by(&real(), request, time(100))
    }

    pub fn verify_at(&self, request: &Request, now: DateTime<Utc>) -> Report {
        self.verify_by(&real(), request, now)
    }

    pub fn verify_by(&self, verbs: &Arc<dyn Mutations>, request: &Request, now: DateTime<Utc>) -> Report {
        let repository = Repository::open(&self.repo(), verbs).expect("a repository");
        verify(&repository, request, &|| now, &Silent).expect("verified")
    }
}

/// A request for all snapshots.
pub fn request(level: Level) -> Request {
    Request::new().with_level(level).with_jobs(2)
}

/// The findings, drift included: path relative to `snapshots/` and kind, for every place.
pub fn found(report: &Report) -> std::collections::BTreeSet<(String, String)> {
    let drift = report.drift.iter().flat_map(|drift| {
        drift.ids.iter().map(move |id| (format!("{id}/{}", drift.path.display()), drift.kind.to_string()))
    });
    let places = report.damage.iter().flat_map(|damage| {
        damage.places.iter().map(move |(id, path)| (format!("{id}/{}", path.display()), damage.kind.to_string()))
    });
    places.chain(drift).collect()
}

/// A night of November 2026.
pub fn time(night: u32) -> DateTime<Utc> {
    "2026-11-01T02:00:00Z".parse::<DateTime<Utc>>().expect("a time") + chrono::Duration::days(i64::from(night))
}

pub fn names(path: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

fn link_tree(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a directory");
    for name in names(from) {
        if from.join(&name).is_dir() {
            link_tree(&from.join(&name), &to.join(&name));
        } else {
            fs::hard_link(from.join(&name), to.join(&name)).expect("a link");
        }
    }
}

fn record(table: &str, part: &str, dir: &Dir) -> PartRecord {
    let inspected = inspect_part(dir).expect("readable");
    PartRecord {
        table: TableName::new("d", table).into(),
        uuid: None,
        disk: "default".into(),
        partition: PartitionId("all".into()),
        part: PartName::try_from(part.to_owned()).expect("a part's name"),
        fingerprint: inspected.fingerprint,
        rows: Some(1),
        digest: None,
        bytes: inspected.bytes,
        files: inspected.files,
        placed: Placement::Linked,
        from: None,
        directory: inspected.directory,
        directory_modified: inspected.directory_modified,
        ownership: inspected.ownership,
        exceptions: inspected.exceptions,
        uncovered: inspected.uncovered,
        unverifiable: inspected.unverifiable,
        damage: inspected.problems,
        joined: None,
        unkept: Vec::new(),
    }
}

fn entry(table: &str, definition: &str, parts: u64) -> TableEntry {
    TableEntry {
        definition: Some(definition.to_owned()),
        definition_is_file: true,
        parts,
        freezes: 1,
        ..TableEntry::without_parts(&TableName::new("d", table), "MergeTree", TableState::Taken)
    }
}

/// The manifest of a snapshot without tables.
pub fn manifest(id: SnapshotId, time: DateTime<Utc>, sequence: u64) -> Manifest {
    Manifest {
        imported: None,
        moment: None,
        copied: None,
        extracted: None,
        secrets_left_out: None,
        format: FORMAT,
        chsnap: "test".to_owned(),
        id,
        sequence,
        time,
        sealed: time,
        label: Label::default(),
        server: ServerEntry {
            version: "26.9.1".to_owned(),
            uuid: None,
            data_path: "/var/lib/clickhouse/".to_owned(),
            host_name: "ch1".to_owned(),
            timezone: "UTC".to_owned(),
            macros: std::collections::BTreeMap::new(),
        },
        settings: CreateSettings::default(),
        previous: None,
        totals: SnapshotTotals::default(),
        placed: PlacedTotals::default(),
        dumped: DumpTotals::default(),
        databases: Vec::new(),
        tables: Vec::new(),
        metadata: Vec::new(),
        warnings: Vec::new(),
        warning_list: Vec::new(),
        parts_blake3: String::new(),
    }
}

pub fn inode(path: &Path) -> u64 {
    path.symlink_metadata().expect("it is there").ino()
}
