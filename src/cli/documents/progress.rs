use schemars::JsonSchema;
use serde::Serialize;

/// A line of `--progress json` on stderr.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct ProgressDocument {
    /// `started`, `advanced`, `finished`, `item_started`, `item_finished` or `note`.
    pub(in super::super) event: String,
    /// The stage; null of a note.
    pub(in super::super) stage: Option<String>,
    /// The table or file that is worked on, of an item.
    pub(in super::super) item: Option<String>,
    /// What has been done of the stage.
    pub(in super::super) done: Option<ProgressAmounts>,
    /// What there is to do, where that is known.
    pub(in super::super) total: Option<ProgressAmounts>,
    /// For how long it has been going on, or what it took.
    pub(in super::super) seconds: Option<f64>,
    /// What it will take from now on, if it goes on as so far.
    pub(in super::super) seconds_left: Option<u64>,
    /// The sentence of a note.
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
