//! Reads a repository, without a lock and without a server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::fs::Dir;
use crate::model::{Label, SnapshotId, TableName, Warning, WarningKind};
use crate::plan::{KnownSnapshot, ReferenceError, SeriesKey, SnapshotReference, TablePattern};
use crate::repo::{
    Event, Index, IndexPlace, LastCheck, Manifest, Pin, RepoError, Repository, SeriesOf, SnapshotState, Summary,
    TableEntry, TableState, line,
};

use super::disks::DEFINITION_LIMIT_BYTES;
use super::error::OpError;
use super::journal::journal_warnings;

/// All snapshots of a repository.
#[derive(Debug)]
#[non_exhaustive]
pub struct SnapshotList {
    /// The snapshots with their pins, in the order in which they were made.
    pub snapshots: Vec<(Summary, Option<Pin>)>,
    /// When each of them was last verified, according to the readable months of the journal.
    pub checks: Vec<LastCheck>,
    /// Snapshots in the trash that `undo` can bring back.
    pub removed: Vec<SnapshotId>,
    /// The last drill of each snapshot that had one.
    pub drills: BTreeMap<SnapshotId, Drill>,
    /// The series of the repository.
    pub series: SeriesOf,
    /// Where the index is kept.
    pub index: IndexPlace,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
}

impl SnapshotList {
    /// Keeps only the snapshots of one series, with the facts about them.
    pub fn keep_series(&mut self, series: &SeriesKey) {
        self.keep(|summary| summary.is_of(series));
    }

    /// Keeps only the snapshots for which `is_wanted` is true, with the facts about them.
    pub fn keep(&mut self, mut is_wanted: impl FnMut(&Summary) -> bool) {
        let is_kept: Vec<bool> = self.snapshots.iter().map(|(summary, _)| is_wanted(summary)).collect();
        let mut flags = is_kept.iter();
        self.snapshots.retain(|_| flags.next().copied().unwrap_or(false));
        let mut flags = is_kept.iter();
        self.checks.retain(|_| flags.next().copied().unwrap_or(false));
    }

