//! A trial: tables of a snapshot are restored beside everything else, read to the last value, compared, and dropped.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::exec::{self, RestoreMode};
use crate::model::{DRILL_PREFIX, PartName, PathMap, SnapshotId, TableName, run_name};
use crate::monitor::{Monitor, Stage, Work};
use crate::plan::{Renames, Replicated, RestoreOptions, SnapshotReference, TablePattern, TableRename};
use crate::repo::{Event, PartDigest, Repository};
use crate::server::{self, Server, sql};

use super::create::digest;
use super::disks::LocalDisks;
use super::error::OpError;
use super::restore::{
    LockedDir, Recovers, Source, SourceTable, Statements, TableReport, TableState, TargetSurvey, ToServer, Wanted,
    abandoned, prepare_recovering, random,
};
use super::stages::Stages;

/// What is asked of a trial.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Tables to try; all where empty.
    pub tables: Vec<TablePattern>,
    /// So many of them, by chance; all where there is none.
    pub sample: Option<usize>,
    /// How files may come to the server.
    pub mode: RestoreMode,
    /// Threads that work on the filesystem.
    pub jobs: usize,
    /// How the server's paths are to be read here.
    pub paths: PathMap,
    /// How long to wait for the lock, when the proof is written down.
    pub lock_wait: Duration,
    /// Becomes true when the program should stop.
    pub interrupted: Arc<AtomicBool>,
}

/// How the sums of the parts of one table compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Digests {
    /// Parts that give the sum that was recorded.
    pub equal: u64,
    /// Parts that give another one.
    pub different: u64,
    /// Parts of which none was recorded, or that the server merged before they were read.
    pub unknown: u64,
}

/// What the trial of one table gave.
#[derive(Clone, Debug, Serialize)]
pub struct TriedTable {
    /// How it was restored.
    #[serde(flatten)]
    pub restored: TableReport,
    /// Rows that a query counts.
    pub counted_rows: u64,
    /// How its sums compare.
    pub digests: Digests,
    /// Whether it is what the snapshot says: restored, read to its end, and nothing different.
    pub is_proven: bool,
}

/// What a trial gave.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its tables.
    pub tables: Vec<TriedTable>,
    /// Tables with parts that the snapshot has.
    pub tables_in_snapshot: usize,
    /// What the person should know.
    pub warnings: Vec<String>,
    /// Seconds spent in each stage, and in all of them together as `total`.
    pub seconds: BTreeMap<&'static str, f64>,
}

impl Proof {
    /// Whether every table that was tried is what the snapshot says.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.tables.iter().all(|table| table.is_proven)
    }
}

/// Restores a snapshot, or some tables of it, into a database of its own, compares what is there with what was recorded
/// when the snapshot was made, drops it, and writes the outcome into the journal.
///
/// # Errors
/// If nothing could be tried. What is wrong with single tables is in the proof.
pub fn drill(
    repository: &Repository,
    server: &Server,
    reference: &SnapshotReference,
    trial: &Trial,
    now: &(dyn Fn() -> DateTime<Utc> + Sync),
    monitor: &dyn Monitor,
) -> Result<Proof, OpError> {
    let begun = std::time::Instant::now();
    repository.check_writable_format()?;
    let stages = Stages::new(monitor);
    let chosen = choose(repository, reference, trial)?;
    let surveyed = TargetSurvey::read(repository, server, &trial.paths, false)?;
    let mut warnings = stages.run(Stage::Recover, || sweep(server, &surveyed.local))?;
    let scratch = Scratch::make(server, &surveyed.local, now())?;
    let result = try_tables(repository, server, trial, &chosen, &scratch, (now(), &stages));
    let removed = scratch.remove();
    let mut tables = match (result, removed) {
        (Ok(tables), Ok(())) => tables,
        (Ok(tables), Err(error)) => {
            warnings.push(format!("the next drill has to drop its database: {}", crate::monitor::chain(&error)));
            tables
        }
        (Err(error), Ok(())) => return Err(error),
        (Err(error), Err(left)) => {
            let pending = format!("{} (the next drill drops it)", crate::monitor::chain(&left));
            return Err(OpError::Unfinished { error: Box::new(error), pending });
        }
    };
    tables.sort_by(|a, b| a.restored.from.cmp(&b.restored.from));
    let mut proof = Proof {
        snapshot: chosen.id,
        tables,
        tables_in_snapshot: chosen.tables_in_snapshot,
        warnings,
        seconds: BTreeMap::new(),
    };
    let written =
        repository.lock("drill", now(), trial.lock_wait).and_then(|locked| locked.record(now(), &event(&proof)));
    if let Err(error) = written {
        proof.warnings.push(format!("the proof is not in the journal: {}", crate::monitor::chain(&error)));
    }
    proof.seconds = stages.seconds();
    proof.seconds.insert("total", begun.elapsed().as_secs_f64());
    Ok(proof)
}

