//! The minimum for examining frozen parts: bare system calls, on one thread for each core.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};

use testkit::bench::threads;

/// Lists every part in the directory of a frozen table, asks for the inode of each file, and reads those that no checksums
/// cover. Nothing is compared, hashed or kept.
pub(crate) fn look(table: &Path) {
    let parts: Vec<PathBuf> =
        fs::read_dir(table).expect("a table").map(|entry| entry.expect("a part").path()).collect();
    threads::for_each(threads::cores(), &parts, |part| look_at(part));
}

fn look_at(part: &Path) {
    let mut bytes = Vec::new();
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let mut listing = Dir::open(part, flags | OFlag::O_DIRECTORY, Mode::empty()).expect("a part");
    let names: Vec<_> = listing.iter().map(|entry| entry.expect("an entry").file_name().to_owned()).collect();
    for name in names.iter().filter(|name| !name.to_bytes().starts_with(b".")) {
        fstatat(&listing, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW).expect("an inode");
        let is_covered = !name.to_bytes().ends_with(b".txt") || name.to_bytes() == b"count.txt";
        if !is_covered {
            let mut file = File::from(openat(&listing, name.as_c_str(), flags, Mode::empty()).expect("a file"));
            bytes.clear();
            file.read_to_end(&mut bytes).expect("its content");
        }
    }
}
