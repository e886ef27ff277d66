//! The shared code of the commands about object stores: the repository that is meant, and the command that frees space.

use chsnap::ops::remote::RepositoryChoice;
use chsnap::repo::Repository;

use super::failure::CommandFailure;
use super::globals::Globals;
use super::opening;
use super::render;
use super::words::shell;

/// The local repository; `None` if none is named. One that is named and cannot be opened is an error: without its id and
/// its pins, a command that removes would take other snapshots than it should.
pub(super) fn local(globals: &Globals) -> Result<Option<Repository>, CommandFailure> {
    if globals.repo.as_ref().is_none_or(|path| path.as_os_str().is_empty()) {
        return Ok(None);
    }
    opening::open(globals).map(Some)
}

/// A remote repository needs no local one; if there is one, its own snapshots are looked up first.
pub(super) fn which(given: Option<&String>, globals: &Globals) -> Result<RepositoryChoice, CommandFailure> {
    let choice = RepositoryChoice::default().with_given(given.cloned());
    if given.is_some() {
        return Ok(choice);
    }
    Ok(choice.with_own(local(globals)?.map(|repository| repository.id().short().to_owned())))
}

/// The command that frees the space of removed snapshots.
pub(super) fn gc_hint(address: &str) -> String {
    format!("chsnap remote gc {} frees the space", shell(&render::safe(address, 400)))
}
