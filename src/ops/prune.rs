//! Retention: plans which snapshots stay and which are removed, with reasons and freed bytes, and then carries out
//! exactly that plan.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::exec;
use crate::model::{PathMap, SnapshotId, Warning, WarningKind, size};
use crate::plan::retention::{
    Candidate, FreePlan, Guard, GuardLimits, Policy, Reason, RetentionDecision, SnapshotHealth, decide, free_oldest,
    guards, limit_to_free, stale,
};
use crate::plan::{Holders, SeriesKey};
use crate::repo::{Event, Index, LastCheck, Locked, Pin, Removal, Repository, Summary};

use super::error::OpError;
use super::journal::journal_warnings;
use super::usage::{Cost, Freed, Measured, measure};

/// The request of a prune.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PruneRequest {
    /// The retention policy.
    pub policy: Policy,
    /// The number of bytes to free, if given: no more snapshots are removed than that takes.
    pub free_bytes: Option<u64>,
    /// Whether unreadable snapshots are removed too; never those of a newer format.
    pub forgets_unreadable: bool,
    /// The limits beyond which a plan looks like a mistake.
    pub limits: GuardLimits,
    /// How the server's paths map to paths on this host.
    pub paths: PathMap,
    /// Threads that work on the filesystem.
    pub jobs: usize,
}

impl PruneRequest {
    /// The request for this policy, with the defaults of `chsnap prune`.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            free_bytes: None,
            forgets_unreadable: false,
            limits: GuardLimits::default(),
            paths: PathMap::default(),
            jobs: exec::local_jobs(),
        }
    }
}

crate::model::setters! { PruneRequest {
    with_free_bytes => free_bytes: Option<u64>,
    with_forgets_unreadable => forgets_unreadable: bool,
    with_limits => limits: GuardLimits,
    with_paths => paths: PathMap,
    with_jobs => jobs: usize,
} }

/// A snapshot that stays.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RetainedSnapshot {
    /// The snapshot.
    pub summary: Summary,
    /// All reasons to keep it.
    pub reasons: Vec<Reason>,
}

/// A snapshot that is removed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedRemoval {
    /// The snapshot.
    pub summary: Summary,
    /// The space that removing it alone frees.
    pub freed_bytes: u64,
    /// The space that removing it together with the older ones of the plan frees.
    pub freed_with_older_bytes: u64,
    /// Whether its whole series is removed, because nothing was added to it for a long time.
    pub is_of_ended_series: bool,
}

/// A series other than the main one to which nothing was added for a long time, and which stays all the same.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stale {
    /// The series.
    pub series: String,
    /// When its newest snapshot was taken.
    pub newest: DateTime<Utc>,
    /// Its snapshots that are not pinned, the oldest first.
    pub snapshots: Vec<SnapshotId>,
    /// The space that removing them together frees.
    pub freed_bytes: u64,
}

/// The plan of a prune. It is made once, shown, and carried out as it is.
#[derive(Clone, Debug)]
pub struct PrunePlan {
    /// The snapshots that stay, the newest first.
    pub keep: Vec<RetainedSnapshot>,
    /// The removed snapshots, the oldest first.
    pub remove: Vec<PlannedRemoval>,
    /// The space that removing all of these together frees.
    pub freed: Freed,
    /// Whether that reaches the number of bytes to free, if one was given.
    pub free: Option<FreePlan>,
    /// Series to which nothing is added any more.
    pub stale: Vec<Stale>,
    /// The main series.
    pub main_series: SeriesKey,
    /// The guards that refuse it.
    pub guards: Vec<Guard>,
    /// Warnings, among them what could not be counted.
    pub warnings: Vec<Warning>,
    /// The work spent on making the plan.
    pub cost: Cost,
    /// The rules, for the journal.
    policy: String,
    state: PruneInputs,
}

/// The inputs of a plan: if they change, the plan changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PruneInputs {
    snapshots: BTreeMap<SnapshotId, (Option<u64>, String)>,
    pins: BTreeMap<SnapshotId, Pin>,
}

impl PruneInputs {
    fn of(repository: &Repository, summaries: &[Summary]) -> Result<Self, OpError> {
        let snapshots = summaries.iter().map(|summary| (summary.id, (summary.sequence, summary.state.clone())));
        let mut pins = BTreeMap::new();
        for summary in summaries {
            pins.extend(repository.pin(summary.id)?.map(|pin| (summary.id, pin)));
        }
        Ok(Self { snapshots: snapshots.collect(), pins })
    }
}

