//! Large files of local snapshots, found by the objects that the store has of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::model::{ContentHash, SnapshotId};
use crate::ops::copy::Base;
use crate::ops::error::OpError;
use crate::remote::{ObjectRef, RemoteError, RemoteName, RemotePart, RemoteRepository};
use crate::repo::{self, Repository, SnapshotState};

/// The file of a local snapshot.
#[derive(Clone, Debug)]
pub(super) struct LinkableFile {
    /// The snapshot, by its index among the bases.
    pub(super) base: usize,
    /// The file's directory, relative to the snapshot.
    pub(super) directory: PathBuf,
    /// Its name.
    pub(super) name: String,
    /// Its part, as a path relative to the repository.
    pub(super) part: String,
}

/// The large files of local snapshots, by their objects. The list of parts here and the one in the store prove that a
/// part has the same bytes in both, so each of its files consists of the objects that the manifest in the store lists.
#[derive(Debug, Default)]
pub(super) struct LinkableFiles(HashMap<Vec<ContentHash>, LinkableFile>);

fn keys(objects: &[ObjectRef]) -> Vec<ContentHash> {
    objects.iter().map(|object| object.key).collect()
}

impl LinkableFiles {
    /// Reads what the store says of the bases, if that can spare anything: if a part with large files is to be fetched.
    ///
    /// # Errors
    /// If the repository cannot be read, or the store does not answer.
    pub(super) fn find(
        (remote, names): (&RemoteRepository, &[RemoteName]),
        repository: &Repository,
        bases: &[Base],
        wanted: &[RemotePart],
    ) -> Result<Self, OpError> {
        let is_fetched = |part: &RemotePart| {
            !part.files.large.is_empty() && bases.iter().all(|base| base.parts.find_same(&part.record).is_none())
        };
        let mut files = HashMap::new();
        if !wanted.iter().any(is_fetched) {
            return Ok(Self(files));
        }
        for (base, held) in bases.iter().enumerate() {
            let Some(name) = name_in_store(repository, held.id)?.filter(|name| names.contains(name)) else { continue };
            let manifest = match remote.manifest(&name) {
                Ok(Some(manifest)) => manifest,
                Err(error @ RemoteError::Store(_)) => return Err(error.into()),
                // What it would spare is fetched.
                Ok(None) | Err(_) => continue,
            };
            for part in manifest.parts.iter().filter(|part| held.parts.find_same(&part.record).is_some()) {
                let path = repo::part_path(&part.record.table_name(), &part.record.part);
                for large in &part.files.large {
                    let Some(file) = part.files.names.get(large.file) else { continue };
                    let relative = Path::new(file.path());
                    let Some(name) = relative.file_name().and_then(|name| name.to_str()) else { continue };
                    files.entry(keys(&large.objects)).or_insert_with(|| LinkableFile {
                        base,
                        directory: path.join(relative.parent().unwrap_or(Path::new(""))),
                        name: name.to_owned(),
                        part: format!("snapshots/{}/{}", held.id, path.display()),
                    });
                }
            }
        }
        Ok(Self(files))
    }

    /// The local file that consists of these objects.
    pub(super) fn of(&self, objects: &[ObjectRef]) -> Option<&LinkableFile> {
        if self.0.is_empty() { None } else { self.0.get(&keys(objects)) }
    }
}

/// The name under which a store has a local snapshot, or the one that it was selected from.
fn name_in_store(repository: &Repository, id: SnapshotId) -> Result<Option<RemoteName>, OpError> {
    let SnapshotState::Complete(manifest) = repository.snapshot(id)? else { return Ok(None) };
    Ok(Some(match &manifest.extracted {
        Some(extracted) => RemoteName::new(extracted.id, &extracted.origin.repository),
        None => RemoteName::new(id, &manifest.origin(repository.id()).repository),
    }))
}
