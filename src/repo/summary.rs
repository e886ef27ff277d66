//! What lists say of a snapshot.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{Label, SnapshotId, Totals};

use crate::plan::SeriesKey;

use super::content::Content;
use super::manifest::Manifest;
use super::repository::SnapshotState;

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
