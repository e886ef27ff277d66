use chrono::{DateTime, NaiveDate, Utc};
use chsnap::model::{Level, SnapshotId};
use chsnap::plan::Slice;
use schemars::JsonSchema;
use serde::Serialize;

/// `report --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ReportDocument {
    /// The page; null where none was written.
    pub(in super::super) file: Option<String>,
    /// The bytes of its path in base64, where they are not UTF-8.
    pub(in super::super) file_base64: Option<String>,
    /// The page's size; null where none was written.
    pub(in super::super) bytes: Option<u64>,
    /// Snapshots in the repository.
    pub(in super::super) snapshots: u64,
    /// All that the page shows.
    pub(in super::super) figures: Figures,
}

/// All that the page shows, in the units of every other document: bytes, RFC 3339 times.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Figures {
    /// When they were taken.
    pub(in super::super) time: DateTime<Utc>,
    /// The profile of the configuration, if one was chosen.
    pub(in super::super) profile: Option<String>,
    /// The repository's path; other bytes than UTF-8 are replaced.
    pub(in super::super) repository: String,
    /// The server as the newest readable snapshot names it; null before there is one.
    pub(in super::super) server: Option<ServerFigures>,
    /// Whether all is well, why not, and what to do next.
    pub(in super::super) verdict: ReportVerdict,
    /// The filesystem that the repository is on.
    pub(in super::super) filesystem: Filesystem,
    /// What the repository costs.
    pub(in super::super) totals: CostFigures,
    /// The rules that `keeps` of the snapshots goes by; null where none are configured.
    pub(in super::super) policy: Option<String>,
    /// The time zone of the calendar.
    pub(in super::super) zone: String,
    /// How many snapshots were checked how far.
    pub(in super::super) coverage: Coverage,
    /// The snapshots, the oldest first.
    pub(in super::super) snapshots: Vec<SnapshotFigures>,
    /// What was taken on the filesystem when snapshots were made, the oldest first.
    pub(in super::super) used: Vec<Used>,
    /// The largest tables, the largest first.
    pub(in super::super) tables: Vec<TableFigures>,
    /// The largest partitions, the largest first.
    pub(in super::super) partitions: Vec<TableFigures>,
}

/// The server of the snapshots.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ServerFigures {
    /// Its host's name.
    pub(in super::super) host: String,
    /// Its version.
    pub(in super::super) version: String,
    /// Its data path.
    pub(in super::super) data_path: String,
}

/// Space on the filesystem of the repository.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Filesystem {
    /// Its size.
    pub(in super::super) size_bytes: u64,
    /// What of it is free.
    pub(in super::super) free_bytes: u64,
    /// By how much the taken space grows in a day, less than 0 where it shrinks; null while that is not known.
    pub(in super::super) used_bytes_per_day: Option<f64>,
    /// Days until nothing is free, if that goes on; null where it does not grow.
    pub(in super::super) days_until_full: Option<f64>,
}

/// What all snapshots cost together.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CostFigures {
    /// What would be free without the repository.
    pub(in super::super) cost_bytes: u64,
    /// What the server has too.
    pub(in super::super) live_shared_bytes: u64,
    /// What emptying the trash frees.
    pub(in super::super) trash_bytes: u64,
    /// Snapshots in the trash.
    pub(in super::super) in_trash: u64,
    /// Snapshots that are pinned.
    pub(in super::super) pinned: u64,
}

/// How many snapshots were checked how far.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct Coverage {
    /// Every byte was read.
    pub(in super::super) data: u64,
    /// Sizes or structure were compared, and not every byte was read.
    pub(in super::super) size: u64,
    /// Nothing was checked as a whole.
    pub(in super::super) never: u64,
    /// Restored on trial.
    pub(in super::super) drilled: u64,
}

