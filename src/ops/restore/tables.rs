//! The tables of a plan: put together in the staging directories, moved to their place, attached, compared.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use rayon::prelude::*;

use crate::exec::{PartRestorer, RestoredPart};
use crate::fs::{CopyMeans, Dir, FsError};
use crate::model::{Ownership, Placed, TableName};
use crate::monitor::{Monitor, Stage, Work};
use crate::ops::error::OpError;
use crate::plan::{Action, ComparedPart, Comparison, TablePlan, Verb, What, compare_parts};
use crate::server::{self, ServerError, sql};

use super::exchange;
use super::report::{TableReport, TableState};
use super::server::Prepared;
use super::source::SourceTable;
use super::staging::{self, Entry, Staging};
use super::target::place;

/// A table whose parts are placed.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub(super) plan: &'a TablePlan,
    pub(super) source: &'a SourceTable,
    pub(super) entry: Entry,
    /// The name of a table that its partitions go through, should the one that is there have other columns.
    pub(super) fitting: TableName,
    /// Its name in the staging directories.
    stage_name: String,
    placed: Placed,
    files: u64,
    bytes: u64,
    unkept: Vec<String>,
}

/// The tables of one restore.
pub(super) struct Tables<'a> {
    pub(super) prepared: &'a Prepared<'a>,
    /// A word that stands in every statement of this restore.
    word: String,
    jobs: BTreeMap<TableName, Job<'a>>,
}

/// Why a table was not made.
pub(super) enum Refused {
    /// The server said so, or the table is not what it should be: others may go on, and this one may be tried again.
    This(String),
    /// Nothing more can be done.
    All(OpError),
}

impl From<OpError> for Refused {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Server(error) if !error.may_still_run() => Self::This(crate::monitor::chain(&error)),
            error => Self::All(error),
        }
    }
}

impl From<ServerError> for Refused {
    fn from(error: ServerError) -> Self {
        OpError::from(error).into()
    }
}

impl From<FsError> for Refused {
    fn from(error: FsError) -> Self {
        Self::All(error.into())
    }
}

const DIRECTORY_MODE: u32 = 0o750;

impl<'a> Tables<'a> {
    pub(super) fn new(prepared: &'a Prepared<'a>, word: &str) -> Self {
        let random = word.rsplit('_').next().unwrap_or_default();
        let mut jobs = BTreeMap::new();
        for (number, plan) in prepared.plan.tables.iter().enumerate() {
            let is_temporary = match plan.action {
                Action::Place => false,
                Action::Swap | Action::Partitions { .. } => true,
                _ => continue,
            };
            let Some(source) = prepared.source.tables.iter().find(|table| table.name() == plan.from) else { continue };
            let beside =
                |what: &str| TableName::new(plan.to.database.clone(), format!("chsnap_{random}_{what}{number}"));
            let name = if is_temporary { beside("new") } else { plan.to.clone() };
            let swaps = plan.action == Action::Swap;
            let path = place(&name, plan.uuid.as_ref());
            let disks = prepared.surveyed.disks(&source.entry.storage_policy);
            let mut used: Vec<String> = source.parts.iter().filter_map(|part| disk_of(&part.disk, &disks)).collect();
            // Also of an empty table: its mutations stand on the first.
            used.extend(disks.first().cloned());
            used.sort_unstable();
            used.dedup();
            let entry = Entry {
                name,
                uuid: plan.uuid.clone(),
                places: used.into_iter().map(|disk| (disk, path.clone())).collect(),
                is_temporary,
                replaces: swaps.then(|| plan.to.clone()),
                old_name: (swaps && plan.uuid.is_none()).then(|| beside("old")),
                keeps_old: swaps && prepared.request.keep_replaced,
            };
            let job = Job {
                plan,
                source,
                entry,
                fitting: beside("fit"),
                stage_name: number.to_string(),
                placed: Placed::default(),
                files: 0,
                bytes: 0,
                unkept: Vec::new(),
            };
            jobs.insert(plan.to.clone(), job);
        }
        Self { prepared, word: word.to_owned(), jobs }
    }

