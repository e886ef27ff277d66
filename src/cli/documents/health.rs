use chsnap::model::WarningKind;
use chsnap::ops::{CheckState, DoctorCheck};
use schemars::JsonSchema;
use serde::Serialize;

/// `doctor`.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct DoctorDocument {
    /// The worst of the findings.
    pub(in super::super) state: CheckState,
    /// The findings.
    pub(in super::super) checks: Vec<DoctorCheck>,
}

/// `monitor`.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(in super::super) struct MonitorDocument {
    /// `ok`, `warning`, `critical` or `unknown`.
    pub(in super::super) state: String,
    /// The same as Nagios has it: 0 to 3.
    pub(in super::super) exit_code: u8,
    /// One sentence.
    pub(in super::super) message: String,
    /// When the newest good snapshot was begun; null where there is none, or nothing is known.
    pub(in super::super) newest: Option<String>,
    /// How long ago that is.
    pub(in super::super) age_seconds: Option<i64>,
    /// When it is a warning; null where the command line could not be read.
    pub(in super::super) warn_seconds: Option<u64>,
    /// When it is critical; null where the command line could not be read.
    pub(in super::super) crit_seconds: Option<u64>,
    /// Complete snapshots; null where nothing is known.
    pub(in super::super) snapshots: Option<u64>,
    /// Damaged ones.
    pub(in super::super) damaged_snapshots: Option<u64>,
    /// Those of which owners or modes are not as recorded.
    pub(in super::super) drifted_snapshots: Option<u64>,
    /// Those that lack a table that they could have had.
    pub(in super::super) incomplete_snapshots: Option<u64>,
    /// What the filesystem of the repository has free.
    pub(in super::super) free_bytes: Option<u64>,
    /// All that a person should be called for, the worst first.
    pub(in super::super) problems: Vec<MonitorProblem>,
}

/// Something that a person should be called for.
#[derive(Debug, Serialize, JsonSchema)]
pub(in super::super) struct MonitorProblem {
    /// Its stable kind.
    pub(in super::super) kind: WarningKind,
    /// `warning` or `critical`.
    pub(in super::super) state: String,
    /// One sentence.
    pub(in super::super) message: String,
}
