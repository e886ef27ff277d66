//! Retention of remote snapshots: the snapshots of each repository are judged by themselves, as that repository would.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use crate::model::{ContentHash, Warning, WarningKind};
use crate::ops::error::OpError;
use crate::plan::SeriesKey;
use crate::plan::retention::{
    Candidate, Guard, GuardLimits, Policy, Reason, RetentionDecision, SnapshotHealth, decide, guards,
};
use crate::remote::{RemoteName, RemoteRepository, Requests};

use super::find::RepositoryChoice;
use super::list::{ReadManifest, RemoteSnapshot, reading};
use super::series::{RemoteMember, judge_series};

/// The repositories whose snapshots are pruned.
#[derive(Clone, Debug)]
pub enum PruneScope {
    /// One.
    One(RepositoryChoice),
    /// All that have snapshots there.
    Every,
}

/// The request of a remote prune.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RemotePruneRequest {
    /// The retention policy.
    pub policy: Policy,
    /// The repositories.
    pub scope: PruneScope,
    /// The snapshots that are pinned, each with the reason. A store has no pins: these are those of a local repository.
    pub pins: BTreeMap<RemoteName, String>,
    /// The limits beyond which a plan looks like a mistake.
    pub limits: GuardLimits,
    /// Manifests that are read concurrently.
    pub parallel: usize,
}

impl RemotePruneRequest {
    /// A prune by this policy, with the defaults of `chsnap remote prune`.
    #[must_use]
    pub fn new(policy: Policy, scope: PruneScope) -> Self {
        let parallel = super::push::PARALLEL.into();
        Self { policy, scope, pins: BTreeMap::new(), limits: GuardLimits::default(), parallel }
    }
}

crate::model::setters! { RemotePruneRequest {
    with_pins => pins: BTreeMap<RemoteName, String>,
    with_limits => limits: GuardLimits,
    with_parallel => parallel: usize,
} }

/// A remote snapshot that a plan decides about.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct JudgedRemote {
    /// Its name.
    pub name: RemoteName,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    pub label: Option<String>,
    /// Its series; `None` if its manifest cannot be read.
    pub series: Option<SeriesKey>,
    /// Whether it lacks a table that it could have had.
    pub is_incomplete: bool,
}

/// A remote snapshot that goes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LeavingRemote {
    /// The snapshot.
    pub snapshot: JudgedRemote,
    /// Bytes of the objects that only it needs.
    pub freed_bytes: u64,
    /// Bytes of the objects that only it and those before it in the plan need.
    pub freed_with_older_bytes: u64,
    /// Whether its whole series goes, because nothing was added to it for a long time.
    pub is_of_ended_series: bool,
}

/// The plan of a remote prune. It is made once, shown, and carried out as it is.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RemotePrunePlan {
    /// The snapshots that stay, by repository, the newest first, with all reasons.
    pub keep: Vec<(JudgedRemote, Vec<Reason>)>,
    /// Snapshots to remove, by repository, the oldest first.
    pub remove: Vec<LeavingRemote>,
    /// The main series of each repository.
    pub main_series: BTreeMap<String, SeriesKey>,
    /// The guards that refuse it, each with its repository.
    pub guards: Vec<(String, Guard)>,
    /// The requests that making it has sent.
    pub requests: Requests,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
    /// All snapshots of these repositories: if they change, the plan changes.
    names: BTreeSet<RemoteName>,
}

impl RemotePrunePlan {
    /// Bytes of the objects that no snapshot needs once these are gone; a garbage collection deletes them later.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.remove.last().map_or(0, |leaving| leaving.freed_with_older_bytes)
    }
}

/// The contents of a manifest that a plan needs.
struct ReadSnapshot {
    shown: RemoteSnapshot,
    member: RemoteMember,
    objects: BTreeMap<ContentHash, u64>,
}

/// A snapshot of the store, or the reason why it cannot be read.
type ReadRemote = ReadManifest<ReadSnapshot>;

