//! Leftovers of interrupted restores, with the evidence on each of their tables. Reads, and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::fs::{Dir, EntryKind, FsError};
use crate::model::{RESTORE_PREFIX, TableName, TableUuid, is_drill_database, is_run_name};
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{
    EntryEvidence, HeldSetting, Knowledge, LeftoverContent, PlaceEvidence, RestoreEntry, StagingLeftover,
};
use crate::server::{self, Server};

use super::known::KnownTables;
use super::locked_dir;
use super::staging::{INTENT, INTENT_LIMIT_BYTES, RestoreIntent};

/// The interval at which the server is asked whether it still runs a statement of an interrupted restore.
const POLL: Duration = Duration::from_millis(200);

/// The leftovers that a run recovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) enum Recovers {
    /// All: a person agrees to the plan that names them.
    Everything,
    /// Those of tables in a drill's own database: a drill asks for no consent, and touches nothing else.
    OwnDrills,
}

/// Names of the staging directories whose restores are over.
pub(in crate::ops) fn names(local: &LocalDisks) -> Result<BTreeSet<String>, OpError> {
    let Some(own) = local.own() else { return Ok(BTreeSet::new()) };
    let abandoned = locked_dir::abandoned(&own.dir, RESTORE_PREFIX)?;
    let mut names: BTreeSet<String> = abandoned.names.into_iter().collect();
    names.extend(abandoned.hidden);
    // The lock is on the server's own disk. A directory on another disk is abandoned if the one there is, or is gone.
    for disk in local.iter().filter(|disk| disk.disk.name != own.disk.name) {
        for name in locked_dir::abandoned(&disk.dir, RESTORE_PREFIX)?.names {
            if own.dir.find(&name)?.is_none() {
                names.insert(name);
            }
        }
    }
    Ok(names)
}

