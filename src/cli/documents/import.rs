use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chsnap::model::{PlacedTotals, SnapshotId};
use chsnap::plan::ImportKind;
use schemars::JsonSchema;
use serde::Serialize;

use super::DamagedPartRow;

/// `import` and `import --dry-run`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ImportDocument {
    /// `complete`, or `planned` with `--dry-run`.
    pub(in super::super) state: String,
    /// The snapshot; null with `--dry-run`.
    pub(in super::super) id: Option<SnapshotId>,
    /// Its date: when the tree was made.
    pub(in super::super) time: DateTime<Utc>,
    /// What the tree is.
    pub(in super::super) source: ImportSourceRow,
    /// Tables whose parts it has; this and the figures below are null with `--dry-run`.
    pub(in super::super) tables: Option<u64>,
    /// Their parts.
    pub(in super::super) parts: Option<u64>,
    /// Files in them.
    pub(in super::super) files: Option<u64>,
    /// Sum of their sizes.
    pub(in super::super) apparent_bytes: Option<u64>,
    /// What they take on the disk.
    pub(in super::super) allocated_bytes: Option<u64>,
    /// What of that the snapshot before it does not have.
    pub(in super::super) written_bytes: Option<u64>,
    /// Rows in it, as far as the parts tell.
    pub(in super::super) rows: Option<u64>,
    /// How its parts came there.
    pub(in super::super) placed: Option<PlacedTotals>,
    /// What the tree lacks and was made, or would be: sentences.
    pub(in super::super) made: Vec<String>,
    /// Every table with what becomes of it.
    pub(in super::super) table_list: Vec<ImportedTableRow>,
    /// What is damaged, where that is why it was refused.
    pub(in super::super) damage: Option<Vec<DamagedPartRow>>,
    /// Seconds spent in each stage, and in all of them together as `total`; null with `--dry-run`.
    pub(in super::super) seconds: Option<BTreeMap<&'static str, f64>>,
}

impl ImportDocument {
    /// The document of a dry run, without its tables.
    pub(in super::super) fn planned(time: DateTime<Utc>, source: ImportSourceRow, made: &[String]) -> Self {
        Self {
            state: "planned".to_owned(),
            id: None,
            time,
            source,
            tables: None,
            parts: None,
            files: None,
            apparent_bytes: None,
            allocated_bytes: None,
            written_bytes: None,
            rows: None,
            placed: None,
            made: made.to_vec(),
            table_list: Vec::new(),
            damage: None,
            seconds: None,
        }
    }
}

/// What a tree is.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ImportSourceRow {
    /// Who made it.
    pub(in super::super) kind: ImportKind,
    /// The name that its maker gave it: a UUID, a name, or the directory of a freeze.
    pub(in super::super) name: String,
    /// Where it is.
    pub(in super::super) path: String,
}

/// A table of the snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ImportedTableRow {
    /// Its database.
    pub(in super::super) database: String,
    /// Its name.
    #[serde(rename = "table")]
    pub(in super::super) name: String,
    /// Its engine.
    pub(in super::super) engine: String,
    /// `taken`, `definition`, `data_left`, `skipped`; `planned` with `--dry-run`.
    pub(in super::super) state: String,
    /// Its parts.
    pub(in super::super) parts: u64,
    /// Rows in them, where they are known.
    pub(in super::super) rows: Option<u64>,
    /// Sum of the sizes of their files, where they are known.
    pub(in super::super) bytes: Option<u64>,
    /// Why it is not, or not wholly, taken.
    pub(in super::super) reason: Option<String>,
}
