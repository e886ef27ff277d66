//! The contents of the trash: when and why snapshots were removed, and what emptying frees. Also what was unlinked
//! already.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::{PathMap, SnapshotId, Warning};
use crate::plan::{Holders, SnapshotReference};
use crate::repo::{Event, Removal, Repository, SnapshotState};

use super::error::OpError;
use super::gone::DeletedSnapshot;
use super::journal::journal_warnings;
use super::usage::measure;

/// A snapshot in the trash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrashedSnapshot {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its label, if it has one that is readable.
    pub name: Option<String>,
    /// When it was removed.
    pub removed: DateTime<Utc>,
    /// The command that removed it, and why, as recorded in the journal.
    pub removal: Removal,
    /// The space that unlinking it alone frees.
    pub freed_bytes: u64,
}

/// The trash.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Trash {
    /// Snapshots that can be brought back, the oldest removal first.
    pub snapshots: Vec<TrashedSnapshot>,
    /// The space that unlinking all of it frees.
    pub freed_bytes: u64,
    /// The space that unlinking the leftovers of interrupted runs frees.
    pub interrupted_bytes: u64,
    /// The warnings: entries that could not be counted, and parts of the journal that cannot be read.
    pub warnings: Vec<Warning>,
}

/// Lists the trash. Changes nothing but the index.
///
/// # Errors
/// If the repository cannot be read.
pub fn trash(repository: &Repository, paths: &PathMap, jobs: usize) -> Result<Trash, OpError> {
    let measured = measure(repository, paths, jobs)?;
    let history = TrashHistory::of(&repository.events());
    let first = measured.summaries.len();
    let of = |(place, id): (usize, &SnapshotId)| -> Result<TrashedSnapshot, OpError> {
        let (removed, removal) = match history.removals.get(id) {
            Some((time, removal)) => (*time, removal.clone()),
            None => (moved(repository, *id)?, Removal::default()),
        };
        let freed_bytes = measured.space.freed_bytes(&[first + place].into_iter().collect::<Holders>());
        Ok(TrashedSnapshot { id: *id, name: name_of(repository, *id), removed, removal, freed_bytes })
    };
    let mut snapshots = measured.removed.iter().enumerate().map(of).collect::<Result<Vec<_>, _>>()?;
    snapshots.sort_by_key(|snapshot| (snapshot.removed, snapshot.id));
    let freed_bytes = measured.space.freed_bytes(&measured.trash());
    let interrupted_bytes = measured.interrupted_bytes();
    let mut warnings = measured.warnings;
    warnings.extend(journal_warnings(repository));
    Ok(Trash { snapshots, freed_bytes, interrupted_bytes, warnings })
}

/// The label of a snapshot in the trash.
pub(super) fn name_of(repository: &Repository, id: SnapshotId) -> Option<String> {
    match repository.removed_snapshot(id) {
        Ok(SnapshotState::Complete(manifest)) => manifest.label.text,
        _ => None,
    }
}

/// When a directory was moved into the trash, according to its inode: the disk may have been too full for the journal.
fn moved(repository: &Repository, id: SnapshotId) -> Result<DateTime<Utc>, OpError> {
    let (seconds, nanoseconds) = repository.removed_dir(id)?.stat_self()?.changed;
    Ok(DateTime::from_timestamp(seconds, nanoseconds).unwrap_or_default())
}

/// The snapshots in the trash that have been there for less than this time.
pub(super) fn removed_recently(
    repository: &Repository,
    older_than: TimeDelta,
    now: DateTime<Utc>,
) -> Result<BTreeSet<SnapshotId>, OpError> {
    if older_than.is_zero() {
        return Ok(BTreeSet::new());
    }
    let history = TrashHistory::of(&repository.events());
    let mut removed_recently = BTreeSet::new();
    for id in repository.removed_ids()? {
        let removed = history.removals.get(&id).map_or_else(|| moved(repository, id), |(time, _)| Ok(*time))?;
        if now.signed_duration_since(removed) < older_than {
            removed_recently.insert(id);
        }
    }
    Ok(removed_recently)
}

/// The removals recorded in the journal.
#[derive(Clone, Debug, Default)]
pub(super) struct TrashHistory {
    /// The last removal of each snapshot.
    removals: BTreeMap<SnapshotId, (DateTime<Utc>, Removal)>,
    /// When each snapshot was last unlinked.
    emptied: BTreeMap<SnapshotId, DateTime<Utc>>,
    /// The removals in chronological order.
    order: Vec<Vec<SnapshotId>>,
    /// The last snapshot that was unlinked from the trash.
    pub(super) last_emptied: Option<DeletedSnapshot>,
}

impl TrashHistory {
    /// The history of removals in these events, which are in chronological order.
    pub(super) fn of(events: &[(DateTime<Utc>, Event)]) -> Self {
        let mut history = Self::default();
        for (time, event) in events {
            match event {
                Event::Removed { ids, removal } => {
                    history.removals.extend(ids.iter().map(|id| (*id, (*time, removal.clone()))));
                    history.order.push(ids.clone());
                }
                Event::Emptied { ids } => {
                    history.emptied.extend(ids.iter().map(|id| (*id, *time)));
                    if let Some(id) = ids.iter().max() {
                        let removed = history.removals.get(id).cloned();
                        history.last_emptied = Some(DeletedSnapshot { id: *id, emptied: *time, removed });
                    }
                }
                _ => {}
            }
        }
        history
    }

    /// The snapshots of one removal that are still in the trash: of the last removal that has any there.
    pub(super) fn last_removed(&self, in_trash: &[SnapshotId]) -> Option<Vec<SnapshotId>> {
        let left = |ids: &Vec<SnapshotId>| -> Vec<SnapshotId> {
            ids.iter().copied().filter(|id| in_trash.contains(id)).collect()
        };
        self.order.iter().rev().map(left).find(|ids| !ids.is_empty())
    }

    /// The error about a snapshot that is gone for good, with when and why.
    pub(super) fn gone(&self, reference: &SnapshotReference) -> Option<OpError> {
        let SnapshotReference::Id(id) = reference else { return None };
        let emptied = *self.emptied.get(id)?;
        let gone = DeletedSnapshot { id: *id, emptied, removed: self.removals.get(id).cloned() };
        Some(OpError::Gone(Box::new(gone)))
    }
}
