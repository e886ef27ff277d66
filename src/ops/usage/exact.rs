//! Computes the figures of `usage` by a walk over every entry, without the index.

use std::path::{Path, PathBuf};

use crate::fs;
use crate::model::PathMap;
use crate::ops::error::OpError;
use crate::plan::{Space, Walked, WalkedFile};
use crate::repo::{self, Repository};

use super::measure::Measured;

/// The number of components between a snapshot's directory and a file of a part: `data`, database, table, part, and the
/// file.
const PART_FILE_DEPTH: usize = 5;

/// Walks everything that the repository holds, with the holders of `measured`. Also returns what could not be read.
///
/// # Errors
/// If the other trees of the repository cannot be listed.
pub(super) fn walk(
    repository: &Repository,
    measured: &Measured,
    paths: &PathMap,
    jobs: usize,
) -> Result<(Space, Vec<String>), OpError> {
    let mut trees: Vec<(usize, PathBuf)> = Vec::new();
    let (snapshots, trash) = (repository.path().join("snapshots"), repository.path().join("trash"));
    let ids = measured.summaries.iter().map(|summary| snapshots.join(summary.id.to_string()));
    trees.extend(ids.chain(measured.removed.iter().map(|id| trash.join(id.to_string()))).enumerate());
    let other_trees = repository.other_trees()?;
    trees.extend(other_trees.trash.iter().map(|(_, dir)| (measured.leftover_trash(), dir.path().to_owned())));
    trees.extend(other_trees.incoming.iter().map(|(_, dir)| (measured.incoming(), dir.path().to_owned())));
    let data_path = repository.server().map(|server| paths.local(server.data_path.as_ref()));
    let prefix = repository.id().freeze_prefix();
    for shadow in repository.shadows(data_path) {
        let entries = shadow.entries_if_there()?;
        let own = entries.iter().filter(|entry| entry.name.to_string_lossy().starts_with(&prefix));
        trees.extend(own.map(|entry| (measured.shadows(), shadow.path().join(&entry.name))));
    }
    let mut walked = Walked::default();
    (0..=measured.shadows()).for_each(|holder| walked.add_directory(holder, 0));
    let mut problems = Vec::new();
    for (holder, path) in trees {
        let is_snapshot = holder < measured.leftover_trash();
        let unread = walk_one(&mut walked, holder, &path, is_snapshot, jobs);
        if let Some(error) = unread.first_error {
            problems.push(format!("{} entries below {} could not be read: {error}", unread.entries, path.display()));
        }
    }
    Ok((walked.space(), problems))
}

fn walk_one(walked: &mut Walked, holder: usize, path: &Path, is_snapshot: bool, jobs: usize) -> fs::Unread {
    let data = path.join(repo::DATA);
    fs::walk(path, jobs, &mut |met| {
        if met.is_directory {
            walked.add_directory(holder, met.blocks * 512);
            return;
        }
        let is_part = is_snapshot && met.depth >= PART_FILE_DEPTH && met.parent.starts_with(&data);
        walked.add_file(holder, WalkedFile { inode: met.inode, links: met.links, blocks: met.blocks, is_part });
    })
}
