//! Retention, carried out: a plan that says what stays, what goes, why, and what that frees; then that plan and no other.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::model::{PathMap, SnapshotId, Warning, WarningKind, size};
use crate::plan::retention::{
    Candidate, Fate, FreePlan, Guard, Limits, Policy, Reason, Standing, decide, free_the_oldest, guards, limit_to_free,
    stale,
};
use crate::plan::{Holders, SeriesKey};
use crate::repo::{Event, Index, LastCheck, Locked, Pin, Removal, Repository, Summary};

use super::error::OpError;
use super::read::journal_gap;
use super::usage::{Cost, Freed, Measured, measure};

/// What is asked.
#[derive(Clone, Debug)]
pub struct PruneRequest {
    /// What stays.
    pub policy: Policy,
    /// No more goes than frees so many bytes, if that is said.
    pub free_bytes: Option<u64>,
    /// Whether snapshots go that cannot be read; never those of a newer format.
    pub forgets_unreadable: bool,
    /// What looks like a mistake.
    pub limits: Limits,
    /// How the server's paths are to be read here.
    pub paths: PathMap,
    /// Threads that work on the filesystem.
    pub jobs: usize,
}

/// A snapshot that stays.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The snapshot.
    pub summary: Summary,
    /// Every reason for it.
    pub reasons: Vec<Reason>,
}

/// A snapshot that goes.
#[derive(Clone, Debug)]
pub struct Leaving {
    /// The snapshot.
    pub summary: Summary,
    /// What removing it alone frees.
    pub freed_bytes: u64,
    /// What removing it and those of the plan that are older frees.
    pub freed_with_older_bytes: u64,
    /// Whether its whole series is let go, because it has had nothing new for long.
    pub is_of_ended_series: bool,
}

/// A series other than the main one that has had nothing new for long and stays all the same.
#[derive(Clone, Debug)]
pub struct Stale {
    /// The series.
    pub series: String,
    /// When its newest snapshot was taken.
    pub newest: DateTime<Utc>,
    /// Its snapshots that are not pinned, the oldest first.
    pub snapshots: Vec<SnapshotId>,
    /// What removing them together frees.
    pub freed_bytes: u64,
}

/// What a prune does, or would do. It is made once, shown, and carried out as it is.
#[derive(Clone, Debug)]
pub struct PrunePlan {
    /// What stays, the newest first.
    pub keep: Vec<Kept>,
    /// What goes, the oldest first.
    pub remove: Vec<Leaving>,
    /// What goes together frees.
    pub freed: Freed,
    /// Whether that is as much as was asked for, if that was said.
    pub free: Option<FreePlan>,
    /// Series that nothing is added to any more.
    pub stale: Vec<Stale>,
    /// The main series.
    pub main_series: SeriesKey,
    /// What speaks against it.
    pub guards: Vec<Guard>,
    /// What could not be counted, and what was noticed.
    pub warnings: Vec<Warning>,
    /// What it has cost to find out.
    pub cost: Cost,
    /// The rules, for the journal.
    policy: String,
    state: State,
}

/// What a plan was made from: with another one it is another plan.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    snapshots: BTreeMap<SnapshotId, (Option<u64>, String)>,
    pins: BTreeMap<SnapshotId, Pin>,
}

impl State {
    fn of(repository: &Repository, summaries: &[Summary]) -> Result<Self, OpError> {
        let snapshots = summaries.iter().map(|summary| (summary.id, (summary.sequence, summary.state.clone())));
        let mut pins = BTreeMap::new();
        for summary in summaries {
            pins.extend(repository.pin(summary.id)?.map(|pin| (summary.id, pin)));
        }
        Ok(Self { snapshots: snapshots.collect(), pins })
    }
}

