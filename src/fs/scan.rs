//! A read-only walk over a whole tree, for reports.

use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jwalk::{Parallelism, WalkDirGeneric};

/// The totals of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeScan {
    /// Entries that are not directories.
    pub files: u64,
    /// Directories, including the root of the tree.
    pub directories: u64,
    /// Allocated bytes of distinct inodes.
    pub allocated_bytes: u64,
    /// The most links of any of its files.
    pub most_links: u64,
    /// Entries that could not be read: the figures above do not include them.
    pub unreadable: u64,
    /// The error of the first of those.
    pub first_error: Option<String>,
}

/// One entry of a tree; its root is one, too.
#[derive(Clone, Copy, Debug)]
pub struct ScannedEntry<'a> {
    /// The directory that it is in.
    pub parent: &'a Path,
    /// How many directories it is below the tree; 0 for the tree itself.
    pub depth: usize,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Device number.
    pub device: u64,
    /// Inode number.
    pub inode: u64,
    /// Links.
    pub links: u64,
    /// Blocks of 512 bytes that the inode takes.
    pub blocks: u64,
}

/// Entries that a walk could not read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    /// Entries that could not be read.
    pub entries: u64,
    /// The error of the first of them.
    pub first_error: Option<String>,
}

/// Walks the tree at `path` on `threads` threads of its own, and passes every entry to `on` in the calling thread.
/// Symbolic links are entries and are not followed.
///
/// Entries that vanish meanwhile are skipped.
pub fn walk(path: &Path, threads: usize, on: &mut dyn FnMut(ScannedEntry<'_>)) -> Unread {
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
    let mut unread = Unread::default();
    for entry in walk {
        let found = entry.and_then(|mut entry| {
            // The root of the tree does not come from a directory that was read.
            let metadata = entry.client_state.take().unwrap_or_else(|| entry.metadata())?;
            Ok((entry, metadata))
        });
        match found {
            Ok((entry, metadata)) => {
                on(ScannedEntry {
                    parent: entry.parent_path(),
                    depth: entry.depth(),
                    is_directory: metadata.is_dir(),
                    device: metadata.dev(),
                    inode: metadata.ino(),
                    links: metadata.nlink(),
                    blocks: metadata.blocks(),
                });
                // A directory that could not be listed is an entry with an error of its own.
                if let Some(error) = &entry.read_children_error {
                    unread.note(error);
                }
            }
            Err(error) => unread.note(&error),
        }
    }
    unread
}

impl Unread {
    fn note(&mut self, error: &jwalk::Error) {
        if error.io_error().is_none_or(|error| error.kind() != std::io::ErrorKind::NotFound) {
            self.entries += 1;
            self.first_error.get_or_insert_with(|| error.to_string());
        }
    }
}

/// Sums up the tree at `path`; see [`walk`].
#[must_use]
pub fn scan(path: &Path, threads: usize) -> TreeScan {
    let mut scan = TreeScan::default();
    let mut seen = HashSet::new();
    let unread = walk(path, threads, &mut |met| {
        *(if met.is_directory { &mut scan.directories } else { &mut scan.files }) += 1;
        if !met.is_directory {
            scan.most_links = scan.most_links.max(met.links);
        }
        if met.is_directory || met.links == 1 || seen.insert((met.device, met.inode)) {
            scan.allocated_bytes += met.blocks * 512;
        }
    });
    TreeScan { unreadable: unread.entries, first_error: unread.first_error, ..scan }
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
        assert_eq!(scan(&root.join("missing"), 1), super::TreeScan::default());
    }
}
