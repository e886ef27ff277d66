//! A disk runs out of blocks or inodes at any moment of any command: older snapshots stay, a new one is complete or
//! absent, commands that make room work, and once there is room the next run converges.
//!
//! Each test has a small loop-mounted ext4 of its own; that needs root.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use testkit::chsnap_command::Chsnap;
use testkit::engine::{Engine, Kind, Options};
use testkit::freezer::{Freezer, served_repository};
use testkit::small_disk::SmallDisk;
use testkit::tree::{Node, Tree, files, tree};

/// What a test may take away.
#[derive(Clone, Copy, Debug)]
enum Scarce {
    Blocks,
    Inodes,
}

/// A server's data and a repository of it on one small disk, with one snapshot to keep and one to remove.
struct World {
    data: PathBuf,
    chsnap: Chsnap,
    older: Tree,
    live: BTreeMap<PathBuf, Node>,
    // Last, so that it is unmounted after everything else is dropped.
    disk: SmallDisk,
}

impl World {
    /// Something is to be added between the two snapshots.
    fn new(disk: SmallDisk, url: &str, between: impl FnOnce()) -> Self {
        let chsnap = Chsnap::new(&disk.path().join("repo")).url(url);
        chsnap.expect(0, &["init"]);
        let kept = chsnap.json(0, &["create"]);
        between();
        let data = disk.path().join("ch");
        let mut world = Self { data, chsnap, older: Tree::new(), live: BTreeMap::new(), disk };
        world.older = tree(&world.snapshot(&kept));
        world.chsnap.json(0, &["create"]);
        world.live = world.live_files();
        world
    }

    fn snapshot(&self, created: &Value) -> PathBuf {
        self.chsnap.repo().join("snapshots").join(created["id"].as_str().expect("an id"))
    }

    fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.chsnap.repo().join("snapshots")).expect("a directory");
        let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut ids: Vec<String> = names.collect();
        ids.sort();
        ids
    }

    /// Without the mode: FREEZE changes it.
    fn live_files(&self) -> BTreeMap<PathBuf, Node> {
        let mut live = tree(&self.data.join("data"));
        live.retain(|path, _| !path.starts_with("system"));
        files(&live).into_iter().map(|(path, node)| (path.to_owned(), Node { mode: 0, ..node.clone() })).collect()
    }

    fn shadows(&self) -> Vec<PathBuf> {
        let shadow = tree(&self.data.join("shadow"));
        shadow.into_keys().filter(|path| path != Path::new("increment.txt")).collect()
    }

    fn leave(&self, scarce: Scarce, count: u64) {
        match scarce {
            Scarce::Blocks => self.disk.leave_blocks(count),
            Scarce::Inodes => self.disk.leave_inodes(count),
        }
    }

    /// Everything that must hold at any moment after anything.
    fn check(&self, context: &str) {
        assert_eq!(self.live_files(), self.live, "live data: {context}");
        let kept = &self.ids()[0];
        assert_eq!(tree(&self.chsnap.repo().join("snapshots").join(kept)), self.older, "{context}");
        for id in self.ids() {
            let shown = self.chsnap.json(0, &["show", &id]);
            assert_eq!(shown["state"], "complete", "{context}");
            let data = tree(&self.chsnap.repo().join("snapshots").join(&id).join("data"));
            assert_eq!(shown["files"], files(&data).len(), "{context}");
            if id != *kept {
                self.check_that_all_is_there(&id, context);
            }
        }
    }

    /// Every live file of a part is in the snapshot, under its inode.
    fn check_that_all_is_there(&self, id: &str, context: &str) {
        let data = tree(&self.chsnap.repo().join("snapshots").join(id).join("data"));
        let found: Vec<u64> = files(&data).values().map(|node| node.inode).collect();
        for (path, node) in &self.live {
            let is_of_a_part = path.components().count() == 4;
            assert!(!is_of_a_part || found.contains(&node.inode), "{} is not in {id}: {context}", path.display());
        }
    }

    /// A `create` that has too little, or just enough.
    fn create(&self, context: &str) -> i32 {
        let before = self.ids();
        let run = self.chsnap.run(&["create"]);
        let context = format!("{context}: exit code {}\n{}", run.code, run.stderr);
        match run.code {
            0 => assert_eq!(self.ids().len(), before.len() + 1, "{context}"),
            // The snapshot exists, and warnings report what failed after the commit.
            3 => assert!(self.ids().len() == before.len() + 1 && run.stderr.contains("warning: "), "{context}"),
            1 => {
                assert_eq!(self.ids(), before, "{context}");
                assert!(run.stderr.to_lowercase().contains("no space left on device"), "{context}");
                assert!(run.stderr.contains("hint: chsnap gc"), "{context}");
            }
            _ => panic!("{context}"),
        }
        self.check(&context);
        let said = run.code != 0 && (run.code == 3 || run.stderr.contains("the next run does the rest"));
        assert!(self.shadows().is_empty() || said, "{:?}: {context}", self.shadows());
        run.code
    }

    /// What makes room works without any.
    fn remove_and_collect(&self, context: &str) {
        let (id, whole) = self.newest();
        for arguments in [&["rm", "latest"][..], &["undo"], &["rm", "latest"]] {
            let run = self.chsnap.run(arguments);
            assert_eq!(run.code, 0, "{arguments:?}: {context}\n{}", run.stderr);
            self.check(context);
            let place = if arguments[0] == "undo" { "snapshots" } else { "trash" };
            assert_eq!(tree(&self.chsnap.repo().join(place).join(&id)), whole, "{context}");
        }
        let run = self.chsnap.run(&["gc"]);
        assert_eq!(run.code, 0, "gc: {context}\n{}", run.stderr);
        assert!(tree(&self.chsnap.repo().join("trash")).is_empty(), "{context}");
        self.check(context);
    }

    fn newest(&self) -> (String, Tree) {
        let id = self.ids().pop().expect("a snapshot");
        let whole = tree(&self.chsnap.repo().join("snapshots").join(&id));
        (id, whole)
    }

    /// With room again the next run puts everything right; then there are two snapshots, as in the beginning.
    fn check_that_the_next_run_converges(&self, context: &str) {
        self.disk.free();
        let created = self.chsnap.json(0, &["create"]);
        assert_eq!(created["warnings"].as_array().map(Vec::len), Some(0), "{created}: {context}");
        self.check(context);
        let mut ids = self.ids();
        let newest = ids.pop().expect("the new one");
        if ids.len() > 1 {
            let rest = ["rm"].into_iter().chain(ids[1..].iter().map(String::as_str));
            self.chsnap.json(0, &rest.collect::<Vec<_>>());
        }
        self.chsnap.json(0, &["gc"]);
        assert_eq!(self.ids().len(), 2, "{newest}: {context}");
        assert!(self.shadows().is_empty(), "{context}");
        for dir in ["incoming", "trash"] {
            assert!(tree(&self.chsnap.repo().join(dir)).is_empty(), "{dir}: {context}");
        }
    }

    /// A journal whose next line needs a block of its own.
    fn fill_the_journal(&self) {
        for entry in fs::read_dir(self.chsnap.repo().join("journal")).expect("a directory") {
            let path = entry.expect("an entry").path();
            let length = fs::metadata(&path).expect("its length").len();
            let missing = usize::try_from(length.next_multiple_of(1024) - length).expect("less than a block");
            let mut journal = fs::OpenOptions::new().append(true).open(&path).expect("opened");
            journal.write_all(&vec![b'\n'; missing]).expect("empty lines say nothing");
        }
    }

    fn run_short_of(&self, scarce: Scarce, counts: impl IntoIterator<Item = u64>) {
        let mut codes = Vec::new();
        for count in counts {
            let context = format!("{count} {scarce:?} are left");
            self.leave(scarce, count);
            codes.push(self.create(&context));
            self.check_that_the_next_run_converges(&context);
            self.fill_the_journal();
            self.leave(scarce, count);
            self.remove_and_collect(&context);
            self.check_that_the_next_run_converges(&context);
        }
        assert!(codes.contains(&1) && codes.contains(&0), "from too little to enough: {codes:?}");
    }
}

