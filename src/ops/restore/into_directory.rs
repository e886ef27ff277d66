//! Restores into a plain directory, for people who want files: survey, plan, place, publish.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use chrono::{DateTime, Utc};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::exec::{self, PartRestorer, RestoreMode, RestoredPart};
use crate::fs::{CopyOptions, Dir, FileLock, Hashing, RateLimit};
use crate::model::{SnapshotId, TableName, Warning, WarningKind};
use crate::monitor::{Monitor, Stage, StageWork};
use crate::ops::error::OpError;
use crate::ops::stages::Stages;
use crate::plan::{
    AttachScript, DirectoryAction, DirectoryItem, DirectoryObstacle, DirectoryOptions, DirectoryPlan, DirectoryTable,
    NativeUpdates, SnapshotReference, SourceItem, plan_directory,
};
use crate::repo::{self, Index, Repository};

use super::dump_files::{not_copied, place_of};
use super::items::items;
use super::native::{self, NativeTree};
use super::not_restored::NotRestored;
use super::report::{Report, RestoredState, TableReport};
use super::source::{SnapshotSource, SourceTable, WantedTables};
use super::target_directory::{self as target_dir, LOCK, TREE, UNFINISHED};

/// The reader that the directory is laid out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryLayout {
    /// People, and `clickhouse local`.
    Plain,
    /// ClickHouse's own `RESTORE … FROM File|Disk|S3(…)`.
    Native(NativeUpdates),
}

/// A request to restore into a directory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ToDirectory {
    /// The wanted tables and partitions of the snapshot.
    pub wanted: WantedTables,
    /// The target: an empty directory, or one that does not exist yet.
    pub directory: PathBuf,
    /// The reader that it is laid out for.
    pub layout: DirectoryLayout,
    /// How files may be placed in it.
    pub mode: RestoreMode,
    /// The maximum number of bytes copied per second; `None` for no limit.
    pub copy_rate: Option<u64>,
    /// Whether parts that are noted as damaged are restored.
    pub with_damaged: bool,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// The time at which the plan is made.
    pub now: DateTime<Utc>,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

impl ToDirectory {
    /// The whole snapshot into this directory, with the defaults of `chsnap restore --to`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, now: DateTime<Utc>) -> Self {
        Self {
            wanted: WantedTables::default(),
            directory: directory.into(),
            layout: DirectoryLayout::Plain,
            mode: RestoreMode::Auto,
            copy_rate: None,
            with_damaged: false,
            jobs: exec::local_jobs(),
            now,
            interrupted: Arc::default(),
        }
    }
}

crate::model::setters! { ToDirectory {
    with_wanted => wanted: WantedTables,
    with_layout => layout: DirectoryLayout,
    with_mode => mode: RestoreMode,
    with_copy_rate => copy_rate: Option<u64>,
    with_damaged => with_damaged: bool,
    with_jobs => jobs: usize,
    with_interrupted => interrupted: Arc<AtomicBool>,
} }

/// A restore into a directory that is planned, and can be carried out as it was shown.
#[derive(Debug)]
pub struct PreparedDirectory<'a> {
    repository: &'a Repository,
    request: &'a ToDirectory,
    source: SnapshotSource,
    plan: DirectoryPlan,
    /// The additional files for ClickHouse's own `RESTORE`.
    native: Option<NativeTree>,
    pool: ThreadPool,
    begun: Instant,
    /// Seconds spent in each stage before the plan was complete.
    seconds: BTreeMap<&'static str, f64>,
}

/// Reads the snapshot, all its wanted parts, and the directory, and makes the plan. Changes nothing.
///
/// # Errors
/// If the snapshot is damaged, or something cannot be read.
pub fn prepare_directory<'a>(
    repository: &'a Repository,
    reference: &SnapshotReference,
    request: &'a ToDirectory,
    monitor: &dyn Monitor,
) -> Result<PreparedDirectory<'a>, OpError> {
    let begun = Instant::now();
    let stages = Stages::new(monitor);
    let pool = exec::pool(request.jobs)?;
    let mut source = stages.run(Stage::Discover, || SnapshotSource::open(repository, reference, &request.wanted))?;
    let target = target_dir::survey(repository, &request.directory)?;
    stages.run(Stage::Check, || pool.install(|| source.check_with_copies(repository, monitor)))?;
    let options = DirectoryOptions {
        may_link: request.mode != RestoreMode::Copy,
        may_copy: request.mode != RestoreMode::Link,
        with_damaged: request.with_damaged,
    };
    let items = pool.install(|| items(&source, request.now));
    let has_definition = source.tables.iter().map(|table| table.entry.definition.is_some());
    let items: Vec<DirectoryItem> = (items.into_iter().zip(has_definition))
        .map(|(item, has_definition)| {
            // Files outside parts go next to the tree of parts, as in the snapshot.
            let data = item.data.filter(|_| item.dump.is_none());
            DirectoryItem { item: SourceItem { data, ..item }, has_definition }
        })
        .collect();
    let mut plan = plan_directory(&items, &target, options);
    plan.warnings.extend(source.warnings.iter().cloned());
    let native = match request.layout {
        DirectoryLayout::Plain => None,
        DirectoryLayout::Native(updates) => {
            let definitions =
                |plan: &DirectoryPlan| definitions(&source, plan).into_iter().map(str::to_owned).collect();
            let as_files = std::mem::take(&mut plan);
            let prepare = || native::prepare(&source, &items, as_files, updates, definitions, monitor);
            let (native_plan, tree) = stages.run(Stage::Check, || pool.install(prepare))?;
            plan = native_plan;
            Some(tree)
        }
    };
    // This also finds a damaged definition before anything is written.
    for path in definitions(&source, &plan) {
        source.metadata(path)?;
    }
    Ok(PreparedDirectory { repository, request, source, plan, native, pool, begun, seconds: stages.seconds() })
}

