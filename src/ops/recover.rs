//! Repairs what an earlier run left, and releases our own shadows.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::exec::{self, Removed};
use crate::fs::{Dir, ErrorKind, FsError};
use crate::model::{FreezeName, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::repo::{CreateIntent, Locked, ShadowPlace};
use crate::server::{self, Server};

use super::error::OpError;

/// The result of a recovery.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Recovery {
    /// The number of entries that were unlinked.
    pub removed: Removed,
    /// The work that could not be done now, with the reasons.
    pub pending: Vec<String>,
}

impl Recovery {
    /// A warning for each thing that could not be done.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Warning> + '_ {
        self.pending.iter().map(|message| Warning::new(WarningKind::LeftoverPending, message))
    }
}

/// The interval at which the server is asked whether it still freezes.
const POLL: Duration = Duration::from_millis(200);

/// Discards what interrupted runs were building and releases their shadows.
///
/// A shadow is released only once the server, which must be asked, no longer runs a freeze of that name. If no server
/// is available the intent stays, and a later run releases the shadow.
///
/// # Errors
/// If the repository itself cannot be repaired.
pub fn recover(locked: &Locked<'_>, server: Option<&Server>, monitor: &dyn Monitor) -> Result<Recovery, OpError> {
    recover_interrupted(locked, server, monitor, false).map(|(recovery, _)| recovery)
}

/// The copies of an interrupted run, kept to be linked from.
#[derive(Clone, Debug)]
pub(super) struct InterruptedRun {
    pub(super) intent: CreateIntent,
    /// Whether its shadows are gone, so that the intent may go too.
    is_released: bool,
}

/// As [`recover`], but keeps copied parts until [`discard_kept`].
///
/// # Errors
/// As [`recover`].
pub(super) fn recover_and_keep(
    locked: &Locked<'_>,
    server: Option<&Server>,
    monitor: &dyn Monitor,
) -> Result<(Recovery, Vec<InterruptedRun>), OpError> {
    recover_interrupted(locked, server, monitor, true)
}

/// Removes the kept copies of interrupted runs.
///
/// # Errors
/// If they cannot be removed.
pub(super) fn discard_kept(locked: &Locked<'_>, kept: &[InterruptedRun], monitor: &dyn Monitor) -> Result<(), OpError> {
    for kept in kept {
        locked.discard_incoming(kept.intent.id)?;
        if kept.is_released {
            locked.forget_intent(kept.intent.id)?;
        }
    }
    remove_discarded(locked, monitor)?;
    Ok(())
}

fn recover_interrupted(
    locked: &Locked<'_>,
    server: Option<&Server>,
    monitor: &dyn Monitor,
    keeps: bool,
) -> Result<(Recovery, Vec<InterruptedRun>), OpError> {
    let mut kept = Vec::new();
    let mut recovery = Recovery::default();
    locked.remove_torn_files()?;
    let leftovers = locked.leftovers()?;
    if !leftovers.is_empty() {
        monitor.note("putting in order what an interrupted run has left");
    }
    for leftover in &leftovers {
        if !locked.repository().has_snapshot(leftover.id)? {
            // It never became a snapshot: its pin must not pass to a later one of the same id.
            locked.forget_pin(leftover.id)?;
        }
        let copied = leftover.intent.as_ref().and_then(|intent| intent.commits_as);
        if let Some(copied) = copied
            && !locked.repository().has_snapshot(copied)?
        {
            locked.forget_pin(copied)?;
        }
        let intent = leftover.intent.as_ref().filter(|intent| keeps && intent.copies);
        let is_kept = leftover.has_tree && intent.is_some() && locked.leftover_data(leftover.id)?.is_some();
        if leftover.has_tree && !is_kept {
            locked.discard_incoming(leftover.id)?;
        }
        let mut is_released = false;
        let mut forget = || {
            is_released = true;
            if is_kept { Ok(()) } else { locked.forget_intent(leftover.id) }
        };
        match (&leftover.intent, server) {
            (Some(intent), _) if intent.freezes.is_empty() => forget()?,
            (Some(intent), Some(server)) if !is_its_server(locked, server, intent) => recovery.pending.push(format!(
                "shadow/{} of the interrupted run {} is on the host {}, and not on this server: chsnap gc there releases it",
                intent.freezes.iter().map(FreezeName::as_str).collect::<Vec<_>>().join(", shadow/"),
                leftover.id,
                intent.host
            )),
            (Some(intent), Some(server)) => match release(locked, server, intent) {
                Ok(removed) => {
                    recovery.removed += removed;
                    forget()?;
                }
                Err(error) => recovery.pending.push(format!(
                    "the freeze of the interrupted run {} is not released yet: {}",
                    leftover.id,
                    crate::monitor::chain(&error)
                )),
            },
            (Some(intent), None) => recovery.pending.push(format!(
                "shadow/{} of the interrupted run {} may still be there: it is released once the server can be reached",
                intent.freezes.iter().map(FreezeName::as_str).collect::<Vec<_>>().join(", shadow/"),
                leftover.id
            )),
            (None, _) if !leftover.has_intent => {}
            (None, _) => recovery.pending.push(format!(
                "incoming/{}.intent.json cannot be read: look for chsnap_* in the shadow directories, then remove it",
                leftover.id
            )),
        }
        kept.extend(intent.filter(|_| is_kept).map(|intent| InterruptedRun { intent: intent.clone(), is_released }));
    }
    recovery.removed += remove_discarded(locked, monitor)?;
    Ok((recovery, kept))
}

