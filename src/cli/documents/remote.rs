//! The documents of `push`, `pull` and `remote`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chsnap::model::{DefaultLock, PartTally};
use chsnap::ops::remote::{LockReport, PushOutcome, PushedSnapshot, RemoteSnapshot, WrongObject};
use chsnap::remote::Requests;
use chsnap::repo::SecretsLeftOut;
use schemars::JsonSchema;
use serde::Serialize;

use super::prune::JudgedRow;

/// The requests sent to the store.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RequestRow {
    /// Objects sent; a retry is not counted again, here and below.
    pub(in super::super) puts: u64,
    /// Objects read.
    pub(in super::super) gets: u64,
    /// Requests for the presence of one object.
    pub(in super::super) stats: u64,
    /// Lists.
    pub(in super::super) lists: u64,
    /// Objects deleted.
    pub(in super::super) deletes: u64,
    /// Requests about object lock.
    pub(in super::super) locks: u64,
    /// Bytes sent.
    pub(in super::super) sent_bytes: u64,
    /// Bytes read.
    pub(in super::super) received_bytes: u64,
}

impl From<Requests> for RequestRow {
    fn from(requests: Requests) -> Self {
        let Requests { puts, gets, stats, lists, deletes, locks, sent_bytes, received_bytes } = requests;
        Self { puts, gets, stats, lists, deletes, locks, sent_bytes, received_bytes }
    }
}

/// A number of objects.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ObjectsRow {
    /// The number.
    pub(in super::super) objects: u64,
    /// Their bytes.
    pub(in super::super) bytes: u64,
}

impl From<PartTally> for ObjectsRow {
    fn from(tally: PartTally) -> Self {
        Self { objects: tally.files, bytes: tally.bytes }
    }
}

/// A snapshot that was to be pushed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct PushRow {
    /// Its id.
    pub(in super::super) id: String,
    /// Its name in the remote repository: `<id>.<repository>`.
    pub(in super::super) remote_name: String,
    /// When it was begun.
    pub(in super::super) time: DateTime<Utc>,
    /// Its name.
    pub(in super::super) name: Option<String>,
    /// `pushed`, `present` or `damaged`.
    pub(in super::super) state: String,
    /// The damage in this repository; null if there is none.
    pub(in super::super) reason: Option<String>,
    /// Parts; null unless it was pushed, here and below.
    pub(in super::super) parts: Option<u64>,
    /// Sum of the sizes of its files.
    pub(in super::super) apparent_bytes: Option<u64>,
    /// Objects that it needs.
    pub(in super::super) objects: Option<u64>,
    /// Bytes of these objects.
    pub(in super::super) object_bytes: Option<u64>,
    /// Parts whose objects were reused without reading a file.
    pub(in super::super) reused_parts: Option<u64>,
    /// Objects that were sent.
    pub(in super::super) sent: Option<ObjectsRow>,
    /// Objects that were read and already exist in the store.
    pub(in super::super) already_there: Option<ObjectsRow>,
    /// The secrets that `--no-secrets` left out; null if none.
    pub(in super::super) secrets_left_out: Option<SecretsLeftOut>,
}

impl PushRow {
    pub(in super::super) fn of(snapshot: &PushedSnapshot) -> Self {
        let mut row = Self {
            id: snapshot.name.id.to_string(),
            remote_name: snapshot.name.to_string(),
            time: snapshot.time,
            name: snapshot.label.text.clone(),
            state: "present".to_owned(),
            reason: None,
            parts: None,
            apparent_bytes: None,
            objects: None,
            object_bytes: None,
            reused_parts: None,
            sent: None,
            already_there: None,
            secrets_left_out: None,
        };
        match &snapshot.outcome {
            PushOutcome::Present => {}
            PushOutcome::Damaged(problem) => {
                "damaged".clone_into(&mut row.state);
                row.reason = Some(problem.clone());
            }
            PushOutcome::Pushed(pushed) => {
                "pushed".clone_into(&mut row.state);
                row.parts = Some(pushed.all.parts);
                row.apparent_bytes = Some(pushed.all.bytes);
                row.objects = Some(pushed.objects);
                row.object_bytes = Some(pushed.object_bytes);
                row.reused_parts = Some(pushed.reused.parts);
                row.sent = Some(pushed.sent.into());
                row.already_there = Some(pushed.present.into());
                row.secrets_left_out.clone_from(&pushed.left_out);
            }
        }
        row
    }
}

