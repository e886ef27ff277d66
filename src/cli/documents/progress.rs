use schemars::JsonSchema;
use serde::Serialize;

/// A line of `--progress json` on stderr.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct ProgressDocument {
    /// `started`, `advanced`, `finished`, `item_started`, `item_finished` or `note`.
    pub(in super::super) event: String,
    /// The stage; null for a note.
    pub(in super::super) stage: Option<String>,
    /// For an item: the table or file.
    pub(in super::super) item: Option<String>,
    /// The finished amount of work.
    pub(in super::super) done: Option<ProgressAmounts>,
    /// The total amount of work, if it is known.
    pub(in super::super) total: Option<ProgressAmounts>,
    /// Seconds since the start, or in total once it is finished.
    pub(in super::super) seconds: Option<f64>,
    /// Seconds left at the current rate.
    pub(in super::super) seconds_left: Option<u64>,
    /// For a note: its sentence.
    pub(in super::super) message: Option<String>,
}

/// An amount of work.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ProgressAmounts {
    /// Tables.
    pub(in super::super) tables: u64,
    /// Parts.
    pub(in super::super) parts: u64,
    /// Files.
    pub(in super::super) files: u64,
    /// Bytes.
    pub(in super::super) bytes: u64,
}
