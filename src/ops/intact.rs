//! Intact copies, in other snapshots, of parts that are noted as damaged.
//!
//! A copy is the same part of the same table, with equal sizes and equal files outside `checksums.txt`, and every byte
//! of it was read now and is as it was recorded. The search only reads; `verify --repair` repairs the snapshot itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::exec::verify::{InodeKey, PartFinding, PartGroup, PartInSnapshot, UnreadPaths, Verifier};
use crate::fs::{Dir, FsError, ReadOptions};
use crate::model::{Level, PartName, SnapshotId, TableName};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::error::OpError;
use crate::repo::{self, Index, Lease, PartRecord, Repository, SnapshotState, read_parts};

/// A copy in another snapshot, which cannot be removed while this value exists.
#[derive(Clone, Debug)]
pub(super) struct IntactCopy {
    pub(super) snapshot: SnapshotId,
    /// The directory of the part.
    pub(super) dir: Dir,
    _lease: Arc<Lease>,
}

/// A part of a table.
type TablePartKey = (TableName, PartName);

/// Copies by table and part.
pub(super) type IntactCopies = BTreeMap<TablePartKey, IntactCopy>;

/// Looks for copies of these parts of a snapshot, in the newest snapshots first. An unreadable part does not count as a
/// copy.
///
/// # Errors
/// If the repository cannot be read.
pub(super) fn find(
    repository: &Repository,
    (snapshot, dir): (SnapshotId, &Dir),
    damaged: &BTreeMap<TablePartKey, &PartRecord>,
    monitor: &dyn Monitor,
) -> Result<IntactCopies, OpError> {
    let mut search = IntactCopySearch { damaged, monitor, found: BTreeMap::new(), tried: HashSet::new() };
    if damaged.is_empty() {
        return Ok(search.found);
    }
    for (key, record) in damaged {
        if let Ok(Some(part)) = part_dir(dir, record) {
            search.tried.insert((key.clone(), inodes(&part)));
        }
    }
    let ids: Vec<SnapshotId> = Index::open(repository)?.summaries().iter().map(|summary| summary.id).collect();
    for id in ids.into_iter().rev().filter(|id| *id != snapshot) {
        if search.is_done() {
            break;
        }
        let Ok(lease) = repository.lease(id) else { continue };
        let Ok(SnapshotState::Complete(manifest)) = repository.snapshot(id) else { continue };
        let Ok(records) = read_parts(lease.dir(), &manifest.parts_blake3) else { continue };
        let keeps_ids = manifest.settings.ids != "record";
        search.look_at(&Arc::new(lease), id, &records, keeps_ids);
    }
    Ok(search.found)
}

fn part_dir(snapshot: &Dir, record: &PartRecord) -> Result<Option<Dir>, FsError> {
    snapshot.find_beneath(&repo::part_path(&record.table, &record.part))
}

/// The inodes of a part's files: two directories with the same inodes are one copy.
fn inodes(dir: &Dir) -> BTreeSet<InodeKey> {
    let entries = dir.entries().unwrap_or_default();
    let stats = entries.iter().filter_map(|entry| dir.find(&entry.name).ok().flatten());
    stats.filter(|stat| stat.kind == crate::fs::EntryKind::File).map(|stat| InodeKey::from(&stat)).collect()
}

/// Whether two records describe the same part with the same content, ignoring owners, modes and times.
fn is_same_part(one: &PartRecord, other: &PartRecord) -> bool {
    let names = |record: &PartRecord| (Arc::clone(&record.table), record.part.clone());
    let content = |record: &PartRecord| (record.uuid.clone(), record.fingerprint, record.bytes, record.files);
    names(one) == names(other)
        && one.fingerprint.is_some()
        && content(one) == content(other)
        && one.uncovered == other.uncovered
}

struct IntactCopySearch<'a> {
    damaged: &'a BTreeMap<TablePartKey, &'a PartRecord>,
    monitor: &'a dyn Monitor,
    found: IntactCopies,
    tried: HashSet<(TablePartKey, BTreeSet<InodeKey>)>,
}

impl IntactCopySearch<'_> {
    fn is_done(&self) -> bool {
        self.found.len() == self.damaged.len()
    }

    fn look_at(&mut self, lease: &Arc<Lease>, snapshot: SnapshotId, records: &[PartRecord], keeps_ids: bool) {
        for record in records {
            let key = (record.table_name(), record.part.clone());
            let is_wanted = self.damaged.get(&key).is_some_and(|damaged| is_same_part(damaged, record));
            if !is_wanted || self.found.contains_key(&key) || record.unverifiable.is_some() {
                continue;
            }
            let Ok(Some(dir)) = part_dir(lease.dir(), record) else { continue };
            if self.tried.insert((key.clone(), inodes(&dir))) && self.is_intact(lease.dir(), record, keeps_ids) {
                self.found.insert(key, IntactCopy { snapshot, dir, _lease: Arc::clone(lease) });
            }
        }
    }

    fn is_intact(&self, snapshot: &Dir, record: &PartRecord, keeps_ids: bool) -> bool {
        findings(snapshot, record, keeps_ids, self.monitor).is_some_and(|findings| findings.is_empty())
    }
}

/// Whether every byte of a part is as it was recorded, ignoring owners and modes. Reads all of it.
pub(super) fn is_whole(snapshot: &Dir, record: &PartRecord, monitor: &dyn Monitor) -> bool {
    findings(snapshot, record, false, monitor).is_some_and(|findings| findings.is_empty())
}

/// The damage of a part, or `None` if some of it could not be read.
fn findings(snapshot: &Dir, record: &PartRecord, keeps_ids: bool, monitor: &dyn Monitor) -> Option<Vec<PartFinding>> {
    let advanced = |bytes| monitor.advanced(Stage::Check, StageWork { bytes, ..StageWork::default() });
    let (snapshots, unread) = ([snapshot.clone()], UnreadPaths::default());
    let options = ReadOptions { rate: None, advanced: &advanced };
    let verifier = Verifier::new(&snapshots, Level::Data, options, &unread);
    let instance = PartInSnapshot { snapshot: 0, record: Arc::new(record.clone()), covered: false, keeps_ids };
    let group = PartGroup { table: record.table_name(), part: record.part.clone(), instances: vec![instance] };
    let outcome = verifier.check(&group);
    (unread.into_parts().0 == 0).then_some(outcome.findings)
}
