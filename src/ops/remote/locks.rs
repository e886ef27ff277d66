//! Extends the locks of objects that a pushed snapshot reuses, so that they end no earlier than those of its new objects.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use rayon::prelude::*;

use crate::model::{ContentHash, DefaultLock, ObjectLock, Warning, WarningKind, count, thousands};
use crate::ops::error::OpError;
use crate::plan::extended_lock;
use crate::remote::{
    LockedObject, RemoteError, RemoteManifest, RemoteName, RemoteRepository, StoreError, StoreErrorKind,
};

/// After this many refusals and no success, no further extension is tried.
const REFUSALS: u64 = 8;
/// The number of parts that a warning names.
const NAMED: usize = 3;

/// The outcome of a push for the locks of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockReport {
    /// The lock that new objects get.
    pub of_new: DefaultLock,
    /// Reused objects whose lock was looked at.
    pub looked_at: u64,
    /// Locks that were extended.
    pub extended: u64,
    /// Locks that end earlier than those of new objects, and could not be extended.
    pub not_extended: u64,
}

/// The locks of one push.
pub(super) struct PushLocks {
    pub(super) report: LockReport,
    /// The objects that could not be locked.
    pub(super) warnings: Vec<Warning>,
    read: Instant,
    /// Objects whose locks end at this time or later.
    until: BTreeMap<LockedObject, DateTime<Utc>>,
}

/// The outcome for an object.
enum LockOutcome {
    LongEnough,
    Extended,
    /// The present lock, and the reason.
    Refused(Option<ObjectLock>, String),
}

impl PushLocks {
    /// The locks of a push that sends nothing.
    pub(super) fn none() -> Self {
        let report = LockReport { of_new: DefaultLock::None, looked_at: 0, extended: 0, not_extended: 0 };
        Self { report, warnings: Vec::new(), read: Instant::now(), until: BTreeMap::new() }
    }

    /// Asks the store for the lock of new objects.
    ///
    /// # Errors
    /// If the store does not answer.
    pub(super) fn read(remote: &RemoteRepository, now: DateTime<Utc>) -> Result<Self, OpError> {
        let mut locks = Self::none();
        locks.report.of_new = remote.default_lock(now)?;
        Ok(locks)
    }

    /// The lock that reused objects need: that of an object which is written now, to the full hour after its end.
    /// `None` if new objects get none.
    pub(super) fn of_new(&self) -> Option<ObjectLock> {
        let DefaultLock::Of(lock) = self.report.of_new else { return None };
        let until = lock.until.checked_add_signed(TimeDelta::from_std(self.read.elapsed()).ok()?)?;
        Some(ObjectLock { until: until.duration_trunc(TimeDelta::hours(1)).ok()? + TimeDelta::hours(1), ..lock })
    }