fn event(proof: &Proof) -> Event {
    let sum = |figure: fn(&TriedTable) -> u64| proof.tables.iter().map(figure).fold(0, u64::saturating_add);
    Event::Drilled {
        id: proof.snapshot,
        tables: proof.tables.len() as u64,
        of_tables: proof.tables_in_snapshot as u64,
        failed: proof.tables.iter().filter(|table| !table.is_proven).count() as u64,
        parts: sum(|table| table.restored.parts),
        rows: sum(|table| table.restored.rows),
        digests: sum(|table| table.digests.equal),
    }
}

/// What will be tried.
struct Chosen {
    id: SnapshotId,
    tables: Vec<SourceTable>,
    tables_in_snapshot: usize,
}

fn choose(repository: &Repository, reference: &SnapshotReference, trial: &Trial) -> Result<Chosen, OpError> {
    let wanted = Wanted { tables: trial.tables.clone(), ..Wanted::default() };
    let source = Source::open(repository, reference, &wanted)?;
    let has_parts = |table: &&SourceTable| table.has_parts() && !table.parts.is_empty();
    let tables_in_snapshot = source.manifest.tables.iter().filter(|entry| entry.parts > 0).count();
    let mut tables: Vec<SourceTable> = source.tables.iter().filter(has_parts).cloned().collect();
    if let Some(sample) = trial.sample {
        // Another choice each time: night by night all tables have their turn.
        let mut keyed = tables.into_iter().map(|table| Ok((random()?, table))).collect::<Result<Vec<_>, OpError>>()?;
        keyed.sort_by_key(|(key, _)| *key);
        tables = keyed.into_iter().take(sample).map(|(_, table)| table).collect();
    }
    if tables.is_empty() {
        return Err(OpError::NotInSnapshot { names: vec!["table with parts to try".to_owned()] });
    }
    Ok(Chosen { id: source.id, tables, tables_in_snapshot })
}

/// A database of our own, and a locked directory of the same name next to the server's data that tells whose it is.
struct Scratch<'a> {
    name: String,
    server: &'a Server,
    local: &'a LocalDisks,
    _dir: LockedDir,
}

impl<'a> Scratch<'a> {
    fn make(server: &'a Server, local: &'a LocalDisks, now: DateTime<Utc>) -> Result<Self, OpError> {
        let own = local.own().expect("the server's own disk is open");
        let name = run_name(DRILL_PREFIX, now, random()?);
        let dir = LockedDir::create(&own.dir, &name)?;
        let statements = Statements::new(server, &name)?;
        let made = statements.run(&format!("CREATE DATABASE {}", sql::quote_name(&name)));
        let scratch = Self { name, server, local, _dir: dir };
        if let Err(error) = made {
            scratch.remove()?;
            return Err(error.into());
        }
        Ok(scratch)
    }

    fn remove(self) -> Result<(), OpError> {
        drop_scratch(self.server, self.local, &self.name)
    }
}

fn drop_scratch(server: &Server, local: &LocalDisks, name: &str) -> Result<(), OpError> {
    let sync = if server.features().has_column("tables", "uuid") { " SYNC" } else { "" };
    let statements = Statements::new(server, name)?;
    let tables = server::survey(server, false)?;
    // One by one: a database with a table that is too large to be dropped unasked is not dropped.
    for table in tables.tables.iter().filter(|table| table.name().database == *name) {
        statements.drop_table(table.name(), table.key.uuid.is_some())?;
    }
    statements.run(&format!("DROP DATABASE IF EXISTS {}{sync}", sql::quote_name(name)))?;
    if let Some(own) = local.own() {
        exec::remove_tree(&own.dir, name, &|_| ())?;
    }
    Ok(())
}

/// Drops what interrupted drills have left.
fn sweep(server: &Server, local: &LocalDisks) -> Result<Vec<String>, OpError> {
    let Some(own) = local.own() else { return Ok(Vec::new()) };
    let mut warnings = Vec::new();
    let left = abandoned(&own.dir, DRILL_PREFIX)?;
    for name in left.hidden {
        exec::remove_tree(&own.dir, &name, &|_| ())?;
    }
    for name in left.names {
        if let Err(error) = drop_scratch(server, local, &name) {
            warnings.push(format!("the database {name} of an interrupted drill: {}", crate::monitor::chain(&error)));
        }
    }
    Ok(warnings)
}

