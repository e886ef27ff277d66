//! Snapshots of the target that whole parts are linked from.

use chrono::{DateTime, Utc};

use crate::fs::Dir;
use crate::model::{PartName, SnapshotId, TableName};
use crate::plan::SeriesKey;
use crate::repo::{Index, PartRecord, RepoError, Repository, SnapshotState, Summary, read_parts};

/// Lists of parts held in memory at once, besides that of the snapshot being copied.
const BASES: usize = 2;

/// The parts of a snapshot, by table and name.
#[derive(Debug, Default)]
pub(in crate::ops) struct PartList(Vec<PartRecord>);

type RecordKey<'a> = (&'a TableName, &'a str);

fn key(record: &PartRecord) -> RecordKey<'_> {
    (&record.table, record.part.as_str())
}

impl PartList {
    pub(in crate::ops) fn new(mut records: Vec<PartRecord>) -> Self {
        records.sort_by(|a, b| key(a).cmp(&key(b)));
        Self(records)
    }

    /// The part that certainly has the same content as this one: the same part of the same table.
    pub(in crate::ops) fn find_same(&self, record: &PartRecord) -> Option<&PartRecord> {
        let place = self.0.binary_search_by(|held| key(held).cmp(&key(record))).ok()?;
        self.0.get(place).filter(|held| held.uuid == record.uuid && held.proves_content_of(record))
    }

    fn remove(&mut self, damaged: &std::collections::BTreeSet<(TableName, PartName)>) {
        if !damaged.is_empty() {
            self.0.retain(|record| !damaged.contains(&(record.table_name(), record.part.clone())));
        }
    }
}

/// A snapshot of the target.
#[derive(Debug)]
pub(in crate::ops) struct Base {
    pub(in crate::ops) id: SnapshotId,
    /// When its files were written, or when writing them began.
    pub(in crate::ops) since: DateTime<Utc>,
    pub(in crate::ops) dir: Dir,
    pub(in crate::ops) parts: PartList,
}

impl Base {
    /// Reads the snapshots nearest to a new one of `series` at this place in the order. A snapshot that cannot be read
    /// is left out: single files are then linked from it all the same, or copied.
    pub(in crate::ops) fn nearest(
        repository: &Repository,
        index: &Index,
        (id, sequence): (SnapshotId, u64),
        series: &SeriesKey,
    ) -> Vec<Self> {
        let readable = || index.summaries().iter().filter(|summary| summary.is_complete());
        let is_before = |summary: &&Summary| (summary.sequence.unwrap_or(0), summary.id) < (sequence, id);
        let is_own = |summary: &&Summary| summary.is_of(series);
        let before = readable().filter(is_before).rfind(is_own);
        let before_of_any = readable().rfind(is_before);
        let after = readable().filter(|summary| !is_before(summary)).find(is_own);
        let after_of_any = readable().find(|summary| !is_before(summary));
        let mut bases: Vec<Self> = Vec::new();
        for summary in [before, after, before_of_any, after_of_any].into_iter().flatten() {
            if bases.len() < BASES && !bases.iter().any(|base| base.id == summary.id) {
                match Self::read(repository, summary.id) {
                    Ok(base) => bases.extend(base),
                    Err(error) => {
                        tracing::warn!(%error, snapshot = %summary.id, "no whole part is linked from a snapshot");
                    }
                }
            }
        }
        bases
    }

    fn read(repository: &Repository, id: SnapshotId) -> Result<Option<Self>, RepoError> {
        let dir = repository.snapshot_dir(id)?;
        let SnapshotState::Complete(manifest) = repository.snapshot(id)? else { return Ok(None) };
        let mut parts = PartList::new(read_parts(&dir, &manifest.parts_blake3)?);
        // A part that a verification found damaged is never a source.
        parts.remove(&repository.damaged_parts(id));
        let since = manifest.written_since();
        Ok(Some(Self { id, since, dir, parts }))
    }
}
