//! The state of a live part's directories: see decisions/0043.

use crate::fs::{Dir, ErrorKind, FsError};
use crate::model::{LivePartState, PartName};

use super::inspect_files::PartEntries;
use super::left_out::{belongs_in_a_copy, has_left_out};

/// A live part, listed, with the state of its directories.
pub(super) struct LookedPart {
    /// Its files that belong in a copy.
    pub names: PartEntries,
    /// Whether it has files that a freeze leaves out.
    pub has_left_out: bool,
    state: LivePartState,
}

impl LookedPart {
    /// Lists a part of a table's live directory. `None` if it is gone, has something that no part has, or stands where
    /// directories have no birth times.
    pub(super) fn of(table: &Dir, name: &PartName) -> Result<Option<Self>, FsError> {
        match Self::look(table, name) {
            // The server removes parts at any time.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            result => result,
        }
    }

    fn look(table: &Dir, name: &PartName) -> Result<Option<Self>, FsError> {
        let Some((part, entries)) = table.find_and_list(name.as_str())? else { return Ok(None) };
        let has_left_out = has_left_out(&entries);
        let (names, dirs) = PartEntries::read(&part, entries, belongs_in_a_copy)?;
        if names.has_foreign() {
            return Ok(None);
        }
        let mut directories = Vec::with_capacity(dirs.len());
        for ((path, files), dir) in names.names().into_iter().zip(&dirs) {
            let files = u32::try_from(files.len()).unwrap_or(u32::MAX);
            let Some(state) = dir.state(files)? else { return Ok(None) };
            directories.push((path.into(), state));
        }
        Ok(Some(Self { names, has_left_out, state: LivePartState { directories, links: 0 } }))
    }

    /// Whether its directories have the state that was kept.
    pub(super) fn has_state(&self, kept: &LivePartState) -> bool {
        self.state.directories == kept.directories
    }
}

/// The present state of a part of a table's live directory; see [`LookedPart::of`]. Its number of links is 0.
///
/// # Errors
/// If something is there and cannot be read.
pub fn live_state(table: &Dir, name: &PartName) -> Result<Option<LivePartState>, FsError> {
    Ok(LookedPart::of(table, name)?.map(|looked| looked.state))
}