    /// Extends the locks of these objects that end before `wanted`. Each is given with the part or file that needs it.
    ///
    /// # Errors
    /// If the store does not answer. A refusal is a warning.
    pub(super) fn extend(
        &mut self,
        remote: &RemoteRepository,
        name: &RemoteName,
        wanted: ObjectLock,
        reused: &BTreeMap<LockedObject, String>,
    ) -> Result<(), OpError> {
        let is_open = |object: &LockedObject| self.until.get(object).is_none_or(|until| *until < wanted.until);
        let objects: Vec<(&LockedObject, &String)> = reused.iter().filter(|(object, _)| is_open(object)).collect();
        let (refusals, successes) = (AtomicU64::new(0), AtomicU64::new(0));
        let extend = |(object, _): &(&LockedObject, &String)| -> Result<LockOutcome, RemoteError> {
            let present = match remote.lock_of(object) {
                Ok(present) => present,
                Err(RemoteError::Store(error)) if is_refusal(&error) => {
                    return Ok(LockOutcome::Refused(None, error.cause.to_string()));
                }
                Err(error) => return Err(error),
            };
            let Some(lock) = extended_lock(present, wanted) else { return Ok(LockOutcome::LongEnough) };
            if refusals.load(Ordering::Relaxed) >= REFUSALS && successes.load(Ordering::Relaxed) == 0 {
                return Ok(LockOutcome::Refused(present, "the store refused the others".to_owned()));
            }
            match remote.set_lock(object, lock) {
                Ok(()) => {
                    successes.fetch_add(1, Ordering::Relaxed);
                    Ok(LockOutcome::Extended)
                }
                Err(RemoteError::Store(error)) if is_refusal(&error) => {
                    refusals.fetch_add(1, Ordering::Relaxed);
                    Ok(LockOutcome::Refused(present, error.cause.to_string()))
                }
                Err(error) => Err(error),
            }
        };
        let outcomes: Vec<LockOutcome> = objects.par_iter().map(extend).collect::<Result<_, _>>()?;
        let mut refusals = Vec::new();
        let mut long_enough = Vec::new();
        for ((object, of), outcome) in objects.into_iter().zip(outcomes) {
            self.report.looked_at += 1;
            match outcome {
                LockOutcome::Refused(present, reason) => {
                    self.report.not_extended += 1;
                    refusals.push((of.as_str(), present, reason));
                    continue;
                }
                LockOutcome::Extended => self.report.extended += 1,
                LockOutcome::LongEnough => {}
            }
            long_enough.push((object.clone(), wanted.until));
        }
        self.until.extend(long_enough);
        self.warnings.extend(warning(name, wanted, &refusals));
        Ok(())
    }
}

/// Whether the store understood the request and refuses it: another attempt would be refused as well.
fn is_refusal(error: &StoreError) -> bool {
    matches!(error.kind, StoreErrorKind::Denied | StoreErrorKind::Unsupported | StoreErrorKind::Invalid)
}

/// Names what is locked for a shorter time than new objects.
fn warning(name: &RemoteName, wanted: ObjectLock, refused: &[(&str, Option<ObjectLock>, String)]) -> Option<Warning> {
    let (_, _, reason) = refused.first()?;
    let parts: BTreeSet<&str> = refused.iter().map(|(of, _, _)| *of).collect();
    let named = parts.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = parts.len().saturating_sub(NAMED) as u64;
    let more = if more > 0 { format!(" and {} more", thousands(more)) } else { String::new() };
    let minute = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M UTC");
    let first = refused.iter().map(|(_, present, _)| present.map(|lock| lock.until)).min().flatten();
    let held = match first {
        Some(until) => format!("the first lock ends {}", minute(until)),
        None => "some have no lock that these credentials see".to_owned(),
    };
    let message = format!(
        "{} that {name} reuses, of {named}{more}: not locked until {} as new objects are ({reason}); {held}",
        count(refused.len() as u64, "object"),
        minute(wanted.until),
    );
    Some(Warning::new(WarningKind::LockNotExtended, message))
}

/// The objects that a snapshot reuses, each with the part or file that needs it; and the marker, unless it is new.
pub(super) fn objects_to_lock(
    manifest: &RemoteManifest,
    uploaded: &HashSet<ContentHash>,
    is_new: bool,
) -> BTreeMap<LockedObject, String> {
    let is_reused = |key: &ContentHash| !uploaded.contains(key);
    let mut objects = BTreeMap::new();
    for part in &manifest.parts {
        for key in part.files.objects().map(|object| object.key).filter(is_reused) {
            let of = || format!("{} {}", part.record.table_name(), part.record.part);
            objects.entry(LockedObject::Content(key)).or_insert_with(of);
        }
    }
    for key in manifest.head.files.objects().map(|object| object.key).filter(is_reused) {
        objects.entry(LockedObject::Content(key)).or_insert_with(|| "definitions and other files".to_owned());
    }
    if !is_new {
        objects.insert(LockedObject::Marker, "the remote repository itself".to_owned());
    }
    objects
}