fn fake() -> World {
    let disk = SmallDisk::new(32, 1024);
    let freezer = Freezer::start(&disk.path().join("ch"));
    freezer.add_part("one", "all_1_1_0");
    World::new(disk, freezer.url(), || {
        freezer.add_part("one", "all_2_2_0");
        freezer.add_part("two", "all_1_1_0");
    })
}

/// A few of these counts by default, all with `CHSNAP_FULL`.
fn counts(few: &'static [u64], all: std::ops::RangeInclusive<u64>) -> Vec<u64> {
    if std::env::var_os("CHSNAP_FULL").is_some() { all.chain([few[few.len() - 1]]).collect() } else { few.to_vec() }
}

#[test]
fn without_blocks_nothing_is_half_and_room_can_be_made() {
    fake().run_short_of(Scarce::Blocks, counts(&[0, 1, 2, 4, 6, 9, 12, 16, 20, 26, 32, 40, 52, 70, 400], 0..=100));
}

#[test]
fn without_inodes_nothing_is_half_and_room_can_be_made() {
    fake().run_short_of(Scarce::Inodes, counts(&[0, 1, 2, 3, 5, 7, 9, 12, 15, 19, 24, 30, 200], 0..=60));
}

#[test]
fn a_real_server_without_blocks_or_without_inodes_leaves_nothing_half() {
    let disk = SmallDisk::new(64, 4096);
    let engine = Engine::start_in(Kind::V18, &disk.path().join("ch"), &Options::default());
    engine.query("CREATE TABLE default.one (k UInt32, v String) ENGINE = MergeTree PARTITION BY k ORDER BY k");
    engine.query("INSERT INTO default.one SELECT number, toString(number) FROM numbers(20)");
    let world = World::new(disk, &engine.url(), || {
        engine.query("CREATE TABLE default.two (k UInt32) ENGINE = MergeTree ORDER BY k");
        engine.query("INSERT INTO default.two SELECT number FROM numbers(20)");
    });
    world.run_short_of(Scarce::Blocks, counts(&[0, 5, 20, 30, 50, 1000], 0..=80));
    world.run_short_of(Scarce::Inodes, counts(&[0, 5, 20, 30, 50, 500], 0..=60));
    drop(engine);
}

/// Data here, and a repository on a small disk: copies that do not fit.
#[test]
fn a_copy_that_does_not_fit_leaves_nothing_half() {
    let disk = SmallDisk::new(32, 1024);
    let folder = tempfile::tempdir().expect("a folder");
    let freezer = Freezer::start(&folder.path().join("ch"));
    freezer.add_part("one", "all_1_1_0");
    let chsnap = Chsnap::new(&disk.path().join("repo")).url(freezer.url());
    chsnap.expect(0, &["init"]);
    chsnap.json(0, &["create"]);
    let older = tree(&chsnap.repo().join("snapshots"));
    freezer.add_part("two", "all_2_2_0");
    let mut codes = Vec::new();
    for count in counts(&[0, 3, 8, 14, 20, 26, 32, 40, 60, 400], 0..=60) {
        let context = format!("{count} blocks are left");
        disk.leave_blocks(count);
        let run = chsnap.run(&["create"]);
        codes.push(run.code);
        disk.free();
        let snapshots = tree(&chsnap.repo().join("snapshots"));
        for (path, node) in &older {
            assert_eq!(snapshots.get(path), Some(node), "{}: {context}", path.display());
        }
        let said = run.stderr.to_lowercase().contains("no space left on device");
        // 13: what is known to have no room is not begun.
        assert!(matches!(run.code, 0 | 3 | 13) || (run.code == 1 && said), "{context}: {}\n{}", run.code, run.stderr);
        let created = chsnap.json(0, &["create"]);
        assert_eq!((&created["warnings"], &created["parts"]), (&Value::Array(Vec::new()), &2.into()), "{context}");
        let data = tree(&chsnap.repo().join("latest/data"));
        let live = tree(&folder.path().join("ch/data"));
        for (path, node) in files(&live) {
            assert_eq!(data[path].content, node.content, "{}: {context}", path.display());
        }
        for dir in ["incoming", "trash"] {
            assert!(tree(&chsnap.repo().join(dir)).is_empty(), "{dir}: {context}");
        }
        // Only the first one stays, so that the second part is new again.
        let ids: Vec<String> = fs::read_dir(chsnap.repo().join("snapshots"))
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        let rest = ids.iter().filter(|id| !older.contains_key(Path::new(id)));
        chsnap.json(0, &["rm"].into_iter().chain(rest.map(String::as_str)).collect::<Vec<_>>());
        chsnap.json(0, &["gc"]);
        assert_eq!(tree(&chsnap.repo().join("snapshots")), older, "{context}");
    }
    assert!(codes.contains(&1) && codes.contains(&0), "{codes:?}");
    // What will certainly not fit, or would leave too little, is not begun.
    chsnap.json(13, &["create", "--dry-run", "--min-free", "1TiB"]);
    let answer = chsnap.json(13, &["create", "--min-free", "1TiB"]);
    assert_eq!(answer["state"], "refused");
    assert!(
        answer["reason"].as_str().is_some_and(|reason| reason.contains("less than the 1 TiB of --min-free")),
        "{answer}"
    );
}

