//! Moves snapshots to the trash, brings them back, and empties the trash.

use chrono::{DateTime, TimeDelta, Utc};

use crate::exec::{self, Removed};
use crate::fs;
use crate::model::{SnapshotId, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, StageAtWork, StageWork};
use crate::plan::{KnownSnapshot, ReferenceError, SnapshotReference};
use crate::repo::{Event, Index, Locked, Removal, Repository, Summary, ToRemove};
use crate::server::Server;

use super::error::OpError;
use super::read::resolve;
use super::recover::{recover, report};
use super::trash::{TrashHistory, name_of, removed_recently};

/// Finds the snapshots that are to be moved to the trash.
///
/// # Errors
/// If one does not exist or, without `force`, is pinned or the last complete one.
pub fn plan_removal(
    repository: &Repository,
    references: &[SnapshotReference],
    force: bool,
    now: DateTime<Utc>,
) -> Result<Vec<SnapshotId>, OpError> {
    let index = Index::open(repository)?;
    let mut ids: Vec<SnapshotId> =
        references.iter().map(|reference| resolve(&index, reference)).collect::<Result<_, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    if !force {
        for id in &ids {
            if let Some(pin) = repository.pin(*id)?.filter(|pin| pin.holds(now)) {
                let why = match pin.reason.as_str() {
                    "" => "pinned".to_owned(),
                    reason => format!("pinned: {}", reason.escape_debug()),
                };
                return Err(OpError::Guarded { id: *id, why });
            }
        }
        if let Some(id) = last_of(&index, &ids) {
            return Err(OpError::Guarded { id, why: "the last complete snapshot".to_owned() });
        }
    }
    Ok(ids)
}

/// Moves snapshots to the trash. The plan is complete before anything is moved.
///
/// # Errors
/// As [`plan_removal`], or if one cannot be moved.
pub fn remove(
    locked: &Locked<'_>,
    references: &[SnapshotReference],
    force: bool,
    now: DateTime<Utc>,
) -> Result<Vec<SnapshotId>, OpError> {
    let repository = locked.repository();
    let ids = plan_removal(repository, references, force, now)?;
    let why = if force { "named, with --force" } else { "named" };
    locked.remove_snapshots(&ids, &Removal::by("rm", why), now)?;
    Index::open(repository)?;
    Ok(ids)
}

/// The newest of these, if removing them would leave no good snapshot of the main series, or no readable one at all.
fn last_of(index: &Index, ids: &[SnapshotId]) -> Option<SnapshotId> {
    let main = &index.series().main;
    let last = |is_meant: &dyn Fn(&Summary) -> bool| {
        let mut meant = index.summaries().iter().filter(|summary| is_meant(summary));
        let newest = meant.clone().next_back()?.id;
        meant.all(|summary| ids.contains(&summary.id)).then_some(newest)
    };
    last(&|summary| summary.is_good() && summary.is_of(main)).or_else(|| last(&|summary| summary.is_complete()))
}

/// The result of an undo.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Undone {
    /// The snapshots that were brought back.
    pub restored: Vec<SnapshotId>,
    /// The snapshots that are still in the trash.
    pub remaining: Vec<SnapshotId>,
}

/// Brings back from the trash what the last removal put there, or the snapshots that are named.
///
/// # Errors
/// If there is nothing to bring back, or a named snapshot is not in the trash. The error then states when and why it
/// was removed, if the journal records that.
pub fn undo(locked: &Locked<'_>, references: &[SnapshotReference], now: DateTime<Utc>) -> Result<Undone, OpError> {
    let repository = locked.repository();
    let in_trash = repository.removed_ids()?;
    let history = TrashHistory::of(&repository.events());
    let mut restored = if references.is_empty() {
        if in_trash.is_empty() {
            return Err(OpError::NothingToUndo { emptied: history.last_emptied.map(Box::new) });
        }
        // Without its journal the repository does not record the last removal: then the newest snapshot is taken.
        let last = history.last_removed(&in_trash);
        last.or_else(|| in_trash.last().map(|id| vec![*id])).unwrap_or_default()
    } else {
        let names: Vec<Option<String>> = in_trash.iter().map(|id| name_of(repository, *id)).collect();
        let known = in_trash.iter().zip(&names);
        let known: Vec<KnownSnapshot<'_>> =
            known.map(|(id, name)| KnownSnapshot { id: *id, name: name.as_deref() }).collect();
        let present = repository.snapshot_ids()?.0;
        let find = |reference: &SnapshotReference| {
            reference.resolve(&known).map_err(|error| match reference {
                SnapshotReference::Id(id) if present.contains(id) => ReferenceError::NotRemoved { id: *id }.into(),
                _ => history.gone(reference).unwrap_or_else(|| error.into()),
            })
        };
        references.iter().map(find).collect::<Result<Vec<_>, _>>()?
    };
    restored.sort_unstable();
    restored.dedup();
    locked.restore_snapshots(&restored, now)?;
    Index::open(repository)?;
    let remaining = in_trash.into_iter().filter(|id| !restored.contains(id)).collect();
    Ok(Undone { restored, remaining })
}

