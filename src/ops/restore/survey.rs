//! Reads the target server of a restore.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::checksums::Checksums;
use crate::fs::{Dir, EntryKind, ErrorKind, FsError};
use crate::model::{Catalog, CatalogPart, Fingerprint, PathMap, Table, TableName, TableUuid, escape_for_file_name};
use crate::ops::bound::bound_server;
use crate::ops::disks::LocalDisks;
use crate::ops::error::OpError;
use crate::plan::{
    DetachedParts, HOLD_SETTINGS, KeeperState, ObjectKind, ObjectStatement, ParsedDefinition, PartState, SourceDump,
    SourceItem, TargetServer, TargetTable,
};
use crate::repo::{BoundServer, Repository};
use crate::server::{self, Server, ServerError, ServerIdentity};

use super::dump_files::{live_rows, loose_rows};
use super::known::KnownTables;
use super::leftovers::exists;
use super::statements::lifts_drop_limit;

/// The state of a server as it was read.
#[derive(Debug)]
pub(in crate::ops) struct TargetSurvey {
    pub(in crate::ops) identity: ServerIdentity,
    /// The identity by which a snapshot's server is recognized.
    pub(super) bound: BoundServer,
    pub(in crate::ops) local: LocalDisks,
    pub(in crate::ops) catalog: Catalog,
    /// The disks of each storage policy.
    pub(in crate::ops) policies: Option<BTreeMap<String, Vec<String>>>,
    /// Engines of databases.
    pub(in crate::ops) databases: BTreeMap<String, String>,
    /// The user and group that own the server's data.
    pub(in crate::ops) owner: (u32, u32),
}

const UUID_FILE_LIMIT_BYTES: u64 = 4096;
const CHECKSUMS_LIMIT_BYTES: u64 = 64 << 20;

impl TargetSurvey {
    /// Reads the server; its own database only if requested.
    ///
    /// # Errors
    /// If it does not answer, or its data is not visible here.
    pub(in crate::ops) fn read(
        repository: &Repository,
        server: &Server,
        paths: &PathMap,
        with_system: bool,
    ) -> Result<Self, OpError> {
        let identity = server::identity(server)?;
        let disks = server::disks(server)?;
        if let Some(first) = disks.first().filter(|disk| !disk.is_local()) {
            return Err(OpError::NoDisk { disk: first.name.clone() });
        }
        let catalog = server::survey(server, with_system)?;
        let local = LocalDisks::all(repository, &disks, &catalog.tables, paths)?;
        let own = local.own().expect("the server's own disk is open");
        let stat = own.dir.stat_self()?;
        check_identity(&own.dir, &identity)?;
        let mut databases = server::databases(server)?;
        if with_system {
            databases.extend(server::own_database(server)?);
        }
        Ok(Self {
            bound: bound_server(&identity, &disks),
            identity,
            policies: server::storage_policies(server)?,
            databases: databases.into_iter().map(|database| (database.name, database.engine)).collect(),
            owner: (stat.ownership.uid, stat.ownership.gid),
            catalog,
            local,
        })
    }

    /// UUIDs of the tables, by name.
    pub(super) fn tables(&self) -> BTreeMap<TableName, Option<TableUuid>> {
        self.catalog.tables.iter().map(|table| (table.name().clone(), table.key.uuid.clone())).collect()
    }

    /// The names and UUIDs that the server knows, if one of these tables is to be created: only a new table can take
    /// the name or UUID of one that is detached or dropped.
    pub(super) fn known(&self, server: &Server, wanted: &BTreeSet<TableName>) -> Option<KnownTables> {
        (!self.missing(wanted).is_empty()).then(|| KnownTables::read(server, &self.local))
    }

    /// The inner table of a view that has one.
    fn inner_table(&self, view: &Table) -> Option<&Table> {
        let name = inner_name(view)?;
        self.catalog.tables.iter().find(|table| *table.name() == name)
    }

    /// The tables among these that the server does not list.
    fn missing(&self, wanted: &BTreeSet<TableName>) -> Vec<TableName> {
        let attached: BTreeSet<&TableName> = self.catalog.tables.iter().map(Table::name).collect();
        wanted.iter().filter(|name| !attached.contains(name)).cloned().collect()
    }

