//! Pins: snapshots that stay whatever the rules say, until they are unpinned.

use chrono::{DateTime, Utc};

use crate::model::SnapshotId;
use crate::plan::SnapshotReference;
use crate::repo::{Event, Index, Locked, Pin};

use super::error::OpError;
use super::read::resolve;

/// A snapshot that was pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pinned {
    /// The snapshot.
    pub id: SnapshotId,
    /// The pin that it had before, if that was still in force.
    pub replaced: Option<Pin>,
}

/// Pins a snapshot. Replaces a pin that it already has.
///
/// # Errors
/// If there is no such snapshot, or the pin or the journal cannot be written.
pub fn pin(locked: &Locked<'_>, reference: &SnapshotReference, pin: &Pin) -> Result<Pinned, OpError> {
    let repository = locked.repository();
    let id = resolve(&Index::open(repository)?, reference)?;
    let replaced = repository.pin(id)?.filter(|before| before.holds(pin.since));
    locked.set_pin(id, pin)?;
    locked.record(pin.since, &Event::Pinned { id, reason: pin.reason.clone(), until: pin.until })?;
    Ok(Pinned { id, replaced })
}

/// The outcome of unpinning some snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unpinned {
    /// Snapshots that were unpinned.
    pub unpinned: Vec<SnapshotId>,
    /// Snapshots that were not pinned.
    pub not_pinned: Vec<SnapshotId>,
}

/// Removes the pins of snapshots. Resolves all references before it removes any pin.
///
/// # Errors
/// If a snapshot does not exist, or a pin cannot be removed.
pub fn unpin(locked: &Locked<'_>, references: &[SnapshotReference], now: DateTime<Utc>) -> Result<Unpinned, OpError> {
    let repository = locked.repository();
    let index = Index::open(repository)?;
    let mut ids: Vec<SnapshotId> =
        references.iter().map(|reference| resolve(&index, reference)).collect::<Result<_, _>>()?;
    ids.sort_unstable();
    ids.dedup();
    let mut done = Unpinned::default();
    for id in ids {
        let held = repository.pin(id)?.is_some_and(|pin| pin.holds(now));
        // An expired pin is removed as well, though it has no effect any more.
        locked.forget_pin(id)?;
        if held { &mut done.unpinned } else { &mut done.not_pinned }.push(id);
    }
    if !done.unpinned.is_empty() {
        locked.record_if_there_is_room(now, &Event::Unpinned { ids: done.unpinned.clone() })?;
    }
    Ok(done)
}
