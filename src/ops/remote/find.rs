//! Finds the remote snapshot that a reference means.

use std::str::FromStr;

use crate::ops::error::OpError;
use crate::plan::{KnownSnapshot, ReferenceError, SnapshotReference};
use crate::remote::{RemoteError, RemoteName, RemoteRepository};

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
                let head: String = given.chars().take(8).collect();
                let found = repositories.iter().find(|repository| repository.starts_with(&head) && !head.is_empty());
                let found = found.ok_or_else(|| RemoteError::NoSuchRepository {
                    address: remote.address().to_owned(),
                    repository: given.clone(),
                })?;
                Some(found.clone())
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
        _ => which.of(remote, names)?,
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
