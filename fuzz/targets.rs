//! What every fuzz target does with its input, and what must hold then. `fuzz_targets/` hands these to libFuzzer;
//! `tests/fuzz.rs` runs them on the corpus, and on changes of it, with any toolchain.
//!
//! A target fails by a panic. Each goes by the public functions that the program itself goes by, limits and all: files
//! of a repository are written into one in a temporary directory, and read from there.

#![allow(clippy::disallowed_methods, reason = "it makes the files that are read")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use chsnap::checksums::Checksums;
use chsnap::fs::{Dir, real};
use chsnap::model::{PartName, SnapshotId, TableName, escape_for_file_name};
use chsnap::plan::{KnownSnapshot, SnapshotReference, TablePattern};
use chsnap::repo::{Manifest, Repository, SnapshotState, Summary, read_parts};

/// A target, and the name of its corpus.
pub(crate) type Target = (&'static str, fn(&World, &[u8]));

/// All targets.
pub(crate) const TARGETS: [Target; 10] = [
    ("checksums", checksums),
    ("configuration", configuration),
    ("escape", escape),
    ("intent", intent),
    ("journal", journal),
    ("manifest", manifest),
    ("parts", parts),
    ("pattern", pattern),
    ("pin", pin),
    ("reference", reference),
];

/// A repository in a directory of its own.
#[derive(Debug)]
pub(crate) struct World {
    path: PathBuf,
}

/// The snapshot whose files the targets write.
const ID: &str = "2026-11-22T020000Z";
const SNAPSHOT: &str = "snapshots/2026-11-22T020000Z";
/// The repository of all intents in the corpus.
const REPOSITORY: &str =
    r#"{"format":1,"id":"0123456789abcdef0123456789abcdef","created":"2026-11-22T00:00:00Z","server":null}"#;

impl World {
    /// Makes the repository at `path`, which must not be there; it is the caller's to remove.
    ///
    /// # Panics
    /// If it cannot be made.
    pub(crate) fn new(path: &Path) -> Self {
        for directory in ["incoming", "trash", "pins", "journal", "snapshots"] {
            std::fs::create_dir_all(path.join(directory)).expect("a directory");
        }
        std::fs::create_dir(path.join("snapshots").join(ID)).expect("a directory");
        let world = Self { path: path.to_owned() };
        world.write("chsnap.json", REPOSITORY.as_bytes());
        world
    }

    fn write(&self, relative: &str, bytes: &[u8]) {
        std::fs::write(self.path.join(relative), bytes).expect("a file");
    }

    fn open(&self) -> Repository {
        Repository::open(&self.path, &real()).expect("a repository")
    }
}

fn id() -> SnapshotId {
    ID.parse().expect("an id")
}

fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && name != b"."
        && name != b".."
        && !name.iter().any(|b| matches!(b, b'/' | 0))
}

fn checksums(_: &World, input: &[u8]) {
    let Ok(checksums) = Checksums::parse(input) else { return };
    let sum: u64 = checksums.iter().map(|(_, checksum)| checksum.size).sum();
    assert_eq!(sum, checksums.total_bytes());
    assert_eq!(checksums.iter().count(), checksums.len());
    for (name, checksum) in checksums.iter() {
        assert!(is_plain(name.as_bytes()), "{name}");
        assert_eq!(checksums.get(name.as_bytes()), Some(checksum));
    }
    assert_eq!(checksums.as_projection().size, sum);
    assert_eq!(checksums.fingerprint().to_string().parse(), Ok(checksums.fingerprint()));
}

fn configuration(world: &World, input: &[u8]) {
    world.write("chsnap.json", input);
    let opened = Repository::open(&world.path, &real());
    world.write("chsnap.json", REPOSITORY.as_bytes());
    if let Ok(repository) = opened {
        let id = repository.id().to_string();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(repository.id().freeze_prefix(), format!("chsnap_{}_", id.split_at(8).0));
        assert_eq!(repository.check_writable_format().is_ok(), repository.format() <= 1);
    }
}

