//! Files of a snapshot outside its parts: definitions, dumps, unfinished mutations, access, configuration.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use rayon::prelude::*;

use crate::fs::{ContentDigest, CopyError, CopyOptions, Dir, ErrorKind, FsError, Hashing};
use crate::model::SnapshotId;
use crate::ops::error::OpError;
use crate::repo::{Manifest, MetadataFile, Repository, SnapshotState};

use super::request::{IntactPart, SourceDamage};

/// The directory of dumps in a snapshot.
const DUMPS: &str = "dumps";

/// Whether a file of a snapshot is a dump, or belongs to one.
pub(super) fn is_dump(path: &str) -> bool {
    Path::new(path).starts_with(DUMPS)
}

/// Copies the files that the manifest of a snapshot lists.
pub(super) struct FileCopier<'a> {
    /// The snapshot being copied.
    pub(super) source: &'a Dir,
    /// The tree that becomes the copy.
    pub(super) incoming: &'a Dir,
    /// The snapshot of the target that equal dumps are linked from.
    pub(super) base: Option<(&'a Manifest, &'a Dir)>,
    pub(super) options: CopyOptions<'a>,
    /// The repository whose other snapshots may hold an intact copy of a damaged file.
    pub(super) repository: &'a Repository,
}

/// The outcome of copying a file.
enum FileOutcome {
    Copied,
    Damaged(String),
}

impl FileCopier<'_> {
    /// Copies all files, each compared with its BLAKE3 hash. Returns the damaged ones: those copied from another
    /// snapshot, and those damaged everywhere in the source.
    pub(super) fn copy_all(&self, files: &[MetadataFile]) -> Result<(Vec<IntactPart>, Vec<SourceDamage>), OpError> {
        for file in files {
            if let Some((parent, _)) = place(&file.path) {
                ensure(self.incoming, parent)?;
            }
        }
        let copy = |file: &MetadataFile| -> Result<Option<(SourceDamage, Option<SnapshotId>)>, OpError> {
            let FileOutcome::Damaged(problem) = self.copy(file, self.source)? else { return Ok(None) };
            let damage = SourceDamage { table: None, part: None, path: PathBuf::from(&file.path), problem };
            Ok(Some((damage, self.copy_from_another(file)?)))
        };
        let damaged: Vec<Option<_>> = files.par_iter().map(copy).collect::<Result<_, OpError>>()?;
        let (mut intact, mut damage) = (Vec::new(), Vec::new());
        for (found, from) in damaged.into_iter().flatten() {
            match from {
                Some(from) => intact.push(IntactPart { damage: found, from }),
                None => damage.push(found),
            }
        }
        Ok((intact, damage))
    }

    fn copy(&self, file: &MetadataFile, source: &Dir) -> Result<FileOutcome, OpError> {
        let damaged = |problem: &str| Ok(FileOutcome::Damaged(problem.to_owned()));
        let Some((parent, name)) = place(&file.path) else { return damaged("that is no path in a snapshot") };
        let to = self.incoming.open_beneath(parent)?;
        if self.link_dump(file, (parent, name), &to)? {
            return Ok(FileOutcome::Copied);
        }
        let from = match source.find_beneath(parent) {
            Ok(Some(from)) => from,
            Ok(None) => return damaged("it is missing"),
            Err(error) => return unless_forbidden(error),
        };
        match to.copy_from(&self.options, &from, name, name, Hashing::Blake3) {
            Ok(copied) => {
                let is_right = match copied.digest {
                    Some(ContentDigest::Blake3(hash)) => hash.to_hex().as_str() == file.blake3,
                    // An empty file has a hash as well.
                    _ => false,
                };
                if copied.source.size_bytes == file.bytes && is_right {
                    return Ok(FileOutcome::Copied);
                }
                to.remove_file(name)?;
                damaged("it does not have the BLAKE3 that the manifest has of it")
            }
            Err(CopyError::Fs(error))
                if error.path().starts_with(from.path()) && !is_of_the_target(&error, &from, name) =>
            {
                unless_forbidden(error)
            }
            Err(CopyError::Fs(error)) => Err(error.into()),
            Err(error @ CopyError::Changed { .. }) => damaged(&crate::monitor::chain(&error)),
            Err(CopyError::Interrupted { .. }) => Err(OpError::Interrupted),
        }
    }

    /// Links a dump that the last snapshot of the target has as well, judged by the digests in both manifests.
    fn link_dump(&self, file: &MetadataFile, (parent, name): (&Path, &OsStr), to: &Dir) -> Result<bool, OpError> {
        let Some((manifest, base)) = self.base.filter(|_| is_dump(&file.path)) else { return Ok(false) };
        if !manifest.metadata.contains(file) {
            return Ok(false);
        }
        let Some(dir) = base.find_beneath(parent)? else { return Ok(false) };
        if dir.find(name)?.is_none_or(|stat| stat.size_bytes != file.bytes) {
            return Ok(false);
        }
        match to.link_from(&dir, name, name) {
            Ok(()) => Ok(true),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::CrossDevice | ErrorKind::NoPermission | ErrorKind::TooManyLinks | ErrorKind::NotFound
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Copies a file from the newest other snapshot of the source that has it intact.
    fn copy_from_another(&self, file: &MetadataFile) -> Result<Option<SnapshotId>, OpError> {
        for id in self.repository.snapshot_ids()?.0.into_iter().rev() {
            let Ok(SnapshotState::Complete(manifest)) = self.repository.snapshot(id) else { continue };
            let Ok(lease) = self.repository.lease(id) else { continue };
            if manifest.metadata.contains(file)
                && let FileOutcome::Copied = self.copy(file, lease.dir())?
            {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

/// Whether a copy failed because of its target: reading the source alone works.
fn is_of_the_target(error: &FsError, from: &Dir, name: &OsStr) -> bool {
    error.kind() == ErrorKind::NoSpace || from.hash_file(name, Hashing::Blake3).is_ok()
}

fn unless_forbidden(error: FsError) -> Result<FileOutcome, OpError> {
    if error.kind() == ErrorKind::NoPermission {
        return Err(error.into());
    }
    Ok(FileOutcome::Damaged(crate::monitor::chain(&error)))
}

/// The directory of a file and its name, or `None` if the path would lead outside.
fn place(path: &str) -> Option<(&Path, &OsStr)> {
    let path = Path::new(path);
    let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    Some((path.parent()?, path.file_name()?)).filter(|_| is_plain)
}

/// Creates the directories of a path.
fn ensure(dir: &Dir, relative: &Path) -> Result<(), FsError> {
    let mut dir = dir.clone();
    for component in relative.components() {
        dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn a_path_that_leads_outside_is_none() {
        for path in ["", "/etc/passwd", "../x", "metadata/../../x", "metadata/.."] {
            assert_eq!(place(path), None, "{path}");
        }
        assert!(place("metadata/d/t.sql").is_some());
    }
}
