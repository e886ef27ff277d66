//! The import itself: read, plan, place, inspect, seal. Nothing appears under `snapshots/` before the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::exec::{self, ListedImporter, PartRestorer, RestoreMode, TreeDirs};
use crate::fs::{self, CopyOptions, Dir, ErrorKind, FsError, RateLimit};
use crate::model::{Label, PlacedTotals, RoomNeed, SnapshotId, SnapshotTotals, TableName, Warning, WarningKind, count};
use crate::monitor::{Monitor, Stage, StageWork, chain};
use crate::ops::create::{Clock, clock_warning};
use crate::ops::error::{FoundDamage, OpError};
use crate::ops::init::resolved;
use crate::ops::read::{named, same_name_note};
use crate::ops::recover::{recover, remove_discarded};
use crate::ops::stages::Stages;
use crate::ops::written::ComparedSnapshot;
use crate::plan::{
    BACKUP_LIST, ImportKind, ImportPlan, ImportSource, PartFilesSource, Refusal, SeriesKey, SourceFile, SourcePart,
    TablePattern, low_room_warning, plan_import,
};
use crate::repo::{self, Event, Incoming, Index, Locked, Manifest, MetadataFile, Repository, TableEntry};

use super::manifest::{self, DescribedImport, ImportedRows};
use super::place::{ImportedPart, Placer, damage};
use super::{clickhouse_backup, native, shadow};
use crate::ops::import_error::ImportError;

/// A request to make a snapshot of a tree.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportRequest {
    /// The tree.
    pub directory: PathBuf,
    /// The directory of definitions that belongs to a tree of frozen parts.
    pub metadata: Option<PathBuf>,
    /// Tables to take; all if empty.
    pub tables: Vec<TablePattern>,
    /// The label of the snapshot.
    pub label: Label,
    /// When the tree was made, if a person knows better than the tree.
    pub time: Option<DateTime<Utc>>,
    /// How files may be placed in the snapshot.
    pub mode: RestoreMode,
    /// The maximum number of bytes copied per second; `None` for no limit.
    pub copy_rate: Option<u64>,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How long to wait for the lock of the repository.
    pub lock_wait: Duration,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

impl ImportRequest {
    /// An import of this tree, with the defaults of `chsnap import`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            metadata: None,
            tables: Vec::new(),
            label: Label::default(),
            time: None,
            mode: RestoreMode::Auto,
            copy_rate: None,
            jobs: exec::local_jobs(),
            lock_wait: Duration::ZERO,
            interrupted: Arc::default(),
        }
    }
}

crate::model::setters! { ImportRequest {
    with_metadata => metadata: Option<PathBuf>,
    with_tables => tables: Vec<TablePattern>,
    with_label => label: Label,
    with_time => time: Option<DateTime<Utc>>,
    with_mode => mode: RestoreMode,
    with_copy_rate => copy_rate: Option<u64>,
    with_jobs => jobs: usize,
    with_lock_wait => lock_wait: Duration,
    with_interrupted => interrupted: Arc<AtomicBool>,
} }

/// The outcome of an import.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ImportReport {
    /// The snapshot.
    pub id: SnapshotId,
    /// Other snapshots with the same name, the newest first.
    pub same_name: Vec<SnapshotId>,
    /// Its contents.
    pub totals: SnapshotTotals,
    /// How its parts were placed.
    pub placed: PlacedTotals,
    /// Rows in it, as far as its parts record them.
    pub rows: ImportedRows,
    /// Every table with its outcome.
    pub tables: Vec<TableEntry>,
    /// The warnings for the user.
    pub warnings: Vec<Warning>,
    /// Seconds spent in each stage, and overall as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}

/// A planned import, which is carried out exactly as it was shown.
#[derive(Debug)]
pub struct PreparedImport<'a> {
    repository: &'a Repository,
    request: &'a ImportRequest,
    root: Dir,
    kind: ImportKind,
    name: String,
    version: Option<String>,
    time: DateTime<Utc>,
    plan: ImportPlan,
    pool: ThreadPool,
    begun: Instant,
    seconds: BTreeMap<&'static str, f64>,
}

