//! Snapshots that stay whatever the rules say, and may go again.

use chrono::{DateTime, Utc};

use crate::model::SnapshotId;
use crate::plan::SnapshotReference;
use crate::repo::{Event, Index, Locked, Pin};

use super::error::OpError;
use super::read::resolve;

/// A snapshot that was pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pinned {
    /// The snapshot.
    pub id: SnapshotId,
    /// The pin that it had before, if it had one that held.
    pub replaced: Option<Pin>,
}

/// Pins a snapshot; a pin that it has is replaced.
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

/// What became of the pins of some snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpinned {
    /// Snapshots that are pinned no longer.
    pub unpinned: Vec<SnapshotId>,
    /// Snapshots that were not pinned.
    pub not_pinned: Vec<SnapshotId>,
}

/// Takes the pins of snapshots away. Every one is found before any pin goes.
///
/// # Errors
/// If one is not there, or a pin cannot be removed.
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
        // One that has ended goes as well, though it says nothing any more.
        locked.forget_pin(id)?;
        if held { &mut done.unpinned } else { &mut done.not_pinned }.push(id);
    }
    if !done.unpinned.is_empty() {
        locked.record_if_there_is_room(now, &Event::Unpinned { ids: done.unpinned.clone() })?;
    }
    Ok(done)
}
