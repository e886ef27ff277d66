//! The result of a drill, table by table.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::ser::Serializer;

use crate::model::{SnapshotId, TableName, Warning, WarningKind, count};
use crate::ops::restore::{NotRestored, RestoredState, TableReport};
use crate::plan::DamagedParts;

/// Warnings about data that the snapshot never had, which a drill cannot prove.
const KNOWN_BEFORE: [WarningKind; 2] = [WarningKind::DataLeftBehind, WarningKind::MutationsInKeeper];

/// The result of comparing the sums of one table's parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[non_exhaustive]
pub struct Digests {
    /// Parts whose sum equals the recorded one.
    pub equal: u64,
    /// Parts whose sum differs from the recorded one.
    pub different: u64,
    /// Parts without a sum to compare.
    pub unknown: u64,
}

/// Why a part has no sum to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoDigest {
    /// The table has a column with the name of the virtual column that holds the part of a row.
    PartColumn,
    /// A query applies patch parts to what it reads; the part alone lacks them.
    PatchParts,
    /// No part of the table has a recorded sum.
    NotRecorded,
    /// Other parts of the table have a recorded sum.
    MergedAtCreate,
    /// The sum covers other columns, or another version of the server computed it.
    OtherKind,
    /// The part was merged after it was attached.
    MergedBeforeRead,
}

impl fmt::Display for NoDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PartColumn => "a column is named _part",
            Self::PatchParts => "the table has patch parts",
            Self::NotRecorded => "the snapshot was made without --digest",
            Self::MergedAtCreate => "no sum was recorded, as for parts that are merged while a snapshot is made",
            Self::OtherKind => "the sum is of other columns or from another version of the server",
            Self::MergedBeforeRead => "merged before it was read",
        })
    }
}

/// How a table differs from what the snapshot records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillFailure {
    /// Its definition in the snapshot is missing or a different one.
    Definition(String),
    /// Parts of it are noted as damaged, and no snapshot has an intact copy: a restore leaves it out.
    Damaged(DamagedParts),
    /// The server did not accept all of its parts or rows.
    Incomplete(NotRestored),
    /// The server accepts its definition, but not together with its data.
    DataRefused(String),
    /// The server cannot read its data.
    Unreadable(String),
    /// Parts have other values than when the snapshot was made.
    Different {
        /// The number of such parts.
        parts: usize,
        /// The first of them.
        first: String,
    },
}

impl DrillFailure {
    fn kind(&self) -> &'static str {
        match self {
            Self::Definition(_) => "definition",
            Self::Damaged(_) => "damaged_parts",
            Self::Incomplete(reason) => reason.kind(),
            Self::DataRefused(_) => "data_refused",
            Self::Unreadable(_) => "unreadable",
            Self::Different { .. } => "different",
        }
    }
}

impl fmt::Display for DrillFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Definition(reason) => f.write_str(reason),
            Self::Damaged(damaged) => damaged.fmt(f),
            Self::Incomplete(reason) => reason.fmt(f),
            Self::DataRefused(reason) => write!(f, "the server refuses its data: {reason}"),
            Self::Unreadable(reason) => write!(f, "its data cannot be read: {reason}"),
            Self::Different { parts: 1, first } => write!(f, "part {first} has other values than when it was taken"),
            Self::Different { parts, first } => {
                write!(f, "{} have other values than when they were taken: {first} first", count(*parts as u64, "part"))
            }
        }
    }
}

/// Why a table was not tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillObstacle {
    /// Its definition names something outside the drill's database, or reaches something outside the server.
    Outside(String),
    /// It needs a function or a named collection that the server does not have, and a drill creates none.
    Needs(String),
    /// Its definition cannot be parsed.
    Definition(String),
    /// The server refuses its definition.
    Refused(String),
    /// The query that reads it failed, for a reason other than its data.
    Query(String),
}

impl DrillObstacle {
    fn kind(&self) -> &'static str {
        match self {
            Self::Outside(_) => "outside",
            Self::Needs(_) => "needs",
            Self::Definition(_) => "definition",
            Self::Refused(_) => "refused",
            Self::Query(_) => "query",
        }
    }
}

impl fmt::Display for DrillObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside(reason) | Self::Refused(reason) => f.write_str(reason),
            Self::Needs(object) => write!(f, "it needs the {object}, which the server does not have"),
            Self::Definition(reason) => write!(f, "its definition cannot be read: {reason}"),
            Self::Query(reason) => write!(f, "the query that reads it failed: {reason}"),
        }
    }
}

/// The verdict on one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrillVerdict {
    /// It matches the snapshot: restored, read to its end, and nothing different. For a table without data: its
    /// definition was accepted.
    Proven,
    /// Data is missing or different.
    Failed(DrillFailure),
    /// Nothing is known.
    NotTried(DrillObstacle),
}

