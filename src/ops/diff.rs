//! What changed between two snapshots, or from one to the server.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::exec;
use crate::fs::{Dir, ErrorKind, FsError};
use crate::model::{
    PartName, PartitionId, PathMap, SnapshotId, Table, TableName, TableUuid, Warning, WarningKind, escape_for_file_name,
};
use crate::plan::diff::{Content, Diff, DumpedRows, Held, Pairs, Side, SidePart, SideTable, diff};
use crate::plan::{CreatePlan, Definition, DumpOptions, Selection, SnapshotReference, plan_create, released_text};
use crate::repo::{self, Manifest, PartRecord, Repository, Settings, TableEntry, TableState, read_parts};
use crate::server::{self, DetachedRow, Server, ServerError};

use super::bound::{bound_server, same_server};
use super::disks::{DEFINITION_LIMIT_BYTES, LocalDisks, foreign_disk};
use super::error::OpError;
use super::read::show;
use super::restore::held_tables;

/// Two states of the tables, and what changed from one to the other.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The earlier state.
    pub before: (SnapshotId, DateTime<Utc>),
    /// The later state; the server as it is where it is none.
    pub after: Option<(SnapshotId, DateTime<Utc>)>,
    /// What changed.
    pub diff: Diff,
    /// Tables that one of the two was told to leave out.
    pub not_compared: Vec<TableName>,
    /// What the person should know.
    pub warnings: Vec<Warning>,
}

/// Compares two snapshots. Asks no server.
///
/// # Errors
/// If there is no such snapshot, or one cannot be read.
pub fn diff_snapshots(
    repository: &Repository,
    before: &SnapshotReference,
    after: &SnapshotReference,
) -> Result<Compared, OpError> {
    let (before, after) = (Snapshot::read(repository, before)?, Snapshot::read(repository, after)?);
    let names: Vec<TableName> = before.table_names().chain(after.table_names()).collect();
    let selections = [before.selection()?, after.selection()?].map(|selection| selection.resolved(&names.iter()));
    let mut not_compared = BTreeSet::new();
    let mut earlier = before.side(&selections, &mut not_compared)?;
    let later = after.side(&selections, &mut not_compared)?;
    // Where no hash says it, the inodes may: the parts of neighbours are links of each other.
    for (name, was) in pairs(&earlier, &later) {
        let Some(table) = earlier.tables.get_mut(&was) else { continue };
        mark_same_files(table, before.table_dir(&was)?.as_ref(), after.table_dir(&name)?.as_ref())?;
    }
    let mut warnings = Vec::new();
    if after.manifest.sequence < before.manifest.sequence {
        let message = format!(
            "{} was made before {}: what is called dropped here came later",
            after.manifest.id, before.manifest.id
        );
        warnings.push(Warning::new(WarningKind::ReverseOrder, message));
    }
    Ok(Compared {
        before: before.named(),
        after: Some(after.named()),
        diff: diff(&earlier, &later),
        not_compared: not_compared.into_iter().collect(),
        warnings,
    })
}

