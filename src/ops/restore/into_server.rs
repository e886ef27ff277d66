//! Into a running server: survey, plan, recover, place, attach, compare, report.
//!
//! The caller shows the plan and asks in between: until [`Prepared::run`] nothing changes on the server or below its data
//! path. See docs/decisions/0028-restore-pipeline.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rayon::ThreadPool;

use crate::exec;
use crate::model::{SnapshotId, TableName, TableUuid, Warning, WarningKind};
use crate::monitor::{Monitor, Stage};
use crate::ops::access::{live_access, source_access};
use crate::ops::bound::is_same;
use crate::ops::error::OpError;
use crate::ops::stages::Stages;
use crate::plan::{
    AccessOptions, AccessPlan, DatabasePlan, Leftover, ObjectPlan, RestorePlan, SnapshotContent, SnapshotReference,
    SourceDump, SourceItem, Target, apply_recovery, plan_access, plan_recovery, plan_restore,
};
use crate::repo::{BoundServer, Repository, ServerEntry};
use crate::server::{self, Server};

use super::access::{AccessReport, make_access, planned_access};
use super::attach::{attach_all, planned};
use super::attaching::Attaching;
use super::context::{Context, ToServer};
use super::described::{self, Probe};
use super::items::{databases, items, objects};
use super::job::{entries, jobs};
use super::leftovers::{self, Recovers};
use super::locked_dir::random;
use super::objects::{MadeObjects, make_databases, make_objects};
use super::place::place_all;
use super::recover::{recover, recover_leftovers};
use super::report::{Report, TableReport};
use super::source::{Source, SourceTable};
use super::staging::{self, Staging};
use super::statements::Statements;
use super::survey::TargetSurvey;

/// A restore that is planned, and can be carried out as it was shown.
#[derive(Debug)]
pub struct Prepared<'a> {
    context: Context<'a>,
    plan: RestorePlan,
    pool: Arc<ThreadPool>,
}

/// Reads the snapshot, every part of it that is asked for, and the server, and makes the plan. Changes nothing.
///
/// # Errors
/// If the snapshot is damaged, the server does not answer, or its data is not visible here.
pub fn prepare<'a>(
    repository: &Repository,
    server: &'a Server,
    reference: &SnapshotReference,
    request: &'a ToServer,
    monitor: &dyn Monitor,
) -> Result<Prepared<'a>, OpError> {
    prepare_recovering(repository, server, reference, request, Recovers::Everything, monitor)
}

/// [`prepare`], with a choice of the leftovers that are dealt with.
///
/// # Errors
/// As there.
pub(in crate::ops) fn prepare_recovering<'a>(
    repository: &Repository,
    server: &'a Server,
    reference: &SnapshotReference,
    request: &'a ToServer,
    recovers: Recovers,
    monitor: &dyn Monitor,
) -> Result<Prepared<'a>, OpError> {
    let stages = Stages::new(monitor);
    let pool = exec::pool(request.jobs)?;
    let mut source = stages.run(Stage::Discover, || Source::open(repository, reference, &request.wanted))?;
    stages.run(Stage::Check, || pool.install(|| source.check_with_copies(repository, monitor)))?;
    let (survey, leftovers) =
        stages.run(Stage::Discover, || pool.install(|| survey(repository, server, request, (&source, recovers))))?;
    let items = pool.install(|| items(&source, request.now));
    let settings = server::definition_settings(server)?;
    let context = Context { server, request, source, survey, items, settings };
    let plan = pool.install(|| plan(&context, &leftovers))?;
    Ok(Prepared { context, plan, pool: Arc::new(pool) })
}