/// Small files take a block each, and an inode.
#[test]
fn a_copy_that_cannot_fit_in_blocks_or_inodes_makes_no_repository() {
    let disk = SmallDisk::new(32, 4096);
    let (_folder, freezer, chsnap) = served_repository();
    for number in 0..200 {
        freezer.add_small_part("one", &format!("all_{number}_{number}_0"));
    }
    let created = chsnap.json(0, &["create"]);
    let (files, bytes) =
        (created["files"].as_u64().expect("files"), created["apparent_bytes"].as_u64().expect("bytes"));
    assert!(bytes / 1024 + 100 < files, "as bytes it fits in {files} blocks");
    let target = disk.path().join("second");
    let to = target.to_str().expect("a path");
    for scarce in [Scarce::Blocks, Scarce::Inodes] {
        match scarce {
            Scarce::Blocks => disk.leave_blocks(files - 10),
            Scarce::Inodes => disk.leave_inodes(files - 10),
        }
        for more in [&[][..], &["--dry-run"]] {
            let refused = chsnap.json(13, &[&["copy", "--new", "--to", to], more].concat());
            assert_eq!(refused["state"], "refused", "{refused}");
            assert!(!target.exists(), "{more:?}");
        }
    }
    disk.free();
    assert_eq!(chsnap.json(0, &["copy", "--new", "--to", to])["copied"], 1);
}

/// Whatever the disk has left, a copy is made or begun in no repository, but for the little that is not known before:
/// directories that grow, and the cache and the journal of the target.
#[test]
fn a_copy_is_made_or_no_repository_whatever_the_disk_has_left() {
    let disk = SmallDisk::new(16, 4096);
    let folder = tempfile::tempdir().expect("a folder");
    let freezer = Freezer::start(&folder.path().join("ch"));
    let parts = 150;
    for number in 0..parts {
        freezer.add_small_part("one", &format!("all_{number}_{number}_0"));
    }
    let chsnap = Chsnap::new(&folder.path().join("repo")).url(freezer.url());
    chsnap.expect(0, &["init"]);
    let created = chsnap.json(0, &["create"]);
    let files = created["files"].as_u64().expect("files");
    let target = disk.path().join("second");
    let to = target.to_str().expect("a path");
    for scarce in [Scarce::Blocks, Scarce::Inodes] {
        // Between what the files alone need and plenty.
        let (mut refused, mut begun, mut made) = (0, Vec::new(), 0);
        for left in (files - 5..files + parts + 120).step_by(10) {
            match scarce {
                Scarce::Blocks => disk.leave_blocks(left),
                Scarce::Inodes => disk.leave_inodes(left),
            }
            let run = chsnap.run(&["copy", "--new", "--to", to]);
            let context = format!("{scarce:?}, {left} left: {}", run.stderr);
            match run.code {
                13 => {
                    assert!(!target.exists(), "{context}");
                    assert!(begun.is_empty() && made == 0, "what fits is not refused: {context}");
                    refused += 1;
                }
                1 => begun.push(left),
                0 | 3 => made += 1,
                code => panic!("{code}: {context}"),
            }
            disk.free();
            if target.exists() {
                fs::remove_dir_all(&target).expect("removed");
            }
        }
        // The files of which each part has some, and a directory for each: all of that is known.
        let known = u64::try_from(refused).expect("a number") * 10;
        assert!(known > parts, "{scarce:?}: refused up to {known} more than the files");
        assert!(made > 0 && begun.len() <= 6, "{scarce:?}: {made} made, begun with {begun:?} left of {files}");
    }
}