/// Decides which snapshots stay and which are removed, and computes the bytes that this frees. Changes nothing but the
/// index; needs no lock.
///
/// # Errors
/// If the repository cannot be read.
pub fn plan_prune(repository: &Repository, request: &PruneRequest, now: DateTime<Utc>) -> Result<PrunePlan, OpError> {
    let measured = measure(repository, &request.paths, request.jobs)?;
    let as_it_is = PruneInputs::of(repository, &measured.summaries)?;
    let main = measured.series.main.clone();
    let candidates = candidates(repository, &measured.summaries, &as_it_is, &main, now);
    let policy = request.policy.clone().keeping_the_last();
    let mut fates = decide(&candidates, &policy, now);
    if request.forgets_unreadable {
        forget_unreadable(&mut fates, &measured.summaries);
    }
    let free = request.free_bytes.map(|wanted_bytes| {
        let freed = |places: &[usize]| measured.space.freed_bytes(&places.iter().copied().collect::<Holders>());
        if policy.is_empty() {
            free_oldest(&mut fates, wanted_bytes, freed)
        } else {
            limit_to_free(&mut fates, wanted_bytes, freed)
        }
    });
    let guards = guards(&fates, &recorded(repository), now, request.limits);
    let mut warnings = measured.warnings.clone();
    warnings.extend(journal_warnings(repository));
    if let (Some(FreePlan { freed_bytes, is_enough: false }), Some(wanted_bytes)) = (free, request.free_bytes) {
        let message = format!(
            "removing everything removable frees {}, less than the requested {}",
            size(freed_bytes),
            size(wanted_bytes)
        );
        warnings.push(Warning::new(WarningKind::FreesTooLittle, message));
    }
    let ended = stale(&candidates, &fates, now).into_iter().map(|stale| {
        let ids = stale.members.iter().filter_map(|place| Some(measured.summaries.get(*place)?.id)).collect();
        let freed_bytes = measured.space.freed_bytes(&stale.members.iter().copied().collect::<Holders>());
        Stale { series: stale.series, newest: stale.newest, snapshots: ids, freed_bytes }
    });
    let stale = ended.collect();
    let policy = match request.free_bytes {
        Some(free) => format!("free {}; {policy}", size(free)),
        None => policy.to_string(),
    };
    Ok(plan(&measured, &fates, PrunePlanning { free, guards, warnings, state: as_it_is, stale, policy }))
}

/// Removes the reason that keeps snapshots only because they are unreadable, except for those that a newer chsnap can
/// read.
fn forget_unreadable(fates: &mut [RetentionDecision], summaries: &[Summary]) {
    for fate in fates {
        if summaries.get(fate.index).is_some_and(|summary| summary.state == "damaged") {
            fate.reasons.retain(|reason| !matches!(reason, Reason::Unreadable(_)));
        }
    }
}

/// Records that an unattended prune was refused, for `monitor`.
///
/// # Errors
/// If the journal cannot be written.
pub fn record_refusal(locked: &Locked<'_>, plan: &PrunePlan, now: DateTime<Utc>) -> Result<(), OpError> {
    let guards = plan.guards.iter().map(ToString::to_string).collect();
    locked.record_if_there_is_room(now, &Event::PruneRefused { guards })?;
    Ok(())
}

/// The reasons for which a policy keeps each snapshot. A snapshot without a reason would go.
///
/// # Errors
/// If the repository cannot be read.
pub fn reasons(
    repository: &Repository,
    policy: &Policy,
    now: DateTime<Utc>,
) -> Result<BTreeMap<SnapshotId, Vec<Reason>>, OpError> {
    let index = Index::open(repository)?;
    let summaries = index.summaries();
    let main = &index.series().main;
    let candidates = candidates(repository, summaries, &PruneInputs::of(repository, summaries)?, main, now);
    let fates = decide(&candidates, &policy.clone().keeping_the_last(), now);
    Ok(fates.into_iter().filter_map(|fate| Some((summaries.get(fate.index)?.id, fate.reasons))).collect())
}

struct PrunePlanning {
    free: Option<FreePlan>,
    guards: Vec<Guard>,
    warnings: Vec<Warning>,
    state: PruneInputs,
    stale: Vec<Stale>,
    policy: String,
}

