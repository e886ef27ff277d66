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
    /// Other snapshots with the same name, the newest first: none of them can be referred to by it. Null with `--dry-run`.
    pub(in super::super) same_name: Option<Vec<SnapshotId>>,
    /// Its date: when the tree was made.
    pub(in super::super) time: DateTime<Utc>,
    /// The kind and origin of the tree.
    pub(in super::super) source: ImportSourceRow,
    /// The number of tables whose parts it has; this and the figures below are null with `--dry-run`.
    pub(in super::super) tables: Option<u64>,
    /// Their parts.
    pub(in super::super) parts: Option<u64>,
    /// Files in them.
    pub(in super::super) files: Option<u64>,
    /// Sum of their sizes.
    pub(in super::super) apparent_bytes: Option<u64>,
    /// Bytes that they take on the disk.
    pub(in super::super) allocated_bytes: Option<u64>,
    /// Bytes on the disk that the previous snapshot does not have.
    pub(in super::super) written_bytes: Option<u64>,
    /// Rows in it; null if a part does not record its own.
    pub(in super::super) rows: Option<u64>,
    /// How its parts were placed.
    pub(in super::super) placed: Option<PlacedTotals>,
    /// Sentences about objects that the tree lacks and that were made, or would be.
    pub(in super::super) made: Vec<String>,
    /// Every table and its outcome.
    pub(in super::super) table_list: Vec<ImportedTableRow>,
    /// The damaged parts, if damage is the reason of the refusal.
    pub(in super::super) damage: Option<Vec<DamagedPartRow>>,
    /// Seconds spent in each stage, and `total`; null with `--dry-run`.
    pub(in super::super) seconds: Option<BTreeMap<&'static str, f64>>,
}

impl ImportDocument {
    /// The document of a dry run, without its tables.
    pub(in super::super) fn planned(time: DateTime<Utc>, source: ImportSourceRow, made: &[String]) -> Self {
        Self {
            state: "planned".to_owned(),
            id: None,
            same_name: None,
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

/// The kind and origin of a tree.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ImportSourceRow {
    /// The tool that made it.
    pub(in super::super) kind: ImportKind,
    /// The name that this tool gave it: a UUID, a name, or the directory of a freeze.
    pub(in super::super) name: String,
    /// Its path.
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
    /// Rows in them, if they are known.
    pub(in super::super) rows: Option<u64>,
    /// Sum of the sizes of their files, if these are known.
    pub(in super::super) bytes: Option<u64>,
    /// Why it is not taken, or only in part.
    pub(in super::super) reason: Option<String>,
}
