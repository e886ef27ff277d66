//! The names of objects in a remote repository.

use std::fmt;
use std::str::FromStr;

use crate::model::{ContentHash, RepositoryId, SnapshotId};

pub(super) const MARKER: &str = "chsnap-remote.json";
pub(super) const OBJECTS: &str = "objects/";
pub(super) const SNAPSHOTS: &str = "snapshots/";
pub(super) const GARBAGE: &str = "gc/";
pub(super) const TEMPORARY: &str = "tmp/";

const SUFFIX: &str = ".json.zst";
const REPOSITORY_DIGITS: usize = 8;

/// The name of a snapshot in a remote repository: its id, and the first digits of the id of the repository in which it
/// was made. Reads and prints as `<id>.<8 hex>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteName {
    /// The first digits of the id of its repository.
    pub repository: String,
    /// Its id there.
    pub id: SnapshotId,
}

/// A text is not the name of a remote snapshot.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no name of a remote snapshot")]
pub struct InvalidRemoteName {
    text: String,
}

impl RemoteName {
    /// The name of a snapshot that was made in `repository`.
    #[must_use]
    pub fn new(id: SnapshotId, repository: &RepositoryId) -> Self {
        Self { repository: repository.short().to_owned(), id }
    }

    pub(super) fn object(&self) -> String {
        format!("{SNAPSHOTS}{self}{SUFFIX}")
    }

    pub(super) fn of_object(name: &str) -> Option<Self> {
        name.strip_prefix(SNAPSHOTS)?.strip_suffix(SUFFIX)?.parse().ok()
    }
}

impl fmt::Display for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.repository)
    }
}

impl FromStr for RemoteName {
    type Err = InvalidRemoteName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRemoteName { text: text.chars().take(100).collect() };
        let (id, repository) = text.split_once('.').ok_or_else(invalid)?;
        let is_hex = repository.len() == REPOSITORY_DIGITS
            && repository.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = id.parse().ok().filter(|_| is_hex).ok_or_else(invalid)?;
        Ok(Self { repository: repository.to_owned(), id })
    }
}

/// The name of an object.
pub(super) fn object_name(key: &ContentHash) -> String {
    let digits = key.to_string();
    format!("{OBJECTS}{}/{digits}", digits.get(..2).unwrap_or_default())
}

/// The key of an object; `None` if the name is not one of an object.
pub(super) fn key_of(name: &str) -> Option<ContentHash> {
    let (folder, digits) = name.strip_prefix(OBJECTS)?.split_once('/')?;
    digits.parse().ok().filter(|_| digits.starts_with(folder) && folder.len() == 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_they_are_printed_and_nothing_else_does() {
        let name = "2026-11-22T020000Z-2.0123abcd";
        let read: RemoteName = name.parse().expect("a name");
        assert_eq!(read.to_string(), name);
        assert_eq!(RemoteName::of_object(&read.object()), Some(read));
        for other in ["", "2026-11-22T020000Z", "2026-11-22T020000Z.0123ABCD", "2026-11-22T020000Z.012", "x.0123abcd"] {
            assert!(other.parse::<RemoteName>().is_err(), "{other}");
        }
    }

    #[test]
    fn an_object_has_its_key_back_and_other_names_have_none() {
        let key = ContentHash::from(blake3::hash(b"x"));
        assert_eq!(key_of(&object_name(&key)), Some(key));
        for other in ["objects/", "objects/00/", "objects/zz/00", "objects/../00", "snapshots/x"] {
            assert_eq!(key_of(other), None, "{other}");
        }
    }
}