impl DrillVerdict {
    fn kind(&self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Failed(_) => "failed",
            Self::NotTried(_) => "not_tried",
        }
    }

    /// The reason, with the stable name of its kind.
    fn reason(&self) -> Option<(&'static str, String)> {
        match self {
            Self::Proven => None,
            Self::Failed(failure) => Some((failure.kind(), failure.to_string())),
            Self::NotTried(obstacle) => Some((obstacle.kind(), obstacle.to_string())),
        }
    }
}

/// The result of drilling one table.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DrilledTable {
    /// How it was restored.
    pub restored: TableReport,
    /// Whether the snapshot has parts of it; otherwise only its definition is tried.
    pub has_data: bool,
    /// Rows counted by a query.
    pub counted_rows: u64,
    /// The comparison of its sums.
    pub digests: Digests,
    /// Why parts have no sum to compare, with the number of those parts.
    pub no_digests: BTreeMap<NoDigest, u64>,
    /// The verdict.
    pub verdict: DrillVerdict,
}

impl DrilledTable {
    /// A table as it was restored, before it is read.
    pub(super) fn new(restored: TableReport, has_data: bool, verdict: DrillVerdict) -> Self {
        let (digests, no_digests) = (Digests::default(), BTreeMap::new());
        Self { restored, has_data, counted_rows: 0, digests, no_digests, verdict }
    }

    /// A table that was not created on the server.
    pub(super) fn left_out(name: &TableName, engine: &str, has_data: bool, verdict: DrillVerdict) -> Self {
        let is_tried = !matches!(verdict, DrillVerdict::NotTried(_));
        let state = if is_tried { RestoredState::Failed } else { RestoredState::Skipped };
        Self::new(TableReport::new(name, name, engine, state), has_data, verdict)
    }

    /// Whether it matches the snapshot.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.verdict == DrillVerdict::Proven
    }

    /// Whether data is missing or different.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self.verdict, DrillVerdict::Failed(_))
    }

    /// Whether it was tried.
    #[must_use]
    pub fn is_tried(&self) -> bool {
        !matches!(self.verdict, DrillVerdict::NotTried(_))
    }

    /// Whether a drill leaves it out by design: it has no data in the snapshot, and refers to objects outside.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        !self.has_data && matches!(self.verdict, DrillVerdict::NotTried(DrillObstacle::Outside(_)))
    }

    /// The warnings about it.
    fn warnings(&self) -> Vec<Warning> {
        let verdict = match &self.verdict {
            DrillVerdict::Failed(failure) => Some(Warning::new(WarningKind::TableNotProven, failure.to_string())),
            DrillVerdict::NotTried(obstacle) if !self.is_outside() => {
                Some(Warning::new(WarningKind::TableNotTried, obstacle.to_string()))
            }
            DrillVerdict::NotTried(_) | DrillVerdict::Proven => None,
        };
        let of_restore = self.restored.warnings.iter().filter(|warning| !KNOWN_BEFORE.contains(&warning.kind));
        verdict.iter().chain(of_restore).map(|warning| warning.naming(&self.restored.from)).collect()
    }

    /// Why it is not proven.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        self.verdict.reason().map(|(_, reason)| reason)
    }

    /// Why parts have no sum to compare, in words.
    #[must_use]
    pub fn digests_note(&self) -> Option<String> {
        let note = |(reason, parts): (&_, &u64)| format!("{} without a sum: {reason}", count(*parts, "part"));
        let notes = self.no_digests.iter().map(note);
        let notes: Vec<String> = notes.collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// The fields of a drilled table in a JSON document.
#[derive(Serialize, schemars::JsonSchema)]
struct TableDocument<'a> {
    /// How it was restored.
    #[serde(flatten)]
    restored: &'a TableReport,
    /// Whether the snapshot has parts of it; otherwise only its definition is tried.
    has_data: bool,
    /// Rows counted by a query.
    counted_rows: u64,
    /// The comparison of its parts' sums with those that the snapshot has.
    digests: Digests,
    /// Why parts have no sum to compare.
    #[serde(skip_serializing_if = "Option::is_none")]
    digests_note: Option<String>,
    /// `proven`, `failed` or `not_tried`.
    verdict: &'static str,
    /// Whether it matches the snapshot.
    is_proven: bool,
    /// The stable name of the reason why it is not proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_kind: Option<&'static str>,
    /// Why it is not proven: a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl schemars::JsonSchema for DrilledTable {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DrilledTable".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        TableDocument::json_schema(generator)
    }
}

impl Serialize for DrilledTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (reason_kind, reason) = self.verdict.reason().unzip();
        // The reason is part of the verdict.
        let restored = &TableReport { reason: None, ..self.restored.clone() };
        TableDocument {
            restored,
            has_data: self.has_data,
            counted_rows: self.counted_rows,
            digests: self.digests,
            digests_note: self.digests_note(),
            verdict: self.verdict.kind(),
            is_proven: self.is_proven(),
            reason_kind,
            reason,
        }
        .serialize(serializer)
    }
}