/// Compares a snapshot with what the server has now, within what the snapshot was told to take.
///
/// # Errors
/// If there is no such snapshot, it is another server's, or the server does not answer.
pub fn diff_live(
    repository: &Repository,
    before: &SnapshotReference,
    server: &Server,
    paths: &PathMap,
    jobs: usize,
) -> Result<Compared, OpError> {
    let before = Snapshot::read(repository, before)?;
    let identity = server::identity(server)?;
    let disks = server::disks(server)?;
    same_server(repository, &bound_server(&identity, &disks), false)?;
    let selection = before.selection()?;
    let catalog = server::survey(server, selection.names_system())?;
    let plan = plan_create(&catalog, &selection, |path| foreign_disk(&disks, path), |_, _| false);
    let mut warnings = Vec::new();
    let tables = plan.freeze.iter().map(|freeze| &freeze.table);
    let local = LocalDisks::open(repository, &disks, tables, paths).map_err(|error| {
        let error = crate::monitor::chain(&error);
        let message = format!("parts are compared by what the server says of them alone: {error}");
        warnings.push(Warning::new(WarningKind::LiveFilesUnreadable, message));
    });
    let local = local.ok();
    let printed = server::definitions(server, selection.names_system())?;
    let held = local.as_ref().map(held_tables).transpose()?.unwrap_or_default();
    // The definition that was meant, of a table that a restore holds.
    let meant = |table: &Table, text: String| {
        let held = held.iter().find(|held| held.is(table.name(), table.key.uuid.as_ref()));
        held.and_then(|held| released_text(&text, &held.settings)).unwrap_or(text)
    };
    let definition = |table: &Table| {
        let file = local.as_ref().and_then(|local| local.read_definition(&table.metadata_path));
        let file = file.map(|text| (String::from_utf8_lossy(&text).into_owned(), true));
        let found = file.or_else(|| printed.get(table.name()).map(|text| (text.clone(), false)));
        found.map(|(text, is_file)| (meant(table, text), is_file))
    };
    let side_table = |table: &Table, held: Held| {
        let key = &table.key;
        (key.name.clone(), SideTable { uuid: key.uuid.clone(), definition: definition(table), held })
    };
    let mut not_compared = BTreeSet::new();
    let names: Vec<TableName> = before.table_names().chain(catalog.names().cloned()).collect();
    let mut earlier = before.side(&[selection.resolved(&names.iter())], &mut not_compared)?;
    let mut later = Side { name: "live".to_owned(), tables: BTreeMap::new() };
    for freeze in &plan.freeze {
        let parts = freeze.parts().map(|part| SidePart {
            name: part.name.clone(),
            partition: part.partition.clone(),
            rows: Some(part.rows),
            bytes: part.bytes,
            content: Content { fingerprint: part.fingerprint, ..Content::default() },
        });
        let (name, side) = side_table(&freeze.table, Held::Parts(parts.collect()));
        later.tables.insert(name, side);
    }
    later.tables.extend(plan.definitions.iter().map(|table| side_table(table, Held::Nothing)));
    let left = plan.left_behind.iter().map(|(table, reason)| side_table(table, Held::Left(reason.to_string())));
    later.tables.extend(left);
    let was_dumped = |name: &TableName| matches!(earlier.tables.get(name), Some(SideTable { held: Held::Dump(_), .. }));
    // Of a table that was dumped by another choice, Memory say, the rows are counted as well.
    let left = plan.left_behind.iter().map(|(table, _)| table).filter(|table| was_dumped(table.name()));
    for table in plan.dumps.iter().map(|dump| &dump.table).chain(left) {
        let (name, side) = side_table(table, live_held(server, table)?);
        later.tables.insert(name, side);
    }
    let live = catalog.tables.iter().map(|table| table.name().clone());
    let found: BTreeSet<TableName> = pairs(&earlier, &later).into_iter().map(|(_, was)| was).chain(live).collect();
    let gone: Vec<TableName> = earlier.tables.keys().filter(|name| !found.contains(name)).cloned().collect();
    if !gone.is_empty() {
        let places = DetachedTables::read(server, local.as_ref())?;
        for name in &gone {
            let uuid = earlier.tables.get(name).and_then(|table| table.uuid.as_ref());
            match places.find(name, uuid) {
                Ok(found) => later.tables.extend(found.filter(|(name, _)| !later.tables.contains_key(name))),
                Err(error) => {
                    let error = crate::monitor::chain(&error);
                    let message = format!("{name} is called dropped, and may be detached: {error}");
                    warnings.push(Warning::of_table(WarningKind::LiveFilesUnreadable, name, message));
                }
            }
        }
    }
    if let Some(local) = &local {
        compare_files(&before, local, &plan, (&mut earlier, &mut later), jobs)?;
    }
    Ok(Compared {
        before: before.named(),
        after: None,
        diff: diff(&earlier, &later),
        not_compared: not_compared.into_iter().collect(),
        warnings,
    })
}

/// The rows that a live table without parts has.
fn live_held(server: &Server, table: &Table) -> Result<Held, OpError> {
    let rows = match table.engine.as_str() {
        "Set" => server::total_rows(server, table.name()),
        _ => server::count_rows(server, table.name()).map(Some),
    };
    Ok(match rows {
        Ok(Some(0)) => Held::Nothing,
        Ok(rows) => Held::Dump(DumpedRows { rows, digest: None }),
        Err(error @ (ServerError::Exception { .. } | ServerError::Cut { .. })) => {
            Held::Left(crate::monitor::chain(&error))
        }
        Err(error) => return Err(error.into()),
    })
}

