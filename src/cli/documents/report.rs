use chrono::{DateTime, NaiveDate, Utc};
use chsnap::model::{Level, SnapshotId};
use chsnap::plan::Slice;
use schemars::JsonSchema;
use serde::Serialize;

/// `report --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ReportDocument {
    /// The path of the page; null if none was written.
    pub(in super::super) file: Option<String>,
    /// The bytes of the path in base64, if it is not UTF-8.
    pub(in super::super) file_base64: Option<String>,
    /// The page's size; null if none was written.
    pub(in super::super) bytes: Option<u64>,
    /// The number of snapshots in the repository.
    pub(in super::super) snapshots: u64,
    /// All figures of the page.
    pub(in super::super) figures: Figures,
}

/// All figures of the page, in the units of every other document: bytes, RFC 3339 times.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Figures {
    /// The time of the figures.
    pub(in super::super) time: DateTime<Utc>,
    /// The profile of the configuration, if one was chosen.
    pub(in super::super) profile: Option<String>,
    /// The repository's path; bytes that are not UTF-8 are replaced.
    pub(in super::super) repository: String,
    /// The server, by the newest readable snapshot; null if there is none.
    pub(in super::super) server: Option<ServerFigures>,
    /// Whether all is well, the problems, and what to do next.
    pub(in super::super) verdict: ReportVerdict,
    /// The filesystem of the repository.
    pub(in super::super) filesystem: Filesystem,
    /// The cost of the repository.
    pub(in super::super) totals: CostFigures,
    /// The rules behind `keeps` of the snapshots; null if none are configured.
    pub(in super::super) policy: Option<String>,
    /// The time zone of the calendar.
    pub(in super::super) zone: String,
    /// The number of snapshots by the extent of their checks.
    pub(in super::super) coverage: Coverage,
    /// The snapshots, the oldest first.
    pub(in super::super) snapshots: Vec<SnapshotFigures>,
    /// Used bytes of the filesystem at the time of each snapshot, the oldest first.
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
    /// Its free bytes.
    pub(in super::super) free_bytes: u64,
    /// Growth of the used space in bytes per day, negative if it shrinks; null if not known.
    pub(in super::super) used_bytes_per_day: Option<f64>,
    /// Days until the filesystem is full at this rate; null if the use does not grow.
    pub(in super::super) days_until_full: Option<f64>,
}

/// The cost of all snapshots together.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CostFigures {
    /// Bytes that would be free without the repository.
    pub(in super::super) cost_bytes: u64,
    /// Bytes that the server also links.
    pub(in super::super) live_shared_bytes: u64,
    /// Bytes that emptying the trash frees.
    pub(in super::super) trash_bytes: u64,
    /// Snapshots in the trash.
    pub(in super::super) in_trash: u64,
    /// Snapshots that are pinned.
    pub(in super::super) pinned: u64,
}

/// The number of snapshots by the extent of their checks.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct Coverage {
    /// Every byte was read.
    pub(in super::super) data: u64,
    /// Sizes or structure were compared, and not every byte was read.
    pub(in super::super) size: u64,
    /// No complete check was made.
    pub(in super::super) never: u64,
    /// A drill restored it.
    pub(in super::super) drilled: u64,
}

/// One snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct SnapshotFigures {
    /// Its id.
    pub(in super::super) id: SnapshotId,
    /// When it was begun.
    pub(in super::super) time: DateTime<Utc>,
    /// Its day, in the time zone of the policy.
    pub(in super::super) day: NaiveDate,
    /// Its name, pin and problems.
    pub(in super::super) notes: Vec<String>,
    /// Whether it is pinned.
    pub(in super::super) pinned: bool,
    /// Bytes that a restore needs.
    pub(in super::super) apparent_bytes: u64,
    /// Bytes that the previous snapshot did not have when it was made.
    pub(in super::super) written_bytes: u64,
    /// Bytes that removing only this snapshot frees.
    pub(in super::super) freed_bytes: u64,
    /// Bytes that removing it and all older ones frees.
    pub(in super::super) freed_with_older_bytes: u64,
    /// Bytes of files that only this snapshot links.
    pub(in super::super) exclusive_bytes: u64,
    /// Bytes of files that other snapshots link too, but not the server.
    pub(in super::super) shared_bytes: u64,
    /// Bytes of files that the server also links.
    pub(in super::super) live_shared_bytes: u64,
    /// Whether the next prune keeps it.
    pub(in super::super) keeps: bool,
    /// Why it is kept or removed.
    pub(in super::super) why: String,
    /// The results of its checks.
    pub(in super::super) checked: CheckFigures,
    /// Its last drill; null if it had none.
    pub(in super::super) drill: Option<DrillFigures>,
}