/// Reads the tree, examines all its files, and makes the plan. Changes nothing. Tables that are damaged or do not match
/// the tree's own description are skipped.
///
/// # Errors
/// If the tree cannot be read, has none of the requested tables, or none of its tables can be taken.
pub fn prepare_import<'a>(
    repository: &'a Repository,
    request: &'a ImportRequest,
    now: DateTime<Utc>,
    monitor: &dyn Monitor,
) -> Result<PreparedImport<'a>, OpError> {
    let begun = Instant::now();
    let stages = Stages::new(monitor);
    let pool = exec::pool(request.jobs)?;
    if resolved(&request.directory).starts_with(resolved(repository.path())) {
        return Err(ImportError::InRepository { path: request.directory.clone() }.into());
    }
    let root = repository.dir().open_elsewhere(&request.directory).map_err(|error| match error.kind() {
        ErrorKind::WrongKind => OpError::from(ImportError::NoDirectory { path: request.directory.clone() }),
        _ => error.into(),
    })?;
    let source = stages.run(Stage::Discover, || match &request.metadata {
        Some(metadata) => shadow::read(&root, metadata),
        None if root.find(BACKUP_LIST)?.is_some() => native::read(&root),
        None if root.find(clickhouse_backup::METADATA)?.is_some() => clickhouse_backup::read(&root),
        None => Err(ImportError::Unknown { path: request.directory.clone() }.into()),
    })?;
    let (kind, name, version) = (source.kind, source.name.clone(), source.version.clone());
    let (time, doubt) = time_of(request.time, &source, &root, now)?;
    let mut plan = plan_import(source, &request.tables);
    plan.warnings.extend(doubt);
    if !plan.unmatched.is_empty() {
        let names = plan.unmatched.iter().map(|name| format!("table {name:?}")).collect();
        return Err(ImportError::Unmatched { names }.into());
    }
    if plan.tables.is_empty() && !plan.takes_nothing() {
        return Err(ImportError::Empty { path: request.directory.clone() }.into());
    }
    let mut prepared = PreparedImport {
        repository,
        request,
        root,
        kind,
        name,
        version,
        time,
        plan,
        pool,
        begun,
        seconds: BTreeMap::new(),
    };
    let damage = stages.run(Stage::Check, || prepared.pool.install(|| prepared.check(monitor)))?;
    prepared.plan.skip(&refusals(&damage));
    takes_something(&prepared.plan, &request.directory, damage)?;
    let low = low_space(repository, &prepared.root, &prepared.plan, request.mode)?;
    prepared.plan.warnings.extend(low);
    Ok(PreparedImport { seconds: stages.seconds(), ..prepared })
}

