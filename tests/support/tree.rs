//! Directory trees as values, with the identity of every inode.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The properties of an inode that a test compares. ctime and link count are left out: any link changes those.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub inode: u64,
    pub is_dir: bool,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub modified: (i64, i64),
    pub content: blake3::Hash,
}

/// Relative path to inode.
pub type Tree = BTreeMap<PathBuf, Node>;

/// Reads a whole tree; symbolic links are not followed.
pub fn tree(root: &Path) -> Tree {
    read(root, |path| fs::read(path).unwrap_or_default())
}

/// The same without the content of the files: each appears empty.
pub fn unread_tree(root: &Path) -> Tree {
    read(root, |_| Vec::new())
}

fn read(root: &Path, content: impl Fn(&Path) -> Vec<u8>) -> Tree {
    let mut found = Tree::new();
    if root.exists() {
        walk(root, Path::new(""), &content, &mut found);
    }
    found
}

fn walk(root: &Path, relative: &Path, content: &dyn Fn(&Path) -> Vec<u8>, found: &mut Tree) {
    for entry in fs::read_dir(root.join(relative)).expect("the directory can be read") {
        let entry = entry.expect("the entry can be read");
        let path = relative.join(entry.file_name());
        let whole = root.join(&path);
        // A running server removes files while they are read.
        let Ok(metadata) = fs::symlink_metadata(&whole) else { continue };
        let bytes = if metadata.is_file() { content(&whole) } else { Vec::new() };
        found.insert(
            path.clone(),
            Node {
                inode: metadata.ino(),
                is_dir: metadata.is_dir(),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
                size: if metadata.is_dir() { 0 } else { metadata.size() },
                modified: if metadata.is_dir() { (0, 0) } else { (metadata.mtime(), metadata.mtime_nsec()) },
                content: blake3::hash(&bytes),
            },
        );
        if metadata.is_dir() {
            walk(root, &path, content, found);
        }
    }
}

/// The files of a tree, without its directories.
pub fn files(tree: &Tree) -> BTreeMap<&Path, &Node> {
    tree.iter().filter(|(_, node)| !node.is_dir).map(|(path, node)| (path.as_path(), node)).collect()
}

/// The same tree after it was made again at `root`, where its directories have other inodes.
#[must_use]
pub fn regrown(tree: &Tree, root: &Path) -> Tree {
    let mut tree = tree.clone();
    for (path, node) in tree.iter_mut().filter(|(_, node)| node.is_dir) {
        node.inode = fs::symlink_metadata(root.join(path)).map_or(0, |metadata| metadata.ino());
    }
    tree
}