    pub(super) fn entries(&self) -> Vec<Entry> {
        let fitting = |job: &Job<'_>| {
            let goes_through = matches!(job.plan.action, Action::Partitions { .. });
            goes_through.then(|| Entry::helper(job.fitting.clone()))
        };
        self.jobs.values().flat_map(|job| std::iter::once(job.entry.clone()).chain(fitting(job))).collect()
    }

    /// Puts every table together. Nothing of it is known to the server yet.
    pub(super) fn place(&mut self, staging: &mut Staging, monitor: &dyn Monitor) -> Result<(), OpError> {
        let prepared = self.prepared;
        let interrupted = &prepared.request.interrupted;
        let stop =
            |_| if interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let means = CopyMeans::new(true, None, &stop);
        let restorer = PartRestorer::new(prepared.request.mode, Some(prepared.surveyed.owner), means);
        for job in self.jobs.values_mut() {
            prepared.check_interrupted()?;
            place_one(prepared, job, staging, &restorer, monitor)?;
        }
        Ok(())
    }

    /// Attaches and makes everything in the order of the plan; what fails is tried again as long as something else comes
    /// to stand.
    pub(super) fn attach(&self, staging: &Staging, monitor: &dyn Monitor) -> Result<Vec<TableReport>, OpError> {
        let prepared = self.prepared;
        let mut reports: BTreeMap<usize, TableReport> = BTreeMap::new();
        let mut pending: Vec<usize> = (0..prepared.plan.tables.len()).collect();
        loop {
            let before = pending.len();
            let mut failed = Vec::new();
            for number in std::mem::take(&mut pending) {
                let Some(plan) = prepared.plan.tables.get(number) else { continue };
                prepared.check_interrupted()?;
                match self.attach_one(plan, staging) {
                    Ok(report) => {
                        monitor.advanced(Stage::Attach, Work { tables: 1, ..Work::default() });
                        reports.insert(number, report);
                    }
                    Err(Refused::This(reason)) => failed.push((number, reason)),
                    Err(Refused::All(error)) => return Err(error),
                }
            }
            if failed.is_empty() || failed.len() == before {
                for (number, reason) in failed {
                    let Some(plan) = prepared.plan.tables.get(number) else { continue };
                    let mut report = TableReport::new(&plan.from, &plan.to, &plan.engine, TableState::Failed);
                    report.reason = Some(reason);
                    reports.insert(number, report);
                }
                return Ok(reports.into_values().collect());
            }
            pending = failed.into_iter().map(|(number, _)| number).collect();
        }
    }

    fn attach_one(&self, plan: &TablePlan, staging: &Staging) -> Result<TableReport, Refused> {
        let mut report = TableReport::new(&plan.from, &plan.to, &plan.engine, TableState::Created);
        report.uuid = plan.uuid.as_ref().map(ToString::to_string);
        report.uuid_changed = plan.uuid_changed;
        report.warnings.clone_from(&plan.warnings);
        match &plan.action {
            Action::Impossible(reason) => {
                report.state = TableState::Failed;
                report.reason = Some(reason.clone());
            }
            Action::Keep { is_same } => {
                report.state = TableState::Present;
                if !is_same {
                    report
                        .warnings
                        .push("it is there with another definition than in the snapshot, and stays".to_owned());
                }
            }
            Action::Finished => {
                report.state = TableState::Restored;
                report.reason = Some("by the restore that was interrupted".to_owned());
                self.count_finished(plan, &mut report)?;
            }
            Action::Make(verb) => self.run(plan, &plan.to, *verb)?,
            Action::Place | Action::Swap | Action::Partitions { .. } => self.attach_data(plan, staging, &mut report)?,
        }
        Ok(report)
    }

    fn count_finished(&self, plan: &TablePlan, report: &mut TableReport) -> Result<(), Refused> {
        let parts = server::parts_of(self.prepared.server, &plan.to)?;
        let active = parts.iter().filter(|part| part.is_active && !part.name.is_patch());
        (report.parts, report.rows) = active.fold((0, 0_u64), |(parts, rows), part| (parts + 1, rows + part.rows));
        if let Some(source) = self.prepared.source.tables.iter().find(|table| table.name() == plan.from) {
            report.expected_rows = source.rows();
            report.bytes = source.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.bytes));
        }
        Ok(())
    }

    /// Runs the definition of a table under this name.
    fn run(&self, plan: &TablePlan, name: &TableName, verb: Verb) -> Result<(), Refused> {
        let item = self.prepared.item(&plan.from);
        let Some(Ok(definition)) = item.map(|item| item.definition.as_ref()) else {
            return Err(Refused::This("its definition cannot be read".to_owned()));
        };
        let uuids = (plan.uuid.as_ref(), plan.inner_uuid.as_ref());
        let statement = definition.statement(verb, &sql::quote_table(name), uuids, &self.prepared.plan.mapping);
        // The word tells the next restore, should this one be killed, what the server is still at.
        let statement = format!("/* {} */ {statement}", self.word);
        Ok(server::change(self.prepared.server, &statement, &[])?)
    }

    fn attach_data(&self, plan: &TablePlan, staging: &Staging, report: &mut TableReport) -> Result<(), Refused> {
        let Some(job) = self.jobs.get(&plan.to) else {
            return Err(Refused::This("it was not placed".to_owned()));
        };
        let (name, entry) = (job.entry.name.clone(), job.entry.clone());
        job.move_in(self.prepared, staging)?;
        if let Err(refused) = self.run(plan, &name, Verb::Attach) {
            if matches!(refused, Refused::This(_)) {
                job.move_out(self.prepared, staging)?;
            }
            return Err(refused);
        }
        let comparison = self.compare(job, &name, report)?;
        if let Some(first) = comparison.wrong.first() {
            // It never looks whole: what is not as in the snapshot goes again.
            let more = comparison.wrong.len() - 1;
            let more = if more > 0 { format!(", and {more} more") } else { String::new() };
            server::drop_table(self.prepared.server, &name, entry.uuid.is_some())?;
            report.state = TableState::Failed;
            report.reason = Some(format!("the server did not take all of it: {first}{more}; it was dropped again"));
            return Ok(());
        }
        (report.verified_parts, report.merged_parts) = (comparison.verified, comparison.merged);
        (report.parts, report.files, report.bytes) = (job.source.parts.len() as u64, job.files, job.bytes);
        if self.prepared.request.options.what == What::Schema {
            report.parts = 0;
        }
        report.placed = job.placed;
        report
            .warnings
            .extend(job.unkept.iter().map(|unkept| format!("copies lack the {unkept} of the snapshot's files")));
        if plan.engine.starts_with("Replicated")
            && self.prepared.plan.mapping.replicated == crate::plan::Replicated::Keep
        {
            report.warnings.push(
                "it is replicated: if system.replicas shows it as read-only, SYSTEM RESTORE REPLICA makes its path in \
                 Keeper anew"
                    .to_owned(),
            );
        }
        let (moved, state) = match &plan.action {
            Action::Swap => (exchange::swap(self.prepared, &entry, report), TableState::Replaced),
            Action::Partitions { others_go } => {
                (report.uuid, report.uuid_changed) = (None, false);
                (exchange::move_partitions(self.prepared, job, *others_go, report), TableState::Attached)
            }
            _ => (Ok(()), TableState::Restored),
        };
        report.state = state;
        match moved {
            // Not to be tried again: nothing that comes to stand later makes it fit. Whatever was renamed goes back.
            Err(Refused::This(reason)) => {
                staging::settle(self.prepared.server, &self.prepared.surveyed.local, &entry)?;
                report.state = TableState::Failed;
                report.reason = Some(reason);
                (report.parts, report.rows) = (0, 0);
                Ok(())
            }
            result => result,
        }
    }

    fn compare(&self, job: &Job<'_>, name: &TableName, report: &mut TableReport) -> Result<Comparison, Refused> {
        let listed = server::parts_of(self.prepared.server, name)?;
        let rows = listed.iter().filter(|part| part.is_active && !part.name.is_patch());
        report.rows = rows.fold(0, |sum, part| sum.saturating_add(part.rows));
        report.expected_rows = job.source.rows();
        if self.prepared.request.options.what == What::Schema {
            report.expected_rows = 0;
            return Ok(Comparison::default());
        }
        let expected: Vec<ComparedPart> = (job.source.parts.iter())
            .map(|part| ComparedPart {
                name: part.part.clone(),
                partition: part.partition.clone(),
                fingerprint: part.fingerprint,
                rows: part.rows,
                is_active: true,
            })
            .collect();
        let found: Vec<ComparedPart> = listed
            .into_iter()
            .map(|part| ComparedPart {
                name: part.name,
                partition: part.partition,
                fingerprint: part.fingerprint,
                rows: Some(part.rows),
                is_active: part.is_active,
            })
            .collect();
        Ok(compare_parts(&expected, &found))
    }
}

