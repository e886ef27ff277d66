//! A small filesystem in a file, visible only to the thread that created it and the processes that the thread starts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FallocateFlags, StatVfs, fallocate, statvfs};

/// The mount ends with this value, or at the latest with the process: its namespace ends with it, for whatever reason.
#[derive(Debug)]
pub struct SmallDisk {
    mount: PathBuf,
    filler: PathBuf,
    _folder: tempfile::TempDir,
}

/// How long xfs may take to release the space of unlinked files, which it does in the background.
const LATER: Duration = Duration::from_secs(20);

impl SmallDisk {
    /// Creates an ext4 of this size with blocks of 1 KiB, and this number of inodes.
    #[track_caller]
    pub fn new(mebibytes: u64, inodes: u64) -> Self {
        // No blocks are reserved for root, so that full means full.
        let options = ["-q", "-F", "-m", "0", "-b", "1024", "-N", &inodes.to_string()].map(str::to_owned);
        Self::made_by("mkfs.ext4", &options, mebibytes)
    }

    /// A filesystem of 4 KiB blocks made by `mkfs.ext4` or `mkfs.xfs`.
    #[track_caller]
    pub fn plain(tool: &str) -> Self {
        // The smallest filesystem that a current mkfs.xfs creates has 300 MiB. The file is sparse.
        Self::sized(tool, 400)
    }

    /// The same with the given size in MiB.
    #[track_caller]
    pub fn sized(tool: &str, mebibytes: u64) -> Self {
        let made: &[&str] = if tool == "mkfs.ext4" { &["-q", "-F", "-b", "4096"] } else { &["-q"] };
        Self::made_by(tool, &made.iter().map(|option| (*option).to_owned()).collect::<Vec<_>>(), mebibytes)
    }

    /// An ext4 for this many inodes, where a file of a few bytes has no block: it is stored in its inode.
    #[track_caller]
    pub fn for_tiny_files(inodes: u64) -> Self {
        let options = ["-q", "-F", "-m", "0", "-b", "4096", "-I", "256", "-O", "inline_data", "-E"];
        let mut options: Vec<String> = options.map(str::to_owned).into();
        // Inodes are not written in the background while something is measured.
        options.extend(["lazy_itable_init=0,lazy_journal_init=0".to_owned(), "-N".to_owned(), inodes.to_string()]);
        // 256 bytes for each inode; a directory of 40 files and its checksums have a block each, of each snapshot.
        Self::made_by("mkfs.ext4", &options, ((inodes * 1200) >> 20) + 400)
    }

    #[track_caller]
    fn made_by(tool: &str, options: &[String], mebibytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (image, mount) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir(&mount).expect("a directory");
        File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).expect("an image");
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of its own (are you root?)");
        run(Command::new("mount").args(["--make-rprivate", "/"]));
        run(Command::new(tool).args(options).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount));
        let filler = mount.join("filler");
        Self { mount, filler, _folder: folder }
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Mounts one of its directories, named from its root, at a second place.
    #[track_caller]
    pub fn bind(&self, directory: &str, elsewhere: &Path) -> Bound {
        run(Command::new("mount").arg("--bind").arg(self.mount.join(directory)).arg(elsewhere));
        Bound(elsewhere.to_owned())
    }

    /// Bytes in use, once everything is written and the space of all unlinked files is released.
    pub fn taken_bytes(&self) -> u64 {
        let taken = || {
            run(Command::new("sync").arg("-f").arg(&self.mount));
            let space = self.space();
            (space.f_blocks - space.f_bfree) * space.f_frsize
        };
        let (began, mut last, mut same) = (Instant::now(), taken(), 0);
        while same < 8 && began.elapsed() < LATER {
            std::thread::sleep(Duration::from_millis(100));
            let now = taken();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    pub fn used_inodes(&self) -> u64 {
        let space = self.space();
        space.f_files - space.f_ffree
    }

    fn space(&self) -> StatVfs {
        statvfs(&self.mount).expect("its space")
    }

    /// Fills all blocks of 1 KiB except `count`.
    pub fn leave_blocks(&self, count: u64) {
        self.free();
        let file = File::create(&self.filler).expect("a file");
        // A large file needs further blocks for its block map, so the target is approached in steps.
        for _ in 0..20 {
            let over = self.space().f_bavail.saturating_sub(count);
            let length = file.metadata().expect("its length").len();
            if over == 0 || fallocate(&file, FallocateFlags::empty(), length, over << 10).is_err() {
                break;
            }
        }
        // The last blocks are taken one by one: an attempt to take too many at once takes none.
        while self.space().f_bavail > count {
            let length = file.metadata().expect("its length").len();
            // The last block may be needed for the block map.
            if fallocate(&file, FallocateFlags::empty(), length, 1 << 10).is_err() {
                break;
            }
        }
    }

    /// Uses up all inodes except `count`.
    pub fn leave_inodes(&self, count: u64) {
        self.free();
        fs::create_dir(&self.filler).expect("a directory");
        let taken = self.space().f_favail.saturating_sub(count);
        (0..taken).for_each(|number| drop(File::create(self.filler.join(number.to_string())).expect("an inode")));
    }

    /// Releases what was used up.
    pub fn free(&self) {
        match fs::symlink_metadata(&self.filler) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&self.filler).expect("removed"),
            Ok(_) => fs::remove_file(&self.filler).expect("removed"),
            Err(_) => {}
        }
        run(Command::new("sync").arg("-f").arg(&self.mount));
    }
}

/// A second mount, which lasts as long as this value.
#[derive(Debug)]
pub struct Bound(PathBuf);

impl Drop for Bound {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.mount).status());
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
