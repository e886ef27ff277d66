//! The summary of a snapshot for lists.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::model::{Label, Moment, SnapshotId, SnapshotTotals};

use crate::plan::SeriesKey;

use super::content::SnapshotScope;
use super::manifest::Manifest;
use super::repository::SnapshotState;

/// A snapshot in one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its place in the order in which snapshots were made; `None` if its manifest cannot be read.
    pub sequence: Option<u64>,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    #[serde(flatten)]
    pub label: Label,
    /// The moment of its tables, if one was requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moment: Option<Moment>,
    /// `complete`, `newer_format` or `damaged`.
    pub state: String,
    /// The problem with it, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Its totals.
    #[serde(flatten)]
    pub totals: SnapshotTotals,
    /// Its series; `None` if its manifest cannot be read.
    #[serde(skip_deserializing, serialize_with = "as_name", skip_serializing_if = "Option::is_none")]
    pub series: Option<SeriesKey>,
    /// Whether it lacks a table that it could have had, judged by the other snapshots of its series.
    #[serde(skip_deserializing, skip_serializing_if = "std::ops::Not::not")]
    pub incomplete: bool,
    /// The requested scope, and the parts of it that are missing.
    #[serde(skip)]
    pub content: SnapshotScope,
    /// The number of warnings when it was made.
    pub warning_count: u64,
    /// The version of the server from which it was taken.
    pub server_version: String,
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn as_name<S: serde::Serializer>(series: &Option<SeriesKey>, serializer: S) -> Result<S::Ok, S::Error> {
    series.as_ref().map(ToString::to_string).serialize(serializer)
}

impl From<&Manifest> for Summary {
    fn from(manifest: &Manifest) -> Self {
        let content = SnapshotScope::from(manifest);
        Self {
            series: Some(content.key.clone()),
            incomplete: false,
            content,
            id: manifest.id,
            sequence: Some(manifest.sequence),
            time: manifest.time,
            label: manifest.label.clone(),
            moment: manifest.moment,
            state: "complete".to_owned(),
            problem: None,
            totals: manifest.totals,
            warning_count: manifest.warnings.len() as u64,
            server_version: manifest.server.version.clone(),
        }
    }
}

impl Summary {
    /// Summarizes the snapshot `id`, whose state is given.
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
            moment: None,
            state: state.to_owned(),
            problem: Some(problem),
            totals: SnapshotTotals::default(),
            series: None,
            incomplete: false,
            content: SnapshotScope::default(),
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
