//! A drill: tables of a snapshot are restored into a database of their own, read to the last value, compared, and
//! dropped.

mod read;
mod report;
mod request;
mod scratch;
mod selection;

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::model::{Warning, WarningKind};
use crate::monitor::{Monitor, Stage};
use crate::plan::{AccessOptions, Renames, Replicated, RestoreOptions, SnapshotReference, TablePlan};
use crate::repo::{Event, Repository};
use crate::server::{Server, sql};

use super::error::OpError;
use super::journal::journal_warnings;
use super::restore::{
    Recovers, RestoredState, Statements, TableReport, TargetSurvey, ToServer, WantedTables, mutations_left_out,
    prepare_recovering,
};
use super::stages::Stages;

use read::DrillReader;
pub use report::{Digests, DrillFailure, DrillObstacle, DrillReport, DrillState, DrillVerdict, DrilledTable, NoDigest};
pub use request::DrillRequest;
use scratch::{ScratchDatabase, drop_leftovers};
use selection::{DrillCandidates, DrillSelection};

/// Restores a snapshot, or some tables of it, into a database of its own, compares the restored data with the records
/// made with the snapshot, drops the database, and writes the outcome into the journal.
///
/// # Errors
/// If nothing could be tried. Problems of single tables are in the report.
pub fn drill(
    repository: &Repository,
    server: &Server,
    reference: &SnapshotReference,
    request: &DrillRequest,
    now: &(dyn Fn() -> DateTime<Utc> + Sync),
    monitor: &dyn Monitor,
) -> Result<DrillReport, OpError> {
    let begun = std::time::Instant::now();
    repository.check_writable_format()?;
    let stages = Stages::new(monitor);
    let candidates = DrillCandidates::choose(repository, reference, request)?;
    let survey = TargetSurvey::read(repository, server, &request.paths, false)?;
    let mut warnings = journal_warnings(repository);
    // As warnings of the whole drill: these tables are proven as the snapshot has them.
    let left_out = mutations_left_out(&candidates.source.manifest, &candidates.tables).into_iter();
    warnings.extend(left_out.map(|warning| Warning::new(warning.kind, warning.message)));
    warnings.extend(stages.run(Stage::Recover, || drop_leftovers(server, &survey.local))?);
    let scratch = ScratchDatabase::create(server, &survey.local, now())?;
    let drilled = candidates.select(server, &survey, &scratch.name).and_then(|selection| {
        let context = DrillContext { repository, server, request, candidates: &candidates, scratch: &scratch };
        context.drill_tables(selection, now(), &stages)
    });
    let removed = scratch.remove();
    let leaves_database = removed.is_err();
    let mut tables = match (drilled, removed) {
        (Ok(tables), Ok(())) => tables,
        (Ok(tables), Err(error)) => {
            let message = format!("the next drill has to drop its database: {}", crate::monitor::chain(&error));
            warnings.push(Warning::new(WarningKind::TemporaryLeft, message));
            tables
        }
        (Err(error), Ok(())) => return Err(error),
        (Err(error), Err(left)) => {
            let pending = format!("{} (the next drill drops it)", crate::monitor::chain(&left));
            return Err(OpError::Unfinished { error: Box::new(error), pending });
        }
    };
    tables.sort_by(|a, b| a.restored.from.cmp(&b.restored.from));
    let mut report = DrillReport {
        snapshot: candidates.source.id,
        tables,
        tables_in_snapshot: candidates.tables_in_snapshot,
        warnings,
        leaves_database,
        seconds: BTreeMap::new(),
    };
    if let Some(event) = event(&report) {
        let written =
            repository.lock("drill", now(), request.lock_wait).and_then(|locked| locked.record(now(), &event));
        if let Err(error) = written {
            let message = format!("the outcome is not in the journal: {}", crate::monitor::chain(&error));
            report.warnings.push(Warning::new(WarningKind::CheckNotRecorded, message));
        }
    }
    report.seconds = stages.seconds();
    report.seconds.insert("total", begun.elapsed().as_secs_f64());
    Ok(report)
}

/// The line for the journal. A drill that tried no data writes none, because it proved nothing new about the snapshot.
fn event(report: &DrillReport) -> Option<Event> {
    let tables = report.count(|table| table.is_tried() && (table.has_data || table.is_failed()));
    (tables > 0).then(|| Event::Drilled {
        id: report.snapshot,
        tables: tables as u64,
        of_tables: report.tables_in_snapshot as u64,
        failed: report.count(DrilledTable::is_failed) as u64,
        parts: report.sum(|table| table.restored.parts),
        rows: report.sum(|table| table.restored.rows),
        digests: report.sum(|table| table.digests.equal),
    })
}

/// The inputs of a drill.
struct DrillContext<'a> {
    repository: &'a Repository,
    server: &'a Server,
    request: &'a DrillRequest,
    candidates: &'a DrillCandidates,
    scratch: &'a ScratchDatabase<'a>,
}

impl DrillContext<'_> {
    /// Restores the selected tables, and gives the verdict on each.
    fn drill_tables(
        &self,
        mut selection: DrillSelection,
        now: DateTime<Utc>,
        stages: &Stages<'_>,
    ) -> Result<Vec<DrilledTable>, OpError> {
        let mut drilled = std::mem::take(&mut selection.left_out);
        if selection.selected.is_empty() {
            return Ok(drilled);
        }
        let restore = self.restore_request(&selection, now);
        let reference = SnapshotReference::Id(self.candidates.source.id);
        let (repository, server, monitor) = (self.repository, self.server, stages.monitor());
        let prepared = prepare_recovering(repository, server, &reference, &restore, Recovers::OwnDrills, monitor)?;
        // Whatever the plan is made of: a drill touches nothing outside its own database.
        let is_outside = |table: &&TablePlan| table.to.database != self.scratch.name;
        let outside = prepared.plan().tables.iter().filter(is_outside);
        let conflicts: Vec<String> =
            outside.map(|table| format!("a drill of {} would restore {}", table.from, table.to)).collect();
        if !conflicts.is_empty() {
            return Err(OpError::NameConflict { conflicts });
        }
        let version = prepared.server_version();
        let report = prepared.run(now, monitor)?;
        let statements = Statements::new(server, &self.scratch.name)?;
        let has_merges =
            |table: &&TableReport| table.state == RestoredState::Restored && table.engine.ends_with("MergeTree");
        for table in report.tables.iter().filter(has_merges) {
            statements.run(&sql::stop_merges(&table.name()))?;
        }
        let reading = DrillReader { server, version, word: &self.scratch.name, selection: &selection, monitor };
        stages.run(Stage::Check, || -> Result<(), OpError> {
            for table in report.tables {
                drilled.push(reading.judge(table)?);
            }
            Ok(())
        })?;
        Ok(drilled)
    }

    fn restore_request(&self, selection: &DrillSelection, now: DateTime<Utc>) -> ToServer {
        // They select what they name, an inner table without its view too.
        let renames = Renames::new(selection.renames(), Vec::new());
        ToServer::new(now)
            .with_wanted(WantedTables::default().with_renames(renames.clone()))
            .with_options(
                RestoreOptions::default()
                    .with_selects(true)
                    .with_names_tables(true)
                    .with_renames(renames)
                    // A drill has no business in Keeper.
                    .with_replicated(Replicated::AsMergeTree),
            )
            .with_access(AccessOptions::Nothing)
            .with_stays_held(true)
            .with_mode(self.request.mode)
            .with_jobs(self.request.jobs)
            .with_paths(self.request.paths.clone())
            .with_interrupted(Arc::clone(&self.request.interrupted))
    }
}
