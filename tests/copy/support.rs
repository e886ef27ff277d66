//! Files with all metadata that a copy must keep, as values that can be compared.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chsnap::fs::{Dir, Mutations};
use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{SeekFrom, Timespec, Timestamps, XattrFlags};

pub(crate) const BLOCK: usize = 4096;

/// A file as a test makes it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// Blocks of data or of a hole, in turn.
    pub stretches: Vec<(bool, usize)>,
    /// Bytes behind the last block.
    pub tail: usize,
    pub seed: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    pub modified: (i64, u32),
    pub attributes: Vec<(String, Vec<u8>)>,
    pub acl: bool,
}

impl Made {
    pub(crate) fn plain(bytes: usize) -> Self {
        Self {
            stretches: vec![(true, bytes / BLOCK)],
            tail: bytes % BLOCK,
            seed: 7,
            mode: 0o640,
            owner: (1001, 1002),
            modified: (1_600_000_000, 123_456_789),
            attributes: Vec::new(),
            acl: false,
        }
    }
}

pub(crate) fn is_root() -> bool {
    chsnap::fs::user_id() == 0
}

/// Tells a person that less was tested than could be.
pub(crate) fn skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
}

pub(crate) fn made() -> impl Strategy<Value = Made> {
    let stretches = prop_oneof![
        3 => vec((any::<bool>(), 0_usize..6), 0..6),
        1 => vec((any::<bool>(), 0_usize..600), 1..4),
    ];
    let mode = prop_oneof![Just(0o640_u32), Just(0o440), 0_u32..0o10000];
    // So small that the inode holds them: a block of their own would hide a hole of one block in a small file.
    let attribute = ("user\\.[a-z]{1,4}", vec(any::<u8>(), 0..12));
    (
        (stretches, 0_usize..BLOCK, any::<u8>(), mode),
        (0_u32..4_000_000_000, 0_u32..4_000_000_000),
        (-2_000_000_000_i64..15_000_000_000, 0_u32..1_000_000_000),
        (proptest::collection::btree_map(attribute.0, attribute.1, 0..2), any::<bool>()),
    )
        .prop_map(|((stretches, tail, seed, mode), owner, modified, (attributes, acl))| Made {
            stretches,
            tail,
            seed,
            mode,
            owner,
            modified,
            attributes: attributes.into_iter().collect(),
            acl,
        })
}

/// `user::rwx user:1234:r-x group::r-- mask::rwx other::---`, or as the default of a directory.
pub(crate) fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 7, u32::MAX), (2, 5, 1234), (4, 4, u32::MAX), (16, 7, u32::MAX), (32, 0, u32::MAX)];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend([&tag.to_le_bytes()[..], &permissions.to_le_bytes(), &id.to_le_bytes()].concat());
    }
    bytes
}

pub(crate) fn make(path: &Path, made: &Made) {
    let file = File::create_new(path).expect("a file");
    let mut at = 0;
    for (is_data, blocks) in &made.stretches {
        let bytes: Vec<u8> = (0..blocks * BLOCK).map(|i| (i >> 3).to_le_bytes()[0] ^ made.seed).collect();
        if *is_data {
            file.write_all_at(&bytes, at).expect("written");
        }
        at += bytes.len() as u64;
    }
    file.set_len(at).expect("a size");
    file.write_all_at(&vec![made.seed | 1; made.tail], at).expect("written");
    for (name, value) in &made.attributes {
        rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty()).expect("an attribute");
    }
    dress(path, made);
}

/// What a directory can have as well.
pub(crate) fn dress(path: &Path, made: &Made) {
    if is_root() {
        chown(path, Some(made.owner.0), Some(made.owner.1)).expect("an owner");
    }
    if made.acl && rustix::fs::setxattr(path, "system.posix_acl_access", &acl(), XattrFlags::empty()).is_err() {
        skipped("no ACLs here");
    }
    let readable = match (is_root(), path.is_dir()) {
        (true, _) => 0,
        (false, true) => 0o700,
        (false, false) => 0o400,
    };
    fs::set_permissions(path, fs::Permissions::from_mode(made.mode | readable)).expect("a mode");
    let time = |(tv_sec, nanoseconds): (i64, u32)| Timespec { tv_sec, tv_nsec: i64::from(nanoseconds) };
    let times = Timestamps { last_access: time((1_500_000_000, 5)), last_modification: time(made.modified) };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).expect("times");
}

