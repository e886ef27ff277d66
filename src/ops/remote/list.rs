//! The contents of a remote repository.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::exec;
use crate::model::{ContentHash, Label, PartTally, SnapshotTotals, Warning, WarningKind};
use crate::ops::error::OpError;
use crate::plan::StoredObject;
use crate::remote::{
    ObjectRef, RemoteError, RemoteHead, RemoteManifest, RemoteName, RemoteRepository, Requests, Store,
};
use crate::repo::{SnapshotScope, TableState};

/// A snapshot in a remote repository.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RemoteSnapshot {
    /// Its name.
    pub name: RemoteName,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    pub label: Label,
    /// When it was pushed, by the clock of the pushing host.
    pub pushed: DateTime<Utc>,
    /// The pushing host.
    pub host: String,
    /// Its place in the order of the repository it came from.
    pub sequence: u64,
    /// Its series.
    pub series: String,
    /// Tables whose parts are in it.
    pub tables: u64,
    /// Its parts.
    pub parts: u64,
    /// Its contents.
    pub totals: SnapshotTotals,
    /// Objects that it needs.
    pub objects: u64,
    /// Bytes of those.
    pub object_bytes: u64,
}

impl RemoteSnapshot {
    pub(super) fn of(head: &RemoteHead) -> Self {
        Self {
            name: head.name(),
            time: head.manifest.time,
            label: head.manifest.label.clone(),
            pushed: head.pushed,
            host: head.host.clone(),
            sequence: head.manifest.sequence,
            series: SnapshotScope::from(&head.manifest).key.to_string(),
            tables: head.manifest.tables.iter().filter(|table| table.state == TableState::Taken).count() as u64,
            parts: head.parts,
            totals: head.manifest.totals,
            objects: head.objects,
            object_bytes: head.bytes,
        }
    }
}

/// The snapshots of a remote repository.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RemoteListing {
    /// The readable ones, in the order of repositories and ids.
    pub snapshots: Vec<RemoteSnapshot>,
    /// The requests sent to the store.
    pub requests: Requests,
    /// The warnings for the user, including the snapshots that cannot be read.
    pub warnings: Vec<Warning>,
}

/// Lists the snapshots of a remote repository. Reads their manifests.
///
/// # Errors
/// If the remote repository does not exist, or the store does not answer.
pub fn list(store: Box<dyn Store>, parallel: usize) -> Result<RemoteListing, OpError> {
    let remote = RemoteRepository::open(store)?;
    let mut warnings = Vec::new();
    let read = manifests(&remote, parallel, &mut warnings, |manifest| RemoteSnapshot::of(&manifest.head))?;
    let snapshots = read.into_iter().map(|(_, snapshot)| snapshot).collect();
    Ok(RemoteListing { snapshots, requests: remote.store().requests(), warnings })
}

/// Reads all manifests, and keeps what `keep` returns for each. A damaged one is a warning.
pub(super) fn manifests<T: Send>(
    remote: &RemoteRepository,
    parallel: usize,
    warnings: &mut Vec<Warning>,
    keep: impl Fn(RemoteManifest) -> T + Sync,
) -> Result<Vec<(RemoteName, T)>, OpError> {
    manifests_of(remote, remote.names()?, parallel, warnings, keep)
}

/// As [`manifests`], for these snapshots.
pub(super) fn manifests_of<T: Send>(
    remote: &RemoteRepository,
    names: Vec<RemoteName>,
    parallel: usize,
    warnings: &mut Vec<Warning>,
    keep: impl Fn(RemoteManifest) -> T + Sync,
) -> Result<Vec<(RemoteName, T)>, OpError> {
    let mut kept = Vec::with_capacity(names.len());
    for (name, found) in reading(remote, names, parallel, keep)? {
        match found {
            Ok(found) => kept.push((name, found)),
            Err(problem) => warnings.push(Warning::new(WarningKind::SnapshotUnreadable, problem)),
        }
    }
    Ok(kept)
}

/// A name, with what was kept of its manifest, or what is wrong with that.
pub(super) type ReadManifest<T> = (RemoteName, Result<T, String>);

/// Reads these manifests, in the order of the names, and keeps what `keep` returns for each, or what is wrong with it.
/// One that was removed meanwhile is left out.
pub(super) fn reading<T: Send>(
    remote: &RemoteRepository,
    names: Vec<RemoteName>,
    parallel: usize,
    keep: impl Fn(RemoteManifest) -> T + Sync,
) -> Result<Vec<ReadManifest<T>>, OpError> {
    let read = |name: RemoteName| match remote.manifest(&name) {
        Ok(found) => Ok(found.map(|manifest| (name, Ok(keep(manifest))))),
        Err(RemoteError::Store(error)) => Err(OpError::from(RemoteError::Store(error))),
        Err(error) => Ok(Some((name, Err(crate::monitor::chain(&error))))),
    };
    let all: Vec<Option<ReadManifest<T>>> =
        exec::pool(parallel)?.install(|| names.into_par_iter().map(read).collect::<Result<_, OpError>>())?;
    Ok(all.into_iter().flatten().collect())
}

/// The space that the snapshots of a remote repository take.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RemoteUsage {
    /// Each snapshot with the objects that it alone needs.
    pub snapshots: Vec<(RemoteSnapshot, PartTally)>,
    /// The objects that snapshots need.
    pub needed: PartTally,
    /// All objects in the store.
    pub stored: PartTally,
    /// The objects that no snapshot needs.
    pub garbage: PartTally,
    /// The requests sent to the store.
    pub requests: Requests,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
}

fn tally<'a>(bytes: impl Iterator<Item = &'a u64>) -> PartTally {
    bytes.fold(PartTally::default(), |sum, bytes| PartTally {
        parts: 0,
        files: sum.files + 1,
        bytes: sum.bytes + bytes,
    })
}

/// Computes the space that the snapshots of a remote repository take. Reads their manifests and lists all objects.
///
/// # Errors
/// As [`list`].
pub fn usage(store: Box<dyn Store>, parallel: usize) -> Result<RemoteUsage, OpError> {
    let remote = RemoteRepository::open(store)?;
    let mut usage = RemoteUsage::default();
    let read = manifests(&remote, parallel, &mut usage.warnings, |manifest| {
        let objects: BTreeMap<ContentHash, u64> =
            manifest.objects().map(|ObjectRef { key, bytes }| (key, bytes)).collect();
        (RemoteSnapshot::of(&manifest.head), objects)
    })?;
    let mut holders: BTreeMap<ContentHash, (u64, u64)> = BTreeMap::new();
    for (_, (_, objects)) in &read {
        for (key, bytes) in objects {
            holders.entry(*key).or_insert((*bytes, 0)).1 += 1;
        }
    }
    usage.needed = tally(holders.values().map(|(bytes, _)| bytes));
    for (_, (snapshot, objects)) in read {
        let is_own = |key: &ContentHash| holders.get(key).is_some_and(|(_, count)| *count == 1);
        let own = tally(objects.iter().filter(|(key, _)| is_own(key)).map(|(_, bytes)| bytes));
        usage.snapshots.push((snapshot, own));
    }
    let stored: BTreeMap<ContentHash, StoredObject> = remote.objects()?;
    usage.stored = tally(stored.values().map(|object| &object.bytes));
    let garbage = stored.iter().filter(|(key, _)| !holders.contains_key(key));
    usage.garbage = tally(garbage.map(|(_, object)| &object.bytes));
    usage.requests = remote.store().requests();
    Ok(usage)
}
