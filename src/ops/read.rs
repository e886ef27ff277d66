//! What is there: without a lock, and without a server.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::fs::Dir;
use crate::model::{SnapshotId, Warning, WarningKind};
use crate::plan::SnapshotReference;
use crate::repo::{
    Checks, Event, Index, IndexPlace, LastCheck, Manifest, Pin, RepoError, Repository, SnapshotState, Summary,
};

use super::disks::DEFINITION_LIMIT_BYTES;
use super::error::OpError;

/// All snapshots of a repository.
#[derive(Debug)]
pub struct Listing {
    /// The snapshots with their pins, in the order in which they were made.
    pub snapshots: Vec<(Summary, Option<Pin>)>,
    /// When each of them was last verified, as far as the journal can be read.
    pub checks: Vec<LastCheck>,
    /// Snapshots in the trash that `undo` can bring back.
    pub removed: Vec<SnapshotId>,
    /// The last trial of each snapshot that had one.
    pub drills: BTreeMap<SnapshotId, Drill>,
    /// Where the index is kept.
    pub index: IndexPlace,
    /// What the person should know.
    pub warnings: Vec<Warning>,
}

/// Lists the snapshots of a repository.
///
/// # Errors
/// If the repository cannot be read.
pub fn list(repository: &Repository) -> Result<Listing, OpError> {
    let index = Index::open(repository)?;
    let mut warnings = Vec::new();
    if repository.format() > crate::repo::FORMAT {
        let message = format!(
            "the repository has format {}, which a newer chsnap reads: it is listed, and cannot be changed from here",
            repository.format()
        );
        warnings.push(Warning::new(WarningKind::NewerFormat, message));
    }
    for summary in index.summaries() {
        if let Some(problem) = &summary.problem {
            warnings.push(unreadable(summary.id, problem));
        }
    }
    for name in repository.snapshot_ids()?.1 {
        let message = format!("snapshots/{} is no snapshot of chsnap's", name.escape_debug());
        warnings.push(Warning::new(WarningKind::ForeignEntry, message));
    }
    let snapshots = index
        .summaries()
        .iter()
        .map(|summary| Ok((summary.clone(), repository.pin(summary.id)?)))
        .collect::<Result<_, RepoError>>()?;
    let checks = repository.checks().unwrap_or_else(|error| {
        let message = format!("when snapshots were verified is not known: {}", crate::monitor::chain(&error));
        warnings.push(Warning::new(WarningKind::JournalUnreadable, message));
        Checks::default()
    });
    let checks: Vec<LastCheck> = index.summaries().iter().map(|summary| checks.last(summary.id)).collect();
    warnings.extend(found_by_checks(index.summaries(), &checks));
    Ok(Listing {
        snapshots,
        checks,
        drills: drills(&repository.events()?),
        removed: repository.removed_ids()?,
        index: index.place().clone(),
        warnings,
    })
}

