//! A read-only walk over a whole tree, for reports.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jwalk::{Parallelism, WalkDirGeneric};

/// What stands in a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Entries that are not directories.
    pub files: u64,
    /// Directories, the tree's own among them.
    pub directories: u64,
    /// Allocated bytes of distinct inodes.
    pub allocated_bytes: u64,
    /// The most links that one of its files has.
    pub most_links: u64,
    /// Entries that could not be read: the figures above lack what is in them.
    pub unreadable: u64,
    /// What was said of the first of those.
    pub first_error: Option<String>,
}

/// Walks the tree at `path` on so many threads of its own. Symbolic links are entries and not followed.
///
/// Entries that go away meanwhile are passed over.
#[must_use]
pub fn scan(path: &Path, threads: usize) -> Scan {
    type Found = Option<Result<Metadata, jwalk::Error>>;
    let walk = WalkDirGeneric::<((), Found)>::new(path)
        .skip_hidden(false)
        .follow_links(false)
        .parallelism(Parallelism::RayonNewPool(threads.max(1)))
        .process_read_dir(|_, _, (), children| {
            for child in children.iter_mut().flatten() {
                child.client_state = Some(child.metadata());
            }
        });
    let mut scan = Scan::default();
    let mut seen = HashSet::new();
    for entry in walk {
        let metadata = entry.and_then(|mut entry| {
            // The tree's own entry is not the child of a directory that was read.
            entry.client_state.take().unwrap_or_else(|| entry.metadata())
        });
        match metadata {
            Ok(metadata) => {
                let is_directory = metadata.is_dir();
                *(if is_directory { &mut scan.directories } else { &mut scan.files }) += 1;
                if !is_directory {
                    scan.most_links = scan.most_links.max(metadata.nlink());
                }
                if is_directory || metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
                    scan.allocated_bytes += metadata.blocks() * 512;
                }
            }
            Err(error) if error.io_error().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound) => {}
            Err(error) => {
                scan.unreadable += 1;
                scan.first_error.get_or_insert_with(|| error.to_string());
            }
        }
    }
    scan
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::scan;

    #[test]
    fn every_inode_counts_once_and_every_entry_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("root");
        fs::create_dir_all(root.join(".hidden/deep")).expect("directories");
        fs::write(root.join(".hidden/deep/file"), vec![1; 10_000]).expect("a file");
        fs::hard_link(root.join(".hidden/deep/file"), root.join("again")).expect("a link");
        std::os::unix::fs::symlink("/", root.join("out")).expect("a symbolic link");
        let found = scan(&root, 2);
        assert_eq!((found.files, found.directories, found.most_links, found.unreadable), (3, 3, 2, 0));
        let one = {
            fs::remove_file(root.join("again")).expect("removed");
            scan(&root, 1)
        };
        assert_eq!((one.files, one.allocated_bytes), (2, found.allocated_bytes));
        assert_eq!(scan(&root.join("missing"), 1), super::Scan::default());
    }
}
