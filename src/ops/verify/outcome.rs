//! Records the findings, and repairs damage if requested.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use crate::exec::verify::relink;
use crate::model::{SnapshotId, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, StageAtWork, StageWork, chain};
use crate::repo::{DamagedPart, Event, Index, Locked, RepoError, Repository, VerifiedEvent};

use super::super::create::Clock;
use super::Spared;
use super::affected::AffectedEntries;
use super::request::{Repair, Report, Request};

/// The least time to wait for the lock: another command may be writing a line to the journal.
const PATIENCE: Duration = Duration::from_secs(10);

/// Records the verification and its findings, and repairs damage. A failure of these is a warning.
#[expect(clippy::too_many_arguments, reason = "all that a run has come to")]
pub(super) fn record_and_repair(
    repository: &Repository,
    request: &Request,
    now: Clock<'_>,
    monitor: &dyn Monitor,
    spared: &Spared,
    is_incomplete: bool,
    damage: &mut AffectedEntries,
    report: &mut Report,
) {
    if report.ids.is_empty() && damage.list.is_empty() {
        return;
    }
    let locked = match repository.lock("verify", now(), request.lock_wait.max(PATIENCE)) {
        Ok(locked) => locked,
        Err(error) => {
            let what = if request.repair {
                "nothing is repaired, and the journal does not have what was verified"
            } else {
                "the journal does not have what was verified"
            };
            let message = format!("{what}: {}", chain(&error));
            report.warnings.push(Warning::new(WarningKind::CheckNotRecorded, message));
            for damage in damage.list.iter_mut().filter(|_| request.repair) {
                damage.repair = Some(Repair::Failed("the repository could not be locked".to_owned()));
            }
            return;
        }
    };
    // Recorded before the repair: a run that is cut short may leave a repaired part noted as damaged, never the
    // reverse.
    let event = Event::Verified(Box::new(verified(request, spared, is_incomplete, damage, report)));
    match locked.record(now(), &event) {
        Ok(()) => {
            report.is_recorded = true;
            if let Ok(index) = Index::open(repository) {
                index.remember_damage(repository);
            }
        }
        Err(error) => {
            let message = format!("the journal does not have what was verified: {}", chain(&error));
            report.warnings.push(Warning::new(WarningKind::CheckNotRecorded, message));
        }
    }
    if request.repair && !damage.list.is_empty() {
        let _repairing = StageAtWork::start(monitor, Stage::Repair, None);
        if let Err(error) = repair(&locked, now, monitor, damage, report) {
            let message = format!("not everything was repaired: {}", chain(&error));
            report.warnings.push(Warning::new(WarningKind::RepairIncomplete, message));
        }
    }
}

fn verified(
    request: &Request,
    spared: &Spared,
    is_incomplete: bool,
    damage: &AffectedEntries,
    report: &Report,
) -> VerifiedEvent {
    let read_ranges = spared.read_ranges();
    // If a snapshot's list of parts is unreadable, none of its parts was checked.
    let known: HashSet<SnapshotId> = damage.subjects.iter().filter(|s| s.has_parts).map(|s| s.id).collect();
    let mut damaged: BTreeMap<_, (BTreeSet<SnapshotId>, bool)> = BTreeMap::new();
    let mut damaged_ids = BTreeSet::new();
    for damage in &damage.list {
        damaged_ids.extend(damage.places.iter().map(|(id, _)| *id));
        if damage.kind.loses_bytes() {
            for (table, part, id) in &damage.parts {
                let (ids, is_live) = damaged.entry((table.clone(), part.clone())).or_default();
                ids.insert(*id);
                *is_live |= damage.is_linked_outside;
            }
        }
    }
    let drifted_ids: BTreeSet<SnapshotId> = report.drift.iter().flat_map(|drift| drift.ids.iter().copied()).collect();
    VerifiedEvent {
        ids: report.ids.iter().copied().filter(|id| known.contains(id)).collect(),
        begun: report.begun,
        unreadable: report.ids.iter().copied().filter(|id| !known.contains(id)).collect(),
        level: request.level,
        tables: report.tables.clone(),
        slice: report.slice,
        incomplete: is_incomplete,
        oldest: report.oldest,
        spared: Vec::new(),
        read: read_ranges.is_some().then(Vec::new),
        read_ranges,
        read_bytes: report.tally.read_bytes,
        damage: damage.list.len() as u64,
        damaged_ids: damaged_ids.into_iter().collect(),
        drift: report.drift.iter().fold(0, |sum: u64, drift| sum.saturating_add(drift.inodes)),
        drifted_ids: drifted_ids.into_iter().collect(),
        damaged: damaged
            .into_iter()
            .map(|((table, part), (ids, is_live))| DamagedPart {
                database: table.database,
                table: table.table,
                part,
                ids: ids.into_iter().collect(),
                live: Some(is_live),
            })
            .collect(),
    }
}

/// Replaces every damaged entry for which there is an intact copy.
fn repair(
    locked: &Locked<'_>,
    now: Clock<'_>,
    monitor: &dyn Monitor,
    damage: &mut AffectedEntries,
    report: &mut Report,
) -> Result<(), RepoError> {
    let scratch = locked.scratch(now())?;
    let (mut paths, mut ids) = (Vec::new(), BTreeSet::new());
    for (damaged, copy) in damage.list.iter_mut().zip(&damage.copies) {
        let Some(copy) = copy else {
            damaged.repair = Some(Repair::Failed("no intact copy was found".to_owned()));
            continue;
        };
        let mut failed = None;
        for (id, path) in &damaged.places {
            let Some(snapshot) = damage.subjects.iter().find(|subject| subject.id == *id) else { continue };
            match relink(&snapshot.dir, path, damaged.inode, copy, scratch.dir()) {
                Ok(()) => {
                    paths.push(format!("snapshots/{id}/{}", path.display()));
                    ids.insert(*id);
                    monitor.advanced(Stage::Repair, StageWork { files: 1, ..StageWork::default() });
                }
                Err(error) => drop(failed.get_or_insert_with(|| format!("snapshots/{id}: {}", chain(&error)))),
            }
        }
        damaged.repair = Some(failed.map_or(Repair::Done, Repair::Failed));
    }
    drop(scratch);
    report.repaired = paths.len() as u64;
    if !paths.is_empty() {
        let index = Index::open(locked.repository())?;
        for id in &ids {
            index.forget_inodes(locked.repository(), *id);
        }
        locked.record(now(), &Event::Repaired { ids: ids.into_iter().collect(), paths })?;
    }
    Ok(())
}
