//! Removes remote snapshots, and the objects that no snapshot needs any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::model::{ContentHash, PartTally, Warning};
use crate::ops::error::OpError;
use crate::plan::{GcEvidence, StoredObject, plan_gc};
use crate::remote::{Condemnation, Leftover, RemoteError, RemoteName, RemoteRepository, Requests, Store};

use super::find::{RemoteReference, RepositoryChoice, resolve};
use super::list::manifests_of;
use super::random;

/// The number of objects deleted between two readings of the manifests.
const BATCH: usize = 200;

/// The result of a removal.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RemovedRemote {
    /// The snapshots that are gone, or would go.
    pub removed: Vec<RemoteName>,
    /// Those that stay, because each is the last snapshot of its repository in the store.
    pub guarded: Vec<RemoteName>,
}

/// Removes snapshots from a remote repository. Their objects stay until gc. The last snapshot of a repository is
/// removed only with `force`.
///
/// # Errors
/// If one of them does not exist; if the store refuses.
pub fn remove(
    store: Box<dyn Store>,
    wanted: &[RemoteReference],
    which: &RepositoryChoice,
    force: bool,
    dry_run: bool,
) -> Result<RemovedRemote, OpError> {
    let remote = RemoteRepository::open(store)?;
    let names = remote.names()?;
    let mut chosen = BTreeSet::new();
    for reference in wanted {
        chosen.insert(resolve(&remote, &names, reference, which)?);
    }
    let mut answer = RemovedRemote::default();
    let left = |repository: &str| names.iter().any(|name| name.repository == repository && !chosen.contains(name));
    if !force {
        answer.guarded = chosen.iter().filter(|name| !left(&name.repository)).cloned().collect();
    }
    if !answer.guarded.is_empty() {
        return Ok(answer);
    }
    for name in &chosen {
        if !dry_run {
            remote.remove(name)?;
        }
        answer.removed.push(name.clone());
    }
    Ok(answer)
}

/// The result of a garbage collection, or of its dry run.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GcReport {
    /// Objects that were deleted.
    pub deleted: PartTally,
    /// Objects that were condemned now: a later run deletes them.
    pub condemned: PartTally,
    /// Objects that were condemned before, and whose grace period has not ended.
    pub waiting: PartTally,
    /// Objects that snapshots need.
    pub needed: u64,
    /// The requests sent to the store.
    pub requests: Requests,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
}

