//! Sends snapshots to a remote repository: survey, plan, then each snapshot under a lease: reuse, send, commit.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::exec;
use crate::fs::RateLimit;
use crate::model::{Label, SnapshotId, Warning, WarningKind};
use crate::monitor::{Monitor, Stage};
use crate::ops::copy::WantedSnapshots;
use crate::ops::create::Clock;
use crate::ops::error::OpError;
use crate::ops::read::{resolve, unreadable};
use crate::ops::stages::Stages;
use crate::plan::SMALL_FILE_BYTES;
use crate::remote::{LockedObject, RemoteError, RemoteManifest, RemoteName, RemoteRepository, Requests, Store};
use crate::repo::{Index, Lease, RepoError, Repository, SnapshotState, Summary};

use super::index::RemoteIndex;
use super::locks::{LockReport, PushLocks, objects_to_lock};
use super::pushed::PushOutcome;
use super::secrets::{SecretScope, secrets_in};
use super::sender::SendScope;
use super::snapshot::{PushContext, SnapshotPush};

/// The default number of objects that are sent concurrently.
pub const PARALLEL: u16 = 8;

/// A request to push snapshots.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PushRequest {
    /// The snapshots to send.
    pub wanted: WantedSnapshots,
    /// Files up to this size share objects.
    pub small_bytes: u64,
    /// Objects that are read, hashed and sent concurrently; each takes at most 64 MiB of memory, plus some.
    pub parallel: usize,
    /// The maximum number of bytes per second.
    pub rate: Option<u64>,
    /// The objects to send.
    pub scope: SendScope,
    /// Whether secrets are sent.
    pub secrets: SecretScope,
}

impl PushRequest {
    /// A push of these snapshots, with the defaults of `chsnap push`.
    #[must_use]
    pub fn new(wanted: WantedSnapshots) -> Self {
        Self {
            wanted,
            small_bytes: SMALL_FILE_BYTES,
            parallel: PARALLEL.into(),
            rate: None,
            scope: SendScope::Missing,
            secrets: SecretScope::Send,
        }
    }
}

crate::model::setters! { PushRequest {
    with_small_bytes => small_bytes: u64,
    with_parallel => parallel: usize,
    with_rate => rate: Option<u64>,
    with_scope => scope: SendScope,
    with_secrets => secrets: SecretScope,
} }

/// The outcome of a push.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PushReport {
    /// The snapshots, in the order in which they were made.
    pub snapshots: Vec<PushedSnapshot>,
    /// The requests sent to the store.
    pub requests: Requests,
    /// The outcome for the locks of objects; `None` if nothing was to be sent or looked at.
    pub locks: Option<LockReport>,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
    /// Seconds spent in each stage, and overall as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}

/// A snapshot, and the outcome of pushing it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PushedSnapshot {
    /// Its name in the store.
    pub name: RemoteName,
    /// When it was begun.
    pub time: DateTime<Utc>,
    /// Its label.
    pub label: Label,
    /// The outcome.
    pub outcome: PushOutcome,
}