/// The disk that a part goes to: the one that it was on, else the first of the table's policy.
fn disk_of(recorded: &str, disks: &[String]) -> Option<String> {
    disks.iter().find(|disk| *disk == recorded).or_else(|| disks.first()).cloned()
}

fn place_one(
    prepared: &Prepared<'_>,
    job: &mut Job<'_>,
    staging: &mut Staging,
    restorer: &PartRestorer<'_>,
    monitor: &dyn Monitor,
) -> Result<(), OpError> {
    let local = &prepared.surveyed.local;
    let disks = prepared.surveyed.disks(&job.source.entry.storage_policy);
    let mut dirs: BTreeMap<String, Dir> = BTreeMap::new();
    for (disk, _) in &job.entry.places {
        dirs.insert(disk.clone(), staging.dir(local, disk)?.ensure_dir(&job.stage_name, 0o700)?);
    }
    let from = prepared.source.dir().find_beneath(&job.source.data_path())?;
    if let Some(from) = from.filter(|_| prepared.request.options.what != What::Schema) {
        let place_part = |part: &crate::repo::PartRecord| -> Result<RestoredPart, OpError> {
            prepared.check_interrupted()?;
            let dir = disk_of(&part.disk, &disks).and_then(|disk| dirs.get(&disk));
            let dir = dir.ok_or_else(|| OpError::NoDisk { disk: part.disk.to_string() })?;
            let placed = restorer.restore_part(&from.open_dir(part.part.as_str())?, dir, part.part.as_str())?;
            let work = Work { parts: 1, files: placed.files, bytes: placed.bytes, ..Work::default() };
            monitor.advanced(Stage::Place, work);
            Ok(placed)
        };
        let placed: Vec<RestoredPart> = job.source.parts.par_iter().map(place_part).collect::<Result<_, _>>()?;
        for part in &placed {
            job.files += part.files;
            job.bytes = job.bytes.saturating_add(part.bytes);
            part.count(&mut job.placed);
            job.unkept.extend(part.unkept.iter().map(|(_, unkept)| unkept.to_string()));
        }
        job.unkept.sort_unstable();
        job.unkept.dedup();
        let mutations = prepared.source.mutations(job.source)?;
        if let Some(dir) = disks.first().and_then(|disk| dirs.get(disk)) {
            for (mutation, bytes) in mutations {
                dir.write_unsynced(&mutation, 0o640, &bytes)?;
                dir.give_file(&mutation, prepared.surveyed.owner)?;
            }
        }
    }
    let (uid, gid) = prepared.surveyed.owner;
    for dir in dirs.values() {
        dir.set_ownership(Ownership { uid, gid, mode: DIRECTORY_MODE })?;
    }
    Ok(())
}