fn plan(measured: &Measured, fates: &[RetentionDecision], outcome: PrunePlanning) -> PrunePlan {
    let summary = |fate: &RetentionDecision| measured.summaries.get(fate.index).cloned();
    let keep = fates.iter().filter(|fate| fate.is_kept());
    let keep = keep
        .filter_map(|fate| Some(RetainedSnapshot { summary: summary(fate)?, reasons: fate.reasons.clone() }))
        .collect();
    let leaving: Vec<&RetentionDecision> = fates.iter().rev().filter(|fate| !fate.is_kept()).collect();
    let order: Vec<usize> = leaving.iter().map(|fate| fate.index).collect();
    let together = measured.space.freed_in_order(&order);
    let remove: Vec<PlannedRemoval> = leaving
        .iter()
        .zip(together)
        .filter_map(|(fate, freed_with_older_bytes)| {
            let freed_bytes = measured.space.freed_bytes(&[fate.index].into_iter().collect());
            let is_of_ended_series = fate.is_of_ended_series;
            Some(PlannedRemoval { summary: summary(fate)?, freed_bytes, freed_with_older_bytes, is_of_ended_series })
        })
        .collect();
    let ids: Vec<SnapshotId> = remove.iter().map(|leaving| leaving.summary.id).collect();
    let PrunePlanning { free, guards, warnings, state, stale, policy } = outcome;
    let (freed, main_series) = (measured.freed(&ids), measured.series.main.clone());
    let cost = measured.cost;
    PrunePlan { keep, remove, freed, free, stale, main_series, guards, warnings, cost, policy, state }
}

fn candidates(
    repository: &Repository,
    summaries: &[Summary],
    state: &PruneInputs,
    main: &SeriesKey,
    now: DateTime<Utc>,
) -> Vec<Candidate> {
    let ids: Vec<SnapshotId> = summaries.iter().map(|summary| summary.id).collect();
    let checks = repository.last_checks(&ids);
    let of = |(summary, check): (&Summary, &LastCheck)| {
        candidate(summary, check.damaged, state.pins.get(&summary.id).filter(|pin| pin.holds(now)), main)
    };
    summaries.iter().zip(&checks).map(of).collect()
}

/// A snapshot as the rules see it, with the pin that is in force.
#[must_use]
pub fn candidate(summary: &Summary, is_damaged: bool, pin: Option<&Pin>, main: &SeriesKey) -> Candidate {
    let health = match &summary.problem {
        Some(problem) => SnapshotHealth::Unreadable(problem.clone()),
        None if summary.incomplete => SnapshotHealth::Incomplete,
        None if is_damaged => SnapshotHealth::Damaged,
        None => SnapshotHealth::Good,
    };
    Candidate {
        time: summary.time,
        sequence: summary.sequence.unwrap_or(0),
        name: summary.label.text.clone(),
        tags: Vec::new(),
        pin: pin.map(|pin| pin.reason.clone()),
        health,
        series: summary.series.as_ref().map(ToString::to_string).unwrap_or_default(),
        is_other: summary.series.as_ref().is_some_and(|series| series != main),
    }
}

/// The times recorded in the journal since the last removal that was carried out, that removal's own first.
fn recorded(repository: &Repository) -> Vec<DateTime<Utc>> {
    let events = repository.events();
    let last = events.iter().rposition(|(_, event)| matches!(event, Event::Removed { .. })).unwrap_or(0);
    events.iter().skip(last).map(|(time, _)| *time).collect()
}

/// Carries a plan out: moves the snapshots to the trash, the oldest first, each by one rename.
///
/// # Errors
/// If the repository has changed since the plan was made: then nothing is moved. If a snapshot cannot be moved, those
/// before it are in the trash.
pub fn carry_out(locked: &Locked<'_>, plan: &PrunePlan, now: DateTime<Utc>) -> Result<(), OpError> {
    let repository = locked.repository();
    let index = Index::open(repository)?;
    if PruneInputs::of(repository, index.summaries())? != plan.state {
        return Err(OpError::PlanIsOld);
    }
    let ids: Vec<SnapshotId> = plan.remove.iter().map(|leaving| leaving.summary.id).collect();
    if !ids.is_empty() {
        locked.remove_snapshots(&ids, &Removal::by("prune", plan.policy.clone()), now)?;
        Index::open(repository)?;
    }
    Ok(())
}