/// Waits until the server runs no statement of these restores any more.
///
/// # Errors
/// If one of them takes too long, or the server does not answer.
pub(super) fn wait_for(server: &Server, names: &BTreeSet<String>) -> Result<(), OpError> {
    let begun = Instant::now();
    for name in names {
        while server::running_with(server, name)? > 0 {
            if begun.elapsed() > server.freeze_deadline() {
                let query = format!("a statement of {name}");
                return Err(server::ServerError::Deadline { query, deadline: server.freeze_deadline() }.into());
            }
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// The server's disks, and those that definitions described in these restores and that the server does not list: after a
/// restart it lists such a disk once a table on it is attached.
///
/// # Errors
/// If a note cannot be read.
pub(super) fn with_described<'a>(
    local: &LocalDisks,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<LocalDisks, FsError> {
    let mut disks = local.clone();
    let Some(own) = local.own() else { return Ok(disks) };
    for name in names {
        let IntentContent::Intent(intent) = content(&own.dir, name)? else { continue };
        for (disk, path) in &intent.described_disks {
            disks.add_unlisted(disk, path);
        }
    }
    Ok(disks)
}

/// Reads the leftovers of these names, and what the server knows of their tables.
///
/// # Errors
/// If the server does not answer, or a disk cannot be read.
pub(super) fn examine(
    server: &Server,
    local: &LocalDisks,
    names: &BTreeSet<String>,
    recovers: Recovers,
) -> Result<Vec<StagingLeftover>, OpError> {
    let disks = LeftoverDisks { listed: local, all: &with_described(local, names.iter().map(String::as_str))? };
    let own = local.own().expect("the server's own disk is open");
    let mut leftovers = Vec::new();
    // Read once, and only if there is a directory whose table the server may know.
    let mut known = None;
    for name in names {
        let content = content(&own.dir, name)?;
        let content = match content {
            IntentContent::Intent(intent) => {
                let is_drills = |entry: &RestoreEntry| is_drill_database(&entry.name.database);
                let is_of_drill = intent.tables.iter().all(is_drills) && intent.access.is_empty();
                if recovers == Recovers::OwnDrills && !is_of_drill {
                    continue;
                }
                let entries = intent
                    .tables
                    .into_iter()
                    .map(|entry| evidence(server, disks, name, entry, &mut known))
                    .collect::<Result<_, _>>()?;
                LeftoverContent::Intent { snapshot: intent.snapshot, entries, access: intent.access }
            }
            IntentContent::None => LeftoverContent::NoIntent,
            IntentContent::Unreadable(_) if recovers == Recovers::OwnDrills => continue,
            IntentContent::Unreadable(reason) => LeftoverContent::Unreadable(reason),
        };
        leftovers.push(StagingLeftover { directory: name.clone(), content });
    }
    Ok(leftovers)
}

/// A table that a restore holds or fills, or may hold or fill.
#[derive(Debug)]
pub(in crate::ops) struct TableOnHold {
    /// Its own name, and that of the table that it replaces.
    names: Vec<TableName>,
    uuid: Option<TableUuid>,
    /// The settings that hold it.
    pub(in crate::ops) settings: Vec<HeldSetting>,
    /// Whether its partitions are added one after the other, so that some may be missing.
    pub(in crate::ops) is_filled: bool,
}

impl TableOnHold {
    /// Whether this is the given table.
    pub(in crate::ops) fn is(&self, name: &TableName, uuid: Option<&TableUuid>) -> bool {
        if self.uuid.is_some() { self.uuid.as_ref() == uuid } else { self.names.contains(name) }
    }
}

/// The tables that restores hold or fill, both running and finished ones.
///
/// # Errors
/// If the server's own disk cannot be read.
pub(in crate::ops) fn held_tables(local: &LocalDisks) -> Result<Vec<TableOnHold>, OpError> {
    let Some(own) = local.own() else { return Ok(Vec::new()) };
    let mut tables = Vec::new();
    for entry in own.dir.entries_with_kind()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory) {
        let Some(name) = entry.name.to_str().filter(|name| is_run_name(RESTORE_PREFIX, name)) else { continue };
        let IntentContent::Intent(intent) = content(&own.dir, name)? else { continue };
        let held = intent.tables.into_iter().filter(|entry| entry.is_filled || !entry.held.is_empty());
        tables.extend(held.map(|entry| TableOnHold {
            names: std::iter::once(entry.name).chain(entry.replaces).collect(),
            uuid: entry.uuid,
            settings: entry.held,
            is_filled: entry.is_filled,
        }));
    }
    Ok(tables)
}

enum IntentContent {
    None,
    Unreadable(String),
    Intent(RestoreIntent),
}

fn content(own: &Dir, name: &str) -> Result<IntentContent, FsError> {
    let Some(dir) = own.find_beneath(Path::new(name))? else { return Ok(IntentContent::None) };
    let Some(bytes) = dir.find_and_read(INTENT, INTENT_LIMIT_BYTES)? else { return Ok(IntentContent::None) };
    Ok(match serde_json::from_slice(&bytes) {
        Ok(intent) => IntentContent::Intent(intent),
        Err(error) => {
            IntentContent::Unreadable(format!("its {INTENT} cannot be read ({error}); see docs/operations.md"))
        }
    })
}

/// The disks on which leftovers are looked for.
#[derive(Clone, Copy)]
struct LeftoverDisks<'a> {
    /// The server's disks.
    listed: &'a LocalDisks,
    /// Those, and the described ones.
    all: &'a LocalDisks,
}

/// The evidence on an entry of the intent in the staging directory `directory`.
fn evidence(
    server: &Server,
    disks: LeftoverDisks<'_>,
    directory: &str,
    entry: RestoreEntry,
    known: &mut Option<KnownTables>,
) -> Result<EntryEvidence, OpError> {
    let local = disks.all;
    let mut places = Vec::new();
    for (disk, path) in &entry.places {
        let knowledge = match local.named(disk) {
            None => Knowledge::Unclear(format!(
                "the disk {disk} is not visible here; a disk that a definition describes is known to the server once a \
                 table on it is attached"
            )),
            Some(local_disk) if !exists(&local_disk.dir, path)? => Knowledge::Absent,
            // A note alone is no proof that the restore wrote to a directory that the server does not list.
            Some(local_disk) if disks.listed.named(disk).is_none() && local_disk.dir.find(directory)?.is_none() => {
                Knowledge::Unclear(format!("the disk {disk} has no staging directory {directory}"))
            }
            Some(_) => known.get_or_insert_with(|| KnownTables::read(server, local)).of(&entry),
        };
        places.push(PlaceEvidence { disk: disk.clone(), path: path.clone(), knowledge });
    }
    let view = (entry.of_view.as_ref())
        .map(|view| known.get_or_insert_with(|| KnownTables::read(server, local)).of_table(view));
    Ok(EntryEvidence { entry, places, view })
}

/// Whether a path exists below a disk.
pub(super) fn exists(disk: &Dir, path: &Path) -> Result<bool, FsError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
    let Some(parent) = disk.find_beneath(parent)? else { return Ok(false) };
    Ok(parent.find(name)?.is_some())
}