/// A night a time, one part in fifty of them new: what the disk has less is what is new.
#[test]
fn nights_on_another_filesystem_take_what_is_new_and_little_more() {
    for tool in ["mkfs.ext4", "mkfs.xfs"] {
        let disk = SmallDisk::plain(tool);
        let folder = tempfile::tempdir().expect("a folder");
        let freezer = Freezer::start(&folder.path().join("ch"));
        let add = |number: u32| {
            freezer.add_part("one", &format!("all_{number}_{number}_0"));
            let path = folder.path().join(format!("ch/data/d/one/all_{number}_{number}_0"));
            // A file of data that no checksums cover: what a part of a real size has.
            let mixed = |at: u32| (at.wrapping_mul(2_654_435_761) ^ number.wrapping_mul(40_503)) >> 13;
            let bytes: Vec<u8> = (0..2 << 20).map(|at| mixed(at).to_le_bytes()[0]).collect();
            fs::write(path.join("columns_substreams.txt"), bytes).expect("written");
            files(&tree(&path)).values().map(|node| node.size.next_multiple_of(4096)).sum::<u64>()
        };
        for number in 0..50 {
            add(number);
        }
        let chsnap = Chsnap::new(&disk.path().join("repo")).url(freezer.url());
        chsnap.expect(0, &["init"]);
        chsnap.json(0, &["create"]);
        for night in 0..4 {
            let before = disk.taken_bytes();
            let new = add(50 + night);
            let created = chsnap.json(0, &["create"]);
            assert_eq!(
                (&created["placed"]["copied"]["parts"], &created["placed"]["linked"]["parts"]),
                (&1.into(), &(50 + night).into())
            );
            let taken = disk.taken_bytes() - before;
            // The directories of a snapshot have a block each; its lists and the caches a few more.
            let overhead = u64::from(50 + night + 40) * 4096;
            assert!(taken >= new && taken <= new + new / 50 + overhead, "{tool}, night {night}: {taken} for {new}");
        }
    }
}

/// Whether the repository's filesystem shares blocks says nothing about a disk on another one.
#[test]
fn copies_that_do_not_fit_are_refused_before_and_by_a_dry_run_whatever_the_filesystem() {
    for tool in ["mkfs.ext4", "mkfs.xfs"] {
        let disk = SmallDisk::plain(tool);
        let folder = tempfile::tempdir().expect("a folder");
        let freezer = Freezer::start(&folder.path().join("ch"));
        freezer.add_part("one", "all_1_1_0");
        let chsnap = Chsnap::new(&disk.path().join("repo")).url(freezer.url());
        chsnap.expect(0, &["init"]);
        chsnap.json(0, &["create"]);
        for number in 2..=400 {
            freezer.add_small_part("one", &format!("all_{number}_{number}_0"));
        }
        chsnap.json(0, &["create", "--dry-run"]);
        // Each part takes a block at the least.
        disk.leave_blocks(200);
        let before = tree(&chsnap.repo().join("snapshots"));
        let said: Vec<Value> = [&["create", "--dry-run"][..], &["create"]]
            .into_iter()
            .map(|command| {
                let refused = chsnap.json(13, command);
                assert!(tree(&chsnap.repo().join("incoming")).is_empty(), "{tool}: {command:?}");
                refused["reason"].clone()
            })
            .collect();
        let words = |reason: &Value| {
            let text = reason.as_str().expect("a reason").to_owned();
            text.split(" free: ").nth(1).expect("a clause").to_owned()
        };
        assert!(said[0].as_str().is_some_and(|text| text.contains("399 parts")), "{tool}: {said:?}");
        assert_eq!(words(&said[0]), words(&said[1]), "{tool}");
        assert_eq!(tree(&chsnap.repo().join("snapshots")), before, "{tool}");
        disk.free();
        chsnap.json(0, &["create"]);
    }
}