impl PreparedImport<'_> {
    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &ImportPlan {
        &self.plan
    }

    /// The program that made the tree.
    #[must_use]
    pub fn kind(&self) -> ImportKind {
        self.kind
    }

    /// The tree's own name for the program that made it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When the tree was made: the date of the snapshot.
    #[must_use]
    pub fn time(&self) -> DateTime<Utc> {
        self.time
    }

    /// Examines every file: all files of a list exist with their sizes, and every part in a list or a directory is
    /// complete. A part that cannot be read counts as damaged.
    fn check(&self, monitor: &dyn Monitor) -> Result<Vec<FoundDamage>, OpError> {
        let parts: Vec<&SourcePart> = self.plan.parts().collect();
        let check = |part: &&SourcePart| -> Result<Option<FoundDamage>, OpError> {
            self.unless_interrupted()?;
            match &part.content {
                PartFilesSource::Files(files) => {
                    let problem = self.problem_of_list(files).unwrap_or_else(|error| Some(chain(&error)));
                    let bytes = files.iter().map(|file| file.bytes).sum();
                    monitor.advanced(
                        Stage::Check,
                        StageWork { parts: 1, files: files.len() as u64, bytes, ..StageWork::default() },
                    );
                    Ok(problem.map(|problem| damage(part, problem)))
                }
                PartFilesSource::Directory(path) => {
                    let found = match self.root.open_beneath(path).and_then(|dir| exec::inspect_whole(&dir)) {
                        Ok(whole) => whole.inspected,
                        Err(error) => return Ok(Some(damage(part, chain(&error)))),
                    };
                    monitor.advanced(
                        Stage::Check,
                        StageWork { parts: 1, files: found.files, bytes: found.bytes, ..StageWork::default() },
                    );
                    Ok(found.problems.first().map(|problem| damage(part, problem.clone())))
                }
            }
        };
        let damage: Vec<Option<FoundDamage>> = parts.par_iter().map(check).collect::<Result<_, _>>()?;
        Ok(damage.into_iter().flatten().collect())
    }

    /// The first problem with a part whose files a list names: a file that differs in the tree from its entry in the
    /// list, or one that a complete part has and the list does not name.
    fn problem_of_list(&self, files: &[SourceFile]) -> Result<Option<String>, FsError> {
        let mut dirs = TreeDirs::of(&self.root);
        for file in files {
            if !exec::is_as_listed(&mut dirs, file, false)? {
                let path = self.root.path().join(file.from.as_ref().unwrap_or(&file.path));
                return Ok(Some(format!("{} {}", path.display(), ImportError::NOT_AS_LISTED)));
            }
        }
        exec::lacks_in_list(&mut dirs, files)
    }

    fn unless_interrupted(&self) -> Result<(), OpError> {
        if self.request.interrupted.load(Ordering::Relaxed) { Err(OpError::Interrupted) } else { Ok(()) }
    }

    /// Carries the plan out.
    ///
    /// # Errors
    /// If no snapshot could be made. Then the repository is unchanged, or the next run repairs it.
    pub fn run(mut self, now: Clock<'_>, monitor: &dyn Monitor) -> Result<ImportReport, OpError> {
        let stages = Stages::new(monitor);
        let locked = self.repository.lock("import", now(), self.request.lock_wait)?;
        let recovery = stages.run(Stage::Recover, || recover(&locked, None, monitor))?;
        let mut warnings: Vec<Warning> = recovery.warnings().collect();
        warnings.extend(clock_warning(self.repository, now())?);
        let same_name = named(Index::open(self.repository)?.summaries(), &self.request.label);
        if let Some(note) = same_name_note(&self.request.label, &same_name) {
            monitor.note(&note);
        }
        let incoming = locked.begin(self.time, "", Vec::new())?;
        let mut plan = std::mem::take(&mut self.plan);
        let built = self.pool.install(|| self.build(&stages, &incoming, (&mut plan, &mut warnings), now));
        let (manifest, rows) = match built {
            Ok(built) => built,
            Err(error) => {
                let undone = self.pool.install(|| abandon(&locked, &incoming, monitor));
                return Err(match undone {
                    Ok(()) => error,
                    Err(left) => OpError::Unfinished {
                        error: Box::new(error),
                        pending: format!("{} (the next run does the rest)", crate::monitor::chain(&left)),
                    },
                });
            }
        };
        self.finish_commit(&locked, &manifest, now(), &mut warnings);
        let mut seconds = stages.seconds();
        seconds.extend(self.seconds);
        seconds.insert("total", self.begun.elapsed().as_secs_f64());
        let Manifest { id, totals, placed, tables, .. } = manifest;
        Ok(ImportReport { id, same_name, totals, placed, rows, tables, warnings, seconds })
    }

    fn build(
        &self,
        stages: &Stages<'_>,
        incoming: &Incoming<'_>,
        (plan, warnings): (&mut ImportPlan, &mut Vec<Warning>),
        now: Clock<'_>,
    ) -> Result<(Manifest, ImportedRows), OpError> {
        let stop = |_| {
            if self.request.interrupted.load(Ordering::Relaxed) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let rate = self.request.copy_rate.map(RateLimit::new);
        let placer = Placer {
            root: &self.root,
            interrupted: &self.request.interrupted,
            listed: ListedImporter::new(&self.root, self.request.mode, CopyOptions::new(true, rate.as_ref(), &stop)),
            whole: PartRestorer::new(self.request.mode, None, CopyOptions::new(true, rate.as_ref(), &stop)),
            monitor: stages.monitor(),
        };
        let mut taken = Vec::new();
        {
            let work = StageWork { parts: plan.parts().count() as u64, ..StageWork::default() };
            let _at_work = stages.start(Stage::Place, Some(work));
            let _inside = stages.enter(Stage::Place);
            let data = incoming.dir().ensure_dir(repo::DATA, 0o750)?;
            for table in &plan.tables {
                let parts = if table.holds_parts() { placer.place_table(&data, table)? } else { Vec::new() };
                taken.push(parts);
            }
            self.skip_damaged(&data, plan, &mut taken)?;
        }
        warnings.extend(plan.warnings.iter().cloned());
        warnings.extend(attributes_lost(&taken));
        let _inside = stages.enter(Stage::Seal);
        let metadata = write_metadata(plan, incoming)?;
        let index = Index::open(self.repository)?;
        let series = &SeriesKey::new(self.request.tables.iter().map(TablePattern::as_str), [], []);
        let previous = ComparedSnapshot::read(self.repository, &index, index.summaries(), series)?;
        let described = manifest::ImportManifestInputs {
            import: manifest::Imported {
                kind: self.kind,
                name: &self.name,
                path: &self.request.directory,
                version: self.version.as_deref(),
            },
            plan,
            taken,
            label: &self.request.label,
            include: &self.request.tables,
            mode: self.request.mode,
            metadata,
            previous,
            warnings,
        };
        let DescribedImport { mut manifest, records, rows } =
            described.manifest(self.repository, &index, incoming, now());
        self.unless_interrupted()?;
        let late = incoming.seal(&mut manifest, &records, |_| Ok(()))?;
        warnings.extend(late.into_iter().map(|message| Warning::new(WarningKind::CommitIncomplete, message)));
        Ok((manifest, rows))
    }

    /// Skips the tables with a part that turned out to be damaged once it was placed, and removes what was placed of
    /// them.
    fn skip_damaged(&self, data: &Dir, plan: &mut ImportPlan, taken: &mut [Vec<ImportedPart>]) -> Result<(), OpError> {
        let damage: Vec<FoundDamage> = taken.iter().flatten().filter_map(|part| part.damage.clone()).collect();
        let tables: BTreeSet<TableName> = damage.iter().map(|damage| damage.table.clone()).collect();
        for index in plan.skip(&refusals(&damage)) {
            if let Some(parts) = taken.get_mut(index) {
                parts.clear();
            }
        }
        takes_something(plan, &self.request.directory, damage)?;
        for table in tables {
            let path = repo::table_below_data(&table);
            let database = data.find_beneath(path.parent().unwrap_or(Path::new("")))?;
            if let Some((database, name)) = database.zip(path.file_name()) {
                exec::remove_tree(&database, name, &|_| ())?;
            }
        }
        Ok(())
    }

    /// The work after the commit. The snapshot exists by then, so a failure is a warning.
    fn finish_commit(&self, locked: &Locked<'_>, manifest: &Manifest, now: DateTime<Utc>, warnings: &mut Vec<Warning>) {
        let mut note = |what: &str, result: Result<(), OpError>| {
            if let Err(error) = result {
                let message = format!("{what}: {}", crate::monitor::chain(&error));
                warnings.push(Warning::new(WarningKind::CommitIncomplete, message));
            }
        };
        let space = fs::space(self.repository.dir()).ok();
        let used_bytes = space.map(|space| space.size_bytes.saturating_sub(space.free_bytes));
        let written_bytes = Some(manifest.totals.written_bytes);
        let created = Event::Created { id: manifest.id, written_bytes, used_bytes };
        note("the journal is not written", locked.record(now, &created).map_err(OpError::from));
        match Index::open(self.repository) {
            Ok(index) => note("latest is not updated", locked.point_latest_at(index.latest()).map_err(OpError::from)),
            Err(error) => note("the index is not updated", Err(error.into())),
        }
        note("the intent is not removed", locked.forget_intent(manifest.id).map_err(OpError::from));
    }
}

