//! The changes between two snapshots, or from one to the server.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rayon::prelude::*;

use crate::exec;
use crate::fs::{Dir, ErrorKind, FsError};
use crate::model::{
    CatalogPart, PartName, PartitionId, PathMap, SnapshotId, Table, TableName, TableUuid, Warning, WarningKind,
    escape_for_file_name,
};
use crate::plan::diff::{ComparableContent, Diff, DiffSide, DumpedRows, Pairs, SideContent, SidePart, SideTable, diff};
use crate::plan::{
    CreatePlan, DumpOptions, ParsedDefinition, Placing, SnapshotReference, TableSelection, plan_create, released_text,
};
use crate::repo::{self, CreateSettings, Manifest, PartRecord, Repository, TableEntry, TableState, read_parts};
use crate::server::{self, DetachedTableRow, Server, ServerError};

use super::bound::{bound_server, same_server};
use super::disks::{DEFINITION_LIMIT_BYTES, LocalDisks, foreign_disk};
use super::error::OpError;
use super::read::show;
use super::restore::held_tables;
use super::unlisted::detached_table;

/// Two states of the tables, and what changed from one to the other.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Compared {
    /// The earlier state.
    pub before: (SnapshotId, DateTime<Utc>),
    /// The later state; `None` for the server's present state.
    pub after: Option<(SnapshotId, DateTime<Utc>)>,
    /// The changes.
    pub diff: Diff,
    /// Tables that the selection of one of the two excludes.
    pub not_compared: Vec<TableName>,
    /// The warnings for the user.
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
    let (before, after) = (SnapshotToCompare::read(repository, before)?, SnapshotToCompare::read(repository, after)?);
    let names: Vec<TableName> = before.table_names().chain(after.table_names()).collect();
    let selections = [before.selection()?, after.selection()?].map(|selection| selection.resolved(&names.iter()));
    let mut not_compared = BTreeSet::new();
    let mut earlier = before.side(&selections, &mut not_compared)?;
    let later = after.side(&selections, &mut not_compared)?;
    // If no hash proves equality, the inodes may: parts of neighboring snapshots are links to the same files.
    for (name, was) in pairs(&earlier, &later) {
        let Some(table) = earlier.tables.get_mut(&was) else { continue };
        mark_same_files(table, before.table_dir(&was)?.as_ref(), after.table_dir(&name)?.as_ref())?;
    }
    let mut warnings = Vec::new();
    if after.manifest.sequence < before.manifest.sequence {
        let message = format!(
            "{} was made before {}: what is reported as dropped here was added later",
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

/// Compares a snapshot with the server's present state, within the snapshot's selection.
///
/// # Errors
/// If there is no such snapshot, it belongs to another server, or the server does not answer.
pub fn diff_live(
    repository: &Repository,
    before: &SnapshotReference,
    server: &Server,
    paths: &PathMap,
    jobs: usize,
) -> Result<Compared, OpError> {
    let before = SnapshotToCompare::read(repository, before)?;
    let identity = server::identity(server)?;
    let disks = server::disks(server)?;
    same_server(repository, &bound_server(&identity, &disks), false)?;
    let selection = before.selection()?;
    let catalog = server::survey(server, selection.names_system())?;
    let plan = plan_create(&catalog, &selection, |path| foreign_disk(&disks, path), |_, _| false, Placing::Linked);
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
    // The intended definition of a table that a restore holds.
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
    let side_table = |table: &Table, held: SideContent| {
        let key = &table.key;
        (key.name.clone(), SideTable { uuid: key.uuid.clone(), definition: definition(table), held })
    };
    let mut not_compared = BTreeSet::new();
    let names: Vec<TableName> = before.table_names().chain(catalog.names().cloned()).collect();
    let mut earlier = before.side(&[selection.resolved(&names.iter())], &mut not_compared)?;
    let mut later = DiffSide { name: "live".to_owned(), tables: BTreeMap::new() };
    for freeze in &plan.freeze {
        let parts = freeze.parts().map(|part| SidePart {
            name: part.name.clone(),
            partition: part.partition.clone(),
            rows: Some(part.rows),
            bytes: part.bytes,
            content: ComparableContent { fingerprint: part.fingerprint, ..ComparableContent::default() },
        });
        let (name, side) = side_table(&freeze.table, SideContent::Parts(parts.collect()));
        later.tables.insert(name, side);
    }
    later.tables.extend(plan.definitions.iter().map(|table| side_table(table, SideContent::Nothing)));
    let left = plan.left_behind.iter().map(|(table, reason)| side_table(table, SideContent::Left(reason.to_string())));
    later.tables.extend(left);
    let was_dumped =
        |name: &TableName| matches!(earlier.tables.get(name), Some(SideTable { held: SideContent::Dump(_), .. }));
    // The rows of a table that was dumped under another option, for example Memory, are counted as well.
    let left = plan.left_behind.iter().map(|(table, _)| table).filter(|table| was_dumped(table.name()));
    for table in plan.dumps.iter().map(|dump| &dump.table).chain(left) {
        let (name, side) = side_table(table, live_held(server, table)?);
        later.tables.insert(name, side);
    }
    let live: Vec<TableName> = catalog.tables.iter().map(|table| table.name().clone()).collect();
    warnings.extend(add_detached(server, local.as_ref(), &before, &live, (&earlier, &mut later))?);
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

/// Adds the tables of the snapshot that are detached now to the later side: they are not dropped. Returns the warnings.
fn add_detached(
    server: &Server,
    local: Option<&LocalDisks>,
    before: &SnapshotToCompare,
    live: &[TableName],
    (earlier, later): (&DiffSide, &mut DiffSide),
) -> Result<Vec<Warning>, OpError> {
    let mut warnings = Vec::new();
    let was = pairs(earlier, later).into_iter().map(|(_, was)| was);
    let found: BTreeSet<TableName> = was.chain(live.iter().cloned()).collect();
    let gone: Vec<&TableName> = earlier.tables.keys().filter(|name| !found.contains(name)).collect();
    if gone.is_empty() {
        return Ok(warnings);
    }
    let places = DetachedTables::read(server, local)?;
    for name in gone {
        let uuid = earlier.tables.get(name).and_then(|table| table.uuid.as_ref());
        let detached = match places.find(name, uuid) {
            Ok(found) => found.filter(|(name, _)| !later.tables.contains_key(name)),
            Err(error) => {
                let error = crate::monitor::chain(&error);
                let message = format!("{name} is called dropped, and may be detached: {error}");
                warnings.push(Warning::of_table(WarningKind::LiveFilesUnreadable, name, message));
                continue;
            }
        };
        let Some((found_name, side)) = detached else { continue };
        let was_detached = before.manifest.tables.iter().any(|entry| entry.is_detached && entry.name() == *name);
        let was_bare = earlier.tables.get(name).is_some_and(|table| table.held == SideContent::Nothing);
        let side = match local {
            // A view has nothing but its definition.
            _ if was_detached && was_bare && side.definition.is_some() => {
                SideTable { held: SideContent::Nothing, ..side }
            }
            // A table that was detached then as well is unchanged if its directories hold the same.
            Some(local) if was_detached => still_detached(local, &found_name, side),
            _ => side,
        };
        later.tables.insert(found_name, side);
    }
    Ok(warnings)
}

/// A detached table with the parts in its directories, if they can be read here.
fn still_detached(local: &LocalDisks, name: &TableName, side: SideTable) -> SideTable {
    let parts = || {
        let (text, _) = side.definition.as_ref()?;
        let table = detached_table(local, name, text)?;
        let mut parts = Vec::new();
        for live in local.live(&table).ok()? {
            let is_here = |part: &&CatalogPart| part.disk.as_str() == live.disk;
            for part in table.parts.iter().filter(is_here) {
                parts.push(described_part(&live.dir, part)?);
            }
        }
        Some(SideContent::Parts(parts))
    };
    let held = if side.definition.is_some() { parts() } else { None };
    SideTable { held: held.unwrap_or(SideContent::Detached), ..side }
}

/// A part described from its files, or `None` if they cannot be read.
fn described_part(table: &Dir, part: &CatalogPart) -> Option<SidePart> {
    let inspected = exec::inspect_part(&table.open_dir(part.name.as_str()).ok()?).ok()?;
    let uncovered = inspected.uncovered.iter().map(|file| (file.path, file.bytes, file.blake3));
    Some(SidePart {
        name: part.name.clone(),
        partition: part.partition.clone(),
        rows: Some(part.rows),
        bytes: inspected.bytes,
        content: ComparableContent {
            fingerprint: inspected.fingerprint,
            uncovered: Some(uncovered.collect()),
            is_the_same_files: false,
        },
    })
}

/// The rows that a live table without parts has.
fn live_held(server: &Server, table: &Table) -> Result<SideContent, OpError> {
    let rows = match table.engine.as_str() {
        "Set" => server::total_rows(server, table.name()),
        _ => server::count_rows(server, table.name()).map(Some),
    };
    Ok(match rows {
        Ok(Some(0)) => SideContent::Nothing,
        Ok(rows) => SideContent::Dump(DumpedRows { rows, digest: None }),
        Err(error @ (ServerError::Exception { .. } | ServerError::Cut { .. })) => {
            SideContent::Left(crate::monitor::chain(&error))
        }
        Err(error) => return Err(error.into()),
    })
}

/// The tables that both sides have: the later name and the earlier one.
fn pairs(before: &DiffSide, after: &DiffSide) -> Vec<(TableName, TableName)> {
    let pairs = Pairs::new(before, after);
    after.tables.keys().filter_map(|name| Some((name.clone(), pairs.earlier(name)?.clone()))).collect()
}

/// Compares the files of live parts with those of the snapshot's parts, for what the server does not report.
fn compare_files(
    before: &SnapshotToCompare,
    local: &LocalDisks,
    plan: &CreatePlan,
    (earlier, later): (&mut DiffSide, &mut DiffSide),
    jobs: usize,
) -> Result<(), OpError> {
    let pool = exec::pool(jobs)?;
    let names: HashMap<TableName, TableName> = pairs(earlier, later).into_iter().collect();
    for table in plan.freeze.iter().map(|freeze| &freeze.table) {
        let Some(was) = names.get(table.name()) else { continue };
        let (held, now) = (earlier.tables.get_mut(was), later.tables.get_mut(table.name()));
        let (Some(held), Some(SideTable { held: SideContent::Parts(parts), .. })) = (held, now) else { continue };
        let held_dir = before.table_dir(was)?;
        for live in local.live(table)? {
            pool.install(|| mark_same_files(held, held_dir.as_ref(), Some(&live.dir)))?;
            pool.install(|| compare_other_parts(held, &live.dir, parts))?;
        }
    }
    Ok(())
}

/// Where detached tables are looked for.
struct DetachedTables<'a> {
    /// The server's list, for databases that are attached.
    rows: Vec<DetachedTableRow>,
    /// The directories of the definitions of attached databases.
    metadata_paths: HashMap<String, PathBuf>,
    /// The server's disks, if they are visible.
    local: Option<&'a LocalDisks>,
}

impl<'a> DetachedTables<'a> {
    fn read(server: &Server, local: Option<&'a LocalDisks>) -> Result<Self, OpError> {
        let databases = server::databases(server)?;
        let rows = server::detached_tables(server, &databases)?;
        let metadata_paths = databases.into_iter().map(|row| (row.name, PathBuf::from(row.metadata_path))).collect();
        Ok(Self { rows, metadata_paths, local })
    }

    /// The table of this UUID or name, if it is detached: the server lists it, or its definition is still where the
    /// server reads it.
    fn find(&self, name: &TableName, uuid: Option<&TableUuid>) -> Result<Option<(TableName, SideTable)>, FsError> {
        let has_uuid = |row: &&DetachedTableRow| uuid.is_some_and(|uuid| row.uuid == uuid.as_str());
        let has_name = |row: &&DetachedTableRow| row.database == name.database && row.table == name.table;
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
        let uuid = uuid.or_else(|| ParsedDefinition::parse(text.as_deref()?).ok()?.uuid);
        Ok(Some((name, SideTable { uuid, definition: text.map(|text| (text, true)), held: SideContent::Detached })))
    }

    /// The directory of a database's definitions. The definition of a detached database still states its UUID.
    fn metadata_path(&self, database: &str) -> PathBuf {
        if let Some(path) = self.metadata_paths.get(database) {
            return path.clone();
        }
        let (metadata, escaped) = (Path::new("metadata"), escape_for_file_name(database));
        let text = self.local.and_then(|local| local.read_definition(&metadata.join(format!("{escaped}.sql"))));
        let definition = text.and_then(|text| ParsedDefinition::parse(&String::from_utf8_lossy(&text)).ok());
        match definition.and_then(|definition| definition.uuid) {
            Some(uuid) => {
                let prefix = uuid.as_str().get(..3).unwrap_or_default();
                Path::new("store").join(prefix).join(uuid.as_str())
            }
            None => metadata.join(escaped),
        }
    }

    /// Whether this path of the server holds a definition, or the mark of a permanently detached table.
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

/// Marks the parts of a table that have the same inodes as the part of their name in `other`.
fn mark_same_files(table: &mut SideTable, own: Option<&Dir>, other: Option<&Dir>) -> Result<(), OpError> {
    let (Some(own), Some(other), SideContent::Parts(parts)) = (own, other, &mut table.held) else { return Ok(()) };
    let asked: Vec<(&PartName, &Dir)> = parts.iter().map(|part| (&part.name, other)).collect();
    let same = exec::unchanged_parts(&asked, own)?;
    for part in parts.iter_mut().filter(|part| same.contains(&part.name)) {
        part.content.is_the_same_files = true;
    }
    Ok(())
}

/// Describes live parts by their own checksums and small files instead of the server's answers: those that the snapshot
/// has under the same name with other inodes, or may have under another name. Files that the snapshot did not take are
/// ignored.
fn compare_other_parts(held: &SideTable, live: &Dir, parts: &mut [SidePart]) -> Result<(), OpError> {
    let SideContent::Parts(held) = &held.held else { return Ok(()) };
    let others: HashMap<&PartName, &SidePart> =
        held.iter().filter(|part| !part.content.is_the_same_files).map(|part| (&part.name, part)).collect();
    let names: HashSet<&PartName> = parts.iter().map(|part| &part.name).collect();
    let gone = held.iter().filter(|part| !names.contains(&part.name));
    // One of these may have another name by now: then it has the same number of rows in the same partition.
    let gone: HashSet<(PartitionId, Option<u64>)> = gone.map(|part| (part.partition.clone(), part.rows)).collect();
    let look = |part: &mut SidePart| -> Result<(), FsError> {
        let was = others.get(&part.name);
        let may_be_moved = || part.content.fingerprint.is_none() && gone.contains(&(part.partition.clone(), part.rows));
        if was.is_none() && !may_be_moved() {
            return Ok(());
        }
        let Some(dir) = live.find_beneath(Path::new(part.name.as_str()))? else { return Ok(()) };
        let inspected = match exec::inspect_part(&dir) {
            // A merge has removed it meanwhile.
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

struct SnapshotToCompare {
    manifest: Manifest,
    dir: Dir,
    parts: Vec<PartRecord>,
}

impl SnapshotToCompare {
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

    /// The selection given to `create`.
    fn selection(&self) -> Result<TableSelection, OpError> {
        let CreateSettings { include, exclude, accept, partitions, .. } = &self.manifest.settings;
        let patterns = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<Vec<_>, _>>();
        let damaged = |error: crate::plan::InvalidTablePattern| crate::repo::RepoError::Damaged {
            path: self.dir.path().join("manifest.json"),
            reason: error.to_string(),
        };
        Ok(TableSelection {
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

    /// The rows of a table without parts: rows are the same if they come from the same files, or are the same answer to
    /// the query that read them.
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

    /// The tables of the snapshot that all selections include. Tables that one of them excludes are noted.
    fn side(&self, selections: &[TableSelection], left_out: &mut BTreeSet<TableName>) -> Result<DiffSide, OpError> {
        let mut side = DiffSide { name: self.manifest.id.to_string(), tables: BTreeMap::new() };
        for table in self.manifest.tables.iter().filter(|table| !self.manifest.shows_dictionaries(&table.database)) {
            let name = table.name();
            if !selections.iter().all(|selection| selection.wants(&name)) {
                left_out.insert(name);
                continue;
            }
            let reason = || table.reason.clone().unwrap_or_else(|| "it was left out".to_owned());
            let held = match table.state {
                _ if table.dump.is_some() => SideContent::Dump(self.dumped_rows(table)),
                TableState::Taken => SideContent::default(),
                TableState::Definition => SideContent::Nothing,
                TableState::DataLeft | TableState::Skipped => SideContent::Left(reason()),
            };
            let definition = self.definition(table)?;
            side.tables.insert(name, SideTable { uuid: table.uuid.clone(), definition, held });
        }
        for record in &self.parts {
            let name = record.table_name();
            let wanted = record.part.is_patch()
                || selections.iter().all(|selection| selection.wants_partition(&record.partition));
            if let (true, Some(SideTable { held: SideContent::Parts(parts), .. })) =
                (wanted, side.tables.get_mut(&name))
            {
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
        content: ComparableContent {
            fingerprint: record.fingerprint,
            uncovered: Some(uncovered.collect()),
            is_the_same_files: false,
        },
    }
}