/// The locks of a store that locks new objects by itself.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ObjectLockRow {
    /// `extended`; `incomplete` if some locks could not be extended; `unknown` if the credentials may not read whether the
    /// bucket has object lock; `unread` on Google and Azure, whose retention is not read.
    pub(in super::super) state: String,
    /// `GOVERNANCE` or `COMPLIANCE`; null if unknown.
    pub(in super::super) mode: Option<String>,
    /// When the lock of an object ends that is written now; null if unknown.
    pub(in super::super) until: Option<DateTime<Utc>>,
    /// Reused objects whose lock was looked at.
    pub(in super::super) looked_at: u64,
    /// Locks that ended earlier than those of new objects, and were extended.
    pub(in super::super) extended: u64,
    /// Locks that end earlier than those of new objects, and could not be extended.
    pub(in super::super) not_extended: u64,
}

impl ObjectLockRow {
    pub(in super::super) fn of(report: &LockReport) -> Option<Self> {
        let (mode, until) = match report.of_new {
            DefaultLock::None => return None,
            DefaultLock::Unknown | DefaultLock::Unread => (None, None),
            DefaultLock::Of(lock) => (Some(lock.mode.to_string()), Some(lock.until)),
        };
        let state = match (until, report.not_extended) {
            (None, _) if report.of_new == DefaultLock::Unread => "unread",
            (None, _) => "unknown",
            (Some(_), 0) => "extended",
            (Some(_), _) => "incomplete",
        };
        let LockReport { looked_at, extended, not_extended, .. } = *report;
        Some(Self { state: state.to_owned(), mode, until, looked_at, extended, not_extended })
    }
}

/// `push`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct PushDocument {
    /// `complete`, or `damaged` if a snapshot was not pushed.
    pub(in super::super) state: String,
    /// The remote repository.
    pub(in super::super) remote: String,
    /// Snapshots that were pushed.
    pub(in super::super) pushed: u64,
    /// Snapshots that were already present.
    pub(in super::super) present: u64,
    /// Snapshots that are damaged here, and were not pushed.
    pub(in super::super) damaged: u64,
    /// The selected snapshots, in the order in which they were made.
    pub(in super::super) snapshots: Vec<PushRow>,
    /// Object lock; null if the store does not lock new objects, or nothing was pushed.
    pub(in super::super) object_lock: Option<ObjectLockRow>,
    /// The requests sent to the store.
    pub(in super::super) requests: RequestRow,
    /// Seconds spent in each stage, and `total`.
    pub(in super::super) seconds: BTreeMap<String, f64>,
}

/// `pull`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct PullDocument {
    /// `complete`, or `present` if the repository already had it.
    pub(in super::super) state: String,
    /// The remote repository.
    pub(in super::super) remote: String,
    /// The snapshot here.
    pub(in super::super) id: String,
    /// The snapshot of which only tables or partitions were pulled; null where it was pulled whole.
    pub(in super::super) of: Option<String>,
    /// Its name in the remote repository.
    pub(in super::super) remote_name: String,
    /// Parts.
    pub(in super::super) parts: u64,
    /// Sum of the sizes of its files.
    pub(in super::super) apparent_bytes: u64,
    /// Parts that were linked from snapshots here.
    pub(in super::super) linked_parts: u64,
    /// Parts that were fetched.
    pub(in super::super) fetched_parts: u64,
    /// The requests sent to the store.
    pub(in super::super) requests: RequestRow,
    /// Seconds spent in each stage, and `total`.
    pub(in super::super) seconds: BTreeMap<String, f64>,
}

