use chsnap::model::SnapshotId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

/// `run`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RunDocument {
    /// The profile; null for what stands at the top of the configuration.
    pub(in super::super) profile: Option<String>,
    /// The repository's directory.
    pub(in super::super) repository: Option<String>,
    /// `success`, `warnings` or `failure`.
    pub(in super::super) state: String,
    /// The exit code.
    pub(in super::super) exit_code: u8,
    /// The worst that went wrong; null after a success.
    pub(in super::super) error: Option<String>,
    /// What to do about it.
    pub(in super::super) hint: Option<String>,
    /// When it began.
    pub(in super::super) started: String,
    /// When it ended.
    pub(in super::super) finished: String,
    /// Seconds that it took.
    pub(in super::super) seconds: f64,
    /// The snapshot that was made.
    pub(in super::super) snapshot: Option<SnapshotId>,
    /// Snapshots that went to the trash.
    pub(in super::super) removed: Vec<SnapshotId>,
    /// Snapshots that are gone for good.
    pub(in super::super) deleted: Vec<SnapshotId>,
    /// The steps in their order.
    pub(in super::super) steps: Vec<StepRow>,
    /// What one should know, and is no warning.
    pub(in super::super) notes: Vec<String>,
    /// Runs that were missed.
    pub(in super::super) missed: Option<MissedRow>,
    /// How often `create` was tried again.
    pub(in super::super) retries: u32,
    /// What the filesystem of the repository had free before.
    pub(in super::super) free_bytes_before: Option<u64>,
    /// What it had free afterwards.
    pub(in super::super) free_bytes_after: Option<u64>,
}

/// Runs that were missed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct MissedRow {
    /// When the last snapshot before was begun.
    pub(in super::super) since: String,
    /// How many.
    pub(in super::super) runs: u64,
}

/// A step.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct StepRow {
    /// `before`, `create`, `gc`, `prune`, `verify`, `drill`, `copy` ….
    pub(in super::super) step: String,
    /// `done`, `warnings`, `failed` or `skipped`.
    pub(in super::super) state: String,
    /// The same, with `refused` and `damaged` for steps that failed in these ways.
    pub(in super::super) outcome: String,
    /// Its exit code; 0 of one that was left out.
    pub(in super::super) exit_code: u8,
    /// Seconds that it took.
    pub(in super::super) seconds: f64,
    /// What went wrong.
    pub(in super::super) error: Option<String>,
    /// What to do about it.
    pub(in super::super) hint: Option<String>,
    /// Why it was refused or left out.
    pub(in super::super) reason: Option<String>,
    /// The document of its command, which has a schema of its own.
    pub(in super::super) result: Option<Value>,
}