/// The tables that both sides have: the later name and the earlier one.
fn pairs(before: &Side, after: &Side) -> Vec<(TableName, TableName)> {
    let pairs = Pairs::new(before, after);
    after.tables.keys().filter_map(|name| Some((name.clone(), pairs.earlier(name)?.clone()))).collect()
}

/// Compares the files of live parts with those of the snapshot's, where the server's answers say less.
fn compare_files(
    before: &Snapshot,
    local: &LocalDisks,
    plan: &CreatePlan,
    (earlier, later): (&mut Side, &mut Side),
    jobs: usize,
) -> Result<(), OpError> {
    let pool = exec::pool(jobs)?;
    let names: HashMap<TableName, TableName> = pairs(earlier, later).into_iter().collect();
    for table in plan.freeze.iter().map(|freeze| &freeze.table) {
        let Some(was) = names.get(table.name()) else { continue };
        let (held, now) = (earlier.tables.get_mut(was), later.tables.get_mut(table.name()));
        let (Some(held), Some(SideTable { held: Held::Parts(parts), .. })) = (held, now) else { continue };
        let held_dir = before.table_dir(was)?;
        for live in local.live(table)? {
            pool.install(|| mark_same_files(held, held_dir.as_ref(), Some(&live.dir)))?;
            pool.install(|| look_at_others(held, &live.dir, parts))?;
        }
    }
    Ok(())
}

/// Where a server may have tables that are detached.
struct DetachedTables<'a> {
    /// What the server lists, of databases that are attached.
    rows: Vec<DetachedRow>,
    /// The directories of the definitions of attached databases.
    metadata_paths: HashMap<String, PathBuf>,
    /// The server's disks, where they are visible.
    local: Option<&'a LocalDisks>,
}

impl<'a> DetachedTables<'a> {
    fn read(server: &Server, local: Option<&'a LocalDisks>) -> Result<Self, OpError> {
        let rows = server::detached_tables(server)?;
        let databases = server::databases(server)?.into_iter();
        let metadata_paths = databases.map(|row| (row.name, PathBuf::from(row.metadata_path))).collect();
        Ok(Self { rows, metadata_paths, local })
    }

    /// The table of this UUID or name, if it is detached: the server lists it, or its definition still stands where the
    /// server reads it from.
    fn find(&self, name: &TableName, uuid: Option<&TableUuid>) -> Result<Option<(TableName, SideTable)>, FsError> {
        let has_uuid = |row: &&DetachedRow| uuid.is_some_and(|uuid| row.uuid == uuid.as_str());
        let has_name = |row: &&DetachedRow| row.database == name.database && row.table == name.table;
        let listed = self.rows.iter().find(has_uuid).or_else(|| self.rows.iter().find(has_name));
        let (name, path, uuid) = if let Some(row) = listed {
            let name = TableName::new(row.database.clone(), row.table.clone());
            (name, PathBuf::from(&row.metadata_path), TableUuid::from_server(&row.uuid).ok().flatten())
        } else {
            let file = format!("{}.sql", escape_for_file_name(&name.table));
            let path = self.metadata_path(&name.database).join(file);
            if !self.is_there(&path)? {
                return Ok(None);
            }
            (name.clone(), path, None)
        };
        let text = self.local.and_then(|local| local.read_definition(&path));
        let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
        let uuid = uuid.or_else(|| Definition::parse(text.as_deref()?).ok()?.uuid);
        Ok(Some((name, SideTable { uuid, definition: text.map(|text| (text, true)), held: Held::Detached })))
    }

    /// Where the definitions of a database lie. That of a detached one still says its UUID.
    fn metadata_path(&self, database: &str) -> PathBuf {
        if let Some(path) = self.metadata_paths.get(database) {
            return path.clone();
        }
        let (metadata, escaped) = (Path::new("metadata"), escape_for_file_name(database));
        let text = self.local.and_then(|local| local.read_definition(&metadata.join(format!("{escaped}.sql"))));
        let definition = text.and_then(|text| Definition::parse(&String::from_utf8_lossy(&text)).ok());
        match definition.and_then(|definition| definition.uuid) {
            Some(uuid) => {
                let prefix = uuid.as_str().get(..3).unwrap_or_default();
                Path::new("store").join(prefix).join(uuid.as_str())
            }
            None => metadata.join(escaped),
        }
    }