    /// The server as a plan needs it: tables in `compared` in full, of others only their names.
    ///
    /// # Errors
    /// If the server does not answer, or its disks cannot be read.
    pub(super) fn target(
        &self,
        server: &Server,
        sources: &[SourceItem],
        (wanted, known): (&BTreeSet<TableName>, Option<&KnownTables>),
        compared: &dyn Fn(&TableName) -> bool,
        dumps: &BTreeMap<TableName, &SourceDump>,
        paths: &PathMap,
    ) -> Result<TargetServer, OpError> {
        let target_table = |table: &Table| -> Result<_, OpError> {
            let mut live = if compared(table.name()) {
                TargetTable {
                    loose: loose_rows(server, &self.local, table)?,
                    ..examine(&self.local, table, self.inner_table(table))
                }
            } else {
                outline(table)
            };
            if let (Some(dump), Some(loose)) = (dumps.get(table.name()), &live.loose) {
                live.rows = Some(live_rows(server, &self.local, table, (dump, loose))?);
            }
            Ok((table.name().clone(), live))
        };
        let missing = self.missing(wanted);
        Ok(TargetServer {
            databases: self.databases.clone(),
            tables: self.catalog.tables.iter().map(target_table).collect::<Result<_, OpError>>()?,
            detached: known
                .iter()
                .flat_map(|known| missing.iter().filter(|name| known.has_definition(name)))
                .cloned()
                .collect(),
            detached_databases: self.detached_databases(server, known, &missing)?,
            taken_places: self.taken_places(&missing)?,
            used_uuids: self.used_uuids(server, sources, (known, paths))?,
            policies: self.policies.clone(),
            disks: self.local.iter().map(|disk| disk.disk.name.clone()).collect(),
            objects: existing_objects(server)?,
            being_filled: BTreeSet::new(),
            keeper: KeeperState::default(),
            hold_settings: server::merge_tree_settings(server, &HOLD_SETTINGS.map(|(name, _)| name))?,
            hosts: None,
            lifts_drop_limit: lifts_drop_limit(server)?,
        })
    }

    /// The databases of these tables that have a definition on the disk and are missing in the server's list.
    fn detached_databases(
        &self,
        server: &Server,
        known: Option<&KnownTables>,
        missing: &[TableName],
    ) -> Result<BTreeSet<String>, OpError> {
        let is_on_disk = |name: &&TableName| known.is_some_and(|known| known.has_database(&name.database));
        let is_listed = |name: &&TableName| name.database == "system" || self.databases.contains_key(&name.database);
        let unlisted = missing.iter().filter(is_on_disk).filter(|name| !is_listed(name));
        let mut names: BTreeSet<String> = unlisted.map(|name| name.database.clone()).collect();
        if !names.is_empty() {
            // A database created since the list was read is in the next list.
            for database in server::databases(server)? {
                names.remove(&database.name);
            }
        }
        Ok(names)
    }

    /// Existing directories in the places that these tables would have in a database without UUIDs.
    fn taken_places(&self, missing: &[TableName]) -> Result<BTreeMap<TableName, PathBuf>, OpError> {
        let mut taken = BTreeMap::new();
        for name in missing {
            let path = place(name, None);
            for disk in self.local.iter().map(|disk| &disk.dir) {
                if exists(disk, &path)? && !is_bare(disk, &path)? {
                    taken.insert(name.clone(), disk.path().join(&path));
                }
            }
        }
        Ok(taken)
    }

