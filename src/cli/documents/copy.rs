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
    /// Its bytes in base64, where they are not UTF-8.
    pub(in super::super) repository_base64: Option<String>,
    /// The repository that is copied to.
    pub(in super::super) to: String,
    /// Its bytes in base64, where they are not UTF-8.
    pub(in super::super) to_base64: Option<String>,
    /// `complete`, or `planned` of a dry run; `damaged` or `refused` where a snapshot was not copied.
    pub(in super::super) state: String,
    /// Whether nothing was touched.
    pub(in super::super) dry_run: bool,
    /// How many snapshots there were of each state.
    #[serde(flatten)]
    pub(in super::super) counts: CopiedCounts,
    /// The snapshots that were named or are new, in the order of their making.
    pub(in super::super) snapshots: Vec<CopiedRow>,
    /// New ones that were left out, because the other repository has removed them.
    pub(in super::super) removed_there: Vec<SnapshotId>,
    /// Seconds spent in each stage, and in all of them together as `total`; null of a dry run.
    pub(in super::super) seconds: Option<BTreeMap<String, f64>>,
}

/// How many snapshots there were of each state.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct CopiedCounts {
    /// Copied, or to be copied.
    pub(in super::super) copied: u64,
    /// There already, with the same content.
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
    /// `copied`, `planned`, `present`; `damaged`, `unreadable`, `other_content` or `in_trash` where it was not copied.
    pub(in super::super) state: &'static str,
    /// Why it was not copied.
    pub(in super::super) reason: Option<String>,
    /// What is damaged in it and intact nowhere else.
    pub(in super::super) damage: Vec<CopyDamage>,
    /// What is damaged in it, and was copied from another snapshot.
    pub(in super::super) intact: Vec<CopyIntact>,
    /// Tables whose parts it has; this and the five below are null unless it was copied.
    pub(in super::super) tables: Option<u64>,
    /// Their parts.
    pub(in super::super) parts: Option<u64>,
    /// Files in them.
    pub(in super::super) files: Option<u64>,
    /// Sum of their sizes.
    pub(in super::super) apparent_bytes: Option<u64>,
    /// What they take in the other repository.
    pub(in super::super) allocated_bytes: Option<u64>,
    /// What of that the snapshot before it there does not have.
    pub(in super::super) written_bytes: Option<u64>,
    /// How its parts came there; null unless it was copied.
    pub(in super::super) placed: Option<PlacedTotals>,
    /// Of these, what an interrupted copy had left.
    pub(in super::super) resumed: Option<PartTally>,
    /// Files that were copied because an equal one has as many links as it may have.
    pub(in super::super) link_limit_files: Option<u64>,
    /// Its definitions, dumps and other files that are no part's.
    pub(in super::super) metadata_files: Option<u64>,
    /// Whether it is pinned in the other repository; null unless it was copied.
    pub(in super::super) pinned: Option<bool>,
    /// The pin that came with it.
    pub(in super::super) pin: Option<PinRow>,
    /// Of a dry run: parts that the other repository has as a whole.
    pub(in super::super) linked: Option<PartTally>,
    /// Of a dry run: all other parts; single files of them may be linked too.
    pub(in super::super) to_copy: Option<PartTally>,
}

/// Something that is not as it was recorded.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CopyDamage {
    /// Where it is, relative to the snapshot.
    pub(in super::super) path: String,
    /// `database.table`, of a part.
    pub(in super::super) table: Option<String>,
    /// The part, where it is one.
    pub(in super::super) part: Option<PartName>,
    /// What is wrong.
    pub(in super::super) found: String,
}

/// Something damaged that was copied from another snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CopyIntact {
    /// What is wrong.
    #[serde(flatten)]
    pub(in super::super) damage: CopyDamage,
    /// The snapshot that has it whole.
    pub(in super::super) snapshot: SnapshotId,
}
