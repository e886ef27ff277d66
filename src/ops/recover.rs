//! Putting in order what an earlier run has left, and releasing our own shadows.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::exec::{self, Removed};
use crate::fs::{Dir, ErrorKind, FsError};
use crate::model::{FreezeName, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, Work};
use crate::repo::{Intent, Locked, ShadowPlace};
use crate::server::{self, Server};

use super::error::OpError;

/// What was put in order.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// What was unlinked.
    pub removed: Removed,
    /// What could not be done now, and why.
    pub pending: Vec<String>,
}

impl Recovery {
    /// A warning for each thing that could not be done.
    pub(super) fn warnings(&self) -> impl Iterator<Item = Warning> + '_ {
        self.pending.iter().map(|message| Warning::new(WarningKind::LeftoverPending, message))
    }
}

/// How often the server is asked whether it still freezes.
const POLL: Duration = Duration::from_millis(200);

/// Discards what interrupted runs were building and releases their shadows.
///
/// A shadow is released only once the server, which must be asked for that, is at no freeze of that name any more;
/// with no server at hand the intent stays, and a later run does it.
///
/// # Errors
/// If the repository itself cannot be put in order.
pub fn recover(locked: &Locked<'_>, server: Option<&Server>, monitor: &dyn Monitor) -> Result<Recovery, OpError> {
    put_in_order(locked, server, monitor, false).map(|(recovery, _)| recovery)
}

/// What an interrupted run has copied, kept to be linked from.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) intent: Intent,
    /// Whether its shadows are gone, so that the intent may go too.
    is_released: bool,
}

/// [`recover`], but parts that were copied stay until [`discard_kept`].
///
/// # Errors
/// As there.
pub(super) fn recover_and_keep(
    locked: &Locked<'_>,
    server: Option<&Server>,
    monitor: &dyn Monitor,
) -> Result<(Recovery, Vec<Kept>), OpError> {
    put_in_order(locked, server, monitor, true)
}

/// Removes what was kept of interrupted runs.
///
/// # Errors
/// If it cannot be removed.
pub(super) fn discard_kept(locked: &Locked<'_>, kept: &[Kept], monitor: &dyn Monitor) -> Result<(), OpError> {
    for kept in kept {
        locked.discard_incoming(kept.intent.id)?;
        if kept.is_released {
            locked.forget_intent(kept.intent.id)?;
        }
    }
    remove_discarded(locked, monitor)?;
    Ok(())
}

fn put_in_order(
    locked: &Locked<'_>,
    server: Option<&Server>,
    monitor: &dyn Monitor,
    keeps: bool,
) -> Result<(Recovery, Vec<Kept>), OpError> {
    let mut kept = Vec::new();
    let mut recovery = Recovery::default();
    locked.remove_torn_files()?;
    let leftovers = locked.leftovers()?;
    if !leftovers.is_empty() {
        monitor.note("putting in order what an interrupted run has left");
    }
    for leftover in &leftovers {
        if !locked.repository().has_snapshot(leftover.id)? {
            // Never a snapshot: its pin must not fall to a later one of the same id.
            locked.forget_pin(leftover.id)?;
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
        kept.extend(intent.filter(|_| is_kept).map(|intent| Kept { intent: intent.clone(), is_released }));
    }
    recovery.removed += remove_discarded(locked, monitor)?;
    Ok((recovery, kept))
}

/// Whether the shadows of an intent can be looked for at this server: another host may have one of its own, where they
/// never were, and the intent must not be forgotten for that. A server that cannot be asked is not known for another; one
/// that has no id of its own is told by its disks.
fn is_its_server(locked: &Locked<'_>, server: &Server, intent: &Intent) -> bool {
    let bound = locked.repository().server().and_then(|bound| bound.uuid.clone());
    let asked = bound.and_then(|bound| {
        let identity = server::identity(server).ok()?;
        Some(identity.stable_uuid() == Some(bound.as_str()))
    });
    let is_here = |disk: &ShadowPlace| locked.repository().dir().open_elsewhere(&disk.path).is_ok();
    asked.unwrap_or_else(|| intent.host == crate::fs::host_name() || intent.disks.iter().all(is_here))
}

/// Unlinks what was moved to the trash without ever having been a snapshot.
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
    monitor.advanced(Stage::Remove, Work { parts: 1, files: done.files, ..Work::default() });
}

/// Makes sure that the server is at no freeze of this intent, then removes its shadows.
///
/// # Errors
/// If the server cannot be asked, does not stop in time, or a shadow cannot be removed.
pub(super) fn release(locked: &Locked<'_>, server: &Server, intent: &Intent) -> Result<Removed, OpError> {
    for name in &intent.freezes {
        stop(server, name)?;
    }
    if let Some(ShadowPlace { disk, path }) = out_of_sight(locked, server, &intent.disks)? {
        return Err(OpError::ShadowOutOfSight { disk: disk.clone(), path: path.clone() });
    }
    Ok(sweep(locked, &intent.disks, &intent.freezes)?)
}

/// The first disk that the server still has and that is not visible on this host. What is missing there, or is another
/// directory under the same path, says nothing of the shadows.
///
/// # Errors
/// If the server cannot be asked.
fn out_of_sight<'a>(
    locked: &Locked<'_>,
    server: &Server,
    disks: &'a [ShadowPlace],
) -> Result<Option<&'a ShadowPlace>, OpError> {
    let is_in_sight = |place: &&ShadowPlace| {
        let found = |dir: &Dir, name: &str| dir.find(name).is_ok_and(|found| found.is_some());
        let dir = locked.repository().dir().open_elsewhere(&place.path);
        // Where a server has frozen something it has tables.
        dir.is_ok_and(|dir| ["shadow", "store", "data"].iter().any(|name| found(&dir, name)))
    };
    let unseen: Vec<&ShadowPlace> = disks.iter().filter(|place| !is_in_sight(place)).collect();
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
            // A user who may not stop it can still wait for its end.
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

/// Removes `shadow/<name>` of these names, and nothing else, on these disks, durably: the intent goes next, and a shadow
/// that came back after it would be nobody's.
///
/// # Errors
/// If one of them is there and cannot be removed.
pub(super) fn sweep(locked: &Locked<'_>, disks: &[ShadowPlace], names: &[FreezeName]) -> Result<Removed, FsError> {
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