/// Deletes objects whose grace period since their condemnation has ended, and condemns objects that no manifest lists.
///
/// # Errors
/// If a manifest cannot be read, because the objects that it needs are then unknown; if the store refuses.
pub fn collect(
    store: Box<dyn Store>,
    grace: Duration,
    dry_run: bool,
    now: DateTime<Utc>,
    parallel: usize,
) -> Result<GcReport, OpError> {
    let remote = RemoteRepository::open(store)?;
    let mut report = GcReport::default();
    // The first list is at most too old: a push that commits meanwhile has its keys in the manifests that are read
    // afterwards.
    let condemnations = remote.condemnations()?;
    let present = remote.objects()?;
    let mut read = BTreeSet::new();
    let all_named = named(&remote, parallel, &mut read)?;
    let mut condemned: BTreeMap<ContentHash, DateTime<Utc>> = BTreeMap::new();
    for condemnation in &condemnations {
        for key in &condemnation.keys {
            let since = condemned.entry(*key).or_insert(condemnation.since);
            *since = condemnation.since.max(*since);
        }
    }
    let leftovers = remote.leftovers()?;
    let clock = if dry_run { now } else { clock(&remote, (&present, &condemnations, &leftovers))? };
    if !dry_run {
        let grace = chrono::Duration::from_std(grace).unwrap_or(chrono::Duration::MAX);
        for leftover in leftovers.iter().filter(|leftover| clock.signed_duration_since(leftover.modified) >= grace) {
            remote.remove_leftover(leftover)?;
        }
    }
    let evidence = GcEvidence { present, named: all_named, condemned };
    let plan = plan_gc(&evidence, clock, grace);
    let tally = |keys: &mut dyn Iterator<Item = &ContentHash>| {
        keys.filter_map(|key| evidence.present.get(key)).fold(PartTally::default(), |sum, object| PartTally {
            parts: 0,
            files: sum.files + 1,
            bytes: sum.bytes + object.bytes,
        })
    };
    report.needed = evidence.named.len() as u64;
    report.condemned = tally(&mut plan.condemn.iter());
    report.waiting = tally(&mut plan.waiting.iter());
    if dry_run {
        report.deleted = tally(&mut plan.delete.iter());
        report.requests = remote.store().requests();
        return Ok(report);
    }
    let (mut deleted, mut since_named) = (BTreeSet::new(), BTreeSet::new());
    for batch in plan.delete.chunks(BATCH) {
        // Read again, for snapshots committed since.
        since_named.extend(named(&remote, parallel, &mut read)?);
        for key in batch.iter().filter(|key| !since_named.contains(*key)) {
            let Some(since) = evidence.condemned.get(key) else { continue };
            match remote.written(key)? {
                // A push has sent it again.
                Some(written) if written > *since => {}
                Some(_) => {
                    remote.delete_object(key)?;
                    deleted.insert(*key);
                }
                None => {}
            }
        }
    }
    report.deleted = tally(&mut deleted.iter());
    if !plan.condemn.is_empty() {
        remote.condemn(plan.condemn.clone(), now, random()?)?;
    }
    for condemnation in &condemnations {
        let is_done = |key: &ContentHash| {
            deleted.contains(key) || !evidence.present.contains_key(key) || evidence.named.contains(key)
        };
        if condemnation.keys.iter().all(is_done) {
            remote.forget(condemnation)?;
        }
    }
    report.requests = remote.store().requests();
    Ok(report)
}

/// The time by the store's clock. If a full store takes no object, the newest time in it: that one is too early, and
/// nothing is then deleted before its time.
fn clock(
    remote: &RemoteRepository,
    (present, condemnations, leftovers): (&BTreeMap<ContentHash, StoredObject>, &[Condemnation], &[Leftover]),
) -> Result<DateTime<Utc>, OpError> {
    let error = match remote.clock(random()?) {
        Ok(clock) => return Ok(clock),
        Err(error) => error,
    };
    let times = present.values().map(|object| object.modified);
    let times = times.chain(condemnations.iter().map(|condemnation| condemnation.since));
    match times.chain(leftovers.iter().map(|leftover| leftover.modified)).max() {
        Some(newest) if matches!(error, RemoteError::Store(_)) => {
            tracing::info!(error = crate::monitor::chain(&error), "the store's clock is taken from its newest object");
            Ok(newest)
        }
        _ => Err(error.into()),
    }
}

/// The keys in manifests that are not in `read` yet.
fn named(
    remote: &RemoteRepository,
    parallel: usize,
    read: &mut BTreeSet<RemoteName>,
) -> Result<BTreeSet<ContentHash>, OpError> {
    let mut warnings = Vec::new();
    let names: Vec<RemoteName> = remote.names()?.into_iter().filter(|name| !read.contains(name)).collect();
    if names.is_empty() {
        return Ok(BTreeSet::new());
    }
    let found = manifests_of(remote, names.clone(), parallel, &mut warnings, |manifest| {
        manifest.objects().map(|object| object.key).collect::<BTreeSet<_>>()
    })?;
    if let Some(warning) = warnings.into_iter().next() {
        let address = remote.address().to_owned();
        let reason = format!("what it needs is not known, and nothing is deleted: {}", warning.message);
        return Err(RemoteError::Damaged { name: "a snapshot".to_owned(), address, reason }.into());
    }
    read.extend(names);
    Ok(found.into_iter().flat_map(|(_, keys)| keys).collect())
}