fn escape(_: &World, input: &[u8]) {
    let name = String::from_utf8_lossy(input);
    let escaped = escape_for_file_name(&name);
    assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'%')), "{escaped}");
    let mut bytes = escaped.bytes();
    let mut unescaped = Vec::new();
    while let Some(byte) = bytes.next() {
        let digits = if byte == b'%' { bytes.next().zip(bytes.next()) } else { None };
        unescaped.push(digits.map_or(byte, |(high, low)| {
            let digits = String::from_iter([char::from(high), char::from(low)]);
            u8::from_str_radix(&digits, 16).expect("two digits")
        }));
    }
    assert_eq!(unescaped, name.as_bytes());
}

fn intent(world: &World, input: &[u8]) {
    world.write(&format!("incoming/{ID}.intent.json"), input);
    let repository = world.open();
    let now = id().time();
    let locked = repository.lock("fuzz", now, Duration::ZERO).expect("nobody else is here");
    let leftovers = locked.leftovers().expect("readable");
    let [leftover] = leftovers.as_slice() else { panic!("one intent, and not {}", leftovers.len()) };
    assert!(leftover.has_intent && !leftover.has_tree && leftover.id == id());
    if let Some(intent) = &leftover.intent {
        assert_eq!(intent.id, id());
        for freeze in &intent.freezes {
            assert!(is_plain(freeze.as_str().as_bytes()), "{freeze}");
            assert!(freeze.as_str().starts_with(&repository.id().freeze_prefix()), "{freeze}");
        }
    }
}

fn journal(world: &World, input: &[u8]) {
    world.write("journal/2026-11.jsonl", input);
    let events = world.open().events();
    assert!(events.len() <= input.len());
}

fn manifest(world: &World, input: &[u8]) {
    world.write(&format!("{SNAPSHOT}/manifest.json"), input);
    let state = world.open().snapshot(id()).expect("it is there");
    let summary = Summary::of(id(), &state);
    assert_eq!((summary.id, summary.is_complete()), (id(), matches!(state, SnapshotState::Complete(_))));
    if let SnapshotState::Complete(manifest) = state {
        let text = serde_json::to_string(&manifest).expect("it writes");
        let again: Manifest = serde_json::from_str(&text).expect("it reads back");
        assert_eq!(serde_json::to_string(&again).expect("it writes"), text);
    }
}

/// The input as the file itself, and as the lines in it.
fn parts(world: &World, input: &[u8]) {
    let snapshot = world.path.join(SNAPSHOT);
    for bytes in [input.to_vec(), zstd::encode_all(input, 1).expect("anything shrinks")] {
        world.write(&format!("{SNAPSHOT}/parts.jsonl.zst"), &bytes);
        let dir = Dir::open(&snapshot, real()).expect("the snapshot");
        assert!(read_parts(&dir, "").is_err(), "another digest is another file");
        let Ok(records) = read_parts(&dir, blake3::hash(&bytes).to_hex().as_str()) else { continue };
        for record in records {
            assert!(is_plain(record.part.as_str().as_bytes()), "{}", record.part);
            assert!(PartName::try_from(record.part.to_string()).is_ok());
        }
    }
}

fn pattern(_: &World, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let Ok(pattern) = text.parse::<TablePattern>() else { return };
    assert_eq!(pattern.as_str(), text);
    for (database, table) in [("d", "t"), ("", ""), ("..", "/"), ("a.b", "c\n"), ("posthog", ".inner.mv"), ("é", "*")]
    {
        let _ = pattern.matches(&TableName::new(database, table));
    }
}

fn pin(world: &World, input: &[u8]) {
    world.write(&format!("pins/{ID}.json"), input);
    assert!(world.open().pin(id()).expect("readable").is_some(), "a pin that cannot be read pins all the same");
}

fn reference(_: &World, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    if let Ok(id) = text.parse::<SnapshotId>() {
        assert_eq!(id.to_string(), text);
        assert!(is_plain(text.as_bytes()));
    }
    let Ok(reference) = text.parse::<SnapshotReference>() else { return };
    let ids = [id(), id().next(), id().next().next()];
    let known = ids.map(|id| KnownSnapshot { id, name: Some("a name") });
    if let Ok(found) = reference.resolve(&known) {
        assert!(ids.contains(&found));
    }
}
