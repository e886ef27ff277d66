//! Carries out a plan's recovery of what interrupted restores left. Each step checks once more that what it removes
//! belongs to the restore.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::exec;
use crate::fs::{Dir, FsError};
use crate::model::{TableName, TableUuid, Warning, WarningKind};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{
    AccessOptions, BegunAccess, DefinitionKind, HeldSetting, Knowledge, MayLose, RecoveryStep, RestoreEntry,
    plan_recovery, release_statements,
};
use crate::server::{self, Server, ServerError, sql};

use super::known::KnownTables;
use super::leftovers::{self, Recovers, exists};
use super::locked_dir::LOCK;
use super::staging::INTENT;
use super::statements::{Statements, drop_refusal};
use super::survey::live_table;

/// Carries out the steps. Returns what stays, with the reason.
///
/// # Errors
/// If the server does not answer, or something cannot be removed.
pub(super) fn recover(server: &Server, local: &LocalDisks, steps: &[RecoveryStep]) -> Result<Vec<Warning>, OpError> {
    let mut kept = Vec::new();
    if steps.is_empty() {
        return Ok(kept);
    }
    let statements = Statements::new(server, "")?;
    let local = &leftovers::with_described(local, steps.iter().filter_map(RecoveryStep::directory))?;
    // Directories whose notes the next restore needs.
    let mut unfinished: BTreeSet<&str> = BTreeSet::new();
    for step in steps {
        let stays: Option<Stay> = match step {
            RecoveryStep::Rename { from, to, directory } => rename(&statements.with_word(directory), from, to)?,
            RecoveryStep::Release { name, held, directory } => release(&statements.with_word(directory), name, held)?,
            RecoveryStep::DropTable { name, uuid, directory, may_lose, kept_name, .. } => {
                let table = Doomed { name, uuid: uuid.as_ref(), may_lose, kept_name: kept_name.as_ref() };
                drop_table(&statements.with_word(directory), local, &table)?
            }
            RecoveryStep::RemovePlace { entry, disk, path } => {
                remove_place(server, local, entry, (disk, path))?.map(Stay::for_good)
            }
            RecoveryStep::Resume { .. } | RecoveryStep::ResumeAccess { .. } => None,
            RecoveryStep::RemoveDirectory { directory } if unfinished.contains(directory.as_str()) => {
                empty(local, directory)?;
                None
            }
            RecoveryStep::EmptyDirectory { directory } => {
                empty(local, directory)?;
                None
            }
            RecoveryStep::RemoveDirectory { directory } => {
                let stays = drop_helper_database(&statements.with_word(directory), directory)?;
                if stays.is_none() {
                    remove(local, directory)?;
                }
                stays
            }
            RecoveryStep::Keep { object, reason } => {
                Some(Stay::for_good(format!("{object} of an interrupted restore stays: {reason}")))
            }
        };
        if let Some(Stay { message, is_pending }) = stays {
            unfinished.extend(step.directory().filter(|_| is_pending));
            kept.push(Warning::new(WarningKind::LeftoverPending, message));
        }
    }
    Ok(kept)
}

/// Recovers leftovers that no plan has shown: a run's own, or those of drills, which never ask for consent. Returns
/// what stays.
///
/// # Errors
/// If the server does not answer, or something cannot be removed.
pub(in crate::ops) fn recover_leftovers(
    server: &Server,
    local: &LocalDisks,
    names: &BTreeSet<String>,
    recovers: Recovers,
) -> Result<Vec<Warning>, OpError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    leftovers::wait_for(server, names)?;
    let leftovers = leftovers::examine(server, local, names, recovers)?;
    let catalog = server::survey(server, true)?;
    let tables = catalog.tables.iter().map(|table| (table.name().clone(), table.key.uuid.clone())).collect();
    recover(server, local, &plan_recovery(&leftovers, &tables, AccessOptions::Nothing))
}

