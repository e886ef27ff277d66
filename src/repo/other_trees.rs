//! The trees of a repository other than its snapshots, and those that the server keeps for it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::fs::{Dir, EntryKind, ErrorKind};
use crate::model::SnapshotId;

use super::error::RepoError;
use super::repository::Repository;

/// Trees that hold links of the repository and are not snapshots.
#[derive(Debug, Default)]
pub struct OtherTrees {
    /// Snapshots that are being built, or that an interrupted run has left: names and directories.
    pub incoming: Vec<(String, Dir)>,
    /// Entries of the trash that can no longer be restored.
    pub trash: Vec<(String, Dir)>,
}

impl Repository {
    /// The trees other than the snapshots, without those that vanish meanwhile.
    ///
    /// # Errors
    /// If `incoming/` or `trash/` cannot be read.
    pub fn other_trees(&self) -> Result<OtherTrees, RepoError> {
        let is_of_trash = |name: &str| name.parse::<SnapshotId>().is_err() && super::trash::is_ours(name);
        Ok(OtherTrees {
            incoming: self.trees("incoming", |name| name.parse::<SnapshotId>().is_ok())?,
            trash: self.trees("trash", is_of_trash)?,
        })
    }

    fn trees(&self, place: &str, is_ours: impl Fn(&str) -> bool) -> Result<Vec<(String, Dir)>, RepoError> {
        let Some(dir) = self.find_dir(place)? else { return Ok(Vec::new()) };
        let mut trees = Vec::new();
        for entry in dir.entries_with_kind()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory) {
            let Some(name) = entry.name.to_str().filter(|name| is_ours(name)) else { continue };
            if let Some(tree) = dir.find_beneath(Path::new(name))? {
                trees.push((name.to_owned(), tree));
            }
        }
        trees.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(trees)
    }

    /// The directories `shadow/` of the server's data path, which is `data_path` on this host, and of the disks that
    /// interrupted runs have recorded; only those that are visible from here.
    #[must_use]
    pub fn shadows(&self, data_path: Option<PathBuf>) -> Vec<Dir> {
        let mut disks: BTreeSet<PathBuf> = data_path.into_iter().collect();
        disks.extend(self.announced_disks().unwrap_or_default());
        let open = |disk: PathBuf| match self.dir().open_elsewhere(&disk.join("shadow")) {
            Ok(dir) => Some(dir),
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    tracing::debug!(%error, "a shadow is not looked at");
                }
                None
            }
        };
        disks.into_iter().filter_map(open).collect()
    }
}