/// Reads the server, after it is through with what interrupted restores have asked of it.
fn survey(
    repository: &Repository,
    server: &Server,
    request: &ToServer,
    (source, recovers): (&Source, Recovers),
) -> Result<(TargetSurvey, Vec<Leftover>), OpError> {
    // The server's own database is looked at only where tables come from it, or are to stand in it.
    let now = |table: &SourceTable| request.options.renames.table(&table.name()).database;
    let with_system = source.tables.iter().any(|table| table.entry.database == "system" || now(table) == "system");
    let read = |with_system| TargetSurvey::read(repository, server, &request.paths, with_system);
    let mut survey = read(with_system)?;
    let (user, uid) = (crate::fs::user_id(), survey.owner.0);
    if user != 0 && user != uid {
        return Err(OpError::CannotGive { uid, user });
    }
    let names = leftovers::names(&survey.local)?;
    if !names.is_empty() {
        leftovers::wait_for(server, &names)?;
        // A leftover can be of any database.
        survey = read(true)?;
    }
    let leftovers = leftovers::examine(server, &survey.local, &names, recovers)?;
    Ok((survey, leftovers))
}

fn plan(context: &Context<'_>, leftovers: &[Leftover]) -> Result<RestorePlan, OpError> {
    let options = &context.request.options;
    let names: Vec<TableName> = context.items.iter().map(|item| item.name.clone()).collect();
    // One without tables can get another name as well.
    let stored = context.source.manifest.databases.iter().map(|database| database.database.as_str());
    let unmatched = options.renames.unmatched(&names, &stored.collect::<Vec<_>>());
    if !unmatched.is_empty() {
        return Err(OpError::NotInSnapshot { names: unmatched });
    }
    let recovery = plan_recovery(leftovers, &context.survey.tables());
    let mut target = target(context)?;
    apply_recovery(&recovery, &mut target);
    let (databases, objects) = (databases(&context.source), objects(&context.source));
    let stored = SnapshotContent {
        items: &context.items,
        databases: &databases,
        objects: &objects,
        is_whole: context.source.is_whole,
        is_of_other_server: is_other_server(&context.source.manifest.server, &context.survey.bound),
    };
    let mut failed = None;
    let mut fresh = || {
        fresh_uuid().unwrap_or_else(|error| {
            failed = Some(error);
            "00000000-0000-4000-8000-000000000000".to_owned().try_into().expect("a UUID")
        })
    };
    let mut plan = plan_restore(stored, &target, options, &mut fresh);
    if let Some(error) = failed {
        return Err(error);
    }
    if !plan.conflicts.is_empty() {
        return Err(OpError::NameConflict { conflicts: plan.conflicts });
    }
    plan.recovery = recovery;
    plan.access = access_plan(context)?;
    plan.warnings.clone_from(&context.source.warnings);
    Ok(plan)
}

/// What becomes of users, roles …. The server is asked for its own only if the snapshot has some.
fn access_plan(context: &Context<'_>) -> Result<AccessPlan, OpError> {
    let options = context.request.access;
    if options == AccessOptions::Nothing {
        return Ok(AccessPlan::default());
    }
    let stored = source_access(context.source.dir(), &context.source.manifest);
    if stored.entities.is_empty() && stored.unreadable.is_empty() {
        return Ok(AccessPlan::default());
    }
    Ok(plan_access(&stored, &live_access(context.server, &context.survey.local)?, options))
}

/// Whether a snapshot is of another server, by the rule that a repository's server is known by.
fn is_other_server(stored: &ServerEntry, live: &BoundServer) -> bool {
    let stored = BoundServer { data_path: stored.data_path.clone(), uuid: stored.uuid.clone() };
    !is_same(&stored, live)
}

