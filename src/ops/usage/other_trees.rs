//! Trees outside the snapshots that hold links as well.

use crate::exec::{self, TreeContents};
use crate::fs::{Dir, EntryKind};
use crate::model::PathMap;
use crate::ops::error::OpError;
use crate::repo::Repository;

/// Freezes in the server's `shadow/` that were made by hand or by another tool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForeignShadow {
    /// Its path.
    pub path: std::path::PathBuf,
    /// Allocated bytes of its contents, each inode once.
    pub allocated_bytes: u64,
    /// The share of them that nothing else links, and its directories: what removing it frees.
    pub freed_bytes: u64,
}

/// The trees outside the snapshots.
#[derive(Debug, Default)]
pub(super) struct OtherTreeContents {
    pub(super) trash: TreeContents,
    pub(super) incoming: TreeContents,
    pub(super) own_shadows: TreeContents,
    pub(super) foreign_shadows: Vec<ForeignShadow>,
    problems: Vec<String>,
}

impl OtherTreeContents {
    pub(super) fn look(repository: &Repository, paths: &PathMap) -> Result<Self, OpError> {
        let mut contents = Self::default();
        let trees = repository.other_trees()?;
        contents.trash = together(trees.trash.iter().map(|(_, dir)| dir));
        contents.incoming = together(trees.incoming.iter().map(|(_, dir)| dir));
        let data_path = repository.server().map(|server| paths.local(server.data_path.as_ref()));
        for shadow in repository.shadows(data_path) {
            contents.look_at_shadow(repository, &shadow);
        }
        Ok(contents)
    }

    fn look_at_shadow(&mut self, repository: &Repository, shadow: &Dir) {
        let prefix = repository.id().freeze_prefix();
        let entries = match shadow.entries_if_there() {
            Ok(entries) => entries,
            Err(error) => return self.problems.push(crate::monitor::chain(&error)),
        };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
            let Ok(dir) = shadow.open_dir(&entry.name) else { continue };
            let found = exec::stat_tree(&dir, &|_| true);
            if entry.name.to_string_lossy().starts_with(&prefix) {
                self.own_shadows.add(found);
                continue;
            }
            self.problems.extend(found.problems.iter().cloned());
            self.foreign_shadows.push(foreign(&dir, found));
        }
    }

    /// Whether both contain the same files.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        let links =
            |contents: &Self| [&contents.trash, &contents.incoming, &contents.own_shadows].map(TreeContents::links);
        links(self) == links(other)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let found = [&self.trash, &self.incoming, &self.own_shadows].into_iter().flat_map(|found| &found.problems);
        found.chain(&self.problems).cloned().collect()
    }
}

fn together<'a>(dirs: impl Iterator<Item = &'a Dir>) -> TreeContents {
    let mut all = TreeContents::default();
    dirs.for_each(|dir| all.add(exec::stat_tree(dir, &|_| true)));
    all
}

fn foreign(dir: &Dir, found: TreeContents) -> ForeignShadow {
    let mut files = found.files;
    files.sort_unstable();
    let (mut allocated_bytes, mut freed_bytes) = (0, found.directory_bytes);
    for same in files.chunk_by(|a, b| a.inode == b.inode) {
        let Some(first) = same.first() else { continue };
        allocated_bytes += first.blocks * 512;
        if first.links <= same.len() as u64 {
            freed_bytes += first.blocks * 512;
        }
    }
    ForeignShadow { path: dir.path().to_owned(), allocated_bytes, freed_bytes }
}