fn try_tables(
    repository: &Repository,
    server: &Server,
    trial: &Trial,
    chosen: &Chosen,
    scratch: &Scratch<'_>,
    (now, stages): (DateTime<Utc>, &Stages<'_>),
) -> Result<Vec<TriedTable>, OpError> {
    let names = chosen.tables.iter().map(SourceTable::name);
    let renames: Vec<TableRename> = names
        .enumerate()
        .map(|(number, name)| TableRename::new(name, TableName::new(scratch.name.clone(), format!("t{number}"))))
        .collect();
    let exact = |table: &SourceTable| TablePattern::exactly(&table.name());
    let request = ToServer {
        wanted: Wanted { tables: chosen.tables.iter().map(exact).collect(), ..Wanted::default() },
        options: RestoreOptions {
            selects: true,
            renames: Renames::new(renames, Vec::new()),
            // A trial has no business in Keeper.
            replicated: Replicated::AsMergeTree,
            ..RestoreOptions::default()
        },
        keep_replaced: false,
        mode: trial.mode,
        jobs: trial.jobs,
        paths: trial.paths.clone(),
        interrupted: Arc::clone(&trial.interrupted),
    };
    let reference = SnapshotReference::Prefix(chosen.id.to_string());
    let prepared = prepare_recovering(repository, server, &reference, &request, Recovers::OwnDrills, stages.monitor())?;
    let version = prepared.server_version();
    let report = prepared.run(now, stages.monitor())?;
    let statements = Statements::new(server, &scratch.name)?;
    for table in report.tables.iter().filter(|table| table.state == TableState::Restored) {
        statements.run(&sql::stop_merges(&table.name()))?;
    }
    stages.run(Stage::Check, || {
        let tables = report.tables.into_iter();
        tables.map(|table| read(server, table, chosen, (&version, stages.monitor()))).collect()
    })
}

/// Reads a restored table to the last value.
fn read(
    server: &Server,
    restored: TableReport,
    chosen: &Chosen,
    (version, monitor): (&str, &dyn Monitor),
) -> Result<TriedTable, OpError> {
    let mut tried = TriedTable { counted_rows: 0, digests: Digests::default(), is_proven: false, restored };
    if tried.restored.state != TableState::Restored {
        return Ok(tried);
    }
    let name = tried.restored.name();
    let row_sum = server::row_sum(server, &name)?;
    let sums = match server::part_sums(server, &name, &row_sum, &[]) {
        Ok(sums) => sums,
        Err(error @ server::ServerError::Exception { .. }) => {
            // What the server cannot read is what a trial is for.
            tried.restored.state = TableState::Failed;
            tried.restored.reason = Some(crate::monitor::chain(&error));
            return Ok(tried);
        }
        Err(error) => return Err(error.into()),
    };
    tried.counted_rows = sums.iter().fold(0, |rows: u64, sum| rows.saturating_add(sum.rows));
    let kind = digest::kind(version, row_sum.expression());
    let by_name: HashMap<&PartName, &server::PartSum> = sums.iter().map(|sum| (&sum.part, sum)).collect();
    let source = chosen.tables.iter().find(|table| table.name() == tried.restored.from);
    let mut different = Vec::new();
    for part in source.iter().flat_map(|table| &table.parts).filter(|part| !part.part.is_patch()) {
        let recorded = part.digest.as_deref().filter(|digest: &&PartDigest| digest.of == kind);
        match (recorded, by_name.get(&part.part)) {
            (Some(digest), Some(sum)) if digest.sum == sum.sum && digest.rows == sum.rows => tried.digests.equal += 1,
            (Some(_), Some(_)) => {
                tried.digests.different += 1;
                different.push(part.part.to_string());
            }
            _ => tried.digests.unknown += 1,
        }
    }
    if let Some(first) = different.first() {
        tried.restored.state = TableState::Failed;
        tried.restored.reason =
            Some(format!("{} parts have other values than when they were taken: {first} first", different.len()));
    }
    tried.is_proven = different.is_empty();
    monitor.advanced(Stage::Check, Work { tables: 1, parts: tried.restored.parts, ..Work::default() });
    Ok(tried)
}
