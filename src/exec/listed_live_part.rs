//! A live part as its directories list it: the names that are compared and linked, and the state of decisions/0043.

use crate::fs::{Dir, DirectoryListing, Entry, ErrorKind, FsError};
use crate::model::{DirectoryState, LivePartState, PartName};

use super::inspect_files::PartEntries;
use super::left_out::{belongs_in_a_copy, has_left_out};
use super::live::LeftOutFiles;

/// A live part whose directories were each listed once.
#[derive(Debug)]
pub struct ListedLivePart {
    /// Its files that belong in a copy.
    pub(super) names: PartEntries,
    /// Its directories, itself first, in the order of the names.
    pub(super) dirs: Vec<Dir>,
    has_left_out: bool,
    /// The state of its directories before they were listed, if it was requested and can be known.
    state: Option<LivePartState>,
}

impl ListedLivePart {
    /// Lists a part of a table's live directory. `None` if it is gone.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn list(table: &Dir, name: &PartName) -> Result<Option<Self>, FsError> {
        if_there(Self::read(table, name, Dir::open_and_list_plainly))
    }

    /// Works as [`ListedLivePart::list`], and requests the state of each directory before it is listed: a change in between is
    /// then no part of the state. Without birth times, or with an entry that no part has, there is no state.
    ///
    /// # Errors
    /// As [`ListedLivePart::list`].
    pub fn list_with_state(table: &Dir, name: &PartName) -> Result<Option<Self>, FsError> {
        if_there(Self::read(table, name, Dir::open_and_list_with_state))
    }

    fn read(table: &Dir, name: &PartName, open: OpenDirectory) -> Result<Self, FsError> {
        let mut states = Vec::new();
        let mut open = |parent: &Dir, name: &str| -> Result<(Dir, Vec<Entry>), FsError> {
            let DirectoryListing { dir, state, entries } = open(parent, name)?;
            states.push(state);
            Ok((dir, entries))
        };
        let (part, entries) = open(table, name.as_str())?;
        let has_left_out = has_left_out(&entries);
        let (names, dirs) = PartEntries::read_with(&part, entries, belongs_in_a_copy, open)?;
        let states: Option<Vec<DirectoryState>> = states.into_iter().collect();
        let directories = states.filter(|_| !names.has_foreign()).map(|states| {
            let names = names.names();
            let with_files = |(state, (path, files)): (DirectoryState, &(&str, Vec<_>))| {
                ((*path).into(), DirectoryState { files: u32::try_from(files.len()).unwrap_or(u32::MAX), ..state })
            };
            states.into_iter().zip(&names).map(with_files).collect()
        });
        let state = directories.map(|directories| LivePartState { directories, links: 0 });
        Ok(Self { names, dirs, has_left_out, state })
    }

    /// Whether its directories have the state that was kept.
    pub(super) fn has_state(&self, kept: &LivePartState) -> bool {
        self.state.as_ref().is_some_and(|state| state.directories == kept.directories)
    }

    pub(super) fn left_out(&self) -> LeftOutFiles {
        if self.has_left_out { LeftOutFiles::Taken } else { LeftOutFiles::None }
    }

    /// The state that its directories have had since before they were listed; `None` if one of them has changed, or the
    /// state is not known.
    ///
    /// # Errors
    /// If a directory does not answer.
    pub fn lasting_state(&self) -> Result<Option<LivePartState>, FsError> {
        let Some(state) = &self.state else { return Ok(None) };
        for (dir, (_, before)) in self.dirs.iter().zip(&state.directories) {
            if dir.state()?.map(|now| DirectoryState { files: before.files, ..now }) != Some(*before) {
                return Ok(None);
            }
        }
        Ok(Some(state.clone()))
    }
}

type OpenDirectory = fn(&Dir, &str) -> Result<DirectoryListing, FsError>;

/// The server removes parts at any time.
fn if_there(listed: Result<ListedLivePart, FsError>) -> Result<Option<ListedLivePart>, FsError> {
    match listed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
