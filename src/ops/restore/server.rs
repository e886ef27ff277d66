//! Into a running server: the plan, and what carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use rayon::ThreadPool;

use crate::exec::{self, RestoreMode};
use crate::model::{PathMap, SnapshotId, TableName};
use crate::monitor::{Monitor, Stage};
use crate::ops::error::OpError;
use crate::ops::stages::Stages;
use crate::plan::{Action, RestoreOptions, RestorePlan, SnapshotReference, SourceItem, plan_restore};
use crate::repo::Repository;
use crate::server::Server;

use super::objects::Objects;
use super::report::{Report, TableReport};
use super::source::{Source, Wanted};
use super::staging::{self, Entry, Staging};
use super::tables::Tables;
use super::target::{Surveyed, items};

/// What is asked of a restore into a server.
#[derive(Clone, Debug)]
pub struct ToServer {
    /// What of the snapshot.
    pub wanted: Wanted,
    /// How.
    pub options: RestoreOptions,
    /// Whether a table that was replaced stays, under another name.
    pub keep_replaced: bool,
    /// How files may come to the server.
    pub mode: RestoreMode,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How the server's paths are to be read here.
    pub paths: PathMap,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

/// What was carried out.
struct Done {
    reports: Vec<TableReport>,
    made: Vec<String>,
    /// Functions and named collections that could not be made.
    refused: Vec<String>,
}

/// A restore that is planned, and can be carried out as it was shown.
#[derive(Debug)]
pub struct Prepared<'a> {
    pub(in crate::ops) server: &'a Server,
    pub(in crate::ops) request: &'a ToServer,
    pub(in crate::ops) source: Source,
    pub(in crate::ops) surveyed: Surveyed,
    pub(in crate::ops) items: Vec<SourceItem>,
    pub(in crate::ops) plan: RestorePlan,
    pub(in crate::ops) warnings: Vec<String>,
    inherited: Vec<Entry>,
    pool: ThreadPool,
}

impl<'a> Prepared<'a> {
    /// Looks at the snapshot, every part of it that is asked for, and at the server, and makes the plan. With `sweeps`,
    /// what interrupted restores have left on the server is put in order first; else nothing is touched.
    ///
    /// # Errors
    /// If the snapshot is damaged, the server does not answer, or its data is not visible here.
    pub fn new(
        repository: &Repository,
        server: &'a Server,
        reference: &SnapshotReference,
        request: &'a ToServer,
        sweeps: bool,
        monitor: &dyn Monitor,
    ) -> Result<Self, OpError> {
        let stages = Stages::new(monitor);
        let pool = exec::pool(request.jobs)?;
        let source = stages.run(Stage::Discover, || Source::open(repository, reference, &request.wanted))?;
        stages.run(Stage::Check, || pool.install(|| source.check(monitor)))?;
        let mut warnings = Vec::new();
        let mut surveyed = Surveyed::read(repository, server, &request.paths)?;
        let (user, uid) = (crate::fs::user_id(), surveyed.owner.0);
        if user != 0 && user != uid {
            return Err(OpError::CannotGive { uid, user });
        }
        let mut inherited = Vec::new();
        if sweeps {
            let swept =
                stages.run(Stage::Recover, || pool.install(|| staging::sweep(server, &surveyed.local, false)))?;
            let of_this = swept.finished.into_iter().filter(|(id, _)| *id == source.id);
            inherited.extend(of_this.map(|(_, entry)| Entry { places: Vec::new(), ..entry }));
            warnings.extend(swept.pending);
            surveyed = Surveyed::read(repository, server, &request.paths)?;
        } else {
            let left = staging::leftovers(&surveyed.local)?;
            warnings
                .extend(left.iter().map(|name| format!("{name} of an interrupted restore will be put in order first")));
        }
        let items = items(&source);
        let names: Vec<TableName> = items.iter().map(|item| item.name.clone()).collect();
        let unmatched = request.options.renames.unmatched(&names);
        if !unmatched.is_empty() {
            return Err(OpError::NotInSnapshot { names: unmatched });
        }
        let finished: BTreeSet<TableName> = inherited.iter().map(|entry| entry.name.clone()).collect();
        let target = surveyed.target(server, &items, finished)?;
        let databases: BTreeMap<String, String> =
            source.manifest.databases.iter().map(|entry| (entry.database.clone(), entry.engine.clone())).collect();
        let mut failed = None;
        let mut fresh = || {
            staging::fresh_uuid().unwrap_or_else(|error| {
                failed = Some(error);
                "00000000-0000-4000-8000-000000000000".to_owned().try_into().expect("a UUID")
            })
        };
        let plan = plan_restore(&items, &databases, &target, &request.options, &mut fresh);
        if let Some(error) = failed {
            return Err(error);
        }
        if !plan.conflicts.is_empty() {
            return Err(OpError::NameConflict { conflicts: plan.conflicts });
        }
        Ok(Self { server, request, source, surveyed, items, plan, warnings, inherited, pool })
    }

