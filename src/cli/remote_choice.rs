//! What the commands about object stores share: whose snapshots are meant, and the command that frees space.

use chsnap::ops::remote::RepositoryChoice;
use chsnap::repo::Repository;

use super::globals::Globals;
use super::opening;
use super::render;
use super::words::shell;

/// A remote repository needs no local one; if there is one, its own snapshots are looked up first.
pub(super) fn which(given: Option<&String>, globals: &Globals) -> RepositoryChoice {
    let own = globals.repo.as_ref().filter(|path| !path.as_os_str().is_empty());
    let own =
        own.and_then(|_| opening::open(globals).ok()).as_ref().map(Repository::id).map(|id| id.short().to_owned());
    RepositoryChoice::default().with_given(given.cloned()).with_own(own)
}

/// The command that frees the space of removed snapshots.
pub(super) fn gc_hint(address: &str) -> String {
    format!("chsnap remote gc {} frees the space", shell(&render::safe(address, 400)))
}