/// Sends snapshots of `repository` to the remote repository of `store`, which is created if it is missing. Each
/// snapshot is committed on its own, the oldest first.
///
/// # Errors
/// If a snapshot could not be sent. Then it is not in the store, and those before it stay. The next push reuses the
/// objects that were sent.
pub fn push(
    repository: &Repository,
    store: Box<dyn Store>,
    request: &PushRequest,
    now: Clock<'_>,
    monitor: &dyn Monitor,
) -> Result<PushReport, OpError> {
    let begun = std::time::Instant::now();
    let stages = &Stages::new(monitor);
    let index = Index::open(repository)?;
    let mut report = PushReport::default();
    // A request that cannot be met creates no remote repository.
    let wanted = wanted(&index, &request.wanted, &mut report.warnings)?;
    let remote = &RemoteRepository::open_or_make(store, now())?;
    let (stored_names, mut index, named, mut locks) = stages.run(Stage::Discover, || -> Result<_, OpError> {
        let stored_names = remote.names()?;
        let mut named = Vec::with_capacity(wanted.len());
        for summary in &wanted {
            let origin = repository.snapshot_origin(summary.id)?;
            let made_in = origin.map_or_else(|| repository.id().clone(), |origin| origin.repository);
            named.push((RemoteName::new(summary.id, &made_in), *summary));
        }
        let own: Vec<&str> = named.iter().map(|(name, _)| name.repository.as_str()).collect();
        let is_needed = named.iter().any(|(name, _)| !stored_names.contains(name));
        let index = if is_needed {
            RemoteIndex::read(remote, &stored_names, &own, &mut report.warnings)?
        } else {
            RemoteIndex::default()
        };
        let is_locking = is_needed || request.wanted != WantedSnapshots::New;
        let locks = if is_locking { PushLocks::read(remote, now())? } else { PushLocks::none() };
        report.locks = is_locking.then_some(locks.report);
        Ok((stored_names, index, named, locks))
    })?;
    if request.wanted == WantedSnapshots::New && request.secrets == SecretScope::LeaveOut {
        let present = named.iter().filter(|(name, _)| stored_names.contains(name));
        stages.run(Stage::Discover, || warn_of_secrets(repository, remote, present.rev(), &mut report.warnings))?;
    }
    let rate = request.rate.map(RateLimit::new);
    let context = PushContext {
        remote,
        stages,
        small_bytes: request.small_bytes,
        scope: request.scope,
        secrets: request.secrets,
        rate: rate.as_ref(),
        now: now(),
    };
    let pool = exec::pool(request.parallel)?;
    for (name, summary) in named {
        let is_new = request.wanted == WantedSnapshots::New;
        let is_stored = stored_names.contains(&name) && request.scope == SendScope::Missing;
        // A partial manifest left by an interrupted transfer commits nothing.
        if is_new && is_stored && (remote.store().is_atomic() || remote.manifest(&name).is_ok()) {
            continue;
        }
        let lease = match repository.lease(summary.id) {
            Ok(lease) => lease,
            Err(RepoError::NoSnapshot { .. }) if is_new => continue,
            Err(error) => return Err(error.into()),
        };
        let stored = if is_stored && !is_new {
            let lacks_secrets = lacks_secrets(&lease, request.secrets)?;
            pool.install(|| stored(remote, &name, lacks_secrets, (&mut index, &mut locks)))?
        } else {
            StoredContent::No
        };
        if stored == StoredContent::WithSecrets {
            report.warnings.push(secrets_present(&name));
        }
        let outcome = if stored == StoredContent::No {
            let push = SnapshotPush { context: &context, lease: &lease, repository, id: summary.id };
            pool.install(|| push.push(&mut index, &mut locks))?
        } else {
            PushOutcome::Present
        };
        let (time, label) = (summary.time, summary.label.clone());
        report.snapshots.push(PushedSnapshot { name, time, label, outcome });
    }
    if let Some(report) = &mut report.locks {
        *report = locks.report;
    }
    report.warnings.append(&mut locks.warnings);
    report.requests = remote.store().requests();
    report.seconds = stages.seconds();
    report.seconds.insert("total", begun.elapsed().as_secs_f64());
    Ok(report)
}

fn secrets_present(name: &RemoteName) -> Warning {
    let message = format!("{name} is in the store with its secrets, and was left as it is");
    Warning::new(WarningKind::SecretsPresent, message)
}