/// A snapshot in a remote repository.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemoteRow {
    /// Its id.
    pub(in super::super) id: String,
    /// Its name there: `<id>.<repository>`.
    pub(in super::super) remote_name: String,
    /// The first digits of the id of the repository in which it was made.
    pub(in super::super) repository: String,
    /// When it was begun.
    pub(in super::super) time: DateTime<Utc>,
    /// Its name.
    pub(in super::super) name: Option<String>,
    /// When it was pushed.
    pub(in super::super) pushed: DateTime<Utc>,
    /// The host that pushed it.
    pub(in super::super) host: String,
    /// Its series.
    pub(in super::super) series: String,
    /// The number of tables whose parts are in it.
    pub(in super::super) tables: u64,
    /// Parts.
    pub(in super::super) parts: u64,
    /// Sum of the sizes of its files: what a restore needs.
    pub(in super::super) apparent_bytes: u64,
    /// Objects that it needs.
    pub(in super::super) objects: u64,
    /// Bytes of these objects.
    pub(in super::super) object_bytes: u64,
    /// Bytes of the objects that no other snapshot needs; null except in `usage`.
    pub(in super::super) exclusive_bytes: Option<u64>,
}

impl RemoteRow {
    pub(in super::super) fn of(snapshot: &RemoteSnapshot, exclusive_bytes: Option<u64>) -> Self {
        Self {
            id: snapshot.name.id.to_string(),
            remote_name: snapshot.name.to_string(),
            repository: snapshot.name.repository.clone(),
            time: snapshot.time,
            name: snapshot.label.text.clone(),
            pushed: snapshot.pushed,
            host: snapshot.host.clone(),
            series: snapshot.series.clone(),
            tables: snapshot.tables,
            parts: snapshot.parts,
            apparent_bytes: snapshot.totals.apparent_bytes,
            objects: snapshot.objects,
            object_bytes: snapshot.object_bytes,
            exclusive_bytes,
        }
    }
}

/// `remote list`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemoteListDocument {
    /// The remote repository.
    pub(in super::super) remote: String,
    /// Its snapshots, in the order of repositories and ids.
    pub(in super::super) snapshots: Vec<RemoteRow>,
    /// The requests sent to the store.
    pub(in super::super) requests: RequestRow,
}

/// `remote usage`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemoteUsageDocument {
    /// The remote repository.
    pub(in super::super) remote: String,
    /// Its snapshots, in the order of repositories and ids.
    pub(in super::super) snapshots: Vec<RemoteRow>,
    /// Objects that snapshots need.
    pub(in super::super) needed: ObjectsRow,
    /// All objects in the store.
    pub(in super::super) stored: ObjectsRow,
    /// Objects that no snapshot needs.
    pub(in super::super) garbage: ObjectsRow,
    /// The requests sent to the store.
    pub(in super::super) requests: RequestRow,
}

/// A missing or damaged object.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct WrongObjectRow {
    /// Its key.
    pub(in super::super) key: String,
    /// The problem.
    pub(in super::super) found: String,
    /// A part that needs it, or the files outside of parts.
    pub(in super::super) of: String,
    /// The snapshots that need it, by their names in the remote repository.
    pub(in super::super) snapshots: Vec<String>,
}

impl From<&WrongObject> for WrongObjectRow {
    fn from(wrong: &WrongObject) -> Self {
        Self {
            key: wrong.key.to_string(),
            found: wrong.problem.clone(),
            of: wrong.of.clone(),
            snapshots: wrong.snapshots.iter().map(ToString::to_string).collect(),
        }
    }
}