    /// The UUIDs in the snapshot that the server uses: for a table, for a dropped table whose directory it has yet to
    /// remove, or for a detached one. Includes UUIDs for which any directory exists.
    fn used_uuids(
        &self,
        server: &Server,
        sources: &[SourceItem],
        (on_disk, paths): (Option<&KnownTables>, &PathMap),
    ) -> Result<HashSet<TableUuid>, OpError> {
        let own = self.local.own().expect("the server's own disk is open");
        let mut known: HashSet<String> = server::hidden_uuids(server)?.into_iter().collect();
        known.extend(self.catalog.tables.iter().filter_map(|table| table.key.uuid.as_ref().map(ToString::to_string)));
        let mut dropped = Vec::new();
        for disk in self.local.iter() {
            if let Some(dir) = disk.dir.find_beneath(Path::new("metadata_dropped"))? {
                dropped.extend(dir.entries()?.into_iter().map(|entry| entry.name.to_string_lossy().into_owned()));
            }
        }
        let mut used = HashSet::new();
        for (source, uuid) in sources.iter().filter_map(|source| Some((source, source.uuid.as_ref()?))) {
            let text = uuid.as_str();
            let is_known = known.contains(text)
                || on_disk.is_some_and(|on_disk| on_disk.has_uuid(text))
                || dropped.iter().any(|name| name.contains(text));
            let place = Path::new("store").join(text.get(..3).unwrap_or_default()).join(text);
            // A disk that a definition describes is in no list yet, and can have been used by another server before.
            let described = source.definition.as_ref().ok().and_then(ParsedDefinition::described_path);
            let described = described.and_then(|path| own.dir.open_elsewhere(&paths.local(&path)).ok());
            let mut exists = false;
            for dir in self.local.iter().map(|disk| &disk.dir).chain(&described).filter(|_| !is_known) {
                let parent = place.parent().unwrap_or(Path::new("store"));
                let dir = dir.find_beneath(parent)?;
                exists |= dir.map_or(Ok(None), |dir| dir.find(text))?.is_some();
            }
            if is_known || exists {
                used.insert(uuid.clone());
            }
        }
        Ok(used)
    }
}