/// Whether the shadows of an intent can be looked for on this server. Another host may run another server, which
/// never had them, and the intent must not be forgotten because of that. A server that cannot be asked is not taken for
/// another one; a server without an id is recognized by its disks.
fn is_its_server(locked: &Locked<'_>, server: &Server, intent: &CreateIntent) -> bool {
    let bound = locked.repository().server().and_then(|bound| bound.uuid.clone());
    let asked = bound.and_then(|bound| {
        let identity = server::identity(server).ok()?;
        Some(identity.stable_uuid() == Some(bound.as_str()))
    });
    let is_here = |disk: &ShadowPlace| locked.repository().dir().open_elsewhere(&disk.path).is_ok();
    asked.unwrap_or_else(|| intent.host == crate::fs::host_name() || intent.disks.iter().all(is_here))
}

/// Unlinks trees that were moved to the trash without ever having been snapshots.
pub(super) fn remove_discarded(locked: &Locked<'_>, monitor: &dyn Monitor) -> Result<Removed, OpError> {
    let (trash, names) = locked.discarded()?;
    let mut removed = Removed::default();
    for name in names {
        locked.confirm()?;
        removed += exec::remove_tree(&trash, &name, &|done| report(monitor, done))?;
    }
    Ok(removed)
}

pub(super) fn report(monitor: &dyn Monitor, done: Removed) {
    monitor.advanced(Stage::Remove, StageWork { parts: 1, files: done.files, ..StageWork::default() });
}

/// Ensures that the server runs no freeze of this intent, then removes its shadows.
///
/// # Errors
/// If the server cannot be asked, does not stop in time, or a shadow cannot be removed.
pub(super) fn release(locked: &Locked<'_>, server: &Server, intent: &CreateIntent) -> Result<Removed, OpError> {
    for name in &intent.freezes {
        stop(server, name)?;
    }
    if let Some(ShadowPlace { disk, path, .. }) = not_visible(locked, server, intent)? {
        return Err(OpError::ShadowOutOfSight { disk: disk.clone(), path: path.clone() });
    }
    Ok(remove_shadows(locked, &intent.disks, &intent.freezes)?)
}

/// The first disk that the server still has and that is not visible on this host. A missing directory, or another one
/// under the same path, proves nothing about the shadows.
///
/// # Errors
/// If the server cannot be asked.
fn not_visible<'a>(
    locked: &Locked<'_>,
    server: &Server,
    intent: &'a CreateIntent,
) -> Result<Option<&'a ShadowPlace>, OpError> {
    let is_in_sight = |place: &&ShadowPlace| {
        let found = |dir: &Dir, name: &str| dir.find(name).is_ok_and(|found| found.is_some());
        let dir = locked.repository().dir().open_elsewhere(&place.path);
        // A server that has frozen something has tables, but perhaps none on this disk.
        let has_tables = |dir: &Dir| ["shadow", "store", "data"].iter().any(|name| found(dir, name));
        dir.is_ok_and(|dir| has_tables(&dir) || intent.is_disk(place, &dir))
    };
    let unseen: Vec<&ShadowPlace> = intent.disks.iter().filter(|place| !is_in_sight(place)).collect();
    if unseen.is_empty() {
        return Ok(None);
    }
    let listed = server::disks(server)?;
    Ok(unseen.into_iter().find(|place| listed.iter().any(|disk| disk.name == place.disk)))
}

fn stop(server: &Server, name: &FreezeName) -> Result<(), OpError> {
    let begun = Instant::now();
    let mut asked = false;
    loop {
        if server::running_freezes(server, name)?.is_empty() {
            return Ok(());
        }
        if !asked {
            asked = true;
            // A user who may not kill the freeze can still wait for its end.
            if let Err(error) = server::kill_freezes(server, name) {
                tracing::warn!(%error, freeze = %name, "cannot stop the freeze; waiting for its end");
            }
        }
        if begun.elapsed() > server.freeze_deadline() {
            let deadline = server.freeze_deadline();
            return Err(server::ServerError::Deadline { query: format!("FREEZE WITH NAME '{name}'"), deadline }.into());
        }
        std::thread::sleep(POLL);
    }
}

/// Durably removes `shadow/<name>` for these names, and nothing else, on these disks. The intent is removed next, so a
/// shadow that reappeared after that would have no owner.
///
/// # Errors
/// If one of them exists and cannot be removed.
pub(super) fn remove_shadows(
    locked: &Locked<'_>,
    disks: &[ShadowPlace],
    names: &[FreezeName],
) -> Result<Removed, FsError> {
    let mut removed = Removed::default();
    for disk in disks {
        let shadow = match locked
            .repository()
            .dir()
            .open_elsewhere(&disk.path)
            .and_then(|dir| dir.open_beneath(Path::new("shadow")))
        {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            result => result?,
        };
        for name in names {
            removed += exec::remove_tree(&shadow, name.as_str(), &|_| ())?;
        }
        if !names.is_empty() {
            shadow.sync()?;
        }
    }
    Ok(removed)
}