    /// Whether a definition stands at this path of the server, or the mark of a table that is detached for good.
    fn is_there(&self, path: &Path) -> Result<bool, FsError> {
        let Some(own) = self.local.and_then(LocalDisks::own) else { return Ok(false) };
        let relative = if path.is_absolute() { own.disk.relative(path) } else { Some(path) };
        let Some((parent, name)) = relative.and_then(|path| Some((path.parent()?, path.file_name()?))) else {
            return Ok(false);
        };
        if parent.as_os_str().is_empty() {
            return Ok(false);
        }
        let Some(dir) = own.dir.find_beneath(parent)? else { return Ok(false) };
        let mut mark = name.to_owned();
        mark.push(".detached");
        Ok(dir.find(name)?.is_some() || dir.find(mark)?.is_some())
    }
}

/// Notes of the parts of a table which of them have the very files of the part of their name in `other`.
fn mark_same_files(table: &mut SideTable, own: Option<&Dir>, other: Option<&Dir>) -> Result<(), OpError> {
    let (Some(own), Some(other), Held::Parts(parts)) = (own, other, &mut table.held) else { return Ok(()) };
    let asked: Vec<(&PartName, &Dir)> = parts.iter().map(|part| (&part.name, other)).collect();
    let same = exec::unchanged_parts(&asked, own)?;
    for part in parts.iter_mut().filter(|part| same.contains(&part.name)) {
        part.content.is_the_same_files = true;
    }
    Ok(())
}

/// Of live parts that the snapshot has under the same name and with other inodes, or may have under another name: what their own checksums and small
/// files say, instead of what the server says. Files that the snapshot did not take are passed over.
fn look_at_others(held: &SideTable, live: &Dir, parts: &mut [SidePart]) -> Result<(), OpError> {
    let Held::Parts(held) = &held.held else { return Ok(()) };
    let others: HashMap<&PartName, &SidePart> =
        held.iter().filter(|part| !part.content.is_the_same_files).map(|part| (&part.name, part)).collect();
    let names: HashSet<&PartName> = parts.iter().map(|part| &part.name).collect();
    let gone = held.iter().filter(|part| !names.contains(&part.name));
    // One of these may have another name by now: then it has as many rows in the same partition.
    let gone: HashSet<(PartitionId, Option<u64>)> = gone.map(|part| (part.partition.clone(), part.rows)).collect();
    let look = |part: &mut SidePart| -> Result<(), FsError> {
        let was = others.get(&part.name);
        let may_be_moved = || part.content.fingerprint.is_none() && gone.contains(&(part.partition.clone(), part.rows));
        if was.is_none() && !may_be_moved() {
            return Ok(());
        }
        let Some(dir) = live.find_beneath(Path::new(part.name.as_str()))? else { return Ok(()) };
        let inspected = match exec::inspect_part(&dir) {
            // A merge has taken it away meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            inspected => inspected?,
        };
        part.content.fingerprint = inspected.fingerprint.or(part.content.fingerprint);
        let Some(was) = was else { return Ok(()) };
        let taken = |path: &str| was.content.uncovered.iter().flatten().any(|(held, ..)| held == path);
        let files = inspected.uncovered.iter().filter(|file| taken(&file.path));
        part.content.uncovered = Some(files.map(|file| (file.path, file.bytes, file.blake3)).collect());
        Ok(())
    };
    Ok(parts.par_iter_mut().try_for_each(look)?)
}

struct Snapshot {
    manifest: Manifest,
    dir: Dir,
    parts: Vec<PartRecord>,
}

impl Snapshot {
    fn read(repository: &Repository, reference: &SnapshotReference) -> Result<Self, OpError> {
        let manifest = show(repository, reference)?.manifest;
        let dir = repository.snapshot_dir(manifest.id)?;
        let parts = read_parts(&dir, &manifest.parts_blake3)?;
        Ok(Self { manifest, dir, parts })
    }