/// One snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SnapshotFigures {
    /// Its id.
    pub(in super::super) id: SnapshotId,
    /// When it was begun.
    pub(in super::super) time: DateTime<Utc>,
    /// Its day, by the calendar of the policy.
    pub(in super::super) day: NaiveDate,
    /// Its name, its pin, what is wrong with it.
    pub(in super::super) notes: Vec<String>,
    /// Whether it is pinned.
    pub(in super::super) pinned: bool,
    /// What a restore needs.
    pub(in super::super) apparent_bytes: u64,
    /// What the snapshot before it did not have when it was made.
    pub(in super::super) written_bytes: u64,
    /// What removing it alone frees.
    pub(in super::super) freed_bytes: u64,
    /// What removing it and all older ones frees.
    pub(in super::super) freed_with_older_bytes: u64,
    /// Files that are only in it.
    pub(in super::super) exclusive_bytes: u64,
    /// Files that other snapshots have too, and the server does not.
    pub(in super::super) shared_bytes: u64,
    /// Files that the server has too.
    pub(in super::super) live_shared_bytes: u64,
    /// Whether it stays at the next prune.
    pub(in super::super) keeps: bool,
    /// Why it stays or goes.
    pub(in super::super) why: String,
    /// What checks found.
    pub(in super::super) checked: CheckFigures,
    /// Its last trial restore; null if it had none.
    pub(in super::super) drill: Option<DrillFigures>,
}

/// How far a snapshot was checked, and what was found.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CheckFigures {
    /// The level of the newest whole check; null if there was none.
    pub(in super::super) level: Option<Level>,
    /// When that was; null if there was none.
    pub(in super::super) time: Option<DateTime<Utc>>,
    /// Since when every byte has been read; null if not every one was.
    pub(in super::super) data_time: Option<DateTime<Utc>>,
    /// The newest share, where a round of shares is under way; else null.
    pub(in super::super) slice: Option<Slice>,
    /// Whether damage was found that no check since has found gone.
    pub(in super::super) damaged: bool,
    /// Whether owners or modes were found that are not as recorded.
    pub(in super::super) drifted: bool,
}

/// A trial restore.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DrillFigures {
    /// When.
    pub(in super::super) time: DateTime<Utc>,
    /// Tables that were tried.
    pub(in super::super) tables: u64,
    /// Tables with parts that the snapshot has.
    pub(in super::super) of_tables: u64,
    /// Tables that were not what the snapshot says.
    pub(in super::super) failed: u64,
}

/// What was taken on the filesystem.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Used {
    /// When.
    pub(in super::super) time: DateTime<Utc>,
    /// By whomever.
    pub(in super::super) used_bytes: u64,
}

/// A table or a partition of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct TableFigures {
    /// Its name, with the database.
    pub(in super::super) name: String,
    /// The partition; null for a table.
    pub(in super::super) partition: Option<String>,
    /// What it takes in all snapshots together.
    pub(in super::super) allocated_bytes: u64,
    /// What of it the server has too.
    pub(in super::super) live_shared_bytes: u64,
    /// What restoring it needed, snapshot by snapshot, the oldest first; empty for a partition.
    pub(in super::super) history: Vec<u64>,
}

/// How well things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum ReportSeverity {
    /// Nothing to do.
    Ok,
    /// It can wait for the morning.
    Warning,
    /// Act now.
    Bad,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum FindingKind {
    /// There is no good snapshot, or none that is young enough.
    NoNewSnapshot,
    /// A snapshot is damaged.
    Damage,
    /// A trial restore failed.
    DrillFailed,
    /// The newest snapshot lacks a table that it could have had.
    Incomplete,
    /// The last prune was refused.
    PruneRefused,
    /// The disk fills.
    DiskFilling,
    /// Freezes were left behind.
    LeftoverFreezes,
    /// Owners or modes are not as recorded.
    Drift,
    /// Something else that a command warns of.
    Other,
}

/// Something that is not as it should be.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ReportFinding {
    /// What it is about.
    pub(in super::super) kind: FindingKind,
    /// How bad it is.
    pub(in super::super) state: ReportSeverity,
    /// One sentence.
    pub(in super::super) text: String,
    /// What to do next, in words; null where the text says it.
    pub(in super::super) next: Option<String>,
    /// The command that does it or shows more; null where there is none.
    pub(in super::super) command: Option<String>,
}

/// The answer for a reader who reads no further.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ReportVerdict {
    /// The worst of the findings.
    pub(in super::super) state: ReportSeverity,
    /// One or two sentences.
    pub(in super::super) text: String,
    /// All that is not as it should be, the worst first.
    pub(in super::super) findings: Vec<ReportFinding>,
}