    /// The newest snapshot of the chosen series that is readable, complete in its tables and not dated in the future.
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
pub fn list(repository: &Repository) -> Result<SnapshotList, OpError> {
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
    let checks = repository.last_checks(&ids);
    warnings.extend(journal_warnings(repository));
    warnings.extend(known_findings(index.summaries(), &checks));
    Ok(SnapshotList {
        snapshots,
        checks,
        drills: drills(&repository.events()),
        removed: repository.removed_ids()?,
        series: index.series().clone(),
        index: index.place().clone(),
        warnings,
    })
}

/// The listed snapshots that have data of a table that matches one of the patterns. Reads their manifests.
///
/// # Errors
/// If the repository cannot be read.
pub fn snapshots_with(
    repository: &Repository,
    listing: &SnapshotList,
    patterns: &[TablePattern],
) -> Result<BTreeSet<SnapshotId>, OpError> {
    let mut found = BTreeSet::new();
    for (summary, _) in listing.snapshots.iter().filter(|(summary, _)| summary.is_complete()) {
        let SnapshotState::Complete(manifest) = repository.snapshot(summary.id)? else { continue };
        let is_taken = |entry: &&TableEntry| entry.state == TableState::Taken || entry.dump.is_some();
        let names: Vec<TableName> = manifest.tables.iter().filter(is_taken).map(TableEntry::name).collect();
        let patterns = TablePattern::resolve(patterns, &names.iter());
        if names.iter().any(|name| patterns.iter().any(|pattern| pattern.matches(name))) {
            found.insert(summary.id);
        }
    }
    Ok(found)
}

/// The warnings about known damage and drift, with the remedy.
fn known_findings(summaries: &[Summary], checks: &[LastCheck]) -> Vec<Warning> {
    let ids = |is_found: fn(&LastCheck) -> bool| {
        let found = summaries.iter().zip(checks).filter(|(_, check)| is_found(check));
        newest_of(found.map(|(summary, _)| summary.id).collect())
    };
    let (damaged, drifted) = (ids(|check| check.damaged), ids(|check| check.drifted));
    let mut warnings = Vec::new();
    if !damaged.is_empty() {
        let message = format!("known damage in {damaged}: chsnap verify --level data shows where");
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

/// The newest of these snapshots by their ids, and the number of the others.
fn newest_of(ids: Vec<SnapshotId>) -> String {
    let others = ids.len().saturating_sub(NAMED);
    let named: Vec<String> = ids.into_iter().skip(others).map(|id| id.to_string()).collect();
    let more = if others > 0 { format!(" and {others} more") } else { String::new() };
    named.join(", ") + &more
}

/// The snapshots that have this name, the newest first.
pub(super) fn named(summaries: &[Summary], label: &Label) -> Vec<SnapshotId> {
    let has_name = |summary: &&Summary| label.text.is_some() && summary.label.text == label.text;
    summaries.iter().filter(has_name).map(|summary| summary.id).rev().collect()
}

/// The note about a new snapshot whose name others have, too: then it refers to none of them. It is no warning: nights
/// may all have one name.
pub(super) fn same_name_note(label: &Label, others: &[SnapshotId]) -> Option<String> {
    let name = label.text.as_deref()?;
    let newest: Vec<String> = others.iter().take(NAMED).map(ToString::to_string).collect();
    let more = others.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!(
        "the name {name:?} is also that of {}{more}: from now on only their ids identify them",
        newest.join(", ")
    );
    (!newest.is_empty()).then_some(message)
}

/// The largest number of snapshots that such a warning names.
const NAMED: usize = 3;

/// The warning about a snapshot that cannot be read.
pub(super) fn unreadable(id: SnapshotId, problem: &str) -> Warning {
    Warning::new(WarningKind::SnapshotUnreadable, format!("snapshot {id}: {problem}"))
}

/// A drill of a snapshot, as recorded in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Drill {
    /// When it took place.
    pub time: DateTime<Utc>,
    /// Tables that were tried.
    pub tables: u64,
    /// Tables with parts that the snapshot has.
    pub of_tables: u64,
    /// Tables that did not match the snapshot.
    pub failed: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Parts whose sums equaled the recorded ones.
    pub digests: u64,
}

/// The last drill of each snapshot, according to the events of the journal.
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
#[non_exhaustive]
pub struct SnapshotDetails {
    /// Its manifest.
    pub manifest: Manifest,
    /// Its summary, as in lists.
    pub summary: Summary,
    /// The series of the repository.
    pub series: SeriesOf,
    /// Its pin.
    pub pin: Option<Pin>,
    /// When it was last verified, according to the readable months of the journal.
    pub check: LastCheck,
    /// Its last drill.
    pub drill: Option<Drill>,
    /// Where it is.
    pub path: std::path::PathBuf,
    /// Warnings about this answer, in addition to those of the snapshot's creation.
    pub warnings: Vec<Warning>,
}

/// Resolves a reference to a snapshot.
///
/// # Errors
/// If the reference matches no snapshot, or more than one.
pub(super) fn resolve(index: &Index, reference: &SnapshotReference) -> Result<SnapshotId, OpError> {
    let known = |summary: &'_ Summary| KnownSnapshot { id: summary.id, name: None };
    // `latest` means a usable snapshot of a series; an id or a name can mean any snapshot.
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
pub fn show(repository: &Repository, reference: &SnapshotReference) -> Result<SnapshotDetails, OpError> {
    let index = Index::open(repository)?;
    let id = resolve(&index, reference)?;
    let path = repository.path().join("snapshots").join(id.to_string());
    match repository.snapshot(id)? {
        SnapshotState::Complete(manifest) => {
            let check = repository.last_checks(&[id]).pop().unwrap_or_default();
            let drill = drills(&repository.events()).remove(&id);
            let summary = index.summaries().iter().find(|summary| summary.id == id).cloned();
            let summary = summary.unwrap_or_else(|| Summary::from(manifest.as_ref()));
            let series = index.series().clone();
            let (pin, mut warnings) = (repository.pin(id)?, journal_warnings(repository));
            warnings.extend(known_findings(std::slice::from_ref(&summary), std::slice::from_ref(&check)));
            Ok(SnapshotDetails { manifest: *manifest, summary, series, pin, check, drill, path, warnings })
        }
        SnapshotState::NewerFormat(format) => {
            let known = crate::repo::FORMAT;
            Err(RepoError::NewerFormat { path: path.join("manifest.json"), format, known }.into())
        }
        SnapshotState::Damaged(reason) => Err(RepoError::Damaged { path, reason }.into()),
    }
}

/// Reads a file that the manifest lists, and compares it with its entry.
///
/// # Errors
/// If it is missing, cannot be read, or differs.
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

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::newest_of;
    use crate::model::SnapshotId;

    #[test]
    fn a_warning_names_the_newest_snapshots_and_counts_the_others() {
        let ids =
            |count: i64| (0..count).map(|day| SnapshotId::at(DateTime::UNIX_EPOCH + TimeDelta::days(day))).collect();
        assert_eq!(newest_of(ids(0)), "");
        assert_eq!(newest_of(ids(2)), "1970-01-01T000000Z, 1970-01-02T000000Z");
        assert_eq!(newest_of(ids(5)), "1970-01-03T000000Z, 1970-01-04T000000Z, 1970-01-05T000000Z and 2 more");
    }
}