    fn named(&self) -> (SnapshotId, DateTime<Utc>) {
        (self.manifest.id, self.manifest.time)
    }

    fn table_names(&self) -> impl Iterator<Item = TableName> {
        self.manifest.tables.iter().map(TableEntry::name)
    }

    /// What `create` was told to take.
    fn selection(&self) -> Result<Selection, OpError> {
        let Settings { include, exclude, accept, partitions, .. } = &self.manifest.settings;
        let patterns = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
        let damaged = |error: crate::plan::InvalidTablePattern| crate::repo::RepoError::Damaged {
            path: self.dir.path().join("manifest.json"),
            reason: error.to_string(),
        };
        Ok(Selection {
            include: patterns(include).map_err(damaged)?,
            exclude: patterns(exclude).map_err(damaged)?,
            accept: patterns(accept).map_err(damaged)?,
            partitions: partitions.iter().map(|id| crate::model::PartitionId(id.into())).collect(),
            dumps: DumpOptions::default(),
        })
    }

    /// The directory of a table's parts.
    fn table_dir(&self, name: &TableName) -> Result<Option<Dir>, OpError> {
        let path = repo::table_path(name);
        Ok(self.dir.find_beneath(&path)?)
    }

    fn definition(&self, table: &TableEntry) -> Result<Option<(String, bool)>, OpError> {
        let Some(path) = table.definition.as_deref().map(Path::new) else { return Ok(None) };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let text = self.dir.open_beneath(parent)?.read(name, DEFINITION_LIMIT_BYTES)?;
        Ok(Some((String::from_utf8_lossy(&text).into_owned(), table.definition_is_file)))
    }

    /// The rows of a table without parts: those with the same files, or the same answer to the query that read them, are
    /// the same.
    fn dumped_rows(&self, table: &TableEntry) -> DumpedRows {
        let Some(dump) = &table.dump else { return DumpedRows { rows: None, digest: None } };
        let of_files = || {
            let listed = self.manifest.metadata.iter().filter(|file| dump.files.contains(&file.path));
            let mut files: Vec<String> = listed.map(|file| format!("{} {}", file.path, file.blake3)).collect();
            files.sort_unstable();
            files.join("\n")
        };
        DumpedRows { rows: dump.rows, digest: Some(dump.content_blake3.clone().unwrap_or_else(of_files)) }
    }

    /// What all selections take of the snapshot. Tables that one of them leaves out are noted.
    fn side(&self, selections: &[Selection], left_out: &mut BTreeSet<TableName>) -> Result<Side, OpError> {
        let mut side = Side { name: self.manifest.id.to_string(), tables: BTreeMap::new() };
        for table in self.manifest.tables.iter().filter(|table| !self.manifest.shows_dictionaries(&table.database)) {
            let name = table.name();
            if !selections.iter().all(|selection| selection.wants(&name)) {
                left_out.insert(name);
                continue;
            }
            let reason = || table.reason.clone().unwrap_or_else(|| "it was left out".to_owned());
            let held = match table.state {
                _ if table.dump.is_some() => Held::Dump(self.dumped_rows(table)),
                TableState::Taken => Held::default(),
                TableState::Definition => Held::Nothing,
                TableState::DataLeft | TableState::Skipped => Held::Left(reason()),
            };
            let definition = self.definition(table)?;
            side.tables.insert(name, SideTable { uuid: table.uuid.clone(), definition, held });
        }
        for record in &self.parts {
            let name = record.table_name();
            let wanted = record.part.is_patch()
                || selections.iter().all(|selection| selection.wants_partition(&record.partition));
            if let (true, Some(SideTable { held: Held::Parts(parts), .. })) = (wanted, side.tables.get_mut(&name)) {
                parts.push(part_of(record));
            }
        }
        Ok(side)
    }
}

fn part_of(record: &PartRecord) -> SidePart {
    let uncovered = record.uncovered.iter().map(|file| (file.path, file.bytes, file.blake3));
    SidePart {
        name: record.part.clone(),
        partition: record.partition.clone(),
        rows: record.rows,
        bytes: record.bytes,
        content: Content {
            fingerprint: record.fingerprint,
            uncovered: Some(uncovered.collect()),
            is_the_same_files: false,
        },
    }
}
