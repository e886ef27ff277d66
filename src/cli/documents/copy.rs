use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chsnap::model::{Label, PartName, PartTally, PlacedTotals, SnapshotId};
use schemars::JsonSchema;
use serde::Serialize;

use super::PinRow;

/// `copy` and `copy --dry-run`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CopyDocument {
    /// The repository that is copied from.
    pub(in super::super) repository: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) repository_base64: Option<String>,
    /// The repository that is copied to.
    pub(in super::super) to: String,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) to_base64: Option<String>,
    /// `complete`, or `planned` for a dry run; `damaged` or `refused` if a snapshot was not copied.
    pub(in super::super) state: String,
    /// Whether this is a dry run, which changes nothing.
    pub(in super::super) dry_run: bool,
    /// The number of snapshots in each state.
    #[serde(flatten)]
    pub(in super::super) counts: CopiedCounts,
    /// The selected snapshots, in the order in which they were made.
    pub(in super::super) snapshots: Vec<CopiedRow>,
    /// New snapshots that were left out because the other repository has removed them.
    pub(in super::super) removed_there: Vec<SnapshotId>,
    /// Seconds spent in each stage, and `total`; null for a dry run.
    pub(in super::super) seconds: Option<BTreeMap<String, f64>>,
}

/// The number of snapshots in each state.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct CopiedCounts {
    /// Copied, or to be copied.
    pub(in super::super) copied: u64,
    /// Already present, with the same content.
    pub(in super::super) present: u64,
    /// Not copied.
    pub(in super::super) refused: u64,
}

/// One snapshot.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct CopiedRow {
    /// Its id.
    pub(in super::super) id: String,
    /// When it was begun.
    pub(in super::super) time: DateTime<Utc>,
    /// Its name.
    #[serde(flatten)]
    pub(in super::super) label: Label,
    /// `copied`, `planned`, `present`; `damaged`, `unreadable`, `other_content` or `in_trash` if it was not copied.
    pub(in super::super) state: &'static str,
    /// Why it was not copied.
    pub(in super::super) reason: Option<String>,
    /// Its damaged parts and files of which no intact copy was found.
    pub(in super::super) damage: Vec<CopyDamage>,
    /// Its damaged parts and files that were copied from another snapshot.
    pub(in super::super) intact: Vec<CopyIntact>,
    /// The number of tables whose parts it has; this and the five fields below are null unless it was copied.
    pub(in super::super) tables: Option<u64>,
    /// Their parts.
    pub(in super::super) parts: Option<u64>,
    /// Files in them.
    pub(in super::super) files: Option<u64>,
    /// Sum of their sizes.
    pub(in super::super) apparent_bytes: Option<u64>,
    /// Bytes that they take on the disk of the other repository.
    pub(in super::super) allocated_bytes: Option<u64>,
    /// Bytes on the disk that the previous snapshot there does not have.
    pub(in super::super) written_bytes: Option<u64>,
    /// How its parts were placed; null unless it was copied.
    pub(in super::super) placed: Option<PlacedTotals>,
    /// The part of these that an interrupted copy had left.
    pub(in super::super) resumed: Option<PartTally>,
    /// Files that were copied because an equal file had reached its limit of links.
    pub(in super::super) link_limit_files: Option<u64>,
    /// Its definitions, dumps and other files outside of parts.
    pub(in super::super) metadata_files: Option<u64>,
    /// Whether it is pinned in the other repository; null unless it was copied.
    pub(in super::super) pinned: Option<bool>,
    /// The pin that came with it.
    pub(in super::super) pin: Option<PinRow>,
    /// For a dry run: parts that the other repository already has completely.
    pub(in super::super) linked: Option<PartTally>,
    /// For a dry run: all other parts; single files of them may also be linked.
    pub(in super::super) to_copy: Option<PartTally>,
}

/// A part or file that differs from its record.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CopyDamage {
    /// Its path, relative to the snapshot.
    pub(in super::super) path: String,
    /// `database.table`, for a part.
    pub(in super::super) table: Option<String>,
    /// The part, for a part.
    pub(in super::super) part: Option<PartName>,
    /// The problem.
    pub(in super::super) found: String,
}

/// A damaged part or file that was copied from another snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CopyIntact {
    /// The problem.
    #[serde(flatten)]
    pub(in super::super) damage: CopyDamage,
    /// The snapshot that has an intact copy.
    pub(in super::super) snapshot: SnapshotId,
}
