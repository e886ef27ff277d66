//! Reads the restored tables, and compares their values with those that were recorded.

use std::collections::{BTreeMap, HashMap};

use crate::model::PartName;
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::create::digest;
use crate::ops::error::OpError;
use crate::ops::restore::{NotRestored, RestoredState, TableReport};
use crate::plan::Verb;
use crate::repo::PartRecord;
use crate::server::{self, PartSum, RowSum, Server, ServerChange, ServerError, sql};

use super::report::{Digests, DrillFailure, DrillObstacle, DrillVerdict, DrilledTable, NoDigest};
use super::selection::{DrillSelection, Selected};

/// Everything needed to read restored tables.
pub(super) struct DrillReader<'a> {
    pub(super) server: &'a Server,
    /// The server's version.
    pub(super) version: String,
    /// The name of the drill's database, which its statements contain.
    pub(super) word: &'a str,
    pub(super) selection: &'a DrillSelection,
    pub(super) monitor: &'a dyn Monitor,
}

impl DrillReader<'_> {
    /// Gives the verdict on a table that the restore has finished.
    ///
    /// # Errors
    /// If the server does not answer.
    pub(super) fn judge(&self, restored: TableReport) -> Result<DrilledTable, OpError> {
        let Some(selected) = self.selection.find(&restored.from) else {
            let refused = DrillObstacle::Refused("it was not asked for".to_owned());
            return Ok(DrilledTable::new(restored, false, DrillVerdict::NotTried(refused)));
        };
        let drilled = match restored.state {
            RestoredState::Failed | RestoredState::Skipped | RestoredState::Incomplete => {
                let verdict = self.judge_failure(selected, restored.reason.as_ref())?;
                DrilledTable::new(restored, selected.has_data(), verdict)
            }
            _ if selected.table.entry.dump.is_some() => self.read_dumped(selected, restored)?,
            _ if selected.has_data() => self.read(selected, restored)?,
            _ => DrilledTable::new(restored, false, DrillVerdict::Proven),
        };
        let work = StageWork { tables: 1, parts: drilled.restored.parts, ..StageWork::default() };
        self.monitor.advanced(Stage::Check, work);
        Ok(drilled)
    }

    /// The verdict on a table that is not restored, or incomplete. It has failed only if its data is missing, different
    /// or unreadable.
    fn judge_failure(&self, selected: &Selected, reason: Option<&NotRestored>) -> Result<DrillVerdict, OpError> {
        let not_tried = |reason: String| DrillVerdict::NotTried(DrillObstacle::Refused(reason));
        Ok(match reason {
            Some(reason @ (NotRestored::Parts(_) | NotRestored::Rows | NotRestored::DumpRows { .. })) => {
                DrillVerdict::Failed(DrillFailure::Incomplete(reason.clone()))
            }
            Some(NotRestored::Damaged(damaged)) => DrillVerdict::Failed(DrillFailure::Damaged(damaged.clone())),
            Some(NotRestored::DefinitionRefused { message, code: Some(code) })
                if selected.has_data() && server::is_unreadable_code(*code) && self.takes_definition(selected)? =>
            {
                DrillVerdict::Failed(DrillFailure::DataRefused(message.clone()))
            }
            Some(reason) => not_tried(reason.to_string()),
            None => not_tried("it was not restored".to_owned()),
        })
    }

    /// Whether the server accepts a definition that it has refused, if it comes without the table's data.
    fn takes_definition(&self, selected: &Selected) -> Result<bool, OpError> {
        let (name, mapping) = (sql::quote_table(&selected.to), self.selection.mapping());
        let statement = selected.definition.statement(Verb::Create, &name, (None, None), &mapping);
        let sql = format!("/* {} */ {statement}", self.word);
        let label = format!("the definition of {}", selected.table.name());
        match server::change(self.server, ServerChange { sql: &sql, settings: &[], label: Some(&label) }) {
            Ok(()) => Ok(true),
            Err(ServerError::Exception { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads a table whose rows were inserted, to the last value. No query reads a `Set`, but the server loaded all its
    /// rows when it was attached.
    fn read_dumped(&self, selected: &Selected, restored: TableReport) -> Result<DrilledTable, OpError> {
        let name = restored.name();
        let mut drilled = DrilledTable::new(restored, true, DrillVerdict::Proven);
        if selected.table.entry.engine == "Set" {
            drilled.counted_rows = drilled.restored.rows;
            return Ok(drilled);
        }
        let row_sum = server::row_sum(self.server, &name)?;
        match server::read_rows(self.server, &name, &row_sum) {
            Ok(rows) => drilled.counted_rows = rows,
            Err(error @ (ServerError::Exception { .. } | ServerError::Deadline { .. })) => {
                drilled.verdict = unreadable(&mut drilled.restored, &error);
                return Ok(drilled);
            }
            Err(error) => return Err(error.into()),
        }
        // Of a Join table with several rows for a key, servers count the keys.
        let found = match selected.table.entry.engine.as_str() {
            "Join" => drilled.restored.rows,
            _ => drilled.counted_rows,
        };
        let expected = drilled.restored.expected_rows;
        if found != expected {
            drilled.restored.state = RestoredState::Failed;
            drilled.verdict = DrillVerdict::Failed(DrillFailure::Incomplete(NotRestored::DumpRows { expected, found }));
        }
        Ok(drilled)
    }

    /// Reads a restored table to the last value.
    fn read(&self, selected: &Selected, restored: TableReport) -> Result<DrilledTable, OpError> {
        let name = restored.name();
        let mut drilled = DrilledTable::new(restored, true, DrillVerdict::Proven);
        let row_sum = server::row_sum(self.server, &name)?;
        let sums = if row_sum.hides_parts() {
            server::read_rows(self.server, &name, &row_sum).map(|rows| {
                drilled.counted_rows = rows;
                Vec::new()
            })
        } else {
            server::part_sums(self.server, &name, &row_sum, &[]).inspect(|sums| {
                drilled.counted_rows = sums.iter().fold(0, |rows: u64, sum| rows.saturating_add(sum.rows));
            })
        };
        let sums = match sums {
            Ok(sums) => sums,
            Err(error @ (ServerError::Exception { .. } | ServerError::Deadline { .. })) => {
                drilled.verdict = unreadable(&mut drilled.restored, &error);
                return Ok(drilled);
            }
            Err(error) => return Err(error.into()),
        };
        let parts = &selected.table.parts;
        let kind = digest::kind(&self.version, row_sum.expression());
        let comparison = compare(parts, &sums, &kind, table_reason(parts, &row_sum));
        (drilled.digests, drilled.no_digests) = (comparison.digests, comparison.no_digests);
        if let Some(first) = comparison.different.first() {
            drilled.restored.state = RestoredState::Failed;
            drilled.verdict = DrillVerdict::Failed(DrillFailure::Different {
                parts: comparison.different.len(),
                first: first.to_string(),
            });
        }
        Ok(drilled)
    }
}

/// The verdict on a table that the server did not read.
fn unreadable(restored: &mut TableReport, error: &ServerError) -> DrillVerdict {
    let reason = crate::monitor::chain(error);
    if server::is_unreadable_data(error) {
        restored.state = RestoredState::Failed;
        DrillVerdict::Failed(DrillFailure::Unreadable(reason))
    } else {
        DrillVerdict::NotTried(DrillObstacle::Query(reason))
    }
}

/// Why no part of a table has a sum to compare, if that is so.
fn table_reason(parts: &[PartRecord], row_sum: &RowSum) -> Option<NoDigest> {
    if row_sum.hides_parts() {
        Some(NoDigest::PartColumn)
    } else if parts.iter().any(|part| part.part.is_patch()) {
        Some(NoDigest::PatchParts)
    } else if parts.iter().all(|part| part.digest.is_none()) {
        Some(NoDigest::NotRecorded)
    } else {
        None
    }
}

/// The comparison of a table's sums with those that were recorded.
#[derive(Debug, Default)]
struct SumComparison<'a> {
    digests: Digests,
    different: Vec<&'a PartName>,
    no_digests: BTreeMap<NoDigest, u64>,
}

/// Compares sums of one kind. Parts without rows have no sum, and patch parts are not read as parts.
fn compare<'a>(
    parts: &'a [PartRecord],
    sums: &[PartSum],
    kind: &str,
    table_reason: Option<NoDigest>,
) -> SumComparison<'a> {
    let by_name: HashMap<&PartName, &PartSum> = sums.iter().map(|sum| (&sum.part, sum)).collect();
    let mut comparison = SumComparison::default();
    for part in parts.iter().filter(|part| !part.part.is_patch() && part.rows != Some(0)) {
        let compared = match (table_reason, part.digest.as_deref(), by_name.get(&part.part)) {
            (Some(reason), ..) => Err(reason),
            (None, None, _) => Err(NoDigest::MergedAtCreate),
            (None, Some(digest), _) if digest.of != kind => Err(NoDigest::OtherKind),
            (None, Some(_), None) => Err(NoDigest::MergedBeforeRead),
            (None, Some(digest), Some(sum)) => Ok(digest.sum == sum.sum && digest.rows == sum.rows),
        };
        match compared {
            Ok(true) => comparison.digests.equal += 1,
            Ok(false) => {
                comparison.digests.different += 1;
                comparison.different.push(&part.part);
            }
            Err(reason) => {
                comparison.digests.unknown += 1;
                *comparison.no_digests.entry(reason).or_default() += 1;
            }
        }
    }
    comparison
}