/// Removes the notes of restores whose tables, users and roles are complete now.
///
/// # Errors
/// If one cannot be removed.
pub(super) fn finish_resumed(
    local: &LocalDisks,
    steps: &[RecoveryStep],
    is_filled: &dyn Fn(&TableName) -> bool,
    is_made: &dyn Fn(&BegunAccess) -> bool,
) -> Result<(), OpError> {
    let local = &leftovers::with_described(local, steps.iter().filter_map(RecoveryStep::directory))?;
    let (mut resumes, mut stays) = (false, false);
    for step in steps {
        match step {
            RecoveryStep::Resume { name, .. } => {
                resumes = true;
                stays |= !is_filled(name);
            }
            RecoveryStep::ResumeAccess { begun, .. } => {
                resumes = true;
                stays |= !begun.iter().all(is_made);
            }
            RecoveryStep::Keep { .. } => stays = true,
            RecoveryStep::EmptyDirectory { directory } => {
                if resumes && !stays {
                    remove(local, directory)?;
                }
                (resumes, stays) = (false, false);
            }
            RecoveryStep::RemoveDirectory { .. } => (resumes, stays) = (false, false),
            _ => {}
        }
    }
    Ok(())
}

/// A leftover that stays.
struct Stay {
    /// The reason, a sentence.
    message: String,
    /// Whether the next restore should retry.
    is_pending: bool,
}

impl Stay {
    fn for_good(message: String) -> Self {
        Self { message, is_pending: false }
    }

    fn for_now(message: String) -> Self {
        Self { message, is_pending: true }
    }
}

fn rename(statements: &Statements<'_>, from: &TableName, to: &TableName) -> Result<Option<Stay>, OpError> {
    match statements.rename(from, to) {
        Err(OpError::Server(error @ ServerError::Exception { .. })) => {
            let error = crate::monitor::chain(&error);
            Ok(Some(Stay::for_now(format!("{from} of an interrupted restore cannot be renamed to {to}: {error}"))))
        }
        result => result.map(|()| None),
    }
}

fn release(statements: &Statements<'_>, name: &TableName, held: &[HeldSetting]) -> Result<Option<Stay>, OpError> {
    for statement in release_statements(&sql::quote_table(name), held) {
        match statements.run(&statement) {
            Err(error @ ServerError::Exception { .. }) => {
                let message = format!("the merges of {name} are still held: {}", crate::monitor::chain(&error));
                return Ok(Some(Stay::for_now(message)));
            }
            result => result?,
        }
    }
    Ok(None)
}

/// Drops the restore's own database, which has the restore's name, once it is empty.
fn drop_helper_database(statements: &Statements<'_>, name: &str) -> Result<Option<Stay>, OpError> {
    let server = statements.server;
    if !server::databases(server)?.iter().any(|database| database.name == *name) {
        return Ok(None);
    }
    let catalog = server::survey(server, false)?;
    if let Some(table) = catalog.tables.iter().map(crate::model::Table::name).find(|table| table.database == *name) {
        return Ok(Some(Stay::for_now(format!("the database {name} of an interrupted restore stays: it has {table}"))));
    }
    match statements.run(&format!("DROP DATABASE IF EXISTS {} SYNC", sql::quote_name(name))) {
        Err(error @ ServerError::Exception { .. }) => {
            let error = crate::monitor::chain(&error);
            Ok(Some(Stay::for_now(format!("the database {name} of an interrupted restore cannot be dropped: {error}"))))
        }
        dropped => Ok(dropped.map(|()| None)?),
    }
}

/// A table that recovery drops, unless it holds more than may be lost.
struct Doomed<'a> {
    name: &'a TableName,
    uuid: Option<&'a TableUuid>,
    may_lose: &'a MayLose,
    kept_name: Option<&'a TableName>,
}

