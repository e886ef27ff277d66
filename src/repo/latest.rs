//! All snapshots in order, and the `latest` link.

use std::path::{Path, PathBuf};

use crate::model::SnapshotId;

use super::content::SeriesOf;
use super::error::RepoError;
use super::lock::Locked;
use super::repository::Repository;
use super::series::{LATEST, line};
use super::summary::Summary;

impl Repository {
    /// Summaries of all snapshots, read from their manifests, in the order in which they were made, and the series of
    /// the repository.
    ///
    /// # Errors
    /// If `snapshots/` cannot be read.
    pub fn summaries(&self) -> Result<(Vec<Summary>, SeriesOf), RepoError> {
        let mut summaries = Vec::new();
        for id in self.snapshot_ids()?.0 {
            match self.snapshot(id) {
                Ok(state) => summaries.push(Summary::of(id, &state)),
                Err(RepoError::NoSnapshot { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Summary::sort(&mut summaries);
        let series = self.judge_series(&mut summaries)?;
        Ok((summaries, series))
    }
}

impl Locked<'_> {
    /// Points `latest` at the newest snapshot of the main series, or removes it if there is none.
    ///
    /// # Errors
    /// If the link cannot be replaced.
    pub fn update_latest(&self) -> Result<(), RepoError> {
        let (summaries, series) = self.repository().summaries()?;
        self.point_latest_at(line(&summaries, &series.main).last().map(|summary| summary.id))
    }

    /// Points `latest` at this snapshot.
    ///
    /// # Errors
    /// If the link cannot be replaced.
    pub fn point_latest_at(&self, newest: Option<SnapshotId>) -> Result<(), RepoError> {
        let dir = self.repository().dir();
        let present = dir.find(LATEST)?.is_some();
        let Some(newest) = newest else {
            if present {
                dir.remove_file(LATEST)?;
            }
            return Ok(());
        };
        let target: PathBuf = Path::new("snapshots").join(newest.to_string());
        if present && dir.read_link(LATEST).is_ok_and(|now| now == target) {
            return Ok(());
        }
        let new_name = "latest.new";
        if dir.find(new_name)?.is_some() {
            dir.remove_file(new_name)?;
        }
        dir.symlink(&target, new_name)?;
        dir.rename_from(dir, new_name, LATEST)?;
        Ok(dir.sync()?)
    }
}
