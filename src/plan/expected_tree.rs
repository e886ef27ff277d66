//! The entries that must exist in a snapshot, down to its parts, whose contents are described by the parts themselves.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedEntry {
    /// A regular file.
    File,
    /// A directory, whose entries the tree contains too.
    Directory,
    /// The directory of a part, whose entries the tree does not contain.
    Part,
}

/// A path that leads out of the snapshot, or is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no path in a snapshot")]
pub struct OutsidePath {
    path: PathBuf,
}

/// The directories of a snapshot with their entries, except for those inside parts.
#[derive(Clone, Debug, Default)]
pub struct ExpectedTree {
    directories: BTreeMap<PathBuf, ExpectedDirectory>,
}

#[derive(Clone, Debug, Default)]
struct ExpectedDirectory {
    entries: BTreeMap<String, ExpectedEntry>,
    is_whole: bool,
}

impl ExpectedTree {
    /// An empty tree.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a path, and the directories that lead to it. If two disagree about a name, the first one stays.
    ///
    /// # Errors
    /// If the path is empty or absolute, contains `..` or `.`, or is not UTF-8.
    pub fn add(&mut self, path: &Path, place: ExpectedEntry) -> Result<(), OutsidePath> {
        let outside = || OutsidePath { path: path.to_owned() };
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.to_str().ok_or_else(outside)?),
                _ => return Err(outside()),
            }
        }
        // Only one spelling is accepted: `a//b`, `a/./b` and `a/` have the same components as another path.
        if names.is_empty() || Path::new(&names.join("/")).as_os_str() != path.as_os_str() {
            return Err(outside());
        }
        let mut above = PathBuf::new();
        for (at, name) in names.iter().enumerate() {
            let here = if at + 1 == names.len() { place } else { ExpectedEntry::Directory };
            self.directories.entry(above.clone()).or_default().entries.entry((*name).to_owned()).or_insert(here);
            above.push(name);
        }
        if place == ExpectedEntry::Directory {
            self.directories.entry(above).or_default();
        }
        Ok(())
    }

    /// Marks a directory as completely described: any other entry in it is unexpected.
    pub fn close(&mut self, path: &Path) {
        self.directories.entry(path.to_owned()).or_default().is_whole = true;
    }

    /// Marks every directory as completely described.
    pub fn close_all(&mut self) {
        for directory in self.directories.values_mut() {
            directory.is_whole = true;
        }
    }

    /// The entries that a directory must have.
    #[must_use]
    pub fn entries(&self, path: &Path) -> Option<&BTreeMap<String, ExpectedEntry>> {
        self.directories.get(path).map(|directory| &directory.entries)
    }

    /// Whether it must have no other entries.
    #[must_use]
    pub fn is_whole(&self, path: &Path) -> bool {
        self.directories.get(path).is_some_and(|directory| directory.is_whole)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ExpectedEntry, ExpectedTree};

    #[test]
    fn a_path_brings_its_directories() {
        let mut frame = ExpectedTree::new();
        frame.add(Path::new("data/d/t/all_1_1_0"), ExpectedEntry::Part).expect("a path");
        frame.add(Path::new("data/d/t/mutation_3.txt"), ExpectedEntry::File).expect("a path");
        frame.add(Path::new("manifest.json"), ExpectedEntry::File).expect("a path");
        let names = |path: &str| {
            let entries = frame.entries(Path::new(path)).expect("a directory of the frame");
            entries.iter().map(|(name, place)| format!("{name} {place:?}")).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["data Directory", "manifest.json File"]);
        assert_eq!(names("data/d"), ["t Directory"]);
        assert_eq!(names("data/d/t"), ["all_1_1_0 Part", "mutation_3.txt File"]);
        assert!(frame.entries(Path::new("data/d/t/all_1_1_0")).is_none());
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        let mut frame = ExpectedTree::new();
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a/..", "./a", "a/./b", "a//b", "a/"] {
            assert!(frame.add(Path::new(path), ExpectedEntry::File).is_err(), "{path:?}");
        }
        assert!(frame.entries(Path::new("")).is_none());
    }

    #[test]
    fn only_a_completely_known_directory_can_have_extra_files() {
        let mut frame = ExpectedTree::new();
        frame.add(Path::new("data/d/t"), ExpectedEntry::Directory).expect("a path");
        assert!(!frame.is_whole(Path::new("data/d/t")));
        frame.close(Path::new("data/d/t"));
        assert!(frame.is_whole(Path::new("data/d/t")) && !frame.is_whole(Path::new("data")));
        frame.close_all();
        assert!(frame.is_whole(Path::new("")) && frame.is_whole(Path::new("data")));
    }
}
