//! Unpacks the archives, and describes their content.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::chsnap_command::Chsnap;
use crate::engine::Kind;
use crate::tree::{files, tree};

/// What an archive holds, written down when it was made.
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    archive: &'static str,
    /// Ids of the snapshots named first, second, and removed.
    pub(crate) first: &'static str,
    pub(crate) second: &'static str,
    pub(crate) removed: &'static str,
    /// Of the first and the second: files, and their bytes.
    pub(crate) files: [u64; 2],
    pub(crate) apparent_bytes: [u64; 2],
    pub(crate) parts: u64,
    /// Over the paths and contents of all files below `data/`: first, second.
    pub(crate) digests: [&'static str; 2],
    /// Tables in order, with their parts in the first snapshot and rows in both.
    pub(crate) tables: [(&'static str, u64, [u64; 2]); 5],
}

pub(crate) const V26: Facts = Facts {
    kind: Kind::V26,
    archive: "repository-1/26.9.tar.zst",
    first: "2026-11-29T012451Z",
    second: "2026-11-29T012452Z",
    removed: "2026-11-29T012454Z",
    files: [59, 59],
    apparent_bytes: [9075, 8686],
    parts: 5,
    digests: [
        "5d40ee45dc1685c3b4fdc67272399eb4e45343ca0e3b1bacb52ffad6fdf79461",
        "eaf43d695c02ebb1a6f0d087c5e7f30439ee369703135ee6ee4fd107bb808119",
    ],
    tables: [
        ("empty", 0, [0, 0]),
        ("events", 3, [300, 250]),
        ("log", 0, [0, 0]),
        ("patched", 2, [100, 100]),
        ("seen", 0, [0, 0]),
    ],
};

pub(crate) const V18: Facts = Facts {
    kind: Kind::V18,
    archive: "repository-1/18.16.tar.zst",
    first: "2026-11-29T012456Z",
    second: "2026-11-29T012457Z",
    removed: "2026-11-29T012458Z",
    files: [44, 44],
    apparent_bytes: [4814, 4337],
    parts: 4,
    digests: [
        "269e7cfcf1c76c7c159127c5fc55027cef7e5037b211a11f979ec869261e1f75",
        "6cb0c87be222532571a3df3e51ad22b7a2be8fd19a788dea13e20d0b81056fc0",
    ],
    tables: [
        ("empty", 0, [0, 0]),
        ("events", 3, [300, 250]),
        ("log", 0, [0, 0]),
        ("mutated", 1, [100, 100]),
        ("seen", 0, [0, 0]),
    ],
};

pub(crate) const ALL: [Facts; 2] = [V26, V18];

/// An unpacked archive.
pub(crate) struct Unpacked {
    pub(crate) facts: Facts,
    pub(crate) chsnap: Chsnap,
    /// The path of the repository, below a directory that others may write.
    pub(crate) folder: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl Unpacked {
    pub(crate) fn new(facts: Facts) -> Self {
        let temporary = tempfile::tempdir().expect("a folder");
        let unpacked = Self::in_folder(facts, temporary.path());
        Self { _folder: Some(temporary), ..unpacked }
    }

    /// Unpacks into `folder`, which stays.
    pub(crate) fn in_folder(facts: Facts, folder: &Path) -> Self {
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(facts.archive);
        let bytes = zstd::decode_all(fs::read(&archive).expect("the archive").as_slice()).expect("it expands");
        // tar links what was linked, and keeps modes and times; owners only for root.
        let mut tar = Command::new("tar")
            .args(["--extract", "--preserve-permissions", "--numeric-owner", "--directory"])
            .arg(folder)
            .stdin(Stdio::piped())
            .spawn()
            .expect("tar starts");
        tar.stdin.take().expect("a pipe").write_all(&bytes).expect("tar reads");
        assert!(tar.wait().expect("tar ends").success(), "{}", archive.display());
        let chsnap = Chsnap::new(&folder.join("repo"));
        let unpacked = Self { facts, chsnap, folder: folder.to_owned(), _folder: None };
        unpacked.check_links();
        unpacked
    }

    pub(crate) fn snapshot(&self, id: &str) -> PathBuf {
        self.chsnap.repo().join("snapshots").join(id)
    }

    pub(crate) fn ids(&self) -> [&'static str; 2] {
        [self.facts.first, self.facts.second]
    }

    /// The two snapshots share files, or nothing that these tests say of space would mean anything.
    fn check_links(&self) {
        let file = |id: &str| self.snapshot(id).join("data/lab/events/202602_2_2_0/checksums.txt");
        let inode = |id: &str| fs::metadata(file(id)).expect("a file").ino();
        assert_eq!(inode(self.facts.first), inode(self.facts.second), "tar has made copies of links");
    }

    /// The document of a command that must end with this exit code.
    #[track_caller]
    pub(crate) fn json(&self, code: i32, arguments: &[&str]) -> Value {
        self.chsnap.json(code, arguments)
    }
}

/// Over the paths and contents of all files below a directory, whose owners, modes, inodes and times are not in it.
pub(crate) fn digest(root: &Path) -> String {
    let tree = tree(root);
    let mut hasher = blake3::Hasher::new();
    for (path, node) in files(&tree) {
        hasher.update(path.to_str().expect("text").as_bytes());
        hasher.update(b"\0");
        hasher.update(node.content.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// The row of an array whose field has this value.
#[track_caller]
pub(crate) fn row<'a>(array: &'a Value, field: &str, value: &str) -> &'a Value {
    let rows = array.as_array().expect("an array");
    rows.iter().find(|row| row[field] == value).unwrap_or_else(|| panic!("no {value} in {array:#}"))
}

/// Whether files have the owners that their manifests name: only root can unpack them so.
pub(crate) fn owns_files() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("SKIPPED: only root can unpack files of other owners");
    }
    is_root
}
