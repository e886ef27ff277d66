//! What is there: without a lock, and without a server.

use std::collections::BTreeMap;
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::fs::Dir;
use crate::model::{SnapshotId, Warning, WarningKind};
use crate::plan::{KnownSnapshot, ReferenceError, SeriesKey, SnapshotReference};
use crate::repo::{
    Event, Index, IndexPlace, JournalGap, LastCheck, Manifest, Pin, RepoError, Repository, SeriesOf, SnapshotState,
    Summary, line,
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
    /// Which series there are.
    pub series: SeriesOf,
    /// Where the index is kept.
    pub index: IndexPlace,
    /// What the person should know.
    pub warnings: Vec<Warning>,
}

impl Listing {
    /// Leaves only the snapshots of one series, with what was found of them.
    pub fn keep_series(&mut self, series: &SeriesKey) {
        let is_of: Vec<bool> = self.snapshots.iter().map(|(summary, _)| summary.is_of(series)).collect();
        let mut flags = is_of.iter();
        self.snapshots.retain(|_| flags.next().copied().unwrap_or(false));
        let mut flags = is_of.iter();
        self.checks.retain(|_| flags.next().copied().unwrap_or(false));
    }

    /// The newest snapshot of the chosen series that can be read, lacks nothing and is not dated in the future.
    #[must_use]
    pub fn newest_good(&self, now: DateTime<Utc>) -> Option<&Summary> {
        let good = self.snapshots.iter().map(|(summary, _)| summary).filter(|summary| summary.is_good());
        let of_series = good.filter(|summary| summary.is_of(&self.series.chosen) && summary.time <= now);
        of_series.max_by_key(|summary| summary.time)
    }
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
    let ids: Vec<SnapshotId> = index.summaries().iter().map(|summary| summary.id).collect();
    let checks = repository.last_checks(&ids).unwrap_or_else(|error| {
        let message = format!("when snapshots were verified is not known: {}", crate::monitor::chain(&error));
        warnings.push(Warning::new(WarningKind::JournalUnreadable, message));
        vec![LastCheck::default(); ids.len()]
    });
    for gap in repository.journal_gaps()? {
        warnings.push(journal_gap(&gap));
    }
    warnings.extend(found_by_checks(index.summaries(), &checks));
    Ok(Listing {
        snapshots,
        checks,
        drills: drills(&repository.events()?),
        removed: repository.removed_ids()?,
        series: index.series().clone(),
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

/// The warning of a month of the journal that cannot be read.
pub(super) fn journal_gap(gap: &JournalGap) -> Warning {
    let message = format!(
        "journal/{} cannot be read, and what it held is not known (which snapshots were verified, drilled or removed then): {}",
        gap.file.escape_debug(),
        gap.reason
    );
    Warning::new(WarningKind::JournalUnreadable, message)
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
    /// What lists say of it.
    pub summary: Summary,
    /// Which series there are.
    pub series: SeriesOf,
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
    let known = |summary: &'_ Summary| KnownSnapshot { id: summary.id, name: None };
    // `latest` is one of a series that can be used; by its id or its name any can be meant.
    if let SnapshotReference::Latest(_) = reference {
        let line = line(index.summaries(), &index.series().chosen);
        return Ok(reference.resolve(&line.into_iter().map(known).collect::<Vec<_>>())?);
    }
    let all: Vec<KnownSnapshot<'_>> = (index.summaries().iter())
        .map(|summary| KnownSnapshot { id: summary.id, name: summary.label.text.as_deref() })
        .collect();
    let removed = match reference {
        SnapshotReference::Id(id) => index.removed().iter().copied().find(|removed| removed == id),
        _ => None,
    };
    match (reference.resolve(&all), removed) {
        (Err(ReferenceError::NotFound { .. }), Some(id)) => Err(ReferenceError::InTrash { id }.into()),
        (result, _) => Ok(result?),
    }
}

/// Shows one snapshot.
///
/// # Errors
/// If there is no such snapshot, or its manifest cannot be read.
pub fn show(repository: &Repository, reference: &SnapshotReference) -> Result<Shown, OpError> {
    let index = Index::open(repository)?;
    let id = resolve(&index, reference)?;
    let path = repository.path().join("snapshots").join(id.to_string());
    match repository.snapshot(id)? {
        SnapshotState::Complete(manifest) => {
            let check = repository.last_checks(&[id]).ok().and_then(|mut checks| checks.pop()).unwrap_or_default();
            let drill = drills(&repository.events()?).remove(&id);
            let summary = index.summaries().iter().find(|summary| summary.id == id).cloned();
            let summary = summary.unwrap_or_else(|| Summary::from(manifest.as_ref()));
            let series = index.series().clone();
            Ok(Shown { manifest: *manifest, summary, series, pin: repository.pin(id)?, check, drill, path })
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