fn drop_table(statements: &Statements<'_>, local: &LocalDisks, table: &Doomed<'_>) -> Result<Option<Stay>, OpError> {
    let Doomed { name, uuid, may_lose, kept_name } = table;
    let Some(there) = live_table(statements.server, local, name)? else { return Ok(None) };
    if there.uuid.as_ref() != *uuid {
        let message = format!("{name} stays: it is not the table that the interrupted restore left");
        return Ok(Some(Stay::for_good(message)));
    }
    let reason = match may_lose {
        MayLose::Nothing if there.has_anything() => "was empty then and has data by now",
        MayLose::State(state) if there.has_anything() && there.state() != *state => {
            "has changed since the plan was confirmed"
        }
        MayLose::Everything | MayLose::State(_) | MayLose::Nothing => {
            if let Some(reason) = drop_obstacle(statements.server, name)? {
                return Ok(Some(Stay::for_now(format!(
                    "{name} of an interrupted restore cannot be dropped: {reason}"
                ))));
            }
            let kind = there.definition.as_ref().map_or(DefinitionKind::Table, |definition| definition.kind);
            return match statements.drop_object(name, kind, uuid.is_some()) {
                Err(error @ ServerError::Exception { .. }) => {
                    let error = drop_refusal(&error);
                    Ok(Some(Stay::for_now(format!("{name} of an interrupted restore cannot be dropped: {error}"))))
                }
                dropped => Ok(dropped.map(|()| None)?),
            };
        }
    };
    // From now on it is an ordinary table, which snapshots take.
    let kept = kept_name.filter(|kept| statements.rename(name, kept).is_ok()).unwrap_or(name);
    Ok(Some(Stay::for_good(format!("{kept}, which an interrupted restore replaced, {reason}, and stays"))))
}

/// How long a replicated table may take to reach Keeper again, for example after a restart of its server.
const FINDS_KEEPER: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(300);

/// Why a table cannot be dropped with everything that belongs to it: an old server forgets a read-only replicated
/// table, and leaves its nodes in Keeper.
///
/// # Errors
/// If the server does not answer.
pub(super) fn drop_obstacle(server: &Server, name: &TableName) -> Result<Option<&'static str>, ServerError> {
    let begun = Instant::now();
    // A later version drops the nodes in Keeper if it has a session, and retries until it has one.
    let forgets = !server.features().has_column("replicas", "last_queue_update_exception");
    loop {
        match server::replicas(server)?.iter().find(|replica| replica.table == *name) {
            Some(replica) if replica.has_lost_session || forgets && replica.is_read_only => {}
            _ => return Ok(None),
        }
        if begun.elapsed() > FINDS_KEEPER {
            return Ok(Some("it is replicated and read-only, and its state would stay in Keeper"));
        }
        std::thread::sleep(POLL);
    }
}

pub(super) fn remove_place(
    server: &Server,
    local: &LocalDisks,
    entry: &RestoreEntry,
    (disk, path): (&str, &Path),
) -> Result<Option<String>, OpError> {
    let Some(disk) = local.named(disk).filter(|_| entry.is_own_directory(path)) else { return Ok(None) };
    if !exists(&disk.dir, path)? {
        return Ok(None);
    }
    match KnownTables::read(server, local).of(entry) {
        Knowledge::Absent | Knowledge::Known => return Ok(None),
        Knowledge::Unclear(reason) => {
            return Ok(Some(format!(
                "{} of an interrupted restore stays: {reason}",
                disk.dir.path().join(path).display()
            )));
        }
        Knowledge::Unknown => {}
    }
    if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        && let Some(parent) = disk.dir.find_beneath(parent)?
    {
        exec::remove_tree(&parent, name, &|_| ())?;
    }
    Ok(None)
}

/// Removes a staging directory; the one on the server's own disk last, because it contains the intent.
fn remove(local: &LocalDisks, name: &str) -> Result<(), FsError> {
    let mut disks: Vec<_> = local.iter().collect();
    disks.reverse();
    disks.into_iter().try_for_each(|disk| exec::remove_tree(&disk.dir, name, &|_| ()).map(drop))
}

/// Removes what was assembled in a staging directory, and leaves the intent.
fn empty(local: &LocalDisks, name: &str) -> Result<(), FsError> {
    let is_note = |entry: &std::ffi::OsStr| entry == INTENT || entry == LOCK;
    for disk in local.iter() {
        let Some(dir): Option<Dir> = disk.dir.find_beneath(Path::new(name))? else { continue };
        for entry in dir.entries()?.iter().filter(|entry| !is_note(&entry.name)) {
            exec::remove_tree(&dir, &entry.name, &|_| ())?;
        }
    }
    Ok(())
}
