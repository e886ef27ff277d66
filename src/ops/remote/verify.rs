//! Checks that the objects which remote snapshots need exist, and have not changed.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::exec;
use crate::fs::RateLimit;
use crate::model::{ContentHash, PartTally, Warning};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::error::OpError;
use crate::ops::stages::Stages;
use crate::remote::{ObjectRef, RemoteError, RemoteManifest, RemoteName, RemoteRepository, Requests, Store};

use super::find::{RemoteReference, RepositoryChoice, resolve};
use super::list::manifests;

/// How deep objects are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// From a list of the whole store: presence and size, and objects that no snapshot needs.
    List,
    /// With one request for each object: presence and size.
    Presence,
    /// By reading each object, and comparing it with its BLAKE3 hash.
    Data,
}

/// An object that is missing or damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrongObject {
    /// Its key.
    pub key: ContentHash,
    /// The problem.
    pub problem: String,
    /// One part or file that needs it; a part as `database.table part`.
    pub of: String,
    /// The snapshots that need it.
    pub snapshots: Vec<RemoteName>,
}

/// The report of a check.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Snapshots that were checked.
    pub snapshots: Vec<RemoteName>,
    /// Objects that were checked.
    pub checked: PartTally,
    /// Objects that are missing or damaged.
    pub wrong: Vec<WrongObject>,
    /// Snapshots whose manifest is damaged.
    pub unreadable: Vec<String>,
    /// Objects that no snapshot needs; `None` unless the store was listed.
    pub garbage: Option<PartTally>,
    /// The requests sent to the store.
    pub requests: Requests,
}

/// An object, with the part or file and the snapshots that need it.
struct NeededObject {
    object: ObjectRef,
    of: String,
    snapshots: Vec<RemoteName>,
}

/// Checks snapshots of a remote repository; all if none is named.
///
/// # Errors
/// If one of them does not exist; if the store does not answer. Problems of objects are in the report.
pub fn verify(
    store: Box<dyn Store>,
    (wanted, which): (&[RemoteReference], &RepositoryChoice),
    depth: Depth,
    (parallel, rate): (usize, Option<u64>),
    monitor: &dyn Monitor,
) -> Result<CheckReport, OpError> {
    let remote = RemoteRepository::open(store)?;
    let stages = Stages::new(monitor);
    let mut report = CheckReport::default();
    let mut warnings: Vec<Warning> = Vec::new();
    let names = remote.names()?;
    let mut chosen = BTreeSet::new();
    for reference in wanted {
        chosen.insert(resolve(&remote, &names, reference, which)?);
    }
    let read = manifests(&remote, parallel, &mut warnings, |manifest| needs(&manifest))?;
    report.unreadable = warnings.into_iter().map(|warning| warning.message).collect();
    let mut needed: BTreeMap<ContentHash, NeededObject> = BTreeMap::new();
    let mut all_keys = BTreeSet::new();
    for (name, objects) in read {
        all_keys.extend(objects.keys().copied());
        if !chosen.is_empty() && !chosen.contains(&name) {
            continue;
        }
        for (key, (object, of)) in objects {
            let entry = needed.entry(key).or_insert_with(|| NeededObject { object, of, snapshots: Vec::new() });
            entry.snapshots.push(name.clone());
        }
        report.snapshots.push(name);
    }
    let bytes = needed.values().map(|needed| needed.object.bytes).sum();
    report.checked = PartTally { parts: 0, files: needed.len() as u64, bytes };
    let listed = if depth == Depth::List { Some(remote.objects()?) } else { None };
    if let Some(listed) = &listed {
        let garbage = listed.iter().filter(|(key, _)| !all_keys.contains(key));
        let sum = garbage.fold(PartTally::default(), |sum, (_, object)| PartTally {
            parts: 0,
            files: sum.files + 1,
            bytes: sum.bytes + object.bytes,
        });
        report.garbage = Some(sum);
    }
    let rate = rate.map(RateLimit::new);
    let work = StageWork { files: report.checked.files, bytes, ..StageWork::default() };
    let _checking = stages.start(Stage::Check, Some(work));
    let problem = |needed: &NeededObject| -> Result<Option<String>, OpError> {
        let object = needed.object;
        let found = match (&listed, depth) {
            (Some(listed), _) => {
                let found = listed.get(&object.key);
                found
                    .map(|found| found.bytes)
                    .map_or_else(|| Some("it is missing".to_owned()), |bytes| size(object, bytes))
            }
            (None, Depth::Data) => {
                if let Some(rate) = &rate {
                    rate.wait_for(object.bytes);
                }
                match remote.fetch(object) {
                    Ok(_) => None,
                    Err(RemoteError::Damaged { reason, .. }) => Some(reason),
                    Err(error) => return Err(error.into()),
                }
            }
            (None, _) => (!remote.has(object)?).then(|| "it is missing, or has another size".to_owned()),
        };
        monitor.advanced(Stage::Check, StageWork { files: 1, bytes: object.bytes, ..StageWork::default() });
        Ok(found)
    };
    let all: Vec<&NeededObject> = needed.values().collect();
    let problems: Vec<Option<String>> = exec::pool(parallel)?
        .install(|| all.par_iter().map(|needed| problem(needed)).collect::<Result<_, OpError>>())?;
    for (needed, problem) in all.into_iter().zip(problems) {
        if let Some(problem) = problem {
            let (key, of, snapshots) = (needed.object.key, needed.of.clone(), needed.snapshots.clone());
            report.wrong.push(WrongObject { key, problem, of, snapshots });
        }
    }
    report.requests = remote.store().requests();
    Ok(report)
}

fn size(object: ObjectRef, bytes: u64) -> Option<String> {
    (object.bytes != bytes).then(|| format!("it has {bytes} bytes, and {} were sent", object.bytes))
}

/// The objects of a snapshot, each with one part or file that needs it.
fn needs(manifest: &RemoteManifest) -> BTreeMap<ContentHash, (ObjectRef, String)> {
    let mut needs = BTreeMap::new();
    for part in &manifest.parts {
        for object in part.files.objects() {
            let of = || format!("{} {}", part.record.table_name(), part.record.part);
            needs.entry(object.key).or_insert_with(|| (object, of()));
        }
    }
    for object in manifest.head.files.objects() {
        needs.entry(object.key).or_insert_with(|| (object, "definitions and other files".to_owned()));
    }
    needs
}