/// Everything of an inode that a copy keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub content: Option<blake3::Hash>,
    pub size: u64,
    pub data: Vec<(u64, u64)>,
    pub owner: (u32, u32),
    pub mode: u32,
    pub modified: (i64, i64),
    pub attributes: BTreeMap<String, Vec<u8>>,
}

pub(crate) fn see(path: &Path) -> Seen {
    let metadata = fs::symlink_metadata(path).expect("it is there");
    let is_file = metadata.is_file();
    Seen {
        content: is_file.then(|| blake3::hash(&fs::read(path).expect("readable"))),
        size: if is_file { metadata.size() } else { 0 },
        data: if is_file { data(path, metadata.size()) } else { Vec::new() },
        owner: (metadata.uid(), metadata.gid()),
        mode: metadata.mode(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        attributes: attributes(path),
    }
}

/// Where the data of a file is, between its holes.
fn data(path: &Path, size: u64) -> Vec<(u64, u64)> {
    let file = File::open(path).expect("readable");
    let mut found = Vec::new();
    let mut at = 0;
    while at < size {
        let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) else { break };
        at = rustix::fs::seek(&file, SeekFrom::Hole(start)).expect("a hole is at the end at least");
        found.push((start, at));
    }
    found
}

pub(crate) fn attributes(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut names, mut value) = (vec![0; 4096], vec![0; 4096]);
    let listed = rustix::fs::listxattr(path, names.as_mut_slice()).unwrap_or(0);
    let names = names[..listed].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| String::from_utf8(name.to_vec()).expect("a name is text"));
    names
        .map(|name| {
            let bytes = rustix::fs::getxattr(path, name.as_str(), value.as_mut_slice()).expect("it is listed");
            (name, value[..bytes].to_vec())
        })
        .collect()
}

/// All of a tree, directories too, by relative paths; the tree's own is empty.
pub(crate) fn see_tree(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut found = BTreeMap::new();
    let mut paths = vec![root.to_owned()];
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(fs::read_dir(&path).expect("a directory").map(|entry| entry.expect("an entry").path()));
        }
        found.insert(path.strip_prefix(root).expect("below").to_owned(), see(&path));
    }
    found
}

/// A folder for sources and one for copies: on one filesystem, and on two where there are two.
pub(crate) fn places() -> Vec<(tempfile::TempDir, tempfile::TempDir)> {
    let here = || tempfile::tempdir().expect("a directory");
    let mut places = vec![(here(), here())];
    let memory = || tempfile::tempdir_in("/dev/shm").expect("a directory");
    if Path::new("/dev/shm").is_dir() && device(Path::new("/dev/shm")) != device(places[0].0.path()) {
        places.push((here(), memory()));
        places.push((memory(), here()));
    } else {
        skipped("there is no second filesystem at /dev/shm");
    }
    places
}

fn device(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").dev()
}

pub(crate) fn open(path: &Path) -> Dir {
    open_with(path, chsnap::fs::real())
}

pub(crate) fn open_with(path: &Path, verbs: Arc<dyn Mutations>) -> Dir {
    Dir::open(path, verbs).expect("it opens")
}

pub(crate) fn onward(_: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// Files of a part with a `checksums.txt` (text format) that covers those in `covered`.
pub(crate) fn write_checksums(part: &Path, covered: &[&str]) {
    use std::fmt::Write as _;
    let mut text = format!("checksums format version: 2\n{} files:\n", covered.len());
    for name in covered {
        let path = part.join(name);
        let (size, hash) = if path.is_dir() {
            let bytes = fs::read(path.join("checksums.txt")).expect("its checksums");
            let entry = chsnap::checksums::Checksums::parse(&bytes).expect("sound").as_projection();
            (entry.size, entry.hash)
        } else {
            let bytes = fs::read(&path).expect("a file");
            (bytes.len() as u64, chsnap::checksums::hash_bytes(&bytes))
        };
        let whole = u128::from_le_bytes(hash.to_bytes());
        let low = u64::try_from(whole & u128::from(u64::MAX)).expect("64 bits");
        let high = u64::try_from(whole >> 64).expect("64 bits");
        write!(text, "{name}\n\tsize: {size}\n\thash: {low} {high}\n\tcompressed: 0\n").expect("text");
    }
    fs::write(part.join("checksums.txt"), text).expect("written");
}
