//! Restores into a running server: survey, plan, recover, place, attach, compare, report.
//!
//! In between, the caller shows the plan and asks for consent: until [`PreparedRestore::run`] nothing changes on the
//! server or below its data path. See docs/decisions/0028-restore-pipeline.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rayon::ThreadPool;

use crate::exec;
use crate::model::{SnapshotId, TableName, Warning, WarningKind};
use crate::monitor::{Monitor, Stage};
use crate::ops::access::{live_access, source_access};
use crate::ops::bound::is_same;
use crate::ops::error::OpError;
use crate::ops::stages::Stages;
use crate::plan::{
    AccessOptions, AccessPlan, BegunAccess, ClusterHosts, DatabasePlan, ObjectPlan, RecoveryStep, RestorePlan,
    SnapshotContent, SnapshotReference, SourceDump, SourceItem, StagingLeftover, TargetServer, apply_recovery,
    plan_access, plan_recovery, plan_restore,
};
use crate::repo::{BoundServer, Repository, ServerEntry};
use crate::server::{self, Server, sql};

use super::access::{AccessReport, AccessState, make_access, planned_access};
use super::attach::{attach_all, planned};
use super::attaching::Attaching;
use super::context::{RestoreContext, ToServer};
use super::described::{self, Probe};
use super::fresh_uuid::fresh_uuid;
use super::items::{databases, items, objects};
use super::job::{entries, jobs};
use super::keeper::{keeper_state, look_elsewhere};
use super::known::KnownTables;
use super::leftovers::{self, Recovers};
use super::objects::{MadeObjects, make_databases, make_objects};
use super::place::place_all;
use super::recover::{finish_resumed, recover, recover_leftovers};
use super::report::{Report, RestoredState, TableReport};
use super::source::{SnapshotSource, SourceTable};
use super::staging::{self, Staging};
use super::statements::Statements;
use super::survey::TargetSurvey;

/// A planned restore, which is carried out exactly as it was shown.
#[derive(Debug)]
pub struct PreparedRestore<'a> {
    context: RestoreContext<'a>,
    plan: RestorePlan,
    pool: Arc<ThreadPool>,
}

/// Reads the snapshot, all its wanted parts, and the server, and makes the plan. Changes nothing.
///
/// # Errors
/// If the snapshot is damaged, the server does not answer, or its data is not visible here.
pub fn prepare<'a>(
    repository: &Repository,
    server: &'a Server,
    reference: &SnapshotReference,
    request: &'a ToServer,
    monitor: &dyn Monitor,
) -> Result<PreparedRestore<'a>, OpError> {
    prepare_recovering(repository, server, reference, request, Recovers::Everything, monitor)
}

/// As [`prepare`], with a choice of the leftovers to recover.
///
/// # Errors
/// As [`prepare`].
pub(in crate::ops) fn prepare_recovering<'a>(
    repository: &Repository,
    server: &'a Server,
    reference: &SnapshotReference,
    request: &'a ToServer,
    recovers: Recovers,
    monitor: &dyn Monitor,
) -> Result<PreparedRestore<'a>, OpError> {
    let stages = Stages::new(monitor);
    let pool = exec::pool(request.jobs)?;
    let mut source = stages.run(Stage::Discover, || SnapshotSource::open(repository, reference, &request.wanted))?;
    stages.run(Stage::Check, || pool.install(|| source.check_with_copies(repository, monitor)))?;
    let (survey, leftovers) =
        stages.run(Stage::Discover, || pool.install(|| survey(repository, server, request, (&source, recovers))))?;
    let mut items = pool.install(|| items(&source, request.now));
    if !request.options.selects {
        // Nothing is replaced: no table is read to compare its rows.
        for dump in items.iter_mut().filter_map(|item| item.dump.as_mut()) {
            dump.content = None;
        }
    }
    let settings = server::definition_settings(server)?;
    let context = RestoreContext { server, request, source, survey, items, settings };
    let plan = pool.install(|| plan(&context, &leftovers))?;
    Ok(PreparedRestore { context, plan, pool: Arc::new(pool) })
}

/// Reads the server, once it has finished the statements of interrupted restores.
fn survey(
    repository: &Repository,
    server: &Server,
    request: &ToServer,
    (source, recovers): (&SnapshotSource, Recovers),
) -> Result<(TargetSurvey, Vec<StagingLeftover>), OpError> {
    // The server's own database is read only if tables come from it or go into it.
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
        // A leftover can belong to any database.
        survey = read(true)?;
    }
    let leftovers = leftovers::examine(server, &survey.local, &names, recovers)?;
    Ok((survey, leftovers))
}

