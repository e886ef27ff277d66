//! What lists say of a snapshot, and the `latest` link.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{Label, SnapshotId, Totals};

use crate::plan::SeriesKey;

use super::error::RepoError;
use super::lock::Locked;
use super::manifest::Manifest;
use super::repository::{Repository, SnapshotState};
use super::series::{Content, SeriesOf, line};

/// A snapshot in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its place in the order in which snapshots were made; none where its manifest cannot be read.
    pub sequence: Option<u64>,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    #[serde(flatten)]
    pub label: Label,
    /// `complete`, `newer_format` or `damaged`.
    pub state: String,
    /// What is wrong with it, where something is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What it holds.
    #[serde(flatten)]
    pub totals: Totals,
    /// Its series; none where its manifest cannot be read.
    #[serde(skip_deserializing, serialize_with = "as_name", skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesKey>,
    /// Whether it lacks a table that it could have had: what other snapshots of its series have decides.
    #[serde(skip_deserializing, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// What it was asked to hold, and what of that it does not.
    #[serde(skip)]
    pub content: Content,
    /// How many warnings there were when it was made.
    pub warning_count: u64,
    /// The version of the server that it is of.
    pub server_version: String,
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn as_name<S: serde::Serializer>(series: &Option<SeriesKey>, serializer: S) -> Result<S::Ok, S::Error> {
    series.as_ref().map(ToString::to_string).serialize(serializer)
}

impl From<&Manifest> for Summary {
    fn from(manifest: &Manifest) -> Self {
        let content = Content::from(manifest);
        Self {
            series: Some(content.key.clone()),
            incomplete: false,
            content,
            id: manifest.id,
            sequence: Some(manifest.sequence),
            time: manifest.time,
            label: manifest.label.clone(),
            state: "complete".to_owned(),
            problem: None,
            totals: manifest.totals,
            warning_count: manifest.warnings.len() as u64,
            server_version: manifest.server.version.clone(),
        }
    }
}

impl Summary {
    /// The summary of what stands at `id`.
    #[must_use]
    pub fn of(id: SnapshotId, state: &SnapshotState) -> Self {
        let (state, problem) = match state {
            SnapshotState::Complete(manifest) => return Self::from(manifest.as_ref()),
            SnapshotState::NewerFormat(format) => {
                ("newer_format", format!("it has format {format}, which a newer chsnap reads"))
            }
            SnapshotState::Damaged(reason) => ("damaged", reason.clone()),
        };
        Self {
            id,
            sequence: None,
            time: id.time(),
            label: Label::default(),
            state: state.to_owned(),
            problem: Some(problem),
            totals: Totals::default(),
            series: None,
            incomplete: false,
            content: Content::default(),
            warning_count: 0,
            server_version: String::new(),
        }
    }

    /// Whether the snapshot can be read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == "complete"
    }

    /// Puts summaries in the order in which the snapshots were made, the newest last.
    pub fn sort(summaries: &mut [Self]) {
        summaries.sort_by_key(|summary| (summary.sequence.unwrap_or(0), summary.id));
    }
}

pub(super) const LATEST: &str = "latest";

impl Repository {
    /// Summaries of all snapshots, read from their manifests, in the order in which they were made, and which series there
    /// are.
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
    /// Points `latest` at the snapshot of the main series that was made last, or removes it where there is none.
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