/// Decides which snapshots stay. Changes nothing.
///
/// # Errors
/// If the store does not answer, or the repository is not clear.
pub fn plan_remote_prune(
    remote: &RemoteRepository,
    request: &RemotePruneRequest,
    now: DateTime<Utc>,
) -> Result<RemotePrunePlan, OpError> {
    let all = remote.names()?;
    let chosen: BTreeSet<RemoteName> = match &request.scope {
        PruneScope::Every => all.iter().cloned().collect(),
        PruneScope::One(which) => which.of_for_removal(remote, &all)?.into_iter().collect(),
    };
    // All are read: an object that another repository needs is not freed.
    let read = reading(remote, all, request.parallel, |manifest| ReadSnapshot {
        shown: RemoteSnapshot::of(&manifest.head),
        member: RemoteMember::of(&manifest.head),
        objects: manifest.objects().map(|object| (object.key, object.bytes)).collect(),
    })?;
    let mut plan = RemotePrunePlan { names: chosen.clone(), ..RemotePrunePlan::default() };
    let mut leaving: Vec<(usize, JudgedRemote, bool)> = Vec::new();
    let policy = request.policy.clone().keeping_the_last();
    // The names of a repository are adjacent, in the order of their ids.
    let mut first = 0;
    for group in read.chunk_by(|one, other| one.0.repository == other.0.repository) {
        let place_of_group = first;
        first += group.len();
        let Some((name, _)) = group.first().filter(|(name, _)| chosen.contains(name)) else { continue };
        let judged = judge_group(group, request);
        let candidates: Vec<Candidate> = judged.candidates;
        let mut fates = decide(&candidates, &policy, now);
        spare_ended_series(&mut fates, &candidates);
        // The clock's jumps are in a repository's journal, which a store does not have.
        let found = guards(&fates, &[], now, request.limits);
        plan.guards.extend(found.into_iter().map(|guard| (name.repository.clone(), guard)));
        plan.main_series.insert(name.repository.clone(), judged.main);
        let snapshot = |fate: &RetentionDecision| judged.snapshots.get(fate.index).cloned();
        for fate in fates.iter().filter(|fate| fate.is_kept()) {
            plan.keep.extend(snapshot(fate).map(|snapshot| (snapshot, fate.reasons.clone())));
        }
        for fate in fates.iter().rev().filter(|fate| !fate.is_kept()) {
            let place = place_of_group + fate.index;
            leaving.extend(snapshot(fate).map(|snapshot| (place, snapshot, fate.is_of_ended_series)));
        }
    }
    let order: Vec<usize> = leaving.iter().map(|(place, ..)| *place).collect();
    let freed = freed(&read, &order);
    for ((_, snapshot, is_of_ended_series), (freed_bytes, freed_with_older_bytes)) in leaving.into_iter().zip(freed) {
        plan.remove.push(LeavingRemote { snapshot, freed_bytes, freed_with_older_bytes, is_of_ended_series });
    }
    for (name, result) in &read {
        if let Err(problem) = result {
            let message = format!("{name} cannot be read, and stays: {problem}");
            plan.warnings.push(Warning::new(WarningKind::SnapshotUnreadable, message));
        }
    }
    plan.requests = remote.store().requests();
    Ok(plan)
}

/// Keeps the last good snapshot of each series that would go as a whole, or the newest if none is good: it may be all that
/// a lost host has left.
fn spare_ended_series(fates: &mut [RetentionDecision], candidates: &[Candidate]) {
    let is_good = |fate: &RetentionDecision| {
        candidates.get(fate.index).is_some_and(|candidate| candidate.health == SnapshotHealth::Good)
    };
    let ended: BTreeSet<String> =
        fates.iter().filter(|fate| fate.is_of_ended_series).filter_map(|fate| fate.series.clone()).collect();
    for series in ended {
        let is_of = |fate: &RetentionDecision| fate.series.as_ref() == Some(&series);
        if fates.iter().any(|fate| is_of(fate) && fate.is_kept() && is_good(fate)) {
            continue;
        }
        // The newest is first.
        let good = fates.iter().position(|fate| is_of(fate) && is_good(fate));
        let newest = || fates.iter().position(is_of);
        let spared = good.or_else(newest).and_then(|place| fates.get_mut(place));
        if let Some(fate) = spared.filter(|fate| !fate.is_kept()) {
            fate.reasons.push(Reason::MinKeep { position: 1, of: 1 });
        }
    }
}

/// The snapshots of one repository as the rules see them.
struct JudgedGroup {
    candidates: Vec<Candidate>,
    snapshots: Vec<JudgedRemote>,
    main: SeriesKey,
}

fn judge_group(group: &[ReadRemote], request: &RemotePruneRequest) -> JudgedGroup {
    // In the order in which they were made.
    let mut readable: Vec<(usize, &ReadSnapshot)> =
        group.iter().enumerate().filter_map(|(place, (_, read))| Some((place, read.as_ref().ok()?))).collect();
    readable.sort_by_key(|(place, read)| (read.member.sequence, *place));
    let members: Vec<&RemoteMember> = readable.iter().map(|(_, read)| &read.member).collect();
    let (lacks, main) = judge_series(&members);
    let incomplete: BTreeSet<usize> =
        readable.iter().zip(&lacks).filter(|(_, lacks)| **lacks).map(|((place, _), _)| *place).collect();
    let mut judged = JudgedGroup { candidates: Vec::new(), snapshots: Vec::new(), main };
    for (place, (name, read)) in group.iter().enumerate() {
        let is_incomplete = incomplete.contains(&place);
        let pin = request.pins.get(name).cloned();
        let (candidate, label, time, series) = match read {
            Ok(ReadSnapshot { shown, member: RemoteMember { scope, .. }, .. }) => {
                let health = if is_incomplete { SnapshotHealth::Incomplete } else { SnapshotHealth::Good };
                let candidate = Candidate {
                    time: shown.time,
                    sequence: shown.sequence,
                    name: shown.label.text.clone(),
                    tags: Vec::new(),
                    pin,
                    health,
                    series: shown.series.clone(),
                    is_other: scope.key != judged.main,
                };
                (candidate, shown.label.text.clone(), shown.time, Some(scope.key.clone()))
            }
            Err(problem) => {
                let health = SnapshotHealth::Unreadable(problem.clone());
                (Candidate { time: name.id.time(), pin, health, ..Candidate::default() }, None, name.id.time(), None)
            }
        };
        judged.candidates.push(candidate);
        judged.snapshots.push(JudgedRemote { name: name.clone(), time, label, series, is_incomplete });
    }
    judged
}

