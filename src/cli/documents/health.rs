use chsnap::model::WarningKind;
use chsnap::ops::{CheckState, DoctorCheck};
use schemars::JsonSchema;
use serde::Serialize;

/// `doctor`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DoctorDocument {
    /// The worst state of the findings.
    pub(in super::super) state: CheckState,
    /// The findings.
    pub(in super::super) checks: Vec<DoctorCheck>,
}

/// `monitor`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct MonitorDocument {
    /// `ok`, `warning`, `critical` or `unknown`.
    pub(in super::super) state: String,
    /// The same as an exit code for Nagios: 0 to 3.
    pub(in super::super) exit_code: u8,
    /// One sentence.
    pub(in super::super) message: String,
    /// When the newest good snapshot was begun; null if there is none, or if the repository could not be read.
    pub(in super::super) newest: Option<String>,
    /// Its age in seconds.
    pub(in super::super) age_seconds: Option<i64>,
    /// The age at which it is a warning; null if the command line could not be read.
    pub(in super::super) warn_seconds: Option<u64>,
    /// The age at which it is critical; null if the command line could not be read.
    pub(in super::super) crit_seconds: Option<u64>,
    /// The number of complete snapshots; null if the repository could not be read.
    pub(in super::super) snapshots: Option<u64>,
    /// The number of damaged snapshots.
    pub(in super::super) damaged_snapshots: Option<u64>,
    /// The number of snapshots whose owners or modes differ from the record.
    pub(in super::super) drifted_snapshots: Option<u64>,
    /// The number of snapshots that lack a table that they could have had.
    pub(in super::super) incomplete_snapshots: Option<u64>,
    /// Free bytes of the repository's filesystem.
    pub(in super::super) free_bytes: Option<u64>,
    /// All problems that need attention, the worst first.
    pub(in super::super) problems: Vec<MonitorProblem>,
}

/// A problem that needs attention.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct MonitorProblem {
    /// Its stable kind.
    pub(in super::super) kind: WarningKind,
    /// `warning` or `critical`.
    pub(in super::super) state: String,
    /// One sentence.
    pub(in super::super) message: String,
}