/// The warnings of what verification has found, with what is to be done.
fn found_by_checks(summaries: &[Summary], checks: &[LastCheck]) -> Vec<Warning> {
    let ids = |is_found: fn(&LastCheck) -> bool| {
        let found = summaries.iter().zip(checks).filter(|(_, check)| is_found(check));
        found.map(|(summary, _)| summary.id.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (damaged, drifted) = (ids(|check| check.damaged), ids(|check| check.drifted));
    let mut warnings = Vec::new();
    if !damaged.is_empty() {
        let message = format!("verification found damage in {damaged}: chsnap verify shows where");
        warnings.push(Warning::new(WarningKind::DamageFound, message));
    }
    if !drifted.is_empty() {
        let message = format!(
            "verification found owners or modes that are not as recorded in {drifted}: chsnap verify shows where; create \
             records those of now in new snapshots; to have them as recorded, chown or chmod the files back"
        );
        warnings.push(Warning::new(WarningKind::Drift, message));
    }
    warnings
}

/// The warning of a snapshot that cannot be read.
pub(super) fn unreadable(id: SnapshotId, problem: &str) -> Warning {
    Warning::new(WarningKind::SnapshotUnreadable, format!("snapshot {id}: {problem}"))
}

/// A trial of a snapshot, as the journal has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Drill {
    /// When.
    pub time: DateTime<Utc>,
    /// Tables that were tried.
    pub tables: u64,
    /// Tables with parts that the snapshot has.
    pub of_tables: u64,
    /// Tables that were not what the snapshot says.
    pub failed: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Parts whose sums were those that were recorded.
    pub digests: u64,
}

/// The last trial of each snapshot, by the events of the journal.
#[must_use]
pub fn drills(events: &[(DateTime<Utc>, Event)]) -> BTreeMap<SnapshotId, Drill> {
    let mut drills = BTreeMap::new();
    for (time, event) in events {
        if let Event::Drilled { id, tables, of_tables, failed, rows, digests, .. } = *event {
            drills.insert(id, Drill { time: *time, tables, of_tables, failed, rows, digests });
        }
    }
    drills
}

/// One snapshot.
#[derive(Debug)]
pub struct Shown {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Its pin.
    pub pin: Option<Pin>,
    /// When it was last verified, as far as the journal can be read.
    pub check: LastCheck,
    /// Its last trial.
    pub drill: Option<Drill>,
    /// Where it is.
    pub path: std::path::PathBuf,
}

/// The snapshot that a person named.
///
/// # Errors
/// If the reference names none, or more than one.
pub(super) fn resolve(index: &Index, reference: &SnapshotReference) -> Result<SnapshotId, OpError> {
    // `latest` is one that can be used; by its id any can be named.
    let usable = matches!(reference, SnapshotReference::Latest(_));
    let ids: Vec<SnapshotId> =
        index.summaries().iter().filter(|summary| !usable || summary.is_complete()).map(|summary| summary.id).collect();
    Ok(reference.resolve(&ids)?)
}

/// Shows one snapshot.
///
/// # Errors
/// If there is no such snapshot, or its manifest cannot be read.
pub fn show(repository: &Repository, reference: &SnapshotReference) -> Result<Shown, OpError> {
    let id = resolve(&Index::open(repository)?, reference)?;
    let path = repository.path().join("snapshots").join(id.to_string());
    match repository.snapshot(id)? {
        SnapshotState::Complete(manifest) => {
            let check = repository.checks().map(|checks| checks.last(id)).unwrap_or_default();
            let drill = drills(&repository.events()?).remove(&id);
            Ok(Shown { manifest: *manifest, pin: repository.pin(id)?, check, drill, path })
        }
        SnapshotState::NewerFormat(format) => {
            let known = crate::repo::FORMAT;
            Err(RepoError::NewerFormat { path: path.join("manifest.json"), format, known }.into())
        }
        SnapshotState::Damaged(reason) => Err(RepoError::Damaged { path, reason }.into()),
    }
}

/// A file that the manifest lists, compared with what it says.
///
/// # Errors
/// If it is missing, cannot be read, or is another one.
pub(super) fn metadata(dir: &Dir, manifest: &Manifest, path: &str) -> Result<Vec<u8>, OpError> {
    let damaged = |reason: &str| {
        let path = dir.path().join(path);
        OpError::from(RepoError::Damaged { path, reason: reason.to_owned() })
    };
    let listed = manifest.metadata.iter().find(|file| file.path == path);
    let listed = listed.ok_or_else(|| damaged("the manifest does not list it"))?;
    let relative = Path::new(path);
    let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
        return Err(damaged("it is no path of a file"));
    };
    let bytes = dir.open_beneath(parent)?.read(name, DEFINITION_LIMIT_BYTES)?;
    if blake3::hash(&bytes).to_hex().as_str() != listed.blake3 {
        return Err(damaged("it is not the file that manifest.json speaks of (its digest differs)"));
    }
    Ok(bytes)
}