/// The result of emptying the trash.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct EmptiedTrash {
    /// The deleted snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// The snapshots that stay in the trash because they have not been there long enough.
    pub spared: Vec<SnapshotId>,
    /// The number of entries that were unlinked.
    pub removed: Removed,
    /// How much the filesystem's free space grew, including the effect of concurrent writes.
    pub freed_bytes: u64,
    /// The work that could not be done now, with the reasons.
    pub warnings: Vec<Warning>,
}

/// Empties the trash, after repairing what interrupted runs left.
///
/// # Errors
/// If something cannot be removed. The next call continues from there.
pub fn collect_garbage(
    locked: &Locked<'_>,
    connect: impl FnOnce() -> Option<Server>,
    monitor: &dyn Monitor,
    jobs: usize,
    now: DateTime<Utc>,
) -> Result<EmptiedTrash, OpError> {
    collect_older_garbage(locked, connect, monitor, jobs, (TimeDelta::zero(), now))
}

/// As [`collect_garbage`], except for snapshots that were removed within this time before now.
///
/// # Errors
/// As [`collect_garbage`].
pub fn collect_older_garbage(
    locked: &Locked<'_>,
    connect: impl FnOnce() -> Option<Server>,
    monitor: &dyn Monitor,
    jobs: usize,
    (older_than, now): (TimeDelta, DateTime<Utc>),
) -> Result<EmptiedTrash, OpError> {
    let spared = removed_recently(locked.repository(), older_than, now)?;
    let pool = exec::pool(jobs)?;
    let before = fs::space(locked.repository().dir())?;
    let needs_server =
        locked.leftovers()?.iter().any(|left| left.intent.as_ref().is_some_and(|intent| !intent.freezes.is_empty()));
    let server = if needs_server { connect() } else { None };
    let recovery = pool.install(|| recover(locked, server.as_ref(), monitor))?;
    let removing = StageAtWork::start(monitor, Stage::Remove, None);
    let ToRemove { trash, names, ids, leased } = locked.condemn_trash(&spared)?;
    let emptied = Event::Emptied { ids: ids.clone() };
    let is_recorded = ids.is_empty() || locked.record_if_there_is_room(now, &emptied)?;
    let mut removed = recovery.removed;
    pool.install(|| -> Result<(), OpError> {
        for name in &names {
            locked.confirm()?;
            removed += exec::remove_tree(&trash, name, &|done| report(monitor, done))?;
            monitor.advanced(Stage::Remove, StageWork { tables: 1, ..StageWork::default() });
        }
        Ok(())
    })?;
    trash.sync()?;
    if !is_recorded {
        // Now there may be space for it.
        locked.record_if_there_is_room(now, &emptied)?;
    }
    trash.sync_filesystem()?;
    let after = fs::space(locked.repository().dir())?;
    drop(removing);
    let in_use = |id: &SnapshotId| {
        let message = format!("{id} stays in the trash: another command is reading it");
        Warning::new(WarningKind::SnapshotInUse, message)
    };
    let warnings = recovery.warnings().chain(leased.iter().map(in_use)).collect();
    let spared = spared.into_iter().collect();
    // Other processes write and remove files meanwhile, which this command must not count as its own effect.
    let grown = after.free_bytes.saturating_sub(before.free_bytes);
    let freed_bytes = if removed.files == 0 && removed.directories == 0 { 0 } else { grown };
    Ok(EmptiedTrash { snapshots: ids, spared, removed, freed_bytes, warnings })
}