/// Decides what stays and what goes, and says what that frees. Changes nothing but the index; needs no lock.
///
/// # Errors
/// If the repository cannot be read.
pub fn plan_prune(repository: &Repository, request: &PruneRequest, now: DateTime<Utc>) -> Result<PrunePlan, OpError> {
    let measured = measure(repository, &request.paths, request.jobs)?;
    let as_it_is = State::of(repository, &measured.summaries)?;
    let main = measured.series.main.clone();
    let candidates = candidates(repository, &measured.summaries, &as_it_is, &main, now)?;
    let policy = request.policy.clone().sparing_the_last();
    let mut fates = decide(&candidates, &policy, now);
    if request.forgets_unreadable {
        forget_unreadable(&mut fates, &measured.summaries);
    }
    let free = request.free_bytes.map(|wanted_bytes| {
        let freed = |places: &[usize]| measured.space.freed_bytes(&places.iter().copied().collect::<Holders>());
        if policy.is_empty() {
            free_the_oldest(&mut fates, wanted_bytes, freed)
        } else {
            limit_to_free(&mut fates, wanted_bytes, freed)
        }
    });
    let guards = guards(&fates, &recorded(repository)?, now, request.limits);
    let mut warnings = measured.warnings.clone();
    warnings.extend(repository.journal_gaps()?.iter().map(journal_gap));
    if let (Some(FreePlan { freed_bytes, is_enough: false }), Some(wanted_bytes)) = (free, request.free_bytes) {
        let message = format!(
            "all that may go frees {}, less than the {} that were asked for",
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
    Ok(plan(&measured, &fates, Outcome { free, guards, warnings, state: as_it_is, stale, policy }))
}

/// Takes away what keeps snapshots only because they cannot be read, but for those that a newer chsnap reads.
fn forget_unreadable(fates: &mut [Fate], summaries: &[Summary]) {
    for fate in fates {
        if summaries.get(fate.index).is_some_and(|summary| summary.state == "damaged") {
            fate.reasons.retain(|reason| !matches!(reason, Reason::Unreadable(_)));
        }
    }
}

/// Writes down that an unattended prune was refused, for `monitor`.
///
/// # Errors
/// If the journal cannot be written.
pub fn record_refusal(locked: &Locked<'_>, plan: &PrunePlan, now: DateTime<Utc>) -> Result<(), OpError> {
    let guards = plan.guards.iter().map(ToString::to_string).collect();
    locked.record_if_there_is_room(now, &Event::PruneRefused { guards })?;
    Ok(())
}

/// Why each snapshot stays by a policy. One without a reason would go.
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
    let candidates = candidates(repository, summaries, &State::of(repository, summaries)?, main, now)?;
    let fates = decide(&candidates, &policy.clone().sparing_the_last(), now);
    Ok(fates.into_iter().filter_map(|fate| Some((summaries.get(fate.index)?.id, fate.reasons))).collect())
}

struct Outcome {
    free: Option<FreePlan>,
    guards: Vec<Guard>,
    warnings: Vec<Warning>,
    state: State,
    stale: Vec<Stale>,
    policy: String,
}

fn plan(measured: &Measured, fates: &[Fate], outcome: Outcome) -> PrunePlan {
    let summary = |fate: &Fate| measured.summaries.get(fate.index).cloned();
    let keep = fates.iter().filter(|fate| fate.is_kept());
    let keep = keep.filter_map(|fate| Some(Kept { summary: summary(fate)?, reasons: fate.reasons.clone() })).collect();
    let leaving: Vec<&Fate> = fates.iter().rev().filter(|fate| !fate.is_kept()).collect();
    let order: Vec<usize> = leaving.iter().map(|fate| fate.index).collect();
    let together = measured.space.freed_in_order(&order);
    let remove: Vec<Leaving> = leaving
        .iter()
        .zip(together)
        .filter_map(|(fate, freed_with_older_bytes)| {
            let freed_bytes = measured.space.freed_bytes(&[fate.index].into_iter().collect());
            let is_of_ended_series = fate.is_of_ended_series;
            Some(Leaving { summary: summary(fate)?, freed_bytes, freed_with_older_bytes, is_of_ended_series })
        })
        .collect();
    let ids: Vec<SnapshotId> = remove.iter().map(|leaving| leaving.summary.id).collect();
    let Outcome { free, guards, warnings, state, stale, policy } = outcome;
    let (freed, main_series) = (measured.freed(&ids), measured.series.main.clone());
    let cost = measured.cost;
    PrunePlan { keep, remove, freed, free, stale, main_series, guards, warnings, cost, policy, state }
}

fn candidates(
    repository: &Repository,
    summaries: &[Summary],
    state: &State,
    main: &SeriesKey,
    now: DateTime<Utc>,
) -> Result<Vec<Candidate>, OpError> {
    let ids: Vec<SnapshotId> = summaries.iter().map(|summary| summary.id).collect();
    let checks = repository.last_checks(&ids)?;
    let of = |(summary, check): (&Summary, &LastCheck)| {
        candidate(summary, check.damaged, state.pins.get(&summary.id).filter(|pin| pin.holds(now)), main)
    };
    Ok(summaries.iter().zip(&checks).map(of).collect())
}

/// A snapshot as the rules see it, with the pin that holds.
#[must_use]
pub fn candidate(summary: &Summary, is_damaged: bool, pin: Option<&Pin>, main: &SeriesKey) -> Candidate {
    let standing = match &summary.problem {
        Some(problem) => Standing::Unreadable(problem.clone()),
        None if summary.incomplete => Standing::Incomplete,
        None if is_damaged => Standing::Damaged,
        None => Standing::Good,
    };
    Candidate {
        time: summary.time,
        sequence: summary.sequence.unwrap_or(0),
        name: summary.label.text.clone(),
        tags: Vec::new(),
        pin: pin.map(|pin| pin.reason.clone()),
        standing,
        series: summary.series.as_ref().map(ToString::to_string).unwrap_or_default(),
        is_other: summary.series.as_ref().is_some_and(|series| series != main),
    }
}

/// The times that the journal has since a removal was last carried out, that removal's own first.
fn recorded(repository: &Repository) -> Result<Vec<DateTime<Utc>>, OpError> {
    let events = repository.events()?;
    let last = events.iter().rposition(|(_, event)| matches!(event, Event::Removed { .. })).unwrap_or(0);
    Ok(events.iter().skip(last).map(|(time, _)| *time).collect())
}

/// Carries a plan out: what goes is moved to the trash, the oldest first, each by one rename.
///
/// # Errors
/// If the repository is not as it was when the plan was made: then nothing is moved. If a snapshot cannot be moved,
/// those before it are in the trash.
pub fn carry_out(locked: &Locked<'_>, plan: &PrunePlan, now: DateTime<Utc>) -> Result<(), OpError> {
    let repository = locked.repository();
    let index = Index::open(repository)?;
    if State::of(repository, index.summaries())? != plan.state {
        return Err(OpError::PlanIsOld);
    }
    let ids: Vec<SnapshotId> = plan.remove.iter().map(|leaving| leaving.summary.id).collect();
    if !ids.is_empty() {
        locked.remove_snapshots(&ids, &Removal::by("prune", plan.policy.clone()), now)?;
        Index::open(repository)?;
    }
    Ok(())
}