fn plan(context: &RestoreContext<'_>, leftovers: &[StagingLeftover]) -> Result<RestorePlan, OpError> {
    let options = &context.request.options;
    let names: Vec<TableName> = context.items.iter().map(|item| item.name.clone()).collect();
    // A database without tables can get another name as well.
    let stored = context.source.manifest.databases.iter().map(|database| database.database.as_str());
    let unmatched = options.renames.unmatched(&names, &stored.collect::<Vec<_>>());
    if !unmatched.is_empty() {
        return Err(OpError::NotInSnapshot { names: unmatched });
    }
    let recovery = plan_recovery(leftovers, &context.survey.tables(), context.request.access);
    if let Some(cluster) = &options.on_cluster {
        check_cluster(context.server, cluster)?;
    }
    let wanted: BTreeSet<TableName> = names.iter().map(|name| options.renames.table(name)).collect();
    let known = context.survey.known(context.server, &wanted);
    let by_recovery = names_by_recovery(&recovery);
    let mut target = target(context, (&wanted, known.as_ref()), &by_recovery)?;
    target.keeper = keeper_state(context.server, known.as_ref(), &context.items, options)?;
    if let Some(cluster) = &options.on_cluster {
        target.hosts = Some(hosts(context.server, cluster, &wanted)?);
    }
    look_elsewhere(context.server, &mut target, &wanted)?;
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
    plan.access = access_plan(context, &recovery)?;
    plan.recovery = recovery;
    plan.warnings.extend(context.source.warnings.iter().cloned());
    Ok(plan)
}

/// The tables among these that exist on each host of a cluster.
fn hosts(server: &Server, cluster: &str, wanted: &BTreeSet<TableName>) -> Result<ClusterHosts, OpError> {
    let wanted: Vec<TableName> = wanted.iter().cloned().collect();
    let databases = server::databases_on_hosts(server, cluster)?;
    let mut silent = databases.silent;
    let databases = databases.answers.into_iter().map(|(host, names)| (host, names.into_iter().collect())).collect();
    let mut tables = BTreeMap::new();
    if !wanted.is_empty() {
        let found = server::tables_on_hosts(server, cluster, &wanted)?;
        silent = silent.max(found.silent);
        tables.extend(found.answers.into_iter().map(|(host, tables)| (host, tables.into_iter().collect())));
    }
    Ok(ClusterHosts { tables, databases, silent })
}

/// Fails if the server does not know this cluster.
fn check_cluster(server: &Server, cluster: &str) -> Result<(), OpError> {
    let known = server::clusters(server)?;
    if known.iter().any(|name| name == cluster) {
        return Ok(());
    }
    Err(OpError::NoCluster { cluster: cluster.to_owned(), known })
}

/// The plan for users, roles …. The server's own are read only if the snapshot has some.
fn access_plan(context: &RestoreContext<'_>, recovery: &[RecoveryStep]) -> Result<AccessPlan, OpError> {
    let options = context.request.access;
    if options == AccessOptions::Nothing {
        return Ok(AccessPlan::default());
    }
    let stored = source_access(context.source.dir(), &context.source.manifest);
    if stored.entities.is_empty() && stored.unreadable.is_empty() {
        return Ok(AccessPlan::default());
    }
    let begun: Vec<BegunAccess> = (recovery.iter())
        .flat_map(|step| match step {
            RecoveryStep::ResumeAccess { begun, .. } => begun.clone(),
            _ => Vec::new(),
        })
        .collect();
    Ok(plan_access(&stored, &live_access(context.server, &context.survey.local)?, options, &begun))
}

/// Whether a snapshot is of another server, by the rule that identifies a repository's server.
fn is_other_server(stored: &ServerEntry, live: &BoundServer) -> bool {
    let stored = BoundServer { data_path: stored.data_path.clone(), uuid: stored.uuid.clone() };
    !is_same(&stored, live)
}

/// The names that recovery gives to tables, by their present names.
fn names_by_recovery(recovery: &[RecoveryStep]) -> BTreeMap<TableName, TableName> {
    let renamed = recovery.iter().filter_map(|step| match step {
        RecoveryStep::Rename { from, to, .. } => Some((from.clone(), to.clone())),
        _ => None,
    });
    renamed.collect()
}

/// The server as a plan reads it. Tables that may be in the way of a requested one are read in full, including those
/// that will have such a name once recovery has renamed them.
fn target(
    context: &RestoreContext<'_>,
    wanted: (&BTreeSet<TableName>, Option<&KnownTables>),
    by_recovery: &BTreeMap<TableName, TableName>,
) -> Result<TargetServer, OpError> {
    let renames = &context.request.options.renames;
    let is_inner = |item: &&SourceItem| item.inner_of.is_some();
    let names = wanted.0;
    let inner: BTreeSet<String> =
        (context.items.iter().filter(is_inner)).map(|item| renames.table(&item.name).database).collect();
    let compared = |name: &TableName| {
        let name = by_recovery.get(name).unwrap_or(name);
        names.contains(name) || inner.contains(&name.database) && name.table.starts_with(".inner")
    };
    let mut dumps: BTreeMap<TableName, &SourceDump> =
        (context.items.iter()).filter_map(|item| Some((renames.table(&item.name), item.dump.as_ref()?))).collect();
    let of_renamed = by_recovery.iter().filter_map(|(now, then)| Some((now.clone(), *dumps.get(then)?)));
    dumps.extend(of_renamed.collect::<Vec<_>>());
    context.survey.target(context.server, &context.items, wanted, &compared, &dumps, &context.request.paths)
}

