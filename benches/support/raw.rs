//! A tree of many small files, linked and removed by bare system calls: nothing is listed, checked or kept.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};

use testkit::bench::threads;

/// This many directories, with this many files in each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) parts: u32,
    pub(crate) files: u32,
}

impl Shape {
    pub(crate) fn count(self) -> u64 {
        u64::from(self.parts) * u64::from(self.files)
    }

    /// The directories, named as parts are.
    pub(crate) fn names(self) -> impl Iterator<Item = String> {
        (0..self.parts).map(part)
    }

    pub(crate) fn make(self, root: &Path, bytes: &[u8]) -> io::Result<()> {
        for name in self.names() {
            let dir = root.join(name);
            fs::create_dir_all(&dir)?;
            for number in 0..self.files {
                fs::write(dir.join(file(number)), bytes)?;
            }
        }
        Ok(())
    }

    /// Links the tree, each directory by one of `threads`.
    pub(crate) fn link(self, source: &Path, target: &Path, threads: usize) {
        fs::create_dir(target).expect("a new directory");
        let to = File::open(target).expect("a directory");
        let files: Vec<String> = (0..self.files).map(file).collect();
        self.by_directory(threads, |name| {
            mkdirat(&to, name, Mode::S_IRWXU).expect("a new directory");
            let (from, into) = (open_in(source, name), open_in(target, name));
            for file in &files {
                linkat(&from, file.as_str(), &into, file.as_str(), AtFlags::empty()).expect("a new link");
            }
        });
    }

    /// Removes such a tree.
    pub(crate) fn remove(self, target: &Path, threads: usize) {
        let parent = File::open(target).expect("a directory");
        let files: Vec<String> = (0..self.files).map(file).collect();
        self.by_directory(threads, |name| {
            let dir = open_in(target, name);
            for file in &files {
                unlinkat(&dir, file.as_str(), UnlinkatFlags::NoRemoveDir).expect("a file");
            }
            unlinkat(&parent, name, UnlinkatFlags::RemoveDir).expect("an empty directory");
        });
        fs::remove_dir(target).expect("an empty directory");
    }

    /// Every file of `target` is the one of `source`, where it is looked: in the first, the middle and the last.
    pub(crate) fn check_links(self, source: &Path, target: &Path) {
        let count = fs::read_dir(target).expect("a directory").count();
        assert_eq!(count, self.parts as usize, "{}", target.display());
        for number in [0, self.parts / 2, self.parts - 1] {
            for file in (0..self.files).map(file) {
                let inode = |root: &Path| fs::metadata(root.join(part(number)).join(&file)).expect("a file").ino();
                assert_eq!(inode(source), inode(target), "{} in {}", part(number), target.display());
            }
        }
    }

    fn by_directory(self, threads: usize, work: impl Fn(&str) + Sync) {
        let names: Vec<String> = self.names().collect();
        threads::for_each(threads, &names, |name| work(name));
    }
}

fn open_in(root: &Path, name: &str) -> File {
    File::open(root.join(name)).expect("a directory")
}

fn part(number: u32) -> String {
    format!("{number}_1_1_0")
}

fn file(number: u32) -> String {
    format!("column_{number:03}.bin")
}