/// Whether a directory contains only what a server creates for an empty table of the MergeTree family: it leaves such a
/// directory behind if it refuses the table afterwards.
fn is_bare(disk: &Dir, path: &Path) -> Result<bool, FsError> {
    let dir = match disk.open_beneath(path) {
        // The link that a database with UUIDs has for each table, including detached ones.
        Err(error) if error.kind() == ErrorKind::WrongKind => return Ok(false),
        dir => dir?,
    };
    for entry in dir.entries_with_kind()? {
        let is_own = match entry.name.to_str() {
            Some("format_version.txt") => entry.kind == EntryKind::File,
            Some("detached") if entry.kind == EntryKind::Directory => dir.open_dir("detached")?.entries()?.is_empty(),
            _ => false,
        };
        if !is_own {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The functions, named collections, workloads and resources of a server, with the statements that are readable.
fn existing_objects(server: &Server) -> Result<BTreeMap<(ObjectKind, String), Option<ObjectStatement>>, OpError> {
    let functions = server::functions(server)?.into_iter().map(|function| (function.name, function.create_query));
    let mut existing: Vec<(ObjectKind, (String, String))> =
        functions.map(|function| (ObjectKind::Function, function)).collect();
    for (kind, table) in [
        (ObjectKind::NamedCollection, "named_collections"),
        (ObjectKind::Workload, "workloads"),
        (ObjectKind::Resource, "resources"),
    ] {
        existing.extend(server::statements_in(server, table)?.into_iter().map(|object| (kind, object)));
    }
    let key = |(kind, (name, statement)): (ObjectKind, (String, String))| {
        ((kind, escape_for_file_name(&name)), ObjectStatement::parse(&statement).ok())
    };
    Ok(existing.into_iter().map(key).collect())
}

/// Checks that the path belongs to this server. Servers that have a UUID keep it in a file next to their data.
fn check_identity(own: &Dir, identity: &ServerIdentity) -> Result<(), OpError> {
    let Some(uuid) = identity.stable_uuid() else { return Ok(()) };
    match own.find_and_read("uuid", UUID_FILE_LIMIT_BYTES)? {
        Some(bytes) if String::from_utf8_lossy(&bytes).trim() != uuid => {
            Err(OpError::PartNotVisible { path: own.path().join("uuid") })
        }
        _ => Ok(()),
    }
}

/// The place of a table's directory, below its disk.
pub(super) fn place(name: &TableName, uuid: Option<&TableUuid>) -> PathBuf {
    match uuid {
        Some(uuid) => Path::new("store").join(uuid.as_str().get(..3).unwrap_or_default()).join(uuid.as_str()),
        None => Path::new("data").join(escape_for_file_name(&name.database)).join(escape_for_file_name(&name.table)),
    }
}

/// A table as it is now; `None` if no table has this name.
///
/// # Errors
/// If the server does not answer.
pub(super) fn live_table(
    server: &Server,
    local: &LocalDisks,
    name: &TableName,
) -> Result<Option<TargetTable>, OpError> {
    let Some(table) = server::survey_table(server, name)? else { return Ok(None) };
    let inner = match inner_name(&table) {
        Some(inner) => server::survey_table(server, &inner)?,
        None => None,
    };
    let loose = loose_rows(server, local, &table)?;
    Ok(Some(TargetTable { loose, ..examine(local, &table, inner.as_ref()) }))
}

/// The name of the inner table of a materialized view; `None` for one that names its target.
fn inner_name(view: &Table) -> Option<TableName> {
    let is_view = view.engine == "MaterializedView";
    let definition = is_view.then(|| ParsedDefinition::parse(&view.definition).ok()).flatten()?;
    let name = view.name();
    (!definition.has_target()).then(|| name.inner_table(view.key.uuid.as_ref()))
}

/// All parts that the server lists of a table, active or not.
///
/// # Errors
/// If the server does not answer.
pub(super) fn listed_parts(server: &Server, name: &TableName) -> Result<Vec<PartState>, ServerError> {
    let state = |part: server::ListedPart| PartState {
        name: part.name,
        partition: part.partition,
        fingerprint: part.fingerprint,
        rows: Some(part.rows),
        bytes: part.bytes,
        is_active: part.is_active,
    };
    Ok(server::parts_of(server, name)?.into_iter().map(state).collect())
}

fn outline(table: &Table) -> TargetTable {
    TargetTable { uuid: table.key.uuid.clone(), engine: table.engine.clone(), ..TargetTable::default() }
}

/// A table as it is, with the data of its inner table if it is a view that has one of the MergeTree family.
fn examine(local: &LocalDisks, table: &Table, inner: Option<&Table>) -> TargetTable {
    let inner = inner.filter(|inner| inner.is_merge_tree());
    let holder = inner.unwrap_or(table);
    let part_state = |part: &CatalogPart| PartState {
        name: part.name.clone(),
        partition: part.partition.clone(),
        fingerprint: part.fingerprint.or_else(|| fingerprint_on_disk(local, part)),
        rows: Some(part.rows),
        bytes: part.bytes,
        is_active: true,
    };
    let unfinished = holder.mutations.iter().filter(|mutation| !mutation.is_done);
    TargetTable {
        parts: holder.parts.par_iter().map(part_state).collect(),
        unfinished_mutations: unfinished.map(|mutation| mutation.id.clone()).collect(),
        detached: if holder.is_merge_tree() { detached_parts(local, holder) } else { DetachedParts::default() },
        inner: inner.map(|inner| inner.name().clone()),
        definition: ParsedDefinition::parse(&table.definition).ok(),
        ..outline(table)
    }
}

/// The fingerprint of a live part on a server that does not list fingerprints. `None` if the part was merged meanwhile.
fn fingerprint_on_disk(local: &LocalDisks, part: &CatalogPart) -> Option<Fingerprint> {
    let dir = local.open_live(&part.path()).ok()??;
    let bytes = dir.find_and_read("checksums.txt", CHECKSUMS_LIMIT_BYTES).ok()??;
    Some(Checksums::parse(&bytes).ok()?.fingerprint())
}

/// The contents of a table's `detached/`, on all of its disks.
fn detached_parts(local: &LocalDisks, table: &Table) -> DetachedParts {
    let list = |path: &PathBuf| -> Result<Vec<String>, FsError> {
        let Some(dir) = local.open_live(&path.join("detached"))? else { return Ok(Vec::new()) };
        let directories = dir.entries_with_kind()?.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
        Ok(directories.map(|entry| entry.name.to_string_lossy().into_owned()).collect())
    };
    let mut names = Vec::new();
    for path in &table.data_paths {
        if local.locate(path).is_none() {
            return DetachedParts::Unreadable(format!("{} is not visible here", path.display()));
        }
        match list(path) {
            Ok(found) => names.extend(found),
            Err(error) => return DetachedParts::Unreadable(crate::monitor::chain(&error)),
        }
    }
    names.sort_unstable();
    DetachedParts::Listed(names)
}