/// The server as a plan reads it: whole are the tables that can be in the way of one that is asked for.
fn target(context: &Context<'_>) -> Result<Target, OpError> {
    let renames = &context.request.options.renames;
    let is_inner = |item: &&SourceItem| item.inner_of.is_some();
    let names: BTreeSet<TableName> = context.items.iter().map(|item| renames.table(&item.name)).collect();
    let inner: BTreeSet<String> =
        (context.items.iter().filter(is_inner)).map(|item| renames.table(&item.name).database).collect();
    let compared =
        |name: &TableName| names.contains(name) || inner.contains(&name.database) && name.table.starts_with(".inner");
    let dumps: BTreeMap<TableName, &SourceDump> =
        (context.items.iter()).filter_map(|item| Some((renames.table(&item.name), item.dump.as_ref()?))).collect();
    context.survey.target(context.server, &context.items, &names, &compared, &dumps, &context.request.paths)
}

/// A random UUID (version 4, RFC 9562).
fn fresh_uuid() -> Result<TableUuid, OpError> {
    let mut number = 0_u128;
    for _ in 0..4 {
        number = number << 32 | u128::from(random()?);
    }
    let number = number & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{number:032x}");
    let mut text = String::with_capacity(36);
    for (position, digit) in digits.chars().enumerate() {
        if matches!(position, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    Ok(TableUuid::try_from(text).expect("32 hex digits with four dashes are a UUID"))
}

/// What was carried out.
struct Done {
    tables: Vec<TableReport>,
    made: Vec<String>,
    /// Functions and named collections that could not be made.
    refused: Vec<Warning>,
    access: Vec<AccessReport>,
}

impl Done {
    fn leaves_temporary_tables(&self) -> bool {
        let mut warnings = self.tables.iter().flat_map(|table| &table.warnings);
        warnings.any(|warning| warning.kind == WarningKind::TemporaryLeft)
    }
}

impl Prepared<'_> {
    /// The version of the server that is restored into.
    pub(in crate::ops) fn server_version(&self) -> String {
        self.context.survey.identity.version.clone()
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &RestorePlan {
        &self.plan
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotId {
        self.context.source.id
    }

    /// Fails if the plan does something that must be asked for expressly.
    ///
    /// # Errors
    /// Then.
    pub fn check_refused(&self) -> Result<(), OpError> {
        if self.plan.refused.is_empty() {
            Ok(())
        } else {
            Err(OpError::RestoreRefused { refusals: self.plan.refused.clone() })
        }
    }

    /// Carries the plan out.
    ///
    /// # Errors
    /// If it is refused, or could not be carried out at all: then no table stands that did not before, and what was
    /// placed is removed, or noted for the next restore. What the server refused of it is in the report.
    pub fn run(mut self, now: DateTime<Utc>, monitor: &dyn Monitor) -> Result<Report, OpError> {
        self.check_refused()?;
        let begun = std::time::Instant::now();
        let stages = Stages::new(monitor);
        let mut warnings = stages.run(Stage::Recover, || {
            let local = &self.context.survey.local;
            self.pool.install(|| recover(self.context.server, local, &self.plan.recovery))
        })?;
        warnings.extend(self.plan.warnings.iter().cloned());
        let mut done = Done { tables: Vec::new(), made: Vec::new(), refused: Vec::new(), access: Vec::new() };
        if self.plan.makes_anything() {
            let word = staging::new_name(now)?;
            let pool = Arc::clone(&self.pool);
            let (carried_out, left) = pool.install(|| self.carry_out(&word, now, &stages))?;
            done = carried_out;
            warnings.extend(left);
        } else {
            // Nothing is to be made: what each table is goes into the report.
            done.refused = self.plan.objects.iter().filter_map(ObjectPlan::warning).collect();
            done.access = planned_access(&self.plan.access);
            done.tables = self.plan.tables.iter().map(|table| planned(&self.context, table)).collect();
        }
        let context = &self.context;
        warnings.extend(done.refused);
        warnings.extend(done.access.iter().filter_map(AccessReport::warning));
        warnings.extend(
            self.plan.access.unreadable.iter().map(|file| Warning::new(WarningKind::AccessNotMade, file.to_string())),
        );
        let mut seconds = stages.seconds();
        seconds.insert("total", begun.elapsed().as_secs_f64());
        let mut notes = Vec::new();
        if is_other_server(&context.source.manifest.server, &context.survey.bound) {
            notes.push(
                "this is another server than the snapshot's: the next create into its repository needs \
                 --allow-other-server"
                    .to_owned(),
            );
        }
        let snapshot = context.source.id;
        Ok(Report { snapshot, tables: done.tables, made: done.made, access: done.access, warnings, notes, seconds })
    }

    /// Places and attaches. The answer has what was left for the next restore.
    fn carry_out(
        &mut self,
        word: &str,
        now: DateTime<Utc>,
        stages: &Stages<'_>,
    ) -> Result<(Done, Option<Warning>), OpError> {
        let statements = Statements::new(self.context.server, word)?;
        let probes = described::probes(&self.plan, word);
        let noted = probes.iter().map(Probe::entry).collect();
        let local = &self.context.survey.local;
        let mut staging = Staging::begin(local, word, self.context.source.id, now, noted)?;
        let (early, later): (Vec<&DatabasePlan>, Vec<&DatabasePlan>) = (self.plan.databases.iter())
            .partition(|database| probes.iter().any(|probe| probe.name.database == database.name));
        let result = (|| {
            let mut made = MadeObjects::default();
            make_databases(&self.context, &statements, &early, &mut made)?;
            let described = described::open(&self.context, &statements, &probes, &made.missing_databases)?;
            described.opened().for_each(|disk| self.context.survey.local.add(disk.clone()));
            let context = &self.context;
            let jobs = jobs(context, &self.plan, word, &described);
            staging.note(entries(&jobs))?;
            let placed = stages.run(Stage::Place, || -> Result<_, OpError> {
                let placed = place_all(context, &jobs, &mut staging, stages.monitor())?;
                staging.sync()?;
                Ok(placed)
            })?;
            stages.run(Stage::Attach, || {
                make_databases(context, &statements, &later, &mut made)?;
                make_objects(context, &statements, &self.plan.objects, &mut made)?;
                let access = make_access(context, &statements, &self.plan.access)?;
                let attaching = Attaching {
                    context,
                    plan: &self.plan,
                    jobs: &jobs,
                    placed: &placed,
                    staging: &staging,
                    statements: &statements,
                    settings: &context.settings,
                    missing_databases: &made.missing_databases,
                    described: &described,
                };
                let tables = attach_all(&attaching, stages.monitor())?;
                // The renames too.
                staging.sync()?;
                Ok(Done { tables, made: made.made, refused: made.refused, access })
            })
        })();
        match result {
            // The note stays, so that the next restore finds what could not be dropped.
            Ok(done) if done.leaves_temporary_tables() => Ok((done, None)),
            Ok(done) => {
                let left = staging.finish(&self.context.survey.local).err();
                let left = left.map(|left| {
                    let left = crate::monitor::chain(&left);
                    let message = format!("the next restore has to remove its staging directory: {left}");
                    Warning::new(WarningKind::TemporaryLeft, message)
                });
                Ok((done, left))
            }
            Err(error) => {
                drop(staging);
                Err(self.undo(word, error))
            }
        }
    }

    /// As after a kill: what is whole stays, everything else goes, and the server is asked which is which.
    fn undo(&self, word: &str, error: OpError) -> OpError {
        let (server, local) = (self.context.server, &self.context.survey.local);
        let undone = recover_leftovers(server, local, &BTreeSet::from([word.to_owned()]), Recovers::Everything);
        match undone {
            Ok(kept) if kept.is_empty() => error,
            Ok(kept) => OpError::Unfinished {
                error: Box::new(error),
                pending: format!(
                    "{} (the next restore does the rest)",
                    kept.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
                ),
            },
            Err(left) => OpError::Unfinished {
                error: Box::new(error),
                pending: format!("{} (the next restore does the rest)", crate::monitor::chain(&left)),
            },
        }
    }
}