/// The verdict on all tables of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DrillState {
    /// Nothing that was tried is missing or different.
    Proven,
    /// Data is missing or different.
    Failed,
    /// Nothing could be tried.
    NotTried,
}

/// The report of a drill.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DrillReport {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The requested tables.
    pub tables: Vec<DrilledTable>,
    /// Tables with parts that the snapshot has.
    pub tables_in_snapshot: usize,
    /// Warnings besides those of each table.
    pub warnings: Vec<Warning>,
    /// Whether the server refused to drop its database, which the next drill then drops.
    pub leaves_database: bool,
    /// Seconds spent in each stage, and overall as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}

impl DrillReport {
    /// The verdict on all tables together.
    #[must_use]
    pub fn state(&self) -> DrillState {
        if self.tables.iter().any(DrilledTable::is_failed) {
            DrillState::Failed
        } else if self.tables.iter().any(DrilledTable::is_proven) {
            DrillState::Proven
        } else {
            DrillState::NotTried
        }
    }

    /// All warnings, including those of each table: about a table that is not proven, or a part that came from an
    /// intact copy.
    #[must_use]
    pub fn all_warnings(&self) -> Vec<Warning> {
        let of_tables = self.tables.iter().flat_map(DrilledTable::warnings);
        let mut all: Vec<Warning> = self.warnings.iter().cloned().chain(of_tables).collect();
        if all.is_empty() && self.state() == DrillState::NotTried {
            let message = "nothing was tried: every definition that was asked for is a queue, refreshes itself, or names \
                           something outside the drill's database";
            all.push(Warning::new(WarningKind::TableNotTried, message));
        }
        all
    }

    /// The number of tables for which `is_so` is true.
    #[must_use]
    pub fn count(&self, is_so: impl Fn(&DrilledTable) -> bool) -> usize {
        self.tables.iter().filter(|table| is_so(table)).count()
    }

    /// The sum of a figure over the tables that were tried.
    #[must_use]
    pub fn sum(&self, figure: fn(&DrilledTable) -> u64) -> u64 {
        self.tables.iter().filter(|table| table.is_tried()).map(figure).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{DrillFailure, DrillObstacle, DrillReport, DrillState, DrillVerdict, DrilledTable, NoDigest};
    use crate::model::TableName;
    use crate::ops::restore::NotRestored;

    fn table(has_data: bool, verdict: DrillVerdict) -> DrilledTable {
        DrilledTable::left_out(&TableName::new("d", "t"), "MergeTree", has_data, verdict)
    }

    fn report(tables: Vec<DrilledTable>) -> DrillReport {
        DrillReport {
            snapshot: "2026-11-22T020000Z".parse().expect("an id"),
            tables,
            tables_in_snapshot: 2,
            warnings: Vec::new(),
            leaves_database: false,
            seconds: BTreeMap::new(),
        }
    }

    #[test]
    fn a_drill_has_failed_where_data_is_wrong_and_was_not_tried_where_nothing_was() {
        let failed = || table(true, DrillVerdict::Failed(DrillFailure::Unreadable("x".to_owned())));
        let refused = || table(false, DrillVerdict::NotTried(DrillObstacle::Refused("x".to_owned())));
        let outside = |has_data| table(has_data, DrillVerdict::NotTried(DrillObstacle::Outside("x".to_owned())));
        let proven = || table(true, DrillVerdict::Proven);
        let found = |tables: Vec<DrilledTable>| {
            let report = report(tables);
            (report.state(), !report.all_warnings().is_empty())
        };
        assert_eq!(found(vec![proven(), failed(), refused()]), (DrillState::Failed, true));
        assert_eq!(found(vec![proven(), refused()]), (DrillState::Proven, true));
        assert_eq!(found(vec![proven(), outside(false)]), (DrillState::Proven, false));
        assert_eq!(found(vec![outside(false)]), (DrillState::NotTried, true));
        assert_eq!(found(vec![outside(true)]), (DrillState::NotTried, true));
    }

    #[test]
    fn the_document_of_a_table_has_one_verdict_and_one_reason() {
        let mut failed =
            table(true, DrillVerdict::Failed(DrillFailure::Different { parts: 2, first: "all_1_1_0".into() }));
        failed.restored.reason = Some(NotRestored::Rows);
        failed.no_digests.insert(NoDigest::MergedBeforeRead, 1);
        let text = serde_json::to_string(&failed).expect("JSON");
        assert_eq!(text.matches("\"reason\":").count(), 1, "{text}");
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let of = |key: &str| document.get(key).cloned().unwrap_or_default();
        assert_eq!((of("verdict"), of("reason_kind")), ("failed".into(), "different".into()));
        assert_eq!(of("digests_note"), "1 part without a sum: merged before it was read");
        assert_eq!(of("is_proven"), false);
    }
}
