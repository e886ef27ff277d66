//! Refuses files that influence decisions if another user may write them.

use std::path::Path;

use chsnap::fs;

use super::failure::CommandFailure;

/// Refuses a file that a user other than root and the caller may write or replace. If it cannot be examined, the error
/// of reading it is reported later.
pub(super) fn check(what: &str, path: &Path) -> Result<(), CommandFailure> {
    let Ok(Some(other)) = fs::other_writer(path) else { return Ok(()) };
    let message = format!("{what} {} is not read: someone else may change it ({other})", path.display());
    Err(CommandFailure::usage(message).with_hint(format!("{} lets only root and you write it", other.remedy())))
}