fn write_metadata(plan: &ImportPlan, incoming: &Incoming<'_>) -> Result<Vec<MetadataFile>, OpError> {
    let mut files = Vec::new();
    for database in &plan.databases {
        let path = repo::database_definition_path(&database.name);
        files.push(incoming.write_metadata(&path, database.definition.as_bytes())?);
    }
    for table in &plan.tables {
        if let Some(definition) = &table.definition {
            files.push(incoming.write_metadata(&repo::definition_path(&table.name), definition.text.as_bytes())?);
        }
    }
    for (name, text) in &plan.functions {
        let path = Path::new("user_defined").join(format!("function_{name}.sql"));
        files.push(incoming.write_metadata(&path, text.as_bytes())?);
    }
    Ok(files)
}

/// Why the tables with damaged parts are skipped, each with its first part.
fn refusals(damage: &[FoundDamage]) -> BTreeMap<TableName, Refusal> {
    let mut of_tables: BTreeMap<&TableName, Vec<&FoundDamage>> = BTreeMap::new();
    for found in damage {
        of_tables.entry(&found.table).or_default().push(found);
    }
    let refusal = |(table, found): (&TableName, Vec<&FoundDamage>)| {
        let first = found.first()?;
        let part = first.part.as_ref().map(|part| format!("its part {part} is damaged: ")).unwrap_or_default();
        let more = match found.len() as u64 - 1 {
            0 => String::new(),
            more => format!(", and {} of it", count(more, "more damaged part")),
        };
        Some((table.clone(), Refusal::Damaged(format!("{part}{}{more}", first.problem))))
    };
    of_tables.into_iter().filter_map(refusal).collect()
}