impl PreparedDirectory<'_> {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &DirectoryPlan {
        &self.plan
    }

    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotId {
        self.source.id
    }

    /// Fails if something is in the way.
    ///
    /// # Errors
    /// The first obstacle, if there is one.
    pub fn check_obstacles(&self) -> Result<(), OpError> {
        let path = self.plan.path.clone();
        Err(match self.plan.obstacles.first() {
            None => return Ok(()),
            Some(DirectoryObstacle::InRepository) => OpError::TargetInRepository { path },
            Some(DirectoryObstacle::NotEmpty(entry)) => OpError::TargetNotEmpty { path, entry: entry.clone() },
            Some(DirectoryObstacle::InUse) => OpError::TargetInUse { path },
            Some(DirectoryObstacle::OtherFilesystem) => OpError::TargetOutOfReach { path },
        })
    }

    /// Carries the plan out: places parts and definitions in the directory, laid out as in the snapshot.
    ///
    /// Until it is complete, the tree has a name that says so. A rerun after a kill removes it and starts from scratch.
    ///
    /// # Errors
    /// If something is in the way, or anything cannot be read or written. Then the directory is unchanged.
    pub fn run(self, monitor: &dyn Monitor) -> Result<Report, OpError> {
        let stages = Stages::new(monitor);
        self.check_obstacles()?;
        if self.is_refused_wholly() {
            return Ok(self.refused(&stages));
        }
        let made = target_dir::missing(self.repository, &self.plan.path)?;
        let target = target_dir::open_or_create(self.repository, &self.plan.path)?;
        let unfinished = target.ensure_dir(UNFINISHED, 0o700)?;
        let Ok(lock) = FileLock::try_acquire(&unfinished, LOCK)? else {
            return Err(OpError::TargetInUse { path: self.plan.path });
        };
        self.mark_for_recount();
        let result = self.pool.install(|| {
            target_dir::clear(&target, &unfinished)?;
            self.fill(&stages, &target, &unfinished, &made)
        });
        drop(lock);
        self.mark_for_recount();
        match result {
            Ok((tables, warnings)) => Ok(self.report(&stages, tables, warnings)),
            Err(error) => {
                let undone = self.pool.install(|| -> Result<(), OpError> {
                    target_dir::clear(&target, &unfinished)?;
                    exec::remove_tree(&target, UNFINISHED, &|_| ())?;
                    if self.plan.makes_directory { Ok(target_dir::remove_if_empty(&target)?) } else { Ok(()) }
                });
                Err(match undone {
                    Ok(()) => error,
                    Err(left) => OpError::Unfinished {
                        error: Box::new(error),
                        pending: format!("{} (a rerun removes it first)", crate::monitor::chain(&left)),
                    },
                })
            }
        }
    }

    fn report(&self, stages: &Stages<'_>, tables: Vec<TableReport>, warnings: Vec<Warning>) -> Report {
        let mut seconds = stages.seconds();
        seconds.extend(self.seconds.iter().map(|(stage, spent)| (*stage, *spent)));
        seconds.insert("total", self.begun.elapsed().as_secs_f64());
        let (made, access, notes) = (Vec::new(), Vec::new(), Vec::new());
        let native = self.native.as_ref().map(|native| native.report);
        Report { snapshot: self.source.id, tables, made, access, native, warnings, notes, seconds }
    }

    /// Whether a tree for `RESTORE` would contain nothing that was requested: a list without files looks like a backup.
    fn is_refused_wholly(&self) -> bool {
        let is_refused = |table: &DirectoryTable| matches!(table.action, DirectoryAction::Refuse(_));
        self.native.is_some() && !self.plan.tables.is_empty() && self.plan.tables.iter().all(is_refused)
    }

    /// The report of a plan that places nothing, for which nothing is written.
    fn refused(&self, stages: &Stages<'_>) -> Report {
        let table = |table: &DirectoryTable| {
            let mut report = TableReport::new(&table.name, &table.name, &table.engine, RestoredState::Failed);
            if let DirectoryAction::Refuse(reason) = &table.action {
                report.reason = Some(NotRestored::Impossible(reason.clone()));
            }
            report.warnings.extend(table.warnings.iter().cloned());
            report
        };
        self.report(stages, self.plan.tables.iter().map(table).collect(), self.source.warnings.clone())
    }

    /// Tells the index to read the links of the snapshot's files again: some of them are now linked into the directory.
    fn mark_for_recount(&self) {
        if self.request.mode != RestoreMode::Copy
            && let Ok(index) = Index::open(self.repository)
        {
            index.mark_for_recount(self.repository, self.source.id);
        }
    }

    fn fill(
        &self,
        stages: &Stages<'_>,
        target: &Dir,
        unfinished: &Dir,
        made: &[PathBuf],
    ) -> Result<(Vec<TableReport>, Vec<Warning>), OpError> {
        let Self { source, request, plan, .. } = self;
        let tree = unfinished.ensure_dir(TREE, 0o750)?;
        let stop = |_| {
            if request.interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let rate = request.copy_rate.map(RateLimit::new);
        let restorer = PartRestorer::new(request.mode, None, CopyOptions::new(true, rate.as_ref(), &stop));
        let sources: BTreeMap<TableName, &SourceTable> =
            source.tables.iter().map(|table| (table.name(), table)).collect();
        let placing =
            stages.start(Stage::Place, Some(StageWork { parts: plan.amount().parts, ..StageWork::default() }));
        let inside = stages.enter(Stage::Place);
        let mut tables = Vec::new();
        for table in &plan.tables {
            let mut report = TableReport::new(&table.name, &table.name, &table.engine, RestoredState::Created);
            match (&table.action, sources.get(&table.name)) {
                (DirectoryAction::Place(_), Some(from)) => {
                    let dir = native::table_dir(&tree, &native::directory_of(plan, &table.name))?;
                    fill_table(source, from, &dir, &restorer, (request, stages.monitor()), &mut report)?;
                }
                (DirectoryAction::Refuse(reason), _) => {
                    report.state = RestoredState::Failed;
                    report.reason = Some(NotRestored::Impossible(reason.clone()));
                }
                _ => {}
            }
            report.warnings.extend(table.warnings.iter().cloned());
            tables.push(report);
        }
        drop((inside, placing));
        match &self.native {
            Some(native) => native.write(&tree)?,
            None => write_definitions(source, plan, &tree)?,
        }
        write_dumps(source, plan, &tree, &restorer.options)?;
        write_script(&plan.script, &tree)?;
        let mut warnings = source.warnings.clone();
        if let Some(native) = &self.native {
            let given = native.give(source, &tree, made)?;
            warnings.extend(match given {
                Some(warning) => Some(warning),
                None => native::reach_warning(source, target)?,
            });
        }
        let is_without_data = |table: &SourceTable| {
            let is_left = matches!(table.entry.state, repo::TableState::DataLeft | repo::TableState::Skipped);
            is_left && table.entry.dump.is_none()
        };
        if source.tables.iter().any(is_without_data) {
            let message = "of tables whose data could not be taken only the definitions are there";
            warnings.push(Warning::new(WarningKind::DataLeftBehind, message));
        }
        stages.run(Stage::Seal, || target_dir::publish(target, unfinished, &tree))?;
        Ok((tables, warnings))
    }
}

