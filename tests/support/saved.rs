//! A directory tree that is put back after each of many attempts to change it.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::tree::unread_tree;

/// A tree as it was when it was saved. Its files get back their inodes too, because each has a hard link outside the
/// tree; a directory keeps its own if the attempt did not remove it.
#[derive(Debug)]
pub struct SavedTree {
    root: PathBuf,
    links: tempfile::TempDir,
    entries: BTreeMap<PathBuf, Saved>,
}

#[derive(Debug)]
struct Saved {
    inode: u64,
    mode: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Directory,
    Symlink(PathBuf),
    File { link: PathBuf, bytes: Vec<u8>, modified: SystemTime },
}

impl SavedTree {
    /// Saves the tree at `root`, which nothing changes meanwhile.
    pub fn of(root: &Path) -> Self {
        let links = tempfile::tempdir_in(root.parent().expect("a folder in a folder")).expect("a folder");
        let mut entries = BTreeMap::new();
        for (number, path) in unread_tree(root).into_keys().enumerate() {
            let whole = root.join(&path);
            let metadata = fs::symlink_metadata(&whole).expect("the tree does not change");
            let kind = if metadata.is_dir() {
                Kind::Directory
            } else if metadata.is_symlink() {
                Kind::Symlink(fs::read_link(&whole).expect("a link"))
            } else {
                let link = links.path().join(number.to_string());
                fs::hard_link(&whole, &link).expect("linked");
                let modified = metadata.modified().expect("a time");
                Kind::File { link, bytes: fs::read(&whole).expect("readable"), modified }
            };
            entries.insert(path, Saved { inode: metadata.ino(), mode: metadata.mode() & 0o7777, kind });
        }
        Self { root: root.to_owned(), links, entries }
    }

    /// Removes what was added since, and puts back what was removed or changed.
    pub fn put_back(&self) {
        assert!(self.links.path().is_dir());
        // What is in a directory comes after it.
        for path in unread_tree(&self.root).keys().rev() {
            let whole = self.root.join(path);
            let metadata = fs::symlink_metadata(&whole).expect("the tree does not change");
            if !self.entries.get(path).is_some_and(|saved| saved.is_still(&metadata)) {
                remove(&whole, &metadata);
            }
        }
        for (path, saved) in &self.entries {
            saved.put_back(&self.root.join(path));
        }
    }
}

impl Saved {
    /// Whether the entry need not be removed: any directory will do, and only the saved file.
    fn is_still(&self, now: &Metadata) -> bool {
        match self.kind {
            Kind::Directory => now.is_dir(),
            Kind::Symlink(_) | Kind::File { .. } => now.ino() == self.inode,
        }
    }

    fn put_back(&self, path: &Path) {
        let is_there = fs::symlink_metadata(path).is_ok();
        match &self.kind {
            Kind::Directory if !is_there => fs::create_dir(path).expect("made"),
            Kind::Symlink(target) if !is_there => symlink(target, path).expect("made"),
            Kind::File { link, .. } if !is_there => fs::hard_link(link, path).expect("linked"),
            _ => {}
        }
        if let Kind::File { bytes, modified, .. } = &self.kind {
            if fs::read(path).expect("readable") != *bytes {
                fs::write(path, bytes).expect("written");
            }
            if fs::symlink_metadata(path).expect("a file").modified().expect("a time") != *modified {
                File::options().write(true).open(path).expect("opened").set_modified(*modified).expect("set");
            }
        }
        let mode = fs::symlink_metadata(path).expect("it is there").mode() & 0o7777;
        if mode != self.mode && !matches!(self.kind, Kind::Symlink(_)) {
            fs::set_permissions(path, Permissions::from_mode(self.mode)).expect("set");
        }
    }
}

fn remove(path: &Path, metadata: &Metadata) {
    if metadata.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }.expect("removed");
}
