//! A repository of synthetic parts, a store in a directory, and the output of one command.

use std::fs;
use std::path::{Path, PathBuf};

use chsnap::model::SnapshotId;
use serde_json::Value;
use testkit::object_store::{KEY, SECRET};

use crate::chsnap_command::Chsnap;
use crate::store::{Store, bytes, part, part_of};

/// The command with the credentials that the S3 server of the tests accepts.
pub(super) fn with_keys(chsnap: Chsnap) -> Chsnap {
    chsnap.env("AWS_ACCESS_KEY_ID", KEY).env("AWS_SECRET_ACCESS_KEY", SECRET)
}

/// A host with its repository, and a directory that is the store.
pub(super) struct Lab {
    pub(super) host: Store,
    pub(super) folder: tempfile::TempDir,
}

/// Larger than what shares an object with others.
pub(super) const LARGE_BYTES: usize = 1_500_000;

impl Lab {
    /// Two tables: one with a projection and small files, one with a large file.
    pub(super) fn new() -> Self {
        let lab = Self { host: Store::new(), folder: tempfile::tempdir().expect("a folder") };
        lab.host.put("a", "all_1_1_0", &part(1, 9, true));
        lab.host.put("a", "all_2_2_0", &part(2, 5, false));
        lab.host.put("b", "all_1_1_0", &large_part(7, 8));
        lab
    }

    /// The store's directory.
    pub(super) fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Its address.
    pub(super) fn address(&self) -> String {
        format!("file://{}", self.store().display())
    }

    /// The command on the host that has the snapshots.
    pub(super) fn chsnap(&self) -> Chsnap {
        Chsnap::new(&self.host.repo())
    }

    /// The command on another host, whose repository of this name may be missing.
    pub(super) fn elsewhere(&self, name: &str) -> Chsnap {
        Chsnap::new(&self.folder.path().join(name))
    }

    /// Pushes, and gives the document.
    pub(super) fn push(&self, what: &str) -> Value {
        push(&self.chsnap(), what, &self.address())
    }

    /// All objects in the store, with their sizes.
    pub(super) fn objects(&self) -> Vec<(PathBuf, u64)> {
        files_below(&self.store().join("objects"))
    }

    /// The largest object.
    pub(super) fn largest_object(&self) -> PathBuf {
        let largest = self.objects().into_iter().max_by_key(|(_, bytes)| *bytes);
        largest.expect("an object").0
    }
}

/// A part with a large file of this seed, and a small one of another.
pub(super) fn large_part(large: u64, small: u64) -> crate::store::Part {
    part_of(vec![("large.bin".to_owned(), bytes(large, LARGE_BYTES)), ("small.bin".to_owned(), bytes(small, 3000))])
}

/// Runs a command that must end with this code, and gives its document.
pub(super) fn document(chsnap: &Chsnap, arguments: &[&str], code: i32) -> Value {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let run = chsnap.run(&all);
    assert_eq!(run.code, code, "{arguments:?}\n{}\n{}", run.stdout, run.stderr);
    serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout))
}

pub(super) fn push(chsnap: &Chsnap, what: &str, address: &str) -> Value {
    document(chsnap, &["push", what, "--to", address], 0)
}

/// The files below a directory with their sizes, in order; empty if it is missing.
pub(super) fn files_below(path: &Path) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(path) else { return files };
    for entry in entries {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            let bytes = fs::metadata(&path).expect("it is there").len();
            files.push((path, bytes));
        }
    }
    files.sort();
    files
}

/// A file of a snapshot, as it must come back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredFile {
    path: PathBuf,
    bytes: Vec<u8>,
    uid: u32,
    gid: u32,
    mode: u32,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

/// The files of a snapshot but those that say how it came there.
pub(super) fn content(snapshot: &Path) -> Vec<StoredFile> {
    use std::os::unix::fs::MetadataExt as _;
    let files = files_below(snapshot).into_iter();
    files
        .map(|(path, _)| {
            let meta = fs::metadata(&path).expect("it is there");
            StoredFile {
                path: path.strip_prefix(snapshot).expect("below").to_owned(),
                bytes: fs::read(&path).expect("it is read"),
                uid: meta.uid(),
                gid: meta.gid(),
                mode: meta.mode(),
                modified: (meta.mtime(), meta.mtime_nsec()),
            }
        })
        .filter(|file| file.path != Path::new("manifest.json") && file.path != Path::new("parts.jsonl.zst"))
        .collect()
}

/// The directory of a snapshot in a repository.
pub(super) fn at(chsnap: &Chsnap, id: SnapshotId) -> PathBuf {
    chsnap.repo().join("snapshots").join(id.to_string())
}

/// Checks that a pull has left nothing in the repository.
pub(super) fn assert_nothing_half(chsnap: &Chsnap) {
    for folder in ["snapshots", "incoming"] {
        let left = files_below(&chsnap.repo().join(folder));
        assert!(left.is_empty(), "{folder}: {left:?}");
    }
}
