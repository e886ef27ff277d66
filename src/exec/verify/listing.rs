//! Lists the files of one part in one snapshot, and the entries that cannot be listed.

use std::collections::BTreeMap;

use crate::fs::{Dir, Entry, EntryKind, ErrorKind, FsError, Stat};
use crate::model::DamageKind;

use super::unread::{UnreadPaths, reason};

/// One file of a part.
#[derive(Clone, Debug)]
pub(super) struct ListedFile {
    /// Its name.
    pub name: String,
    /// Its inode.
    pub stat: Stat,
}

/// A directory of a part: the part itself, or one in it.
#[derive(Debug)]
pub(super) struct ListedDirectory {
    pub dir: Dir,
    pub files: Vec<ListedFile>,
}

/// Everything in a part's directory. Bytes in names that are not UTF-8 are replaced.
#[derive(Debug, Default)]
pub(super) struct PartListing {
    /// The part itself is the empty name.
    pub directories: BTreeMap<String, ListedDirectory>,
    /// Entries that are neither a file nor an expected directory: path and kind.
    pub others: Vec<(String, EntryKind)>,
    /// The entries that could not be read: path, kind of damage, reason.
    pub troubles: Vec<(String, DamageKind, String)>,
}

pub(super) fn joined(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

impl PartListing {
    /// Lists a part that was opened and read already.
    pub(super) fn of(part: &Dir, entries: Vec<Entry>, unread: &UnreadPaths) -> Self {
        let mut listing = Self::default();
        let below = listing.add(part.clone(), entries, "", unread);
        for name in below {
            match part.open_and_list(&name) {
                Ok((dir, entries)) => {
                    let deeper = listing.add(dir, entries, &name, unread);
                    // Parts have nothing deeper than the files of a projection.
                    listing.others.extend(deeper.into_iter().map(|deep| (joined(&name, &deep), EntryKind::Directory)));
                }
                Err(error) => listing.trouble(&name, &error, unread),
            }
        }
        listing
    }

    fn trouble(&mut self, path: &str, error: &FsError, unread: &UnreadPaths) {
        if unread.takes(error) {
            return;
        }
        let kind = if error.kind() == ErrorKind::NotFound { DamageKind::Missing } else { DamageKind::Unreadable };
        self.troubles.push((path.to_owned(), kind, reason(error)));
    }

    /// Adds one directory; returns the names of its subdirectories.
    fn add(&mut self, dir: Dir, mut entries: Vec<Entry>, path: &str, unread: &UnreadPaths) -> Vec<String> {
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let (mut files, mut directories) = (Vec::with_capacity(entries.len()), Vec::new());
        for entry in entries {
            let name = match entry.name.into_string() {
                Ok(name) => name,
                Err(name) => {
                    self.others.push((joined(path, &name.to_string_lossy()), entry.kind));
                    continue;
                }
            };
            match entry.kind {
                EntryKind::File => match dir.stat(&name) {
                    Ok(stat) => files.push(ListedFile { name, stat }),
                    Err(error) => self.trouble(&joined(path, &name), &error, unread),
                },
                EntryKind::Directory => directories.push(name),
                kind => self.others.push((joined(path, &name), kind)),
            }
        }
        self.directories.insert(path.to_owned(), ListedDirectory { dir, files });
        directories
    }

    /// All files, with the directory that each is in.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &Dir, &ListedFile)> {
        self.directories
            .iter()
            .flat_map(|(path, level)| level.files.iter().map(move |file| (path.as_str(), &level.dir, file)))
    }

    /// The file at a path.
    pub(super) fn find(&self, directory: &str, name: &str) -> Option<(&Dir, &ListedFile)> {
        let level = self.directories.get(directory)?;
        let at = level.files.binary_search_by(|file| file.name.as_str().cmp(name)).ok()?;
        Some((&level.dir, level.files.get(at)?))
    }
}
