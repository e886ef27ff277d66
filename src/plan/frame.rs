//! What must stand in a snapshot, down to its parts: the insides of those are told by the parts themselves.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// What stands at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A regular file.
    File,
    /// A directory, whose entries the frame has too.
    Directory,
    /// The directory of a part, whose entries it does not have.
    Part,
}

/// A path that leads out of the snapshot, or is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is no path in a snapshot")]
pub struct OutsidePath {
    path: PathBuf,
}

/// The directories of a snapshot with their entries, those of parts left out.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    directories: BTreeMap<PathBuf, Directory>,
}

#[derive(Clone, Debug, Default)]
struct Directory {
    entries: BTreeMap<String, Place>,
    is_whole: bool,
}

impl Frame {
    /// An empty frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a path in, and the directories on its way. Of two that disagree about a name the first stays.
    ///
    /// # Errors
    /// If the path is empty or absolute, or has `..`, `.` or what is not UTF-8 in it.
    pub fn add(&mut self, path: &Path, place: Place) -> Result<(), OutsidePath> {
        let outside = || OutsidePath { path: path.to_owned() };
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name.to_str().ok_or_else(outside)?),
                _ => return Err(outside()),
            }
        }
        // One spelling only: `a//b`, `a/./b` and `a/` have the same components as another path.
        if names.is_empty() || Path::new(&names.join("/")).as_os_str() != path.as_os_str() {
            return Err(outside());
        }
        let mut above = PathBuf::new();
        for (at, name) in names.iter().enumerate() {
            let here = if at + 1 == names.len() { place } else { Place::Directory };
            self.directories.entry(above.clone()).or_default().entries.entry((*name).to_owned()).or_insert(here);
            above.push(name);
        }
        if place == Place::Directory {
            self.directories.entry(above).or_default();
        }
        Ok(())
    }

    /// Says that a directory has all its entries in the frame: others are too many.
    pub fn close(&mut self, path: &Path) {
        self.directories.entry(path.to_owned()).or_default().is_whole = true;
    }

    /// Says that of every directory.
    pub fn close_all(&mut self) {
        for directory in self.directories.values_mut() {
            directory.is_whole = true;
        }
    }

    /// The entries that a directory must have.
    #[must_use]
    pub fn entries(&self, path: &Path) -> Option<&BTreeMap<String, Place>> {
        self.directories.get(path).map(|directory| &directory.entries)
    }

    /// Whether it must have no others.
    #[must_use]
    pub fn is_whole(&self, path: &Path) -> bool {
        self.directories.get(path).is_some_and(|directory| directory.is_whole)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Frame, Place};

    #[test]
    fn a_path_brings_its_directories() {
        let mut frame = Frame::new();
        frame.add(Path::new("data/d/t/all_1_1_0"), Place::Part).expect("a path");
        frame.add(Path::new("data/d/t/mutation_3.txt"), Place::File).expect("a path");
        frame.add(Path::new("manifest.json"), Place::File).expect("a path");
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
        let mut frame = Frame::new();
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a/..", "./a", "a/./b", "a//b", "a/"] {
            assert!(frame.add(Path::new(path), Place::File).is_err(), "{path:?}");
        }
        assert!(frame.entries(Path::new("")).is_none());
    }

    #[test]
    fn only_a_directory_that_is_known_whole_can_have_too_much() {
        let mut frame = Frame::new();
        frame.add(Path::new("data/d/t"), Place::Directory).expect("a path");
        assert!(!frame.is_whole(Path::new("data/d/t")));
        frame.close(Path::new("data/d/t"));
        assert!(frame.is_whole(Path::new("data/d/t")) && !frame.is_whole(Path::new("data")));
        frame.close_all();
        assert!(frame.is_whole(Path::new("")) && frame.is_whole(Path::new("data")));
    }
}