    /// The version of the server that is restored into.
    pub(in crate::ops) fn source_version(&self) -> String {
        self.surveyed.identity.version.clone()
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &RestorePlan {
        &self.plan
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotId {
        self.source.id
    }

    /// What the person should know before anything is done.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Why a person must ask for this by `--replace`, if one must.
    ///
    /// # Errors
    /// If something that is there would go.
    pub fn check_refused(&self) -> Result<(), OpError> {
        if self.plan.refused.is_empty() {
            Ok(())
        } else {
            Err(OpError::WouldReplace { tables: self.plan.refused.clone() })
        }
    }

    /// Carries the plan out.
    ///
    /// # Errors
    /// If it is refused, or could not be carried out at all: then no table stands that did not before, and what was
    /// placed is removed, or noted for the next restore. What the server refused of it is in the report.
    pub fn run(self, now: DateTime<Utc>, monitor: &dyn Monitor) -> Result<Report, OpError> {
        self.check_refused()?;
        let begun = std::time::Instant::now();
        let stages = Stages::new(monitor);
        let name = staging::new_name(now)?;
        let mut tables = Tables::new(&self, &name);
        let mut entries = tables.entries();
        entries.extend(self.inherited.iter().cloned());
        let mut staging = Staging::begin(&self.surveyed.local, &name, self.source.id, now, entries)?;
        if !self.inherited.is_empty() {
            // Now that this restore has written down what the earlier one had finished, that one's own note can go.
            self.pool.install(|| staging::sweep(self.server, &self.surveyed.local, true))?;
        }
        let result = self.pool.install(|| self.carry_out(&mut tables, &mut staging, &stages));
        let local = &self.surveyed.local;
        let ended = if result.is_ok() {
            self.pool.install(|| staging.finish(local).map(|()| Vec::new()).map_err(OpError::from))
        } else {
            // As after a kill: what is whole stays, everything else goes, and the server is asked which is which.
            drop(staging);
            self.pool.install(|| staging::sweep(self.server, local, false)).map(|swept| swept.pending)
        };
        let Done { reports, made, refused } = match (result, &ended) {
            (Ok(done), _) => done,
            (Err(error), Ok(pending)) if pending.is_empty() => return Err(error),
            (Err(error), left) => {
                let left = left.as_ref().map_or_else(|left| crate::monitor::chain(left), |pending| pending.join("; "));
                let pending = format!("{left} (the next restore does the rest)");
                return Err(OpError::Unfinished { error: Box::new(error), pending });
            }
        };
        let mut warnings = self.warnings.clone();
        warnings.extend(refused);
        if let Err(left) = ended {
            warnings.push(format!("the next restore has to put in order: {}", crate::monitor::chain(&left)));
        }
        let mut seconds = stages.seconds();
        seconds.insert("total", begun.elapsed().as_secs_f64());
        Ok(Report { snapshot: self.source.id, tables: reports, made, warnings, seconds })
    }

    fn carry_out(&self, tables: &mut Tables<'_>, staging: &mut Staging, stages: &Stages<'_>) -> Result<Done, OpError> {
        stages.run(Stage::Place, || -> Result<(), OpError> {
            tables.place(staging, stages.monitor())?;
            Ok(staging.sync()?)
        })?;
        stages.run(Stage::Attach, || {
            let mut objects = Objects { prepared: self, made: Vec::new() };
            objects.make_databases()?;
            let warnings = objects.make_functions_and_collections()?;
            let reports = tables.attach(staging, stages.monitor())?;
            // The renames too.
            staging.sync()?;
            Ok(Done { reports, made: objects.made, refused: warnings })
        })
    }

    /// Whether the program was asked to stop.
    pub(in crate::ops) fn check_interrupted(&self) -> Result<(), OpError> {
        if self.request.interrupted.load(Ordering::Relaxed) { Err(OpError::Interrupted) } else { Ok(()) }
    }

    /// The item that a table of the plan is made from.
    pub(in crate::ops) fn item(&self, from: &TableName) -> Option<&SourceItem> {
        self.items.iter().find(|item| item.name == *from)
    }

    /// Whether anything of the plan changes something.
    #[must_use]
    pub fn changes_anything(&self) -> bool {
        let idle = |action: &Action| matches!(action, Action::Keep { .. } | Action::Finished | Action::Impossible(_));
        self.plan.tables.iter().any(|table| !idle(&table.action)) || !self.plan.databases.is_empty()
    }
}
