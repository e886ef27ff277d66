//! A tree next to the repository that must not change, and planted entries that lead to it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything of an inode but the time of its last access.
type Inode = (u64, u32, u32, u32, u64, u64, (i64, i64), (i64, i64), Vec<u8>);

/// A tree outside of all that chsnap may change.
#[derive(Debug)]
pub(crate) struct Canary {
    root: PathBuf,
    before: BTreeMap<PathBuf, Inode>,
}

/// A file in it.
pub(crate) const PRECIOUS: &str = "precious.sqlite";

impl Canary {
    /// Names in it are those that chsnap looks for, so that following a link would find something.
    pub(crate) fn new(root: &Path, uid: Option<u32>) -> Self {
        for dir in ["2026-12-01T020000Z/data/d", "data/d/t/all_1_1_0", "shadow/chsnap_x"] {
            fs::create_dir_all(root.join(dir)).expect("a directory");
        }
        for file in [
            PRECIOUS,
            "manifest.json",
            "2026-11.jsonl",
            "2026-12-01T020000Z.json",
            "2026-12-01T020000Z/manifest.json",
            "2026-12-01T020000Z/data/d/x",
            "data/d/t/all_1_1_0/checksums.txt",
            "shadow/chsnap_x/increment.txt",
        ] {
            fs::write(root.join(file), format!("precious: {file}")).expect("a file");
        }
        fs::hard_link(root.join(PRECIOUS), root.join("second name")).expect("a link");
        give(root, uid);
        Self { root: root.to_owned(), before: picture(root) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    #[track_caller]
    pub(crate) fn assert_untouched(&self, context: &str) {
        assert_eq!(picture(&self.root), self.before, "outside was touched: {context}");
    }
}

fn picture(root: &Path) -> BTreeMap<PathBuf, Inode> {
    let mut found = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        let stat = path.symlink_metadata().expect("it is there");
        let content = if stat.is_file() { fs::read(&path).expect("it is readable") } else { Vec::new() };
        if stat.is_dir() {
            paths.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        }
        let times = ((stat.mtime(), stat.mtime_nsec()), (stat.ctime(), stat.ctime_nsec()));
        let inode =
            (stat.ino(), stat.mode(), stat.uid(), stat.gid(), stat.nlink(), stat.size(), times.0, times.1, content);
        found.insert(path, inode);
    }
    found
}

/// Gives a tree to a user.
pub(crate) fn give(path: &Path, uid: Option<u32>) {
    if uid.is_none() {
        return;
    }
    std::os::unix::fs::lchown(path, uid, uid).expect("given away");
    if path.symlink_metadata().expect("it is there").is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            give(&entry.expect("an entry").path(), uid);
        }
    }
}

/// What somebody plants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    LinkToDirectory,
    LinkToFile,
    LinkToNothing,
    LinkToItself,
    Pipe,
    Socket,
    /// One that gives zeros without an end.
    Device,
    Directory,
    Garbage,
    /// Ten million bytes.
    Large,
}

pub(crate) const PLANTS: [Plant; 10] = [
    Plant::LinkToDirectory,
    Plant::LinkToFile,
    Plant::Pipe,
    Plant::LinkToNothing,
    Plant::LinkToItself,
    Plant::Socket,
    Plant::Device,
    Plant::Directory,
    Plant::Garbage,
    Plant::Large,
];

impl Plant {
    /// Plants it; `false` where this user or system cannot.
    pub(crate) fn at(self, path: &Path, outside: &Path) -> bool {
        let run = |program: &str, arguments: &[&str]| {
            let status = Command::new(program).arg(path).args(arguments).stderr(std::process::Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        match self {
            Self::LinkToDirectory => symlink(outside, path).expect("a link"),
            Self::LinkToFile => symlink(outside.join(PRECIOUS), path).expect("a link"),
            Self::LinkToNothing => symlink(outside.join("new"), path).expect("a link"),
            Self::LinkToItself => symlink(path, path).expect("a link"),
            Self::Pipe => assert!(run("mkfifo", &[]), "mkfifo"),
            Self::Socket => {
                // Its path must be short: it is bound next to the repository, and moved.
                let beside = outside.with_file_name("s");
                drop(UnixListener::bind(&beside).expect("a socket"));
                fs::rename(beside, path).expect("moved");
            }
            Self::Device => return run("mknod", &["c", "1", "5"]),
            Self::Directory => {
                fs::create_dir(path).expect("a directory");
                symlink(outside, path.join("data")).expect("a link");
                fs::write(path.join("file"), "x").expect("a file");
            }
            Self::Garbage => fs::write(path, b"\0\xff\x1b[2J{[\"../../precious\n").expect("a file"),
            Self::Large => fs::write(path, vec![b'['; 10_000_000]).expect("a file"),
        }
        true
    }
}

/// Removes whatever is there.
pub(crate) fn clear(path: &Path) {
    match path.symlink_metadata() {
        Ok(stat) if stat.is_dir() => fs::remove_dir_all(path).expect("removed"),
        Ok(_) => fs::remove_file(path).expect("removed"),
        Err(_) => {}
    }
}