/// Checks that some table is left.
///
/// # Errors
/// If none is: with all the damage, if that is a reason.
fn takes_something(plan: &ImportPlan, directory: &Path, mut damage: Vec<FoundDamage>) -> Result<(), OpError> {
    if !plan.takes_nothing() {
        return Ok(());
    }
    let known: BTreeSet<TableName> = damage.iter().map(|damage| damage.table.clone()).collect();
    for table in plan.tables.iter().filter(|table| !known.contains(&table.name)) {
        if let Some(Refusal::Damaged(problem)) = &table.skipped {
            damage.push(FoundDamage { table: table.name.clone(), part: None, problem: problem.clone() });
        }
    }
    if !damage.is_empty() {
        return Err(OpError::ImportDamaged { damage });
    }
    let skipped = plan.warnings.iter().filter(|warning| warning.kind == WarningKind::TableSkipped);
    let reasons = skipped.map(|warning| warning.message.clone()).collect();
    Err(ImportError::NothingTaken { path: directory.to_owned(), reasons }.into())
}

/// The time at which a tree was made, and a warning about it if needed.
///
/// # Errors
/// If a given time is in the future: no retention rule would count such a snapshot.
fn time_of(
    given: Option<DateTime<Utc>>,
    source: &ImportSource,
    root: &Dir,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, Option<Warning>), OpError> {
    match given {
        Some(time) if time > now => return Err(ImportError::Future { time }.into()),
        Some(time) => return Ok((time, None)),
        None => {}
    }
    if let Some(time) = source.time.filter(|time| *time <= now) {
        return Ok((time, None));
    }
    let (seconds, _) = root.stat_self()?.modified;
    let modified = DateTime::from_timestamp(seconds, 0).unwrap_or(now).min(now);
    let what = match source.time {
        Some(time) => format!("says that it was made at {}, which is in the future", time.to_rfc3339()),
        None => "does not say when it was made".to_owned(),
    };
    let message = format!(
        "the tree {what}: the time of its directory is taken, {}; --time says better",
        modified.format("%Y-%m-%d %H:%M:%S UTC")
    );
    Ok((modified, Some(Warning::new(WarningKind::TimeUnknown, message))))
}

/// The error for copies that do not fit, of parts whose sizes a list gives.
fn low_space(
    repository: &Repository,
    root: &Dir,
    plan: &ImportPlan,
    mode: RestoreMode,
) -> Result<Option<Warning>, OpError> {
    if mode != RestoreMode::Copy && fs::are_on_one_mount(repository.dir(), root)? {
        return Ok(None);
    }
    let free = fs::space(repository.dir())?.room();
    let mut need = RoomNeed::default();
    for part in plan.parts() {
        need += free.of_directory(1);
        for file in part.listed() {
            need += free.of_files(1, file.bytes);
        }
    }
    Ok(low_room_warning(free, need))
}

/// Undoes an unfinished import.
fn abandon(locked: &Locked<'_>, incoming: &Incoming<'_>, monitor: &dyn Monitor) -> Result<(), OpError> {
    let id = incoming.id();
    if !locked.repository().has_snapshot(id)? {
        locked.discard_incoming(id)?;
        remove_discarded(locked, monitor)?;
    }
    Ok(locked.forget_intent(id)?)
}

fn attributes_lost(taken: &[Vec<ImportedPart>]) -> Option<Warning> {
    let of_part =
        |part: &ImportedPart| part.placed.unkept.iter().map(|(_, unkept)| unkept.to_string()).collect::<Vec<_>>();
    let mut unkept: Vec<String> = taken.iter().flatten().flat_map(of_part).collect();
    unkept.sort_unstable();
    unkept.dedup();
    let message = || format!("copies do not have all that the files of the tree have: {}", unkept.join(", "));
    (!unkept.is_empty()).then(|| Warning::new(WarningKind::AttributesLost, message()))
}
