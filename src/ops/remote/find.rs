//! Finds the remote snapshot that a reference means.

use std::str::FromStr;

use crate::ops::error::OpError;
use crate::plan::{KnownSnapshot, ReferenceError, SnapshotReference};
use crate::remote::{RemoteError, RemoteName, RemoteRepository};

use super::list::reading;
use super::push::PARALLEL;
use super::series::{RemoteMember, judge_series};

/// A SNAPSHOT argument for a remote snapshot: `<id>.<repository>`, or a reference as used elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteReference {
    /// Its whole name.
    Name(RemoteName),
    /// A reference among the snapshots of one repository.
    Reference(SnapshotReference),
}

impl FromStr for RemoteReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(name) => Ok(Self::Name(name)),
            Err(_) => text.parse().map(Self::Reference),
        }
    }
}

/// The repository that a remote reference is resolved in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepositoryChoice {
    /// The beginning of a repository id, as given by a person.
    pub given: Option<String>,
    /// The first digits of the local repository's id.
    pub own: Option<String>,
}

crate::model::setters! { RepositoryChoice {
    with_given => given: Option<String>,
    with_own => own: Option<String>,
} }

impl RepositoryChoice {
    /// The snapshots of the chosen repository: the given one, else our own if it has any snapshots there, else the only
    /// one that exists.
    pub(super) fn of(&self, remote: &RemoteRepository, names: &[RemoteName]) -> Result<Vec<RemoteName>, OpError> {
        let mut repositories: Vec<String> = names.iter().map(|name| name.repository.clone()).collect();
        repositories.dedup();
        let chosen = match (&self.given, &self.own) {
            (Some(given), _) => {
                let mut found = Vec::new();
                for repository in &repositories {
                    if begins_with(remote, names, repository, given)? {
                        found.push(repository.clone());
                    }
                }
                if found.len() > 1 {
                    let address = remote.address().to_owned();
                    return Err(RemoteError::SeveralRepositories { address, repositories: found }.into());
                }
                Some(found.pop().ok_or_else(|| no_such_repository(remote, given))?)
            }
            (None, Some(own)) if repositories.contains(own) => Some(own.clone()),
            (None, _) if repositories.len() > 1 => {
                let address = remote.address().to_owned();
                return Err(RemoteError::SeveralRepositories { address, repositories }.into());
            }
            (None, _) => repositories.first().cloned(),
        };
        Ok(names.iter().filter(|name| chosen.as_ref() == Some(&name.repository)).cloned().collect())
    }

    /// As [`Self::of`], for a reference to one snapshot: our own repository is not preferred if all that it has there
    /// are selections from snapshots of others.
    fn of_resolving(&self, remote: &RemoteRepository, names: &[RemoteName]) -> Result<Vec<RemoteName>, OpError> {
        let own = self.own.as_ref().filter(|_| self.given.is_none());
        let (ours, others): (Vec<RemoteName>, Vec<RemoteName>) =
            names.iter().cloned().partition(|name| own == Some(&name.repository));
        if ours.is_empty() || others.is_empty() {
            return self.of(remote, names);
        }
        let read = reading(remote, ours, PARALLEL.into(), |manifest| manifest.head.manifest.extracted.is_some())?;
        if read.iter().all(|(_, is_extract)| *is_extract == Ok(true)) {
            return self.of(remote, &others);
        }
        self.of(remote, names)
    }

    /// As [`Self::of`], for a command that removes snapshots by rules: those of another repository than the local one are
    /// meant only if that repository is given.
    pub(super) fn of_for_removal(
        &self,
        remote: &RemoteRepository,
        names: &[RemoteName],
    ) -> Result<Vec<RemoteName>, OpError> {
        let is_there = |own: &String| names.iter().any(|name| name.repository == *own);
        match &self.own {
            Some(own) if self.given.is_none() && !names.is_empty() && !is_there(own) => {
                Err(no_such_repository(remote, own).into())
            }
            _ => self.of(remote, names),
        }
    }
}