impl Job<'_> {
    /// Moves the table to its place, where nothing may stand.
    fn move_in(&self, prepared: &Prepared<'_>, staging: &Staging) -> Result<(), Refused> {
        let (uid, gid) = prepared.surveyed.owner;
        for (disk, path) in &self.entry.places {
            let (Some(local), Some(from)) = (prepared.surveyed.local.named(disk), staging.find(disk)) else {
                return Err(Refused::All(OpError::NoDisk { disk: disk.clone() }));
            };
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let mut dir = local.dir.clone();
            for component in parent.components() {
                let name = component.as_os_str();
                let is_new = dir.find(name)?.is_none();
                dir = dir.ensure_dir(name, DIRECTORY_MODE)?;
                if is_new {
                    dir.set_ownership(Ownership { uid, gid, mode: DIRECTORY_MODE })?;
                }
            }
            if dir.find(name)?.is_some() {
                let whole = dir.path().join(name);
                return Err(Refused::This(format!("{} stands already, and is no table's", whole.display())));
            }
            dir.rename_from(from, &self.stage_name, name)?;
        }
        Ok(())
    }

    /// Moves the table back, so that nothing stands that the server has not taken.
    fn move_out(&self, prepared: &Prepared<'_>, staging: &Staging) -> Result<(), Refused> {
        for (disk, path) in &self.entry.places {
            let (Some(local), Some(to)) = (prepared.surveyed.local.named(disk), staging.find(disk)) else { continue };
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
            let Some(dir) = local.dir.find_beneath(parent)? else { continue };
            if dir.find(name)?.is_some() {
                to.rename_from(&dir, name, &self.stage_name)?;
            }
        }
        Ok(())
    }
}