fn fill_table(
    source: &SnapshotSource,
    table: &SourceTable,
    dir: &Dir,
    restorer: &PartRestorer<'_>,
    (request, monitor): (&ToDirectory, &dyn Monitor),
    report: &mut TableReport,
) -> Result<(), OpError> {
    report.state = RestoredState::Restored;
    // The directory of an empty table can be missing in a snapshot that other tools copied.
    let Some(stored) = source.dir().find_beneath(&table.data_path())? else { return Ok(()) };
    let is_native = request.layout != DirectoryLayout::Plain;
    let placed: Vec<RestoredPart> = (table.parts.par_iter())
        .filter(|part| !(is_native && part.part.is_patch()))
        .map(|part| {
            if request.interrupted.load(Ordering::Relaxed) {
                return Err(OpError::Interrupted);
            }
            let from = source.part_dir(table, &part.part)?.ok_or_else(|| source.has_lost(table, &part.part))?;
            let part_now = restorer.restore_part(&from, dir, part.part.as_str())?;
            let work = StageWork { parts: 1, files: part_now.files, bytes: part_now.bytes, ..StageWork::default() };
            monitor.advanced(Stage::Place, work);
            Ok(part_now)
        })
        .collect::<Result<_, OpError>>()?;
    // RESTORE carries out no mutations.
    let mutations = if is_native { Vec::new() } else { source.mutations(table)? };
    for (mutation, bytes) in mutations {
        dir.write_unsynced(&mutation, 0o640, &bytes)?;
    }
    let mut unkept: Vec<String> = Vec::new();
    for part in &placed {
        report.files += part.files;
        report.bytes = report.bytes.saturating_add(part.bytes);
        part.count(&mut report.placed);
        unkept.extend(part.unkept.iter().map(|(_, unkept)| unkept.to_string()));
    }
    report.parts = placed.len() as u64;
    (report.rows, report.expected_rows) = (table.rows(), table.rows());
    report.verified_parts = report.parts;
    unkept.sort_unstable();
    unkept.dedup();
    if !unkept.is_empty() {
        let message = format!("copies do not have all that the snapshot's files have: {}", unkept.join(", "));
        report.warn(WarningKind::AttributesLost, message);
    }
    dir.keep_metadata_of(&stored)?;
    Ok(())
}