/// Between two mounts of one filesystem links are refused (EXDEV), and its extents can be shared all the same.
#[test]
fn between_two_mounts_of_one_xfs_parts_are_reflinked() {
    let disk = SmallDisk::plain("mkfs.xfs");
    let elsewhere = tempfile::tempdir().expect("a folder");
    fs::create_dir(disk.path().join("backup")).expect("a directory");
    let _bound = disk.bind("backup", elsewhere.path());
    // One disk for both engines: whatever a test starts, it starts in the mount namespace of its first engine.
    for kind in Kind::ALL {
        let engine = Engine::start_in(kind, &disk.path().join(format!("{kind:?}")), &Options::default());
        engine.query("CREATE DATABASE lab");
        engine.query("CREATE TABLE lab.big (k UInt64) ENGINE = MergeTree ORDER BY tuple()");
        engine.query("INSERT INTO lab.big SELECT rand64() FROM numbers(1000000)");
        let repository = |name: &str| {
            let chsnap = Chsnap::new(&elsewhere.path().join(format!("{kind:?}_{name}"))).url(&engine.url());
            chsnap.expect(0, &["init"]);
            chsnap
        };
        let taken_by = |chsnap: &Chsnap, place: &str| {
            let before = disk.taken_bytes();
            let created = chsnap.json(0, &["create", "--place", place]);
            (created, disk.taken_bytes() - before)
        };
        let chsnap = repository("reflinks");
        let (created, taken) = taken_by(&chsnap, "auto");
        let bytes = created["apparent_bytes"].as_u64().expect("a number");
        assert!(bytes > 7_000_000, "{kind:?}: {created}");
        assert_eq!(created["placed"]["reflinked"]["bytes"].as_u64(), Some(bytes), "{kind:?}: {created}");
        assert!(taken < bytes / 2, "{kind:?}: {taken} for {bytes}");
        let snapshot = chsnap.repo().join("latest");
        let manifest: Value =
            serde_json::from_slice(&fs::read(snapshot.join("manifest.json")).expect("there")).expect("a document");
        assert_eq!(manifest["placed"], created["placed"], "{kind:?}");
        assert_eq!(chsnap.json(0, &["verify", "--level", "data"])["damage"], Value::Array(Vec::new()), "{kind:?}");
        // Files of its own: what the server does to its files is nothing to them.
        let parts = "SELECT path FROM system.parts WHERE active AND database = 'lab'";
        let live = tree(Path::new(&engine.query(parts)));
        let held = tree(&snapshot.join("data/lab/big"));
        let inodes = |tree: &Tree| -> Vec<u64> { files(tree).values().map(|node| node.inode).collect() };
        assert!(inodes(&live).iter().all(|inode| !inodes(&held).contains(inode)), "{kind:?}");
        // Asked for copies, it makes copies.
        let (created, taken) = taken_by(&repository("copies"), "copy");
        assert_eq!(created["placed"]["reflinked"]["files"], 0, "{kind:?}: {created}");
        assert!(taken >= bytes, "{kind:?}: {taken} for {bytes}");
    }
}

/// A repository on a large disk, and a small disk to copy it to.
struct CopySource {
    disk: SmallDisk,
    freezer: Freezer,
    chsnap: Chsnap,
    _folder: tempfile::TempDir,
}

