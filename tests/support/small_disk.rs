//! A small ext4 in a file, seen by the thread that made it and by what it starts, and by nobody else.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its own share, and exports nothing")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{FallocateFlags, StatVfs, fallocate, statvfs};

/// The mount ends with this value, at the latest with the process: its namespace then goes, however that ends.
#[derive(Debug)]
pub struct SmallDisk {
    mount: PathBuf,
    filler: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmallDisk {
    #[track_caller]
    pub fn new(mebibytes: u64, inodes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (image, mount) = (folder.path().join("image"), folder.path().join("disk"));
        fs::create_dir(&mount).expect("a directory");
        File::create(&image).and_then(|file| file.set_len(mebibytes << 20)).expect("an image");
        unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace of its own (are you root?)");
        run(Command::new("mount").args(["--make-rprivate", "/"]));
        // Nothing is kept back for root, so that full is full.
        let options = ["-q", "-F", "-m", "0", "-b", "1024", "-N", &inodes.to_string()];
        run(Command::new("mkfs.ext4").args(options).arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount));
        let filler = mount.join("filler");
        Self { mount, filler, _folder: folder }
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    fn space(&self) -> StatVfs {
        statvfs(&self.mount).expect("its space")
    }

    /// Takes all blocks of 1 KiB but so many.
    pub fn leave_blocks(&self, count: u64) {
        self.free();
        let file = File::create(&self.filler).expect("a file");
        // A large file needs blocks to find its blocks: so it comes near by steps.
        for _ in 0..20 {
            let over = self.space().f_bavail.saturating_sub(count);
            let length = file.metadata().expect("its length").len();
            if over == 0 || fallocate(&file, FallocateFlags::empty(), length, over << 10).is_err() {
                break;
            }
        }
        // And the last ones singly: an attempt to take too many at once takes none.
        while self.space().f_bavail > count {
            let length = file.metadata().expect("its length").len();
            // The last one may be needed to find the others.
            if fallocate(&file, FallocateFlags::empty(), length, 1 << 10).is_err() {
                break;
            }
        }
    }

    /// Takes all inodes but so many.
    pub fn leave_inodes(&self, count: u64) {
        self.free();
        fs::create_dir(&self.filler).expect("a directory");
        let taken = self.space().f_favail.saturating_sub(count);
        (0..taken).for_each(|number| drop(File::create(self.filler.join(number.to_string())).expect("an inode")));
    }

    /// Gives back what was taken.
    pub fn free(&self) {
        match fs::symlink_metadata(&self.filler) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&self.filler).expect("removed"),
            Ok(_) => fs::remove_file(&self.filler).expect("removed"),
            Err(_) => {}
        }
        run(Command::new("sync").arg("-f").arg(&self.mount));
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