/// The extent and the results of a snapshot's checks.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct CheckFigures {
    /// The level of the newest complete check; null if there was none.
    pub(in super::super) level: Option<Level>,
    /// The time of that check; null if there was none.
    pub(in super::super) time: Option<DateTime<Utc>>,
    /// The time since which every byte has been read; null if some were never read.
    pub(in super::super) data_time: Option<DateTime<Utc>>,
    /// The newest slice, while a round of slices is not finished; else null.
    pub(in super::super) slice: Option<Slice>,
    /// Whether damage was found, and no later check found it gone.
    pub(in super::super) damaged: bool,
    /// Whether owners or modes were found that differ from the record.
    pub(in super::super) drifted: bool,
}

/// A drill.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DrillFigures {
    /// The time.
    pub(in super::super) time: DateTime<Utc>,
    /// The number of tables that were tried.
    pub(in super::super) tables: u64,
    /// The number of tables with parts in the snapshot.
    pub(in super::super) of_tables: u64,
    /// Tables that differ from the snapshot.
    pub(in super::super) failed: u64,
}

/// Used bytes of the filesystem at one time.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct Used {
    /// The time.
    pub(in super::super) time: DateTime<Utc>,
    /// The bytes used by all programs.
    pub(in super::super) used_bytes: u64,
}

/// A table or a partition of one.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct TableFigures {
    /// Its name, with the database.
    pub(in super::super) name: String,
    /// The partition; null for a table.
    pub(in super::super) partition: Option<String>,
    /// Bytes that it takes in all snapshots together.
    pub(in super::super) allocated_bytes: u64,
    /// Bytes of it that the server also links.
    pub(in super::super) live_shared_bytes: u64,
    /// Bytes that restoring it needs from each snapshot, the oldest first; empty for a partition.
    pub(in super::super) history: Vec<u64>,
}

/// The state of the repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum ReportSeverity {
    /// No action is needed.
    Ok,
    /// Action is needed, but not urgently.
    Warning,
    /// Action is needed now.
    Bad,
}

/// The kind of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum FindingKind {
    /// There is no good snapshot, or none that is recent enough.
    NoNewSnapshot,
    /// A snapshot is damaged.
    Damage,
    /// A drill failed.
    DrillFailed,
    /// The newest snapshot lacks a table that it could have had.
    Incomplete,
    /// The last prune was refused.
    PruneRefused,
    /// The disk is filling up.
    DiskFilling,
    /// Freezes were left behind.
    LeftoverFreezes,
    /// Owners or modes differ from the record.
    Drift,
    /// Another warning.
    Other,
}

/// A problem.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ReportFinding {
    /// Its kind.
    pub(in super::super) kind: FindingKind,
    /// Its severity.
    pub(in super::super) state: ReportSeverity,
    /// One sentence.
    pub(in super::super) text: String,
    /// The next step, in words; null if the text contains it.
    pub(in super::super) next: Option<String>,
    /// The command that does it or shows more; null if there is none.
    pub(in super::super) command: Option<String>,
}

/// The summary of all findings.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct ReportVerdict {
    /// The worst state of the findings.
    pub(in super::super) state: ReportSeverity,
    /// One or two sentences.
    pub(in super::super) text: String,
    /// All problems, the worst first.
    pub(in super::super) findings: Vec<ReportFinding>,
}