/// For each of the snapshots at these places, the bytes of the objects that only it needs, and of those that only it
/// and the ones before it need.
fn freed(read: &[ReadRemote], order: &[usize]) -> Vec<(u64, u64)> {
    let position: BTreeMap<usize, usize> =
        order.iter().enumerate().map(|(position, place)| (*place, position)).collect();
    // The size of each object, the number of snapshots that need it, and the last of these in the order; none if one of
    // them stays.
    let mut needed: BTreeMap<ContentHash, (u64, usize, Option<usize>)> = BTreeMap::new();
    for (place, (_, read)) in read.iter().enumerate() {
        let Ok(read) = read else { continue };
        let own = position.get(&place).copied();
        for (key, bytes) in &read.objects {
            let entry = needed.entry(*key).or_insert((*bytes, 0, own));
            entry.1 += 1;
            entry.2 = entry.2.zip(own).map(|(last, own)| last.max(own));
        }
    }
    let mut freed = vec![(0_u64, 0_u64); order.len()];
    for (bytes, holders, last) in needed.into_values() {
        let Some(entry) = last.and_then(|last| freed.get_mut(last)) else { continue };
        entry.1 += bytes;
        entry.0 += if holders == 1 { bytes } else { 0 };
    }
    let mut sum = 0;
    for (_, together) in &mut freed {
        sum += *together;
        *together = sum;
    }
    freed
}

/// Carries a plan out: removes the manifests, the oldest first. Objects stay until a garbage collection.
///
/// # Errors
/// If the store has other snapshots of these repositories than when the plan was made: then nothing is removed. If the
/// store refuses, those before are gone.
pub fn carry_out_remote_prune(remote: &RemoteRepository, plan: &RemotePrunePlan) -> Result<(), OpError> {
    let repositories: BTreeSet<&str> = plan.names.iter().map(|name| name.repository.as_str()).collect();
    let names: BTreeSet<RemoteName> =
        remote.names()?.into_iter().filter(|name| repositories.contains(name.repository.as_str())).collect();
    if names != plan.names {
        return Err(OpError::PlanIsOld);
    }
    for leaving in &plan.remove {
        remote.remove(&leaving.snapshot.name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(objects: &[(u8, u64)], id: &str) -> ReadRemote {
        let name: RemoteName = format!("{id}.0123abcd").parse().expect("a name");
        let objects = objects.iter().map(|(seed, bytes)| (ContentHash::from(blake3::hash(&[*seed])), *bytes)).collect();
        let shown = RemoteSnapshot {
            name: name.clone(),
            time: name.id.time(),
            label: crate::model::Label::default(),
            pushed: name.id.time(),
            host: String::new(),
            sequence: 1,
            series: "all".to_owned(),
            tables: 0,
            parts: 0,
            totals: crate::model::SnapshotTotals::default(),
            objects: 0,
            object_bytes: 0,
        };
        (name, Ok(ReadSnapshot { shown, member: RemoteMember::default(), objects }))
    }

    #[test]
    fn an_object_is_freed_with_the_last_snapshot_that_needs_it_and_never_while_one_stays() {
        let all = [
            read(&[(1, 1), (2, 10), (3, 100)], "2026-11-01T020000Z"),
            read(&[(2, 10), (3, 100), (4, 1000)], "2026-11-02T020000Z"),
            read(&[(3, 100), (5, 10_000)], "2026-11-03T020000Z"),
        ];
        assert_eq!(freed(&all, &[0, 1]), [(1, 1), (1000, 1011)]);
        assert_eq!(freed(&all, &[1, 0]), [(1000, 1000), (1, 1011)]);
        assert_eq!(freed(&all, &[0, 1, 2]), [(1, 1), (1000, 1011), (10_000, 11_111)]);
        assert_eq!(freed(&all, &[]), []);
    }
}