/// The files that are written besides parts: definitions of the tables that are not refused and of their databases and,
/// for a whole snapshot, all its other files.
fn definitions<'a>(source: &'a SnapshotSource, plan: &DirectoryPlan) -> Vec<&'a str> {
    let is_refused = |table: &DirectoryTable| matches!(table.action, DirectoryAction::Refuse(_));
    let refused: Vec<&TableName> =
        plan.tables.iter().filter(|table| is_refused(table)).map(|table| &table.name).collect();
    let tables = || source.tables.iter().filter(|table| !refused.contains(&&table.name()));
    let of_tables: Vec<&String> = tables().filter_map(|table| table.entry.definition.as_ref()).collect();
    let is_wanted = |database: &str| tables().any(|table| table.entry.database == database);
    let of_databases: Vec<&String> = (source.manifest.databases.iter())
        .filter(|entry| source.is_whole || is_wanted(&entry.database))
        .map(|entry| &entry.definition)
        .collect();
    let is_written = |path: &String| {
        let is_object = !["data/", "metadata/", "dumps/"].iter().any(|place| path.starts_with(place));
        of_tables.contains(&path) || of_databases.contains(&path) || source.is_whole && is_object
    };
    source.manifest.metadata.iter().map(|file| &file.path).filter(|path| is_written(path)).map(String::as_str).collect()
}

fn write_definitions(source: &SnapshotSource, plan: &DirectoryPlan, tree: &Dir) -> Result<(), OpError> {
    for path in definitions(source, plan) {
        let bytes = source.metadata(path)?;
        let relative = Path::new(path);
        let mut dir = tree.clone();
        for component in relative.parent().unwrap_or(Path::new("")).components() {
            dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
        }
        dir.write_unsynced(relative.file_name().unwrap_or_default(), 0o600, &bytes)?;
    }
    Ok(())
}

/// Copies the dumps of the tables that are not refused.
fn write_dumps(
    source: &SnapshotSource,
    plan: &DirectoryPlan,
    tree: &Dir,
    options: &CopyOptions<'_>,
) -> Result<(), OpError> {
    let is_refused = |name: &TableName| {
        plan.tables.iter().any(|table| table.name == *name && matches!(table.action, DirectoryAction::Refuse(_)))
    };
    for table in source.tables.iter().filter(|table| !is_refused(&table.name())) {
        for path in table.entry.dump.iter().flat_map(|dump| &dump.files) {
            let Some((from, name)) = place_of(source.dir(), &table.name(), path)? else { continue };
            let mut dir = tree.clone();
            for component in Path::new(path).parent().unwrap_or(Path::new("")).components() {
                dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
            }
            dir.copy_from(options, &from, &name, &name, Hashing::None).map_err(not_copied)?;
        }
    }
    Ok(())
}

/// Writes the files that `clickhouse local` needs: the script, and links to the data under the names of the script's
/// databases.
fn write_script(script: &AttachScript, tree: &Dir) -> Result<(), OpError> {
    if script.databases.is_empty() {
        return Ok(());
    }
    let local = tree.ensure_dir("local", 0o750)?;
    let data = local.ensure_dir("data", 0o750)?;
    for (name, own) in &script.databases {
        data.symlink(&Path::new("../../data").join(own), name)?;
    }
    Ok(local.write_unsynced("attach.sql", 0o600, script.text.as_bytes())?)
}
