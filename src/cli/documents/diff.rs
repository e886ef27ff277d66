use chrono::{DateTime, Utc};
use chsnap::model::{SnapshotId, TableName};
use chsnap::plan::diff::Diff;
use schemars::JsonSchema;
use serde::Serialize;

/// `diff`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DiffDocument {
    /// The earlier state.
    pub(in super::super) a: DiffSideRow,
    /// The later state.
    pub(in super::super) b: DiffSideRow,
    /// Whether everything was compared and no change was found.
    pub(in super::super) identical: bool,
    /// The figures and the tables of both sides.
    #[serde(flatten)]
    pub(in super::super) diff: Diff,
    /// Tables that were not compared.
    pub(in super::super) not_compared: Vec<TableName>,
}

/// A snapshot, or the server as it is now.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DiffSideRow {
    /// The snapshot; null for the server.
    pub(in super::super) id: Option<SnapshotId>,
    /// When it was begun; null for the server.
    pub(in super::super) time: Option<DateTime<Utc>>,
    /// Whether it is the server.
    pub(in super::super) live: bool,
}
