use chrono::{DateTime, Utc};
use chsnap::model::SnapshotId;
use chsnap::plan::retention::{CalendarSpan, Count, Policy};
use schemars::JsonSchema;
use serde::Serialize;

/// `prune`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct PruneDocument {
    /// `nothing_to_remove`, `dry_run`, `pruned` or `refused`.
    pub(in super::super) state: String,
    /// Why it was refused.
    pub(in super::super) reason: Option<String>,
    /// How to resolve it.
    pub(in super::super) hint: Option<String>,
    /// The rules, as a sentence.
    pub(in super::super) policy: String,
    /// Each rule with its origin.
    pub(in super::super) rules: Vec<RuleRow>,
    /// The main series.
    pub(in super::super) main_series: String,
    /// The time zone of hours, days, weeks, months and years.
    pub(in super::super) zone: String,
    /// Snapshots that stay.
    pub(in super::super) keep: Vec<KeptRow>,
    /// Snapshots that are removed, or would be.
    pub(in super::super) remove: Vec<RemovedRow>,
    /// Bytes that this frees.
    pub(in super::super) freed_bytes: u64,
    /// Bytes of files in that.
    pub(in super::super) exclusive_bytes: u64,
    /// Bytes of directories in that.
    pub(in super::super) directory_bytes: u64,
    /// The same, including everything already in the trash.
    pub(in super::super) freed_with_trash_bytes: u64,
    /// With `--free`: whether the requested size is freed.
    pub(in super::super) is_enough: Option<bool>,
    /// Series without a recent snapshot.
    pub(in super::super) stale_series: Vec<StaleRow>,
    /// The reasons why the plan looks like a mistake.
    pub(in super::super) guards: Vec<String>,
    /// The cost of this computation.
    pub(in super::super) cost: CostRow,
}

/// A rule, floor or zone, as it was given.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RuleRow {
    /// Its key: `keep_daily`.
    pub(in super::super) key: String,
    /// Its values.
    pub(in super::super) values: Vec<String>,
    /// A file and its line, or `command line`.
    pub(in super::super) origin: String,
}

/// The members that `prune` and `remote prune` show of every snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct JudgedRow {
    /// When it was begun.
    pub(in super::super) time: DateTime<Utc>,
    /// Its name.
    pub(in super::super) name: Option<String>,
    /// Its series; null if its manifest cannot be read.
    pub(in super::super) series: Option<String>,
    /// Whether it lacks a table that it could have had.
    pub(in super::super) incomplete: bool,
}

/// A snapshot that stays.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct KeptRow {
    /// Its id.
    pub(in super::super) id: SnapshotId,
    #[serde(flatten)]
    pub(in super::super) snapshot: JudgedRow,
    /// Why it stays.
    pub(in super::super) reasons: Vec<String>,
}

/// A snapshot that is removed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct RemovedRow {
    /// Its id.
    pub(in super::super) id: SnapshotId,
    #[serde(flatten)]
    pub(in super::super) snapshot: JudgedRow,
    /// `no_rule`, `series_ended` or `unreadable`.
    pub(in super::super) reason: String,
    /// Bytes that removing only this snapshot frees.
    pub(in super::super) freed_bytes: u64,
    /// Bytes that removing it and those before it in this list frees.
    pub(in super::super) freed_with_older_bytes: u64,
}

/// A series without a recent snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct StaleRow {
    /// The series.
    pub(in super::super) series: String,
    /// When its newest snapshot was begun.
    pub(in super::super) newest: DateTime<Utc>,
    /// Its snapshots.
    pub(in super::super) snapshots: Vec<SnapshotId>,
    /// Bytes that removing all of them frees.
    pub(in super::super) freed_bytes: u64,
}

/// The cost of computing space.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CostRow {
    /// The number of files whose links were counted again.
    pub(in super::super) asked_files: u64,
    /// The number of snapshots that were listed file by file; null for `prune`.
    pub(in super::super) listed_snapshots: Option<u64>,
    /// Seconds by stage.
    pub(in super::super) seconds: CostSeconds,
}

/// Seconds by stage.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CostSeconds {
    /// Bringing the index up to date.
    pub(in super::super) index: f64,
    /// Listing snapshots.
    pub(in super::super) list: f64,
    /// Counting links.
    pub(in super::super) stat: f64,
    /// Adding up.
    pub(in super::super) sum: f64,
}

/// `simulate`, over a calendar or with `--times`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SimulateDocument {
    /// The time used as the present.
    pub(in super::super) now: DateTime<Utc>,
    /// The time zone of hours, days, weeks, months and years.
    pub(in super::super) zone: String,
    /// The rules.
    #[schemars(with = "PolicyFields")]
    pub(in super::super) policy: Policy,
    /// For a calendar: the number of snapshots taken.
    pub(in super::super) taken: Option<u64>,
    /// For a calendar: the largest number of snapshots at one time.
    pub(in super::super) most: Option<u64>,
    /// Snapshots that stay.
    pub(in super::super) keep: Vec<SimulatedRow>,
    /// Snapshots that are removed.
    pub(in super::super) remove: Vec<SimulatedRow>,
}

/// A snapshot of the calendar or of the list.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct SimulatedRow {
    /// Its time.
    pub(in super::super) time: String,
    /// Why it stays; null if it is removed.
    pub(in super::super) reasons: Option<Vec<String>>,
    /// For a calendar: when it was removed.
    pub(in super::super) removed: Option<DateTime<Utc>>,
    /// For a list: its id, if one was given.
    pub(in super::super) id: Option<String>,
    /// For a list: its name.
    pub(in super::super) name: Option<String>,
    /// For a list: its tags.
    pub(in super::super) tags: Option<Vec<String>>,
    /// For a list: its series.
    pub(in super::super) series: Option<String>,
}

/// The schema of a [`Policy`].
#[expect(dead_code, reason = "it is read by the derive alone")]
#[derive(JsonSchema)]
struct PolicyFields {
    /// The newest N snapshots.
    keep_last: Count,
    /// The newest snapshot of each of the last N hours that have one.
    keep_hourly: Count,
    /// The same for days.
    keep_daily: Count,
    /// The same for ISO weeks.
    keep_weekly: Count,
    /// The same for months.
    keep_monthly: Count,
    /// The same for years.
    keep_yearly: Count,
    /// Every snapshot within this time before the newest one.
    keep_within: CalendarSpan,
    /// The newest snapshot of each hour within this.
    keep_within_hourly: CalendarSpan,
    /// The newest snapshot of each day within this.
    keep_within_daily: CalendarSpan,
    /// The newest snapshot of each ISO week within this.
    keep_within_weekly: CalendarSpan,
    /// The newest snapshot of each month within this.
    keep_within_monthly: CalendarSpan,
    /// The newest snapshot of each year within this.
    keep_within_yearly: CalendarSpan,
    /// How long a series other than the main one stays without a new snapshot.
    keep_other_within: CalendarSpan,
    /// Snapshots with a matching name or tag.
    keep_name: Vec<String>,
    /// The number of newest snapshots that always stay.
    min_keep: u32,
    /// Snapshots younger than this always stay.
    min_age: CalendarSpan,
    /// The zone of the calendar.
    zone: String,
}
