//! Into a plain directory: for people who want files.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::exec::{self, PartRestorer, RestoreMode, RestoredPart};
use crate::fs::{CopyMeans, Dir, ErrorKind, FileLock, FsError, create_path};
use crate::model::escape_for_file_name;
use crate::monitor::{Monitor, Stage, Work};
use crate::ops::error::OpError;
use crate::ops::init::resolved;
use crate::ops::stages::Stages;
use crate::plan::SnapshotReference;
use crate::repo::{Index, Repository};

use super::not_restored::NotRestored;
use super::report::{Report, TableReport, TableState};
use super::source::{Source, SourceTable, Wanted};

/// What is asked of a restore into a directory.
#[derive(Clone, Debug)]
pub struct ToDirectory {
    /// What of the snapshot.
    pub wanted: Wanted,
    /// Where: an empty directory, or one that is not there yet.
    pub directory: PathBuf,
    /// How files may come there.
    pub mode: RestoreMode,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

/// Stands in the directory as long as what it holds is not whole.
const UNFINISHED: &str = ".chsnap-unfinished";
const INTENT: &str = "intent.json";
const LOCK: &str = "lock";
const TREE: &str = "tree";
const INTENT_LIMIT_BYTES: u64 = 1 << 20;

/// What will be moved out of [`UNFINISHED`] when all of it is there.
#[derive(Debug, Serialize, Deserialize)]
struct Intent {
    names: Vec<String>,
}

/// The names that a tree can have at its top.
const NAMES: [&str; 5] = ["data", "metadata", "user_defined", "access", "named_collections"];

/// Restores parts and definitions of a snapshot into a directory, laid out as they are in the snapshot.
///
/// Until everything is there, it stands under a name that says so; a rerun after a kill removes that and begins anew.
///
/// # Errors
/// If the snapshot is damaged, the directory holds something else, or anything cannot be read or written. Then the
/// directory is as it was.
pub fn restore_to_directory(
    repository: &Repository,
    reference: &SnapshotReference,
    request: &ToDirectory,
    monitor: &dyn Monitor,
) -> Result<Report, OpError> {
    let begun = std::time::Instant::now();
    let stages = Stages::new(monitor);
    let pool = exec::pool(request.jobs)?;
    let path = resolved(&request.directory);
    if path.starts_with(resolved(repository.path())) {
        return Err(OpError::TargetInRepository { path });
    }
    let source = stages.run(Stage::Discover, || Source::open(repository, reference, &request.wanted))?;
    stages.run(Stage::Check, || pool.install(|| source.check(monitor)))?;
    let was_there = std::fs::symlink_metadata(&request.directory).is_ok();
    let target = open_target(repository, &request.directory)?;
    let unfinished = target.ensure_dir(UNFINISHED, 0o700)?;
    let Ok(lock) = FileLock::try_acquire(&unfinished, LOCK)? else {
        return Err(OpError::TargetInUse { path });
    };
    // What is linked out of a snapshot is not the repository's alone any more, whatever the index has seen.
    let suspect = || {
        if request.mode != RestoreMode::Copy
            && let Ok(index) = Index::open(repository)
        {
            index.suspect(repository, source.id);
        }
    };
    suspect();
    let result = pool.install(|| {
        clear(&target, &unfinished)?;
        fill(&source, request, &stages, &target, &unfinished)
    });
    drop(lock);
    suspect();
    match result {
        Ok((tables, warnings)) => {
            let mut seconds = stages.seconds();
            seconds.insert("total", begun.elapsed().as_secs_f64());
            Ok(Report {
                snapshot: source.id,
                tables,
                made: Vec::new(),
                access: Vec::new(),
                warnings,
                notes: Vec::new(),
                seconds,
            })
        }
        Err(error) => {
            let undone = pool.install(|| -> Result<(), OpError> {
                clear(&target, &unfinished)?;
                exec::remove_tree(&target, UNFINISHED, &|_| ())?;
                if was_there { Ok(()) } else { Ok(remove_if_empty(&path, &target)?) }
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

fn remove_if_empty(path: &Path, target: &Dir) -> Result<(), FsError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    target.open_elsewhere(parent)?.remove_dir(name)
}

/// Opens the directory, made if it is not there. It must be empty, but for what an interrupted run left.
fn open_target(repository: &Repository, path: &Path) -> Result<Dir, OpError> {
    let dir = match repository.dir().open_elsewhere(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // As the repository is changed by its verbs, so is this.
            return Ok(create_path(path, 0o750, &repository.dir().verbs())?);
        }
        result => result?,
    };
    let entries = dir.entries()?;
    let is_ours = entries.iter().any(|entry| entry.name == UNFINISHED);
    let foreign = entries.iter().find(|entry| {
        let name = entry.name.to_string_lossy();
        let moved = is_ours && NAMES.contains(&name.as_ref());
        name != UNFINISHED && name != "lost+found" && !moved
    });
    match foreign {
        None => Ok(dir),
        Some(entry) => {
            let entry = entry.name.to_string_lossy().into_owned();
            Err(OpError::TargetNotEmpty { path: path.to_owned(), entry })
        }
    }
}

/// Removes what an interrupted run has left: its tree, and what it had moved out of that, by the names in its intent.
fn clear(target: &Dir, unfinished: &Dir) -> Result<(), OpError> {
    let intent: Option<Intent> =
        unfinished.find_and_read(INTENT, INTENT_LIMIT_BYTES)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    for name in intent.iter().flat_map(|intent| &intent.names).filter(|name| NAMES.contains(&name.as_str())) {
        exec::remove_tree(target, name, &|_| ())?;
    }
    target.sync()?;
    exec::remove_tree(unfinished, TREE, &|_| ())?;
    if unfinished.find(INTENT)?.is_some() {
        unfinished.remove_file(INTENT)?;
    }
    if let Some(entry) = target.entries()?.iter().find(|entry| entry.name != UNFINISHED && entry.name != "lost+found") {
        // Without an intent nothing says that it is ours.
        let entry = entry.name.to_string_lossy().into_owned();
        return Err(OpError::TargetNotEmpty { path: target.path().to_owned(), entry });
    }
    Ok(())
}

fn fill(
    source: &Source,
    request: &ToDirectory,
    stages: &Stages<'_>,
    target: &Dir,
    unfinished: &Dir,
) -> Result<(Vec<TableReport>, Vec<String>), OpError> {
    let tree = unfinished.ensure_dir(TREE, 0o750)?;
    let stop = |_| {
        if request.interrupted.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let restorer = PartRestorer::new(request.mode, None, CopyMeans::new(true, None, &stop));
    let (mut tables, mut warnings) = (Vec::new(), Vec::new());
    let parts = source.tables.iter().map(|table| table.parts.len() as u64).sum();
    stages.start(Stage::Place, Some(Work { parts, ..Work::default() }));
    let inside = stages.enter(Stage::Place);
    for table in &source.tables {
        if table.has_parts() {
            tables.push(fill_table(source, table, &tree, &restorer, (request, stages.monitor()))?);
        } else {
            let name = table.name();
            let mut report = TableReport::new(&name, &name, &table.entry.engine, TableState::Created);
            if table.entry.definition.is_none() {
                report.state = TableState::Failed;
                report.reason = Some(NotRestored::Impossible("it is not in the snapshot".to_owned()));
            }
            tables.push(report);
        }
    }
    drop(inside);
    stages.finish(Stage::Place);
    write_definitions(source, &tree)?;
    if source.tables.iter().any(|table| table.entry.state == crate::repo::TableState::DataLeft) {
        warnings.push("of tables whose data could not be taken only the definitions are there".to_owned());
    }
    // What the new files lack, once and not for every file.
    stages.run(Stage::Seal, || -> Result<(), OpError> {
        let names: Vec<String> =
            tree.entries()?.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect();
        let intent = serde_json::to_vec(&Intent { names: names.clone() }).expect("an intent has only strings");
        unfinished.replace(INTENT, 0o600, &intent)?;
        target.sync()?;
        unfinished.sync_filesystem()?;
        for name in &names {
            target.rename_from(&tree, name, name)?;
        }
        target.sync()?;
        // From here on it is whole: what says that it is not goes last, and its own contents before it.
        exec::remove_tree(unfinished, TREE, &|_| ())?;
        unfinished.remove_file(INTENT)?;
        exec::remove_tree(target, UNFINISHED, &|_| ())?;
        Ok(target.sync()?)
    })?;
    Ok((tables, warnings))
}

fn fill_table(
    source: &Source,
    table: &SourceTable,
    tree: &Dir,
    restorer: &PartRestorer<'_>,
    (request, monitor): (&ToDirectory, &dyn Monitor),
) -> Result<TableReport, OpError> {
    let name = table.name();
    let mut report = TableReport::new(&name, &name, &table.entry.engine, TableState::Restored);
    let database = escape_for_file_name(&name.database);
    let above = tree.ensure_dir("data", 0o750)?.ensure_dir(&database, 0o750)?;
    let dir = above.ensure_dir(escape_for_file_name(&name.table), 0o750)?;
    // The directory of an empty table can be missing from a snapshot that was copied by other tools.
    let Some(from) = source.dir().find_beneath(&table.data_path())? else { return Ok(report) };
    let placed: Vec<RestoredPart> = (table.parts.par_iter())
        .map(|part| {
            if request.interrupted.load(Ordering::Relaxed) {
                return Err(OpError::Interrupted);
            }
            let part_now = restorer.restore_part(&from.open_dir(part.part.as_str())?, &dir, part.part.as_str())?;
            let work = Work { parts: 1, files: part_now.files, bytes: part_now.bytes, ..Work::default() };
            monitor.advanced(Stage::Place, work);
            Ok(part_now)
        })
        .collect::<Result<_, OpError>>()?;
    for (mutation, bytes) in source.mutations(table)? {
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
        report.warnings.push(format!("copies do not have all that the snapshot's files have: {}", unkept.join(", ")));
    }
    dir.keep_metadata_of(&from)?;
    Ok(report)
}

fn write_definitions(source: &Source, tree: &Dir) -> Result<(), OpError> {
    let of_tables: Vec<&String> = source.tables.iter().filter_map(|table| table.entry.definition.as_ref()).collect();
    let is_wanted = |database: &str| source.tables.iter().any(|table| table.entry.database == database);
    let databases = source.manifest.databases.iter();
    let of_databases: Vec<&String> = databases
        .filter(|entry| source.is_whole || is_wanted(&entry.database))
        .map(|entry| &entry.definition)
        .collect();
    for file in &source.manifest.metadata {
        let is_beside = !file.path.starts_with("data/") && !file.path.starts_with("metadata/");
        let is_asked_for = of_tables.contains(&&file.path) || of_databases.contains(&&file.path);
        if !(is_asked_for || source.is_whole && is_beside) {
            continue;
        }
        let bytes = source.metadata(&file.path)?;
        let relative = Path::new(&file.path);
        let mut dir = tree.clone();
        for component in relative.parent().unwrap_or(Path::new("")).components() {
            dir = dir.ensure_dir(component.as_os_str(), 0o750)?;
        }
        dir.write_unsynced(relative.file_name().unwrap_or_default(), 0o600, &bytes)?;
    }
    Ok(())
}
