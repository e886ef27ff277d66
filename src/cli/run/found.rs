//! Reads the findings of a step from the document of its command.

use std::collections::BTreeMap;

use chsnap::model::SnapshotId;
use chsnap::ops::nightly::{CopyCounts, Created, Drilled, Order, Pruned, Reclaimed, StepFindings, VerifyResult};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct CreatedCounts {
    id: SnapshotId,
    tables: u64,
    parts: u64,
    written_bytes: u64,
    seconds: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct GcCountsRow {
    removed: Vec<SnapshotId>,
    freed_bytes: u64,
}

#[derive(Deserialize)]
struct SnapshotIdRow {
    id: SnapshotId,
}

/// The counts in the answer of `prune`; the reason if it was refused.
#[derive(Deserialize)]
struct PrunedCounts {
    keep: Vec<SnapshotIdRow>,
    remove: Vec<SnapshotIdRow>,
}

#[derive(Deserialize)]
struct VerifyCounts {
    read_bytes: u64,
}

#[derive(Deserialize)]
struct DamagedPath {
    path: String,
}

#[derive(Deserialize)]
struct VerifiedCounts {
    slice: Option<String>,
    checked: VerifyCounts,
    damage: Vec<DamagedPath>,
    drift: Vec<Value>,
}

#[derive(Deserialize)]
struct TriedCounts {
    tables: u64,
}

#[derive(Deserialize)]
struct TableOf {
    database: String,
    table: String,
}

#[derive(Deserialize)]
struct DrillRow {
    from: TableOf,
    verdict: String,
}

#[derive(Deserialize)]
struct DrilledCounts {
    snapshot: SnapshotId,
    tables: Vec<DrillRow>,
    totals: TriedCounts,
}

#[derive(Deserialize)]
struct CopyCountsRow {
    copied: u64,
    refused: u64,
}

#[derive(Deserialize)]
struct PushCountsRow {
    pushed: u64,
    damaged: u64,
}

/// The findings in the document of a step; `None` if it is a different document, such as that of a failure.
pub(super) fn found(order: &Order, document: &Value) -> Option<StepFindings> {
    Some(match order {
        Order::Copy { to } => {
            let CopyCountsRow { copied, refused } = read(document)?;
            StepFindings::Copied(CopyCounts { to: to.clone(), copied, refused })
        }
        Order::Push { to } => {
            let PushCountsRow { pushed, damaged } = read(document)?;
            StepFindings::Copied(CopyCounts { to: to.clone(), copied: pushed, refused: damaged })
        }
        Order::Create => {
            let CreatedCounts { id, tables, parts, written_bytes, seconds } = read(document)?;
            StepFindings::Created(Created { id, tables, parts, written_bytes, seconds })
        }
        Order::Gc { .. } => {
            let GcCountsRow { removed, freed_bytes } = read(document)?;
            StepFindings::Reclaimed(Reclaimed { deleted: removed, freed_bytes })
        }
        Order::Prune => {
            let PrunedCounts { keep, remove } = read(document)?;
            let remove = remove.into_iter().map(|row| row.id).collect();
            StepFindings::Pruned(Pruned { remove, kept: keep.len() as u64 })
        }
        Order::Verify { .. } => {
            let VerifiedCounts { slice, checked, damage, drift } = read(document)?;
            StepFindings::Verified(VerifyResult {
                share: slice.unwrap_or_default(),
                read_bytes: checked.read_bytes,
                damaged: damage.into_iter().map(|row| row.path).collect(),
                drifted: drift.len() as u64,
            })
        }
        Order::Drill => {
            let DrilledCounts { snapshot, tables, totals } = read(document)?;
            let failed = tables.into_iter().filter(|row| row.verdict == "failed");
            let failed = failed.map(|row| format!("{}.{}", row.from.database, row.from.table)).collect();
            StepFindings::Drilled(Drilled { snapshot, tried: totals.tables, failed })
        }
    })
}

fn read<'a, T: Deserialize<'a>>(document: &'a Value) -> Option<T> {
    match T::deserialize(document) {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::debug!(%error, "the document of a step is not read");
            None
        }
    }
}
