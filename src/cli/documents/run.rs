use chsnap::model::SnapshotId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// `run`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RunDocument {
    /// The profile; null without a profile.
    pub(in super::super) profile: Option<String>,
    /// The repository's directory.
    pub(in super::super) repository: Option<String>,
    /// `success`, `warnings` or `failure`.
    pub(in super::super) state: String,
    /// The exit code.
    pub(in super::super) exit_code: u8,
    /// The worst error; null after a success.
    pub(in super::super) error: Option<String>,
    /// The `reason` of the step with that error: why its plan was refused, or the damage that it found.
    pub(in super::super) reason: Option<String>,
    /// How to resolve it.
    pub(in super::super) hint: Option<String>,
    /// When it began.
    pub(in super::super) started: String,
    /// When it ended.
    pub(in super::super) finished: String,
    /// Seconds that it took.
    pub(in super::super) seconds: f64,
    /// The snapshot that was made.
    pub(in super::super) snapshot: Option<SnapshotId>,
    /// Snapshots that were moved to the trash.
    pub(in super::super) removed: Vec<SnapshotId>,
    /// Snapshots that were deleted.
    pub(in super::super) deleted: Vec<SnapshotId>,
    /// The steps in their order.
    pub(in super::super) steps: Vec<StepRow>,
    /// Notes that are not warnings.
    pub(in super::super) notes: Vec<String>,
    /// Runs that were missed.
    pub(in super::super) missed: Option<MissedRow>,
    /// How often `create` was retried.
    pub(in super::super) retries: u32,
    /// Free bytes of the repository's filesystem before the run.
    pub(in super::super) free_bytes_before: Option<u64>,
    /// Free bytes of it after the run.
    pub(in super::super) free_bytes_after: Option<u64>,
}

/// Runs that were missed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct MissedRow {
    /// The time at which the previous snapshot was begun.
    pub(in super::super) since: String,
    /// The number.
    pub(in super::super) runs: u64,
}

/// A step.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct StepRow {
    /// `before`, `create`, `gc`, `prune`, `verify`, `drill`, `copy` ….
    pub(in super::super) step: String,
    /// `done`, `warnings`, `failed` or `skipped`.
    pub(in super::super) state: String,
    /// The same, except that `refused` and `damaged` replace `failed` for these two kinds of failure.
    pub(in super::super) outcome: String,
    /// Its exit code; 0 for a step that was left out.
    pub(in super::super) exit_code: u8,
    /// Seconds that it took.
    pub(in super::super) seconds: f64,
    /// The error.
    pub(in super::super) error: Option<String>,
    /// How to resolve it.
    pub(in super::super) hint: Option<String>,
    /// Why it was refused or left out.
    pub(in super::super) reason: Option<String>,
    /// The document of its command, which has its own schema.
    pub(in super::super) result: Option<Value>,
}