/// Warns of the newest snapshots, given with the newest first, that the store has with their secrets, back to the first
/// one that has none there: so that every later push reads one manifest.
fn warn_of_secrets<'a>(
    repository: &Repository,
    remote: &RemoteRepository,
    present: impl Iterator<Item = &'a (RemoteName, &'a Summary)>,
    warnings: &mut Vec<Warning>,
) -> Result<(), OpError> {
    for (name, summary) in present {
        let has_secrets = match remote.manifest(name) {
            Ok(Some(manifest)) => !manifest.head.lacks_secrets(),
            Err(RemoteError::Store(error)) => return Err(RemoteError::Store(error).into()),
            // The push itself deals with it, or remote check reports it.
            Ok(None) | Err(_) => continue,
        };
        let lease = match repository.lease(summary.id) {
            Ok(lease) => lease,
            Err(RepoError::NoSnapshot { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        if !has_secrets || !lacks_secrets(&lease, SecretScope::LeaveOut)? {
            break;
        }
        warnings.push(secrets_present(name));
    }
    Ok(())
}

/// Whether the store has a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StoredContent {
    /// With all its objects, and as it would be sent.
    Whole,
    /// With all its objects, and with secrets that would not be sent.
    WithSecrets,
    /// No, or not with everything that would be sent.
    No,
}

/// Whether the store has a snapshot with everything that would be sent. If not, `index` has what it lacks.
fn stored(
    remote: &RemoteRepository,
    name: &RemoteName,
    lacks_secrets: bool,
    (index, locks): (&mut RemoteIndex, &mut PushLocks),
) -> Result<StoredContent, OpError> {
    let manifest = match remote.manifest(name) {
        Ok(Some(manifest)) => manifest,
        Ok(None) => return Ok(StoredContent::No),
        Err(RemoteError::Damaged { .. }) if !remote.store().is_atomic() => return Ok(StoredContent::No),
        Err(error) => return Err(error.into()),
    };
    index.add(&manifest, true);
    let lost = index.lost(remote, manifest.objects())?;
    index.forget(&lost);
    let stored = match (lost.is_empty(), manifest.head.lacks_secrets()) {
        (false, _) => StoredContent::No,
        // A push with secrets adds them.
        (true, true) if !lacks_secrets => StoredContent::No,
        (true, false) if lacks_secrets => StoredContent::WithSecrets,
        (true, _) => StoredContent::Whole,
    };
    if stored != StoredContent::No {
        lock_as_manifest(remote, &manifest, index, locks)?;
    }
    Ok(stored)
}

/// Extends the locks of a stored snapshot's objects that end before that of its manifest: the push that committed it may
/// not have been allowed to.
fn lock_as_manifest(
    remote: &RemoteRepository,
    manifest: &RemoteManifest,
    index: &RemoteIndex,
    locks: &mut PushLocks,
) -> Result<(), OpError> {
    if locks.of_new().is_none() {
        return Ok(());
    }
    let name = manifest.head.name();
    let Some(lock) = remote.lock_of(&LockedObject::Manifest(name.clone()))? else { return Ok(()) };
    let objects = objects_to_lock(manifest, &index.uploaded, remote.is_new());
    locks.extend(remote, &name, lock, &objects)
}

/// Whether the snapshot would be sent without secrets that it has, or does not have them here either.
fn lacks_secrets(lease: &Lease, secrets: SecretScope) -> Result<bool, OpError> {
    let (state, _) = lease.manifest()?;
    let SnapshotState::Complete(manifest) = state else { return Ok(false) };
    Ok(manifest.secrets_left_out.is_some()
        || secrets == SecretScope::LeaveOut && !secrets_in(lease.dir(), &manifest)?.left_out.is_empty())
}

/// The wanted snapshots, in the order in which they were made.
fn wanted<'a>(
    index: &'a Index,
    wanted: &WantedSnapshots,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<&'a Summary>, OpError> {
    let all = index.summaries().iter();
    match wanted {
        WantedSnapshots::New => {
            for summary in index.summaries().iter().filter(|summary| !summary.is_complete()) {
                warnings.push(unreadable(summary.id, summary.problem.as_deref().unwrap_or_default()));
            }
            Ok(all.filter(|summary| summary.is_complete()).collect())
        }
        WantedSnapshots::Named(references) => {
            let mut ids: Vec<SnapshotId> = Vec::new();
            for reference in references {
                ids.push(resolve(index, reference)?);
            }
            Ok(all.filter(|summary| ids.contains(&summary.id)).collect())
        }
    }
}