fn no_such_repository(remote: &RemoteRepository, repository: &str) -> RemoteError {
    RemoteError::NoSuchRepository { address: remote.address().to_owned(), repository: repository.to_owned() }
}

/// Whether the id of a repository begins with a text. The names in the store have its first digits; all of them are in
/// its manifests.
fn begins_with(
    remote: &RemoteRepository,
    names: &[RemoteName],
    short: &str,
    beginning: &str,
) -> Result<bool, RemoteError> {
    if beginning.len() <= short.len() {
        return Ok(!beginning.is_empty() && short.starts_with(beginning));
    }
    if !beginning.starts_with(short) {
        return Ok(false);
    }
    for name in names.iter().rev().filter(|name| name.repository == short) {
        match remote.manifest(name) {
            Ok(Some(manifest)) => return Ok(manifest.head.repository.to_string().starts_with(beginning)),
            Ok(None) => {}
            Err(RemoteError::Store(error)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "the id of a repository is looked up in another manifest"),
        }
    }
    Ok(false)
}

/// The snapshots of the main series among those of one repository, in the order in which they were made. One that cannot
/// be read may be of it.
fn of_main_series(remote: &RemoteRepository, names: Vec<RemoteName>) -> Result<Vec<RemoteName>, OpError> {
    let mut read = reading(remote, names, PARALLEL.into(), |manifest| RemoteMember::of(&manifest.head))?;
    // Ids are in the order of time; of a second, the sequence tells.
    read.sort_by_key(|(name, member)| (name.id.time(), member.as_ref().map_or(0, |member| member.sequence)));
    let mut readable: Vec<&RemoteMember> = read.iter().filter_map(|(_, member)| member.as_ref().ok()).collect();
    readable.sort_by_key(|member| member.sequence);
    let (_, main) = judge_series(&readable);
    let is_main =
        |member: &Result<RemoteMember, String>| member.as_ref().map_or(true, |member| member.scope.key == main);
    Ok(read.into_iter().filter(|(_, member)| is_main(member)).map(|(name, _)| name).collect())
}

/// Finds the snapshot that the reference means.
///
/// # Errors
/// If it matches none, or more than one; if the store does not answer.
pub(super) fn resolve(
    remote: &RemoteRepository,
    names: &[RemoteName],
    reference: &RemoteReference,
    which: &RepositoryChoice,
) -> Result<RemoteName, OpError> {
    let reference = match reference {
        RemoteReference::Name(name) if names.contains(name) => return Ok(name.clone()),
        RemoteReference::Name(name) => SnapshotReference::Id(name.id),
        RemoteReference::Reference(reference) => reference.clone(),
    };
    let names = match &reference {
        // An id that only one repository has needs no choice.
        SnapshotReference::Id(id) if names.iter().filter(|name| name.id == *id).count() == 1 => {
            names.iter().filter(|name| name.id == *id).cloned().collect()
        }
        _ => which.of_resolving(remote, names)?,
    };
    let names = match &reference {
        SnapshotReference::Latest(_) => of_main_series(remote, names)?,
        _ => names,
    };
    // Labels are in the manifests, which are read only for a reference by label.
    let mut labels = Vec::with_capacity(names.len());
    for name in &names {
        labels.push(match &reference {
            SnapshotReference::Name(_) => remote.manifest(name)?.and_then(|manifest| manifest.head.manifest.label.text),
            _ => None,
        });
    }
    let known = names.iter().zip(&labels);
    let known: Vec<KnownSnapshot<'_>> =
        known.map(|(name, label)| KnownSnapshot { id: name.id, name: label.as_deref() }).collect();
    let id = reference.resolve(&known)?;
    let found = names.iter().find(|name| name.id == id).cloned();
    found.ok_or_else(|| ReferenceError::NotFound { text: id.to_string(), nearest: None }.into())
}