impl CopySource {
    /// The source, and its only snapshot, which has one part.
    fn new() -> (Self, Value) {
        let disk = SmallDisk::new(8, 2000);
        let (folder, freezer, chsnap) = served_repository();
        freezer.add_part("one", "all_1_1_0");
        let first = chsnap.json(0, &["create"]);
        (Self { disk, freezer, chsnap, _folder: folder }, first)
    }

    /// Makes a second snapshot, with 38 more parts.
    fn grow(&self) {
        for number in 2..40 {
            self.freezer.add_part("one", &format!("all_{number}_{number}_0"));
        }
        self.chsnap.json(0, &["create"]);
    }
}

#[test]
fn a_copy_to_a_full_disk_leaves_no_partial_snapshot_and_older_ones_as_they_are() {
    let (source, _) = CopySource::new();
    let CopySource { disk, chsnap, .. } = &source;
    let second = disk.path().join("second");
    let to = second.to_str().expect("a path");
    chsnap.json(0, &["copy", "--new", "--to", to]);
    let before = tree(&second.join("snapshots"));
    source.grow();
    let mut failed = 0;
    for count in [0, 2, 5, 10, 20, 40, 60, 80, 100, 150, 200] {
        disk.leave_blocks(count);
        let run = chsnap.run(&["copy", "--new", "--to", to]);
        if matches!(run.code, 0 | 3) {
            break;
        }
        failed += 1;
        assert!(matches!(run.code, 1 | 13), "{count} blocks: {}: {}", run.code, run.stderr);
        assert!(run.stderr.contains("No space left") || run.stderr.contains("no room"), "{count}: {}", run.stderr);
        assert_eq!(tree(&second.join("snapshots")), before, "{count} blocks");
    }
    assert!(failed > 2, "the disk was never full");
    disk.free();
    chsnap.json(0, &["copy", "--new", "--to", to]);
    assert_eq!(fs::read_dir(second.join("incoming")).expect("a directory").count(), 0);
    let checked = Chsnap::new(&second).json(0, &["verify", "--level", "data"]);
    assert_eq!((&checked["state"], &checked["checked"]["snapshots"]), (&"sound".into(), &2.into()));
}

#[test]
fn snapshots_copied_before_the_disk_was_full_are_listed_and_the_hint_names_that_repository() {
    let (source, first) = CopySource::new();
    source.grow();
    let CopySource { disk, chsnap, .. } = &source;
    let to = disk.path().join("second");
    let arguments = ["--progress", "none", "copy", "--new", "--to", to.to_str().expect("a path")];
    // The room that the first one takes, and some more: not that of the second.
    let mut met = BTreeMap::new();
    for left in (40..2000).step_by(20) {
        disk.leave_blocks(left);
        let run = chsnap.run(&[&["--json"], &arguments[..]].concat());
        let stands: Vec<String> = Chsnap::new(&to).run(&["list", "--json"]).stdout.lines().map(str::to_owned).collect();
        disk.free();
        let listed = serde_json::from_str::<Value>(&stands.concat()).unwrap_or_default();
        let count = listed["snapshots"].as_array().map_or(0, Vec::len);
        let (text, is_error) = if run.code == 1 { (&run.stderr, true) } else { (&run.stdout, false) };
        let document: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_default();
        if count == 1 && matches!(run.code, 1 | 13) {
            let row = &document["snapshots"][0];
            assert_eq!(
                (&row["id"], &row["state"]),
                (&first["id"], &"copied".into()),
                "{left}: {}{}",
                run.stdout,
                run.stderr
            );
            let hint = document["hint"].as_str().unwrap_or_default();
            assert!(hint.starts_with(&format!("chsnap --repo {} gc", to.display())), "{left}: {document}");
            *met.entry(is_error).or_insert(0) += 1;
        }
        if to.exists() {
            fs::remove_dir_all(&to).expect("removed");
        }
        if matches!(run.code, 0 | 3) {
            break;
        }
    }
    assert!(!met.is_empty(), "the disk was never full between the two");
}