/// The results of carrying out the plan.
struct Done {
    tables: Vec<TableReport>,
    made: Vec<String>,
    /// Functions and named collections that could not be created.
    refused: Vec<Warning>,
    access: Vec<AccessReport>,
}

impl Done {
    /// Whether a temporary table of one of these could not be dropped.
    fn leaves_temporary(tables: &[TableReport]) -> bool {
        let mut warnings = tables.iter().flat_map(|table| &table.warnings);
        warnings.any(|warning| warning.kind == WarningKind::TemporaryLeft)
    }

    /// Whether the next restore needs the note of this one.
    fn leaves_work(&self) -> bool {
        let mut warnings = self.tables.iter().flat_map(|table| &table.warnings);
        warnings.any(|warning| matches!(warning.kind, WarningKind::TemporaryLeft | WarningKind::FilledInPart))
    }

    /// Whether a user, role … that an earlier restore was creating is complete by now, or has been replaced.
    fn has_made(&self, begun: &BegunAccess) -> bool {
        let report = self.access.iter().find(|one| one.kind == begun.kind.to_string() && one.name == begun.name);
        report.is_some_and(|report| !matches!(report.state, AccessState::Failed | AccessState::Unknown))
    }

    /// Whether a table that an earlier restore was filling is complete by now.
    fn has_filled(&self, name: &TableName) -> bool {
        let report = self.tables.iter().find(|table| table.name() == *name);
        report.is_some_and(|report| match report.state {
            // An incomplete one had other rows: nothing is added to it.
            RestoredState::Restored | RestoredState::Replaced | RestoredState::Attached | RestoredState::Incomplete => {
                true
            }
            RestoredState::Present => report.warnings.is_empty(),
            _ => false,
        })
    }
}

impl PreparedRestore<'_> {
    /// The version of the target server.
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

    /// Fails if the plan contains a step that needs an explicit option.
    ///
    /// # Errors
    /// If it contains such a step.
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
    /// If it is refused, or could not be carried out at all. Then no new table exists, and placed files are removed, or
    /// noted for the next restore. Refusals by the server are in the report.
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
            // Nothing is created: the state of each table goes into the report.
            done.refused = self.plan.objects.iter().filter_map(ObjectPlan::warning).collect();
            done.access = planned_access(&self.plan.access);
            done.tables = self.plan.tables.iter().map(|table| planned(&self.context, table)).collect();
        }
        let context = &self.context;
        finish_resumed(&context.survey.local, &self.plan.recovery, &|name| done.has_filled(name), &|one| {
            done.has_made(one)
        })?;
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
        Ok(Report {
            snapshot,
            tables: done.tables,
            made: done.made,
            access: done.access,
            native: None,
            warnings,
            notes,
            seconds,
        })
    }

    /// Places and attaches tables. Returns what was left for the next restore.
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
            staging.note_places(entries(&jobs, &self.context.survey.local), described.paths())?;
            let placed = stages.run(Stage::Place, || -> Result<_, OpError> {
                let placed = place_all(context, &jobs, &mut staging, stages.monitor())?;
                staging.sync()?;
                Ok(placed)
            })?;
            let has_helper_database = jobs.values().any(|job| job.entry.name.database == word);
            let helper_database = sql::quote_name(word);
            stages.run(Stage::Attach, || {
                make_databases(context, &statements, &later, &mut made)?;
                if has_helper_database {
                    statements.run(&format!("CREATE DATABASE {helper_database} ENGINE = Atomic"))?;
                }
                make_objects(context, &statements, &self.plan.objects, &mut made)?;
                staging.note_access(self.plan.access.begins())?;
                let access = make_access(context, &statements, &self.plan.access)?;
                staging.note_access(Vec::new())?;
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
                if has_helper_database && !Done::leaves_temporary(&tables) {
                    statements.run(&format!("DROP DATABASE IF EXISTS {helper_database} SYNC"))?;
                }
                // The renames must be durable too.
                staging.sync()?;
                Ok(Done { tables, made: made.made, refused: made.refused, access })
            })
        })();
        match result {
            // The note stays, so that the next restore finds tables that could not be dropped, or were not filled.
            Ok(done) if done.leaves_work() => Ok((done, None)),
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

    /// As after a kill: complete tables stay, everything else is removed, and the server is asked which is which.
    fn undo(&self, word: &str, error: OpError) -> OpError {
        let (server, local) = (self.context.server, &self.context.survey.local);
        let words = BTreeSet::from([word.to_owned()]);
        let undone = server.clean_up(|| recover_leftovers(server, local, &words, Recovers::Everything));
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