/// `remote check` and `remote verify`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemoteCheckDocument {
    /// `sound` or `damaged`.
    pub(in super::super) state: String,
    /// The remote repository.
    pub(in super::super) remote: String,
    /// The kind of check: `list`, `presence` or `data`.
    pub(in super::super) depth: String,
    /// The snapshots that were checked, by their names in the remote repository.
    pub(in super::super) snapshots: Vec<String>,
    /// The objects that were checked.
    pub(in super::super) checked: ObjectsRow,
    /// Missing or damaged objects.
    pub(in super::super) damage: Vec<WrongObjectRow>,
    /// Snapshots whose manifest cannot be read, with the reason.
    pub(in super::super) unreadable: Vec<String>,
    /// Objects that no snapshot needs; null unless the store was listed.
    pub(in super::super) garbage: Option<ObjectsRow>,
    /// The requests sent to the store.
    pub(in super::super) requests: RequestRow,
}

/// `remote rm`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemoteRmDocument {
    /// `removed` or `dry_run`.
    pub(in super::super) state: String,
    /// The remote repository.
    pub(in super::super) remote: String,
    /// The snapshots that were removed, or would be, by their names in the remote repository.
    pub(in super::super) removed: Vec<String>,
}

/// `remote gc`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemoteGcDocument {
    /// `collected` or `dry_run`.
    pub(in super::super) state: String,
    /// The remote repository.
    pub(in super::super) remote: String,
    /// Objects that were deleted, or would be.
    pub(in super::super) deleted: ObjectsRow,
    /// Objects that were condemned now, or would be.
    pub(in super::super) condemned: ObjectsRow,
    /// Objects that were condemned before, and whose grace has not ended.
    pub(in super::super) waiting: ObjectsRow,
    /// The requests sent to the store.
    pub(in super::super) requests: RequestRow,
}

/// `remote prune`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemotePruneDocument {
    /// `nothing_to_remove`, `dry_run`, `pruned` or `refused`.
    pub(in super::super) state: String,
    /// Why it was refused.
    pub(in super::super) reason: Option<String>,
    /// How to resolve it.
    pub(in super::super) hint: Option<String>,
    /// The remote repository.
    pub(in super::super) remote: String,
    /// The rules as a sentence.
    pub(in super::super) policy: String,
    /// The time zone of hours, days, weeks, months and years.
    pub(in super::super) zone: String,
    /// The main series of each repository, by the first digits of its id.
    pub(in super::super) main_series: BTreeMap<String, String>,
    /// Snapshots that stay, by repository, the newest first.
    pub(in super::super) keep: Vec<RemoteKeptRow>,
    /// Snapshots that are removed, or would be, by repository, the oldest first.
    pub(in super::super) remove: Vec<RemoteRemovedRow>,
    /// Bytes of the objects that no snapshot needs after that.
    pub(in super::super) freed_bytes: u64,
    /// Why it looks like a mistake.
    pub(in super::super) guards: Vec<String>,
    /// The requests that the plan took.
    pub(in super::super) requests: RequestRow,
}

/// A remote snapshot that stays.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemoteKeptRow {
    /// Its name there: `<id>.<repository>`.
    pub(in super::super) remote_name: String,
    /// The first digits of the id of the repository in which it was made.
    pub(in super::super) repository: String,
    #[serde(flatten)]
    pub(in super::super) snapshot: JudgedRow,
    /// Why it stays.
    pub(in super::super) reasons: Vec<String>,
}

/// A remote snapshot that is removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemoteRemovedRow {
    /// Its name there: `<id>.<repository>`.
    pub(in super::super) remote_name: String,
    /// The first digits of the id of the repository in which it was made.
    pub(in super::super) repository: String,
    #[serde(flatten)]
    pub(in super::super) snapshot: JudgedRow,
    /// `no_rule` or `series_ended`.
    pub(in super::super) reason: String,
    /// Bytes of the objects that only it needs.
    pub(in super::super) freed_bytes: u64,
    /// Bytes of the objects that only it and those before it in this list need.
    pub(in super::super) freed_with_older_bytes: u64,
}
